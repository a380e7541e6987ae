//! cgroup `connect6`: a service address becomes a backend before the first packet. IPv6 sockets reach IPv4 services by mapped addresses.
#![no_std]
#![no_main]

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use naru_ebpf_programs::socket::{self, Family};

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    socket::connect(&ctx, Family::V6)
}
