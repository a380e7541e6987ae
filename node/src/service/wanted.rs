//! What every address should lead to, kept from round to round.
//!
//! A node may know fifty thousand Services, of which a round finds one or two changed. So what each
//! Service wants is kept, and a round plans again those of which the tables say that they differ from
//! what was read the last time. Everything is planned again where that is not known, where what all
//! depend on has changed, and while Services bear on each other: two that claim one address, or lookup
//! tables for which there may be no room.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use naru_ebpf_common::ServiceKey;
use naru_ebpf_common::service::{RANGED, TABLE};

use super::balancing::{Balancing, has_wishes, limit_tables, unmet_wishes};
use super::desired::{Desired, DesiredService, Facts, desired};
use super::ends::Here;
use super::slices::Slices;
use crate::watches::{Key, Table};

/// The tables that are read.
#[derive(Debug, Clone, Copy)]
pub struct Tables<'a> {
    /// Every Service.
    pub services: &'a Table<Service>,
    /// Every EndpointSlice.
    pub slices: &'a Table<EndpointSlice>,
}

/// What all Services depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The node's name.
    pub node: String,
    /// Its zone, where it has one.
    pub zone: Option<String>,
    /// Addresses that end on the node itself (the cluster DNS) and are left out.
    pub own: Vec<IpAddr>,
    /// What Services get that do not ask.
    pub balancing: Balancing,
    /// The ports of this node's pods, which have what no Service claims.
    pub host_ports: Desired,
}

impl Context {
    fn facts(&self) -> Facts<'_> {
        Facts {
            here: Here {
                node: &self.node,
                zone: self.zone.as_deref(),
            },
            own: &self.own,
            balancing: self.balancing,
        }
    }
}

/// What may differ from the last round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// Every entry.
    All,
    /// These entries alone; none of them has or had ranges or a lookup table.
    These(HashSet<ServiceKey>),
}

/// Versions of the tables.
#[derive(Debug, Clone, Copy, Default)]
struct Versions {
    services: u64,
    slices: u64,
}

/// What every address should lead to.
#[derive(Debug, Default)]
pub struct Wanted {
    entries: Desired,
    /// Where each Service has its entries.
    claims: HashMap<Key, Vec<ServiceKey>>,
    slices: Slices,
    /// Services that wish for more than others get.
    wishing: HashSet<Key>,
    fault: Option<String>,
    /// What was read the last time, if one can go on from there.
    read: Option<(Versions, Context)>,
}

impl Wanted {
    /// Every entry.
    #[must_use]
    pub fn entries(&self) -> &Desired {
        &self.entries
    }

    /// What Services wish for and do not get, in one line.
    #[must_use]
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Plans everything the next time.
    pub fn forget(&mut self) {
        self.read = None;
    }

    /// Reads the tables.
    pub fn update(&mut self, tables: Tables<'_>, context: Context) -> Touched {
        let last = self.read.take();
        let since = last.as_ref().map(|(since, _)| *since).unwrap_or_default();
        let services = tables.services.changes(since.services);
        let slices = tables.slices.changes(since.slices);
        let versions = Versions {
            services: services.version,
            slices: slices.version,
        };
        let is_same = last.is_some_and(|(_, before)| before == context);
        let changes = services.keys.zip(slices.keys).filter(|_| is_same);
        let touched = changes.and_then(|changes| self.some(tables, context.facts(), changes));
        let (touched, can_go_on) = match touched {
            Some(touched) => (Touched::These(touched), true),
            None => (Touched::All, self.all(tables, &context)),
        };
        self.read = can_go_on.then_some((versions, context));
        touched
    }

    /// Plans everything; whether a next round can go on from here.
    fn all(&mut self, tables: Tables<'_>, context: &Context) -> bool {
        let services = tables.services.sorted();
        self.slices = Slices::of(tables.slices.sorted());
        self.entries.clear();
        self.claims.clear();
        let mut claimed = context.host_ports.len();
        for (key, service) in &services {
            let wanted = desired(key, service, &self.slices.of_service(key), context.facts());
            claimed += wanted.len();
            self.claims
                .insert(key.clone(), wanted.keys().copied().collect());
            self.entries.extend(wanted);
        }
        let left_out = limit_tables(&mut self.entries);
        for (key, port) in &context.host_ports {
            self.entries.entry(*key).or_insert_with(|| port.clone());
        }
        self.fault = unmet_wishes(&services, left_out);
        let wishing = services.iter().filter(|(_, service)| has_wishes(service));
        self.wishing = wishing.map(|(key, _)| key.clone()).collect();
        claimed == self.entries.len() && left_out == 0
    }

    /// Plans what concerns these Services and slices; `None` if others are concerned as well.
    fn some(
        &mut self,
        tables: Tables<'_>,
        facts: Facts<'_>,
        (services, slices): (BTreeSet<Key>, BTreeSet<Key>),
    ) -> Option<HashSet<ServiceKey>> {
        let mut concerned = services;
        for key in &slices {
            let owners = self.slices.set(key, tables.slices.find(key));
            concerned.extend(owners.into_iter().flatten());
        }
        let mut touched = HashSet::new();
        for key in concerned {
            touched.extend(self.remove(&key)?);
            if let Some(service) = tables.services.find(&key) {
                touched.extend(self.add(key, &service, facts)?);
            }
        }
        Some(touched)
    }

    /// Forgets the entries of a Service; `None` if that bears on others.
    fn remove(&mut self, service: &Key) -> Option<Vec<ServiceKey>> {
        let keys = self.claims.remove(service).unwrap_or_default();
        let is_alone = |key: &ServiceKey| {
            let entry = self.entries.remove(key);
            entry.is_some_and(|entry| is_plain(&entry))
        };
        let are_alone = keys.iter().all(is_alone);
        (are_alone && !self.wishing.contains(service)).then_some(keys)
    }

    /// Adds the entries of a Service; `None` if that bears on others.
    fn add(&mut self, key: Key, service: &Service, facts: Facts<'_>) -> Option<Vec<ServiceKey>> {
        let wanted = desired(&key, service, &self.slices.of_service(&key), facts);
        let is_free = |(key, entry): (&ServiceKey, &DesiredService)| {
            is_plain(entry) && !self.entries.contains_key(key)
        };
        if has_wishes(service) || !wanted.iter().all(is_free) {
            return None;
        }
        let keys: Vec<ServiceKey> = wanted.keys().copied().collect();
        self.entries.extend(wanted);
        self.claims.insert(key, keys.clone());
        Some(keys)
    }
}

/// Whether nothing but the entry itself has to change with it.
fn is_plain(entry: &DesiredService) -> bool {
    entry.flags & (RANGED | TABLE) == 0
}

#[cfg(test)]
mod tests;
