//! What the data path costs a packet, in nanoseconds.
//!
//! The programs of the data path and its maps are those of the daemon: opened by its own `datapath`,
//! filled with what its own plans make of policies and services. The kernel runs a program on a frame
//! (BPF_PROG_TEST_RUN) and says how long that took. Nothing is attached and nothing is sent.
//!
//! - [`node`] is a node's data path, and how a program of it is run.
//! - [`cast`], [`policies`] and [`services`] are what its maps hold.
//! - [`cases`] are the packets, [`case`] how one of them is timed, [`rounds`] how they take turns.
//!
//! One line of JSON for each case goes to standard output: its name, the case that it is compared with,
//! and the nanoseconds of each round. `cargo xtask bench packet` makes figures of them.

mod case;
mod cases;
mod cast;
#[allow(
    dead_code,
    reason = "the packet tests, whose file this is, make more kinds"
)]
#[path = "../../tests/bpf/frames.rs"]
mod frames;
mod node;
mod policies;
mod rounds;
mod services;
#[allow(dead_code, reason = "likewise")]
#[path = "../../tests/bpf/v4/addresses.rs"]
mod v4;
#[allow(dead_code, reason = "likewise")]
#[path = "../../tests/bpf/v6/addresses.rs"]
mod v6;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use self::case::Effort;
use self::node::Ground;

/// Times the programs of the data path.
#[derive(Debug, Parser)]
struct Args {
    /// Rounds in which every case has its turn; one more goes before them and is not counted.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Only cases whose name contains this, and what they are compared with.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "eBPF programs are loaded by root"
    );
    let ground = Ground::prepare().context("namespaces with a bpffs")?;
    let cases = cases::all(&ground, &services::COUNTS)?;
    let chosen = cases::chosen(&cases, args.only.as_deref());
    for line in rounds::measure(&chosen, args.rounds, Effort::FULL)? {
        println!("{line}");
    }
    Ok(())
}
