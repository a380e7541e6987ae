//! What the checks look at, and how they speak.

use serde_json::Value;

use crate::api::value::{items, text};

/// Why a pod is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) reason: String,
    pub(super) detail: String,
}

impl Violation {
    pub(super) fn new(reason: impl Into<String>, detail: impl Into<String>) -> Option<Violation> {
        Some(Violation {
            reason: reason.into(),
            detail: detail.into(),
        })
    }
}

/// All containers, those that run first before the others.
pub(super) fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    [
        "/spec/initContainers",
        "/spec/containers",
        "/spec/ephemeralContainers",
    ]
    .into_iter()
    .flat_map(|list| items(pod, list))
}

/// The names of the containers for which `bad` holds.
pub(super) fn named(pod: &Value, bad: impl Fn(&Value) -> bool) -> Vec<&str> {
    let found = containers(pod).filter(|container| bad(container));
    found.map(|container| text(container, "/name")).collect()
}

/// `container "a"` or `containers "a", "b"`.
pub(super) fn these(names: &[&str]) -> String {
    these_of("container", names)
}

/// The same of other things.
pub(super) fn these_of(one: &str, names: &[impl AsRef<str>]) -> String {
    let s = if names.len() == 1 { "" } else { "s" };
    format!("{one}{s} {}", quoted(names))
}

/// Each in quotes, with commas.
pub(super) fn quoted(names: &[impl AsRef<str>]) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("\"{}\"", name.as_ref()))
        .collect();
    names.join(", ")
}

/// Sorted, each once.
pub(super) fn set<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort();
    items.dedup();
    items
}

/// Whether the pod says that it is for Windows.
pub(super) fn is_windows(pod: &Value) -> bool {
    text(pod, "/spec/os/name") == "windows"
}

/// Whether the value under a pointer is `true`.
pub(super) fn flag(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer) == Some(&Value::Bool(true))
}

/// `pod`, `container "a"`, or both.
pub(super) fn setters(pod: bool, names: &[&str]) -> String {
    let pod = pod.then(|| "pod".to_owned());
    let names = (!names.is_empty()).then(|| these(names));
    let all: Vec<String> = pod.into_iter().chain(names).collect();
    all.join(" and ")
}
