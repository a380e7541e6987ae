//! Lookup tables: what every table promises, whichever backends it is of, and that packets choose
//! by it.

use std::collections::{HashMap, HashSet};

use naru_ebpf_common::config::Timeouts;
use naru_ebpf_common::maglev::BLOCK_SLOTS;
use naru_ebpf_common::service::{AFFINITY_SHIFT, EXTERNAL, SCOPE_ANY, SCOPE_OUTSIDE};
use naru_ebpf_common::{
    Addr, Backend, BackendKey, Family, MemberKey, NodeConfig, Port, Service, ServiceKey, TableSize,
    protocol,
};
use naru_ebpf_logic::host::Snapshot;
use naru_ebpf_logic::{Action, Packet, Segment, Step, from_network, maglev::table};
use proptest::prelude::*;

type End = (Addr, Port);

fn backend((addr, port): End) -> Backend {
    Backend {
        addr,
        port,
        flags: 0,
        reserved: 0,
    }
}

/// Pods as a cluster has them: many in the same networks, on the same port.
fn ends(count: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<End>> {
    let v4 = (0..4_u8, any::<u8>()).prop_map(|(net, host)| Addr::v4([10, 244, net, host]));
    let v6 = (0..4_u8, any::<u8>()).prop_map(|(net, host)| {
        Addr::from_bytes([0xfd, 0, 0, net, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host])
    });
    let of = move |addr: BoxedStrategy<Addr>| {
        let set = prop::collection::hash_set(addr, count.clone());
        (set, prop_oneof![Just(80_u16), Just(8080), 1024..60_000_u16])
    };
    let family = prop_oneof![of(v4.boxed()), of(v6.boxed())];
    family.prop_map(|(set, port)| {
        set.into_iter()
            .map(|addr| (addr, Port::new(port)))
            .collect()
    })
}

/// Who has each slot.
fn owners(ends: &[End], size: TableSize) -> Vec<End> {
    let backends: Vec<_> = ends.iter().copied().map(backend).collect();
    let slots = table::fill(&backends, size);
    assert_eq!(slots.len(), size.slots() as usize);
    slots.iter().map(|slot| ends[usize::from(*slot)]).collect()
}

fn counts(owners: &[End]) -> HashMap<End, usize> {
    let mut counts = HashMap::new();
    for end in owners {
        *counts.entry(*end).or_default() += 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn shares_are_even_within_a_hundredth(ends in ends(2..=100)) {
        let owners = owners(&ends, TableSize::DEFAULT);
        let counts = counts(&owners);
        prop_assert_eq!(counts.len(), ends.len());
        let share = owners.len() as f64 / ends.len() as f64;
        for count in counts.values() {
            let off = (*count as f64 - share).abs() / share;
            prop_assert!(off <= 0.01, "{count} slots, {share} would be fair");
        }
    }

    #[test]
    fn when_one_of_a_hundred_goes_less_than_a_hundredth_of_the_rest_moves(
        ends in ends(100..=100),
        gone in 0..100_usize,
    ) {
        let before = owners(&ends, TableSize::DEFAULT);
        let gone = ends[gone];
        let rest: Vec<_> = ends.into_iter().filter(|end| *end != gone).collect();
        let after = owners(&rest, TableSize::DEFAULT);
        let both = before.iter().zip(&after);
        let moved = both.filter(|(old, new)| **old != gone && old != new).count();
        prop_assert!(moved * 100 <= before.len(), "{moved} of {}", before.len());
    }

    #[test]
    fn the_order_of_the_backends_does_not_matter(
        (ends, other) in ends(1..=40).prop_flat_map(|ends| (Just(ends.clone()), Just(ends).prop_shuffle())),
        size in prop::sample::select(TableSize::all().take(6).collect::<Vec<_>>()),
    ) {
        prop_assert_eq!(owners(&ends, size), owners(&other, size));
    }

    #[test]
    fn tables_with_a_hundred_slots_for_each_are_even_within_a_hundredth_or_a_slot(
        (ends, size) in large_enough(),
    ) {
        let owners = owners(&ends, size);
        let counts = counts(&owners);
        let (least, most) = (owners.len() / ends.len(), owners.len().div_ceil(ends.len()));
        let slack = (owners.len() / ends.len() / 100).max(1);
        for end in &ends {
            let count = counts.get(end).copied().unwrap_or(0);
            prop_assert!((least.saturating_sub(slack)..=most + slack).contains(&count), "{count}");
        }
    }
}

/// Backends, and a size with a hundred slots for each of them.
fn large_enough() -> impl Strategy<Value = (Vec<End>, TableSize)> {
    let sizes: Vec<_> = TableSize::all().take(8).collect();
    prop::sample::select(sizes).prop_flat_map(|size| {
        let most = (size.slots() as usize / 100).min(300);
        (ends(1..=most), Just(size))
    })
}

#[test]
fn a_table_lies_in_blocks_one_behind_the_other() {
    let backends: Vec<_> = (0..50).map(pod).map(backend).collect();
    let slots = table::fill(&backends, TableSize::DEFAULT);
    let blocks: Vec<_> = table::blocks(7, &slots).collect();
    assert_eq!(blocks.len(), TableSize::DEFAULT.blocks() as usize);
    let joined: Vec<u16> = blocks.iter().flat_map(|(_, b)| b.backends).collect();
    assert_eq!(joined[..slots.len()], slots);
    assert_eq!(joined.len(), blocks.len() * BLOCK_SLOTS);
    let keys: Vec<_> = blocks
        .iter()
        .map(|(key, _)| (key.revision, key.block))
        .collect();
    assert_eq!(keys, (0..17).map(|block| (7, block)).collect::<Vec<_>>());
}

/// Nodes of several releases agree on this one. Whoever changes it raises the version of the map.
#[test]
fn a_table_is_what_it_has_always_been() {
    let backends: Vec<_> = (0..50).map(pod).map(backend).collect();
    let slots = table::fill(&backends, TableSize::DEFAULT);
    let sum = |sum: u64, slot: &u16| (sum ^ u64::from(*slot)).wrapping_mul(0x100_0000_01b3);
    assert_eq!(
        slots.iter().fold(0xcbf2_9ce4_8422_2325, sum),
        0x0EB6_B0F5_F51E_DF3E
    );
}

#[test]
fn nobody_has_a_table_without_slots_to_give() {
    assert!(table::fill(&[], TableSize::DEFAULT).is_empty());
}

const VIP: Addr = Addr::v4([192, 0, 2, 7]);
const SIZE: TableSize = TableSize::DEFAULT;

fn pod(n: u8) -> End {
    (Addr::v4([10, 244, 2, n]), Port::new(8080))
}

fn client(n: u16) -> Addr {
    let [high, low] = n.to_be_bytes();
    Addr::v4([203, 0, high, low])
}

/// A node that knows the service at [`VIP`] with these backends, in this order.
fn node(own: u8, ends: &[End], flags: u32) -> Snapshot {
    let config = NodeConfig {
        v4: Family {
            node_addr: Addr::v4([192, 168, 77, own]),
            pod_net: Addr::v4([10, 244, own, 0]),
            pod_prefix: 120,
            ..Family::NONE
        },
        v6: Family::NONE,
        uplink_ifindex: 2,
        node_port_first: 30000,
        node_port_last: 32767,
        snat_port_first: 61000,
        snat_port_last: 65535,
        timeouts: Timeouts::DEFAULT,
        ..NodeConfig::default()
    };
    let mut node = Snapshot {
        config: Some(config),
        ..Snapshot::default()
    };
    node.now_ns.set(1 << 40);
    // Chance is another on every node.
    node.chance.set(u32::from(own) << 24);
    for (addr, port) in [(VIP, 80), (Addr::ANY_V4, 30080)] {
        serve(&mut node, (addr, port), ends, flags);
    }
    node
}

fn serve(node: &mut Snapshot, (addr, port): (Addr, u16), ends: &[End], flags: u32) {
    let revision = u32::from(port) + ends.len() as u32;
    let backends: Vec<_> = ends.iter().copied().map(backend).collect();
    for (slot, backend) in (0..).zip(&backends) {
        node.backends
            .insert(BackendKey { revision, slot }, *backend);
        let member = MemberKey {
            revision,
            addr: backend.addr,
            port: backend.port,
            reserved: 0,
        };
        node.members.insert(member, slot);
    }
    node.tables
        .extend(table::blocks(revision, &table::fill(&backends, SIZE)));
    for (scope, table) in [(SCOPE_ANY, 0), (SCOPE_OUTSIDE, SIZE.flags())] {
        let key = ServiceKey {
            addr,
            port: Port::new(port),
            protocol: protocol::TCP,
            scope,
        };
        let service = Service {
            revision,
            backends: backends.len() as u32,
            flags: EXTERNAL | flags | table,
            id: 1,
        };
        node.services.insert(key, service);
    }
}

/// The backend that a flow from outside meets.
fn met(node: &Snapshot, client: Addr, port: u16, to: (Addr, u16)) -> End {
    let mut p = Packet {
        src: client,
        dst: to.0,
        src_port: Port::new(port),
        dst_port: Port::new(to.1),
        protocol: protocol::TCP,
        tcp: Segment {
            flags: protocol::SYN,
            ..Segment::default()
        },
        ..Packet::default()
    };
    let verdict = from_network(node, &mut p);
    assert!(
        matches!(verdict.action(), Action::Uplink { .. }),
        "{verdict:?}"
    );
    (p.dst, p.dst_port)
}

/// What a thousand flows meet.
fn met_by_many(node: &Snapshot) -> Vec<End> {
    (0..1000)
        .map(|n| met(node, client(n), 40_000, (VIP, 80)))
        .collect()
}

#[test]
fn nodes_agree_whatever_they_remember_and_however_they_number() {
    let mut ends: Vec<End> = (1..=20).map(pod).collect();
    let one = node(101, &ends, 0);
    ends.reverse();
    let other = node(102, &ends, 0);
    let first = met_by_many(&one);
    assert_eq!(first, met_by_many(&other));
    one.conntrack.borrow_mut().clear();
    one.nat.borrow_mut().clear();
    assert_eq!(first, met_by_many(&one));
    let distinct: HashSet<_> = first.iter().collect();
    assert_eq!(distinct.len(), 20, "all of them are met");
}

#[test]
fn a_node_port_leads_a_flow_to_one_backend_at_every_node() {
    let ends: Vec<End> = (1..=20).map(pod).collect();
    let nodes = [101, 102].map(|own| node(own, &ends, 0));
    for port in 40_000..40_050 {
        let met = nodes.each_ref().map(|node| {
            let own = node.config.expect("facts").v4.node_addr;
            met(node, client(1), port, (own, 30080))
        });
        assert_eq!(met[0], met[1]);
    }
}

#[test]
fn the_flows_of_a_backend_that_goes_are_nearly_all_that_move() {
    let ends: Vec<End> = (1..=100).map(pod).collect();
    let before = met_by_many(&node(101, &ends, 0));
    let after = met_by_many(&node(101, &ends[1..], 0));
    let both = before.iter().zip(&after);
    let moved = both
        .filter(|(old, new)| **old != ends[0] && old != new)
        .count();
    assert!(after.iter().all(|end| *end != ends[0]));
    assert!(moved <= 30, "{moved} of 1000");
}

#[test]
fn clients_that_keep_their_backend_find_the_same_one_at_every_node_and_address() {
    let ends: Vec<End> = (1..=20).map(pod).collect();
    let affine = 60 << AFFINITY_SHIFT;
    let nodes = [101, 102].map(|own| node(own, &ends, affine));
    for n in 0..50 {
        let first = met(&nodes[0], client(n), 40_000, (VIP, 80));
        assert_eq!(first, met(&nodes[0], client(n), 40_001, (VIP, 80)));
        let own = nodes[1].config.expect("facts").v4.node_addr;
        assert_eq!(first, met(&nodes[1], client(n), 40_002, (own, 30080)));
    }
}

#[test]
fn a_kept_backend_comes_before_the_table() {
    let ends: Vec<End> = (1..=20).map(pod).collect();
    let mut node = node(101, &ends, 60 << AFFINITY_SHIFT);
    let kept: Vec<_> = (0..50)
        .map(|n| met(&node, client(n), 40_000, (VIP, 80)))
        .collect();
    let more: Vec<End> = (1..=40).map(pod).collect();
    serve(&mut node, (VIP, 80), &more, 60 << AFFINITY_SHIFT);
    let still: Vec<_> = (0..50)
        .map(|n| met(&node, client(n), 40_001, (VIP, 80)))
        .collect();
    assert_eq!(kept, still);
}

#[test]
fn the_slot_that_decides_is_told() {
    let node = node(101, &[pod(1), pod(2)], 0);
    met(&node, client(1), 40_000, (VIP, 80));
    let told = node.take_steps();
    let is_told = |step: &Step| matches!(step, Step::Table(slot, SIZE) if *slot < SIZE.slots());
    assert!(told.iter().any(is_told), "{told:?}");
}

#[test]
fn a_service_whose_table_is_not_there_yet_has_no_backend_rather_than_any() {
    let mut node = node(101, &[pod(1), pod(2)], 0);
    node.tables.clear();
    let mut p = Packet {
        src: client(1),
        dst: VIP,
        src_port: Port::new(40_000),
        dst_port: Port::new(80),
        protocol: protocol::TCP,
        ..Packet::default()
    };
    let verdict = from_network(&node, &mut p);
    assert!(matches!(verdict.action(), Action::Refuse(_)), "{verdict:?}");
}
