//! Volumes: their defaults.

use serde_json::{Map, Value};

use super::container::field_version;
use crate::registry::value::{default, list_mut};

/// Read and write for the owner, read for the rest.
const DEFAULT_MODE: i64 = 0o644;
/// Life of a projected token in seconds.
const TOKEN_SECONDS: i64 = 3600;

/// Fills in the defaults of one volume; one without a source is an empty directory.
pub(super) fn set_defaults(volume: &mut Value) {
    let named_source = |(key, value): (&String, &Value)| key != "name" && !value.is_null();
    if volume
        .as_object()
        .is_some_and(|members| !members.iter().any(named_source))
    {
        default(volume, "emptyDir", Map::new());
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            default(source, "defaultMode", DEFAULT_MODE);
        }
    }
    if let Some(host_path) = volume.get_mut("hostPath") {
        default(host_path, "type", "");
    }
    for item in list_mut(volume, "/downwardAPI/items") {
        field_version(item.get_mut("fieldRef"));
    }
    for source in list_mut(volume, "/projected/sources") {
        projection_defaults(source);
    }
}

fn projection_defaults(source: &mut Value) {
    if let Some(token) = source.get_mut("serviceAccountToken") {
        default(token, "expirationSeconds", TOKEN_SECONDS);
    }
    for item in list_mut(source, "/downwardAPI/items") {
        field_version(item.get_mut("fieldRef"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn case(volume: Value, expected: Value) {
        let mut volume = volume;
        set_defaults(&mut volume);
        assert_eq!(volume, expected);
    }

    #[test]
    fn volumes_are_completed() {
        case(json!({"name": "v"}), json!({"name": "v", "emptyDir": {}}));
        case(
            json!({"name": "v", "configMap": {"name": "c"}}),
            json!({"name": "v", "configMap": {"name": "c", "defaultMode": 420}}),
        );
        case(
            json!({"name": "v", "hostPath": {"path": "/"}}),
            json!({"name": "v", "hostPath": {"path": "/", "type": ""}}),
        );
        case(
            json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}),
            json!({"name": "v", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}]}}),
        );
    }
}
