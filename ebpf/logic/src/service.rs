//! Services: finding one, choosing a backend.

use naru_ebpf_common::service::{
    AFFINITY, ELSEWHERE, OWN_SOCKETS, RANGED, SCOPE_ANY, SCOPE_OUTSIDE, TABLE,
};
use naru_ebpf_common::{
    Addr, Affinity, AffinityKey, Backend, BackendKey, MemberKey, NodeConfig, Port, RangeKey,
    Reason, Service, ServiceKey, TableSize, config, nat::OWN_NETWORK, protocol,
};

use crate::own_network::{self, is_of_node};
use crate::{Maps, Packet, Step, Verdict, maglev, nat};

/// A service may change between the lookup of the service and that of its slot.
const TRIES: usize = 2;

/// Flags of services whose choice depends on who asks.
const DEPENDS_ON_CLIENT: u32 = RANGED | OWN_SOCKETS | AFFINITY | TABLE;

/// The key of the service at an address; a node port has one entry for all addresses of a node.
#[inline(always)]
pub(crate) fn key(addr: Addr, port: Port, protocol: u8) -> ServiceKey {
    ServiceKey {
        addr,
        port,
        protocol,
        scope: SCOPE_ANY,
    }
}

/// Whether a port is a node port.
#[inline(always)]
pub(crate) fn is_node_port(config: &NodeConfig, port: Port) -> bool {
    port.between(config.node_port_first, config.node_port_last)
}

/// The answer to the question for a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice<'a> {
    /// No service has this address.
    NoService,
    /// The service has no backend for the client.
    Refused(Reason),
    /// The service and the chosen backend.
    Chosen(&'a Service, &'a Backend),
}

/// What the service tables made of a packet, in one register.
#[derive(Clone, Copy)]
pub(crate) struct Outcome(u32);

impl Outcome {
    /// No service is concerned.
    pub(crate) const NONE: Self = Self(0);
    /// The destination is, or becomes, a backend.
    pub(crate) const BACKEND: Self = Self(1);
    /// The packet returns to the pod that sent it.
    pub(crate) const HAIRPIN: Self = Self(2);
    /// The destination is, or becomes, a backend on the node's own network.
    pub(crate) const OWN_NETWORK: Self = Self(3);

    const DROP: u32 = 0x100;

    #[inline(always)]
    pub(crate) const fn drop(reason: Reason) -> Self {
        Self(Self::DROP | reason.0 as u32)
    }
    #[inline(always)]
    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }
    #[inline(always)]
    const fn is_backend(self) -> bool {
        self.0 == Self::BACKEND.0
    }
    #[inline(always)]
    pub(crate) const fn is_hairpin(self) -> bool {
        self.0 == Self::HAIRPIN.0
    }
    #[inline(always)]
    pub(crate) const fn is_own_network(self) -> bool {
        self.0 == Self::OWN_NETWORK.0
    }
    #[inline(always)]
    pub(crate) const fn dropped(self) -> Option<Reason> {
        if self.0 & Self::DROP != 0 {
            Some(Reason(self.0 as u8))
        } else {
            None
        }
    }
}

/// What becomes of a packet for which the services have no use: `reason`. Who opens a flow to a
/// service without endpoints is told so at once. A reset, an error and the rest of a packet in
/// fragments are never answered, and no more datagrams than Linux would.
#[inline(always)]
pub(crate) fn turn_away<M: Maps>(m: &M, p: &Packet, reason: Reason) -> Verdict {
    if reason == Reason::NO_BACKEND && is_answered(m, p) {
        Verdict::refuse(reason)
    } else {
        Verdict::drop(reason)
    }
}

#[inline(always)]
fn is_answered<M: Maps>(m: &M, p: &Packet) -> bool {
    if p.related != 0 || p.part.is_later() {
        false
    } else if p.protocol == protocol::TCP {
        p.tcp.flags & protocol::RST == 0
    } else {
        m.may_answer(m.now_ns())
    }
}

/// Chooses a backend for a packet, if its destination is a service: `p.to` is prepared then, as a
/// translation of this kind. `outside` packets arrived on the uplink.
#[inline(always)]
pub(crate) fn find<M: Maps>(
    m: &M,
    config: &NodeConfig,
    p: &mut Packet,
    kind: u8,
    outside: bool,
) -> Outcome {
    let outcome = search(m, config, p, kind, outside);
    if !outcome.is_backend() || !own_network::has(m, config, &p.to.dst) {
        return outcome;
    }
    // Until what the node's stack answers passes a program that translates it back.
    if !own_network::is_wanted(config) {
        return Outcome::drop(Reason::HOST_BACKEND);
    }
    p.to.kind = OWN_NETWORK;
    Outcome::OWN_NETWORK
}

#[inline(always)]
fn search<M: Maps>(m: &M, config: &NodeConfig, p: &mut Packet, kind: u8, outside: bool) -> Outcome {
    let own = config.is_node(&p.dst);
    let node_port = is_node_port(config, p.dst_port) && (own || is_of_node(m, &p.dst));
    let host_port = config.flags & config::HOST_PORTS != 0;
    if own && !node_port && !host_port {
        return Outcome::NONE;
    }
    let addr = if node_port { p.dst.any() } else { p.dst };
    if outside {
        let outcome = pick(m, p, &addr, kind, SCOPE_OUTSIDE);
        if !outcome.is_none() {
            return outcome;
        }
    }
    let outcome = pick(m, p, &addr, kind, SCOPE_ANY);
    if outcome.is_none() && node_port && (host_port || !own) {
        let node = p.dst;
        return pick(m, p, &node, kind, SCOPE_ANY);
    }
    outcome
}

#[inline(never)]
fn pick<M: Maps>(m: &M, p: &mut Packet, addr: &Addr, kind: u8, scope: u8) -> Outcome {
    let key = ServiceKey {
        addr: *addr,
        port: p.dst_port,
        protocol: p.protocol,
        scope,
    };
    match choose(m, &key, |service| number_for(m, p, &key, service), || p.src) {
        Choice::NoService => Outcome::NONE,
        Choice::Refused(reason) => Outcome::drop(reason),
        Choice::Chosen(_, backend) => {
            nat::to_destination(p, kind, backend.addr, backend.port);
            Outcome::BACKEND
        }
    }
}

/// The number by which a packet chooses: by its flow or its client where a table decides, else any.
/// Out of line: the stack that hashing takes is free again for what follows.
#[inline(never)]
fn number_for<M: Maps>(m: &M, p: &Packet, key: &ServiceKey, service: &Service) -> u32 {
    if key.scope != SCOPE_OUTSIDE || service.flags & TABLE == 0 {
        m.random()
    } else if service.flags & AFFINITY == 0 {
        maglev::of_flow(&p.src, p.src_port, key)
    } else {
        maglev::of_client(&p.src)
    }
}

/// Looks a service up and chooses a backend by its `number`, any 32 bits: the same number chooses
/// the same backend as long as the service does not change. Only services that look at their
/// clients ask who it is.
#[inline(always)]
pub(crate) fn choose<'a, M: Maps>(
    m: &'a M,
    key: &ServiceKey,
    number: impl Fn(&Service) -> u32,
    client: impl Fn() -> Addr,
) -> Choice<'a> {
    for _ in 0..TRIES {
        let Some(service) = m.service(key) else {
            return Choice::NoService;
        };
        m.step(|| Step::Service(*key, *service));
        if service.backends == 0 {
            return Choice::Refused(absence(service));
        }
        let slot = if service.flags & DEPENDS_ON_CLIENT == 0 {
            Slot::number(scale(number(service), service.backends))
        } else {
            slot_for(m, service, &client(), number(service))
        };
        if slot.is_none() {
            return Choice::NoService;
        }
        if let Some(reason) = slot.refused() {
            return Choice::Refused(reason);
        }
        let slot_key = BackendKey {
            revision: service.revision,
            slot: slot.get(),
        };
        if let Some(backend) = m.backend(&slot_key) {
            m.step(|| Step::Backend(*backend));
            return Choice::Chosen(service, backend);
        }
    }
    Choice::Refused(Reason::NO_BACKEND)
}

/// Why a service has no backend.
#[inline(always)]
const fn absence(service: &Service) -> Reason {
    if service.flags & ELSEWHERE != 0 {
        Reason::NO_LOCAL_BACKEND
    } else {
        Reason::NO_BACKEND
    }
}

/// A slot, or why a client gets none, in one register.
#[derive(Clone, Copy)]
struct Slot(u64);

impl Slot {
    /// The service is none for this client.
    const NONE: Self = Self(1 << 32);
    const REFUSED: u64 = 1 << 33;

    #[inline(always)]
    const fn number(slot: u32) -> Self {
        Self(slot as u64)
    }
    #[inline(always)]
    const fn refuse(reason: Reason) -> Self {
        Self(Self::REFUSED | reason.0 as u64)
    }
    #[inline(always)]
    const fn is_none(self) -> bool {
        self.0 == Self::NONE.0
    }
    #[inline(always)]
    const fn refused(self) -> Option<Reason> {
        if self.0 & Self::REFUSED != 0 {
            Some(Reason(self.0 as u8))
        } else {
            None
        }
    }
    #[inline(always)]
    const fn get(self) -> u32 {
        self.0 as u32
    }
}

/// The slot for a client of a service that looks at its clients.
#[inline(never)]
fn slot_for<M: Maps>(m: &M, service: &Service, client: &Addr, number: u32) -> Slot {
    let flags = service.flags;
    if flags & OWN_SOCKETS != 0 && !m.config().is_some_and(|c| c.is_node(client)) {
        return Slot::NONE;
    }
    if flags & RANGED != 0 {
        let key = RangeKey {
            service: service.id.to_be(),
            client: *client,
        };
        if !m.is_in_range(&key) {
            return Slot::refuse(Reason::SOURCE_RANGE);
        }
    }
    if flags & AFFINITY == 0 {
        Slot::number(drawn(m, service, number))
    } else {
        kept(m, service, client, number)
    }
}

/// The slot that a number draws: by the service's table, if it has one. While that is not there yet,
/// or not there any more, the slot is one that no service has.
#[inline(always)]
fn drawn<M: Maps>(m: &M, service: &Service, number: u32) -> u32 {
    match TableSize::of(service.flags) {
        None => scale(number, service.backends),
        Some(size) => maglev::backend(m, service, size, number).unwrap_or(u32::MAX),
    }
}

/// The slot of the backend that the client keeps, or of the one that it keeps from now on.
#[inline(always)]
fn kept<M: Maps>(m: &M, service: &Service, client: &Addr, number: u32) -> Slot {
    let key = AffinityKey {
        client: *client,
        service: service.id,
    };
    let mut member = MemberKey {
        revision: service.revision,
        ..MemberKey::default()
    };
    let now = m.now_ns();
    let limit = service.affinity_ns();
    let is_kept = m.update_affinity(&key, |kept| {
        member.addr = kept.addr;
        member.port = kept.port;
        let idle = now.saturating_sub(kept.seen_ns);
        kept.seen_ns = now;
        idle <= limit
    });
    if is_kept == Some(true)
        && let Some(slot) = m.member(&member)
    {
        m.step(|| Step::Kept(*client));
        return Slot::number(slot);
    }
    let slot = BackendKey {
        revision: service.revision,
        slot: drawn(m, service, number),
    };
    if let Some(backend) = m.backend(&slot) {
        let affinity = Affinity {
            addr: backend.addr,
            port: backend.port,
            reserved: [0; 3],
            seen_ns: now,
        };
        m.insert_affinity(&key, &affinity);
    }
    Slot::number(slot.slot)
}

/// Maps 32 even bits evenly to `0..count`.
#[inline(always)]
const fn scale(number: u32, count: u32) -> u32 {
    ((number as u64 * count as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::scale;

    #[test]
    fn numbers_are_spread_evenly_and_in_range() {
        assert_eq!(scale(0, 3), 0);
        assert_eq!(scale(u32::MAX, 3), 2);
        let mut slots = [0; 3];
        for i in 0..3000_u32 {
            slots[scale(i.wrapping_mul(0x9E37_79B9), 3) as usize] += 1;
        }
        assert!(slots.iter().all(|n| (900..1100).contains(n)), "{slots:?}");
    }
}
