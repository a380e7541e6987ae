//! From what is programmed to what is desired, in safe steps.

use std::collections::{HashMap, HashSet};

use naru_ebpf_common::service::{EXTERNAL, NODE_PORT, TABLE};
use naru_ebpf_common::{
    Addr, Backend, BackendKey, MaglevKey, MemberKey, Service, ServiceKey, TableSize, protocol,
};

use super::desired::{Desired, DesiredService, ServicePortName};
use super::lookup::LookupTable;

/// A source range: number of the service port, network, prefix length (0 to 128).
pub type Range = (u32, Addr, u32);

/// What the maps hold: each service with its slots in order.
#[derive(Debug, Default)]
pub struct Programmed {
    services: HashMap<ServiceKey, (Service, Vec<Backend>)>,
    ranges: HashSet<Range>,
    /// What is of no service: what an interrupted change left behind.
    orphans: Stale,
    ids: HashMap<ServicePortName, u32>,
    last_revision: u32,
    last_id: u32,
}

/// The maps' contents, as they are read.
#[derive(Debug, Default, Clone)]
pub struct Contents {
    /// Services.
    pub services: Vec<(ServiceKey, Service)>,
    /// Their slots.
    pub slots: Vec<(BackendKey, Backend)>,
    /// Slots by backend, of services with affinity.
    pub members: Vec<(MemberKey, u32)>,
    /// Blocks of lookup tables.
    pub tables: Vec<MaglevKey>,
    /// Source ranges.
    pub ranges: Vec<Range>,
}

/// What no service names any more.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Stale {
    /// Slots.
    pub slots: Vec<BackendKey>,
    /// Members.
    pub members: Vec<MemberKey>,
    /// Blocks of lookup tables.
    pub tables: Vec<MaglevKey>,
    /// Source ranges.
    pub ranges: Vec<Range>,
}

impl Stale {
    fn is_empty(&self) -> bool {
        self.slots.is_empty()
            && self.members.is_empty()
            && self.tables.is_empty()
            && self.ranges.is_empty()
    }

    fn retire(&mut self, service: &Service, backends: &[Backend]) {
        self.slots.extend(slots_of(service));
        let members = members_of(service, backends);
        self.members.extend(members.map(|(key, _)| key));
        self.tables.extend(blocks_of(service));
    }
}

/// The steps of a change, to be taken in the order of the fields; but each table may be written
/// right before its service.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Slots to write, of revisions that no service names yet.
    pub slots: Vec<(BackendKey, Backend)>,
    /// Members to write, likewise.
    pub members: Vec<(MemberKey, u32)>,
    /// Source ranges to write.
    pub ranges: Vec<Range>,
    /// Lookup tables to write, by the revision of their service.
    pub tables: HashMap<u32, LookupTable>,
    /// Services to write: with the outside, those that have a table come before those that stand
    /// in for them, and all of these after what does not wait for tables. Those of one id follow
    /// each other.
    pub services: Vec<(ServiceKey, Service)>,
    /// Services to delete.
    pub gone: Vec<ServiceKey>,
    /// What no service names any more.
    pub stale: Stale,
    /// Whether a datagram service loses a backend, so that flows may be left over.
    pub strands_flows: bool,
}

impl Plan {
    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
            && self.ranges.is_empty()
            && self.gone.is_empty()
            && self.stale.is_empty()
    }
}

impl Programmed {
    /// Reads the maps of an earlier daemon.
    pub fn adopt(contents: Contents) -> Self {
        let Contents {
            services,
            slots,
            members,
            tables,
            ranges,
        } = contents;
        let revisions = services.iter().map(|(_, service)| service.revision);
        let revisions = revisions.chain(slots.iter().map(|(key, _)| key.revision));
        let revisions = revisions.chain(members.iter().map(|(key, _)| key.revision));
        let last_revision = revisions.chain(tables.iter().map(|key| key.revision));
        let mut adopted = Self {
            last_revision: last_revision.max().unwrap_or(0),
            last_id: services.iter().map(|(_, s)| s.id).max().unwrap_or(0),
            ranges: ranges.into_iter().collect(),
            ..Self::default()
        };
        let mut slots: HashMap<_, _> = slots.into_iter().collect();
        let mut members: HashMap<_, _> = members.into_iter().collect();
        let mut tables: HashSet<_> = tables.into_iter().collect();
        for (key, service) in services {
            let mut backends: Vec<_> = slots_of(&service)
                .filter_map(|slot| slots.remove(&slot))
                .collect();
            // With anything missing the lists differ, and the service is written anew.
            let wanted: Vec<_> = members_of(&service, &backends).collect();
            let known = |(key, slot): &(MemberKey, u32)| members.get(key) == Some(slot);
            let missing = blocks_of(&service)
                .filter(|key| !tables.remove(key))
                .count();
            if missing == 0 && wanted.iter().all(known) {
                for (key, _) in &wanted {
                    members.remove(key);
                }
            } else {
                backends.clear();
            }
            adopted.services.insert(key, (service, backends));
        }
        adopted.orphans.slots = slots.into_keys().collect();
        adopted.orphans.members = members.into_keys().collect();
        adopted.orphans.tables = tables.into_iter().collect();
        adopted
    }

    /// The least that leads to `desired`. Recorded as done: call [`Programmed::adopt`] again if a
    /// step failed.
    pub fn plan(&mut self, desired: &Desired) -> Plan {
        self.learn_ids(desired);
        let mut plan = Plan {
            stale: std::mem::take(&mut self.orphans),
            ..Plan::default()
        };
        let present = self.services.keys();
        let gone = present.filter(|key| !desired.contains_key(key));
        for key in gone.copied().collect::<Vec<_>>() {
            self.remove(&key, &mut plan);
        }
        let mut ranges = HashSet::new();
        for (key, wanted) in desired {
            let id = self.put(key, wanted, &mut plan);
            let of_service = wanted.ranges.iter();
            ranges.extend(of_service.map(|(net, length)| (id, *net, *length)));
        }
        plan.ranges = ranges.difference(&self.ranges).copied().collect();
        plan.stale.ranges = self.ranges.difference(&ranges).copied().collect();
        self.ranges = ranges;
        if !plan.tables.is_empty() {
            plan.services
                .sort_by_key(|(_, service)| (rank(service), service.id));
        }
        plan
    }

    /// The same, where nothing differs but at the keys `touched`, and no entry there has or had
    /// ranges or a lookup table.
    pub fn plan_some(&mut self, desired: &Desired, touched: &HashSet<ServiceKey>) -> Plan {
        let mut plan = Plan::default();
        for key in touched {
            match desired.get(key) {
                Some(wanted) => drop(self.put(key, wanted, &mut plan)),
                None => self.remove(key, &mut plan),
            }
        }
        plan
    }

    fn remove(&mut self, key: &ServiceKey, plan: &mut Plan) {
        if let Some((service, backends)) = self.services.remove(key) {
            plan.strands_flows |= strands_flows(key, &backends, &[]);
            plan.stale.retire(&service, &backends);
            plan.gone.push(*key);
        }
    }

    /// Makes an entry what is wanted; returns the number of its service port.
    fn put(&mut self, key: &ServiceKey, wanted: &DesiredService, plan: &mut Plan) -> u32 {
        let id = self.id(&wanted.name);
        let present = self.services.get(key);
        let same = present.is_some_and(|(service, backends)| {
            service.flags == wanted.flags
                && service.id == id
                && service.backends as usize == backends.len()
                && *backends == wanted.backends
        });
        if same {
            return id;
        }
        if let Some((service, backends)) = present {
            plan.strands_flows |= strands_flows(key, backends, &wanted.backends);
            plan.stale.retire(service, backends);
        }
        let service = self.next(wanted.backends.len(), wanted.flags, id);
        let slots = slots_of(&service).zip(wanted.backends.iter().copied());
        plan.slots.extend(slots);
        plan.members.extend(members_of(&service, &wanted.backends));
        if let Some(size) = TableSize::of(service.flags) {
            let backends = wanted.backends.clone();
            let table = LookupTable { size, backends };
            plan.tables.insert(service.revision, table);
        }
        plan.services.push((*key, service));
        let programmed = (service, wanted.backends.clone());
        self.services.insert(*key, programmed);
        id
    }

    /// The backends of a service.
    pub fn backends(&self, key: &ServiceKey) -> Option<&[Backend]> {
        self.services
            .get(key)
            .map(|(_, backends)| backends.as_slice())
    }

    /// After a restart a service port keeps the number that its entries have.
    fn learn_ids(&mut self, desired: &Desired) {
        let mut used: HashSet<u32> = self.ids.values().copied().collect();
        for (key, wanted) in desired {
            let Some((service, _)) = self.services.get(key) else {
                continue;
            };
            if !self.ids.contains_key(&wanted.name) && used.insert(service.id) {
                self.ids.insert(wanted.name.clone(), service.id);
            }
        }
        let alive: HashSet<&ServicePortName> =
            desired.values().map(|wanted| &wanted.name).collect();
        self.ids.retain(|name, _| alive.contains(name));
    }

    fn id(&mut self, name: &ServicePortName) -> u32 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        self.last_id += 1;
        self.ids.insert(name.clone(), self.last_id);
        self.last_id
    }

    fn next(&mut self, backends: usize, flags: u32, id: u32) -> Service {
        self.last_revision = self.last_revision.checked_add(1).unwrap_or(1);
        Service {
            revision: self.last_revision,
            backends: backends as u32,
            flags,
            id,
        }
    }

    /// The numbers of the service ports whose clients keep their backends.
    pub fn with_affinity(&self) -> HashSet<u32> {
        let services = self.services.values().map(|(service, _)| service);
        let keeping = services.filter(|service| service.affinity_ns() != 0);
        keeping.map(|service| service.id).collect()
    }

    /// How many services are programmed.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }
}

/// Whether a datagram service that had some backends loses one of them.
fn strands_flows(key: &ServiceKey, before: &[Backend], after: &[Backend]) -> bool {
    let same = |a: &Backend, b: &Backend| a.addr == b.addr && a.port == b.port;
    key.protocol == protocol::UDP && before.iter().any(|old| !after.iter().any(|b| same(old, b)))
}

/// When a service is written: tables take time to fill, which the cluster's own need not wait for;
/// and where the outside has an entry of its own, none may be found without it.
fn rank(service: &Service) -> u8 {
    if service.flags & (EXTERNAL | NODE_PORT) == 0 {
        0
    } else if service.flags & TABLE != 0 {
        1
    } else {
        2
    }
}

/// The blocks of a service's lookup table; none of one that has no table.
fn blocks_of(service: &Service) -> impl Iterator<Item = MaglevKey> + use<> {
    let revision = service.revision;
    let blocks = TableSize::of(service.flags).map_or(0, TableSize::blocks);
    (0..blocks).map(move |block| MaglevKey { revision, block })
}

fn slots_of(service: &Service) -> impl Iterator<Item = BackendKey> + use<> {
    let revision = service.revision;
    (0..service.backends).map(move |slot| BackendKey { revision, slot })
}

/// The backends of a service whose clients keep theirs, with their slots; none of other services.
fn members_of(
    service: &Service,
    backends: &[Backend],
) -> impl Iterator<Item = (MemberKey, u32)> + use<> {
    let revision = service.revision;
    let backends = if service.affinity_ns() == 0 {
        Vec::new()
    } else {
        backends.to_vec()
    };
    let member = move |backend: Backend| MemberKey {
        revision,
        addr: backend.addr,
        port: backend.port,
        reserved: 0,
    };
    backends.into_iter().map(member).zip(0..)
}

#[cfg(test)]
mod tests;
