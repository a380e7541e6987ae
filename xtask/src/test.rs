//! `test`: every test of the repository, counted.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;
use naru_tests::support::layout::{checkout, target_dir};

use crate::progress::step;
use crate::tally::Tally;
use crate::{compile, kubectls, packages};

/// Arguments of `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Runs only tests whose name contains this.
    filter: Option<String>,
}

/// Builds everything and runs every test; the exit code says whether all passed.
pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    compile::everything()?;
    step("building and running the tests");
    let mut tally = Tally::default();
    let finished = stream(args, &mut tally)?;
    let good = finished && tally.failed == 0;
    if !finished && tally.failed == 0 {
        println!("a test program could not be built or ended early");
    }
    tally.report();
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn stream(args: &TestArgs, tally: &mut Tally) -> Result<bool> {
    let mut cargo = Command::new("cargo");
    cargo.args([
        "test",
        "--release",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "--no-fail-fast",
    ]);
    // The output of what passed as well: a test that skips says so there.
    cargo.args(["--", "--show-output"]).args(&args.filter);
    cargo
        .current_dir(checkout())
        .env("CARGO_TARGET_DIR", target_dir())
        .env("NARU_KUBECTL", kubectls::newest()?)
        .env("NARU_ETCD", packages::unpacked("etcd"));
    let mut shown = Shown::default();
    let mut child = cargo
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo test")?;
    for line in child
        .stdout
        .take()
        .map(BufReader::new)
        .into_iter()
        .flat_map(BufRead::lines)
    {
        let line = line?;
        tally.read(&line);
        if shown.line(&line) {
            println!("{line}");
        }
    }
    Ok(child.wait()?.success())
}

/// Which lines are repeated: not what passed tests had to say, under which the words of a failed one
/// would be lost.
#[derive(Default)]
struct Shown {
    /// The lines now read are about what passed.
    passed: bool,
}

impl Shown {
    fn line(&mut self, line: &str) -> bool {
        match line {
            "successes:" => self.passed = true,
            "failures:" => self.passed = false,
            _ if line.starts_with("test result: ") => self.passed = false,
            _ => {}
        }
        !self.passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passed_says_nothing_and_what_failed_does() {
        let mut shown = Shown::default();
        let lines = [
            "test a ... ok",
            "successes:",
            "---- a stdout ----",
            "SKIP no root",
            "successes:",
            "    a",
            "failures:",
            "---- b stdout ----",
            "left: 1",
            "test result: FAILED. 1 passed; 1 failed",
        ];
        let repeated: Vec<_> = lines.into_iter().filter(|line| shown.line(line)).collect();
        let wanted = [0, 6, 7, 8, 9].map(|i| lines[i]);
        assert_eq!(repeated, wanted);
    }
}
