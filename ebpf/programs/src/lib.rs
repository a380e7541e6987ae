//! The rim between the kernel and the decisions: maps, packets, sockets.
//!
//! Each program is a bin of a few lines in `bin/`, one per hook, one object each; the maps are
//! declared once here and pinned by name, so that all objects share them. Decisions are made in
//! `naru-ebpf-logic`; helpers are called here only.
#![no_std]

pub mod bandwidth;
mod hops;
mod kernel;
pub mod maps;
pub mod overlay;
mod refuse;
mod rewrite;
mod skb;
pub mod socket;
pub mod tc;
pub mod wire;

pub use kernel::Kernel;

/// Helpers that only a GPL-compatible program may call are among those in use.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// A panic must never run: the verifier refuses a program that can reach an endless loop.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
