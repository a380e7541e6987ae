//! Embeds the eBPF objects that `cargo xtask bpf` wrote to `bpf/` in the target directory.
//!
//! A tree without them still compiles, so that a check of the daemon needs no eBPF toolchain; the
//! daemon says at run time that they are missing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use naru_ebpf_common::names;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let objects = target_dir(&out).join("bpf");
    println!("cargo::rerun-if-changed={}", objects.display());
    let mut table = String::from("&[\n");
    for name in names::programs() {
        let path = objects.join(name).with_extension("o");
        println!("cargo::rerun-if-changed={}", path.display());
        if path.exists() {
            let copy = out.join(name).with_extension("o");
            fs::copy(&path, &copy).expect("the object can be copied");
            // aya reads objects in place and wants them aligned.
            writeln!(
                table,
                "    ({name:?}, aya::include_bytes_aligned!({copy:?})),"
            )
            .expect("a string");
        }
    }
    table.push(']');
    fs::write(out.join("objects.rs"), table).expect("OUT_DIR is writable");
}

/// The target directory: the one that cargo tagged as a cache.
fn target_dir(out: &Path) -> PathBuf {
    let tagged = out
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").exists());
    tagged.unwrap_or(out).to_path_buf()
}
