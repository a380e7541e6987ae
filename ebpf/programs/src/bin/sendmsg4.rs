//! cgroup `sendmsg4`: an unconnected datagram to a service goes to a backend.
#![no_std]
#![no_main]

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use naru_ebpf_programs::socket::{self, Family};

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    socket::sendmsg(&ctx, Family::V4)
}
