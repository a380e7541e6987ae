//! Follows the FlowSchemas and PriorityLevelConfigurations: makes a plan of them, says in the status
//! of each schema whether its level exists, and divides seats anew every now and then.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Fair;
use super::plan::Plan;
use crate::api::admission::Request;
use crate::api::kinds::Target;
use crate::api::managed::{Trace, Writer};
use crate::api::server::Server;
use crate::api::value::{items, name, object, text, timestamp};
use crate::api::write::Part;
use crate::store::Objects;

/// Time after which seats are divided anew.
const PERIOD: Duration = Duration::from_secs(10);
const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Under which name the status is written, as Kubernetes does.
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";

/// The objects of which the plan in force was made; held while another is made.
#[derive(Default)]
pub(super) struct Seen(Mutex<Option<[Objects; 2]>>);

/// FlowSchemas and PriorityLevelConfigurations, if both are kept.
pub(super) fn kinds(server: &Server) -> Option<[Target; 2]> {
    let of = |plural| server.kinds.of(GROUP, plural);
    Some([of("flowschemas")?, of("prioritylevelconfigurations")?])
}

/// Follows them until `stopping`; over at once for a server that does not look at them.
pub async fn run(server: Arc<Server>, stopping: CancellationToken) {
    let (Some(fair), Some(kinds)) = (server.fairness.as_fair(), kinds(&server)) else {
        return;
    };
    let watch = |target: Target| server.store.snapshot_and_watch(target.resource).1;
    let [mut schemas, mut levels] = kinds.map(watch);
    let rounds = async {
        let mut adjust = Instant::now() + PERIOD;
        loop {
            for changes in [&mut schemas, &mut levels] {
                while changes.poll().is_ok_and(|(events, _)| !events.is_empty()) {}
            }
            sync(&server);
            report(&server, kinds[0]).await;
            let changed = async {
                tokio::select! {
                    alive = schemas.changed() => alive,
                    alive = levels.changed() => alive,
                }
            };
            match timeout_at(adjust, changed).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    fair.plan.load().adjust();
                    adjust = Instant::now() + PERIOD;
                }
            }
        }
    };
    stopping.run_until_cancelled(rounds).await;
}

/// Makes a plan of the objects as they are now, unless it is in force already.
pub(super) fn sync(server: &Server) {
    let (Some(fair), Some(kinds)) = (server.fairness.as_fair(), kinds(server)) else {
        return;
    };
    let mut seen = fair.seen.0.lock();
    let now = kinds.map(|target| server.store.snapshot(target.resource).objects);
    let same = |one: &[Objects; 2]| one.iter().zip(&now).all(|(one, other)| one.ptr_eq(other));
    if seen.as_ref().is_some_and(same) {
        return;
    }
    fair.replan(&now);
    *seen = Some(now);
}

impl Fair {
    fn replan(&self, objects: &[Objects; 2]) {
        let values = |objects: &Objects| -> Vec<Value> {
            objects.iter().map(|(_, object)| object.value()).collect()
        };
        let [schemas, levels] = [values(&objects[0]), values(&objects[1])];
        let plan = Plan::new(self.total, &schemas, &levels, &self.plan.load());
        self.plan.store(Arc::new(plan));
    }
}

/// Says of every schema whether its level exists.
async fn report(server: &Server, target: Target) {
    let Some(fair) = server.fairness.as_fair() else {
        return;
    };
    let plan = fair.plan.load_full();
    let schemas = server.store.snapshot(target.resource).objects;
    for (key, schema) in schemas.iter() {
        let schema = schema.value();
        let found = plan.has_level(text(&schema, LEVEL));
        if dangling(&schema, found, "").is_none() {
            continue;
        }
        let now = timestamp(jiff::Timestamp::now());
        let candidate = |old: &Value| {
            let found = plan.has_level(text(old, LEVEL));
            Ok(dangling(old, found, &now).unwrap_or_else(|| old.clone()))
        };
        let writer = Writer::of(Some(MANAGER), None, "", Part::Status);
        let (trace, own) = (Trace::Update(&writer), Request::own(target));
        let written = server.modify(target, key, Part::Status, &own, trace, &candidate);
        if let Err(status) = written.await
            && status.code != 404
        {
            let why = status.message;
            tracing::warn!(schema = name(&schema), why, "the status is not written");
        }
    }
}

const LEVEL: &str = "/spec/priorityLevelConfiguration/name";

/// The schema with its condition as it has to be; none if it is so already.
fn dangling(schema: &Value, found: bool, now: &str) -> Option<Value> {
    let level = text(schema, LEVEL);
    let (status, reason, message) = if found {
        let message = format!("the PriorityLevelConfiguration {level:?} exists");
        ("False", "Found", message)
    } else {
        let message = format!("there is no PriorityLevelConfiguration {level:?}");
        ("True", "NotFound", message)
    };
    let conditions = items(schema, "/status/conditions");
    let is_it = |condition: &Value| condition["type"] == "Dangling";
    let have = conditions.iter().find(|condition| is_it(condition));
    let as_is = |have: &Value| {
        have["status"] == status && have["reason"] == reason && have["message"] == *message
    };
    if have.is_some_and(as_is) {
        return None;
    }
    let since = have.filter(|have| have["status"] == status);
    let since = since.map_or(now, |have| text(have, "/lastTransitionTime"));
    let condition = json!({"type": "Dangling", "status": status, "reason": reason,
        "message": message, "lastTransitionTime": since});
    let others = conditions.iter().filter(|condition| !is_it(condition));
    let all: Vec<Value> = others.cloned().chain([condition]).collect();
    let mut schema = schema.clone();
    object(&mut schema, "status").insert("conditions".into(), all.into());
    Some(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_written_when_it_changes() {
        let schema = json!({"spec": {"priorityLevelConfiguration": {"name": "l"}},
            "status": {"conditions": [{"type": "Other"}]}});
        let found = dangling(&schema, true, "t1").unwrap();
        let conditions = items(&found, "/status/conditions");
        assert_eq!(conditions.len(), 2);
        assert_eq!(conditions[1]["status"], "False");
        assert_eq!(dangling(&found, true, "t2"), None);
        let lost = dangling(&found, false, "t2").unwrap();
        let conditions = items(&lost, "/status/conditions");
        assert_eq!(conditions[1]["reason"], "NotFound");
        assert_eq!(conditions[1]["lastTransitionTime"], "t2");
        // Another level that is missing too is no transition.
        let mut other = lost.clone();
        other["spec"]["priorityLevelConfiguration"]["name"] = "m".into();
        let other = dangling(&other, false, "t3").unwrap();
        let conditions = items(&other, "/status/conditions");
        assert_eq!(conditions[1]["lastTransitionTime"], "t2");
    }
}
