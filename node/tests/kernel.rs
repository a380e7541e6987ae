//! The daemon on a kernel that lacks what it needs: it ends at once and names what and since when; or
//! what it can do without: it says so and works.
//!
//! An old kernel is played in two ways: by its version, which a mount over
//! `/proc/sys/kernel/osrelease` shows to this process alone, and by `bpf(2)` as it answers when it
//! does not know what it is asked for, which a seccomp filter answers in its place.
#![allow(
    unsafe_code,
    reason = "seccomp has no safe interface among our dependencies"
)]

mod support;

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

use aya::programs::{SchedClassifier, TcAttachType};
use nix::libc;
use serde_json::json;
use support::pod::Pod;
use support::{Fixture, missing, netns, plugin};

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

/// What tc programs are attached by on a kernel without tcx links.
const FILTERS: &str = "no tcx (Linux 6.6): programs are attached by clsact filters";
/// What a kernel without `CONFIG_INET_DIAG_DESTROY` costs.
const STAYS: &str = "no SOCK_DESTROY for UDP";

#[test]
fn what_a_kernel_lacks_is_told_and_the_network_works_without() {
    if let Some(missing) = missing() {
        eprintln!("SKIPPED: this test needs {missing}");
        return;
    }
    let plugin = plugin();
    let mut fixture = Fixture::new("kern");
    let node = |k: u8| {
        let address = json!({"type": "InternalIP", "address": format!("192.168.77.10{k}")});
        json!({"metadata": {"name": format!("node{k}")},
            "spec": {"podCIDR": format!("10.244.{}.0/24", k - 1)},
            "status": {"addresses": [address]}})
    };
    fixture.objects.put("nodes", [node(1), node(2)]);
    let spaces = ["shop", "naru-system", "kube-system"];
    let spaces = spaces.map(|name| json!({"metadata": {"name": name}}));
    fixture.objects.put("namespaces", spaces);
    let pod = |name: &str, k: u8| {
        json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
            "spec": {"nodeName": format!("node{k}"), "containers": [{"name": "main", "image": "none"}]},
            "status": {"phase": "Running"}})
    };
    fixture
        .objects
        .put("pods", [pod("a", 1), pod("b", 1), pod("c", 2)]);
    let [old, present] = fixture.nodes.as_mut_slice() else {
        panic!("two nodes")
    };
    old.start_after(&plugin, |daemon| {
        // SAFETY: as above.
        unsafe { daemon.pre_exec(|| refuse(libc::SYS_bpf, &[(0, BPF_PROG_QUERY)])) };
        // SAFETY: as above.
        unsafe { daemon.pre_exec(|| refuse(libc::SYS_socket, &[(0, NETLINK), (2, SOCK_DIAG)])) };
    });
    present.start(&plugin);
    let (old, present) = (&fixture.nodes[0], &fixture.nodes[1]);
    for lacking in [FILTERS, STAYS] {
        assert!(old.logged().contains(lacking), "{}", old.logged());
    }
    let degraded = |text: &str| present.logged().contains(text);
    assert_eq!(degraded(FILTERS), !has_tcx(), "{}", present.logged());
    let mut filters = old.command("tc");
    filters.args(["filter", "show", "dev", "eth0", "ingress"]);
    assert!(netns::run(&mut filters).contains("from_network"));
    let pods = [("a", old), ("b", old), ("c", present)];
    let [a, b, c] = pods.map(|(name, node)| Pod::add(&plugin, node, "kern", name));
    a.serve(8080);
    for (client, node) in [(&b, old), (&c, present)] {
        let asked = client.ask(node, &a.address, 8080);
        assert_eq!(asked.as_deref(), Some("a"), "from {}", client.name);
    }
}

/// Whether this kernel has tcx links.
fn has_tcx() -> bool {
    SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok()
}

/// A command of `bpf(2)` (linux/bpf.h).
const BPF_PROG_QUERY: u32 = 16;
/// `AF_NETLINK`, and its protocol that tells of sockets and ends them.
const NETLINK: u32 = libc::AF_NETLINK as u32;
const SOCK_DIAG: u32 = libc::NETLINK_SOCK_DIAG as u32;

/// From now on `bpf(2)` is `EINVAL` in this process, whatever it is asked.
fn refuse_bpf() -> std::io::Result<()> {
    refuse(libc::SYS_bpf, &[])
}

/// From now on a system call is `EINVAL` in this process if the arguments at these places have these
/// values.
fn refuse(call: libc::c_long, arguments: &[(u32, u32)]) -> std::io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const LONGEST: usize = 16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // No allocation: this runs between fork and exec.
    let mut steps = [step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW); LONGEST];
    let mut len = 0;
    // Of `struct seccomp_data` (linux/seccomp.h) the number, then the lower halves of arguments.
    let arguments = arguments
        .iter()
        .map(|(place, value)| (16 + place * 8, *value));
    let compared = [(0, call as u32)].into_iter().chain(arguments);
    for (offset, value) in compared {
        // What differs goes on behind the last comparison's step.
        steps[len] = step(LOAD, 0, 0, offset);
        steps[len + 1] = step(JUMP_EQUAL, 0, 0, value);
        len += 2;
    }
    for at in (1..len).step_by(2) {
        steps[at].jf = (len - at) as u8;
    }
    let refusal = libc::SECCOMP_RET_ERRNO | libc::EINVAL.cast_unsigned();
    steps[len] = step(RETURN, 0, 0, refusal);
    // The next one allows.
    let program = libc::sock_fprog {
        len: (len + 2) as u16,
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
