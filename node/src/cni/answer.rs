//! What each verb does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use naru_node_api::cni::{
    AddResult, Attachment, CniError, Command, Interface, IpConfig, Reply, Request, Route, code,
};
use serde_json::Value;

use crate::Shared;
use crate::ipam::{IpamError, Lease, LeaseKey, PodRef};
use crate::net::gateway;
use crate::network::{self, AttachError, Network, chain};

pub(super) async fn answer(shared: &Shared, request: Request) -> Reply {
    let outcome = match shared.network.get() {
        Some(network) => dispatch(network, request).await,
        None => Err(not_open(shared, request.command)),
    };
    outcome.unwrap_or_else(Reply::Failed)
}

/// The data path is not there: new pods must wait; those that run go on with what is in the kernel.
fn not_open(shared: &Shared, command: Command) -> CniError {
    let code = match command {
        Command::Status => code::LIMITED_CONNECTIVITY,
        _ => code::TRY_AGAIN,
    };
    let why = shared
        .health
        .fault("datapath")
        .unwrap_or_else(|| "the daemon is starting".into());
    CniError::new(code, "the node's network is not ready").with_details(why)
}

async fn dispatch(network: &Arc<Network>, request: Request) -> Result<Reply, CniError> {
    let key = LeaseKey {
        sandbox: request.invocation.container_id.clone(),
        ifname: request.invocation.ifname.clone(),
    };
    match request.command {
        Command::Add => add(network, key, request).await,
        Command::Del => network
            .detach(&key)
            .await
            .map(|()| Reply::Done)
            .map_err(failed),
        Command::Check => check(network, &key, &request).await,
        Command::Gc => {
            gc(
                network,
                &request.config.valid_attachments.unwrap_or_default(),
            )
            .await
        }
        Command::Status => status(network),
        Command::Version => Ok(Reply::Done),
    }
}

async fn add(network: &Arc<Network>, key: LeaseKey, request: Request) -> Result<Reply, CniError> {
    let invocation = request.invocation;
    let Some(netns) = invocation.netns else {
        return Err(CniError::new(
            code::INVALID_ENVIRONMENT,
            "CNI_NETNS is missing",
        ));
    };
    let arg = |name: &str| invocation.args.get(name).cloned().unwrap_or_default();
    let pod = PodRef {
        namespace: arg("K8S_POD_NAMESPACE"),
        name: arg("K8S_POD_NAME"),
        uid: arg("K8S_POD_UID"),
    };
    let request = network::Request { key, pod, netns };
    let (lease, mtu) = network.attach(request).await.map_err(failed)?;
    Ok(Reply::Added(result(&lease, mtu)))
}

fn result(lease: &Lease, mtu: u32) -> AddResult {
    let link = |name: &str, mac: crate::net::Mac, sandbox| Interface {
        name: name.to_owned(),
        mac: mac.to_string(),
        mtu,
        sandbox,
    };
    let netns = lease.netns.display().to_string();
    AddResult {
        interfaces: vec![
            link(&lease.host_link, lease.host_mac, None),
            link(&lease.key.ifname, lease.pod_mac, Some(netns)),
        ],
        ips: lease.addresses.iter().copied().map(ip_config).collect(),
        routes: lease.addresses.iter().copied().map(route).collect(),
    }
}

fn ip_config(address: IpAddr) -> IpConfig {
    IpConfig {
        address: IpNet::from(address),
        gateway: gateway(address).0,
        interface: 1,
    }
}

fn route(address: IpAddr) -> Route {
    let (gw, dst) = gateway(address);
    Route { dst, gw }
}

async fn check(
    network: &Arc<Network>,
    key: &LeaseKey,
    request: &Request,
) -> Result<Reply, CniError> {
    let Some(lease) = network.ipam.get(key) else {
        let msg = format!("container {} is not attached", key.sandbox);
        return Err(CniError::new(code::UNKNOWN_CONTAINER, msg));
    };
    let mut faults = network.check(key).await;
    let previous = request.config.previous.as_ref();
    faults.extend(
        previous
            .into_iter()
            .flat_map(|previous| differences(previous, &lease)),
    );
    if faults.is_empty() {
        return Ok(Reply::Done);
    }
    Err(
        CniError::new(code::ATTACHMENT_CHANGED, "the attachment has changed")
            .with_details(faults.join("; ")),
    )
}

/// Where the result that the runtime kept says something else about the pod's interface than the
/// lease does. What other plugins of the list have added is theirs to check.
fn differences(previous: &Value, lease: &Lease) -> Vec<String> {
    let list = |field: &str| previous[field].as_array().into_iter().flatten();
    let mut faults = Vec::new();
    let addresses: Vec<_> = list("ips")
        .filter_map(|ip| ip["address"].as_str())
        .collect();
    for own in lease
        .addresses
        .iter()
        .map(|own| IpNet::from(*own).to_string())
    {
        if !addresses.contains(&own.as_str()) {
            let listed = addresses.join(", ");
            faults.push(format!(
                "the result of the ADD names [{listed}], the lease {own}"
            ));
        }
    }
    let inside = |link: &&Value| !link["sandbox"].as_str().unwrap_or_default().is_empty();
    let mut links = list("interfaces").filter(inside);
    let mac = lease.pod_mac.to_string();
    match links.find(|link| link["name"] == lease.key.ifname.as_str()) {
        None => faults.push(format!(
            "the result of the ADD names no {}",
            lease.key.ifname
        )),
        Some(link) if link["mac"].as_str() != Some(&mac) => {
            faults.push(format!(
                "the result of the ADD names {}, the lease {mac}",
                link["mac"]
            ));
        }
        Some(_) => {}
    }
    faults
}

async fn gc(network: &Arc<Network>, valid: &[Attachment]) -> Result<Reply, CniError> {
    let valid: BTreeSet<(&str, &str)> = valid
        .iter()
        .map(|a| (a.container_id.as_str(), a.ifname.as_str()))
        .collect();
    let mut failures = Vec::new();
    for Lease { key, .. } in network.ipam.leases() {
        if valid.contains(&(key.sandbox.as_str(), key.ifname.as_str())) {
            continue;
        }
        if let Err(error) = network.detach(&key).await {
            failures.push(format!("{}: {}", key.sandbox, chain(&error)));
        }
    }
    if failures.is_empty() {
        return Ok(Reply::Done);
    }
    Err(
        CniError::new(code::KERNEL, "not everything could be released")
            .with_details(failures.join("; ")),
    )
}

fn status(network: &Network) -> Result<Reply, CniError> {
    if network.ipam.ranges().is_empty() {
        let msg = "the node has no pod CIDR yet";
        return Err(CniError::new(code::NOT_AVAILABLE, msg));
    }
    Ok(Reply::Done)
}

fn failed(error: AttachError) -> CniError {
    let code = match &error {
        AttachError::Address(IpamError::Exhausted(_)) => code::ADDRESSES_EXHAUSTED,
        AttachError::Address(IpamError::NoRange)
        | AttachError::UnknownPod(_)
        | AttachError::NotProgrammed(_)
        | AttachError::Stopping => code::TRY_AGAIN,
        AttachError::Address(IpamError::Store(_)) | AttachError::Lease(_) => code::IO_FAILURE,
        AttachError::Link(crate::net::NetError::Namespace { .. }) => code::UNKNOWN_CONTAINER,
        AttachError::Link(_) | AttachError::Datapath(_) => code::KERNEL,
    };
    let msg = error.to_string();
    let details = chain(&error);
    let error = CniError::new(code, msg.clone());
    if details == msg {
        error
    } else {
        error.with_details(details)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_result_of_an_add_agrees_with_its_lease_and_no_other() {
        let key = LeaseKey {
            sandbox: "a".to_owned(),
            ifname: "eth0".to_owned(),
        };
        let lease = Lease::for_test(&key, &[[10, 244, 0, 2].into()]);
        let good = result(&lease, 1500).render(naru_node_api::cni::Version::NEWEST);
        assert!(differences(&good, &lease).is_empty());
        for (pointer, odd) in [
            ("/ips/0/address", json!("10.244.0.3/32")),
            ("/ips", json!([])),
            ("/interfaces/1/mac", json!("02:00:00:00:00:09")),
            ("/interfaces/1/name", json!("eth1")),
            ("/interfaces", json!(null)),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).expect(pointer) = odd;
            assert_eq!(differences(&bad, &lease).len(), 1, "{pointer}");
        }
    }

    #[test]
    fn a_pod_of_two_families_is_told_both() {
        let key = LeaseKey {
            sandbox: "a".to_owned(),
            ifname: "eth0".to_owned(),
        };
        let addresses = ["fd00::2".parse().unwrap(), [10, 244, 0, 2].into()];
        let lease = Lease::for_test(&key, &addresses);
        let good = result(&lease, 1500).render(naru_node_api::cni::Version::NEWEST);
        assert_eq!(good["ips"][0]["address"], "fd00::2/128");
        assert_eq!(good["ips"][0]["gateway"], "fe80::1");
        assert_eq!(good["ips"][1]["address"], "10.244.0.2/32");
        assert_eq!(good["routes"][0]["dst"], "::/0");
        assert!(differences(&good, &lease).is_empty());
        let single = Lease::for_test(&key, &addresses[1..]);
        let half = result(&single, 1500).render(naru_node_api::cni::Version::NEWEST);
        assert_eq!(differences(&half, &lease).len(), 1);
    }
}
