//! The compiler for eBPF: what a machine offers, and how to get one.
//!
//! Either a rustup nightly with `rust-src`, which builds `core` itself, or Debian's `rustc-web`, whose
//! library package has `core` for bpfel-unknown-none ready. Both link with bpf-linker.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::packages;
use crate::progress::{detail, step};

const DEBIAN_PACKAGES: &[&str] = &[
    "rustc-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "libpolly-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
    "libxml2-dev",
];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LLVM: &str = "/usr/lib/llvm-22";

/// Makes sure that eBPF programs can be built.
///
/// # Errors
/// When neither way is open.
pub(crate) fn ensure_bpf() -> Result<()> {
    if !debian_core() && !nightly() {
        detail(
            "rustc-web and LLVM 22: compile the eBPF programs (no nightly toolchain with rust-src found)",
        );
        packages::install(DEBIAN_PACKAGES)?;
        ensure!(
            debian_core(),
            "rustc-web has no core for bpfel-unknown-none"
        );
    }
    if packages::present("bpf-linker") || cargo_bin("bpf-linker") {
        return Ok(());
    }
    install_linker()
}

/// The compiler that builds the eBPF programs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BpfCompiler {
    /// Debian's rustc at this path, with `core` ready.
    Debian(&'static str),
    /// A rustup nightly, which builds `core`.
    Nightly,
}

/// Which of the two ways is open.
///
/// # Errors
/// When neither is; [`ensure_bpf`] opens one.
pub(crate) fn bpf_compiler() -> Result<BpfCompiler> {
    if debian_core() {
        return Ok(BpfCompiler::Debian(DEBIAN_RUSTC));
    }
    ensure!(
        nightly(),
        "no compiler for eBPF: neither rustc-web nor a nightly with rust-src"
    );
    Ok(BpfCompiler::Nightly)
}

/// Whether Debian's rustc has `core` for eBPF.
fn debian_core() -> bool {
    let Ok(output) = Command::new(DEBIAN_RUSTC)
        .args(["--print", "sysroot"])
        .output()
    else {
        return false;
    };
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Path::new(&sysroot)
        .join("lib/rustlib/bpfel-unknown-none/lib")
        .is_dir()
}

/// Whether rustup has a nightly with the library's source.
fn nightly() -> bool {
    let output = Command::new("rustup")
        .args(["run", "nightly", "rustc", "--print", "sysroot"])
        .output();
    let Ok(output) = output else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success()
        && Path::new(&sysroot)
            .join("lib/rustlib/src/rust/library/core")
            .is_dir()
}

fn cargo_bin(name: &str) -> bool {
    let home = std::env::var_os("CARGO_HOME").map(Into::into);
    let home =
        home.or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    home.is_some_and(|h: std::path::PathBuf| h.join("bin").join(name).is_file())
}

fn install_linker() -> Result<()> {
    step("installing bpf-linker");
    let mut cargo = Command::new("cargo");
    cargo.args(["install", "bpf-linker"]);
    // With Debian's LLVM at hand nothing else need be fetched.
    if debian_core() {
        cargo
            .args(["--no-default-features", "--features", "llvm-22"])
            .env("LLVM_PREFIX", DEBIAN_LLVM);
    }
    // The target directory of this checkout is none of its business.
    cargo.env_remove("CARGO_TARGET_DIR");
    let status = cargo.status().context("cargo install bpf-linker")?;
    ensure!(status.success(), "cargo install bpf-linker: {status}");
    Ok(())
}
