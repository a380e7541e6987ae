//! What a run of tests came to: counts, what failed and why, what was skipped and why.
//!
//! Read from the lines that the standard harness prints, and the end-to-end tests after its model.

/// Lines of a failure that the report repeats: enough for the error, too few for a log.
const WORDS: usize = 12;

/// Counts and reasons.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    failures: Vec<Failure>,
    /// Lines that name a skipped test and its reason.
    skips: Vec<String>,
    /// Skips since the last summary, which counts them as passed.
    said: usize,
    /// The failed test that the lines now read speak of.
    speaker: Option<usize>,
}

/// A failed test and the first words that it had to say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Failure {
    name: String,
    words: Vec<String>,
}

impl Tally {
    /// Takes in one line of a test program's output.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some((name, outcome)) = outcome(line) {
            self.outcome(name, outcome);
        } else if let Some(summary) = line.strip_prefix("test result: ") {
            self.summary(summary);
        } else if let Some(name) = heading(line) {
            self.speaker = self.failures.iter().position(|f| f.name == name);
        } else if line.starts_with("SKIP ") {
            self.skips.push(line.to_owned());
            self.said += 1;
        } else {
            self.words(line);
        }
    }

    fn outcome(&mut self, name: &str, outcome: &str) {
        self.speaker = None;
        match outcome.split([' ', ',']).next().unwrap_or_default() {
            "FAILED" => {
                self.speaker = Some(self.failures.len());
                self.failures.push(Failure {
                    name: name.to_owned(),
                    words: Vec::new(),
                });
            }
            "ignored" => self.skips.push(format!("{name}: {outcome}")),
            _ => {}
        }
    }

    fn summary(&mut self, summary: &str) {
        self.passed += count(summary, "passed").saturating_sub(self.said);
        self.failed += count(summary, "failed");
        self.skipped += count(summary, "ignored") + self.said;
        self.said = 0;
        self.speaker = None;
    }

    fn words(&mut self, line: &str) {
        let Some(failure) = self.speaker.and_then(|i| self.failures.get_mut(i)) else {
            return;
        };
        if line.trim() == "stack backtrace:" || failure.words.len() == WORDS {
            self.speaker = None;
        } else if !line.is_empty() {
            failure.words.push(line.to_owned());
        }
    }

    /// Prints what did not pass, and the counts.
    pub(crate) fn report(&self) {
        println!();
        for skip in &self.skips {
            println!("skipped {skip}");
        }
        for failure in &self.failures {
            println!("failed  {}", failure.name);
            failure.words.iter().for_each(|w| println!("        {w}"));
        }
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        );
    }
}

/// `test NAME ... OUTCOME`
fn outcome(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.rsplit_once(" ... ")
}

/// `---- NAME stdout ----`, above what a test printed.
fn heading(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

fn count(summary: &str, what: &str) -> usize {
    let parts = summary.split(['.', ';']).map(str::trim);
    let number = parts
        .filter_map(|p| p.strip_suffix(what))
        .find_map(|n| n.trim().parse().ok());
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn results_of_several_programs_add_up() {
        let tally = tally(&[
            "test a::b ... ok",
            "test c ... FAILED",
            "test d ... ignored, needs a kernel with tcx",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s",
            "test result: ok. 20 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ]);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (21, 1, 1));
        assert_eq!(tally.failures[0].name, "c");
        assert_eq!(tally.skips, ["d: ignored, needs a kernel with tcx"]);
    }

    #[test]
    fn a_test_that_says_skip_has_not_passed() {
        let tally = tally(&[
            "test a ... ok",
            "---- a stdout ----",
            "SKIP eBPF programs are loaded by root",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ]);
        assert_eq!((tally.passed, tally.failed, tally.skipped), (4, 0, 1));
    }

    #[test]
    fn a_failure_keeps_its_own_words_wherever_they_stand() {
        let tally = tally(&[
            "test here ... FAILED <0.62s>",
            "connection refused",
            "test well ... ok",
            "test later ... FAILED",
            "",
            "---- well stdout ----",
            "all is well",
            "---- later stdout ----",
            "left: 1",
            "stack backtrace:",
            "  0: rust_begin_unwind",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ]);
        let words: Vec<_> = tally.failures.iter().map(|f| &f.words[..]).collect();
        assert_eq!(words, [["connection refused"], ["left: 1"]]);
    }
}
