//! `bpf`: the eBPF objects, one per program, in `target/bpf/NAME.o`.
//!
//! The programs are a workspace of their own with a lock of their own, since they are built by
//! another compiler for another target. cargo finds out what is out of date; an object is only
//! written when its bytes have changed, so that what embeds it is not rebuilt for nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use naru_tests::support::layout::{checkout, target_dir};

use crate::progress::{detail, step};
use crate::toolchain::{self, BpfCompiler};

const TARGET: &str = "bpfel-unknown-none";

/// Builds all programs.
///
/// # Errors
/// When no compiler for eBPF can be had, or a program does not compile.
pub(crate) fn run() -> Result<()> {
    toolchain::ensure_bpf()?;
    step("building the eBPF programs");
    let build = target_dir().join("bpf-build");
    let status = command(toolchain::bpf_compiler()?, &build)
        .status()
        .context("cargo for the eBPF programs")?;
    ensure!(status.success(), "building ebpf/programs: {status}");
    let objects = target_dir().join("bpf");
    std::fs::create_dir_all(&objects).with_context(|| objects.display().to_string())?;
    for name in programs()? {
        let built = build.join(TARGET).join("release").join(&name);
        publish(&built, &objects.join(format!("{name}.o")))?;
    }
    Ok(())
}

fn command(compiler: BpfCompiler, build: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    match compiler {
        BpfCompiler::Debian(rustc) => {
            cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
        }
        BpfCompiler::Nightly => {
            cargo
                .args(["+nightly", "-Zbuild-std=core"])
                .env_remove("RUSTUP_TOOLCHAIN");
        }
    }
    cargo
        .args(["build", "--release", "--locked", "--target", TARGET])
        .current_dir(checkout().join("ebpf/programs"))
        .env("CARGO_TARGET_DIR", build)
        .env(
            "RUSTFLAGS",
            // Without the last one, zeroing and comparing a few words are calls of loops over bytes.
            "-C linker=bpf-linker -C link-arg=--btf -C debuginfo=2 \
             -C link-arg=--disable-expand-memcpy-in-order",
        )
        // A cargo that runs inside `cargo xtask` must not inherit the outer one's choices.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO")
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    cargo
}

/// Names of the programs: one bin each.
fn programs() -> Result<Vec<String>> {
    let dir = checkout().join("ebpf/programs/src/bin");
    let entries = std::fs::read_dir(&dir).with_context(|| dir.display().to_string())?;
    let mut names: Vec<String> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .filter_map(|p| Some(p.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn publish(built: &PathBuf, object: &Path) -> Result<()> {
    let new = std::fs::read(built).with_context(|| built.display().to_string())?;
    if std::fs::read(object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    detail(&format!("{} ({} KiB)", object.display(), new.len() / 1024));
    std::fs::write(object, new).with_context(|| object.display().to_string())
}
