//! ControllerRevision: a state of a StatefulSet or DaemonSet to go back to.

use serde_json::Value;

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, or_none, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::rules::{At, Faults, immutable, non_negative};
use crate::registry::value::{int, list, text};

/// ControllerRevision of apps/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "apps",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    columns: &[NAME, string("Controller"), integer("Revision"), AGE],
    cells: |revision, now| {
        vec![
            name(revision),
            or_none(controller(revision)),
            int(revision, "/revision").unwrap_or(0).into(),
            age(revision, now),
        ]
    },
    validate,
    ..Kind::PLAIN
};

/// `kind.group/name` of who controls it.
fn controller(revision: &Value) -> String {
    let mut owners = list(revision, "/metadata/ownerReferences").iter();
    let Some(owner) = owners.find(|owner| owner["controller"] == true) else {
        return String::new();
    };
    let group = text(owner, "/apiVersion")
        .split_once('/')
        .map(|(group, _)| group);
    let dot = group.map(|group| format!(".{group}")).unwrap_or_default();
    let kind = text(owner, "/kind").to_lowercase();
    format!("{kind}{dot}/{}", text(owner, "/name"))
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    if root.get("revision").is_set() {
        non_negative(&root.get("revision"), &mut faults);
    } else {
        faults.required(&root.get("revision"), "");
    }
    if let Some(old) = old {
        immutable(&root.get("data"), &At::root(old).get("data"), &mut faults);
    }
    faults.into_list()
}
