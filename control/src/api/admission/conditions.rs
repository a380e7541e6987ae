//! Conditions in CEL under which a webhook or a policy is asked at all.

use std::borrow::Cow;

use serde_json::Value;

use super::asking;
use super::webhooks::facts;
use super::write::Write;
use crate::api::kinds::Target;
use crate::api::value::{items, text};
use crate::cel::{Budget, Program, Variables, of_json};

/// What conditions may look at.
pub(super) const DECLARED: &[&str] = &[
    "object",
    "oldObject",
    "request",
    "namespaceObject",
    "params",
    "authorizer",
    "authorizer.requestResource",
];

/// Conditions that all have to hold.
#[derive(Default)]
pub(super) struct Conditions(Vec<(String, Result<Program, String>)>);

impl Conditions {
    /// Those of a webhook, or of a policy's spec.
    pub(super) fn read(value: &Value) -> Conditions {
        let read = |condition: &Value| {
            let program = Program::compile(text(condition, "/expression"), DECLARED);
            (text(condition, "/name").to_owned(), program)
        };
        Conditions(items(value, "/matchConditions").iter().map(read).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold. One that does not decides, whatever others come to.
    ///
    /// # Errors
    /// Which one cannot be evaluated, and why.
    pub(super) fn hold(&self, seen: &Variables, budget: &mut Budget<'_>) -> Result<bool, String> {
        let mut fault = None;
        for (name, program) in &self.0 {
            let holds = match program {
                Ok(program) => program.holds(seen, budget),
                Err(why) => Err(why.clone()),
            };
            match holds {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(why) => {
                    fault.get_or_insert_with(|| format!("matchConditions {name:?}: {why}"));
                }
            }
        }
        fault.map_or(Ok(true), Err)
    }
}

/// A stored object in `version`.
///
/// # Errors
/// 500 if its kind's webhook does not convert it.
pub(super) async fn shown<'a>(
    write: Write<'_>,
    version: Target,
    object: Option<&'a Value>,
) -> crate::api::status::Result<Option<Cow<'a, Value>>> {
    match object {
        None => Ok(None),
        Some(object) if write.part.is_some() || version.kind.stored_as.is_none() => {
            Ok(Some(Cow::Borrowed(object)))
        }
        Some(object) => {
            let shown = write.shown(version, object.clone()).await?;
            Ok(Some(Cow::Owned(shown)))
        }
    }
}

/// What expressions see of a write: the objects, which are in `version`, and the request.
pub(super) fn variables(
    write: Write<'_>,
    version: Target,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Variables {
    let show = |object: Option<&Value>| of_json(object.unwrap_or(&Value::Null));
    let request = facts(write, version, new.or(old).unwrap_or(&Value::Null));
    let [who, who_may_this] = asking::variables(&request);
    vec![
        ("object".to_owned(), show(new)),
        ("oldObject".to_owned(), show(old)),
        ("request".to_owned(), of_json(&request)),
        who,
        who_may_this,
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_conditions_have_to_hold_and_one_that_does_not_decides() {
        let of = |texts: &[&str]| {
            let list = texts
                .iter()
                .map(|it| json!({"name": "c", "expression": it}));
            let list: Vec<Value> = list.collect();
            Conditions::read(&json!({"matchConditions": list}))
        };
        let object = of_json(&json!({"a": 1}));
        let seen = vec![("object".to_owned(), object)];
        let hold = |texts: &[&str]| of(texts).hold(&seen, &mut Budget::default());
        assert_eq!(hold(&[]), Ok(true));
        assert_eq!(hold(&["object.a == 1", "has(object.a)"]), Ok(true));
        assert_eq!(hold(&["object.b == 1", "object.a == 2"]), Ok(false));
        let why = hold(&["object.b == 1", "object.a == 1"]).unwrap_err();
        assert_eq!(why, "matchConditions \"c\": no such key: b");
        assert!(hold(&["nothing == 1"]).is_err());
    }
}
