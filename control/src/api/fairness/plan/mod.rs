//! The configuration in force: what requests are tried by, in order, and the levels behind it.
//!
//! Made anew as a whole when an object changes; levels live on under their names, so that nobody who
//! waits is lost. A level that is gone serves those who are on it with the seats that it had.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use serde_json::Value;

use super::borrowing::{Claim, divide};
use super::level::Level;
use super::schema::Schema;
use super::spec::{Bounds, LevelSpec};
use crate::api::authn::User;
use crate::api::request::RequestInfo;
use crate::registry::flowcontrol::defaults;

/// Where the requests of a schema go.
pub(super) struct Route {
    pub(super) schema: Schema,
    pub(super) level: Arc<Level>,
    /// The level's uid as clients hear it; none while there is no such object.
    pub(super) level_uid: Option<HeaderValue>,
    /// Seats that one request may take, at most.
    pub(super) widest: u32,
}

/// Every schema that leads somewhere, and every level.
#[derive(Default)]
pub(super) struct Plan {
    /// In the order in which they are tried.
    routes: Vec<Arc<Route>>,
    levels: BTreeMap<Box<str>, Placed>,
}

/// A level, and what it may have.
struct Placed {
    spec: LevelSpec,
    level: Arc<Level>,
    bounds: Bounds,
}

impl Plan {
    /// Of the stored schemas and levels; the mandatory ones that are missing are there all the same.
    /// `total` seats are divided. Levels are taken over from `before`.
    pub(super) fn new(total: u64, schemas: &[Value], levels: &[Value], before: &Plan) -> Self {
        let mut specs: BTreeMap<Box<str>, LevelSpec> = BTreeMap::new();
        for spec in levels.iter().filter_map(LevelSpec::parse) {
            specs.insert(spec.name.clone(), spec);
        }
        for level in mandatory(&defaults::priority_levels()) {
            if let Some(spec) = LevelSpec::parse(level) {
                specs.entry(spec.name.clone()).or_insert(spec);
            }
        }
        let shares = specs.values().map(|spec| u64::from(spec.shares)).sum();
        let place = |(name, spec): (Box<str>, LevelSpec)| {
            let bounds = spec.bounds(total, shares);
            let level = before.level(&spec, bounds);
            (
                name,
                Placed {
                    spec,
                    level,
                    bounds,
                },
            )
        };
        let mut plan = Self {
            routes: Vec::new(),
            levels: specs.into_iter().map(place).collect(),
        };
        plan.routes = plan.route(schemas);
        plan.adjust();
        plan
    }

    /// The level of that name as it was, if it is still of the same kind.
    fn level(&self, spec: &LevelSpec, bounds: Bounds) -> Arc<Level> {
        let before = self.levels.get(&spec.name).map(|placed| &placed.level);
        match before.filter(|level| level.is_exempt() == spec.exempt) {
            Some(level) => {
                level.reconfigure(spec.queuing);
                level.clone()
            }
            None if spec.exempt => Arc::new(Level::exempt()),
            None => Arc::new(Level::limited(spec.queuing, bounds.nominal)),
        }
    }

    fn route(&self, schemas: &[Value]) -> Vec<Arc<Route>> {
        let mut parsed: Vec<Schema> = schemas.iter().map(Schema::parse).collect();
        for schema in mandatory(&defaults::flow_schemas()) {
            let schema = Schema::parse(schema);
            if !parsed.iter().any(|have| have.name == schema.name) {
                parsed.push(schema);
            }
        }
        parsed.sort_by(|one, other| one.rank().cmp(&other.rank()));
        let route = |schema: Schema| {
            let placed = self.levels.get(&schema.level)?;
            Some(Arc::new(Route {
                level: placed.level.clone(),
                level_uid: placed.spec.uid.clone(),
                widest: placed.spec.widest(placed.bounds.nominal),
                schema,
            }))
        };
        parsed.into_iter().filter_map(route).collect()
    }

    /// Where a request goes: by the first schema that it belongs to, or as whatever fits nowhere.
    pub(super) fn find(&self, user: &User, info: &RequestInfo) -> Option<&Arc<Route>> {
        let fits = |route: &&Arc<Route>| route.schema.matches(user, info);
        let found = self.routes.iter().find(fits);
        let last = |route: &&Arc<Route>| &*route.schema.name == defaults::CATCH_ALL;
        found.or_else(|| self.routes.iter().rfind(last))
    }

    /// Whether there is a level of that name.
    pub(super) fn has_level(&self, name: &str) -> bool {
        self.levels.contains_key(name)
    }

    /// Divides the seats anew by what levels wanted since the last time.
    pub(super) fn adjust(&self) {
        let claim = |placed: &Placed| Claim {
            exempt: placed.spec.exempt,
            bounds: placed.bounds,
            wish: placed.level.wish(),
        };
        let claims: Vec<Claim> = self.levels.values().map(claim).collect();
        for (placed, seats) in self.levels.values().zip(divide(&claims)) {
            placed.level.resize(seats);
        }
    }

    /// Every level with its name, in the order of names.
    pub(super) fn levels(&self) -> impl Iterator<Item = (&str, &Level)> {
        let levels = self.levels.iter();
        levels.map(|(name, placed)| (&**name, &*placed.level))
    }
}

/// Those of the cluster's own objects that there always are.
fn mandatory(objects: &[Value]) -> impl Iterator<Item = &Value> {
    let is_one = |object: &&Value| {
        let name = object["metadata"]["name"].as_str();
        name.is_some_and(defaults::is_mandatory)
    };
    objects.iter().filter(is_one)
}

#[cfg(test)]
mod tests;
