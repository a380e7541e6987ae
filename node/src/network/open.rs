//! Opening the network: adopting what an earlier daemon left running.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use naru_core::names::defaults::SNAT_PORTS;
use naru_ebpf_common::config::OWN_NETWORK;
use naru_ebpf_common::overlay::{DEVICE, OVERHEAD};
use nix::sys::statfs::{FsType, statfs};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::addresses::own_addresses;
use super::mtu::{self, TooSmall};
use super::room::Room;
use super::{Attachment, Network, Overlay, chain};
use crate::config::{Acceleration, NoIpv4, Routing};
use crate::datapath::{Attached, Datapath, DatapathError, Hooks};
use crate::flows::FlowLog;
use crate::ipam::{Ipam, Lease, LeaseKey, StoreError};
use crate::net::{
    Link, NetError, Netlink, keep_overlay, namespace_cookie, prepare_node, remove_overlay,
    reserve_ports,
};
use crate::pods::events::Recorder;
use crate::{Config, Shared};

/// Component named in events.
const COMPONENT: &str = "naru-node";

/// `NSFS_MAGIC` of linux/magic.h: a live network namespace.
const NSFS: FsType = FsType(0x6e73_6673);

/// The network cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two addresses of the node are of one family.
    #[error("node addresses {0:?}: one is needed, or two of which one is IPv4 and one IPv6")]
    NodeAddresses(Vec<IpAddr>),
    /// The overlay's outer packets are IPv4, and the node has no such address.
    #[error(transparent)]
    NoIpv4(#[from] NoIpv4),
    /// The uplink carries too little.
    #[error(transparent)]
    Mtu(#[from] TooSmall),
    /// No cgroup2 file system is mounted.
    #[error("no cgroup2 mount found: mount one, or name the node's directory with --cgroup")]
    NoCgroup2,
    /// The daemon ends while the data path is being opened.
    #[error("opening the data path was interrupted")]
    Interrupted,
    /// Programs or maps.
    #[error("data path")]
    Datapath(#[from] DatapathError),
    /// Links, addresses or kernel parameters.
    #[error("network set-up")]
    Net(#[from] NetError),
    /// Address leases.
    #[error("address leases")]
    Leases(#[from] StoreError),
}

/// What attaching did at each hook.
#[derive(Debug)]
#[expect(dead_code, reason = "it is written to the log")]
pub(super) struct AllAttached {
    sockets: Vec<Attached>,
    pods: Vec<Attached>,
    uplink: Attached,
    overlay: Option<Attached>,
    own_network: Vec<Attached>,
    wire: Option<Attached>,
}

impl Network {
    /// Opens maps and leases, attaches what is not attached, and takes up the pods that live.
    ///
    /// # Errors
    /// When a step fails; what runs in the kernel goes on running.
    pub(super) async fn open(shared: &Shared) -> Result<Self, OpenError> {
        let config = Arc::clone(&shared.config);
        match config.node_ip.as_slice() {
            [_] => {}
            [one, other] if one.is_ipv4() != other.is_ipv4() => {}
            all => return Err(OpenError::NodeAddresses(all.to_vec())),
        }
        let netlink = Netlink::here()?;
        let uplink = prepare_node(&netlink, &config.uplink).await?;
        // Pods need a network more than the node's sockets need ports of their own.
        if let Err(error) = reserve_ports(&SNAT_PORTS) {
            tracing::warn!(
                error = chain(&error),
                "ports for translation are not reserved"
            );
        }
        let mtu = mtu_of_pods(&config, &uplink)?;
        let overlay = prepare_overlay(&config, &netlink, uplink.mtu).await?;
        let addresses = own_addresses(&netlink, &config).await?;
        let ipam = Ipam::open(config.state_dir.join("leases"))?;
        let memory = crate::status::machine::Machine::read().memory;
        let room = Room::new(memory, config.flow_table_size, config.flow_table_limit);
        let hooks = Hooks {
            overlay: overlay.is_some(),
            wire: config.load_balancer_acceleration == Acceleration::Xdp,
        };
        let datapath = Datapath::open(&config.bpffs, hooks, room.first)?;
        let cgroup = config
            .cgroup
            .clone()
            .or_else(cgroup2_mount)
            .ok_or(OpenError::NoCgroup2)?;
        let served_own = datapath.node_config()?.flags & OWN_NETWORK != 0;
        let network = Self {
            netlink,
            datapath,
            ipam,
            attached: Mutex::default(),
            addresses: ArcSwap::from_pointee(addresses),
            readdressed: watch::Sender::new(0),
            cgroup,
            room,
            moving: tokio::sync::RwLock::default(),
            asked: watch::Sender::new(0),
            programmed: watch::Sender::new(0),
            filled: watch::Sender::default(),
            flows: FlowLog::default(),
            names: ArcSwap::default(),
            wanted: Mutex::default(),
            service_names: ArcSwap::default(),
            stale_names: AtomicBool::new(false),
            watchers: AtomicUsize::new(0),
            has_host_ports: AtomicBool::new(false),
            own_network: AtomicBool::new(served_own),
            watches: Arc::clone(&shared.watches),
            health: Arc::clone(&shared.health),
            events: Recorder::start(shared.client.clone(), COMPONENT, config.node_name.clone()),
            config,
            uplink,
            overlay,
            mtu,
        };
        network.adopt_pods().await?;
        if network.datapath.is_filling() {
            tracing::info!("data path open, links move when its maps are filled");
            return Ok(network);
        }
        let attached = network.attach_all().await?;
        network.datapath.finish_growth()?;
        network.datapath.forget_other_builds()?;
        tracing::info!(?attached, "data path open");
        Ok(network)
    }

    /// Takes up every leased pod whose namespace lives, and lets go of the others.
    async fn adopt_pods(&self) -> Result<(), OpenError> {
        let mut adopted = BTreeMap::new();
        for lease in self.ipam.leases() {
            if !is_namespace(&lease.netns) {
                self.forget(&lease)?;
                continue;
            }
            // Without its link the attachment was interrupted: the runtime repeats or removes it.
            match self.netlink.link(&lease.host_link).await {
                Ok(link) => {
                    let netns = namespace_cookie(&lease.netns).await?;
                    adopted.insert(
                        lease.key.clone(),
                        Attachment {
                            lease,
                            ifindex: link.index,
                            netns,
                        },
                    );
                }
                Err(NetError::NoLink(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let known: BTreeSet<String> = self
            .ipam
            .leases()
            .into_iter()
            .map(|l| l.host_link)
            .collect();
        for link in self.datapath.attached_pods()? {
            if link.starts_with("naru") && !known.contains(&link) {
                self.datapath.detach_pod(&link);
            }
        }
        *self.attached.lock() = adopted;
        Ok(())
    }

    /// Sees to it that every link runs the present programs, pods' first. One that is gone is none: its
    /// pod is on its way out.
    pub(super) async fn attach_all(&self) -> Result<AllAttached, OpenError> {
        let sockets = self.datapath.attach_cgroup(&self.cgroup)?;
        let mut pods = Vec::new();
        for pod in self.attachments() {
            match self.netlink.link(&pod.lease.host_link).await {
                Ok(link) => pods.extend(self.datapath.attach_pod(&link.name, link.index)?),
                Err(NetError::NoLink(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Link { name, index, .. } = &self.uplink;
        Ok(AllAttached {
            sockets,
            pods,
            uplink: self.datapath.attach_uplink(name, *index)?,
            overlay: self.attach_overlay()?,
            own_network: self.resume_own_network()?,
            wire: self.attach_wire(),
        })
    }

    fn attach_overlay(&self) -> Result<Option<Attached>, DatapathError> {
        let Some(overlay) = self.overlay else {
            self.datapath.detach_overlay();
            return Ok(None);
        };
        let attached = self.datapath.attach_overlay(DEVICE, overlay.link)?;
        Ok(Some(attached))
    }

    /// What another daemon began, or other programs did.
    fn resume_own_network(&self) -> Result<Vec<Attached>, DatapathError> {
        if self.serves_own_network() {
            return self.attach_own_network();
        }
        self.detach_own_network();
        Ok(Vec::new())
    }

    fn forget(&self, lease: &Lease) -> Result<(), OpenError> {
        let LeaseKey { sandbox, .. } = &lease.key;
        tracing::info!(
            sandbox,
            addresses = lease.address_text(),
            "sandbox is gone, addresses freed"
        );
        self.datapath.detach_pod(&lease.host_link);
        self.ipam.free(&lease.key, now())?;
        Ok(())
    }
}

/// The MTU of pods behind the uplink as it is.
///
/// # Errors
/// When that is too small.
pub(super) fn mtu_of_pods(config: &Config, uplink: &Link) -> Result<u32, TooSmall> {
    let with_v6 = config.node_ip.iter().any(IpAddr::is_ipv6);
    mtu::of_pods(&uplink.name, uplink.mtu, config.routing, with_v6)
}

/// Sees to it that the overlay's device is there if it is wanted, and only then. `uplink` is the
/// uplink's MTU.
async fn prepare_overlay(
    config: &Config,
    netlink: &Netlink,
    uplink: u32,
) -> Result<Option<Overlay>, OpenError> {
    let Some(own) = config.tunnel_address()? else {
        remove_overlay(netlink).await?;
        return Ok(None);
    };
    let with_v6 = config.node_ip.iter().any(IpAddr::is_ipv6);
    let mtu = uplink.saturating_sub(OVERHEAD);
    let link = keep_overlay(netlink, mtu, with_v6).await?.index;
    let for_pods = config.routing == Routing::Vxlan;
    Ok(Some(Overlay {
        for_pods,
        link,
        own,
    }))
}

/// Seconds since the epoch.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Whether a file is (still) a namespace, not what is left of one.
fn is_namespace(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == NSFS)
}

/// The first cgroup2 mount, wherever the machine has it.
fn cgroup2_mount() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mut fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .map(|fields| PathBuf::from(fields[1]))
}

impl Network {
    /// The addresses that stand for this node, one of each family at most, the first one first.
    #[must_use]
    pub fn node_ips(&self) -> &[IpAddr] {
        &self.config.node_ip
    }
}
