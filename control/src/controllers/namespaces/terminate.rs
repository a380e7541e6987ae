//! The conditions of a namespace that is being emptied, and when it is empty.

use crate::controllers::runtime::time;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use std::collections::BTreeMap;

/// The finalizer in `spec.finalizers` that stands for the content.
pub const FINALIZER: &str = "kubernetes";

/// What is still in the namespace.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Remains {
    /// Objects by `plural.group`.
    pub objects: BTreeMap<String, usize>,
    /// Objects by the finalizer that holds them.
    pub finalizers: BTreeMap<String, usize>,
    /// Kinds that could not be emptied, and why.
    pub failures: Vec<String>,
}

impl Remains {
    /// Whether the finalizer may go.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.failures.is_empty()
    }
}

/// Whether somebody waits for this controller to empty the namespace.
pub fn is_pending(namespace: &Namespace) -> bool {
    let finalizers = namespace
        .spec
        .as_ref()
        .and_then(|spec| spec.finalizers.as_ref());
    let held = finalizers.is_some_and(|finalizers| finalizers.iter().any(|one| one == FINALIZER));
    namespace.metadata.deletion_timestamp.is_some() && held
}

/// The namespace without our finalizer.
pub fn released(namespace: &Namespace) -> Namespace {
    let mut released = namespace.clone();
    let finalizers = released
        .spec
        .get_or_insert_default()
        .finalizers
        .get_or_insert_default();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    released
}

/// The namespace with conditions that tell what it waits for.
pub fn reported(namespace: &Namespace, remains: &Remains, now: Timestamp) -> Namespace {
    let mut reported = namespace.clone();
    let conditions = reported
        .status
        .get_or_insert_default()
        .conditions
        .get_or_insert_default();
    for (kind, bad, reason, message) in sentences(remains) {
        let status = if bad { "True" } else { "False" };
        let old = conditions.iter().find(|condition| condition.type_ == kind);
        let since = old
            .filter(|old| old.status == status)
            .and_then(|old| old.last_transition_time.clone());
        let condition = NamespaceCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: since.or_else(|| Some(time(now))),
        };
        conditions.retain(|condition| condition.type_ != kind);
        conditions.push(condition);
    }
    reported
}

fn sentences(remains: &Remains) -> [(&'static str, bool, &'static str, String); 3] {
    let failed = !remains.failures.is_empty();
    let failure = match failed {
        true => ("ContentDeletionFailed", remains.failures.join("; ")),
        false => (
            "ContentDeleted",
            "Everything deletable was asked to go".into(),
        ),
    };
    let content = match remains.objects.is_empty() {
        true => ("ContentRemoved", "All content is removed".into()),
        false => (
            "SomeResourcesRemain",
            format!(
                "Some resources are remaining: {}",
                listed(&remains.objects, "has", "resource instances")
            ),
        ),
    };
    let held = match remains.finalizers.is_empty() {
        true => (
            "ContentHasNoFinalizers",
            "No finalizer holds any content".into(),
        ),
        false => (
            "SomeFinalizersRemain",
            format!(
                "Some content is held by finalizers: {}",
                listed(&remains.finalizers, "in", "resource instances")
            ),
        ),
    };
    [
        (
            "NamespaceDeletionContentFailure",
            failed,
            failure.0,
            failure.1,
        ),
        (
            "NamespaceContentRemaining",
            !remains.objects.is_empty(),
            content.0,
            content.1,
        ),
        (
            "NamespaceFinalizersRemaining",
            !remains.finalizers.is_empty(),
            held.0,
            held.1,
        ),
    ]
}

fn listed(counts: &BTreeMap<String, usize>, verb: &str, noun: &str) -> String {
    let parts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {verb} {count} {noun}"))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn namespace() -> Namespace {
        serde_json::from_value(
            json!({"metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"finalizers": ["kubernetes", "mine"]}}),
        )
        .unwrap()
    }

    #[test]
    fn only_our_finalizer_is_released_and_only_of_a_terminating_namespace() {
        assert!(is_pending(&namespace()));
        let released = released(&namespace());
        assert_eq!(
            released
                .spec
                .as_ref()
                .unwrap()
                .finalizers
                .as_deref()
                .unwrap(),
            ["mine"]
        );
        assert!(!is_pending(&released));
        let mut alive = namespace();
        alive.metadata.deletion_timestamp = None;
        assert!(!is_pending(&alive));
    }

    #[test]
    fn conditions_name_what_remains_and_keep_their_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let remains = Remains {
            objects: BTreeMap::from([("pods.".into(), 2)]),
            ..Remains::default()
        };
        let first = reported(&namespace(), &remains, at(5));
        let again = reported(&first, &remains, at(9));
        assert_eq!(first, again);
        let conditions = first.status.unwrap().conditions.unwrap();
        let content = conditions
            .iter()
            .find(|c| c.type_ == "NamespaceContentRemaining")
            .unwrap();
        assert_eq!(
            content.message.as_deref(),
            Some("Some resources are remaining: pods. has 2 resource instances")
        );
        assert!(!remains.is_empty() && Remains::default().is_empty());
    }
}
