//! cgroup `getpeername6`: the peer is the service that was asked for. IPv6 sockets reach IPv4 services by mapped addresses.
#![no_std]
#![no_main]

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use naru_ebpf_programs::socket::{self, Family};

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    socket::getpeername(&ctx, Family::V6)
}
