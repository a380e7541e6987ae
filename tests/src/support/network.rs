//! Namespaces and links of a cluster: a bridge in the fabric namespace, one veth to each member.
//!
//! Both ends of a veth are born in their namespaces, so no link ever appears on the machine itself.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use anyhow::Result;

use super::addresses::{self, Families, PREFIX_LEN, PREFIX_LEN_V6};
use super::layout::{Layout, node_name};
use super::run;

/// One namespace on the fabric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `control1`, `node1`, `outside`; also the name of its port on the bridge.
    pub role: String,
    /// Its address on `eth0`.
    pub address: Ipv4Addr,
}

/// The namespaces of a cluster with `nodes` nodes, without the fabric's own.
pub fn members(nodes: u8) -> Vec<Member> {
    let member = |role: &str, address| Member {
        role: role.to_owned(),
        address,
    };
    let fixed = [
        member("outside", addresses::OUTSIDE),
        member("control1", addresses::CONTROL1),
    ];
    let nodes = (1..=nodes).map(|k| member(&node_name(k), addresses::node(k)));
    fixed.into_iter().chain(nodes).collect()
}

/// Makes every namespace and link.
///
/// # Errors
/// When `ip` fails, for example because a name exists.
pub fn create(layout: &Layout, nodes: u8, families: Families) -> Result<()> {
    let members = members(nodes);
    for role in members.iter().map(|m| m.role.as_str()).chain(["fabric"]) {
        run::run("ip", &["netns", "add", &layout.namespace(role)])?;
    }
    let fabric = layout.namespace("fabric");
    for member in &members {
        enter_shell(layout, &member.role, &kernel_settings())?;
    }
    enter_shell(layout, "fabric", &bridge_settings())?;
    batch(&fabric, &bridge())?;
    for member in &members {
        batch(
            &fabric,
            &port(&layout.namespace(&member.role), &fabric, &member.role),
        )?;
        batch(&layout.namespace(&member.role), &inside(member, families))?;
    }
    Ok(())
}

/// Names of the namespaces of this cluster that exist.
///
/// # Errors
/// When `ip` fails.
pub fn present(layout: &Layout) -> Result<Vec<String>> {
    let list = run::run("ip", &["netns", "list"])?;
    let prefix = format!("{}-", layout.prefix());
    let names = list.lines().filter_map(|line| line.split(' ').next());
    Ok(names
        .filter(|n| n.starts_with(&prefix))
        .map(str::to_owned)
        .collect())
}

/// Removes every namespace of this cluster, and with it its links.
///
/// # Errors
/// When `ip` fails.
pub fn remove(layout: &Layout) -> Result<()> {
    for name in present(layout)? {
        run::run("ip", &["netns", "del", &name])?;
    }
    Ok(())
}

fn bridge() -> Vec<String> {
    vec![
        "link set lo up".into(),
        "link add br0 type bridge".into(),
        "link set br0 up".into(),
    ]
}

fn port(namespace: &str, fabric: &str, port: &str) -> Vec<String> {
    vec![
        format!("link add eth0 netns {namespace} type veth peer name {port} netns {fabric}"),
        format!("link set {port} master br0 up"),
    ]
}

fn inside(member: &Member, families: Families) -> Vec<String> {
    let mut commands = vec!["link set lo up".to_owned()];
    commands.extend(families.of(member.address).iter().map(|own| match own {
        IpAddr::V4(own) => format!("addr add {own}/{PREFIX_LEN} dev eth0"),
        IpAddr::V6(own) => format!("addr add {own}/{PREFIX_LEN_V6} dev eth0 nodad"),
    }));
    commands.push("link set eth0 up".to_owned());
    // `outside` stands for the rest of the world: it knows no pod network, so that an address that
    // should have been masqueraded gets no answer there.
    if member.role != "outside" {
        let ways = families.of(addresses::OUTSIDE);
        commands.extend(ways.iter().map(|way| match way {
            IpAddr::V4(way) => format!("route add default via {way}"),
            IpAddr::V6(way) => format!("route add ::/0 via {way}"),
        }));
    }
    commands
}

/// Reno, because bbr, which some machines default to, costs a factor of three on veth.
fn kernel_settings() -> String {
    "sysctl -qw net.ipv4.tcp_congestion_control=reno net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0"
        .to_owned()
}

/// The setting exists only where the br_netfilter module is loaded.
fn bridge_settings() -> String {
    "f=/proc/sys/net/bridge/bridge-nf-call-iptables; test ! -e $f || echo 0 >$f".to_owned()
}

fn batch(namespace: &str, commands: &[String]) -> Result<()> {
    let mut ip = Command::new("ip");
    ip.args(["-n", namespace, "-batch", "-"]);
    run::with_input(&mut ip, &(commands.join("\n") + "\n")).map(drop)
}

fn enter_shell(layout: &Layout, role: &str, script: &str) -> Result<()> {
    let net = format!("--net={}", layout.netns(role).display());
    run::run("nsenter", &[&net, "--", "sh", "-c", script]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_has_a_place_on_the_fabric() {
        let roles: Vec<_> = members(2).into_iter().map(|m| m.role).collect();
        assert_eq!(roles, ["outside", "control1", "node1", "node2"]);
    }

    #[test]
    fn the_outside_has_no_route_to_pods() {
        let [outside, node] = [&members(1)[0], &members(1)[2]];
        assert!(
            !inside(outside, Families::Both)
                .iter()
                .any(|c| c.contains("route"))
        );
        for to in ["default via 192.168.77.2", "::/0 via fd00:77::2"] {
            assert!(inside(node, Families::Both).contains(&format!("route add {to}")));
        }
        let alone = inside(node, Families::V6).join(" ");
        assert!(!alone.contains("192.168") && alone.contains("fd00:77::101"));
    }
}
