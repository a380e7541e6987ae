//! Builds programs and images. One profile, so that running, testing and measuring share one build.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use naru_tests::support::layout::{checkout, target_dir};

use crate::progress::step;
use crate::{bpf, images, packages};

/// Everything that a cluster runs, and what the machine needs for it.
///
/// # Errors
/// When something is missing and can't be had, or does not compile.
pub(crate) fn everything() -> Result<()> {
    packages::ensure_all()?;
    bpf::run()?;
    programs()?;
    test_images()
}

/// The images that tests and demo run.
///
/// # Errors
/// As [`everything`].
pub(crate) fn test_images() -> Result<()> {
    images::pack(&landing()?)
}

fn programs() -> Result<()> {
    step("building the programs");
    workspace_without(&[PACKET], &["--bins"])
}

/// The program that times the data path, with the eBPF programs in it.
///
/// # Errors
/// As [`everything`].
pub(crate) fn packet() -> Result<()> {
    packages::ensure_all()?;
    bpf::run()?;
    step("building what times the data path");
    // Chosen from the workspace, so that it shares the daemon's build: alone it would ask for other
    // features of what the daemon stands on.
    workspace_without(&[], &["--bin", PACKET])
}

const PACKET: &str = "naru-packet";

/// What no cluster runs. xtask itself is running, and was built a moment ago.
const APART: [&str; 3] = ["xtask", "naru-load", "naru-fuzz"];

fn workspace_without(excluded: &[&str], what: &[&str]) -> Result<()> {
    let mut args = vec!["build", "--release", "--workspace"];
    for package in APART.iter().chain(excluded) {
        args.extend(["--exclude", package]);
    }
    args.extend(what);
    cargo(&args, &[])
}

/// The clients of the benchmarks.
///
/// # Errors
/// When they do not compile.
pub(crate) fn load() -> Result<()> {
    step("building the load");
    cargo(&["build", "--release", "--package", "naru-load"], &[])
}

/// The program of the test images, linked statically.
fn landing() -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let flags = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        triple.to_uppercase().replace('-', "_")
    );
    let args = [
        "build",
        "--release",
        "--package",
        "landing",
        "--target",
        &triple,
    ];
    cargo(&args, &[(&flags, "-C target-feature=+crt-static")])?;
    Ok(target_dir().join(&triple).join("release/landing"))
}

/// Runs cargo in this checkout; its output goes to standard error.
///
/// # Errors
/// When it fails.
pub(crate) fn cargo(args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(args)
        .envs(env.iter().copied())
        .current_dir(checkout());
    command
        .env("CARGO_TARGET_DIR", target_dir())
        .stdin(Stdio::null());
    let status = command
        .stdout(std::io::stderr())
        .status()
        .context("cargo")?;
    ensure!(status.success(), "cargo {}: {status}", args.join(" "));
    Ok(())
}
