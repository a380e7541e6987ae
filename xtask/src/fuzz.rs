//! `fuzz`: hunts with many inputs; `tests/fuzz` has the targets.

use anyhow::Result;
use clap::Args;

use crate::compile::cargo;
use crate::packages;

/// Arguments of `cargo xtask fuzz`.
#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// What `naru-fuzz` takes: targets, `--runs N`, `--seed N`, `--input FILE`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Builds the targets and hunts.
///
/// # Errors
/// When what they need can't be had, they do not compile, or a promise is broken.
pub(crate) fn run(args: &FuzzArgs) -> Result<()> {
    packages::ensure_all()?;
    let mut line = vec!["run", "--release", "--package", "naru-fuzz", "--"];
    line.extend(args.rest.iter().map(String::as_str));
    cargo(&line, &[])
}
