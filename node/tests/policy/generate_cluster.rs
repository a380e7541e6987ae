//! ClusterNetworkPolicies of both tiers, and NetworkPolicies between them.

use serde_json::{Value, json};

use crate::generate::{self, Dice, namespaces, pods};

/// The policies of a case. `addresses` are those of the pods.
pub(crate) fn case(seed: u64, addresses: &[String]) -> Vec<Value> {
    let mut dice = Dice(seed ^ 0xc1a5_7e12);
    let mut policies: Vec<_> = (0..dice.roll(3))
        .map(|number| generate::policy(&mut dice, number, addresses))
        .collect();
    let count = 1 + dice.roll(3);
    let first = dice.roll(900) + 1;
    // No two policies of a case have one priority: then the specification leaves open who is first.
    let clusters = (0..count).map(|number| {
        let priority = first + (number * 7) % 5;
        policy(&mut dice, number, priority, addresses)
    });
    policies.extend(clusters);
    policies
}

fn policy(dice: &mut Dice, number: u64, priority: u64, addresses: &[String]) -> Value {
    let mut spec = json!({"tier": dice.pick(&["Admin", "Baseline"]), "priority": priority,
        "subject": these(dice)});
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        if dice.roll(3) != 0 {
            let rules_of = dice.several(3, |dice| rule(dice, peers, addresses));
            spec[rules] = rules_of.into();
        }
    }
    json!({"kind": "ClusterNetworkPolicy", "metadata": {"name": format!("c{number}")}, "spec": spec})
}

fn rule(dice: &mut Dice, peers: &str, addresses: &[String]) -> Value {
    let mut rule = json!({"action": dice.pick(&["Accept", "Deny", "Pass"])});
    let meant = |dice: &mut Dice| match dice.roll(3) {
        0 if peers == "to" => json!({"networks": networks(dice, addresses)}),
        _ => these(dice),
    };
    let mut all = vec![meant(dice)];
    all.extend(dice.several(1, meant));
    rule[peers] = all.into();
    if dice.roll(2) != 0 {
        let mut all = vec![protocol(dice)];
        all.extend(dice.several(1, protocol));
        rule["protocols"] = all.into();
    }
    rule
}

/// A subject or a peer.
fn these(dice: &mut Dice) -> Value {
    if dice.roll(2) == 0 {
        return json!({"namespaces": namespaces(dice)});
    }
    json!({"pods": {"namespaceSelector": namespaces(dice), "podSelector": pods(dice)}})
}

fn networks(dice: &mut Dice, addresses: &[String]) -> Value {
    let address = dice.pick(addresses);
    let one = generate::host(&address);
    let [all, _, some, few] = generate::blocks(&address);
    match dice.roll(4) {
        0 => json!([one]),
        1 => json!([some, one]),
        2 => json!([all]),
        _ => json!(["2001:db8::/32", few]),
    }
}

fn protocol(dice: &mut Dice) -> Value {
    let protocol = dice.pick(&["tcp", "udp", "sctp"]);
    match dice.roll(6) {
        0 => json!({protocol: {"destinationPort": {"range": {"start": 1, "end": 65535}}}}),
        1 | 2 => json!({protocol: {"destinationPort": {"number": dice.pick(&[80, 81])}}}),
        3 => {
            json!({protocol: {"destinationPort": {"range": {"start": 70, "end": dice.pick(&[80, 90])}}}})
        }
        4 => {
            json!({protocol: {"destinationPort": {"range": {"start": dice.pick(&[81, 82]), "end": 65535}}}})
        }
        _ => json!({"destinationNamedPort": dice.pick(&["http", "dns", "sig"])}),
    }
}

fn cluster(name: &str, tier: &str, priority: u64, rules: Value) -> Value {
    let mut spec = json!({"tier": tier, "priority": priority,
        "subject": {"namespaces": {"matchLabels": {"ns": "x"}}}});
    for (field, rules) in rules.as_object().expect("rules") {
        spec[field] = rules.clone();
    }
    json!({"kind": "ClusterNetworkPolicy", "metadata": {"name": name}, "spec": spec})
}

/// What the specification points out, one set of policies each.
pub(crate) fn special(addresses: &[String]) -> Vec<Vec<Value>> {
    let all = json!([{"namespaces": {}}]);
    let from_y = json!([{"namespaces": {"matchLabels": {"ns": "y"}}}]);
    let deny = json!({"ingress": [{"action": "Deny", "from": all}]});
    let no_way_out = json!({"egress": [{"action": "Deny", "to": all}]});
    let network = |spec: Value| json!({"metadata": {"name": "p", "namespace": "x"}, "spec": spec});
    let open = network(json!({"podSelector": {}, "ingress": [{}]}));
    let closed = network(json!({"podSelector": {}, "policyTypes": ["Ingress"]}));
    let tcp = |port: u16| json!([{"tcp": {"destinationPort": {"number": port}}}]);
    let accept =
        |port: u16| json!({"ingress": [{"action": "Accept", "from": all, "protocols": tcp(port)}]});
    let pass = |port: u16| json!({"ingress": [{"action": "Pass", "from": from_y, "protocols": tcp(port)}]});
    let networks =
        |networks: Value| json!({"egress": [{"action": "Deny", "to": [{"networks": networks}]}]});
    vec![
        // A tier alone, in each direction.
        vec![cluster("a", "Admin", 5, deny.clone())],
        vec![cluster("a", "Baseline", 5, deny.clone())],
        vec![cluster("a", "Admin", 5, no_way_out.clone())],
        vec![cluster("a", "Baseline", 5, no_way_out)],
        // A NetworkPolicy overrules the baseline and is overruled by Admin.
        vec![cluster("a", "Baseline", 5, deny.clone()), open.clone()],
        vec![cluster("a", "Admin", 5, deny.clone()), open.clone()],
        vec![cluster("a", "Admin", 5, accept(80)), closed.clone()],
        vec![cluster("a", "Baseline", 5, accept(80)), closed.clone()],
        // The lower number comes first, whatever the names.
        vec![
            cluster("a", "Admin", 6, deny.clone()),
            cluster("b", "Admin", 5, accept(81)),
        ],
        vec![
            cluster("b", "Admin", 6, accept(81)),
            cluster("a", "Admin", 5, deny.clone()),
        ],
        // What passes is the next tier's: open, closed, or nobody's.
        vec![
            cluster("a", "Admin", 5, pass(80)),
            cluster("b", "Admin", 6, deny.clone()),
            open,
        ],
        vec![
            cluster("a", "Admin", 5, pass(80)),
            cluster("b", "Admin", 6, accept(80)),
            closed,
        ],
        vec![
            cluster("a", "Admin", 5, pass(80)),
            cluster("b", "Admin", 6, deny.clone()),
        ],
        vec![
            cluster("a", "Admin", 5, pass(80)),
            cluster("b", "Baseline", 1, deny.clone()),
        ],
        vec![
            cluster("a", "Baseline", 5, pass(80)),
            cluster("b", "Baseline", 6, deny),
        ],
        // Networks mean pods, too.
        vec![cluster("a", "Admin", 5, networks(json!(["0.0.0.0/0"])))],
        vec![cluster("a", "Admin", 5, networks(json!(["::/0"])))],
        vec![cluster(
            "a",
            "Admin",
            5,
            networks(json!([generate::host(&addresses[1])])),
        )],
    ]
}
