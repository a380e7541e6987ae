//! What an apply would take from others.

use std::collections::BTreeMap;

use super::entry::Entry;
use crate::api::status::Status;
use crate::schema::ownership::FieldSet;

/// What one manager would lose.
#[derive(Debug)]
pub(super) struct Conflict {
    manager: String,
    /// The fields.
    pub(super) fields: FieldSet,
}

impl Conflict {
    pub(super) fn new(entry: &Entry, fields: FieldSet) -> Conflict {
        Conflict {
            manager: entry.shown(),
            fields,
        }
    }
}

/// The refusal that names every field and its manager.
pub(super) fn refusal(conflicts: &[Conflict]) -> Status {
    let all: Vec<(&str, String)> = conflicts
        .iter()
        .flat_map(|conflict| {
            let paths = conflict.fields.paths().into_iter();
            paths.map(|path| (conflict.manager.as_str(), path))
        })
        .collect();
    let message = match all.as_slice() {
        [(manager, path)] => {
            format!("Apply failed with 1 conflict: conflict with {manager}: {path}")
        }
        many => {
            let count = many.len();
            format!("Apply failed with {count} conflicts: {}", by_manager(many))
        }
    };
    let causes = all.into_iter().map(|(manager, path)| {
        (
            "FieldManagerConflict",
            format!("conflict with {manager}"),
            path,
        )
    });
    Status::apply_conflict(message, causes)
}

fn by_manager(all: &[(&str, String)]) -> String {
    let mut managers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (manager, path) in all {
        managers.entry(manager).or_default().push(path);
    }
    let lines = managers.into_iter().flat_map(|(manager, paths)| {
        let paths = paths.into_iter().map(|path| format!("- {path}"));
        std::iter::once(format!("conflicts with {manager}:")).chain(paths)
    });
    lines.collect::<Vec<_>>().join("\n")
}
