//! What NetworkPolicies mean, read off their JSON in the plainest way: no classes, no tables, no
//! order of evaluation. The daemon's compiler and this file share nothing but the specification. What
//! ClusterNetworkPolicies say before and after them stands in `tiers`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

/// The namespaces; each is labelled `ns=NAME`.
pub(crate) const NAMESPACES: [&str; 3] = ["x", "y", "z"];
/// The ports on which every pod serves, by every protocol.
pub(crate) const PORTS: [u16; 2] = [80, 81];

/// What policies know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// Whether a port of a pod or of a policy is of this protocol; those that say nothing are TCP's.
    fn is_of(self, port: &Value) -> bool {
        port["protocol"].as_str().unwrap_or("TCP") == self.name()
    }
}

/// A pod.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// One of each family.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) labels: Value,
    ports: Value,
}

impl Target {
    /// Reads a pod of the API.
    pub(crate) fn read(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            name: text(&pod["metadata"]["name"]),
            namespace: text(&pod["metadata"]["namespace"]),
            addresses: each(&pod["status"]["podIPs"])
                .map(|one| text(&one["ip"]).parse().expect("an address"))
                .collect(),
            labels: pod["metadata"]["labels"].clone(),
            ports: pod["spec"]["containers"][0]["ports"].clone(),
        }
    }

    pub(crate) fn namespace_labels(&self) -> Value {
        json!({"ns": self.namespace, "kubernetes.io/metadata.name": self.namespace})
    }

    /// The address that a row of this family is about.
    pub(crate) fn address(&self, six: bool) -> IpAddr {
        let mut all = self.addresses.iter();
        let found = all.find(|address| address.is_ipv6() == six);
        *found.expect("an address of each family")
    }

    /// The number that the pod gives to a port's name.
    pub(crate) fn named(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let mut ports = self.ports.as_array()?.iter();
        let found = ports.find(|port| port["name"] == name && protocol.is_of(port))?;
        u16::try_from(found["containerPort"].as_u64()?).ok()
    }
}

/// One question of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    /// Over IPv6.
    pub(crate) six: bool,
}

impl Row {
    pub(crate) fn family(&self) -> &'static str {
        if self.six { "IPv6" } else { "IPv4" }
    }
}

/// Port, protocol and family of each question about two pods.
fn questions() -> impl Iterator<Item = (u16, Protocol, bool)> {
    let about = |port| Protocol::ALL.map(|protocol| (port, protocol));
    let each = PORTS.into_iter().flat_map(about);
    each.flat_map(|(port, protocol)| [false, true].map(|six| (port, protocol, six)))
}

/// All pods.
#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    pub(crate) pods: Vec<Target>,
}

impl World {
    /// Every row and whether it is allowed.
    pub(crate) fn table(&self, policies: &[Value]) -> BTreeMap<Row, bool> {
        let mut table = BTreeMap::new();
        let count = self.pods.len();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        for (from, to) in pairs.filter(|(from, to)| from != to) {
            for (port, protocol, six) in questions() {
                // A pod without an address of a family has no rows of it.
                let pods = [from, to].map(|pod| &self.pods[pod].addresses);
                if pods
                    .iter()
                    .all(|all| all.iter().any(|one| one.is_ipv6() == six))
                {
                    let row = Row {
                        from,
                        to,
                        port,
                        protocol,
                        six,
                    };
                    table.insert(row, self.allows(policies, row));
                }
            }
        }
        table
    }

    fn allows(&self, policies: &[Value], row: Row) -> bool {
        let (from, to) = (&self.pods[row.from], &self.pods[row.to]);
        let egress = Question {
            kind: "Egress",
            pod: from,
            peer: to,
            server: to,
            row,
        };
        let ingress = Question {
            kind: "Ingress",
            pod: to,
            peer: from,
            ..egress
        };
        [egress, ingress]
            .iter()
            .all(|question| crate::tiers::allow(policies, question))
    }
}

/// Whether a pod may talk with a peer, in one direction as the pod sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// `Egress` or `Ingress`.
    pub(crate) kind: &'static str,
    pub(crate) pod: &'a Target,
    pub(crate) peer: &'a Target,
    /// Who is called.
    pub(crate) server: &'a Target,
    pub(crate) row: Row,
}

/// Whether a policy is a ClusterNetworkPolicy.
pub(crate) fn is_cluster(policy: &Value) -> bool {
    policy["kind"] == "ClusterNetworkPolicy"
}

/// What NetworkPolicies say; nothing if none of them isolates the pod.
pub(crate) fn network(policies: &[Value], question: &Question<'_>) -> Option<bool> {
    let Question {
        kind,
        pod,
        peer,
        server,
        row,
    } = *question;
    let isolating: Vec<_> = policies
        .iter()
        .filter(|policy| !is_cluster(policy) && isolates(policy, kind, pod))
        .collect();
    let (rules, peers) = if kind == "Egress" {
        ("egress", "to")
    } else {
        ("ingress", "from")
    };
    let allows = |policy: &&Value| {
        each(&policy["spec"][rules]).any(|rule| {
            let peer_fits = is_empty(&rule[peers])
                || each(&rule[peers]).any(|one| is_peer(one, policy, peer, row));
            let port_fits = is_empty(&rule["ports"])
                || each(&rule["ports"]).any(|one| is_port(one, server, row));
            peer_fits && port_fits
        })
    };
    (!isolating.is_empty()).then(|| isolating.iter().any(allows))
}

pub(crate) fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn is_empty(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

fn isolates(policy: &Value, kind: &str, pod: &Target) -> bool {
    let types = &policy["spec"]["policyTypes"];
    let of_kind = match kind {
        _ if !is_empty(types) => each(types).any(|one| one == kind),
        "Ingress" => true,
        _ => !is_empty(&policy["spec"]["egress"]),
    };
    of_kind
        && policy["metadata"]["namespace"] == pod.namespace.as_str()
        && selects(&policy["spec"]["podSelector"], &pod.labels)
}

fn is_peer(peer: &Value, policy: &Value, pod: &Target, row: Row) -> bool {
    if let Some(block) = peer.get("ipBlock") {
        let within =
            |cidr: &Value| in_network(cidr.as_str().unwrap_or_default(), pod.address(row.six));
        return within(&block["cidr"]) && !each(&block["except"]).any(within);
    }
    let namespace = match peer.get("namespaceSelector") {
        None => policy["metadata"]["namespace"] == pod.namespace.as_str(),
        Some(selector) => selects(selector, &pod.namespace_labels()),
    };
    namespace
        && peer
            .get("podSelector")
            .is_none_or(|selector| selects(selector, &pod.labels))
}

/// Whether a block holds an address; one of the other family it never does.
pub(crate) fn in_network(cidr: &str, address: IpAddr) -> bool {
    let (network, length) = cidr.split_once('/').expect("a CIDR");
    let network = network.parse::<IpAddr>().expect("an address");
    let length: usize = length.parse().expect("a length");
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => format!("{:032b}", u32::from(v4)),
        IpAddr::V6(v6) => format!("{:0128b}", u128::from(v6)),
    };
    network.is_ipv4() == address.is_ipv4() && bits(network)[..length] == bits(address)[..length]
}

fn is_port(port: &Value, server: &Target, row: Row) -> bool {
    if !row.protocol.is_of(port) {
        return false;
    }
    match &port["port"] {
        Value::Null => true,
        Value::String(name) => server.named(name, row.protocol) == Some(row.port),
        number => {
            let first = number.as_u64().expect("a number");
            let last = port["endPort"].as_u64().unwrap_or(first);
            (first..=last).contains(&u64::from(row.port))
        }
    }
}

pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let pairs = selector["matchLabels"].as_object().into_iter().flatten();
    let mut expressions = each(&selector["matchExpressions"]);
    pairs
        .into_iter()
        .all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|expression| {
            let found = labels.get(expression["key"].as_str().unwrap_or_default());
            let listed = || each(&expression["values"]).any(|value| Some(value) == found);
            match expression["operator"].as_str() {
                Some("In") => listed(),
                Some("NotIn") => !listed(),
                Some("Exists") => found.is_some(),
                Some("DoesNotExist") => found.is_none(),
                other => panic!("operator {other:?}"),
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        let pod = |name: &str, namespace: &str, host: u8| {
            Target::read(
                &json!({"metadata": {"name": name, "namespace": namespace, "labels": {"pod": name}},
                "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 80}]}]},
                "status": {"podIPs": [{"ip": format!("10.0.0.{host}")}]}}),
            )
        };
        World {
            pods: vec![pod("a", "x", 1), pod("b", "x", 2), pod("a", "y", 3)],
        }
    }

    /// The rows to the first pod that are allowed, as `FROM PORT/PROTOCOL`.
    fn allowed(spec: Value) -> Vec<String> {
        let world = world();
        let policy = json!({"metadata": {"namespace": "x"}, "spec": spec});
        let table = world.table(&[policy]);
        let open = table
            .iter()
            .filter(|(row, allowed)| row.to == 0 && **allowed);
        open.map(|(row, _)| format!("{} {}/{}", row.from, row.port, row.protocol.name()))
            .collect()
    }

    #[test]
    fn the_evaluator_reads_what_the_specification_says_by_hand() {
        let of = |from: u8| {
            ["80/TCP", "80/UDP", "80/SCTP", "81/TCP", "81/UDP", "81/SCTP"]
                .map(|port| format!("{from} {port}"))
        };
        let all = [of(1), of(2)].concat();
        let a = json!({"matchLabels": {"pod": "a"}});
        assert_eq!(
            allowed(json!({"podSelector": {"matchLabels": {"pod": "none"}}})),
            all
        );
        assert_eq!(
            allowed(json!({"podSelector": a})).len(),
            0,
            "no rule allows nothing"
        );
        assert_eq!(allowed(json!({"podSelector": a, "ingress": [{}]})), all);
        let peers = |from: Value| allowed(json!({"podSelector": a, "ingress": [{"from": from}]}));
        assert_eq!(
            peers(json!([{"podSelector": {}}])),
            &all[..6],
            "the policy's own namespace"
        );
        assert_eq!(
            peers(json!([{"namespaceSelector": {"matchLabels": {"ns": "y"}}}])),
            &all[6..]
        );
        let both = json!([{"namespaceSelector": {}, "podSelector": a}]);
        assert_eq!(peers(both), &all[6..]);
        let block = json!([{"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.0.0.3/32"]}}]);
        assert_eq!(peers(block), &all[..6]);
        let other = json!([{"ipBlock": {"cidr": "::/0"}}]);
        assert!(peers(other).is_empty(), "the block of the other family");
        let ports =
            |ports: Value| allowed(json!({"podSelector": a, "ingress": [{"ports": ports}]}));
        assert_eq!(ports(json!([{"port": "http"}])), ["1 80/TCP", "2 80/TCP"]);
        assert_eq!(
            ports(json!([{"port": 79, "endPort": 81, "protocol": "UDP"}])).len(),
            4
        );
        for protocol in ["UDP", "SCTP"] {
            assert_eq!(ports(json!([{ "protocol": protocol }])).len(), 4);
        }
    }

    #[test]
    fn egress_isolates_only_where_it_is_said() {
        let to_a = |spec: Value| allowed(spec).len();
        assert_eq!(
            to_a(json!({"podSelector": {"matchLabels": {"pod": "b"}}, "policyTypes": ["Egress"]})),
            6
        );
        assert_eq!(
            to_a(json!({"podSelector": {"matchLabels": {"pod": "b"}}, "ingress": [{}]})),
            12
        );
        let egress = json!({"podSelector": {"matchLabels": {"pod": "b"}},
            "egress": [{"ports": [{"port": 80}]}]});
        assert_eq!(to_a(egress), 7, "the port to a, and y's pod");
    }
}
