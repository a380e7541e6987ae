//! Socket operations: a service address becomes a backend before the first packet.

use naru_ebpf_common::ipcache;
use naru_ebpf_common::{Addr, ConnectedPeer, NodeConfig, Port, Reason, SocketKey, SocketPeer};

use crate::service::{self, Choice};
use crate::{Maps, Step};

/// The destination that a program asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Address.
    pub addr: Addr,
    /// Port.
    pub port: Port,
    /// TCP or UDP.
    pub protocol: u8,
}

/// What becomes of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It stays as it is.
    Unchanged,
    /// It became a backend's; this service was asked for.
    Translated(SocketPeer),
    /// The service has no backend for who asks: connection refused.
    Refused(Reason),
}

/// `connect`: chooses a backend at random. The socket itself remembers the service, see
/// [`reverse_connected`]. `netns` is the cookie of the socket's network namespace.
#[inline(always)]
pub fn connect<M: Maps>(m: &M, target: &mut Target, netns: impl Fn() -> u64) -> Outcome {
    let number = m.random();
    let asked = target.addr;
    translate(m, target, number, || client(m, netns(), &asked))
}

/// `sendmsg` on an unconnected socket: the socket keeps its backend as long as the service does not
/// change, so that an exchange of several datagrams meets one server.
#[inline(always)]
pub fn sendmsg<M: Maps>(
    m: &M,
    target: &mut Target,
    cookie: u64,
    netns: impl Fn() -> u64,
) -> Outcome {
    let number = spread(cookie);
    let asked = target.addr;
    let outcome = translate(m, target, number, || client(m, netns(), &asked));
    if let Outcome::Translated(service) = &outcome {
        m.insert_socket(&key(target, cookie), service);
    }
    outcome
}

/// Fibonacci hashing: consecutive cookies land far apart.
#[inline(always)]
const fn spread(cookie: u64) -> u32 {
    (cookie.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}

/// Who a service takes the socket's program for: its pod, the same address that its packets have;
/// else the node.
#[inline(always)]
fn client<M: Maps>(m: &M, netns: u64, asked: &Addr) -> Addr {
    match m.pod_in(netns) {
        Some(pod) => pod.like(asked),
        None => m
            .config()
            .map_or(Addr::UNSPECIFIED, |c| c.family(asked).node_addr),
    }
}

#[inline(always)]
fn translate<M: Maps>(
    m: &M,
    target: &mut Target,
    number: u32,
    client: impl Fn() -> Addr,
) -> Outcome {
    let exact = service::key(target.addr, target.port, target.protocol);
    let choice = match service::choose(m, &exact, |_| number, &client) {
        Choice::NoService => node_port(m, target, number, &client),
        choice => choice,
    };
    match choice {
        Choice::NoService => Outcome::Unchanged,
        Choice::Refused(reason) => Outcome::Refused(reason),
        Choice::Chosen(service, backend) => {
            let asked = SocketPeer {
                addr: target.addr,
                port: target.port,
                reserved: 0,
                service: service.id,
            };
            target.addr = backend.addr;
            target.port = backend.port;
            Outcome::Translated(asked)
        }
    }
}

/// A node port, reached at the address of any node.
#[inline(always)]
fn node_port<'a, M: Maps>(
    m: &'a M,
    target: &Target,
    number: u32,
    client: impl Fn() -> Addr,
) -> Choice<'a> {
    match m.config() {
        Some(config) if is_node_port_of_a_node(m, config, target) => {
            let key = service::key(target.addr.any(), target.port, target.protocol);
            service::choose(m, &key, |_| number, client)
        }
        _ => Choice::NoService,
    }
}

#[inline(always)]
fn is_node_port_of_a_node<M: Maps>(m: &M, config: &NodeConfig, target: &Target) -> bool {
    service::is_node_port(config, target.port)
        && (config.is_node(&target.addr)
            || m.ip_info(&target.addr).is_some_and(|info| {
                m.step(|| Step::Identity(target.addr, *info));
                info.flags & ipcache::NODE != 0
            }))
}

/// Notes the backend of a connected datagram socket where the daemon finds it, so that the socket
/// can be ended when the backend leaves.
#[inline(always)]
pub fn note<M: Maps>(m: &M, target: &Target, cookie: u64, service: &SocketPeer) {
    m.insert_socket(&key(target, cookie), service);
}

/// What a socket whose `connect` was translated to `target` has to remember.
#[inline(always)]
pub fn connected(target: &Target, service: SocketPeer) -> ConnectedPeer {
    ConnectedPeer {
        addr: target.addr,
        service,
        port: target.port,
        reserved: [0; 3],
    }
}

/// `recvmsg` and `getpeername` of a connected socket: turns its backend back into the service that
/// the program asked for. True if `peer` changed.
#[inline(always)]
pub fn reverse_connected(peer: &mut Target, known: &ConnectedPeer) -> bool {
    let same = peer.addr == known.addr && peer.port == known.port;
    if same {
        peer.addr = known.service.addr;
        peer.port = known.service.port;
    }
    same
}

/// `recvmsg` of an unconnected socket: as [`reverse_connected`].
#[inline(always)]
pub fn reverse<M: Maps>(m: &M, peer: &mut Target, cookie: u64) -> bool {
    let Some(service) = m.socket(&key(peer, cookie)) else {
        return false;
    };
    peer.addr = service.addr;
    peer.port = service.port;
    true
}

#[inline(always)]
fn key(target: &Target, cookie: u64) -> SocketKey {
    SocketKey {
        cookie,
        addr: target.addr,
        port: target.port,
        protocol: target.protocol,
        reserved: [0; 5],
    }
}
