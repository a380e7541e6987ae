//! The daemon on a kernel that lacks what it needs: it ends at once and names what and since when.
//!
//! An old kernel is played in two ways: by its version, which a mount over
//! `/proc/sys/kernel/osrelease` shows to this process alone, and by `bpf(2)` as it answers when it
//! does not know what it is asked for, which a seccomp filter answers in its place.
#![allow(
    unsafe_code,
    reason = "seccomp has no safe interface among our dependencies"
)]

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use nix::libc;

/// The daemon with the least that its command line asks for; it must not come to use it.
fn daemon(mut command: Command) -> Output {
    command
        .args(["--node-name", "old", "--node-ip", "192.0.2.1"])
        .args(["--credentials", "/nonexistent"])
        .stdin(Stdio::null())
        .output()
        .expect("the daemon starts")
}

fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("this machine cannot run naru-node"), "{text}");
    text
}

#[test]
fn a_kernel_that_is_too_old_is_named_with_the_version_that_is_needed() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: a mount namespace needs root");
        return;
    }
    let release = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(release.path(), "4.19.0-27-amd64\n").unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    command.arg("mount --bind \"$0\" /proc/sys/kernel/osrelease && exec \"$@\"");
    command
        .arg(release.path())
        .arg(env!("CARGO_BIN_EXE_naru-node"));
    let text = complaint(&daemon(command));
    let wanted =
        "this kernel (4.19.0-27-amd64) lacks redirect to peers and neighbours (Linux 5.10)";
    assert!(text.contains(wanted), "{text}");
}

#[test]
fn every_feature_that_the_kernel_refuses_is_named() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_naru-node"));
    // SAFETY: `refuse_bpf` runs between fork and exec and makes two system calls; it allocates
    // nothing and takes no lock.
    unsafe { command.pre_exec(refuse_bpf) };
    let text = complaint(&daemon(command));
    for feature in [
        "the BPF ring buffer (Linux 5.8)",
        "BPF LPM tries (Linux 4.11)",
        "BPF LRU hash maps (Linux 4.10)",
        "tc programs (Linux 4.1)",
        "cgroup socket address programs (Linux 4.17)",
    ] {
        assert!(text.contains(feature), "no {feature:?} in {text}");
    }
}

/// From now on `bpf(2)` is `EINVAL` in this process, whatever it is asked.
fn refuse_bpf() -> std::io::Result<()> {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(JUMP_EQUAL, 0, 1, libc::SYS_bpf as u32),
        step(
            RETURN,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::EINVAL.cast_unsigned(),
        ),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: both calls read integers, and the second `program`, which lives until it returns.
    let outcome = unsafe {
        match libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) {
            0 => libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program),
            failed => failed,
        }
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}
