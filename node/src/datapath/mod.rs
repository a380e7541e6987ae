//! Loading, attaching, pinning and typed maps: the only code that calls aya.
//!
//! The data path outlives the daemon: maps, programs and links are pinned in a
//! bpffs. A program's pin carries a hash of its object, so a starting daemon that finds its
//! own programs there loads nothing, verifies nothing and attaches nothing; a daemon with newer
//! objects swaps the program of each link in one atomic step.
//!
//! What belongs into the maps is decided elsewhere, by pure plans; here it is only put there.

mod attach;
mod bpffs;
mod cgroup;
mod clock;
mod error;
mod events;
mod features;
mod objects;
mod pins;
mod programs;
mod ranges;
mod sys;
mod table;

use std::path::Path;

use naru_ebpf_common::{
    Addr, Affinity, AffinityKey, Backend, BackendKey, Conn, ConnectedPeer, Counter, DropCount,
    DropKey, Endpoint, IpInfo, MaglevBlock, MaglevKey, MemberKey, NatEntry, NatKey, NodeConfig,
    PodAddrs, PolicyEntry, PolicyKey, Service, ServiceKey, SocketKey, SocketPeer, Tuple, names,
};
use parking_lot::Mutex;

pub use attach::Attached;
pub use clock::monotonic_ns;
pub use error::DatapathError;
pub use events::Events;
pub use features::Features;
pub use ranges::RangeTable;
pub use table::{Changes, Prefix, PrefixTable, Table, changes};

use pins::Pins;
use programs::Programs;
use table::{One, PerCpu};

/// The data path of this node.
#[derive(Debug)]
pub struct Datapath {
    pins: Pins,
    features: Features,
    programs: Mutex<Programs>,
    /// Pods of this node.
    pub endpoints: Table<Addr, Endpoint>,
    /// Address → identity.
    pub ipcache: PrefixTable<IpInfo>,
    /// Verdicts.
    pub policy: Table<PolicyKey, PolicyEntry>,
    /// Services.
    pub services: Table<ServiceKey, Service>,
    /// Their backends.
    pub backends: Table<BackendKey, Backend>,
    /// Backends that clients keep.
    pub affinity: Table<AffinityKey, Affinity>,
    /// Slots of backends that clients may keep.
    pub members: Table<MemberKey, u32>,
    /// Lookup tables.
    pub tables: Table<MaglevKey, MaglevBlock>,
    /// Source ranges of load balancers.
    pub ranges: RangeTable,
    /// Cookies of network namespaces → their pods.
    pub namespaces: Table<u64, PodAddrs>,
    /// Flows.
    pub conntrack: Table<Tuple, Conn>,
    /// Translations.
    pub nat: Table<NatKey, NatEntry>,
    /// Translated sockets.
    pub sockets: Table<SocketKey, SocketPeer>,
    /// Connected sockets → the service that their program asked for.
    connected: Table<u64, ConnectedPeer>,
    /// Drops by cause.
    pub drops: Table<DropKey, DropCount>,
    counters: PerCpu<Counter>,
    node: One<NodeConfig>,
    /// Held from reading the facts to writing them, since each write counts on from what was read.
    epoch: Mutex<()>,
}

/// Never 0, which means that nothing may be remembered.
fn next_epoch(epoch: u32) -> u32 {
    epoch.checked_add(1).unwrap_or(1)
}

impl Datapath {
    /// Adopts what is pinned below `bpffs` and loads what is missing or older; the program of the
    /// overlay's device only with an `overlay`. Nothing is attached that is not attached already.
    ///
    /// # Errors
    /// When the kernel lacks a needed feature (named, with the first kernel that has it), the
    /// objects were not embedded, or the kernel refuses a step.
    pub fn open(bpffs: &Path, overlay: bool) -> Result<Self, DatapathError> {
        let features = Features::probe()?;
        let pins = Pins::prepare(bpffs)?;
        let programs = Programs::open(&pins, overlay)?;
        Ok(Self {
            features,
            endpoints: Table::open(&pins, names::ENDPOINTS)?,
            ipcache: PrefixTable::open(&pins, names::IPCACHE)?,
            policy: Table::open(&pins, names::POLICY)?,
            services: Table::open(&pins, names::SERVICES)?,
            backends: Table::open(&pins, names::BACKENDS)?,
            affinity: Table::open(&pins, names::AFFINITY)?,
            members: Table::open(&pins, names::MEMBERS)?,
            tables: Table::open(&pins, names::MAGLEV)?,
            ranges: RangeTable::open(&pins)?,
            namespaces: Table::open(&pins, names::NAMESPACES)?,
            conntrack: Table::open(&pins, names::CONNTRACK)?,
            nat: Table::open(&pins, names::NAT)?,
            sockets: Table::open(&pins, names::SOCKETS)?,
            connected: Table::open(&pins, names::CONNECTED)?,
            drops: Table::open(&pins, names::DROPS)?,
            counters: PerCpu::open(&pins, names::COUNTERS)?,
            node: One::open(&pins, names::NODE_CONFIG)?,
            epoch: Mutex::default(),
            programs: Mutex::new(programs),
            pins,
        })
    }

    /// What the kernel can do.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The facts of the node as the programs see them.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn node_config(&self) -> Result<NodeConfig, DatapathError> {
        self.node.get()
    }

    /// Replaces the facts of the node, if they differ; the epoch is not the caller's.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    pub fn set_node_config(&self, config: NodeConfig) -> Result<(), DatapathError> {
        let _alone = self.epoch.lock();
        let present = self.node.get()?;
        let epoch = present.epoch;
        if present != (NodeConfig { epoch, ..config }) {
            self.node.set(NodeConfig {
                epoch: next_epoch(epoch),
                ..config
            })?;
        }
        Ok(())
    }

    /// Makes every flow look its ends up again. To be called after endpoints have changed.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    pub fn forget_ends(&self) -> Result<(), DatapathError> {
        let _alone = self.epoch.lock();
        let present = self.node.get()?;
        self.node.set(NodeConfig {
            epoch: next_epoch(present.epoch),
            ..present
        })
    }

    /// The counter at `index` (`counter::index`), summed over the processors.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counter(&self, index: u32) -> Result<Counter, DatapathError> {
        let per_cpu = self.counters.get(index)?;
        Ok(per_cpu.iter().fold(Counter::default(), |sum, one| Counter {
            packets: sum.packets.wrapping_add(one.packets),
            bytes: sum.bytes.wrapping_add(one.bytes),
        }))
    }

    /// How full the maps are: name, entries, capacity.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn fill(&self) -> Result<Vec<(&'static str, u64, u64)>, DatapathError> {
        Ok(vec![
            self.endpoints.fill(names::ENDPOINTS_SIZE)?,
            self.ipcache.fill(names::IPCACHE_SIZE)?,
            self.policy.fill(names::POLICY_SIZE)?,
            self.services.fill(names::SERVICES_SIZE)?,
            self.backends.fill(names::BACKENDS_SIZE)?,
            self.affinity.fill(names::AFFINITY_SIZE)?,
            self.members.fill(names::MEMBERS_SIZE)?,
            self.tables.fill(names::MAGLEV_SIZE)?,
            self.ranges.fill()?,
            self.namespaces.fill(names::NAMESPACES_SIZE)?,
            self.conntrack.fill(names::CONNTRACK_SIZE)?,
            self.nat.fill(names::NAT_SIZE)?,
            self.sockets.fill(names::SOCKETS_SIZE)?,
            self.connected.fill(names::CONNECTED_SIZE)?,
            self.drops.fill(names::DROPS_SIZE)?,
        ])
    }

    /// Opens the ring of events. Each event reaches one reader only.
    ///
    /// # Errors
    /// When the map cannot be mapped into memory.
    pub fn events(&self) -> Result<Events, DatapathError> {
        Events::open(&self.pins)
    }
}
