//! Masquerade against a plain model: whatever is sent, answered and waited for, a living flow keeps its
//! port, no two living flows to one destination share one, and an answer finds who asked.

use std::collections::HashMap;

use naru_ebpf_common::config::Timeouts;
use naru_ebpf_common::{Addr, Endpoint, Family, NodeConfig, Port, Reason, protocol};
use naru_ebpf_logic::host::Snapshot;
use naru_ebpf_logic::{Action, Packet, conntrack, from_network, from_pod, nat};
use proptest::prelude::*;

const NODE: Addr = Addr::v4([192, 168, 77, 101]);
/// So few that they run out.
const PORTS: std::ops::RangeInclusive<u16> = 61000..=61003;
const UDP_SECONDS: u64 = 60;
const SECOND_NS: u64 = 1_000_000_000;

/// Pod, its port, and what it speaks to.
type Flow = (u8, u16, u8);

#[derive(Clone, Debug)]
enum Step {
    /// The pod sends.
    Send(Flow),
    /// Whoever was spoken to on this port of the node answers.
    Answer(u8, u16),
    /// Time passes, in tens of seconds: more than a stamp is precise.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flow = (0..2_u8, 1..4_u16, 0..2_u8);
    let step = prop_oneof![
        5 => flow.prop_map(Step::Send),
        3 => (0..2_u8, PORTS).prop_map(|(to, port)| Step::Answer(to, port)),
        2 => (1..5_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}

fn pod(number: u8) -> Addr {
    Addr::v4([10, 244, 1, 2 + number])
}

fn interface(number: u8) -> u32 {
    7 + u32::from(number)
}

fn outside(number: u8) -> Addr {
    Addr::v4([203, 0, 113, number])
}

fn node() -> Snapshot {
    let config = NodeConfig {
        v4: Family {
            node_addr: NODE,
            pod_net: Addr::v4([10, 244, 1, 0]),
            pod_prefix: 120,
            ..Family::NONE
        },
        v6: Family::NONE,
        uplink_ifindex: 2,
        snat_port_first: *PORTS.start(),
        snat_port_last: *PORTS.end(),
        timeouts: Timeouts::DEFAULT,
        ..NodeConfig::default()
    };
    let endpoint = |number: u8| Endpoint {
        id: 1 + u32::from(number),
        identity: 300,
        ifindex: interface(number),
        policy_revision: 1,
        ..Endpoint::default()
    };
    let snapshot = Snapshot {
        config: Some(config),
        endpoints: (0..2).map(|i| (pod(i), endpoint(i))).collect(),
        ..Snapshot::default()
    };
    snapshot.now_ns.set(1 << 40);
    snapshot
}

fn datagram(src: Addr, src_port: u16, dst: Addr, dst_port: u16) -> Packet {
    Packet {
        src,
        dst,
        src_port: Port::new(src_port),
        dst_port: Port::new(dst_port),
        protocol: protocol::UDP,
        ..Packet::default()
    }
}

/// What ought to be: the port of each flow and when it was last used, in seconds.
#[derive(Default)]
struct Model {
    now: u64,
    flows: HashMap<Flow, (u16, u64)>,
}

impl Model {
    fn is_alive(&self, used: u64) -> bool {
        self.now - used <= UDP_SECONDS
    }

    fn port(&self, flow: &Flow) -> Option<u16> {
        let (port, used) = self.flows.get(flow)?;
        self.is_alive(*used).then_some(*port)
    }

    /// The living flow whose answers come from there to this port.
    fn owner(&self, to: u8, port: u16) -> Option<Flow> {
        let mut all = self.flows.iter();
        let owner = all
            .find(|((_, _, dst), (own, used))| *dst == to && *own == port && self.is_alive(*used));
        owner.map(|(flow, _)| *flow)
    }
}

fn send(snapshot: &Snapshot, model: &mut Model, flow: Flow) -> Result<(), TestCaseError> {
    let (number, port, to) = flow;
    let mut p = datagram(pod(number), port, outside(to), 53);
    let verdict = from_pod(snapshot, &mut p, interface(number));
    let expected = model.port(&flow);
    let free = PORTS
        .filter(|port| model.owner(to, *port).is_none())
        .count();
    if expected.is_none() && free == 0 {
        prop_assert_eq!(verdict.action(), Action::Drop(Reason::SNAT_EXHAUSTED));
        return Ok(());
    }
    prop_assert!(
        matches!(verdict.action(), Action::Uplink { .. }),
        "{verdict:?}"
    );
    let chosen = p.src_port.get();
    prop_assert_eq!(p.src, NODE);
    match expected {
        Some(port) => prop_assert_eq!(chosen, port, "a living flow keeps its port"),
        None => prop_assert_eq!(model.owner(to, chosen), None, "the port is another's"),
    }
    model.flows.insert(flow, (chosen, model.now));
    Ok(())
}

fn answer(snapshot: &Snapshot, model: &mut Model, to: u8, port: u16) -> Result<(), TestCaseError> {
    let mut p = datagram(outside(to), 53, NODE, port);
    let verdict = from_network(snapshot, &mut p);
    let Some(owner) = model.owner(to, port) else {
        prop_assert_eq!(verdict.action(), Action::Pass, "nobody asked");
        return Ok(());
    };
    let ifindex = interface(owner.0);
    prop_assert_eq!(verdict.action(), Action::Deliver { ifindex });
    prop_assert_eq!((p.dst, p.dst_port.get()), (pod(owner.0), owner.1));
    model.flows.insert(owner, (port, model.now));
    Ok(())
}

/// What the daemon does all the time.
fn sweep(snapshot: &Snapshot) {
    let (now, timeouts) = (snapshot.now_ns.get(), Timeouts::DEFAULT);
    snapshot
        .nat
        .borrow_mut()
        .retain(|key, entry| !nat::is_stale(entry, key.protocol, &timeouts, now));
    snapshot
        .conntrack
        .borrow_mut()
        .retain(|key, conn| !conntrack::is_stale(conn, key.protocol, &timeouts, now));
}

proptest! {
    #[test]
    fn ports_are_kept_by_who_lives_and_by_nobody_else(steps in steps()) {
        let (snapshot, mut model) = (node(), Model::default());
        for step in steps {
            match step {
                Step::Send(flow) => send(&snapshot, &mut model, flow)?,
                Step::Answer(to, port) => answer(&snapshot, &mut model, to, port)?,
                Step::Wait(tens) => {
                    model.now += 10 * tens;
                    let passed = 10 * tens * SECOND_NS;
                    snapshot.now_ns.set(snapshot.now_ns.get() + passed);
                    sweep(&snapshot);
                }
            }
        }
    }
}
