//! Which definitions may have the names that they want. Pure.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::api::kinds::Kinds;
use crate::api::value::{is_deleting, items, text};

/// What a definition is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether its kinds are served.
    pub(super) established: bool,
    /// The name that somebody else has, if its names are refused.
    taken: Option<String>,
    deleting: bool,
}

/// A verdict for each definition: who is established already keeps its names, then who came first.
pub(super) fn plan(definitions: &[Value], kinds: Kinds) -> Vec<Verdict> {
    let mut taken: HashSet<(String, String)> = HashSet::new();
    for kind in kinds.0 {
        let names = [kind.plural, kind.singular, kind.kind];
        let names = names.iter().chain(kind.short_names);
        taken.extend(names.map(|name| (kind.group.to_owned(), (*name).to_owned())));
    }
    let mut order: Vec<usize> = (0..definitions.len()).collect();
    order.sort_by_key(|index| {
        let definition = &definitions[*index];
        let created = text(definition, "/metadata/creationTimestamp").to_owned();
        (
            !is_established(definition),
            created,
            text(definition, "/metadata/name").to_owned(),
        )
    });
    let mut verdicts: Vec<Option<Verdict>> = definitions.iter().map(|_| None).collect();
    for index in order {
        let definition = &definitions[index];
        let group = text(definition, "/spec/group").to_owned();
        let names: Vec<_> = names(definition)
            .into_iter()
            .map(|name| (group.clone(), name))
            .collect();
        let clash = names.iter().find(|name| taken.contains(*name));
        let clash = clash.map(|(_, name)| name.clone());
        if clash.is_none() {
            taken.extend(names);
        }
        verdicts[index] = Some(Verdict {
            established: clash.is_none(),
            taken: clash,
            deleting: is_deleting(definition),
        });
    }
    verdicts.into_iter().flatten().collect()
}

fn is_established(definition: &Value) -> bool {
    let mut conditions = items(definition, "/status/conditions").iter();
    conditions.any(|it| text(it, "/type") == "Established" && text(it, "/status") == "True")
}

/// Every name of a definition, once.
fn names(definition: &Value) -> Vec<String> {
    let names = ["plural", "singular", "kind", "listKind"];
    let names = names.map(|key| text(definition, &format!("/spec/names/{key}")).to_owned());
    let short = items(definition, "/spec/names/shortNames").iter();
    let short = short.filter_map(|name| name.as_str().map(str::to_owned));
    let mut all: Vec<_> = names
        .into_iter()
        .chain(short)
        .filter(|name| !name.is_empty())
        .collect();
    all.sort();
    all.dedup();
    all
}

impl Verdict {
    /// The status that says so; conditions keep the time of their last change.
    pub(super) fn status(&self, definition: &Value, now: &str) -> Value {
        let names = match &self.taken {
            None => json!({"type": "NamesAccepted", "status": "True", "reason": "NoConflicts",
                "message": "no conflicts found"}),
            Some(name) => json!({"type": "NamesAccepted", "status": "False",
                "reason": "NamesConflict", "message": format!("{name:?} is already in use")}),
        };
        let established = if self.established {
            json!({"type": "Established", "status": "True", "reason": "InitialNamesAccepted",
                "message": "the initial names have been accepted"})
        } else {
            json!({"type": "Established", "status": "False", "reason": "NotAccepted",
                "message": "not all names are accepted"})
        };
        let mut conditions = vec![names, established];
        if self.deleting {
            conditions.push(json!({"type": "Terminating", "status": "True",
                "reason": "InstanceDeletionInProgress",
                "message": "CustomResource deletion is in progress"}));
        }
        for condition in &mut conditions {
            let since = last_change(definition, condition);
            condition["lastTransitionTime"] = since.unwrap_or(now).into();
        }
        let mut status = definition.get("status").and_then(Value::as_object).cloned();
        let status = status.get_or_insert_with(Map::new);
        status.insert("conditions".into(), conditions.into());
        if self.established {
            status.insert("acceptedNames".into(), definition["spec"]["names"].clone());
        }
        Value::Object(std::mem::take(status))
    }
}

/// When a condition came to be what it is.
fn last_change<'a>(definition: &'a Value, condition: &Value) -> Option<&'a str> {
    let mut conditions = items(definition, "/status/conditions").iter();
    let same = |key: &str, it: &Value| it[key] == condition[key];
    let before = conditions.find(|it| same("type", it) && same("status", it))?;
    Some(text(before, "/lastTransitionTime"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::KINDS;

    fn definition(name: &str, plural: &str, short: &str, created: &str) -> Value {
        json!({"metadata": {"name": name, "creationTimestamp": created}, "spec": {
            "group": "example.com", "names": {"plural": plural, "singular": plural,
                "kind": plural, "listKind": format!("{plural}List"), "shortNames": [short]},
            "versions": [{"name": "v1", "storage": true}]}})
    }

    #[test]
    fn who_came_first_keeps_a_name() {
        let two = [
            definition("b", "b", "x", "2"),
            definition("a", "a", "x", "1"),
        ];
        let verdicts = plan(&two, Kinds(KINDS));
        assert_eq!(
            [verdicts[0].established, verdicts[1].established],
            [false, true]
        );
        let status = verdicts[0].status(&two[0], "t");
        assert_eq!(status["conditions"][0]["reason"], "NamesConflict");
        let mut settled = two.clone();
        settled[0]["status"] = plan(&two[..1], Kinds(KINDS))[0].status(&two[0], "t");
        let verdicts = plan(&settled, Kinds(KINDS));
        assert_eq!(
            [verdicts[0].established, verdicts[1].established],
            [true, false]
        );
        // Told again, nothing changes.
        let again = verdicts[0].status(&settled[0], "later");
        assert_eq!(again, settled[0]["status"]);
    }
}
