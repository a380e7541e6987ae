//! Keeps the node's own sockets off the ports under which flows of pods travel: two of one node to one
//! destination from one port could not be told apart.
//!
//! The kernel gives such ports to no socket that asks for none in particular, once they are reserved
//! (`ip_local_reserved_ports`). By its default range it would not do so anyway. Who asks for a certain
//! port gets it as ever.

use std::ops::RangeInclusive;

use super::netlink::NetError;
use super::sysctl;

const RESERVED: &str = "ipv4/ip_local_reserved_ports";
const GIVEN: &str = "ipv4/ip_local_port_range";
/// So many ports have to be left for the node's own sockets.
const LEAST_LEFT: usize = 4096;

type Ports = RangeInclusive<u16>;

/// Reserves ports, besides those that are reserved already. Where that would leave too few for the
/// node's own sockets, it says so in the log and leaves things as they are.
///
/// # Errors
/// When a parameter cannot be read or written.
pub fn reserve_ports(ports: &[Ports]) -> Result<(), NetError> {
    let (reserved, given) = (sysctl::get(RESERVED)?, sysctl::get(GIVEN)?);
    match plan(&reserved, &given, ports) {
        Plan::Done => Ok(()),
        Plan::Reserve(all) => sysctl::set(RESERVED, &all),
        Plan::TooFew(left) => {
            tracing::warn!(
                left,
                "sockets of the node have to share ports with flows of pods: the range \
                 {given:?} of net.ipv4.ip_local_port_range has too few others"
            );
            Ok(())
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Done,
    /// What to write.
    Reserve(String),
    /// Nothing may be reserved: this is what would be left.
    TooFew(usize),
}

/// `reserved` and `given` are what the kernel says.
fn plan(reserved: &str, given: &str, wanted: &[Ports]) -> Plan {
    let present: Vec<Ports> = reserved.trim().split(',').filter_map(ports).collect();
    let holds = |all: &[Ports], port: &u16| all.iter().any(|ports| ports.contains(port));
    if wanted
        .iter()
        .cloned()
        .flatten()
        .all(|port| holds(&present, &port))
    {
        return Plan::Done;
    }
    let given = ports(&given.split_whitespace().collect::<Vec<_>>().join("-"));
    let is_left = |port: &u16| !holds(&present, port) && !holds(wanted, port);
    let left = given.into_iter().flatten().filter(is_left).count();
    if left < LEAST_LEFT {
        return Plan::TooFew(left);
    }
    let all = present.iter().chain(wanted);
    let all = all.map(|ports| format!("{}-{}", ports.start(), ports.end()));
    Plan::Reserve(all.collect::<Vec<_>>().join(","))
}

/// `FIRST-LAST`, or one port.
fn ports(text: &str) -> Option<Ports> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use naru_core::names::defaults::SNAT_PORTS;
    use naru_ebpf_common::{NodeConfig, Port};

    use super::*;

    const USUAL: &str = "32768\t60999";
    const OURS: &str = "11000-29999,61000-65535";

    #[test]
    fn what_is_reserved_is_what_the_programs_choose_from() {
        let config = NodeConfig {
            snat_port_first: NodeConfig::SNAT_PORT_FIRST,
            snat_port_last: NodeConfig::SNAT_PORT_LAST,
            snat_low_first: NodeConfig::SNAT_LOW_FIRST,
            snat_low_ports: NodeConfig::SNAT_LOW_PORTS,
            ..NodeConfig::default()
        };
        let is_named = |port: u16| SNAT_PORTS.iter().any(|ports| ports.contains(&port));
        let differs = |port: &u16| is_named(*port) != config.is_snat_port(Port::new(*port));
        assert_eq!((0..=u16::MAX).find(differs), None);
    }

    #[test]
    fn ports_are_reserved_once_and_others_stay_so() {
        let ours = Plan::Reserve(OURS.to_owned());
        assert_eq!(plan("\n", USUAL, &SNAT_PORTS), ours);
        assert_eq!(plan(OURS, USUAL, &SNAT_PORTS), Plan::Done);
        assert_eq!(plan("8080,11000-65535\n", USUAL, &SNAT_PORTS), Plan::Done);
        let all = Plan::Reserve(format!("8080-8080,9000-9009,{OURS}"));
        assert_eq!(plan("8080,9000-9009\n", USUAL, &SNAT_PORTS), all);
    }

    #[test]
    fn the_node_keeps_ports_for_itself() {
        let wide = plan("", "1024\t65535", &SNAT_PORTS);
        assert_eq!(wide, Plan::Reserve(OURS.to_owned()));
        assert_eq!(plan("", "10000\t20000", &SNAT_PORTS), Plan::TooFew(1000));
        assert_eq!(
            plan("10000-10499", "10000\t20000", &SNAT_PORTS),
            Plan::TooFew(500)
        );
    }

    #[test]
    fn the_kernel_takes_it() {
        use nix::sched::{CloneFlags, unshare};
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("SKIPPED: no network namespace: {error}");
            return;
        }
        sysctl::set(RESERVED, "8080").expect("one port");
        for _ in 0..2 {
            reserve_ports(&SNAT_PORTS).expect("reserved");
            let reserved = sysctl::get(RESERVED).expect("a list");
            assert_eq!(reserved.trim(), format!("8080,{OURS}"));
        }
    }
}
