//! What the server serves: `/version`, `/api`, `/apis` and the resource lists, plain and aggregated.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::body::{Reply, full, json as json_reply, json_bytes, reply};
use super::kinds::api_version;
use super::negotiate::accepts;
use super::status::{Result, Status};
use crate::registry::REVIEWS;
use crate::registry::kind::Kind;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The `/version` answer. The Kubernetes version is that of the API types; ours follows the plus.
pub(super) fn version() -> Reply {
    let naru = env!("CARGO_PKG_VERSION");
    let version = json!({
        "major": "1", "minor": "37", "gitVersion": format!("v1.37.0+naru{naru}"),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": format!("linux/{}", arch()),
    });
    json_reply(StatusCode::OK, &version)
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Ready-made answers by path.
pub(super) struct Discovery {
    plain: BTreeMap<String, Bytes>,
    aggregated: BTreeMap<String, Bytes>,
}

impl Discovery {
    pub(super) fn new(kinds: impl Iterator<Item = &'static Kind>) -> Self {
        let mut plain = BTreeMap::new();
        let mut put = |path: String, value: Value| plain.insert(path, value.to_string().into());
        put(
            "/api".into(),
            json!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": []}),
        );
        let groups = groups(kinds.chain(REVIEWS.iter().copied()));
        let named = groups.iter().filter(|(group, _)| !group.is_empty());
        let list: Vec<Value> = named
            .clone()
            .map(|(group, versions)| api_group(group, versions))
            .collect();
        put(
            "/apis".into(),
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list}),
        );
        for (group, versions) in named {
            let mut value = api_group(group, versions);
            value["kind"] = "APIGroup".into();
            value["apiVersion"] = "v1".into();
            put(format!("/apis/{group}"), value);
        }
        for (group, versions) in &groups {
            for (version, kinds) in versions {
                let root = if group.is_empty() {
                    "/api".into()
                } else {
                    format!("/apis/{group}")
                };
                put(format!("{root}/{version}"), resource_list(kinds));
            }
        }
        put(String::new(), json!({"paths": paths(&groups)}));
        let mut aggregated = BTreeMap::new();
        let (core, named): (Vec<_>, Vec<_>) =
            groups.iter().partition(|(group, _)| group.is_empty());
        for (path, groups) in [("/api", core), ("/apis", named)] {
            let items: Vec<Value> = groups
                .iter()
                .map(|(group, versions)| aggregated_group(group, versions))
                .collect();
            let list = json!({"kind": "APIGroupDiscoveryList",
                "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
            aggregated.insert(path.to_owned(), list.to_string().into());
        }
        Self { plain, aggregated }
    }

    /// Adds versions of a group that others serve: their `paths` without what is asked there, and what
    /// plain and aggregated discovery say about each. Versions that are here give way.
    pub(super) fn add(
        &mut self,
        group: &str,
        paths: Vec<String>,
        plain: Vec<Value>,
        aggregated: Vec<Value>,
    ) {
        let own = format!("/apis/{group}");
        let mut value = self.value(&own).unwrap_or_else(|| json!({"name": group}));
        put_first(&mut value["versions"], plain);
        value["preferredVersion"] = value["versions"][0].clone();
        let mut list = self.value("/apis").unwrap_or_default();
        put_named(&mut list["groups"], &["name"], group, value.clone());
        (value["kind"], value["apiVersion"]) = ("APIGroup".into(), "v1".into());
        let mut root = self.value("").unwrap_or_default();
        if let Some(all) = root["paths"].as_array_mut() {
            all.extend(paths.into_iter().map(Value::from));
            all.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
            all.dedup();
        }
        for (path, value) in [(own.as_str(), value), ("/apis", list), ("", root)] {
            self.plain.insert(path.to_owned(), value.to_string().into());
        }
        let known = self.aggregated.get("/apis");
        let mut list: Value = known
            .and_then(|list| serde_json::from_slice(list).ok())
            .unwrap_or_default();
        let mut groups = list["items"].as_array().into_iter().flatten();
        let known = groups.find(|it| it["metadata"]["name"] == group).cloned();
        let mut value = known.unwrap_or_else(|| json!({"metadata": {"name": group}}));
        put_first(&mut value["versions"], aggregated);
        put_named(&mut list["items"], &["metadata", "name"], group, value);
        let list = list.to_string();
        self.aggregated.insert("/apis".to_owned(), list.into());
    }

    fn value(&self, path: &str) -> Option<Value> {
        serde_json::from_slice(self.plain.get(path)?).ok()
    }

    /// Answers a path that is no resource.
    ///
    /// # Errors
    /// 404 for unknown paths, 405 for other methods than GET.
    pub(super) fn answer(&self, path: &str, method: &Method, headers: &HeaderMap) -> Result<Reply> {
        let path = path.trim_end_matches('/');
        let found = self.plain.get(path).ok_or_else(Status::no_such_resource)?;
        if method != Method::GET && method != Method::HEAD {
            return Err(Status::method_not_allowed());
        }
        match self
            .aggregated
            .get(path)
            .filter(|_| wants_aggregated(&accepts(headers)))
        {
            Some(list) => Ok(reply(StatusCode::OK, AGGREGATED, full(list.clone()))),
            None => Ok(json_bytes(StatusCode::OK, found.clone())),
        }
    }
}

/// Puts versions in front of those that are there, of which the same ones go.
fn put_first(list: &mut Value, versions: Vec<Value>) {
    let mut all = versions;
    if let Value::Array(have) = list.take() {
        let new: Vec<Value> = all.iter().map(|it| it["version"].clone()).collect();
        all.extend(have.into_iter().filter(|it| !new.contains(&it["version"])));
    }
    *list = all.into();
}

/// Puts a group in the place of the one of that name, or at the end.
fn put_named(list: &mut Value, path: &[&str], name: &str, group: Value) {
    let Some(list) = list.as_array_mut() else {
        return;
    };
    let named = |it: &Value| path.iter().fold(it, |it, key| &it[*key]) == name;
    match list.iter_mut().find(|it| named(it)) {
        Some(have) => *have = group,
        None => list.push(group),
    }
}

/// Whether aggregated discovery v2 comes before plain JSON in an Accept header.
fn wants_aggregated(accept: &str) -> bool {
    let mut entries = accept.split(',').map(|entry| entry.replace(' ', ""));
    let decisive = entries.find(|entry| {
        let aggregated = entry.contains("as=APIGroupDiscoveryList");
        aggregated && (entry.contains("v=v2;") || entry.ends_with("v=v2"))
            || entry == "application/json"
    });
    decisive.is_some_and(|entry| entry != "application/json")
}

type Groups = BTreeMap<&'static str, BTreeMap<&'static str, Vec<&'static Kind>>>;

fn groups(kinds: impl Iterator<Item = &'static Kind>) -> Groups {
    let mut groups = Groups::new();
    for kind in kinds {
        groups
            .entry(kind.group)
            .or_default()
            .entry(kind.version)
            .or_default()
            .push(kind);
    }
    groups
}

/// What `GET /` lists.
fn paths(groups: &Groups) -> Vec<String> {
    let named = groups.iter().filter(|(group, _)| !group.is_empty());
    let named = named.flat_map(|(group, versions)| {
        let versions = versions.keys();
        let versions = versions.map(move |version| format!("/apis/{group}/{version}"));
        std::iter::once(format!("/apis/{group}")).chain(versions)
    });
    let fixed = [
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
    ];
    let last = ["/readyz", "/version"];
    let owned = |path: &str| path.to_owned();
    let all = fixed.map(owned).into_iter().chain(named);
    let mut all: Vec<_> = all.chain(last.map(owned)).collect();
    all.sort();
    all
}

/// Versions, best first: stable ones before betas before alphas, higher ones before lower ones, and
/// what is no such version last.
fn ranked<'a, T>(versions: &BTreeMap<&'a str, T>) -> Vec<&'a str> {
    let mut names: Vec<_> = versions.keys().copied().collect();
    names.sort_by_key(|name| std::cmp::Reverse((rank(name), std::cmp::Reverse(*name))));
    names
}

/// Stability, major and minor number of `v2`, `v1beta3`, `v1alpha1`.
fn rank(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    for (stability, word) in [(1, "beta"), (0, "alpha")] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((stability, major.parse().ok()?, minor.parse().ok()?));
        }
    }
    Some((2, rest.parse().ok()?, 0))
}

fn api_group(group: &str, versions: &BTreeMap<&str, Vec<&'static Kind>>) -> Value {
    let version = |version: &&str| {
        json!({"groupVersion": format!("{group}/{version}"),
        "version": version})
    };
    let versions: Vec<Value> = ranked(versions).iter().map(version).collect();
    json!({"name": group, "preferredVersion": versions.first(), "versions": versions})
}

/// A subresource: its name, its kind as group, version and kind, and its verbs.
struct Sub {
    name: &'static str,
    gvk: (&'static str, &'static str, &'static str),
    verbs: &'static [&'static str],
}

const fn sub(
    name: &'static str,
    gvk: (&'static str, &'static str, &'static str),
    verbs: &'static [&'static str],
) -> Sub {
    Sub { name, gvk, verbs }
}

const READ_WRITE: &[&str] = &["get", "patch", "update"];

fn subresources(kind: &'static Kind) -> Vec<Sub> {
    let own = (kind.group, kind.version, kind.kind);
    let mut subs = Vec::new();
    if kind.status {
        subs.push(sub("status", own, READ_WRITE));
    }
    for part in kind.parts {
        subs.push(sub(part.name, own, READ_WRITE));
    }
    if kind.scale.is_some() {
        subs.push(sub("scale", ("autoscaling", "v1", "Scale"), READ_WRITE));
    }
    match (kind.group, kind.plural) {
        ("", "pods") => subs.extend([
            sub("attach", ("", "v1", "PodAttachOptions"), &["create", "get"]),
            sub("binding", ("", "v1", "Binding"), &["create"]),
            sub("eviction", ("policy", "v1", "Eviction"), &["create"]),
            sub("exec", ("", "v1", "PodExecOptions"), &["create", "get"]),
            sub("log", own, &["get"]),
            sub(
                "portforward",
                ("", "v1", "PodPortForwardOptions"),
                &["create", "get"],
            ),
        ]),
        ("", "nodes") => subs.push(sub(
            "proxy",
            ("", "v1", "NodeProxyOptions"),
            &["create", "delete", "get", "patch", "update"],
        )),
        ("certificates.k8s.io", "certificatesigningrequests") => {
            subs.push(sub("approval", own, READ_WRITE));
        }
        ("", "namespaces") => subs.push(sub("finalize", own, &["update"])),
        ("", "serviceaccounts") => {
            subs.push(sub(
                "token",
                ("authentication.k8s.io", "v1", "TokenRequest"),
                &["create"],
            ));
        }
        _ => {}
    }
    subs
}

fn resource_list(kinds: &[&'static Kind]) -> Value {
    let mut resources = Vec::new();
    for kind in kinds {
        let mut resource = json!({"name": kind.plural, "singularName": kind.singular,
            "namespaced": kind.namespaced, "kind": kind.kind, "verbs": kind.verbs});
        if !kind.short_names.is_empty() {
            resource["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            resource["categories"] = json!(kind.categories);
        }
        resources.push(resource);
        for sub in subresources(kind) {
            let (group, version, name) = sub.gvk;
            let mut resource = json!({"name": format!("{}/{}", kind.plural, sub.name),
                "singularName": "", "namespaced": kind.namespaced, "kind": name,
                "verbs": sub.verbs});
            if group != kind.group {
                resource["group"] = group.into();
                resource["version"] = version.into();
            }
            resources.push(resource);
        }
    }
    let group_version = kinds
        .first()
        .map(|kind| api_version(kind))
        .unwrap_or_default();
    if group_version == "v1" {
        resources.push(
            json!({"name": "bindings", "singularName": "binding", "namespaced": true,
            "kind": "Binding", "verbs": ["create"]}),
        );
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
        "resources": resources})
}

fn aggregated_group(group: &str, versions: &BTreeMap<&str, Vec<&'static Kind>>) -> Value {
    let version = |(version, kinds): (&&str, &Vec<&'static Kind>)| {
        let resources: Vec<Value> = kinds.iter().map(|kind| aggregated_resource(kind)).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let versions: Vec<Value> = ranked(versions)
        .into_iter()
        .map(|name| version((&name, &versions[name])))
        .collect();
    let metadata = if group.is_empty() {
        json!({})
    } else {
        json!({"name": group})
    };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(kind: &'static Kind) -> Value {
    let gvk = |(group, version, kind): (&str, &str, &str)| json!({"group": group, "version": version, "kind": kind});
    let scope = if kind.namespaced {
        "Namespaced"
    } else {
        "Cluster"
    };
    let sub = |sub: Sub| {
        json!({"subresource": sub.name, "responseKind": gvk(sub.gvk),
        "verbs": sub.verbs})
    };
    let mut resource = json!({"resource": kind.plural, "singularResource": kind.singular,
        "scope": scope, "verbs": kind.verbs,
        "responseKind": gvk((kind.group, kind.version, kind.kind))});
    let subs: Vec<Value> = subresources(kind).into_iter().map(sub).collect();
    for (key, values) in [
        ("shortNames", kind.short_names),
        ("categories", kind.categories),
    ] {
        if !values.is_empty() {
            resource[key] = json!(values);
        }
    }
    if !subs.is_empty() {
        resource["subresources"] = subs.into();
    }
    resource
}

#[cfg(test)]
impl Discovery {
    /// What a path says.
    pub(super) fn plain_value(&self, path: &str) -> Option<Value> {
        self.value(path)
    }

    /// What aggregated discovery says.
    pub(super) fn aggregated_value(&self, path: &str) -> Option<Value> {
        serde_json::from_slice(self.aggregated.get(path)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::KINDS;

    #[test]
    fn the_order_of_the_accept_header_decides() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        assert!(wants_aggregated(&format!("{v2},{beta},application/json")));
        assert!(!wants_aggregated(&format!("{beta},application/json")));
        assert!(!wants_aggregated(&format!("application/json,{v2}")));
        assert!(!wants_aggregated(""));
    }

    #[test]
    fn versions_rank_by_stability_and_number() {
        let versions = ["v1", "v10", "v2beta1", "v2", "v11alpha2", "foo", "v2beta10"];
        let versions = versions.into_iter().map(|name| (name, ())).collect();
        assert_eq!(
            ranked(&versions),
            ["v10", "v2", "v1", "v2beta10", "v2beta1", "v11alpha2", "foo"]
        );
    }

    #[test]
    fn every_kind_is_listed() {
        let discovery = Discovery::new(KINDS.iter().copied());
        for kind in KINDS {
            let root = if kind.group.is_empty() {
                "/api".into()
            } else {
                format!("/apis/{}", kind.group)
            };
            let list = &discovery.plain[&format!("{root}/{}", kind.version)];
            let list: Value = serde_json::from_slice(list).unwrap();
            let mut names = list["resources"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| &it["name"]);
            assert!(names.any(|name| name == kind.plural), "{}", kind.plural);
        }
    }
}
