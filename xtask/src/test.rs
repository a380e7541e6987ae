//! `test`: every test of the repository, counted.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;
use naru_tests::support::layout::{checkout, target_dir};

use crate::progress::step;
use crate::{compile, kubectls};

/// Arguments of `cargo xtask test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Runs only tests whose name contains this.
    filter: Option<String>,
}

/// What a run of tests came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// Names of failed tests.
    failures: Vec<String>,
    /// Lines that name a skipped test and its reason.
    skips: Vec<String>,
    /// Skips since the last summary, which counts them as passed.
    said: usize,
}

impl Tally {
    /// Takes in one line of a test program's output.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some((name, outcome)) = line
            .strip_prefix("test ")
            .and_then(|l| l.rsplit_once(" ... "))
        {
            match outcome.split([' ', ',']).next().unwrap_or_default() {
                "FAILED" => self.failures.push(name.to_owned()),
                "ignored" => self.skips.push(format!("{name}: {outcome}")),
                _ => {}
            }
        } else if let Some(summary) = line.strip_prefix("test result: ") {
            self.passed += count(summary, "passed").saturating_sub(self.said);
            self.failed += count(summary, "failed");
            self.skipped += count(summary, "ignored") + self.said;
            self.said = 0;
        } else if line.starts_with("SKIP ") {
            self.skips.push(line.to_owned());
            self.said += 1;
        }
    }

    /// Prints what did not pass, and the counts.
    pub(crate) fn report(&self) {
        println!();
        for skip in &self.skips {
            println!("skipped {skip}");
        }
        for name in &self.failures {
            println!("failed  {name}");
        }
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        );
    }
}

fn count(summary: &str, what: &str) -> usize {
    let parts = summary.split(['.', ';']).map(str::trim);
    let number = parts
        .filter_map(|p| p.strip_suffix(what))
        .find_map(|n| n.trim().parse().ok());
    number.unwrap_or(0)
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
    cargo.arg("--").args(&args.filter);
    cargo
        .current_dir(checkout())
        .env("CARGO_TARGET_DIR", target_dir())
        .env("NARU_KUBECTL", kubectls::newest()?);
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
        println!("{line}");
        tally.read(&line);
    }
    Ok(child.wait()?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_add_up() {
        let mut tally = Tally::default();
        for line in [
            "test a::b ... ok",
            "test c ... FAILED",
            "test d ... ignored, needs a kernel with tcx",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s",
            "test result: ok. 20 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            tally.read(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.skipped), (21, 1, 1));
        assert_eq!(tally.failures, ["c"]);
        assert_eq!(tally.skips, ["d: ignored, needs a kernel with tcx"]);
    }

    #[test]
    fn a_test_that_says_skip_has_not_passed() {
        let mut tally = Tally::default();
        for line in [
            "test a ... ok",
            "---- a stdout ----",
            "SKIP eBPF programs are loaded by root",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            tally.read(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.skipped), (4, 0, 1));
    }
}
