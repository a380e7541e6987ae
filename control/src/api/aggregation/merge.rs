//! What other servers serve, among what is served here: discovery and OpenAPI. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::extension::{Extension, Extensions};
use crate::api::discovery::Discovery;
use crate::api::value::{items, text};

/// Adds groups and versions of other servers to discovery.
pub(super) fn discovery(discovery: &mut Discovery, extensions: &Extensions) {
    let mut groups: BTreeMap<&str, Vec<&Arc<Extension>>> = BTreeMap::new();
    for extension in extensions.iter() {
        groups.entry(&extension.group).or_default().push(extension);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    let priority = |versions: &[&Arc<Extension>]| versions.iter().map(|it| it.priority.0).max();
    groups.sort_by_key(|(_, versions)| std::cmp::Reverse(priority(versions)));
    for (group, mut versions) in groups {
        versions.sort_by_key(|it| std::cmp::Reverse(it.priority.1));
        let paths = versions.iter().map(|it| it.path());
        let paths = std::iter::once(format!("/apis/{group}")).chain(paths);
        let plain = versions.iter().map(|it| plain(it)).collect();
        let aggregated = versions.iter().map(|it| aggregated(it)).collect();
        discovery.add(group, paths.collect(), plain, aggregated);
    }
}

fn plain(extension: &Extension) -> Value {
    let (group, version) = (&extension.group, &extension.version);
    json!({"groupVersion": format!("{group}/{version}"), "version": version})
}

/// A version in aggregated discovery; what an absent server told last is stale.
fn aggregated(extension: &Extension) -> Value {
    let freshness = if extension.available {
        "Current"
    } else {
        "Stale"
    };
    let list = &extension.told.resources;
    json!({"version": extension.version, "resources": resources(extension, list),
        "freshness": freshness})
}

/// The resources of an APIResourceList in the form of aggregated discovery.
fn resources(extension: &Extension, list: &Value) -> Vec<Value> {
    let kind = |it: &Value| {
        let or = |key: &str, other: &str| match text(it, key) {
            "" => other.to_owned(),
            text => text.to_owned(),
        };
        json!({"group": or("/group", &extension.group),
            "version": or("/version", &extension.version), "kind": text(it, "/kind")})
    };
    let all = items(list, "/resources");
    let mut made = Vec::new();
    for it in all.iter().filter(|it| !text(it, "/name").contains('/')) {
        let name = text(it, "/name");
        let scope = if it["namespaced"] == true {
            "Namespaced"
        } else {
            "Cluster"
        };
        let mut resource = json!({"resource": name, "singularResource": text(it, "/singularName"),
            "scope": scope, "verbs": items(it, "/verbs"), "responseKind": kind(it)});
        let parts = all.iter().filter_map(|part| {
            let (parent, short) = text(part, "/name").split_once('/')?;
            (parent == name).then(|| {
                json!({"subresource": short, "responseKind": kind(part),
                    "verbs": items(part, "/verbs")})
            })
        });
        let parts: Vec<Value> = parts.collect();
        for (key, list) in [
            ("shortNames", items(it, "/shortNames").to_vec()),
            ("categories", items(it, "/categories").to_vec()),
            ("subresources", parts),
        ] {
            if !list.is_empty() {
                resource[key] = list.into();
            }
        }
        made.push(resource);
    }
    made
}

impl Extensions {
    /// Adds where other servers keep their documents to the index of OpenAPI 3.
    pub(in crate::api) fn index(&self, index: &mut Value) {
        for extension in self.iter().filter(|it| it.available) {
            let url = extension.told.document.as_deref().unwrap_or_default();
            if !url.is_empty() {
                let path = extension.path();
                index["paths"][path.trim_start_matches('/')] = json!({"serverRelativeURL": url});
            }
        }
    }

    /// Adds what other servers tell to a document of OpenAPI 2; what it has itself stays.
    pub(in crate::api) fn describe(&self, document: &mut Value) {
        for extension in self.iter() {
            for key in ["paths", "definitions"] {
                let told = extension.told.swagger.get(key).and_then(Value::as_object);
                let nothing = Map::new();
                if let Some(have) = document.get_mut(key).and_then(Value::as_object_mut) {
                    for (name, value) in told.unwrap_or(&nothing) {
                        have.entry(name.clone()).or_insert_with(|| value.clone());
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::extension::sample;
    use super::*;
    use crate::registry::KINDS;

    fn extension(available: bool) -> Extension {
        let mut extension = sample("a.b", "v1", (100, 10));
        extension.available = available;
        extension.told.resources = Arc::new(json!({"resources": [
            {"name": "xs", "singularName": "x", "namespaced": true, "kind": "X",
                "verbs": ["get"], "shortNames": ["s"]},
            {"name": "xs/status", "namespaced": true, "kind": "X", "verbs": ["get"]}]}));
        extension
    }

    #[test]
    fn versions_of_others_are_discovered_and_may_be_stale() {
        for available in [true, false] {
            let mut made = Discovery::new(KINDS.iter().copied());
            let all = Extensions::new(vec![extension(available), sample("a.b", "v2", (1, 90))]);
            discovery(&mut made, &all);
            let group = made.plain_value("/apis/a.b").unwrap();
            assert_eq!(group["preferredVersion"]["version"], "v2");
            assert_eq!(group["versions"][1]["groupVersion"], "a.b/v1");
            let groups = made.plain_value("/apis").unwrap();
            let groups = groups["groups"].as_array().unwrap();
            assert!(groups.iter().any(|it| it["name"] == "a.b"));
            let paths = made.plain_value("").unwrap();
            let paths = paths["paths"].as_array().unwrap();
            assert!(paths.contains(&json!("/apis/a.b/v1")));
            let list = made.aggregated_value("/apis").unwrap();
            let list = list["items"].as_array().unwrap();
            let found = list
                .iter()
                .find(|it| it["metadata"]["name"] == "a.b")
                .unwrap();
            let version = &found["versions"][1];
            let expected = if available { "Current" } else { "Stale" };
            assert_eq!(version["freshness"], expected);
            let resource = &version["resources"][0];
            assert_eq!(resource["responseKind"]["group"], "a.b");
            assert_eq!(resource["subresources"][0]["subresource"], "status");
        }
    }

    #[test]
    fn documents_are_added_and_change_nothing_that_is_there() {
        let mut extension = extension(true);
        extension.told.document = Some("/openapi/v3/apis/a.b/v1?hash=1".into());
        extension.told.swagger = Arc::new(json!({"paths": {"/apis/a.b/v1/xs": {}},
            "definitions": {"ours": {"type": "string"}, "b.a.X": {}}}));
        let all = Extensions::new(vec![extension]);
        let mut index = json!({"paths": {}});
        all.index(&mut index);
        assert_eq!(
            index["paths"]["apis/a.b/v1"]["serverRelativeURL"],
            "/openapi/v3/apis/a.b/v1?hash=1"
        );
        let mut document = json!({"paths": {}, "definitions": {"ours": {}}});
        all.describe(&mut document);
        assert_eq!(document["definitions"], json!({"ours": {}, "b.a.X": {}}));
        assert!(document["paths"].get("/apis/a.b/v1/xs").is_some());
    }
}
