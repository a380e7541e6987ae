//! The command lines of Naru's daemons, as docs/ARCHITECTURE.md lists their flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::addresses::{self, CONTROL1, OUTSIDE, POD_CIDR, SERVICE_CIDR};
use super::cgroup::CgroupTree;
use super::containerd::Containerd;
use super::layout::{Layout, node_name};
use super::run;

/// Port of the API server.
pub const API_PORT: u16 = 6443;

/// Name of the node daemon's process on node `k`.
pub fn node_process(k: u8) -> String {
    format!("naru-node@node{k}")
}

/// Name of containerd's process on node `k`.
pub fn containerd_process(k: u8) -> String {
    format!("containerd@node{k}")
}

/// Name of the control plane's process.
pub const CONTROL_PROCESS: &str = "naru-control@control1";

/// Where the control plane keeps its state.
pub fn control_data(layout: &Layout) -> PathBuf {
    layout.member("control1").join("data")
}

/// The command that serves the API.
pub fn control(program: &Path, layout: &Layout) -> Vec<OsString> {
    let mut line = words(program, &["serve", "--data-dir"]);
    line.push(control_data(layout).into());
    line.extend([
        "--listen".into(),
        format!("0.0.0.0:{API_PORT}").into(),
        "--advertise-address".into(),
        CONTROL1.to_string().into(),
    ]);
    // The front door's names, for clients on the host.
    for san in ["127.0.0.1", "localhost"] {
        line.extend(["--san".into(), san.into()]);
    }
    for (flag, value) in [
        ("--pod-cidr", POD_CIDR),
        ("--service-cidr", SERVICE_CIDR),
        ("--node-port-range", "30000-32767"),
    ] {
        line.extend([flag.into(), value.into()]);
    }
    line
}

/// The command that runs node `k`.
pub fn node(program: &Path, layout: &Layout, cgroups: &CgroupTree, k: u8) -> Vec<OsString> {
    let role = node_name(k);
    let dir = layout.member(&role);
    let mut line = words(program, &["--node-name", &role]);
    let mut flag = |name: &str, value: OsString| line.extend([name.into(), value]);
    flag("--credentials", dir.join("credentials").into());
    let (v4, v6) = (addresses::node(k), addresses::node_v6(k));
    flag("--node-ip", format!("{v4},{v6}").into());
    flag("--cluster-cidr", POD_CIDR.into());
    flag("--service-cidr", SERVICE_CIDR.into());
    flag("--uplink", "eth0".into());
    flag(
        "--cri-socket",
        Containerd::of(layout, &role).socket().into(),
    );
    flag("--state-dir", dir.join("state").into());
    flag("--run-dir", dir.join("run").into());
    flag("--bpffs", layout.bpffs().join(&role).into());
    flag("--cgroup", cgroups.dir(&role).into());
    flag(
        "--cgroup-parent",
        cgroups.runtime_name(&format!("{role}/pods")).into(),
    );
    flag("--upstream-dns", format!("{OUTSIDE}:53").into());
    line
}

/// Signs the credentials of node `k`.
///
/// # Errors
/// When `naru-control` fails.
pub fn sign_node(program: &Path, layout: &Layout, k: u8) -> Result<()> {
    let role = node_name(k);
    let mut command = signer(
        program,
        "node-credentials",
        layout,
        &format!("https://{CONTROL1}:{API_PORT}"),
    );
    command.args([
        "--node",
        &role,
        "--address",
        &addresses::node(k).to_string(),
        "--out",
    ]);
    command.arg(layout.member(&role).join("credentials"));
    run::checked(&mut command).map(drop)
}

/// Signs the administrator's kubeconfig for use from the host, through the front door at `port`.
///
/// # Errors
/// When `naru-control` fails.
pub fn sign_admin(program: &Path, layout: &Layout, port: u16) -> Result<()> {
    let mut command = signer(
        program,
        "kubeconfig",
        layout,
        &format!("https://127.0.0.1:{port}"),
    );
    command
        .args(["--user", "admin", "--group", "system:masters", "--out"])
        .arg(layout.kubeconfig());
    run::checked(&mut command).map(drop)
}

fn signer(program: &Path, verb: &str, layout: &Layout, server: &str) -> Command {
    let mut command = Command::new(program);
    command
        .arg(verb)
        .arg("--data-dir")
        .arg(control_data(layout))
        .args(["--server", server]);
    command
}

fn words(program: &Path, args: &[&str]) -> Vec<OsString> {
    std::iter::once(program.into())
        .chain(args.iter().map(OsString::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_plane_is_reachable_through_the_front_door() {
        let layout = Layout::new("dev", Path::new("/t")).unwrap();
        let line = control(Path::new("/bin/naru-control"), &layout);
        let at = line.iter().position(|w| w == "--san").unwrap();
        assert_eq!(line[at + 1], "127.0.0.1");
        assert!(line.contains(&"/t/dev/control1/data".into()));
    }
}
