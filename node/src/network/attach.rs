//! Attaching and detaching pods, as the CNI server asks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::open::now;
use super::{Attachment, Network, chain};
use crate::datapath::DatapathError;
use crate::ipam::{IpamError, Lease, LeaseKey, PodRef, StoreError};
use crate::net::{NetError, PodLink, host_link_name, link_macs, namespace_cookie};

/// A pod is known to the API before its sandbox is made; only a watch may lag.
const POD_PATIENCE: Duration = Duration::from_secs(5);
const PROGRAM_PATIENCE: Duration = Duration::from_secs(10);

/// What is to be attached.
#[derive(Debug, Clone)]
pub struct Request {
    /// Sandbox and interface.
    pub key: LeaseKey,
    /// The pod.
    pub pod: PodRef,
    /// Path of its network namespace.
    pub netns: PathBuf,
}

/// Why a pod could not be attached or detached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No address.
    #[error(transparent)]
    Address(#[from] IpamError),
    /// The lease file.
    #[error("address lease")]
    Lease(#[from] StoreError),
    /// Links, addresses, routes.
    #[error("link of the pod")]
    Link(#[from] NetError),
    /// Programs.
    #[error("data path of the pod")]
    Datapath(#[from] DatapathError),
    /// The pod has not been seen in the API.
    #[error("pod {0} is not known to the API yet")]
    UnknownPod(String),
    /// Endpoint, identity or policy are not in the maps yet.
    #[error("policy of the pod is not programmed: {0}")]
    NotProgrammed(String),
    /// A task of the daemon ended early.
    #[error("the daemon is stopping")]
    Stopping,
}

impl Network {
    /// Gives the pod an address and a link, programs endpoint, identity and policy, and returns
    /// when all is in place. Repeating it for the same sandbox makes the link anew with the same
    /// address. A failure leaves nothing behind.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub async fn attach(self: &Arc<Self>, request: Request) -> Result<(Lease, u32), AttachError> {
        self.wait_for_pod(&request.pod).await?;
        let lease = self.lease(request).await?;
        match self.connect(&lease).await {
            Ok(mtu) => Ok((lease, mtu)),
            Err(error) => {
                if let Err(cleanup) = self.detach(&lease.key).await {
                    tracing::error!(sandbox = lease.key.sandbox, error = %chain(&cleanup), "not cleaned up");
                }
                Err(error)
            }
        }
    }

    /// Takes the pod out of every table, removes its link and frees its address. Harmless when
    /// repeated.
    ///
    /// # Errors
    /// When a step fails; repeating it goes on where it stopped.
    pub async fn detach(self: &Arc<Self>, key: &LeaseKey) -> Result<(), AttachError> {
        let _still = self.moving.read().await;
        if self.attached.lock().remove(key).is_some() {
            self.settled().await?;
        }
        let link = host_link_name(&key.sandbox, &key.ifname);
        self.netlink.remove_link(&link).await?;
        self.datapath.detach_pod(&link);
        let (network, key) = (Arc::clone(self), key.clone());
        blocking(move || {
            let Some(lease) = network.ipam.get(&key) else {
                return Ok(());
            };
            for address in &lease.addresses {
                if let Err(error) = network.forget_flows((*address).into()) {
                    tracing::warn!(%address, %error, "flows of a freed address stay");
                }
            }
            network.ipam.free(&key, now())?;
            Ok(())
        })
        .await
    }

    /// What differs from how the pod was attached; empty when nothing does.
    pub async fn check(&self, key: &LeaseKey) -> Vec<String> {
        let attachment = self.attached.lock().get(key).cloned();
        let Some(Attachment { lease, ifindex, .. }) = attachment else {
            return vec![format!("sandbox {} is not attached", key.sandbox)];
        };
        let mut faults = self.link_of(&lease).faults(&self.netlink).await;
        for address in &lease.addresses {
            match self.datapath.endpoints.get(&(*address).into()) {
                Ok(Some(endpoint)) if endpoint.ifindex == ifindex => {}
                Ok(_) => faults.push(format!("{address} is not programmed as an endpoint")),
                Err(error) => faults.push(chain(&error)),
            }
        }
        faults
    }

    async fn wait_for_pod(&self, pod: &PodRef) -> Result<(), AttachError> {
        if pod.name.is_empty() {
            return Ok(());
        }
        let known = || self.pod_info(&pod.namespace, &pod.name, &pod.uid).is_some();
        let (mut own, mut all) = (
            self.watches.own_pods.subscribe(),
            self.watches.pods.subscribe(),
        );
        let wait = async {
            while !known() {
                tokio::select! { _ = own.changed() => {} _ = all.changed() => {} }
            }
        };
        let unknown = |_| AttachError::UnknownPod(format!("{}/{}", pod.namespace, pod.name));
        tokio::time::timeout(POD_PATIENCE, wait)
            .await
            .map_err(unknown)
    }

    async fn lease(self: &Arc<Self>, request: Request) -> Result<Lease, AttachError> {
        let network = Arc::clone(self);
        blocking(move || {
            let now = now();
            let Request { key, pod, netns } = request;
            let (host_mac, pod_mac) = link_macs(&key.sandbox, &key.ifname);
            let host_link = host_link_name(&key.sandbox, &key.ifname);
            let make = |addresses| Lease {
                key: key.clone(),
                addresses,
                pod,
                netns,
                host_link,
                host_mac,
                pod_mac,
                since: now,
            };
            Ok(network.ipam.allocate(&key, now, make)?)
        })
        .await
    }

    async fn connect(&self, lease: &Lease) -> Result<u32, AttachError> {
        let _still = self.moving.read().await;
        let link = self.link_of(lease).create(&self.netlink).await?;
        self.datapath.detach_pod(&link.name);
        self.datapath.attach_pod(&link.name, link.index)?;
        let attachment = Attachment {
            lease: lease.clone(),
            ifindex: link.index,
            netns: namespace_cookie(&lease.netns).await?,
        };
        self.attached.lock().insert(lease.key.clone(), attachment);
        self.settled().await?;
        Ok(link.mtu)
    }

    fn link_of(&self, lease: &Lease) -> PodLink {
        PodLink {
            host_link: lease.host_link.clone(),
            host_mac: lease.host_mac,
            ifname: lease.key.ifname.clone(),
            pod_mac: lease.pod_mac,
            addresses: lease.addresses.clone(),
            netns: lease.netns.clone(),
            mtu: self.mtu,
            node_addresses: self.node_ips().to_vec(),
        }
    }

    /// Waits until the present set of attached pods is programmed.
    async fn settled(&self) -> Result<(), AttachError> {
        let mut asked = 0;
        self.asked.send_modify(|generation| {
            *generation += 1;
            asked = *generation;
        });
        let mut programmed = self.programmed.subscribe();
        let wait = programmed.wait_for(|generation| *generation >= asked);
        match tokio::time::timeout(PROGRAM_PATIENCE, wait).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(AttachError::Stopping),
            Err(_) => {
                let fault = self.health.fault("policy");
                Err(AttachError::NotProgrammed(
                    fault.unwrap_or_else(|| "the API has not been read yet".into()),
                ))
            }
        }
    }

    /// The attached pods.
    #[must_use]
    pub fn attachments(&self) -> Vec<Attachment> {
        self.attached.lock().values().cloned().collect()
    }
}

/// Runs what waits for the disk or walks large tables off the workers.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AttachError> + Send + 'static,
) -> Result<T, AttachError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(AttachError::Stopping))
}
