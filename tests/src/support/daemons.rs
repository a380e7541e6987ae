//! The command lines of Naru's daemons, as docs/ARCHITECTURE.md lists their flags.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::addresses::{self, CONTROL1, Families, OUTSIDE};
use super::cgroup::CgroupTree;
use super::containerd::Containerd;
use super::layout::{Layout, node_name};
use super::routing::Routing;
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
pub fn control(program: &Path, layout: &Layout, families: Families) -> Vec<OsString> {
    let mut line = words(program, &["serve", "--data-dir"]);
    line.push(control_data(layout).into());
    line.extend([
        "--listen".into(),
        everywhere(families).to_string().into(),
        "--advertise-address".into(),
        families.first(CONTROL1).to_string().into(),
    ]);
    // The front door's names, for clients on the host.
    for san in ["127.0.0.1", "localhost"] {
        line.extend(["--san".into(), san.into()]);
    }
    for (flag, value) in [
        ("--pod-cidr", families.pod_cidr()),
        ("--service-cidr", families.service_cidr()),
        ("--node-port-range", "30000-32767".to_owned()),
    ] {
        line.extend([flag.into(), value.into()]);
    }
    line
}

/// Every address of the control plane's preferred family.
fn everywhere(families: Families) -> SocketAddr {
    let any: IpAddr = match families {
        Families::Both => Ipv4Addr::UNSPECIFIED.into(),
        Families::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    (any, API_PORT).into()
}

/// The command that runs node `k`.
pub fn node(
    program: &Path,
    layout: &Layout,
    cgroups: &CgroupTree,
    (families, routing): (Families, Routing),
    k: u8,
) -> Vec<OsString> {
    let role = node_name(k);
    let dir = layout.member(&role);
    let mut line = words(program, &["--node-name", &role]);
    let mut flag = |name: &str, value: OsString| line.extend([name.into(), value]);
    flag("--credentials", dir.join("credentials").into());
    let own: Vec<_> = families.of(addresses::node(k));
    let own: Vec<_> = own.iter().map(IpAddr::to_string).collect();
    flag("--node-ip", own.join(",").into());
    flag("--cluster-cidr", families.pod_cidr().into());
    flag("--service-cidr", families.service_cidr().into());
    flag("--uplink", "eth0".into());
    flag("--routing", routing.to_string().into());
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
    let upstream = SocketAddr::from((families.first(OUTSIDE), 53));
    flag("--upstream-dns", upstream.to_string().into());
    line
}

/// Signs the credentials of node `k`.
///
/// # Errors
/// When `naru-control` fails.
pub fn sign_node(program: &Path, layout: &Layout, families: Families, k: u8) -> Result<()> {
    let role = node_name(k);
    let server = SocketAddr::from((families.first(CONTROL1), API_PORT));
    let server = format!("https://{server}");
    let mut command = signer(program, "node-credentials", layout, &server);
    command.args([
        "--node",
        &role,
        "--address",
        &families.first(addresses::node(k)).to_string(),
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
        let line = control(Path::new("/bin/naru-control"), &layout, Families::Both);
        let at = line.iter().position(|w| w == "--san").unwrap();
        assert_eq!(line[at + 1], "127.0.0.1");
        assert!(line.contains(&"/t/dev/control1/data".into()));
    }
}
