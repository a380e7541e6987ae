//! Packets that leave by the uplink on which they came, before the kernel knows of them.

use std::time::Duration;

use aya::programs::{TestRun, TestRunOptions, Xdp};
use naru_ebpf_common::config::{DIRECT_OTHERS, DIRECT_TCP};
use naru_ebpf_common::nat::{HANDED_ON, MASQUERADE};
use naru_ebpf_common::overlay::{DIRECT_VNI, MACS, OVERHEAD, PORT as VXLAN};
use naru_ebpf_common::protocol::{ACK, FIN, RST, SYN, TCP, UDP};
use naru_ebpf_common::{NodeConfig, Reason, counter, ipcache, names};

use super::addresses::*;
use super::live::{ifindex, ip};
use super::node::{self, Node, Out, REDIRECT};
use super::two_nodes::{OUTER, forward};
use crate::frames::{self, ends};
use crate::numbers::ID_REMOTE;

const PORT: u16 = 30080;
const ETH_LEN: usize = 14;
/// What the program says.
const PASS: u32 = 2;
const SENT: u32 = 3;
/// The link's next hops.
const MAC_OF_OUTSIDE: &str = "02:00:00:00:00:02";
const MAC_OF_NODE2: &str = "02:00:00:00:01:02";
/// Bytes of `struct xdp_md`, and where in it the length and the link are.
const CONTEXT: usize = 24;
const END: std::ops::Range<usize> = 4..8;
const LINK: std::ops::Range<usize> = 12..16;

/// A node that reaches the outside and another node by a link of its own.
struct Wired {
    node: Node,
    link: u32,
}

#[allow(
    clippy::wrong_self_convention,
    reason = "methods are called like the hooks"
)]
impl Wired {
    /// One that translates.
    fn translating() -> Option<Self> {
        Self::new(|_| {})
    }

    /// One that hands on what these flags say.
    fn handing_on(flags: u32) -> Option<Self> {
        let mut wired = Self::new(|config| {
            config.v4.node_addr = OUTER[0];
            config.flags = flags;
            config.v4.hand_on_ifindex = 3;
            config.v6.hand_on_ifindex = 3;
        })?;
        wired
            .node
            .identity_on(OUTER[1], REMOTE, ID_REMOTE, ipcache::POD);
        Some(wired)
    }

    fn new(facts: impl FnOnce(&mut NodeConfig)) -> Option<Self> {
        let mut node = Node::with_wire()?;
        ip("link set lo up");
        ip("link add uplink type veth peer name wire");
        ip("link set uplink up");
        ip("link set wire up");
        forward();
        let mut own = vec![(NODE, NODE_NET.1 - NOT_COUNTED)];
        let mut neighbours = vec![(OUTSIDE, MAC_OF_OUTSIDE), (NODE2, MAC_OF_NODE2)];
        if !NODE.is_v4() {
            own.push((OUTER[0], 24));
            neighbours.push((OUTER[1], MAC_OF_NODE2));
        }
        for (addr, length) in own {
            let kind = if addr.is_v4() { "" } else { " nodad" };
            ip(&format!("addr add {addr}/{length} dev uplink{kind}"));
        }
        for (addr, mac) in neighbours {
            ip(&format!(
                "neigh add {addr} lladdr {mac} dev uplink nud permanent"
            ));
        }
        ip(&format!("route add {REMOTE} via {NODE2} dev uplink"));
        let link = ifindex("uplink");
        let mut config = node::config();
        config.uplink_ifindex = link;
        facts(&mut config);
        node.configure(config);
        for protocol in [TCP, UDP] {
            node.service(NODE.any(), PORT, protocol, &[(REMOTE, 8080)]);
        }
        Some(Self { node, link })
    }

    /// Runs the program on a frame that came by the link.
    fn from_wire(&mut self, frame: &[u8]) -> Out {
        let mut context = [0; CONTEXT];
        context[END].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        context[LINK].copy_from_slice(&self.link.to_ne_bytes());
        let mut out = vec![0; frame.len() + OVERHEAD as usize];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let program: &mut Xdp = self.node.program(names::FROM_WIRE);
        let result = program.test_run(options).expect("test run");
        out.truncate(result.data_size_out as usize);
        Out {
            action: result.return_value,
            frame: out,
        }
    }

    /// Asserts that a frame goes to the stack as it came.
    #[track_caller]
    fn passes(&mut self, frame: &[u8]) {
        let out = self.from_wire(frame);
        assert_eq!((out.action, out.frame.as_slice()), (PASS, frame));
    }

    fn sent(&mut self) -> u64 {
        self.node.count(counter::FROM_WIRE, Reason::FORWARDED)
    }
}

fn opening() -> Vec<u8> {
    frames::tcp(ends(OUTSIDE, 40000, NODE, PORT), SYN)
}

fn going_on() -> Vec<u8> {
    frames::tcp(ends(OUTSIDE, 40000, NODE, PORT), ACK)
}

/// The MAC addresses of a frame to `next`.
fn leads_to(out: &Out, next: &str) -> bool {
    let octets = next.split(':').map(|octet| u8::from_str_radix(octet, 16));
    let octets: Vec<u8> = octets.map(|octet| octet.expect("an octet")).collect();
    out.frame[..6] == octets[..]
}

#[test]
fn a_known_flow_is_translated_as_the_stack_would_both_ways() {
    let Some(mut wired) = Wired::translating() else {
        return;
    };
    wired.passes(&opening());
    let there = wired.node.from_network(&opening()).ends();
    let answer = frames::tcp(there.back(), ACK);
    wired
        .node
        .from_network(&frames::tcp(there.back(), SYN | ACK));
    for (frame, next) in [(going_on(), MAC_OF_NODE2), (answer, MAC_OF_OUTSIDE)] {
        let quick = wired.from_wire(&frame);
        assert_eq!(quick.action, SENT);
        assert!(leads_to(&quick, next), "{:?}", &quick.frame[..6]);
        let slow = wired.node.from_network(&frame);
        assert_eq!(slow.action, REDIRECT);
        assert_eq!(quick.ends(), slow.ends());
        assert_eq!(
            quick.frame[12..],
            slow.frame[12..],
            "every byte but the link's"
        );
    }
    assert_eq!(wired.sent(), 2);
}

#[test]
fn datagrams_likewise_and_one_without_a_checksum_keeps_none() {
    let Some(mut wired) = Wired::translating() else {
        return;
    };
    let frame = frames::udp(ends(OUTSIDE, 40001, NODE, PORT));
    let there = wired.node.from_network(&frame).ends();
    let answer = frames::udp(there.back());
    wired.passes(&answer);
    assert_eq!(wired.node.from_network(&answer).action, REDIRECT);
    for of in [frames::parse(&frame), there.back()] {
        for frame in [frames::udp(of), frames::udp_unchecked(of)] {
            let (quick, slow) = (wired.from_wire(&frame), wired.node.from_network(&frame));
            assert_eq!((quick.action, slow.action), (SENT, REDIRECT));
            assert_eq!(quick.frame[12..], slow.frame[12..]);
        }
    }
}

#[test]
fn a_flow_is_handed_on_in_the_headers_that_the_overlay_would_make() {
    let Some(mut wired) = Wired::handing_on(DIRECT_TCP) else {
        return;
    };
    let frame = going_on();
    wired.passes(&opening());
    let slow = wired.node.from_network(&opening());
    assert_eq!(slow.action, REDIRECT);
    let quick = wired.from_wire(&frame);
    assert_eq!(quick.action, SENT);
    assert!(leads_to(&quick, MAC_OF_NODE2));
    let (outer, inner) = quick.frame.split_at(OVERHEAD as usize);
    assert_eq!(inner[..MACS], slow.frame[..MACS], "they name the backend");
    assert_eq!(inner[MACS..], frame[MACS..]);
    // The kernel's own way to read it.
    let around = frames::parse(&quick.frame);
    assert_eq!((around.src, around.dst), (OUTER[0], OUTER[1]));
    assert_eq!(around.dst_port, VXLAN);
    assert_eq!(outer[46..50], (DIRECT_VNI << 8).to_be_bytes());
    assert_eq!(wired.sent(), 1);
}

#[test]
fn what_opens_or_ends_a_flow_is_the_stacks_to_note() {
    let Some(mut wired) = Wired::translating() else {
        return;
    };
    wired.node.from_network(&opening());
    for flags in [SYN, SYN | ACK, FIN | ACK, RST] {
        wired.passes(&frames::tcp(ends(OUTSIDE, 40000, NODE, PORT), flags));
    }
    assert_eq!(wired.from_wire(&going_on()).action, SENT);
}

#[test]
fn a_flow_shows_itself_to_the_stack_every_second() {
    let Some(mut wired) = Wired::translating() else {
        return;
    };
    wired.node.from_network(&opening());
    assert_eq!(wired.from_wire(&going_on()).action, SENT);
    for (key, mut entry) in wired.node.nat_entries() {
        entry.seen_ns = entry.seen_ns.saturating_sub(2_000_000_000);
        wired.node.insert_nat(key, entry);
    }
    wired.passes(&going_on());
    wired.node.from_network(&going_on());
    assert_eq!(wired.from_wire(&going_on()).action, SENT);
}

#[test]
fn what_the_node_does_not_hand_on_any_more_is_the_stacks() {
    let Some(mut wired) = Wired::handing_on(DIRECT_OTHERS) else {
        return;
    };
    let frame = frames::udp(ends(OUTSIDE, 40001, NODE, PORT));
    wired.node.from_network(&frame);
    assert_eq!(wired.from_wire(&frame).action, SENT);
    let [(_, entry)] = wired.node.nat_entries()[..] else {
        panic!("one entry, for there are no answers");
    };
    assert_eq!((entry.kind, entry.src), (HANDED_ON, OUTER[1]));
    let mut config = node::config();
    config.uplink_ifindex = wired.link;
    wired.node.configure(config);
    wired.passes(&frame);
}

#[test]
fn a_frame_that_cannot_leave_is_the_stacks() {
    let Some(mut wired) = Wired::handing_on(DIRECT_TCP) else {
        return;
    };
    wired.node.from_network(&opening());
    // Of the link's 1500 bytes 50 are for the new headers.
    let headers = going_on().len() - b"naru".len() - ETH_LEN;
    let room = 1500 - OVERHEAD as usize - headers;
    let of = |len: usize| frames::data(ends(OUTSIDE, 40000, NODE, PORT), ACK, &vec![7; len]);
    assert_eq!(wired.from_wire(&of(room)).action, SENT);
    wired.passes(&of(room + 1));
}

#[test]
fn a_next_hop_has_to_be_known_and_then_holds_for_a_second() {
    let Some(mut wired) = Wired::handing_on(DIRECT_TCP) else {
        return;
    };
    wired.node.from_network(&opening());
    ip(&format!("neigh del {} dev uplink", OUTER[1]));
    wired.passes(&going_on());
    ip(&format!(
        "neigh add {} lladdr {MAC_OF_NODE2} dev uplink nud permanent",
        OUTER[1]
    ));
    assert_eq!(wired.from_wire(&going_on()).action, SENT);
    ip(&format!("neigh del {} dev uplink", OUTER[1]));
    std::thread::sleep(Duration::from_millis(1100));
    // Flows are seen anew, ways are not.
    wired.node.from_network(&going_on());
    wired.passes(&going_on());
}

#[test]
fn nobody_speaks_for_the_node_and_other_flows_are_the_stacks() {
    let Some(mut wired) = Wired::translating() else {
        return;
    };
    let there = wired
        .node
        .from_pod(&frames::tcp(ends(WEB, 40000, OUTSIDE, 80), SYN));
    let masqueraded = there.ends();
    let kinds: Vec<_> = wired.node.nat_entries().iter().map(|e| e.1.kind).collect();
    assert_eq!(kinds, [MASQUERADE; 2]);
    let cases = [
        // To a pod, by its own address and as the answer to what was sent under the node's.
        ends(REMOTE, 8080, WEB, 40000),
        masqueraded.back(),
        // Under addresses of this node.
        ends(NODE, 40000, NODE, PORT),
        ends(API, 40000, NODE, PORT),
        // The node's own.
        ends(OUTSIDE, 40000, NODE, 22),
    ];
    for case in cases {
        wired.passes(&frames::tcp(case, ACK));
    }
}
