//! cgroup `sendmsg6`: an unconnected datagram to a service goes to a backend. IPv6 sockets reach IPv4 services by mapped addresses.
#![no_std]
#![no_main]

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use naru_ebpf_programs::socket::{self, Family};

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    socket::sendmsg(&ctx, Family::V6)
}
