//! The tables in `docs/datapath.md` say what the code says. With `NARU_WRITE_PAPERS` set, the test
//! writes them instead of comparing.

use std::fmt::Write as _;
use std::fs;

use naru_ebpf_common::names::{self, *};
use naru_ebpf_common::{
    Addr, Affinity, AffinityKey, Backend, BackendKey, Bandwidth, BandwidthKey, Conn, ConnectedPeer,
    Counter, DropCount, DropKey, Endpoint, FragmentKey, Fragmented, IpInfo, MaglevBlock, MaglevKey,
    MemberKey, NatEntry, NatKey, NodeConfig, Pace, PodAddrs, PolicyEntry, PolicyKey, RangeKey,
    Reason, Service, ServiceKey, SocketKey, SocketPeer, Tuple, counter,
};

const PAPER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/datapath.md");
const WRITE: &str = "NARU_WRITE_PAPERS";

/// Bytes of the prefix length before the key of an LPM trie.
const PREFIX: usize = 4;

struct Map {
    name: &'static str,
    holds: &'static str,
    kind: &'static str,
    entries: u32,
    bytes: usize,
}

macro_rules! map {
    ($name:ident, $holds:literal, $kind:literal, $entries:expr, $key:ty => $value:ty) => {
        Map {
            name: $name,
            holds: $holds,
            kind: $kind,
            entries: $entries,
            bytes: size_of::<$key>() + size_of::<$value>(),
        }
    };
}

fn maps() -> Vec<Map> {
    vec![
        map!(ENDPOINTS, "pods of this node by address", "hash, in advance", ENDPOINTS_SIZE, Addr => Endpoint),
        map!(IPCACHE, "address → identity, node", "LPM trie", IPCACHE_SIZE, [u8; PREFIX + 16] => IpInfo),
        map!(POLICY, "who may reach which endpoint where", "hash", POLICY_SIZE, PolicyKey => PolicyEntry),
        map!(SERVICES, "address and port → Service", "hash", SERVICES_SIZE, ServiceKey => Service),
        map!(BACKENDS, "revision and slot → backend", "hash", BACKENDS_SIZE, BackendKey => Backend),
        map!(AFFINITY, "client and Service → backend", "LRU hash, in advance", AFFINITY_SIZE, AffinityKey => Affinity),
        map!(MEMBERS, "revision and backend → slot", "hash", MEMBERS_SIZE, MemberKey => u32),
        map!(MAGLEV, "revision and block → slots of a lookup table", "hash", MAGLEV_SIZE, MaglevKey => MaglevBlock),
        map!(NAMESPACES, "network namespace → pod", "hash", NAMESPACES_SIZE, u64 => PodAddrs),
        map!(RANGES, "sources that may use a load balancer", "LPM trie", RANGES_SIZE, [u8; PREFIX + size_of::<RangeKey>()] => u32),
        map!(CONNTRACK, "flows", "LRU hash, in advance", CONNTRACK_SIZE, Tuple => Conn),
        map!(NAT, "translations", "LRU hash, in advance", NAT_SIZE, NatKey => NatEntry),
        map!(FRAGMENTS, "ports of fragmented packets", "LRU hash, in advance", FRAGMENTS_SIZE, FragmentKey => Fragmented),
        map!(SOCKETS, "unconnected sockets and backends → Service", "LRU hash, in advance", SOCKETS_SIZE, SocketKey => SocketPeer),
        map!(CONNECTED, "connected sockets → Service", "hash, in advance", CONNECTED_SIZE, u64 => ConnectedPeer),
        map!(NODE_CONFIG, "facts of the node", "array", 1, () => NodeConfig),
        map!(DROPS, "drops by cause", "LRU hash, in advance", DROPS_SIZE, DropKey => DropCount),
        map!(COUNTERS, "packets and bytes by hook and reason", "array per processor", counter::HOOKS * counter::REASONS, () => Counter),
        map!(PACE, "how fast flows are opened, and refused", "array per processor", PACE_SIZE, () => Pace),
        map!(BANDWIDTH, "limits of pods, and when their next packets leave", "hash", BANDWIDTH_SIZE, BandwidthKey => Bandwidth),
        map!(EVENTS, "events", "ring buffer", EVENTS_BYTES, () => u8),
    ]
}

/// Bytes for people.
fn size(bytes: usize) -> String {
    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{} KiB", bytes / KIB),
        _ => format!("{:.1} MiB", bytes as f64 / MIB as f64),
    }
}

fn maps_table() -> String {
    let mut text =
        String::from("| map | holds | kind | entries | memory |\n|---|---|---|---|---|\n");
    for Map {
        name,
        holds,
        kind,
        entries,
        bytes,
    } in maps()
    {
        let memory = size(entries as usize * bytes);
        writeln!(
            text,
            "| `{name}` | {holds} | {kind} | {entries} | {memory} |"
        )
        .expect("a string");
    }
    text
}

fn reasons_table() -> String {
    let mut text = String::from("| number | reason | meaning |\n|---|---|---|\n");
    for reason in Reason::ALL.iter().filter(|r| **r != Reason::FORWARDED) {
        let (number, name, help) = (reason.0, reason.name(), reason.help());
        writeln!(text, "| {number} | `{name}` | {help} |").expect("a string");
    }
    text
}

/// Puts `table` between the marks of this name.
fn replaced(paper: &str, mark: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let (before, rest) = paper.split_once(&begin).expect("a mark");
    let (_, after) = rest.split_once(&end).expect("its end");
    format!("{before}{begin}{table}{end}{after}")
}

#[test]
fn every_map_stands_in_the_table() {
    let listed: Vec<_> = maps().iter().map(|map| map.name).collect();
    let known: Vec<_> = names::MAPS.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, known);
}

#[test]
fn the_tables_of_the_paper_are_those_of_the_code() {
    let paper = fs::read_to_string(PAPER).expect("the paper");
    let right = replaced(&paper, "maps", &maps_table());
    let right = replaced(&right, "reasons", &reasons_table());
    if std::env::var_os(WRITE).is_some() {
        return fs::write(PAPER, right).expect("written");
    }
    assert!(
        paper == right,
        "docs/datapath.md is behind the code: run this test with {WRITE}=1"
    );
}
