//! cgroup `recvmsg6`: a datagram of a backend seems to come from the service. IPv6 sockets reach IPv4 services by mapped addresses.
#![no_std]
#![no_main]

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use naru_ebpf_programs::socket::{self, Family};

#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    socket::recvmsg(&ctx, Family::V6)
}
