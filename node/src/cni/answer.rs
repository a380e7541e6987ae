//! What each verb does.

use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use naru_node_api::cni::{
    AddResult, Attachment, CniError, Command, Interface, IpConfig, Reply, Request, Route, code,
};

use crate::Shared;
use crate::ipam::{IpamError, Lease, LeaseKey, PodRef};
use crate::net::GATEWAY;
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
        ips: vec![IpConfig {
            address: IpNet::V4(Ipv4Net::from(lease.address)),
            gateway: GATEWAY.into(),
            interface: 1,
        }],
        routes: vec![Route {
            dst: IpNet::V4(Ipv4Net::default()),
            gw: GATEWAY.into(),
        }],
    }
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
    let listed = previous
        .and_then(|result| result["ips"].as_array())
        .into_iter()
        .flatten();
    let addresses: Vec<_> = listed.filter_map(|ip| ip["address"].as_str()).collect();
    let own = format!("{}/32", lease.address);
    if !addresses.is_empty() && !addresses.contains(&own.as_str()) {
        faults.push(format!(
            "the result of the ADD names {}, the lease {own}",
            addresses.join(", ")
        ));
    }
    if faults.is_empty() {
        return Ok(Reply::Done);
    }
    Err(
        CniError::new(code::ATTACHMENT_CHANGED, "the attachment has changed")
            .with_details(faults.join("; ")),
    )
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
    match network.ipam.range() {
        Some(_) => Ok(Reply::Done),
        None => Err(CniError::new(
            code::NOT_AVAILABLE,
            "the node has no pod CIDR yet",
        )),
    }
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
