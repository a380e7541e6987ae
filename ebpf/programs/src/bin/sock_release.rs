//! cgroup `sock_release`: what is remembered of a socket ends with it.
#![no_std]
#![no_main]

use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;
use naru_ebpf_programs::socket;

#[cgroup_sock(sock_release)]
pub fn sock_release(ctx: SockContext) -> i32 {
    socket::release(&ctx)
}
