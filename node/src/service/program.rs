//! From what is programmed to what is desired, in safe steps.

use std::collections::{HashMap, HashSet};

use naru_ebpf_common::{Backend, BackendKey, Service, ServiceKey};

use super::desired::{Desired, ServicePortName};

/// What the maps hold: each service with its slots in order.
#[derive(Debug, Default)]
pub struct Programmed {
    services: HashMap<ServiceKey, (Service, Vec<Backend>)>,
    /// Slots that belong to no service: what an interrupted change left behind.
    orphans: Vec<BackendKey>,
    ids: HashMap<ServicePortName, u32>,
    last_revision: u32,
    last_id: u32,
}

/// The steps of a change, to be taken in the order of the fields.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Slots to write, of revisions that no service names yet.
    pub slots: Vec<(BackendKey, Backend)>,
    /// Services to write.
    pub services: Vec<(ServiceKey, Service)>,
    /// Services to delete.
    pub gone: Vec<ServiceKey>,
    /// Slots that no service names any more.
    pub stale: Vec<BackendKey>,
}

impl Plan {
    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.gone.is_empty() && self.stale.is_empty()
    }
}

impl Programmed {
    /// Reads the maps of an earlier daemon.
    pub fn adopt(services: Vec<(ServiceKey, Service)>, slots: Vec<(BackendKey, Backend)>) -> Self {
        let last_revision = services.iter().map(|(_, service)| service.revision);
        let last_revision = last_revision
            .chain(slots.iter().map(|(key, _)| key.revision))
            .max();
        let last_id = services.iter().map(|(_, service)| service.id).max();
        let mut slots: HashMap<_, _> = slots.into_iter().collect();
        let adopted = services.into_iter().map(|(key, service)| {
            let slot = |slot| BackendKey {
                revision: service.revision,
                slot,
            };
            // A missing slot makes the lists differ, and the service is written anew.
            let backends = (0..service.backends)
                .filter_map(|n| slots.remove(&slot(n)))
                .collect();
            (key, (service, backends))
        });
        let services = adopted.collect();
        Self {
            services,
            orphans: slots.into_keys().collect(),
            ids: HashMap::new(),
            last_revision: last_revision.unwrap_or(0),
            last_id: last_id.unwrap_or(0),
        }
    }

    /// The least that leads to `desired`. Recorded as done: call [`Programmed::adopt`] again if a
    /// step failed.
    pub fn plan(&mut self, desired: &Desired) -> Plan {
        self.learn_ids(desired);
        let mut plan = Plan {
            stale: std::mem::take(&mut self.orphans),
            ..Plan::default()
        };
        let gone: Vec<_> = self
            .services
            .keys()
            .filter(|key| !desired.contains_key(key))
            .copied()
            .collect();
        for key in gone {
            if let Some((service, _)) = self.services.remove(&key) {
                plan.stale.extend(slots_of(&service));
                plan.gone.push(key);
            }
        }
        for (key, wanted) in desired {
            let id = self.id(&wanted.name);
            let present = self.services.get(key);
            let same = present.is_some_and(|(service, backends)| {
                service.flags == wanted.flags && service.id == id && *backends == wanted.backends
            });
            if same {
                continue;
            }
            plan.stale
                .extend(present.iter().flat_map(|(service, _)| slots_of(service)));
            let service = self.next(wanted.backends.len(), wanted.flags, id);
            let slots = slots_of(&service).zip(wanted.backends.iter().copied());
            plan.slots.extend(slots);
            plan.services.push((*key, service));
            self.services
                .insert(*key, (service, wanted.backends.clone()));
        }
        plan
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

    /// How many services are programmed.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }
}

fn slots_of(service: &Service) -> impl Iterator<Item = BackendKey> + use<> {
    let revision = service.revision;
    (0..service.backends).map(move |slot| BackendKey { revision, slot })
}

#[cfg(test)]
mod tests {
    use naru_ebpf_common::{Addr, Port};

    use super::super::desired::DesiredService;
    use super::*;

    fn key(n: u8) -> ServiceKey {
        ServiceKey {
            addr: Addr::v4([10, 96, 0, n]),
            port: Port::new(80),
            protocol: 6,
            reserved: 0,
        }
    }

    fn wanted(n: u8, ends: &[u8]) -> (ServiceKey, DesiredService) {
        let name = ServicePortName {
            namespace: "a".into(),
            name: n.to_string(),
            port: String::new(),
        };
        let end = |n: &u8| Backend {
            addr: Addr::v4([10, 244, 0, *n]),
            port: Port::new(80),
            flags: 0,
            reserved: 0,
        };
        (
            key(n),
            DesiredService {
                name,
                flags: 0,
                backends: ends.iter().map(end).collect(),
            },
        )
    }

    /// The maps, as a reader sees them between any two steps.
    #[derive(Default, Clone)]
    struct Maps {
        services: HashMap<ServiceKey, Service>,
        slots: HashMap<BackendKey, Backend>,
    }

    impl Maps {
        fn apply(&mut self, plan: &Plan) {
            for (key, slot) in &plan.slots {
                assert!(
                    self.slots.insert(*key, *slot).is_none(),
                    "a slot in use was overwritten"
                );
                self.check();
            }
            for (key, service) in &plan.services {
                self.services.insert(*key, *service);
                self.check();
            }
            for key in &plan.gone {
                self.services.remove(key);
            }
            for key in &plan.stale {
                self.slots.remove(key);
                self.check();
            }
        }

        fn check(&self) {
            for service in self.services.values() {
                assert!(slots_of(service).all(|slot| self.slots.contains_key(&slot)));
            }
        }

        fn adopt(&self) -> Programmed {
            Programmed::adopt(
                self.services.clone().into_iter().collect(),
                self.slots.clone().into_iter().collect(),
            )
        }
    }

    #[test]
    fn no_reader_sees_half_a_change_and_nothing_is_left_over() {
        let (mut maps, mut programmed) = (Maps::default(), Programmed::default());
        let worlds: [&[(u8, &[u8])]; 4] = [
            &[(1, &[1, 2]), (2, &[3])],
            &[(1, &[2, 4, 5]), (2, &[3])],
            &[(2, &[])],
            &[],
        ];
        for world in worlds {
            let desired: Desired = world.iter().map(|(n, ends)| wanted(*n, ends)).collect();
            maps.apply(&programmed.plan(&desired));
            assert_eq!(maps.services.len(), world.len());
            assert_eq!(
                maps.slots.len(),
                world.iter().map(|(_, ends)| ends.len()).sum::<usize>()
            );
            assert!(programmed.plan(&desired).is_empty());
        }
    }

    #[test]
    fn a_restart_changes_nothing_and_clears_orphans() {
        let (mut maps, mut programmed) = (Maps::default(), Programmed::default());
        let desired: Desired = [wanted(1, &[1, 2]), wanted(2, &[3])].into();
        maps.apply(&programmed.plan(&desired));
        assert!(maps.adopt().plan(&desired).is_empty());
        let orphan = BackendKey {
            revision: 99,
            slot: 0,
        };
        maps.slots.insert(orphan, Backend::default());
        let plan = maps.adopt().plan(&desired);
        assert_eq!(
            plan,
            Plan {
                stale: vec![orphan],
                ..Plan::default()
            }
        );
    }
}
