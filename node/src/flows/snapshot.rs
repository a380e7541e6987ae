//! A copy of the live maps for a simulation: the decisions of the data path run over it, and what
//! they would write stays in it.

use std::cell::RefCell;
use std::collections::HashMap;

use naru_ebpf_common::{
    Addr, Backend, BackendKey, Conn, DropCount, DropKey, Endpoint, Event, IpInfo, NatEntry, NatKey,
    NodeConfig, PolicyEntry, PolicyKey, Service, ServiceKey, SocketKey, SocketPeer, Tuple,
};
use naru_ebpf_logic::{Maps, Step, Trace};

use crate::datapath::{Datapath, DatapathError, Prefix, monotonic_ns};

/// The maps of one moment. Flow tables start empty: the question is about a new connection.
#[derive(Debug)]
pub(super) struct Snapshot {
    config: NodeConfig,
    endpoints: HashMap<Addr, Endpoint>,
    /// Longest prefixes first.
    ipcache: Vec<(Prefix, IpInfo)>,
    policy: HashMap<PolicyKey, PolicyEntry>,
    services: HashMap<ServiceKey, Service>,
    backends: HashMap<BackendKey, Backend>,
    flows: RefCell<HashMap<Tuple, Conn>>,
    nat: RefCell<HashMap<NatKey, NatEntry>>,
    steps: RefCell<Vec<Step>>,
}

impl Snapshot {
    /// Copies the maps.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(super) fn of(datapath: &Datapath) -> Result<Self, DatapathError> {
        let mut ipcache = datapath.ipcache.entries()?;
        ipcache.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.length));
        Ok(Self {
            config: datapath.node_config()?,
            endpoints: datapath.endpoints.entries()?.into_iter().collect(),
            ipcache,
            policy: datapath.policy.entries()?.into_iter().collect(),
            services: datapath.services.entries()?.into_iter().collect(),
            backends: datapath.backends.entries()?.into_iter().collect(),
            flows: RefCell::default(),
            nat: RefCell::default(),
            steps: RefCell::default(),
        })
    }

    /// The steps since the last time.
    pub(super) fn take_steps(&self) -> Vec<Step> {
        self.steps.take()
    }
}

impl Trace for Snapshot {
    fn step(&self, step: impl FnOnce() -> Step) {
        self.steps.borrow_mut().push(step());
    }
}

impl Maps for Snapshot {
    fn config(&self) -> Option<&NodeConfig> {
        Some(&self.config)
    }

    fn endpoint(&self, addr: &Addr) -> Option<&Endpoint> {
        self.endpoints.get(addr)
    }

    fn ip_info(&self, addr: &Addr) -> Option<&IpInfo> {
        let holds = |(prefix, _): &&(Prefix, IpInfo)| addr.within(&prefix.addr, prefix.length);
        self.ipcache.iter().find(holds).map(|(_, info)| info)
    }

    fn policy(&self, key: &PolicyKey) -> Option<&PolicyEntry> {
        self.policy.get(key)
    }

    fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key)
    }

    fn backend(&self, key: &BackendKey) -> Option<&Backend> {
        self.backends.get(key)
    }

    fn update_conn<R>(&self, key: &Tuple, change: impl FnOnce(&mut Conn) -> R) -> Option<R> {
        self.flows.borrow_mut().get_mut(key).map(change)
    }

    fn insert_conn(&self, key: &Tuple, conn: &Conn) -> bool {
        self.flows.borrow_mut().insert(*key, *conn);
        true
    }

    fn update_nat<R>(&self, key: &NatKey, change: impl FnOnce(&mut NatEntry) -> R) -> Option<R> {
        self.nat.borrow_mut().get_mut(key).map(change)
    }

    fn insert_nat(&self, key: &NatKey, entry: &NatEntry, only_new: bool) -> bool {
        let mut nat = self.nat.borrow_mut();
        if only_new && nat.contains_key(key) {
            return false;
        }
        nat.insert(*key, *entry);
        true
    }

    fn insert_socket(&self, _: &SocketKey, _: &SocketPeer) {}

    fn socket(&self, _: &SocketKey) -> Option<SocketPeer> {
        None
    }

    fn update_drop<R>(&self, _: &DropKey, _: impl FnOnce(&mut DropCount) -> R) -> Option<R> {
        None
    }

    fn insert_drop(&self, _: &DropKey, _: &DropCount) {}

    fn emit(&self, _: &Event, _: bool) {}

    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }

    /// Always the first backend: an explanation that differs from call to call helps nobody.
    fn random(&self) -> u32 {
        0
    }
}
