//! Pods that 1, 100 and 1,000 NetworkPolicies select, as the daemon compiles them.
//!
//! Every policy lets one client in, to a port of its own. The first lets everybody in as well, by TCP to
//! any port: an entry without identity and port, which the data path asks for last but one. So what a
//! client sends to a port that no policy names is judged after four lookups that find nothing, and what
//! it sends over UDP is dropped after six.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Result, ensure};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use naru_ebpf_common::Addr;
use naru_node::datapath::Datapath;
use naru_node::ipcache::Class;
use naru_node::policy::{Policies, Rules, Subject, World, compile};
use naru_node::watches::Key;
use serde_json::json;

use crate::cast::{self, CLIENTS};

/// How many policies the pods have.
pub(crate) const COUNTS: [u32; 3] = [1, 100, 1000];
/// The port to which client 0 is let in by name.
pub(crate) const EXACT: u16 = 8000;

const NAMESPACE: &str = "shop";
/// Endpoints of the cast come before those with policies.
const FIRST_ENDPOINT: u32 = 2;

/// The pod that so many of [`COUNTS`] select.
pub(crate) fn pod(place: usize) -> Addr {
    cast::pod(place as u8)
}

/// Writes what the policies come to, and the pods.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn enter(datapath: &Datapath) -> Result<()> {
    let (policies, classes) = (all()?, classes());
    let world = World {
        namespaces: &BTreeMap::from([(NAMESPACE.to_owned(), BTreeMap::new())]),
        classes: &classes,
        ports: &HashMap::new(),
    };
    for ((place, count), endpoint) in COUNTS.iter().enumerate().zip(FIRST_ENDPOINT..) {
        let subject = Subject {
            endpoint,
            namespace: NAMESPACE,
            labels: &labels("selected-by", *count),
            ports: &[],
        };
        let compiled = compile(subject, &policies, &world, &mut Rules::default());
        // One for each client, and one for everybody.
        ensure!(compiled.entries.len() == *count as usize + 1, "entries");
        datapath.policy.put_all(&compiled.entries)?;
        let pod = cast::endpoint(endpoint, compiled.flags);
        datapath.endpoints.put(&self::pod(place), &pod)?;
    }
    Ok(datapath.forget_ends()?)
}

fn all() -> Result<Policies> {
    let mut network = BTreeMap::new();
    for count in COUNTS {
        for client in 0..count {
            let policy = Arc::new(policy(count, client)?);
            network.insert(
                Key::new(NAMESPACE, format!("of-{count}-{client:04}")),
                policy,
            );
        }
    }
    Ok(Policies {
        network,
        ..Policies::default()
    })
}

fn policy(count: u32, client: u32) -> Result<NetworkPolicy> {
    let mut ingress = vec![json!({
        "from": [{"podSelector": {"matchLabels": labels("client", client)}}],
        "ports": [{"protocol": "TCP", "port": u32::from(EXACT) + client}],
    })];
    if client == 0 {
        ingress.push(json!({"ports": [{"protocol": "TCP"}]}));
    }
    let spec = json!({
        "podSelector": {"matchLabels": labels("selected-by", count)},
        "policyTypes": ["Ingress"],
        "ingress": ingress,
    });
    Ok(serde_json::from_value(
        json!({"metadata": {}, "spec": spec}),
    )?)
}

/// Every client with its identity.
fn classes() -> Vec<(Class, u32)> {
    let class = |client| Class::Pod {
        namespace: NAMESPACE.into(),
        labels: Arc::new(labels("client", client)),
        blocks: Vec::new(),
    };
    let clients = 0..CLIENTS;
    clients
        .map(|client| (class(client), cast::identity(client)))
        .collect()
}

fn labels(name: &str, value: u32) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_string())])
}
