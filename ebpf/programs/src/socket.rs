//! A socket operation's way through a cgroup program.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_ANY, bpf_sock_addr};
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::programs::{SockAddrContext, SockContext};
use naru_ebpf_common::{Addr, Port, Reason, SocketPeer, counter, protocol};
use naru_ebpf_logic::socket::{self, Outcome, Target};

use crate::tc::count;
use crate::{Kernel, maps};

/// The operation goes on.
const ALLOW: i32 = 1;
/// The operation fails with the error set before.
const REFUSE: i32 = 0;
const ECONNREFUSED: i32 = 111;

/// Which part of the context holds the address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `user_ip4`.
    V4,
    /// `user_ip6`.
    V6,
}

/// `connect4` and `connect6`.
#[inline(always)]
pub fn connect(ctx: &SockAddrContext, family: Family) -> i32 {
    let mut target = read(ctx, family);
    let outcome = socket::connect(&Kernel, &mut target, || netns(ctx));
    match outcome {
        Outcome::Translated(service) => {
            remember(ctx, &target, service);
            if target.protocol == protocol::UDP {
                socket::note(&Kernel, &target, cookie(ctx), &service);
            }
        }
        Outcome::Unchanged if target.protocol == protocol::UDP => forget(ctx),
        _ => {}
    }
    finish(ctx, family, &target, outcome)
}

#[inline(always)]
fn remember(ctx: &SockAddrContext, target: &Target, service: SocketPeer) {
    // In a full map the program sees the backend instead of the service: no harm done.
    let _ = maps::CONNECTED.insert(
        &number(ctx),
        &socket::connected(target, service),
        BPF_ANY.into(),
    );
}

/// A datagram socket may be connected anew, to the very backend of the service that it asked for.
#[inline(always)]
fn forget(ctx: &SockAddrContext) {
    let _ = maps::CONNECTED.remove(&number(ctx));
}

/// `sock_release`: the last descriptor of a socket is closed. Few sockets have an entry, and to look
/// takes no lock.
#[inline(always)]
pub fn release(ctx: &SockContext) -> i32 {
    let number = ctx.sock as u64;
    // SAFETY: the value is not read.
    if unsafe { maps::CONNECTED.get(&number) }.is_some() {
        let _ = maps::CONNECTED.remove(&number);
    }
    ALLOW
}

/// `sendmsg4` and `sendmsg6`.
#[inline(always)]
pub fn sendmsg(ctx: &SockAddrContext, family: Family) -> i32 {
    let mut target = read(ctx, family);
    let outcome = socket::sendmsg(&Kernel, &mut target, cookie(ctx), || netns(ctx));
    finish(ctx, family, &target, outcome)
}

/// `getpeername4` and `getpeername6`. Every accepted socket comes here too, so it has to be cheap.
#[inline(always)]
pub fn getpeername(ctx: &SockAddrContext, family: Family) -> i32 {
    reverse_connected(ctx, family);
    ALLOW
}

/// `recvmsg4` and `recvmsg6`.
#[inline(always)]
pub fn recvmsg(ctx: &SockAddrContext, family: Family) -> i32 {
    if reverse_connected(ctx, family) {
        return ALLOW;
    }
    let mut peer = read(ctx, family);
    if socket::reverse(&Kernel, &mut peer, cookie(ctx)) {
        write(ctx, family, &peer);
    }
    ALLOW
}

#[inline(always)]
fn reverse_connected(ctx: &SockAddrContext, family: Family) -> bool {
    // SAFETY: an entry lives as long as its socket, or until the program ends.
    let Some(known) = (unsafe { maps::CONNECTED.get(&number(ctx)) }) else {
        return false;
    };
    let mut peer = read(ctx, family);
    let reversed = socket::reverse_connected(&mut peer, known);
    if reversed {
        write(ctx, family, &peer);
    }
    reversed
}

/// Where the kernel keeps the socket: as good as a cookie while the socket lives, and free.
#[inline(always)]
fn number(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the context is valid while the program runs.
    unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk as u64 }
}

/// The socket's number. Making one costs more than the rest of a program: for those who need it.
#[inline(always)]
fn cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the context is valid while the program runs.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// The number of the socket's network namespace.
#[inline(always)]
fn netns(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the context is valid while the program runs.
    unsafe { bpf_get_netns_cookie(ctx.as_ptr()) }
}

#[inline(always)]
fn finish(ctx: &SockAddrContext, family: Family, target: &Target, outcome: Outcome) -> i32 {
    match outcome {
        Outcome::Unchanged => ALLOW,
        Outcome::Translated(_) => {
            count(counter::SOCKET, Reason::FORWARDED, 0);
            write(ctx, family, target);
            ALLOW
        }
        Outcome::Refused(reason) => {
            count(counter::SOCKET, reason, 0);
            // SAFETY: the helper has no preconditions.
            unsafe { bpf_set_retval(-ECONNREFUSED) };
            REFUSE
        }
    }
}

#[inline(always)]
fn read(ctx: &SockAddrContext, family: Family) -> Target {
    let raw: *mut bpf_sock_addr = ctx.sock_addr;
    // SAFETY: the context is valid while the program runs; the verifier checks each field.
    unsafe {
        let addr = match family {
            Family::V4 => Addr::v4_word((*raw).user_ip4),
            Family::V6 => Addr {
                words: (*raw).user_ip6,
            },
        };
        Target {
            addr,
            port: Port((*raw).user_port as u16),
            protocol: (*raw).protocol as u8,
        }
    }
}

#[inline(always)]
fn write(ctx: &SockAddrContext, family: Family, target: &Target) {
    let raw: *mut bpf_sock_addr = ctx.sock_addr;
    // SAFETY: the context is valid while the program runs; fields are written word by word, as the
    // verifier demands.
    unsafe {
        match family {
            Family::V4 => (*raw).user_ip4 = target.addr.word_v4(),
            Family::V6 => {
                let to = &raw mut (*raw).user_ip6;
                core::ptr::write_volatile(&raw mut (*to)[0], target.addr.words[0]);
                core::ptr::write_volatile(&raw mut (*to)[1], target.addr.words[1]);
                core::ptr::write_volatile(&raw mut (*to)[2], target.addr.words[2]);
                core::ptr::write_volatile(&raw mut (*to)[3], target.addr.words[3]);
            }
        }
        (*raw).user_port = u32::from(target.port.0);
    }
}
