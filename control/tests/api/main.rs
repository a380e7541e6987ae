//! The API over real HTTPS, line by line of what it promises: a real process, raw requests.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/etcd.rs"]
mod etcd;

mod admission;
mod aggregation;
mod apply;
mod audit;
mod bodies;
mod bootstrap;
mod cluster_network_policies;
mod compression;
mod conversion;
mod custom;
mod deletion;
mod encryption;
mod ephemeral;
mod events;
mod evictions;
mod fairness;
mod health;
mod holders;
mod hostile;
mod identity;
mod lists;
mod oidc;
mod operations;
mod patches;
mod protobuf;
mod resize;
mod rights;
mod roles;
mod rotation;
mod sizes;
mod subresources;
mod versions;
mod watches;
mod yaml;

use serde_json::{Value, json};
use support::Control;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"a": "1"}})
}

fn labelled(name: &str, app: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": app}}, "data": {"a": "1"}})
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

/// A pod that the scheduler leaves alone: nobody writes to it but the test.
fn alone(name: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["schedulerName"] = "nobody".into();
    pod
}

fn version(object: &Value) -> String {
    let version = &object["metadata"]["resourceVersion"];
    version.as_str().expect("a resourceVersion").to_owned()
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("a list");
    let name = |item: &'_ Value| item["metadata"]["name"].as_str().unwrap().len();
    assert!(items.iter().all(|item| name(item) > 0));
    items
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .filter(|name| *name != "kube-root-ca.crt")
        .collect()
}

/// Creates an object, which must succeed.
async fn create(control: &Control, path: &str, object: &Value) -> Value {
    control.post(path, object).await.expect(201)
}
