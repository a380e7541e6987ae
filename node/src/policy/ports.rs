//! Ports of a rule.

use k8s_openapi::api::networking::v1::NetworkPolicyPort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use naru_ebpf_common::{Port, protocol};

use crate::watches::{ClusterPort, PodPort, Protocol};

/// Ports of a protocol, both ends included; all of them are from 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// The protocol, or `protocol::ANY` for everything.
    pub(super) protocol: u8,
    /// The first port.
    pub(super) first: u16,
    /// The last one.
    pub(super) last: u16,
}

impl Span {
    /// Whether a flow to the port is meant. Every port of a protocol is asked for as port 0.
    pub(super) fn covers(&self, protocol: u8, port: u16) -> bool {
        self.protocol == protocol::ANY
            || (self.protocol == protocol && (self.first..=self.last).contains(&port))
    }
}

/// One port of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PortSpec {
    /// Every protocol and port.
    Any,
    /// Every port of a protocol.
    Protocol(u8),
    /// Ports of a protocol, both ends included.
    Range(u8, u16, u16),
    /// A port that pods name, of one protocol or of any.
    Named(Option<Protocol>, String),
}

/// The ports of a rule; none listed means any.
pub(super) fn read(ports: Option<&Vec<NetworkPolicyPort>>) -> Vec<PortSpec> {
    match ports {
        Some(ports) if !ports.is_empty() => ports.iter().filter_map(read_one).collect(),
        _ => vec![PortSpec::Any],
    }
}

fn read_one(port: &NetworkPolicyPort) -> Option<PortSpec> {
    let protocol = Protocol::parse(port.protocol.as_deref())?;
    Some(match &port.port {
        None => PortSpec::Protocol(protocol.number()),
        Some(IntOrString::String(name)) => PortSpec::Named(Some(protocol), name.clone()),
        Some(IntOrString::Int(first)) => {
            let first = u16::try_from(*first).ok()?;
            let last = port
                .end_port
                .map_or(Some(first), |last| u16::try_from(last).ok())?;
            range(protocol, first, last)
        }
    })
}

fn range(protocol: Protocol, first: u16, last: u16) -> PortSpec {
    if first <= 1 && last == u16::MAX {
        PortSpec::Protocol(protocol.number())
    } else {
        PortSpec::Range(protocol.number(), first, last)
    }
}

/// The ports of a rule of a ClusterNetworkPolicy; none listed means any.
pub(super) fn of_cluster(ports: &[ClusterPort]) -> Vec<PortSpec> {
    if ports.is_empty() {
        return vec![PortSpec::Any];
    }
    let spec = |port: &ClusterPort| match port {
        ClusterPort::Transport(protocol, None) => PortSpec::Protocol(protocol.number()),
        ClusterPort::Transport(protocol, Some((first, last))) => range(*protocol, *first, *last),
        ClusterPort::Named(name) => PortSpec::Named(None, name.clone()),
    };
    ports.iter().map(spec).collect()
}

impl PortSpec {
    /// The ports in numbers; `named` are those of the pod that is called.
    pub(super) fn spans(&self, named: &[PodPort]) -> Vec<Span> {
        let span = |protocol, first, last| Span {
            protocol,
            first,
            last,
        };
        match self {
            Self::Any => vec![span(protocol::ANY, 0, u16::MAX)],
            Self::Protocol(protocol) => vec![span(*protocol, 0, u16::MAX)],
            Self::Range(protocol, first, last) => vec![span(*protocol, *first, *last)],
            Self::Named(protocol, name) => named
                .iter()
                .filter(|port| port.name == *name)
                .filter(|port| protocol.is_none_or(|protocol| port.protocol == protocol))
                .map(|port| span(port.protocol.number(), port.port, port.port))
                .collect(),
        }
    }

    /// Protocol and port of the policy keys.
    pub(super) fn keys(&self, named: &[PodPort]) -> Vec<(u8, Port)> {
        let keys = |span: Span| -> Vec<(u8, Port)> {
            if span.last == u16::MAX && span.first == 0 {
                return vec![(span.protocol, Port::ANY)];
            }
            let ports = span.first..=span.last;
            ports.map(|port| (span.protocol, Port::new(port))).collect()
        };
        self.spans(named).into_iter().flat_map(keys).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(port: serde_json::Value) -> Vec<(u8, u16)> {
        let ports = vec![serde_json::from_value(port).unwrap()];
        let named = [PodPort {
            name: "http".into(),
            port: 8080,
            protocol: Protocol::Tcp,
        }];
        let keys = read(Some(&ports))
            .into_iter()
            .flat_map(|spec| spec.keys(&named));
        keys.map(|(protocol, port)| (protocol, port.get()))
            .collect()
    }

    #[test]
    fn ranges_are_expanded_and_names_resolved() {
        assert_eq!(keys(json!({"port": 80})), [(6, 80)]);
        assert_eq!(
            keys(json!({"port": 80, "endPort": 82, "protocol": "UDP"})),
            [(17, 80), (17, 81), (17, 82)]
        );
        assert_eq!(keys(json!({"port": 1, "endPort": 65535})), [(6, 0)]);
        assert_eq!(keys(json!({"protocol": "UDP"})), [(17, 0)]);
        assert_eq!(keys(json!({"port": "http"})), [(6, 8080)]);
        assert!(keys(json!({"port": "http", "protocol": "UDP"})).is_empty());
        let sctp = keys(json!({"port": 80, "protocol": "SCTP"}));
        assert_eq!(sctp, [(132, 80)]);
        assert_eq!(read(None), [PortSpec::Any]);
    }
}
