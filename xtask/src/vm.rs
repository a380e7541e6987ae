//! `vm`: the packet tests on kernels that users have, in a machine of software.
//!
//! A Debian kernel is downloaded and unpacked, never installed; its machine has no disk and no
//! network, only an initramfs with the test program, the eBPF objects and the modules that the
//! tests need. Everything is kept below `target/vm`. The machine shows what works and what the
//! verifier takes; it says nothing about speed.

mod initramfs;
mod kernel;
mod machine;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use naru_tests::support::layout::{checkout, target_dir};
use naru_tests::support::run;
use serde_json::Value;

use self::initramfs::Initramfs;
use self::kernel::Kernel;
use self::machine::{End, Machine};
use crate::progress::step;
use crate::tally::Tally;
use crate::{bpf, packages};

/// Arguments of `cargo xtask vm`.
#[derive(Debug, Args)]
pub(crate) struct VmArgs {
    /// Version of the kernel: the oldest that must work, or a later one with tcx.
    #[arg(value_parser = ["6.1", "6.12"])]
    kernel: String,
    /// Runs only tests whose name contains this.
    filter: Option<String>,
    /// Seconds after which the machine is ended.
    #[arg(long, default_value_t = 1800)]
    timeout: u64,
}

/// Runs the tests; the exit code says whether all passed. None may be skipped: every kernel that
/// can be asked for is at least the oldest that must work.
pub(crate) fn run(args: &VmArgs) -> Result<ExitCode> {
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "the emulated machine is an x86_64 one"
    );
    let busybox = packages::ensure_emulator()?;
    bpf::run()?;
    let test = test_program()?;
    let kernel = Kernel::newest(&args.kernel)?;
    let initramfs = Initramfs {
        busybox,
        test,
        filter: args.filter.clone(),
    };
    let machine = Machine {
        initrd: initramfs.pack(&kernel)?,
        image: kernel.image()?,
        timeout: Duration::from_secs(args.timeout),
    };
    step(&format!("booting Linux {}", kernel.release));
    let mut tally = Tally::default();
    let end = machine.run(|line| {
        println!("{line}");
        tally.read(line);
    })?;
    tally.report();
    Ok(verdict(&end, &tally))
}

fn verdict(end: &End, tally: &Tally) -> ExitCode {
    match end {
        End::Exit(0) if tally.passed > 0 && tally.failed + tally.skipped == 0 => {
            return ExitCode::SUCCESS;
        }
        End::Exit(0) if tally.passed == 0 => println!("no test ran"),
        End::Exit(0) => println!("this kernel has what every test needs: none may be skipped"),
        End::Exit(code) => println!("the test program ended with {code}"),
        End::Silent => println!("the machine ended before the test program did"),
        End::TimedOut => println!("out of time"),
    }
    ExitCode::FAILURE
}

/// Builds the packet tests and returns the program.
fn test_program() -> Result<PathBuf> {
    step("building the packet tests");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--release", "--package", "naru-tests"])
        .args(["--test", "bpf", "--no-run", "--message-format=json"])
        .current_dir(checkout())
        .env("CARGO_TARGET_DIR", target_dir())
        .stderr(Stdio::inherit());
    let messages = run::checked(&mut cargo)?;
    executable(&messages).context("cargo named no test program")
}

/// The test program that cargo's messages name.
fn executable(messages: &str) -> Option<PathBuf> {
    let artifacts = messages
        .lines()
        .filter_map(|l| serde_json::from_str::<Value>(l).ok());
    artifacts
        .filter(|m| m["target"]["name"] == "bpf")
        .find_map(|m| Some(PathBuf::from(m["executable"].as_str()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_is_found_among_cargos_messages() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"aya\"},\"executable\":null}\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"bpf\"},\"executable\":\"/t/bpf-1\"}\n",
            "{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        assert_eq!(executable(messages), Some(PathBuf::from("/t/bpf-1")));
        assert_eq!(executable(""), None);
    }
}
