//! Masquerade against a plain model: whatever is sent, answered and waited for, a living flow keeps its
//! port, no two living flows to one destination share one, and an answer finds who asked. A closed
//! connection loses its port early only if there is no other.

use std::collections::HashMap;

use naru_ebpf_common::config::Timeouts;
use naru_ebpf_common::protocol::{ACK, FIN, RST, SYN};
use naru_ebpf_common::{Addr, Endpoint, Family, NodeConfig, Port, Reason, protocol};
use naru_ebpf_logic::host::Snapshot;
use naru_ebpf_logic::{Action, Packet, conntrack, from_network, from_pod, nat};
use proptest::prelude::*;

const NODE: Addr = Addr::v4([192, 168, 77, 101]);
/// So few that they run out.
const PORTS: [u16; 4] = [11000, 11001, 61000, 61001];
const SECOND_NS: u64 = 1_000_000_000;

/// Pod, its port, and what it speaks to.
type Flow = (u8, u16, u8);

#[derive(Clone, Debug)]
enum Step {
    /// The pod sends, over TCP with these flags.
    Send(Flow, u8),
    /// Whoever was spoken to on this port of the node answers.
    Answer(u8, u16, u8),
    /// Time passes, in tens of seconds: more than a stamp is precise.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flow = (0..2_u8, 1..4_u16, 0..2_u8);
    let port = prop::sample::select(PORTS.to_vec());
    let step = prop_oneof![
        5 => (flow, flags(SYN)).prop_map(|(flow, flags)| Step::Send(flow, flags)),
        4 => (0..2_u8, port, flags(SYN | ACK)).prop_map(|(to, port, flags)| Step::Answer(to, port, flags)),
        2 => (1..5_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}

fn flags(opening: u8) -> impl Strategy<Value = u8> {
    prop_oneof![2 => Just(ACK), 2 => Just(opening), 2 => Just(FIN | ACK), 1 => Just(RST)]
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
        snat_port_first: PORTS[2],
        snat_port_last: PORTS[3],
        snat_low_first: PORTS[0],
        snat_low_ports: 2,
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

/// What one end knows of the other, and the node of both.
#[derive(Clone, Copy)]
struct Life {
    port: u16,
    /// When it was last used, in seconds.
    used: u64,
    answered: bool,
    closed: [bool; 2],
    reset: bool,
}

impl Life {
    /// The pod sends the first packet, with these flags.
    fn new(port: u16, flags: u8, now: u64) -> Self {
        let mut life = Self {
            port,
            used: now,
            answered: false,
            closed: [false; 2],
            reset: false,
        };
        life.note(0, flags, now);
        life
    }

    /// The pod, or whom it speaks to (`end`), has sent this.
    fn note(&mut self, end: usize, flags: u8, now: u64) {
        self.used = now;
        self.answered |= end == 1;
        if flags & RST != 0 {
            self.reset = true;
        } else if flags & FIN != 0 {
            self.closed[end] = true;
        } else if flags == SYN && (self.reset || self.is_closed()) {
            *self = Self::new(self.port, 0, now);
        }
    }

    fn is_closed(&self) -> bool {
        self.closed == [true; 2]
    }

    fn seconds(&self, protocol: u8) -> u64 {
        match protocol {
            protocol::UDP => 60,
            _ if self.reset => 10,
            _ if self.is_closed() => 30,
            _ if self.answered => 3600,
            _ => 20,
        }
    }
}

/// What ought to be.
struct Model {
    protocol: u8,
    now: u64,
    flows: HashMap<Flow, Life>,
}

impl Model {
    fn new(protocol: u8) -> Self {
        Self {
            protocol,
            now: 0,
            flows: HashMap::new(),
        }
    }

    fn is_alive(&self, life: &Life) -> bool {
        self.now - life.used <= life.seconds(self.protocol)
    }

    /// What is said of a flow while it lives.
    fn life(&mut self, flow: &Flow) -> Option<&mut Life> {
        let is_alive = self.is_alive(self.flows.get(flow)?);
        self.flows.get_mut(flow).filter(|_| is_alive)
    }

    /// The living flow whose answers come from there to this port.
    fn owner(&self, to: u8, port: u16) -> Option<Flow> {
        let mut all = self.flows.iter();
        let owner =
            all.find(|((_, _, dst), life)| *dst == to && life.port == port && self.is_alive(life));
        owner.map(|(flow, _)| *flow)
    }

    /// The ports that a new flow may get, the first of these kinds that there are: nobody's, and those
    /// of closed connections that have rested for as long as one that was reset.
    fn ports(&self, to: u8) -> Vec<u16> {
        let is_free = |port: &u16| self.owner(to, *port).is_none();
        let has_rested = |port: &u16| {
            let life = self.owner(to, *port).map(|owner| self.flows[&owner]);
            life.is_some_and(|life| life.is_closed() && self.now - life.used > 10)
        };
        let free: Vec<u16> = PORTS.into_iter().filter(is_free).collect();
        if self.protocol == protocol::UDP || !free.is_empty() {
            free
        } else {
            PORTS.into_iter().filter(has_rested).collect()
        }
    }

    fn packet(&self, src: (Addr, u16), dst: (Addr, u16), flags: u8) -> Packet {
        let mut p = Packet {
            src: src.0,
            dst: dst.0,
            src_port: Port::new(src.1),
            dst_port: Port::new(dst.1),
            protocol: self.protocol,
            ..Packet::default()
        };
        if self.protocol == protocol::TCP {
            p.tcp.flags = flags;
        }
        p
    }
}

fn send(
    snapshot: &Snapshot,
    model: &mut Model,
    flow: Flow,
    flags: u8,
) -> Result<(), TestCaseError> {
    let (number, port, to) = flow;
    let mut p = model.packet((pod(number), port), (outside(to), 53), flags);
    let flags = p.tcp.flags;
    let verdict = from_pod(snapshot, &mut p, interface(number));
    let (now, may_get) = (model.now, model.ports(to));
    let known = model.life(&flow);
    // Conntrack may have seen the answers alone; then the pod has to open the flow anew.
    if known.is_none() && verdict.action() == Action::Drop(Reason::NAT_LOST) {
        return Ok(());
    }
    if known.is_none() && may_get.is_empty() {
        prop_assert_eq!(verdict.action(), Action::Drop(Reason::SNAT_EXHAUSTED));
        return Ok(());
    }
    prop_assert!(
        matches!(verdict.action(), Action::Uplink { .. }),
        "{verdict:?}"
    );
    let chosen = p.src_port.get();
    prop_assert_eq!(p.src, NODE);
    if let Some(life) = known {
        prop_assert_eq!(chosen, life.port, "a living flow keeps its port");
        life.note(0, flags, now);
        return Ok(());
    }
    prop_assert!(may_get.contains(&chosen), "{chosen} is another's");
    if let Some(former) = model.owner(to, chosen) {
        model.flows.remove(&former);
    }
    model.flows.insert(flow, Life::new(chosen, flags, now));
    Ok(())
}

fn answer(
    snapshot: &Snapshot,
    model: &mut Model,
    (to, port): (u8, u16),
    flags: u8,
) -> Result<(), TestCaseError> {
    let mut p = model.packet((outside(to), 53), (NODE, port), flags);
    let flags = p.tcp.flags;
    let verdict = from_network(snapshot, &mut p);
    let Some(owner) = model.owner(to, port) else {
        prop_assert_eq!(verdict.action(), Action::Pass, "nobody asked");
        return Ok(());
    };
    let ifindex = interface(owner.0);
    prop_assert_eq!(verdict.action(), Action::Deliver { ifindex });
    prop_assert_eq!((p.dst, p.dst_port.get()), (pod(owner.0), owner.1));
    let now = model.now;
    let life = model.life(&owner).expect("it lives");
    life.note(1, flags, now);
    Ok(())
}

/// What the daemon does now and then.
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

fn hold(protocol: u8, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (snapshot, mut model) = (node(), Model::new(protocol));
    for step in steps {
        match step {
            Step::Send(flow, flags) => send(&snapshot, &mut model, flow, flags)?,
            Step::Answer(to, port, flags) => {
                answer(&snapshot, &mut model, (to, port), flags)?;
            }
            Step::Wait(tens) => {
                model.now += 10 * tens;
                let passed = 10 * tens * SECOND_NS;
                snapshot.now_ns.set(snapshot.now_ns.get() + passed);
                if tens % 2 == 0 {
                    sweep(&snapshot);
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn ports_are_kept_by_datagrams_that_live_and_by_nobody_else(steps in steps()) {
        hold(protocol::UDP, steps)?;
    }

    #[test]
    fn ports_are_kept_by_connections_that_live_and_by_nobody_else(steps in steps()) {
        hold(protocol::TCP, steps)?;
    }
}
