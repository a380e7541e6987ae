//! Answers one question from the zone, after the Kubernetes DNS specification 1.1.0. Pure.
//!
//! Names outside the cluster's domain, and addresses that no Service has, are somebody else's:
//! the caller asks upstream.

use std::net::IpAddr;

use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HINFO, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::plan::dashed;
use crate::zone::{Endpoint, Port, Service, Zone, lower_labels};

/// Time to live of every answer about the cluster, in seconds. Short, because a client that keeps
/// an endpoint of a headless Service for longer talks to a pod that is gone.
pub const TTL: u32 = 5;

/// ExternalName aliases inside the cluster are followed this often.
const MAX_ALIASES: usize = 8;

/// Version of the specification, answered at `dns-version`.
const SPECIFICATION: &str = "1.1.0";

/// The content of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Response code.
    pub code: ResponseCode,
    /// The answer comes from the zone, not from upstream.
    pub authoritative: bool,
    /// Upstream vouches for the data by DNSSEC.
    pub authentic: bool,
    /// Answer section.
    pub answers: Vec<Record>,
    /// Authority section.
    pub authorities: Vec<Record>,
    /// Additional section, without EDNS.
    pub additionals: Vec<Record>,
}

impl Answer {
    /// An answer from the zone without records.
    pub fn local(code: ResponseCode) -> Self {
        Self {
            authoritative: true,
            ..Self::remote(code)
        }
    }

    /// An answer that is not the zone's, without records.
    pub fn remote(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            authentic: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
        }
    }
}

/// What the zone says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The name is not the cluster's.
    Elsewhere,
    /// The whole answer.
    Done(Answer),
    /// The answer so far ends in an alias to a name outside the cluster.
    Follow {
        /// The aliases.
        so_far: Answer,
        /// Where the last one points.
        target: Name,
    },
}

/// What stands at a name.
enum Found<'z> {
    Missing,
    /// Nothing here, but something below.
    Empty,
    Apex,
    Version,
    Addresses(Vec<IpAddr>),
    Services(Vec<Target>),
    Alias(&'z Name),
}

/// One SRV record and the addresses behind its target.
struct Target {
    port: u16,
    name: Name,
    addresses: Vec<IpAddr>,
}

/// Answers a question of class IN.
pub fn answer(zone: &Zone, query: &Query) -> Outcome {
    let labels = lower_labels(query.name());
    if let Some(front) = zone.domain.strip(&labels) {
        return in_domain(zone, query, front);
    }
    match reverse_names(zone, query.name(), &labels) {
        Some(names) => Outcome::Done(reverse(zone, query, names)),
        None => Outcome::Elsewhere,
    }
}

fn in_domain(zone: &Zone, query: &Query, front: &[Box<str>]) -> Outcome {
    if matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
        return Outcome::Done(Answer::local(ResponseCode::Refused));
    }
    let mut answer = Answer::local(ResponseCode::NoError);
    let mut owner = query.name().clone();
    let mut found = find(zone, front);
    for _ in 0..MAX_ALIASES {
        let Found::Alias(target) = found else { break };
        let alias = RData::CNAME(CNAME(target.clone()));
        answer.answers.push(Record::from_rdata(owner, TTL, alias));
        if query.query_type() == RecordType::CNAME {
            return Outcome::Done(answer);
        }
        owner = target.clone();
        let labels = lower_labels(target);
        found = match zone.domain.strip(&labels) {
            Some(front) => find(zone, front),
            None => {
                return Outcome::Follow {
                    so_far: answer,
                    target: owner,
                };
            }
        };
    }
    fill(zone, query.query_type(), &owner, found, &mut answer);
    Outcome::Done(answer)
}

/// What stands at the labels before the domain.
fn find<'z>(zone: &'z Zone, front: &[Box<str>]) -> Found<'z> {
    let labels: Vec<&str> = front.iter().map(AsRef::as_ref).collect();
    match labels.as_slice() {
        [] => Found::Apex,
        ["dns-version"] => Found::Version,
        ["ns", "dns"] => Found::Addresses(vec![zone.server]),
        ["svc" | "pod" | "dns"] => Found::Empty,
        [namespace, "svc" | "pod"] if zone.has_namespace(namespace) => Found::Empty,
        [pod, namespace, "pod"] => find_pod(zone, namespace, pod),
        [below @ .., name, namespace, "svc"] => match zone.service(namespace, name) {
            Some(service) => find_service(zone, service, (name, namespace), below),
            None => Found::Missing,
        },
        _ => Found::Missing,
    }
}

/// A pod by its address: `10-1-2-3.NAMESPACE.pod`, only where such a pod exists.
fn find_pod<'z>(zone: &Zone, namespace: &str, label: &str) -> Found<'z> {
    let v4 = label.replace('-', ".").parse().map(IpAddr::V4).ok();
    let address = v4.or_else(|| label.replace('-', ":").parse().map(IpAddr::V6).ok());
    match address {
        Some(address) if zone.has_pod(namespace, address) => Found::Addresses(vec![address]),
        _ => Found::Missing,
    }
}

/// What stands at a Service (`below` is empty) or under it.
fn find_service<'z>(
    zone: &Zone,
    service: &'z Service,
    (name, namespace): (&str, &str),
    below: &[&str],
) -> Found<'z> {
    match (service, below) {
        (Service::External(target), []) => Found::Alias(target),
        (Service::External(_), _) => Found::Missing,
        (Service::Cluster { addresses, .. }, []) => Found::Addresses(addresses.clone()),
        (Service::Headless(endpoints), []) => at_endpoints(endpoints.iter()),
        (Service::Cluster { addresses, ports }, [.., protocol]) if protocol.starts_with('_') => {
            let target = zone.domain.child([name, namespace, "svc"]);
            at_ports(
                below,
                ports
                    .iter()
                    .map(|port| (port, target.clone(), addresses.clone())),
            )
        }
        (Service::Headless(endpoints), [.., protocol]) if protocol.starts_with('_') => {
            let of_endpoint = |endpoint: &'z Endpoint| {
                let target = zone
                    .domain
                    .child([&*endpoint.hostname, name, namespace, "svc"]);
                let port = |port| (port, target.clone(), vec![endpoint.address]);
                endpoint.ports.iter().map(port).collect::<Vec<_>>()
            };
            at_ports(below, endpoints.iter().flat_map(of_endpoint))
        }
        (Service::Headless(endpoints), [hostname]) => at_endpoints(
            endpoints
                .iter()
                .filter(|endpoint| is_named(endpoint, hostname)),
        ),
        _ => Found::Missing,
    }
}

fn is_named(endpoint: &Endpoint, label: &str) -> bool {
    *endpoint.hostname == *label || *dashed(endpoint.address) == *label
}

/// No ready endpoint means that the name does not exist (specification, 2.4.1).
fn at_endpoints<'z, 'e>(endpoints: impl Iterator<Item = &'e Endpoint>) -> Found<'z> {
    let addresses: Vec<IpAddr> = endpoints.map(|endpoint| endpoint.address).collect();
    match addresses.is_empty() {
        true => Found::Missing,
        false => Found::Addresses(addresses),
    }
}

/// `_port._protocol` under a Service; `_protocol` alone exists when some port has it.
fn at_ports<'z, 'p>(
    below: &[&str],
    ports: impl Iterator<Item = (&'p Port, Option<Name>, Vec<IpAddr>)>,
) -> Found<'z> {
    let (name, protocol) = match below {
        [protocol] => (None, protocol),
        [name, protocol] => match name.strip_prefix('_') {
            Some(name) => (Some(name), protocol),
            None => return Found::Missing,
        },
        _ => return Found::Missing,
    };
    let mut of_protocol = ports
        .filter(|(port, ..)| protocol[1..] == *port.protocol)
        .peekable();
    match (of_protocol.peek(), name) {
        (None, _) => Found::Missing,
        (Some(_), None) => Found::Empty,
        (Some(_), Some(name)) => at_targets(of_protocol.filter(|(port, ..)| *port.name == *name)),
    }
}

/// One target for each name and port: an endpoint with addresses of both families is one target.
fn at_targets<'z, 'p>(
    ports: impl Iterator<Item = (&'p Port, Option<Name>, Vec<IpAddr>)>,
) -> Found<'z> {
    let mut targets: Vec<Target> = Vec::new();
    for (port, name, addresses) in ports {
        let Some(name) = name else { continue };
        let port = port.number;
        match targets
            .iter_mut()
            .find(|known| known.port == port && known.name == name)
        {
            Some(known) => known.addresses.extend(addresses),
            None => targets.push(Target {
                port,
                name,
                addresses,
            }),
        }
    }
    match targets.is_empty() {
        true => Found::Missing,
        false => Found::Services(targets),
    }
}

/// Writes what was found into the answer, as far as it has the type asked for.
fn fill(zone: &Zone, kind: RecordType, owner: &Name, found: Found<'_>, answer: &mut Answer) {
    let mut push = |data| {
        answer
            .answers
            .push(Record::from_rdata(owner.clone(), TTL, data))
    };
    let of_kind = of_kind(kind);
    match found {
        Found::Missing => answer.code = ResponseCode::NXDomain,
        // RFC 8482: one synthetic record instead of everything.
        _ if kind == RecordType::ANY => {
            push(RData::HINFO(HINFO::new("RFC8482".into(), String::new())))
        }
        Found::Apex if kind == RecordType::SOA => push(soa(zone)),
        Found::Apex if kind == RecordType::NS => {
            if let Some(name) = server_name(zone) {
                push(RData::NS(NS(name.clone())));
                answer.additionals.extend(addresses(&name, [zone.server]));
            }
        }
        Found::Version if kind == RecordType::TXT => {
            push(RData::TXT(TXT::new(vec![SPECIFICATION.to_owned()])));
        }
        Found::Addresses(all) => {
            all.into_iter().filter_map(of_kind).for_each(push);
        }
        Found::Services(targets) if kind == RecordType::SRV => services(targets, owner, answer),
        _ => {}
    }
    if !answer
        .answers
        .iter()
        .any(|record| record.record_type() != RecordType::CNAME)
    {
        answer.authorities.push(Record::from_rdata(
            zone.domain.name().clone(),
            TTL,
            soa(zone),
        ));
    }
}

/// Turns an address into a record of the type asked for, if it is of that family.
fn of_kind(kind: RecordType) -> impl Fn(IpAddr) -> Option<RData> {
    move |address| match (address, kind) {
        (IpAddr::V4(v4), RecordType::A) => Some(RData::A(A(v4))),
        (IpAddr::V6(v6), RecordType::AAAA) => Some(RData::AAAA(AAAA(v6))),
        _ => None,
    }
}

fn addresses(owner: &Name, all: impl IntoIterator<Item = IpAddr>) -> Vec<Record> {
    let data = |address| match address {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    };
    all.into_iter()
        .map(|address| Record::from_rdata(owner.clone(), TTL, data(address)))
        .collect()
}

fn services(targets: Vec<Target>, owner: &Name, answer: &mut Answer) {
    let weight = u16::try_from(100 / targets.len()).unwrap_or(0).max(1);
    for target in targets {
        let data = RData::SRV(SRV::new(0, weight, target.port, target.name.clone()));
        answer
            .answers
            .push(Record::from_rdata(owner.clone(), TTL, data));
        answer
            .additionals
            .extend(addresses(&target.name, target.addresses));
    }
}

fn server_name(zone: &Zone) -> Option<Name> {
    zone.domain.child(["ns", "dns"])
}

/// The zone's SOA; its minimum bounds negative caching (RFC 2308).
fn soa(zone: &Zone) -> RData {
    let primary = server_name(zone).unwrap_or_else(|| zone.domain.name().clone());
    let contact = zone
        .domain
        .child(["hostmaster"])
        .unwrap_or_else(|| primary.clone());
    RData::SOA(SOA::new(
        primary,
        contact,
        zone.serial,
        7200,
        1800,
        86400,
        TTL,
    ))
}

/// The names of a cluster address, if the question is about one.
fn reverse_names<'z>(
    zone: &'z Zone,
    name: &Name,
    labels: &[Box<str>],
) -> Option<&'z [Vec<Box<str>>]> {
    if labels.last().map(AsRef::as_ref) != Some("arpa") {
        return None;
    }
    let network = name.parse_arpa_name().ok()?;
    if network.prefix_len() != network.max_prefix_len() {
        return None;
    }
    zone.services
        .reverse
        .get(&network.addr())
        .map(Vec::as_slice)
}

fn reverse(zone: &Zone, query: &Query, names: &[Vec<Box<str>>]) -> Answer {
    let mut answer = Answer::local(ResponseCode::NoError);
    if query.query_type() == RecordType::PTR {
        let full = |front: &Vec<Box<str>>| {
            zone.domain
                .child(front.iter().map(AsRef::as_ref).chain(["svc"]))
        };
        let records = names
            .iter()
            .filter_map(full)
            .map(|name| RData::PTR(PTR(name)));
        let owner = query.name();
        answer.answers = records
            .map(|data| Record::from_rdata(owner.clone(), TTL, data))
            .collect();
    }
    answer
}

#[cfg(test)]
mod tests;
