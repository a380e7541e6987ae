//! The cases of one benchmark as they come: printed at once, written at the end.

use std::path::Path;

use anyhow::Result;

use super::series::Case;

/// Cases measured so far. A benchmark that fails half-way has still said what it found.
#[derive(Debug, Default)]
pub(super) struct Report {
    only: Option<String>,
    cases: Vec<Case>,
}

impl Report {
    /// A report of the cases whose name contains `only`; of all without it.
    pub(super) fn new(only: Option<&str>) -> Self {
        Self {
            only: only.map(str::to_owned),
            cases: Vec::new(),
        }
    }

    /// Whether the case is to be measured.
    pub(super) fn wants(&self, case: &str) -> bool {
        self.only.as_deref().is_none_or(|only| case.contains(only))
    }

    /// Adds a case and prints it.
    pub(super) fn add(&mut self, case: Case) {
        println!("{}", case.line());
        self.cases.push(case);
    }

    /// Writes all cases as a JSON array.
    ///
    /// # Errors
    /// When the file can't be written.
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        Ok(std::fs::write(
            file,
            serde_json::to_string_pretty(&self.cases)? + "\n",
        )?)
    }
}
