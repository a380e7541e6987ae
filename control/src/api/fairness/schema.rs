//! One FlowSchema, made ready for requests.

use http::HeaderValue;
use serde_json::Value;

use super::rules::{Rule, place};
use crate::api::authn::User;
use crate::api::request::RequestInfo;
use crate::api::value::{integer, name, text};

/// What tells the flows of a schema from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distinguisher {
    ByUser,
    ByNamespace,
}

/// Which requests belong together, and where they go.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) name: Box<str>,
    /// The level that its requests belong to.
    pub(super) level: Box<str>,
    /// Its uid as clients hear it; none while there is no such object.
    pub(super) uid: Option<HeaderValue>,
    precedence: i64,
    by: Option<Distinguisher>,
    rules: Box<[Rule]>,
}

/// The uid of an object as a header; none if it has none.
pub(super) fn uid(object: &Value) -> Option<HeaderValue> {
    let uid = text(object, "/metadata/uid");
    HeaderValue::from_str(uid).ok().filter(|_| !uid.is_empty())
}

impl Schema {
    /// A stored FlowSchema, or one that is not stored yet.
    pub(super) fn parse(schema: &Value) -> Self {
        let by = match text(schema, "/spec/distinguisherMethod/type") {
            "ByUser" => Some(Distinguisher::ByUser),
            "ByNamespace" => Some(Distinguisher::ByNamespace),
            _ => None,
        };
        Self {
            name: name(schema).into(),
            level: text(schema, "/spec/priorityLevelConfiguration/name").into(),
            uid: uid(schema),
            precedence: integer(schema, "/spec/matchingPrecedence").unwrap_or(i64::MAX),
            by,
            rules: Rule::all(schema),
        }
    }

    /// What schemas are tried by: the smallest first.
    pub(super) fn rank(&self) -> (i64, &str) {
        (self.precedence, &self.name)
    }

    /// Whether the request belongs to it.
    pub(super) fn matches(&self, user: &User, info: &RequestInfo) -> bool {
        self.rules.iter().any(|rule| rule.covers(user, info))
    }

    /// What tells the request's flow from others of the schema.
    pub(super) fn distinguisher<'a>(&self, user: &'a User, info: &'a RequestInfo) -> &'a str {
        match self.by {
            None => "",
            Some(Distinguisher::ByUser) => &user.name,
            Some(Distinguisher::ByNamespace) => {
                info.resource.as_ref().and_then(place).unwrap_or_default()
            }
        }
    }
}
