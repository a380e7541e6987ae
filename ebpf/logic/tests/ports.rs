//! Source ports of translated flows, as many of them as a node has: which are given out, how soon
//! again, and how many connections a second there may be to one destination.

use std::collections::{HashMap, HashSet};

use naru_ebpf_common::config::Timeouts;
use naru_ebpf_common::protocol::{ACK, FIN, SYN};
use naru_ebpf_common::{Addr, Endpoint, Family, NodeConfig, Port, Reason, protocol};
use naru_ebpf_logic::host::Snapshot;
use naru_ebpf_logic::{Action, Packet, from_network, from_pod};

const NODE: Addr = Addr::v4([192, 168, 77, 101]);
const OUTSIDE: Addr = Addr::v4([203, 0, 113, 7]);
const POD: u32 = 7;
const SECOND_NS: u64 = 1_000_000_000;
/// How many ports there are for one destination.
const ALL: u32 = 23_536;

fn config() -> NodeConfig {
    NodeConfig {
        v4: Family {
            node_addr: NODE,
            pod_net: Addr::v4([10, 244, 1, 0]),
            pod_prefix: 120,
            ..Family::NONE
        },
        v6: Family::NONE,
        uplink_ifindex: 2,
        node_port_first: NodeConfig::NODE_PORT_FIRST,
        node_port_last: NodeConfig::NODE_PORT_LAST,
        snat_port_first: NodeConfig::SNAT_PORT_FIRST,
        snat_port_last: NodeConfig::SNAT_PORT_LAST,
        snat_low_first: NodeConfig::SNAT_LOW_FIRST,
        snat_low_ports: NodeConfig::SNAT_LOW_PORTS,
        timeouts: Timeouts::DEFAULT,
        ..NodeConfig::default()
    }
}

/// A node with so many pods that their ports do not run out.
struct Node {
    maps: Snapshot,
    /// Connections so far.
    opened: u32,
}

impl Node {
    const PODS: u32 = 8;

    fn new() -> Self {
        let endpoint = |number: u32| Endpoint {
            id: 1 + number,
            identity: 300,
            ifindex: POD + number,
            policy_revision: 1,
            ..Endpoint::default()
        };
        let maps = Snapshot {
            config: Some(config()),
            endpoints: (0..Self::PODS).map(|i| (pod(i), endpoint(i))).collect(),
            ..Snapshot::default()
        };
        maps.now_ns.set(1 << 40);
        Self { maps, opened: 0 }
    }

    fn wait(&self, nanoseconds: u64) {
        self.maps.now_ns.set(self.maps.now_ns.get() + nanoseconds);
    }

    /// Opens a connection that nobody had before; the port that it got.
    fn open(&mut self) -> Option<Connection> {
        let number = self.opened;
        self.opened += 1;
        let client = (number % Self::PODS, (1024 + number / Self::PODS) as u16);
        self.maps.chance.set(scrambled(number));
        let port = self.send(client, SYN)?;
        let connection = Connection { client, port };
        self.answer(connection, SYN | ACK);
        Some(connection)
    }

    /// Both ends close, the server first.
    fn close(&mut self, connection: Connection) {
        self.answer(connection, FIN | ACK);
        self.send(connection.client, FIN | ACK);
        self.answer(connection, ACK);
    }

    fn send(&self, (number, port): (u32, u16), flags: u8) -> Option<u16> {
        let mut p = segment((pod(number), port), (OUTSIDE, 443), flags);
        let verdict = from_pod(&self.maps, &mut p, POD + number);
        self.maps.take_steps();
        match verdict.action() {
            Action::Uplink { .. } => Some(p.src_port.get()),
            Action::Drop(Reason::SNAT_EXHAUSTED) => None,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&self, connection: Connection, flags: u8) {
        let mut p = segment((OUTSIDE, 443), (NODE, connection.port), flags);
        let verdict = from_network(&self.maps, &mut p);
        self.maps.take_steps();
        let (number, port) = connection.client;
        let ifindex = POD + number;
        assert_eq!(verdict.action(), Action::Deliver { ifindex });
        assert_eq!((p.dst, p.dst_port.get()), (pod(number), port));
    }

    /// Forgets a connection, as if it had never been.
    fn forget(&self, connection: Connection) {
        self.maps.nat.borrow_mut().retain(|key, entry| {
            key.dst_port.get() != connection.port && entry.src_port.get() != connection.port
        });
    }
}

#[derive(Clone, Copy)]
struct Connection {
    client: (u32, u16),
    port: u16,
}

fn pod(number: u32) -> Addr {
    Addr::v4([10, 244, 1, 2 + number as u8])
}

/// Numbers that look like chance, and are the same each time.
fn scrambled(number: u32) -> u32 {
    let number = (number ^ number >> 16).wrapping_mul(0x45d9_f3b5);
    let number = (number ^ number >> 16).wrapping_mul(0x45d9_f3b5);
    number ^ number >> 16
}

fn segment(src: (Addr, u16), dst: (Addr, u16), flags: u8) -> Packet {
    let mut p = Packet {
        src: src.0,
        dst: dst.0,
        src_port: Port::new(src.1),
        dst_port: Port::new(dst.1),
        protocol: protocol::TCP,
        ..Packet::default()
    };
    p.tcp.flags = flags;
    p
}

/// What became of connections that were closed at once, so many a second for some time.
#[derive(Default)]
struct Load {
    tried: u32,
    dropped: u32,
    ports: HashSet<u16>,
    /// The shortest time in which a port was used again.
    rest_ns: Option<u64>,
}

fn load(rate: u64, seconds: u64) -> Load {
    let mut node = Node::new();
    let (mut load, mut used) = (Load::default(), HashMap::new());
    for _ in 0..rate * seconds {
        node.wait(SECOND_NS / rate);
        load.tried += 1;
        let Some(connection) = node.open() else {
            load.dropped += 1;
            continue;
        };
        node.close(connection);
        let now = node.maps.now_ns.get();
        load.ports.insert(connection.port);
        if let Some(before) = used.insert(connection.port, now) {
            let rest = now - before;
            load.rest_ns = Some(load.rest_ns.map_or(rest, |least| least.min(rest)));
        }
    }
    load
}

#[test]
fn numbers_name_the_ports_of_both_ranges_and_no_others() {
    let config = config();
    assert_eq!(config.snat_ports(), ALL);
    let named: HashSet<u16> = (0..ALL).map(|n| config.snat_port(n).get()).collect();
    let wanted: HashSet<u16> = (11_000..=29_999).chain(61_000..=65_535).collect();
    assert_eq!(named, wanted);
    let is_known = |port: &u16| config.is_snat_port(Port::new(*port));
    assert_eq!(
        (0..=u16::MAX).filter(is_known).collect::<HashSet<_>>(),
        wanted
    );
}

#[test]
fn a_node_without_a_lower_range_has_the_upper_one() {
    let config = NodeConfig {
        snat_low_first: 0,
        snat_low_ports: 0,
        ..config()
    };
    assert_eq!(config.snat_ports(), 4536);
    assert_eq!(config.snat_port(0).get(), 61_000);
    assert!(!config.is_snat_port(Port::new(0)));
}

#[test]
fn a_port_rests_for_longer_than_a_server_remembers_if_there_is_time() {
    let load = load(150, 300);
    assert_eq!(load.dropped, 0);
    assert!(load.rest_ns > Some(60 * SECOND_NS), "{:?}", load.rest_ns);
}

#[test]
fn every_port_has_its_turn_and_rests_for_ten_seconds_however_many_connections_there_are() {
    let most = u64::from(ALL) / 10;
    for (rate, dropped) in [(most * 2 / 3, 0.001), (most * 4 / 5, 0.02), (most * 2, 0.6)] {
        let load = load(rate, 40);
        let share = f64::from(load.dropped) / f64::from(load.tried);
        assert!(share < dropped, "{share} of {rate}");
        assert_eq!(load.ports.len() as u32, ALL);
        assert!(load.rest_ns > Some(10 * SECOND_NS), "{:?}", load.rest_ns);
    }
}

#[test]
fn a_new_connection_finds_a_port_while_four_fifths_of_them_live() {
    let mut node = Node::new();
    let mut ports = HashSet::new();
    while ports.len() < ALL as usize * 4 / 5 {
        node.wait(SECOND_NS / 1000);
        if let Some(connection) = node.open() {
            assert!(ports.insert(connection.port), "given twice");
        }
    }
    let (tries, mut dropped) = (2000, 0);
    for _ in 0..tries {
        node.wait(SECOND_NS / 1000);
        match node.open() {
            Some(connection) => {
                assert!(!ports.contains(&connection.port), "given twice");
                node.forget(connection);
            }
            None => dropped += 1,
        }
    }
    assert!(dropped * 200 < tries, "{dropped}");
}
