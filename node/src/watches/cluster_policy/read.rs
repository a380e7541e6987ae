//! ClusterNetworkPolicies as the API serves them, and how they are read.
//!
//! The kind is a custom one: its definition may be of another version or channel than this daemon
//! knows. So an object is read as plain JSON, and what of a rule is not understood makes the rule fail
//! closed as the specification demands: an Accept rule matches nothing, a Deny or Pass rule denies
//! everything. A policy whose tier or subject is not understood has no place at which it could count;
//! it is left out, and the log says so.

use std::borrow::Cow;

use ipnet::IpNet;
use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Resource;
use serde::Deserialize;
use serde_json::Value;

use super::{Action, ClusterPeer, ClusterPolicy, ClusterPort, ClusterRule, PodsOf, Tier};
use crate::watches::Protocol;

/// A policy as the API serves it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(in crate::watches) struct ClusterNetworkPolicy {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
}

impl Resource for ClusterNetworkPolicy {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "ClusterNetworkPolicy".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "policy.networking.k8s.io".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1alpha2".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "clusternetworkpolicies".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl ClusterPolicy {
    /// Reads a policy from its spec alone, for tests.
    #[cfg(test)]
    pub(crate) fn of(spec: Value) -> Option<Self> {
        let metadata = ObjectMeta::default();
        Self::read(ClusterNetworkPolicy { metadata, spec })
    }

    /// Reads a policy; `None`, and a line in the log, if its tier or subject is not understood.
    pub(in crate::watches) fn read(object: ClusterNetworkPolicy) -> Option<Self> {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let read = Head::deserialize(&object.spec).map_err(|error| error.to_string());
        let read = read.and_then(|head| Ok((head.subject.read()?, head)));
        let (subject, head) = read
            .inspect_err(|why| tracing::warn!(policy = name, why, "not understood, left out"))
            .ok()?;
        let rules = |field: &str| -> Vec<ClusterRule> {
            let rules = object.spec[field].as_array().into_iter().flatten();
            rules
                .enumerate()
                .map(|(index, rule)| {
                    let warn = |why: &String| {
                        tracing::warn!(
                            policy = name,
                            rule = format!("{field}[{index}]"),
                            why,
                            "not understood, fails closed"
                        );
                    };
                    read_rule(rule)
                        .inspect_err(warn)
                        .unwrap_or_else(|_| closed(rule))
                })
                .collect()
        };
        Some(Self {
            tier: head.tier,
            priority: head.priority,
            subject,
            ingress: rules("ingress"),
            egress: rules("egress"),
        })
    }
}

#[derive(Deserialize)]
struct Head {
    tier: Tier,
    priority: i32,
    subject: RawSubject,
}

/// Exactly one field, and none beside: serde refuses everything else.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum RawSubject {
    Namespaces(LabelSelector),
    Pods(RawPods),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum RawPeer {
    Namespaces(LabelSelector),
    Pods(RawPods),
    Networks(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPods {
    #[serde(default)]
    namespace_selector: LabelSelector,
    pod_selector: LabelSelector,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum RawProtocol {
    Tcp(RawTransport),
    Udp(RawTransport),
    Sctp(RawTransport),
    DestinationNamedPort(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawTransport {
    destination_port: Option<RawPort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum RawPort {
    Number(u16),
    #[serde(deserialize_with = "range")]
    Range((u16, u16)),
}

fn range<'de, D: serde::Deserializer<'de>>(from: D) -> Result<(u16, u16), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Range {
        start: u16,
        end: u16,
    }
    Range::deserialize(from).map(|range| (range.start, range.end))
}

#[derive(Deserialize)]
struct RawRule {
    #[serde(default)]
    name: String,
    action: Action,
    #[serde(alias = "to")]
    from: Vec<RawPeer>,
    #[serde(default)]
    protocols: Vec<RawProtocol>,
}

fn read_rule(rule: &Value) -> Result<ClusterRule, String> {
    let raw = RawRule::deserialize(rule).map_err(|error| error.to_string())?;
    if raw.from.is_empty() {
        return Err("it has no peers".to_owned());
    }
    Ok(ClusterRule {
        name: raw.name,
        action: raw.action,
        peers: raw
            .from
            .into_iter()
            .map(RawPeer::read)
            .collect::<Result<_, _>>()?,
        ports: raw.protocols.into_iter().map(RawProtocol::read).collect(),
    })
}

/// What a rule that is not understood comes to.
fn closed(rule: &Value) -> ClusterRule {
    let accepts = rule["action"] == "Accept";
    ClusterRule {
        name: rule["name"].as_str().unwrap_or_default().to_owned(),
        action: if accepts {
            Action::Accept
        } else {
            Action::Deny
        },
        peers: if accepts {
            vec![]
        } else {
            vec![ClusterPeer::All]
        },
        ports: vec![],
    }
}

impl RawSubject {
    fn read(&self) -> Result<PodsOf, String> {
        match self {
            Self::Namespaces(selector) => all_of(selector.clone()),
            Self::Pods(pods) => pods.read(),
        }
    }
}

impl RawPeer {
    fn read(self) -> Result<ClusterPeer, String> {
        match self {
            Self::Namespaces(selector) => all_of(selector).map(ClusterPeer::Pods),
            Self::Pods(pods) => pods.read().map(ClusterPeer::Pods),
            Self::Networks(networks) => {
                let nets = networks.iter().map(|text| {
                    let net = text.parse::<IpNet>().map(|net| net.trunc());
                    net.map_err(|error| format!("{text:?}: {error}"))
                });
                nets.collect::<Result<_, _>>().map(ClusterPeer::Networks)
            }
        }
    }
}

impl RawPods {
    fn read(&self) -> Result<PodsOf, String> {
        Ok(PodsOf {
            namespaces: sound(self.namespace_selector.clone())?,
            pods: sound(self.pod_selector.clone())?,
        })
    }
}

fn all_of(namespaces: LabelSelector) -> Result<PodsOf, String> {
    Ok(PodsOf {
        namespaces: sound(namespaces)?,
        pods: LabelSelector::default(),
    })
}

/// The definition does not check selectors: one that the API machinery could not read either is an
/// error here, while for a rule of a NetworkPolicy it is one that selects nothing.
fn sound(selector: LabelSelector) -> Result<LabelSelector, String> {
    for one in selector.match_expressions.iter().flatten() {
        let values = one.values.iter().flatten().count();
        let fits = match one.operator.as_str() {
            "In" | "NotIn" => values > 0,
            "Exists" | "DoesNotExist" => values == 0,
            _ => false,
        };
        if !fits {
            let (key, operator) = (&one.key, &one.operator);
            return Err(format!("{key:?} {operator:?} with {values} values"));
        }
    }
    Ok(selector)
}

impl RawProtocol {
    fn read(self) -> ClusterPort {
        let (protocol, transport) = match self {
            Self::DestinationNamedPort(name) => return ClusterPort::Named(name),
            Self::Tcp(transport) => (Protocol::Tcp, transport),
            Self::Udp(transport) => (Protocol::Udp, transport),
            Self::Sctp(transport) => (Protocol::Sctp, transport),
        };
        let ports = transport.destination_port.map(|port| match port {
            RawPort::Number(port) => (port, port),
            RawPort::Range(ends) => ends,
        });
        ClusterPort::Transport(protocol, ports)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ingress(rule: Value) -> ClusterRule {
        let policy = ClusterPolicy::of(
            json!({"tier": "Admin", "priority": 5, "subject": {"namespaces": {}},
            "ingress": [rule]}),
        );
        policy.unwrap().ingress.remove(0)
    }

    #[test]
    fn a_policy_is_read_with_its_rules_in_order() {
        let policy = ClusterPolicy::of(json!({"tier": "Baseline", "priority": 7,
            "subject": {"pods": {"podSelector": {"matchLabels": {"a": "b"}}}},
            "egress": [
                {"name": "dns", "action": "Accept", "to": [{"networks": ["10.1.2.3/8"]}],
                    "protocols": [{"udp": {"destinationPort": {"number": 53}}},
                        {"tcp": {"destinationPort": {"range": {"start": 1, "end": 9}}}},
                        {"sctp": {}}, {"destinationNamedPort": "http"}]},
                {"action": "Pass", "to": [{"namespaces": {}}]}]}))
        .unwrap();
        assert_eq!((policy.tier, policy.priority), (Tier::Baseline, 7));
        assert!(policy.ingress.is_empty());
        let [dns, pass] = &policy.egress[..] else {
            panic!("{policy:?}")
        };
        assert_eq!((dns.name.as_str(), dns.action), ("dns", Action::Accept));
        let net = "10.0.0.0/8".parse().unwrap();
        assert_eq!(dns.peers, [ClusterPeer::Networks(vec![net])]);
        assert_eq!(
            dns.ports,
            [
                ClusterPort::Transport(Protocol::Udp, Some((53, 53))),
                ClusterPort::Transport(Protocol::Tcp, Some((1, 9))),
                ClusterPort::Transport(Protocol::Sctp, None),
                ClusterPort::Named("http".into())
            ]
        );
        assert_eq!(pass.peers, [ClusterPeer::Pods(PodsOf::default())]);
        assert!(pass.ports.is_empty());
    }

    #[test]
    fn a_rule_that_is_not_understood_fails_closed() {
        for peers in [
            json!([{"namespaces": {}}, {}]),
            json!([{"nodes": {}}]),
            json!([{"namespaces": {}, "except": []}]),
            json!([{"networks": ["10.0.0.0"]}]),
            json!([{"pods": {"podSelector": {}, "more": 1}}]),
            json!([{"namespaces": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}]),
            json!([]),
        ] {
            let rule = |action: &str| ingress(json!({"action": action, "from": peers}));
            assert_eq!(rule("Accept").peers, [], "{peers}");
            for action in ["Deny", "Pass", "Ponder"] {
                let rule = rule(action);
                assert_eq!(rule.action, Action::Deny, "{peers}");
                assert_eq!(rule.peers, [ClusterPeer::All], "{peers}");
                assert!(rule.ports.is_empty());
            }
        }
        let icmp = json!({"action": "Pass", "from": [{"namespaces": {}}],
            "protocols": [{"icmp": {}}]});
        assert_eq!(ingress(icmp).action, Action::Deny);
    }

    #[test]
    fn a_policy_without_a_place_is_left_out() {
        let with = |subject: Value| json!({"tier": "Admin", "priority": 1, "subject": subject});
        assert!(ClusterPolicy::of(with(json!({"namespaces": {}}))).is_some());
        assert!(ClusterPolicy::of(with(json!({}))).is_none());
        assert!(ClusterPolicy::of(with(json!({"nodes": {}}))).is_none());
        let mut other = with(json!({"namespaces": {}}));
        other["tier"] = "Platinum".into();
        assert!(ClusterPolicy::of(other).is_none());
    }
}
