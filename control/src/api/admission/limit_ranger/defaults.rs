//! What a container asks for that does not say.

use serde_json::Value;

use super::{Amounts, Limit};
use crate::api::value::{metadata, object, text};

/// Where a pod tells what was filled in.
const NOTE: &str = "kubernetes.io/limit-ranger";

/// Fills in `limit`'s defaults and notes down which.
pub(super) fn complete(limit: &Limit, pod: &mut Value) {
    let mut set = Vec::new();
    for (list, called) in [
        ("containers", "container"),
        ("initContainers", "init container"),
    ] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = text(container, "/name").to_owned();
            for (part, defaults) in [
                ("requests", &limit.default_request),
                ("limits", &limit.default),
            ] {
                let filled = fill(container, part, defaults);
                if !filled.is_empty() {
                    let what = part.trim_end_matches('s');
                    set.push(format!("{} {what} for {called} {name}", filled.join(", ")));
                }
            }
        }
    }
    if !set.is_empty() {
        note(pod, &set.join("; "));
    }
}

/// The names of what was missing.
fn fill(container: &mut Value, part: &str, defaults: &Amounts) -> Vec<String> {
    let missing = |name: &String| {
        let have = container.pointer(&format!("/resources/{part}"));
        have.and_then(|have| have.get(name)).is_none()
    };
    let filled: Vec<String> = defaults
        .keys()
        .filter(|name| missing(name))
        .cloned()
        .collect();
    if !filled.is_empty() && container.is_object() {
        object(container, "resources");
        let amounts = object(&mut container["resources"], part);
        for name in &filled {
            amounts.insert(name.clone(), defaults[name].to_string().into());
        }
    }
    filled
}

fn note(pod: &mut Value, text: &str) {
    let whole = metadata(pod);
    let notes = whole
        .entry("annotations")
        .or_insert_with(|| Value::Object(serde_json::Map::new()));
    if let Some(notes) = notes.as_object_mut() {
        notes.insert(
            NOTE.into(),
            format!("LimitRanger plugin set: {text}").into(),
        );
    }
}
