//! Where the objects are, and whether this kernel takes any.

use std::path::PathBuf;
use std::process::Command;

use naru_tests::support::layout::target_dir;

/// Where the objects are looked for if not in the target directory.
const OBJECTS: &str = "NARU_BPF_OBJECTS";

/// Reads the object of a program.
pub(crate) fn read(program: &str) -> Vec<u8> {
    let dir = std::env::var_os(OBJECTS).map_or_else(|| target_dir().join("bpf"), PathBuf::from);
    let path = dir.join(format!("{program}.o"));
    std::fs::read(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; `cargo xtask bpf` builds it", path.display()))
}

/// Why no program can be loaded here, if so.
pub(crate) fn unavailable() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("eBPF programs are loaded by root".into());
    }
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.contains("\tbpf\n") {
        let release = Command::new("uname").arg("-r").output();
        let release = release.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
        return Some(format!(
            "kernel {} is built without eBPF",
            release.unwrap_or_default()
        ));
    }
    None
}
