//! A socket operation's way through a cgroup program.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::bpf_sock_addr;
use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::programs::SockAddrContext;
use naru_ebpf_common::{Addr, Port, Reason, counter};
use naru_ebpf_logic::socket::{self, Outcome, Target};

use crate::Kernel;
use crate::tc::count;

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
    let outcome = socket::connect(&Kernel, &mut target);
    finish(ctx, family, &target, outcome)
}

/// `sendmsg4` and `sendmsg6`.
#[inline(always)]
pub fn sendmsg(ctx: &SockAddrContext, family: Family) -> i32 {
    let mut target = read(ctx, family);
    let outcome = socket::sendmsg(&Kernel, &mut target);
    finish(ctx, family, &target, outcome)
}

/// `recvmsg4`, `recvmsg6`, `getpeername4` and `getpeername6`.
#[inline(always)]
pub fn reverse(ctx: &SockAddrContext, family: Family) -> i32 {
    let mut peer = read(ctx, family);
    if socket::reverse(&Kernel, &mut peer) {
        write(ctx, family, &peer);
    }
    ALLOW
}

#[inline(always)]
fn finish(ctx: &SockAddrContext, family: Family, target: &Target, outcome: Outcome) -> i32 {
    match outcome {
        Outcome::Unchanged => ALLOW,
        Outcome::Translated => {
            count(counter::SOCKET, Reason::FORWARDED, 0);
            write(ctx, family, target);
            ALLOW
        }
        Outcome::Refused => {
            count(counter::SOCKET, Reason::NO_BACKEND, 0);
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
            cookie: bpf_get_socket_cookie(ctx.as_ptr()),
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
