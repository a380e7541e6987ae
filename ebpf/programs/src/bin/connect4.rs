//! cgroup `connect4`: a service address becomes a backend before the first packet.
#![no_std]
#![no_main]

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use naru_ebpf_programs::socket::{self, Family};

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    socket::connect(&ctx, Family::V4)
}
