//! Ports of a rule.

use k8s_openapi::api::networking::v1::NetworkPolicyPort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use naru_ebpf_common::{Port, protocol};

use crate::watches::{PodPort, Protocol};

/// One port of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PortSpec {
    /// Every protocol and port.
    Any,
    /// Every port of a protocol.
    Protocol(u8),
    /// Ports of a protocol, both ends included.
    Range(u8, u16, u16),
    /// A port that pods name.
    Named(Protocol, String),
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
        Some(IntOrString::String(name)) => PortSpec::Named(protocol, name.clone()),
        Some(IntOrString::Int(first)) => {
            let first = u16::try_from(*first).ok()?;
            let last = port
                .end_port
                .map_or(Some(first), |last| u16::try_from(last).ok())?;
            if first <= 1 && last == u16::MAX {
                PortSpec::Protocol(protocol.number())
            } else {
                PortSpec::Range(protocol.number(), first, last)
            }
        }
    })
}

impl PortSpec {
    /// Protocol and port of the policy keys; `named` are the ports of the pod that is called.
    pub(super) fn keys(&self, named: &[PodPort]) -> Vec<(u8, Port)> {
        match self {
            Self::Any => vec![(protocol::ANY, Port::ANY)],
            Self::Protocol(protocol) => vec![(*protocol, Port::ANY)],
            Self::Range(protocol, first, last) => (*first..=*last)
                .map(|port| (*protocol, Port::new(port)))
                .collect(),
            Self::Named(protocol, name) => named
                .iter()
                .filter(|port| port.name == *name && port.protocol == *protocol)
                .map(|port| (protocol.number(), Port::new(port.port)))
                .collect(),
        }
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
