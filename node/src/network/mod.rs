//! The loops that join plans and maps: the running network of this node.
//!
//! [`Network`] is made once per daemon and holds everything that touches the kernel. Four loops
//! follow the API, each in the same way: wait for any change, let it settle for some milliseconds,
//! read everything, plan, apply the difference. `node` keeps the node's own facts and routes,
//! `services` the service maps, `policies` endpoints, identities and policy, `sweep` the flow
//! tables. `addresses` follows the node's own, `takeover` ends an upgrade. The CNI server attaches and detaches pods through [`Network::attach`] and
//! [`Network::detach`], which return when the change is programmed.

mod addresses;
mod attach;
mod balancers;
mod bandwidth;
mod mtu;
mod names;
mod node;
mod open;
mod own_network;
mod policies;
mod room;
mod services;
mod stranded;
mod sweep;
mod takeover;
mod trigger;
mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use attach::{AttachError, Request};
pub use names::{Names, ServiceNames, Who};
pub use open::OpenError;
use room::Room;
pub use services::apply as program_services;

use crate::datapath::Datapath;
use crate::flows::FlowLog;
use crate::ipam::{Ipam, Lease, LeaseKey};
use crate::net::{Link, Netlink, can_end_sockets};
use crate::pods::events::Recorder;
use crate::service::Wanted;
use crate::{Config, Health, PartResult, Shared, Watches};

/// Where the other parts find the network, once it is open.
#[derive(Debug, Clone, Default)]
pub struct Handle(Arc<OnceLock<Arc<Network>>>);

impl Handle {
    /// The network; none while the daemon is starting or the kernel refuses.
    #[must_use]
    pub fn get(&self) -> Option<&Arc<Network>> {
        self.0.get()
    }
}

/// A pod that is attached: its lease and the host side of its veth.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// Its lease.
    pub lease: Lease,
    /// Interface index of the host side.
    pub ifindex: u32,
    /// Cookie of its network namespace.
    pub netns: u64,
}

/// The device through which packets go to other nodes inside packets between nodes.
#[derive(Debug, Clone, Copy)]
struct Overlay {
    /// Whether pods of other nodes are reached through it, not only backends with what is handed on.
    for_pods: bool,
    /// Interface index of the device.
    link: u32,
    /// This node's address in the network between nodes.
    own: Ipv4Addr,
}

/// The running network of this node.
#[derive(Debug)]
pub struct Network {
    config: Arc<Config>,
    watches: Arc<Watches>,
    health: Arc<Health>,
    /// Events about pods.
    events: Recorder,
    uplink: Link,
    /// The overlay that leads to other nodes, if anything asks for one.
    overlay: Option<Overlay>,
    /// MTU of pods, in bytes.
    mtu: u32,
    netlink: Netlink,
    /// Programs and maps.
    pub datapath: Datapath,
    /// Pod addresses.
    pub ipam: Ipam,
    attached: Mutex<BTreeMap<LeaseKey, Attachment>>,
    /// Every address of the node's own stack.
    addresses: ArcSwap<Vec<IpAddr>>,
    /// Raised when they have changed.
    readdressed: watch::Sender<u64>,
    /// Directory of the node's cgroup.
    cgroup: PathBuf,
    /// How many flows there may be room for.
    room: Room,
    /// Held to write while links and flows move to larger tables, and to read by whoever makes or
    /// removes any of them.
    moving: tokio::sync::RwLock<()>,
    /// Raised to ask for endpoints and policy to be programmed.
    asked: watch::Sender<u64>,
    /// The value of `asked` that has been programmed.
    programmed: watch::Sender<u64>,
    /// Which maps have been filled since the daemon started.
    filled: watch::Sender<takeover::Filled>,
    /// The latest flow events.
    pub flows: FlowLog,
    names: ArcSwap<Names>,
    /// What every address of a Service should lead to.
    wanted: Mutex<Wanted>,
    service_names: ArcSwap<ServiceNames>,
    /// Whether `wanted` has changed since those names were made of it.
    stale_names: AtomicBool,
    watchers: AtomicUsize,
    has_host_ports: AtomicBool,
    /// Whether a Service has an endpoint on the node's own network.
    own_network: AtomicBool,
}

impl Network {
    /// The overlay that leads to other nodes' pods; none with native routing.
    fn pod_overlay(&self) -> Option<Overlay> {
        self.overlay.filter(|overlay| overlay.for_pods)
    }

    /// This node's name.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.config.node_name
    }

    /// Whether somebody watches flows.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// Records a fault of a component, or that it is well.
    pub(crate) fn report_health(&self, component: &'static str, fault: Option<String>) {
        self.health.set(component, fault);
    }

    /// Names for what the maps hold.
    #[must_use]
    pub fn names(&self) -> Arc<Names> {
        self.names.load_full()
    }

    /// Names of services. They are made when somebody asks: there may be a hundred thousand.
    #[must_use]
    pub fn service_names(&self) -> Arc<ServiceNames> {
        if self.stale_names.swap(false, Ordering::AcqRel) {
            let names = ServiceNames::new(self.wanted.lock().entries());
            self.service_names.store(Arc::new(names));
        }
        self.service_names.load_full()
    }

    /// How many addresses and ports of services there are.
    #[must_use]
    pub fn service_count(&self) -> usize {
        self.wanted.lock().entries().len()
    }
}

/// Opens the network, if it is not open yet, and runs its loops until `shutdown`.
///
/// # Errors
/// When it cannot be opened; what is missing stands in the error and in the node's health.
pub async fn run(shared: Shared, shutdown: CancellationToken) -> PartResult {
    let network = open_once(&shared).await?;
    let loops = async {
        tokio::join!(
            node::run(Arc::clone(&network)),
            addresses::run(Arc::clone(&network)),
            services::run(Arc::clone(&network)),
            policies::run(Arc::clone(&network)),
            sweep::run(Arc::clone(&network)),
            takeover::run(Arc::clone(&network)),
            crate::flows::read(Arc::clone(&network)),
        )
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        _ = loops => {}
    }
    Ok(())
}

async fn open_once(shared: &Shared) -> Result<Arc<Network>, OpenError> {
    if let Some(network) = shared.network.get() {
        return Ok(Arc::clone(network));
    }
    let opened = Network::open(shared).await;
    shared
        .health
        .set("datapath", opened.as_ref().err().map(|error| chain(error)));
    let network = Arc::new(opened?);
    let mut degraded = network.datapath.features().degraded();
    if !can_end_sockets() {
        degraded.push(stranded::WITHOUT.to_owned());
    }
    shared.health.set(
        "kernel",
        (!degraded.is_empty()).then(|| degraded.join("; ")),
    );
    Ok(Arc::clone(shared.network.0.get_or_init(|| network)))
}

/// An error with everything that caused it, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| {
        format!("{text}: {source}")
    })
}
