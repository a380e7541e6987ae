//! The cases: packets, and what is compared with what.

use std::collections::HashSet;
use std::rc::Rc;

use anyhow::Result;
use naru_ebpf_common::config::{DIRECT_TCP, OWN_NETWORK};
use naru_ebpf_common::protocol::{ACK, SYN};
use naru_ebpf_common::{Addr, names};

use crate::case::{Before, Case, FLOWS, Packets};
use crate::cast::{self, CLIENTS, Cast, PORT, V4, V6};
use crate::frames::{self, Ends, ends};
use crate::node::{DROP, Ground, Node, PASS, REDIRECT, SENT, TO_STACK};
use crate::{policies, services, v4};

/// What a frame takes that is no IP packet and passes at once: of many runs, and of single ones.
const NOTHING: [&str; 2] = ["no_packet", "no_packet_once"];
/// The same in the uplink's driver.
const NOTHING_ON_THE_WIRE: [&str; 2] = ["no_packet_xdp", "no_packet_once_xdp"];

/// The cases that say what a program takes for nothing, of many runs and of single ones.
pub(crate) fn nothing(program: &str) -> [&'static str; 2] {
    if program == names::FROM_WIRE {
        NOTHING_ON_THE_WIRE
    } else {
        NOTHING
    }
}
/// The client on another node that every policy set names first.
const NEIGHBOUR: Addr = cast::client(0);
/// The first of the ports that flows of one client have.
const FIRST_PORT: u16 = 40_000;

/// Every case, with the nodes that they are about: one for each number of Services.
///
/// # Errors
/// When a data path cannot be opened or filled.
pub(crate) fn all(ground: &Ground, counts: &[u32]) -> Result<Vec<Case>> {
    let mut nodes = Vec::new();
    for count in counts.iter().copied() {
        let node = Node::open(ground, &format!("services-{count}"))?;
        let pods = services::pods();
        cast::enter(&node.datapath, (0, ground.uplink), &pods)?;
        services::enter(&node.datapath, count, &pods)?;
        nodes.push(Rc::new(node));
    }
    let first = &nodes[0];
    policies::enter(&first.datapath)?;
    let mut cases = Vec::from(no_packet(first, names::FROM_NETWORK, PASS));
    cases.extend(no_packet(first, names::FROM_WIRE, TO_STACK));
    for (cast, family) in [(V4, "ipv4"), (V6, "ipv6")] {
        cases.extend(known(first, cast, family));
    }
    cases.push(known_once(first));
    cases.extend(new(first));
    cases.extend(with_policies(first));
    for (node, count) in nodes.iter().zip(counts) {
        cases.extend(balanced(node, *count));
    }
    for (way, flags) in [("translated", 0), ("handed_on", DIRECT_TCP)] {
        let node = Node::open(ground, way)?;
        cast::enter(&node.datapath, (flags, ground.uplink), &[])?;
        services::enter(&node.datapath, 1, &services::elsewhere())?;
        cases.extend(elsewhere(&Rc::new(node), way));
    }
    let node = Node::open(ground, "own")?;
    cast::enter(&node.datapath, (OWN_NETWORK, ground.uplink), &[])?;
    services::enter(&node.datapath, 1, &[v4::NODE])?;
    cases.extend(own_network(&Rc::new(node)));
    Ok(cases)
}

/// The cases whose name contains `only`, and all that these are compared with.
pub(crate) fn chosen<'a>(cases: &'a [Case], only: Option<&str>) -> Vec<&'a Case> {
    let names = cases.iter().map(|case| case.name.as_str());
    let mut wanted: HashSet<&str> = names
        .filter(|name| only.is_none_or(|only| name.contains(only)))
        .collect();
    // What a case is compared with comes before it.
    for case in cases.iter().rev() {
        if wanted.contains(case.name.as_str()) {
            wanted.extend(case.base.as_deref());
        }
    }
    let programs = cases
        .iter()
        .filter(|case| wanted.contains(case.name.as_str()));
    let nothing: Vec<_> = programs.flat_map(|case| nothing(case.program)).collect();
    wanted.extend(nothing);
    let is_wanted = |case: &&Case| wanted.contains(case.name.as_str());
    cases.iter().filter(is_wanted).collect()
}

/// A frame that carries no IP packet (an ARP request for nobody), which a program hands to the stack.
fn no_packet(node: &Rc<Node>, program: &'static str, action: u32) -> [Case; 2] {
    let mut frame = vec![0; 60];
    frame[12..14].copy_from_slice(&[0x08, 0x06]);
    let [many, once] = nothing(program);
    let ways = [
        (many, Packets::Same(frame.clone())),
        (once, Packets::Each(vec![frame; FLOWS])),
    ];
    ways.map(|(name, packets)| Case {
        name: name.to_owned(),
        base: None,
        node: Rc::clone(node),
        program,
        before: Before::Nothing,
        packets,
        action,
    })
}

/// A segment of a connection that is established, to a pod of the node.
fn known(node: &Rc<Node>, cast: Cast, family: &str) -> [Case; 3] {
    let hooks = [
        (
            names::FROM_POD,
            cast.web,
            cast.api,
            names::FROM_POD,
            REDIRECT,
        ),
        (
            names::FROM_NETWORK,
            cast.remote,
            cast.web,
            names::FROM_POD,
            REDIRECT,
        ),
        (names::TO_POD, cast.ingress, cast.web, names::FROM_POD, PASS),
    ];
    hooks.map(|(program, from, to, answers, action)| {
        let flow = ends(from, FIRST_PORT, to, PORT);
        Case {
            name: format!("{program}_known_{family}"),
            base: (family != "ipv4").then(|| format!("{program}_known_ipv4")),
            node: Rc::clone(node),
            program,
            before: Before::Open(vec![flow], answers),
            packets: Packets::Same(frames::tcp(flow, ACK)),
            action,
        }
    })
}

/// The same in single runs: how far these are from many.
fn known_once(node: &Rc<Node>) -> Case {
    let flow = ends(V4.remote, FIRST_PORT, V4.web, PORT);
    Case {
        name: format!("{}_known_once_ipv4", names::FROM_NETWORK),
        base: Some(format!("{}_known_ipv4", names::FROM_NETWORK)),
        node: Rc::clone(node),
        program: names::FROM_NETWORK,
        before: open(&[flow]),
        packets: Packets::Each(going_on(&[flow; FLOWS])),
        action: REDIRECT,
    }
}

/// The first segment of a connection to a pod of the node that no policy selects: from one client, and
/// from a thousand.
fn new(node: &Rc<Node>) -> [Case; 3] {
    let ways = [
        (names::FROM_POD, "new", from_ports(V4.web, (V4.api, PORT))),
        (
            names::FROM_NETWORK,
            "new",
            from_ports(NEIGHBOUR, (V4.web, PORT)),
        ),
        (names::FROM_NETWORK, "new_clients", from_clients(V4.web)),
    ];
    ways.map(|(program, way, flows)| Case {
        name: format!("{program}_{way}_ipv4"),
        base: None,
        node: Rc::clone(node),
        program,
        before: Before::Nothing,
        packets: Packets::Each(opening(&flows)),
        action: REDIRECT,
    })
}

/// The same to pods that policies select, where the entry that decides is found at once, or by the last
/// lookup but one; and a datagram, for which there is none. One policy is compared with none.
fn with_policies(node: &Rc<Node>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (place, count) in policies::COUNTS.into_iter().enumerate() {
        let pod = policies::pod(place);
        let flows = from_ports(NEIGHBOUR, (pod, PORT));
        let exact = from_ports(NEIGHBOUR, (pod, policies::EXACT));
        let datagrams = flows.iter().map(|flow| frames::udp(*flow)).collect();
        let ways = [
            ("exact", "new", opening(&exact), REDIRECT),
            ("any", "new", opening(&flows), REDIRECT),
            (
                "any_clients",
                "new_clients",
                opening(&from_clients(pod)),
                REDIRECT,
            ),
            ("denied", "new", datagrams, DROP),
        ];
        let case = |(way, without, frames, action)| Case {
            name: format!("policies_{count}_{way}"),
            base: Some(match policies::COUNTS[0] {
                one if one != count => format!("policies_{one}_{way}"),
                _ => format!("{}_{without}_ipv4", names::FROM_NETWORK),
            }),
            node: Rc::clone(node),
            program: names::FROM_NETWORK,
            before: Before::Nothing,
            packets: Packets::Each(frames),
            action,
        };
        cases.extend(ways.map(case));
    }
    cases
}

/// From outside to a load balancer's address with a lookup table, where so many Services are known: the
/// first segments of connections, and later ones of these and of a single one.
fn balanced(node: &Rc<Node>, count: u32) -> [Case; 3] {
    let flows = from_ports(v4::OUTSIDE, (services::BALANCER, PORT));
    let one = vec![flows[0]; FLOWS];
    let ways = [
        ("new", Before::Nothing, opening(&flows)),
        ("known_flow", open(&one[..1]), going_on(&one)),
        ("known", open(&flows), going_on(&flows)),
    ];
    ways.map(|(way, before, frames)| Case {
        name: format!("balancer_{way}_{count}_services"),
        base: (count > 1).then(|| format!("balancer_{way}_1_services")),
        node: Rc::clone(node),
        program: names::FROM_NETWORK,
        before,
        packets: Packets::Each(frames),
        action: REDIRECT,
    })
}

/// From outside to a load balancer's address whose pods are on another node: later segments of a
/// thousand flows and of one, sent on by the stack and by the uplink's driver.
fn elsewhere(node: &Rc<Node>, way: &str) -> Vec<Case> {
    let flows = from_ports(v4::OUTSIDE, (services::BALANCER, PORT));
    let hooks = [
        (names::FROM_NETWORK, "tc", REDIRECT),
        (names::FROM_WIRE, "xdp", SENT),
    ];
    let many = [("flow", vec![flows[0]; FLOWS]), ("flows", flows)];
    let case = |(flows, all): &(&str, Vec<Ends>), (program, by, action)| Case {
        name: format!("elsewhere_{way}_{flows}_{by}"),
        base: (by != "tc").then(|| format!("elsewhere_{way}_{flows}_tc")),
        node: Rc::clone(node),
        program,
        before: Before::Opened(all.clone()),
        packets: Packets::Each(going_on(all)),
        action,
    };
    let cases = many
        .iter()
        .flat_map(|many| hooks.map(|hook| case(many, hook)));
    cases.collect()
}

/// What a node sends of its own while a load balancer leads to one of its programs: a segment of some
/// other connection, and answers of a thousand flows from outside.
fn own_network(node: &Rc<Node>) -> [Case; 2] {
    let asked = from_ports(v4::OUTSIDE, (services::BALANCER, PORT));
    let met = from_ports(v4::OUTSIDE, (v4::NODE, PORT));
    let answers: Vec<_> = met.iter().map(|flow| flow.back()).collect();
    let other = frames::tcp(ends(v4::NODE, FIRST_PORT, v4::OUTSIDE, PORT), ACK);
    let ways = [
        ("other", Packets::Same(other)),
        ("answer", Packets::Each(going_on(&answers))),
    ];
    ways.map(|(way, packets)| Case {
        name: format!("{}_{way}_ipv4", names::TO_NETWORK),
        base: None,
        node: Rc::clone(node),
        program: names::TO_NETWORK,
        before: Before::Opened(asked.clone()),
        packets,
        action: PASS,
    })
}

/// Answered by a pod of the node.
fn open(flows: &[Ends]) -> Before {
    Before::Open(flows.to_vec(), names::FROM_POD)
}

/// Flows of one client.
fn from_ports(from: Addr, (to, port): (Addr, u16)) -> Vec<Ends> {
    let ports = FIRST_PORT..FIRST_PORT + FLOWS as u16;
    ports.map(|own| ends(from, own, to, port)).collect()
}

/// A flow of each client on another node.
fn from_clients(to: Addr) -> Vec<Ends> {
    let clients = 0..CLIENTS;
    let flow = |n| ends(cast::client(n), FIRST_PORT, to, PORT);
    clients.map(flow).collect()
}

fn opening(flows: &[Ends]) -> Vec<Vec<u8>> {
    flows.iter().map(|flow| frames::tcp(*flow, SYN)).collect()
}

fn going_on(flows: &[Ends]) -> Vec<Vec<u8>> {
    flows.iter().map(|flow| frames::tcp(*flow, ACK)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Effort;
    use crate::rounds;

    /// Every case checks what the program says of each of its packets.
    #[test]
    fn every_packet_goes_the_way_that_its_case_is_about() {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIP eBPF programs are loaded by root");
            return;
        }
        let ground = Ground::prepare().expect("namespaces");
        let cases = all(&ground, &[1, 100]).expect("the cases");
        let chosen_all = chosen(&cases, None);
        assert_eq!(chosen_all.len(), cases.len());
        let lines = rounds::measure(&chosen_all, 1, Effort::LEAST).expect("every packet");
        assert_eq!(lines.len(), cases.len());
        for only in cases.iter().map(|case| case.name.as_str()) {
            let few = chosen(&cases, Some(only));
            let is_there = |name: &str| few.iter().any(|case| case.name == name);
            let mut bases = few.iter().filter_map(|case| case.base.as_deref());
            let mut nothing = few.iter().flat_map(|case| nothing(case.program));
            assert!(bases.all(is_there) && nothing.all(is_there), "{only}");
        }
        assert!(chosen(&cases, Some("of another benchmark")).is_empty());
    }
}
