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
mod growth;
mod held;
mod objects;
mod pins;
mod programs;
mod ranges;
mod sys;
mod table;
mod takeover;
mod wire;

use std::path::Path;

use naru_ebpf_common::{
    Addr, Affinity, AffinityKey, Backend, BackendKey, Bandwidth, BandwidthKey, Conn, ConnectedPeer,
    Counter, DropCount, DropKey, Endpoint, IpInfo, MaglevBlock, MaglevKey, MemberKey, NatEntry,
    NatKey, NodeConfig, Pace, PodAddrs, PolicyEntry, PolicyKey, Service, ServiceKey, SocketKey,
    SocketPeer, Tuple, names,
};
use parking_lot::Mutex;

pub use attach::Attached;
pub use clock::monotonic_ns;
pub use error::DatapathError;
pub use events::Events;
pub use features::Features;
pub use programs::Hooks;
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
    hooks: Hooks,
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
    /// Limits of pods.
    pub bandwidth: Table<BandwidthKey, Bandwidth>,
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
    pace: PerCpu<Pace>,
    node: One<NodeConfig>,
    /// Held from reading the facts to writing them, since each write counts on from what was read.
    epoch: Mutex<()>,
}

/// Never 0, which means that nothing may be remembered.
fn next_epoch(epoch: u32) -> u32 {
    epoch.checked_add(1).unwrap_or(1)
}

impl Datapath {
    /// Adopts what is pinned below `bpffs` and loads what is missing or older; of `hooks` only the
    /// programs that are wanted, and that this kernel can have. Nothing is attached that is not
    /// attached already.
    /// There is room for `flows` flows at least: if that made tables larger, they are in use when
    /// everything is attached and [`Datapath::finish_growth`] was called. If [`Datapath::is_filling`],
    /// maps are to be filled before anything is attached.
    ///
    /// # Errors
    /// When the kernel lacks a needed feature (named, with the first kernel that has it), the
    /// objects were not embedded, or the kernel refuses a step.
    pub fn open(bpffs: &Path, hooks: Hooks, flows: u32) -> Result<Self, DatapathError> {
        let features = Features::probe()?;
        let hooks = Hooks {
            wire: hooks.wire && features.wire,
            ..hooks
        };
        let pins = Pins::prepare(bpffs)?;
        takeover::begin(&pins)?;
        growth::recover(&pins)?;
        if let Err(error) = growth::begin(&pins, flows) {
            // What there is does, and whoever sweeps tries again.
            tracing::warn!(
                error = crate::network::chain(&error),
                "no room for {flows} flows"
            );
        }
        let programs = Programs::open(&pins, hooks, flows)?;
        growth::catch_up(&pins)?;
        Ok(Self {
            features,
            hooks,
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
            bandwidth: Table::open(&pins, names::BANDWIDTH)?,
            conntrack: Table::open(&pins, names::CONNTRACK)?,
            nat: Table::open(&pins, names::NAT)?,
            sockets: Table::open(&pins, names::SOCKETS)?,
            connected: Table::open(&pins, names::CONNECTED)?,
            drops: Table::open(&pins, names::DROPS)?,
            counters: PerCpu::open(&pins, names::COUNTERS)?,
            pace: PerCpu::open(&pins, names::PACE)?,
            node: One::open(&pins, names::NODE_CONFIG)?,
            epoch: Mutex::default(),
            programs: Mutex::new(programs),
            pins,
        })
    }

    /// Whether tables have become larger and are not yet used by all.
    pub fn is_growing(&self) -> bool {
        growth::is_going_on(&self.pins)
    }

    /// Makes room for `flows` flows, or goes on with making room. Returns whether anything became
    /// larger: then the present programs are others, and everything is to be attached again before
    /// [`Datapath::finish_growth`].
    ///
    /// # Errors
    /// When the kernel has no room, or refuses a step; then all is as it was before the call.
    pub fn enlarge(&self, flows: u32) -> Result<bool, DatapathError> {
        let goes_on = growth::is_going_on(&self.pins);
        if !growth::begin(&self.pins, flows)? {
            return Ok(false);
        }
        match self.load_larger(flows) {
            Ok(programs) => *self.programs.lock() = programs,
            Err(error) => {
                // What began earlier may have links already, and stays for the next attempt.
                if !goes_on {
                    growth::undo(&self.pins)?;
                }
                return Err(error);
            }
        }
        self.conntrack.reopen(&self.pins)?;
        self.nat.reopen(&self.pins)?;
        Ok(true)
    }

    fn load_larger(&self, flows: u32) -> Result<Programs, DatapathError> {
        let programs = Programs::open(&self.pins, self.hooks, flows)?;
        growth::catch_up(&self.pins)?;
        // Once more, and quickly: the first time took as long as there are flows.
        growth::catch_up(&self.pins)?;
        Ok(programs)
    }

    /// Lets go of the tables that larger ones took the place of. Returns how many entries were
    /// written to them since.
    ///
    /// # Errors
    /// When the kernel refuses; repeating it goes on.
    pub fn finish_growth(&self) -> Result<usize, DatapathError> {
        growth::finish(&self.pins)
    }

    /// How many flows were opened on this node since its maps were made.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn flows_opened(&self) -> Result<u64, DatapathError> {
        let paces = self.pace.get(Pace::FLOWS)?;
        Ok(paces.iter().map(|pace| pace.total).sum())
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
            self.endpoints.fill()?,
            self.ipcache.fill(names::IPCACHE_SIZE)?,
            self.policy.fill()?,
            self.services.fill()?,
            self.backends.fill()?,
            self.affinity.fill()?,
            self.members.fill()?,
            self.tables.fill()?,
            self.ranges.fill()?,
            self.namespaces.fill()?,
            self.bandwidth.fill()?,
            self.conntrack.fill()?,
            self.nat.fill()?,
            self.sockets.fill()?,
            self.connected.fill()?,
            self.drops.fill()?,
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
