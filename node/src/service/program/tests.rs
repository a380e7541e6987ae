use naru_ebpf_common::Port;
use naru_ebpf_common::service::{AFFINITY_SHIFT, RANGED};

use super::super::desired::DesiredService;
use super::super::lookup::Filler;
use super::*;

fn key(n: u8) -> ServiceKey {
    ServiceKey {
        addr: Addr::v4([10, 96, 0, n]),
        port: Port::new(80),
        protocol: 6,
        scope: 0,
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
            ranges: Vec::new(),
        },
    )
}

/// The maps, as a reader sees them between any two steps.
#[derive(Default, Clone)]
struct Maps {
    services: HashMap<ServiceKey, Service>,
    slots: HashMap<BackendKey, Backend>,
    members: HashMap<MemberKey, u32>,
    tables: HashSet<MaglevKey>,
    ranges: HashSet<Range>,
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
        self.members.extend(plan.members.iter().copied());
        self.ranges.extend(plan.ranges.iter().copied());
        let mut filler = Filler::default();
        for (key, service) in &plan.services {
            if let Some(table) = plan.tables.get(&service.revision) {
                for (block, _) in filler.blocks(table, service.revision) {
                    assert!(self.tables.insert(block), "a table was overwritten");
                }
            }
            self.services.insert(*key, *service);
            self.check();
        }
        for key in &plan.gone {
            self.services.remove(key);
        }
        for key in &plan.stale.slots {
            self.slots.remove(key);
            self.check();
        }
        for key in &plan.stale.members {
            self.members.remove(key);
            self.check();
        }
        for key in &plan.stale.tables {
            self.tables.remove(key);
            self.check();
        }
        for range in &plan.stale.ranges {
            self.ranges.remove(range);
        }
    }

    fn check(&self) {
        for service in self.services.values() {
            let slots = slots_of(service).map(|slot| self.slots[&slot]);
            let backends: Vec<_> = slots.collect();
            let mut members = members_of(service, &backends);
            assert!(members.all(|(key, slot)| self.members.get(&key) == Some(&slot)));
            assert!(blocks_of(service).all(|block| self.tables.contains(&block)));
        }
    }

    fn adopt(&self) -> Programmed {
        Programmed::adopt(Contents {
            services: self.services.clone().into_iter().collect(),
            slots: self.slots.clone().into_iter().collect(),
            members: self.members.clone().into_iter().collect(),
            tables: self.tables.iter().copied().collect(),
            ranges: self.ranges.iter().copied().collect(),
        })
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
            stale: Stale {
                slots: vec![orphan],
                ..Stale::default()
            },
            ..Plan::default()
        }
    );
}

/// The same, whose clients keep their backend for a second and come from one network.
fn choosy(n: u8, ends: &[u8]) -> (ServiceKey, DesiredService) {
    let (key, mut service) = wanted(n, ends);
    service.flags = 1 << AFFINITY_SHIFT | RANGED;
    service.ranges = vec![(Addr::v4([10, 0, 0, 0]), 104)];
    (key, service)
}

#[test]
fn only_a_datagram_service_that_loses_a_backend_strands_flows() {
    let datagrams = |ends: &[u8]| {
        let (mut key, service) = wanted(1, ends);
        key.protocol = protocol::UDP;
        Desired::from([(key, service)])
    };
    let mut programmed = Programmed::default();
    let mut strands = |ends: &[u8]| programmed.plan(&datagrams(ends)).strands_flows;
    assert!(!strands(&[1, 2]));
    assert!(!strands(&[1, 2, 3]));
    assert!(strands(&[1, 3]));
    assert!(strands(&[]));
    let mut programmed = Programmed::default();
    programmed.plan(&[wanted(1, &[1, 2])].into());
    assert!(!programmed.plan(&[wanted(1, &[1])].into()).strands_flows);
}

#[test]
fn members_and_ranges_come_and_go_with_their_service() {
    let (mut maps, mut programmed) = (Maps::default(), Programmed::default());
    maps.apply(&programmed.plan(&[choosy(1, &[1, 2]), wanted(2, &[3])].into()));
    assert_eq!((maps.members.len(), maps.ranges.len()), (2, 1));
    maps.apply(&programmed.plan(&[choosy(1, &[2, 4, 5])].into()));
    assert_eq!((maps.members.len(), maps.ranges.len()), (3, 1));
    maps.apply(&programmed.plan(&[wanted(1, &[2])].into()));
    assert_eq!((maps.members.len(), maps.ranges.len()), (0, 0));
}

/// The same, whose packets from outside choose by a table of two blocks.
fn tabled(n: u8, ends: &[u8]) -> (ServiceKey, DesiredService) {
    let (key, mut service) = wanted(n, ends);
    let size: TableSize = "1021".parse().unwrap();
    service.flags = NODE_PORT | size.flags();
    (key, service)
}

#[test]
fn tables_come_and_go_with_their_service_and_no_other_is_filled_again() {
    let (mut maps, mut programmed) = (Maps::default(), Programmed::default());
    let both: Desired = [tabled(1, &[1, 2]), tabled(2, &[3, 4]), wanted(3, &[5])].into();
    maps.apply(&programmed.plan(&both));
    assert_eq!(maps.tables.len(), 4);
    let plan = programmed.plan(&[tabled(1, &[1, 2]), tabled(2, &[3, 4, 6])].into());
    assert_eq!(plan.tables.len(), 1);
    maps.apply(&plan);
    assert_eq!(maps.tables.len(), 4);
    maps.apply(&programmed.plan(&[tabled(1, &[1, 2]), wanted(2, &[3, 4])].into()));
    assert_eq!(maps.tables.len(), 2);
    maps.apply(&programmed.plan(&Desired::new()));
    assert!(maps.tables.is_empty());
}

#[test]
fn a_restart_keeps_whole_tables_and_fills_torn_ones_anew() {
    let (mut maps, mut programmed) = (Maps::default(), Programmed::default());
    let desired: Desired = [tabled(1, &[1, 2]), tabled(2, &[3, 4])].into();
    maps.apply(&programmed.plan(&desired));
    assert!(maps.adopt().plan(&desired).is_empty());
    let torn = *maps.tables.iter().next().unwrap();
    maps.tables.remove(&torn);
    let plan = maps.adopt().plan(&desired);
    assert_eq!((plan.tables.len(), plan.services.len()), (1, 1));
    assert_eq!(
        plan.stale.tables.len(),
        2,
        "the other block, and what is missing"
    );
    assert!(plan.tables.keys().all(|revision| *revision > torn.revision));
}

#[test]
fn the_clusters_own_do_not_wait_for_tables_and_nothing_external_precedes_them() {
    let external = |n| {
        let (key, mut service) = wanted(n, &[1, 2]);
        service.flags = EXTERNAL;
        (key, service)
    };
    let desired = [
        external(1),
        tabled(2, &[1, 2]),
        wanted(3, &[1]),
        external(4),
    ];
    let plan = Programmed::default().plan(&Desired::from(desired));
    let order = plan.services.iter().map(|(_, service)| rank(service));
    assert_eq!(order.collect::<Vec<_>>(), [0, 1, 2, 2]);
}

#[test]
fn a_restart_mends_what_is_missing_and_clears_foreign_members() {
    let (mut maps, mut programmed) = (Maps::default(), Programmed::default());
    let desired: Desired = [choosy(1, &[1, 2])].into();
    maps.apply(&programmed.plan(&desired));
    assert!(maps.adopt().plan(&desired).is_empty());
    let foreign = MemberKey {
        revision: 99,
        ..MemberKey::default()
    };
    maps.members.insert(foreign, 0);
    assert_eq!(maps.adopt().plan(&desired).stale.members, [foreign]);
    let lost = *maps.members.keys().find(|key| **key != foreign).unwrap();
    maps.members.remove(&lost);
    let plan = maps.adopt().plan(&desired);
    assert_eq!(plan.members.len(), 2, "the service is written anew");
    assert_eq!(plan.stale.slots.len(), 2);
    assert_eq!(
        plan.stale.members.len(),
        2,
        "the foreign one, and what is left"
    );
    let nobody: Desired = [choosy(1, &[])].into();
    assert_eq!(maps.adopt().plan(&nobody).services.len(), 1);
}

#[test]
fn a_part_is_planned_as_the_whole_is() {
    let (mut maps, mut programmed) = (Maps::default(), Programmed::default());
    let all = [wanted(1, &[1, 2]), wanted(2, &[3]), wanted(3, &[4])];
    maps.apply(&programmed.plan(&all.into()));
    let desired = Desired::from([wanted(1, &[1, 5]), wanted(3, &[4]), wanted(4, &[6])]);
    let touched = [1, 2, 3, 4, 5].map(key).into();
    let plan = programmed.plan_some(&desired, &touched);
    assert_eq!((plan.services.len(), plan.gone.len()), (2, 1));
    maps.apply(&plan);
    assert!(programmed.plan(&desired).is_empty());
    assert!(maps.adopt().plan(&desired).is_empty());
}
