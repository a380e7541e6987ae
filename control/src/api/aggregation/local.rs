//! The APIServices of the groups that are served here: made, set right and taken away.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::admission::Request;
use crate::api::kinds::Target;
use crate::api::managed::{Trace, Writer};
use crate::api::meta;
use crate::api::options::DeleteOptions;
use crate::api::server::Server;
use crate::api::status::Result;
use crate::api::value::{name, text};
use crate::api::verbs::delete_one;
use crate::api::write::Part;
use crate::registry::REVIEWS;

/// Marks an APIService that is kept by the server.
const KEPT: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Its value for groups that are always there.
const ALWAYS: &str = "onstart";
/// Its value for those of custom kinds.
const WHILE_DEFINED: &str = "true";

/// Priority of groups in discovery, and of their versions; what is not listed comes after.
const PRIORITIES: &[(&str, i64)] = &[
    ("", 18000),
    ("events.k8s.io", 17750),
    ("apps", 17800),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("apiextensions.k8s.io", 16700),
    ("admissionregistration.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
    ("resource.k8s.io", 16000),
];

/// The APIServices that there have to be, by name.
fn wanted(server: &Server) -> BTreeMap<String, Value> {
    let mut wanted = BTreeMap::new();
    let own = server.kinds.0.iter().chain(REVIEWS);
    for kind in own {
        if kind.group != "apiregistration.k8s.io" {
            let of = service(kind.group, kind.version, ALWAYS);
            wanted.insert(name(&of).to_owned(), of);
        }
    }
    let custom = server.custom.load();
    for kind in custom.kinds() {
        let of = service(kind.group, kind.version, WHILE_DEFINED);
        wanted.entry(name(&of).to_owned()).or_insert(of);
    }
    wanted
}

fn service(group: &str, version: &str, kept: &str) -> Value {
    let known = PRIORITIES.iter().find(|(known, _)| *known == group);
    let default = if kept == ALWAYS { 15000 } else { 1000 };
    let priority = known.map_or(default, |(_, priority)| *priority);
    let among = match (kept, version) {
        (WHILE_DEFINED, _) => 100,
        ("autoscaling", "v2") => 30,
        _ => 15,
    };
    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {KEPT: kept}},
        "spec": {"group": group, "version": version, "groupPriorityMinimum": priority,
            "versionPriority": among}})
}

/// Makes what is missing, sets right what is not as it should be, and takes away what is served no
/// more. What others have made stays theirs.
pub(super) async fn sync(server: &Server, target: Target) {
    let wanted = wanted(server);
    for (key, service) in &wanted {
        let done = match server.store.get(target.resource, key) {
            None => make(server, target, service.clone()).await,
            Some(stored) => set_right(server, target, &stored.value(), service).await,
        };
        if let Err(status) = done {
            tracing::warn!(
                service = key,
                why = status.message,
                "an APIService is not kept"
            );
        }
    }
    let all = server.store.snapshot(target.resource).objects;
    for (key, stored) in all.iter() {
        let kept = stored.selectable.label(KEPT);
        if kept.is_some() && !wanted.contains_key(key) {
            let (options, own) = (DeleteOptions::default(), Request::own(target));
            let _ = delete_one(server, target, key, &options, &own).await;
        }
    }
}

fn writer() -> Writer {
    Writer::of(Some("naru-control"), None, "", Part::Whole)
}

async fn make(server: &Server, target: Target, mut service: Value) -> Result<()> {
    meta::stamp(&mut service, None, Timestamp::now());
    let (own, writer) = (Request::own(target), writer());
    let made = server.insert(target, service, &own, Trace::Update(&writer));
    made.await.map(drop)
}

async fn set_right(server: &Server, target: Target, have: &Value, service: &Value) -> Result<()> {
    let kept = have.pointer("/metadata/labels").and_then(|it| it.get(KEPT));
    if kept.is_none() || have["spec"] == service["spec"] {
        return Ok(());
    }
    let candidate = |old: &Value| {
        let mut new = old.clone();
        new["spec"] = service["spec"].clone();
        Ok(new)
    };
    let (own, writer) = (Request::own(target), writer());
    let (key, trace) = (text(have, "/metadata/name"), Trace::Update(&writer));
    let done = server.modify(target, key, Part::Whole, &own, trace, &candidate);
    done.await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn an_own_group_has_a_valid_service() {
        let kind = registry::by_kind("apiregistration.k8s.io", "v1", "APIService").unwrap();
        for (group, version, kept) in [
            ("", "v1", ALWAYS),
            ("apps", "v1", ALWAYS),
            ("a.b", "v1beta1", WHILE_DEFINED),
        ] {
            let made = service(group, version, kept);
            assert_eq!((kind.validate)(&made, None), [], "{group}");
            assert_eq!(made["spec"].get("service"), None);
        }
        assert_eq!(service("", "v1", ALWAYS)["metadata"]["name"], "v1.");
        assert_eq!(
            service("a.b", "v1", WHILE_DEFINED)["spec"]["groupPriorityMinimum"],
            1000
        );
    }
}
