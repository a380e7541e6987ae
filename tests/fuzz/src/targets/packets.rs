//! Frames, as a pod or the network may send them, through the decisions that the kernel runs.
//!
//! An input is a journey: frames that come one after another to a node with pods, Services and
//! policies, whose memory of flows is empty at first.

use naru_ebpf_common::config::Timeouts;
use naru_ebpf_common::endpoint::{ISOLATED_EGRESS, ISOLATED_INGRESS};
use naru_ebpf_common::{
    Addr, Backend, BackendKey, Endpoint, Family, IpInfo, NodeConfig, Port, Service, ServiceKey,
    ipcache, protocol,
};
use naru_ebpf_logic::host::{Bytes, Snapshot};
use naru_ebpf_logic::parse::{self, Other};
use naru_ebpf_logic::{Action, Packet, from_network, from_overlay, from_pod, to_network, to_pod};

use super::answer;
use crate::Target;

/// The hooks that a frame of a journey may come to.
const HOOKS: u8 = 5;
/// Frames of one journey.
const FRAMES: usize = 12;

const POD: [u8; 4] = [10, 244, 1, 2];
const ISOLATED: [u8; 4] = [10, 244, 1, 3];
const SERVICE: [u8; 4] = [10, 96, 0, 50];
const NODE: [u8; 4] = [192, 168, 77, 101];
const PEER: [u8; 4] = [192, 168, 77, 102];
const OUTSIDE: [u8; 4] = [203, 0, 113, 2];
const POD_V6: [u8; 16] = [0xfd, 0, 2, 0x44, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
const OUTSIDE_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const NODE_V6: [u8; 16] = [0xfd, 0, 0, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];

const POD_DEVICE: u32 = 7;
const ISOLATED_DEVICE: u32 = 8;
const UPLINK: u32 = 2;

pub(super) struct Packets;

fn node() -> Snapshot {
    let config = NodeConfig {
        v4: Family {
            node_addr: Addr::v4(NODE),
            pod_net: Addr::v4([10, 244, 1, 0]),
            pod_prefix: 120,
            service_net: Addr::v4([10, 96, 0, 0]),
            service_prefix: 108,
            ..Family::NONE
        },
        v6: Family {
            node_addr: Addr::from_bytes(NODE_V6),
            pod_net: Addr::from_bytes([0xfd, 0, 2, 0x44, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
            pod_prefix: 64,
            ..Family::NONE
        },
        uplink_ifindex: UPLINK,
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
    let pods = [
        (Addr::v4(POD), 1, POD_DEVICE, 0),
        (Addr::from_bytes(POD_V6), 1, POD_DEVICE, 0),
        (
            Addr::v4(ISOLATED),
            2,
            ISOLATED_DEVICE,
            ISOLATED_EGRESS | ISOLATED_INGRESS,
        ),
    ];
    for (addr, id, ifindex, flags) in pods {
        let endpoint = Endpoint {
            id,
            identity: 300 + id,
            ifindex,
            flags,
            policy_revision: 1,
            ..Endpoint::default()
        };
        node.endpoints.insert(addr, endpoint);
    }
    let host = IpInfo {
        identity: ipcache::IDENTITY_HOST,
        flags: ipcache::HOST,
        node: Addr::v4(NODE),
    };
    node.ipcache.push((Addr::v4(NODE), 128, host));
    service(&mut node);
    node.now_ns.set(1 << 40);
    node
}

/// A Service with a cluster address and a port of the node, and two backends, here and elsewhere.
fn service(node: &mut Snapshot) {
    let (tcp, sctp) = (protocol::TCP, protocol::SCTP);
    let ports = [(SERVICE, 80, tcp), (NODE, 30080, tcp), (SERVICE, 80, sctp)];
    for (addr, port, protocol) in ports {
        for scope in [0, 1] {
            let key = ServiceKey {
                addr: Addr::v4(addr),
                port: Port::new(port),
                protocol,
                scope,
            };
            let service = Service {
                revision: 1,
                backends: 2,
                flags: 0,
                id: 1,
            };
            node.services.insert(key, service);
        }
    }
    for (slot, addr) in [(0, POD), (1, [10, 244, 2, 2])] {
        let backend = Backend {
            addr: Addr::v4(addr),
            port: Port::new(8080),
            flags: 0,
            reserved: 0,
        };
        let key = BackendKey { revision: 1, slot };
        node.backends.insert(key, backend);
    }
}

/// A frame of a journey: the hook, its length, its bytes.
fn step(hook: u8, frame: &[u8]) -> Vec<u8> {
    let mut step = vec![hook];
    step.extend((frame.len() as u16).to_be_bytes());
    step.extend(frame);
    step
}

fn v4(proto: u8, src: [u8; 4], dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((20 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, proto, 0, 0]);
    frame.extend(src.iter().chain(&dst).chain(payload));
    frame
}

fn v6(proto: u8, src: [u8; 16], dst: [u8; 16], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend([proto, 64]);
    frame.extend(src.iter().chain(&dst).chain(payload));
    frame
}

fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(from.to_be_bytes());
    header.extend(to.to_be_bytes());
    header.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    header
}

fn udp(from: u16, to: u16) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(from.to_be_bytes());
    header.extend(to.to_be_bytes());
    header.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    header
}

/// A chunk of SCTP after its common header.
fn sctp(from: u16, to: u16, chunk: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(from.to_be_bytes());
    packet.extend(to.to_be_bytes());
    packet.extend([0, 0, 0, 1, 1, 2, 3, 4, chunk, 0, 0, 4]);
    packet
}

/// "Fragmentation needed" about a packet (RFC 1191).
fn too_big(about: &[u8]) -> Vec<u8> {
    let mut message = vec![3, 4, 0, 0, 0, 0, 5, 0];
    message.extend(&about[parse::ETH_LEN..]);
    message
}

const SYN: u8 = 2;
const ACK: u8 = 16;
/// Chunks of SCTP.
const INIT: u8 = 1;
const ABORT: u8 = 6;

impl Target for Packets {
    fn examples(&self) -> Vec<Vec<u8>> {
        let syn = v4(6, POD, OUTSIDE, &tcp(40000, 80, SYN));
        let mut fragment = v4(17, OUTSIDE, NODE, &udp(5000, 30080));
        fragment[20] = 0x20;
        let routed = [
            &[43, 2, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0],
            &tcp(1, 2, SYN)[..],
        ];
        let journeys: [&[(u8, Vec<u8>)]; 10] = [
            &[
                (0, syn.clone()),
                (1, v4(6, OUTSIDE, NODE, &tcp(80, 61000, SYN | ACK))),
            ],
            &[(0, syn.clone()), (1, v4(1, PEER, NODE, &too_big(&syn)))],
            &[(0, v4(6, POD, SERVICE, &tcp(40000, 80, SYN)))],
            &[(1, v4(6, OUTSIDE, NODE, &tcp(5000, 30080, SYN)))],
            &[
                (0, v4(132, POD, SERVICE, &sctp(40000, 80, INIT))),
                (0, v4(132, POD, SERVICE, &sctp(40000, 80, ABORT))),
            ],
            &[(1, fragment)],
            &[(0, v4(1, POD, OUTSIDE, &[8, 0, 0, 0, 0, 7, 0, 1]))],
            &[(0, v6(6, POD_V6, OUTSIDE_V6, &tcp(40000, 80, SYN)))],
            &[(0, v6(0, POD_V6, OUTSIDE_V6, &routed.concat()))],
            &[
                (2, v4(17, POD, ISOLATED, &udp(53, 53))),
                (3, v4(6, PEER, POD, &tcp(1, 2, ACK))),
            ],
        ];
        let bytes = |journey: &[(u8, Vec<u8>)]| {
            let steps = journey.iter().map(|(hook, frame)| step(*hook, frame));
            steps.collect::<Vec<_>>().concat()
        };
        journeys.map(bytes).into()
    }

    fn words(&self) -> &[&str] {
        &[
            "\u{8}\u{0}E",
            "\u{0}\u{0}\u{0}\u{0}",
            "\u{6}",
            "\u{11}",
            "\u{1}",
            ":",
            ",",
        ]
    }

    fn read(&self, input: &[u8]) -> Result<u64, String> {
        let (once, again) = (journey(input)?, journey(input)?);
        if once != again {
            return Err("the same frames are judged differently".to_owned());
        }
        Ok(answer(once))
    }
}

/// What becomes of each frame: a few numbers each.
fn journey(mut input: &[u8]) -> Result<Vec<u64>, String> {
    let node = node();
    let mut fates = Vec::new();
    while let [hook, high, low, rest @ ..] = input
        && fates.len() < FRAMES
    {
        let long = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (frame, after) = rest.split_at(long);
        fates.push(fate(&node, hook % HOOKS, frame)?);
        input = after;
    }
    Ok(fates)
}

fn fate(node: &Snapshot, hook: u8, frame: &[u8]) -> Result<u64, String> {
    let mut packet = Packet::default();
    packet.reset(hook);
    match parse::ethernet(&Bytes(frame), &mut packet) {
        Err(Other::Drop(reason)) => return Ok(answer((1, reason.0))),
        Err(_) => return Ok(2),
        Ok(()) => {}
    }
    let header = usize::from(packet.l4_offset);
    // Of a later fragment only the addresses are read; its options are the receiver's to judge.
    if header > frame.len() && !packet.part.is_later() {
        return Err(format!("a header at {header} of {} bytes", frame.len()));
    }
    let p = &mut packet;
    let verdict = match hook {
        0 => from_pod(node, p, POD_DEVICE),
        1 => from_network(node, p),
        2 => to_pod(node, p, ISOLATED_DEVICE),
        3 => from_overlay(node, p, Addr::v4(PEER).word_v4()),
        _ => to_network(node, p),
    };
    let steps = node.take_steps().len();
    let action = verdict.action();
    if let Action::Deliver { ifindex } | Action::Queue { ifindex } = action
        && ![POD_DEVICE, ISOLATED_DEVICE].contains(&ifindex)
    {
        return Err(format!("delivered to {ifindex}, where no pod is"));
    }
    Ok(answer((
        3,
        format!("{action:?}"),
        verdict.reason().0,
        steps,
    )))
}
