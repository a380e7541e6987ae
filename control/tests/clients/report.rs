//! What the standard harness would print, from the lines that a script prints.

use std::process::ExitCode;
use std::time::Instant;

/// What became of the claims.
pub(crate) struct Report {
    begin: Instant,
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Default for Report {
    fn default() -> Self {
        Report {
            begin: Instant::now(),
            passed: 0,
            failed: 0,
            skipped: 0,
        }
    }
}

impl Report {
    /// A client that can't be had here.
    pub(crate) fn skipped(&mut self, client: &str, why: &str) {
        self.skipped += 1;
        println!("test {client} ... ignored, {why}");
    }

    /// A claim that is not true.
    pub(crate) fn failed(&mut self, client: &str, claim: &str, why: &str) {
        self.failed += 1;
        println!("test {client}::{claim} ... FAILED\n{why}");
    }

    /// Takes in one line of a script and returns the claim that it decides, if it does.
    pub(crate) fn read(&mut self, client: &str, line: &str) -> Option<String> {
        let Some((claim, outcome)) = decided(line) else {
            println!("{line}");
            return None;
        };
        match outcome.split([' ', ',']).next() {
            Some("ok") => self.passed += 1,
            Some("ignored") => self.skipped += 1,
            _ => self.failed += 1,
        }
        println!("test {client}::{claim} ... {outcome}");
        Some(claim.to_owned())
    }

    /// Whether so far nothing but what is true was claimed.
    pub(crate) fn failures(&self) -> usize {
        self.failed
    }

    /// Prints the counts.
    pub(crate) fn end(&self) -> ExitCode {
        let good = self.failed == 0;
        println!(
            "\ntest result: {}. {} passed; {} failed; {} ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
            if good { "ok" } else { "FAILED" },
            self.passed,
            self.failed,
            self.skipped,
            self.begin.elapsed().as_secs_f64()
        );
        if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// `test CLAIM ... OUTCOME`
fn decided(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ")
}
