//! What ClusterNetworkPolicies mean, read off their JSON in the plainest way: tier after tier, policy
//! after policy, rule after rule, for one question at a time.

use serde_json::Value;

use crate::verdict::{Question, Row, Target, each, in_network, is_cluster, network, selects};

/// Whether the policies of both kinds let the flow of the question pass.
pub(crate) fn allow(policies: &[Value], question: &Question<'_>) -> bool {
    tier(policies, "Admin", question)
        .or_else(|| network(policies, question))
        .or_else(|| tier(policies, "Baseline", question))
        .unwrap_or(true)
}

/// What a tier decides, if it decides.
fn tier(policies: &[Value], tier: &str, question: &Question<'_>) -> Option<bool> {
    let mut asked: Vec<_> = policies
        .iter()
        .filter(|policy| is_cluster(policy) && policy["spec"]["tier"] == tier)
        .filter(|policy| is_among(&policy["spec"]["subject"], question.pod, question.row))
        .collect();
    asked.sort_by_key(|policy| policy["spec"]["priority"].as_u64());
    let (rules, peers) = if question.kind == "Egress" {
        ("egress", "to")
    } else {
        ("ingress", "from")
    };
    let mut rules = asked.iter().flat_map(|policy| each(&policy["spec"][rules]));
    let rule = rules.find(|rule| {
        let ports = &rule["protocols"];
        each(&rule[peers]).any(|peer| is_among(peer, question.peer, question.row))
            && (ports.is_null()
                || each(ports).any(|port| is_port(port, question.server, question.row)))
    })?;
    match rule["action"].as_str() {
        Some("Accept") => Some(true),
        Some("Deny") => Some(false),
        _ => None,
    }
}

/// Whether a pod, at its address of the row, is one of those that a subject or peer means.
fn is_among(these: &Value, pod: &Target, row: Row) -> bool {
    let namespace = pod.namespace_labels();
    if let Some(networks) = these["networks"].as_array() {
        let mut networks = networks.iter().filter_map(Value::as_str);
        return networks.any(|network| in_network(network, pod.address(row.six)));
    }
    if !these["namespaces"].is_null() {
        return selects(&these["namespaces"], &namespace);
    }
    let pods = &these["pods"];
    selects(&pods["namespaceSelector"], &namespace) && selects(&pods["podSelector"], &pod.labels)
}

fn is_port(port: &Value, server: &Target, row: Row) -> bool {
    if let Some(name) = port["destinationNamedPort"].as_str() {
        return server.named(name, row.protocol) == Some(row.port);
    }
    let transport = &port[row.protocol.name().to_lowercase()];
    let wanted = &transport["destinationPort"];
    let number = |value: &Value| value.as_u64().and_then(|n| u16::try_from(n).ok());
    match number(&wanted["number"]) {
        Some(number) => number == row.port,
        None if wanted.is_null() => !transport.is_null(),
        None => {
            let range = &wanted["range"];
            number(&range["start"]) <= Some(row.port) && Some(row.port) <= number(&range["end"])
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::verdict::{Protocol, World};

    /// Whether the pod `x/b` may talk with `x/a` on 80/TCP and on 81/UDP.
    fn allowed(policies: &[Value]) -> [bool; 2] {
        let pod = |name: &str, host: u8| {
            Target::read(
                &json!({"metadata": {"name": name, "namespace": "x", "labels": {"pod": name}},
                "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 80}]}]},
                "status": {"podIPs": [{"ip": format!("10.0.0.{host}")}]}}),
            )
        };
        let world = World {
            pods: vec![pod("a", 1), pod("b", 2)],
        };
        let row = |port, protocol| Row {
            from: 1,
            to: 0,
            port,
            protocol,
            six: false,
        };
        let table = world.table(policies);
        [
            table[&row(80, Protocol::Tcp)],
            table[&row(81, Protocol::Udp)],
        ]
    }

    fn cluster(tier: &str, priority: u64, rules: Value) -> Value {
        let subject = json!({"pods": {"podSelector": {"matchLabels": {"pod": "a"}}}});
        json!({"kind": "ClusterNetworkPolicy", "metadata": {"name": "c"}, "spec": {
            "tier": tier, "priority": priority, "subject": subject, "ingress": rules}})
    }

    #[test]
    fn the_order_of_tiers_is_what_the_specification_says_by_hand() {
        let all = json!([{"namespaces": {}}]);
        let deny = json!([{"action": "Deny", "from": all}]);
        let network = |rules: Value| json!({"metadata": {"namespace": "x"}, "spec": {"podSelector": {}, "ingress": rules}});
        let deny_at = |tier: &str| cluster(tier, 9, deny.clone());
        assert_eq!(allowed(&[deny_at("Admin")]), [false; 2]);
        assert_eq!(allowed(&[deny_at("Baseline")]), [false; 2]);
        let open = network(json!([{}]));
        assert_eq!(allowed(&[deny_at("Admin"), open.clone()]), [false; 2]);
        assert_eq!(allowed(&[deny_at("Baseline"), open.clone()]), [true; 2]);
        let pass = cluster(
            "Admin",
            1,
            json!([{"action": "Pass", "from": all,
            "protocols": [{"destinationNamedPort": "http"}]}]),
        );
        assert_eq!(
            allowed(&[deny_at("Admin"), pass.clone(), open]),
            [true, false]
        );
        let closed = network(json!([]));
        assert_eq!(
            allowed(&[deny_at("Admin"), pass.clone(), closed]),
            [false; 2]
        );
        assert_eq!(
            allowed(&[deny_at("Admin"), pass, deny_at("Baseline")]),
            [false; 2]
        );
        let accept = |port: Value| {
            let rule = json!({"action": "Accept", "from": all, "protocols": [port]});
            allowed(&[deny_at("Admin"), cluster("Admin", 1, json!([rule]))])
        };
        assert_eq!(accept(json!({"udp": {}})), [false, true]);
        let range = |start: u16| json!({"range": {"start": start, "end": 90}});
        let tcp = |port: Value| json!({"tcp": {"destinationPort": port}});
        assert_eq!(accept(tcp(range(80))), [true, false]);
        assert_eq!(accept(tcp(range(81))), [false; 2]);
        assert_eq!(accept(tcp(json!({"number": 80}))), [true, false]);
    }
}
