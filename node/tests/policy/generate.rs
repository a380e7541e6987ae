//! Policies: special cases by hand, and any number of others from a seed.

use serde_json::{Value, json};

use crate::verdict::NAMESPACES;

/// A small generator of numbers (splitmix64): the same seed gives the same policies everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % sides
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let index = self.roll(from.len() as u64);
        from[usize::try_from(index).expect("small")].clone()
    }

    pub(crate) fn several(
        &mut self,
        most: u64,
        mut make: impl FnMut(&mut Self) -> Value,
    ) -> Vec<Value> {
        (0..self.roll(most + 1)).map(|_| make(self)).collect()
    }
}

/// The policies of a case. `addresses` are those of the pods.
pub(crate) fn case(seed: u64, addresses: &[String]) -> Vec<Value> {
    let mut dice = Dice(seed);
    let count = 1 + dice.roll(3);
    (0..count)
        .map(|number| policy(&mut dice, number, addresses))
        .collect()
}

pub(crate) fn policy(dice: &mut Dice, number: u64, addresses: &[String]) -> Value {
    let mut spec = json!({"podSelector": pods(dice)});
    let types = dice.pick(&[
        json!(["Ingress"]),
        json!(["Egress"]),
        json!(["Ingress", "Egress"]),
        Value::Null,
    ]);
    if dice.roll(8) != 0 {
        spec["ingress"] = dice.several(2, |dice| rule(dice, "from", addresses)).into();
    }
    if types != json!(["Ingress"]) && dice.roll(4) != 0 {
        spec["egress"] = dice.several(2, |dice| rule(dice, "to", addresses)).into();
    }
    if !types.is_null() {
        spec["policyTypes"] = types;
    }
    let namespace = dice.pick(&NAMESPACES);
    json!({"metadata": {"name": format!("p{number}"), "namespace": namespace}, "spec": spec})
}

fn rule(dice: &mut Dice, peers: &str, addresses: &[String]) -> Value {
    let mut rule = json!({});
    if dice.roll(4) != 0 {
        rule[peers] = dice.several(3, |dice| peer(dice, addresses)).into();
    }
    if dice.roll(2) != 0 {
        rule["ports"] = dice.several(2, port).into();
    }
    rule
}

fn peer(dice: &mut Dice, addresses: &[String]) -> Value {
    match dice.roll(4) {
        0 => json!({"podSelector": pods(dice)}),
        1 => json!({"namespaceSelector": namespaces(dice)}),
        2 => json!({"podSelector": pods(dice), "namespaceSelector": namespaces(dice)}),
        _ => json!({"ipBlock": block(dice, addresses)}),
    }
}

fn block(dice: &mut Dice, addresses: &[String]) -> Value {
    let address = dice.pick(addresses);
    let one = host(&address);
    let [all, pods, some, few] = blocks(&address);
    match dice.roll(4) {
        0 => json!({ "cidr": one }),
        1 => json!({"cidr": pods, "except": [one, few]}),
        2 => json!({"cidr": dice.pick(&[some, few])}),
        _ => json!({"cidr": all, "except": [one]}),
    }
}

/// The block of one address.
pub(crate) fn host(address: &str) -> String {
    let length = if address.contains(':') { 128 } else { 32 };
    format!("{address}/{length}")
}

/// Blocks of the family of an address: everything, all pods, the first node's, a few of the second's.
pub(crate) fn blocks(address: &str) -> [&'static str; 4] {
    if address.contains(':') {
        [
            "::/0",
            "fd00:10:244::/56",
            "fd00:10:244::/64",
            "fd00:10:244:1::/125",
        ]
    } else {
        [
            "0.0.0.0/0",
            "10.244.0.0/16",
            "10.244.0.0/24",
            "10.244.1.0/29",
        ]
    }
}

pub(crate) fn pods(dice: &mut Dice) -> Value {
    let letter = dice.pick(&["a", "b", "c"]);
    match dice.roll(6) {
        0 => json!({}),
        1 | 2 => json!({"matchLabels": {"pod": letter}}),
        3 => {
            json!({"matchExpressions": [{"key": "pod", "operator": "In", "values": [letter, "c"]}]})
        }
        4 => json!({"matchExpressions": [{"key": "pod", "operator": "NotIn", "values": [letter]}]}),
        _ => json!({"matchExpressions": [{"key": dice.pick(&["all", "none"]),
            "operator": dice.pick(&["Exists", "DoesNotExist"])}]}),
    }
}

pub(crate) fn namespaces(dice: &mut Dice) -> Value {
    let name = dice.pick(&NAMESPACES);
    match dice.roll(4) {
        0 => json!({}),
        1 | 2 => json!({"matchLabels": {"ns": name}}),
        _ => json!({"matchExpressions": [{"key": "ns", "operator": "NotIn", "values": [name]}]}),
    }
}

fn port(dice: &mut Dice) -> Value {
    let protocol = dice.pick(&["TCP", "UDP", "SCTP"]);
    match dice.roll(6) {
        0 => json!({ "protocol": protocol }),
        1 | 2 => json!({"protocol": protocol, "port": dice.pick(&[80, 81])}),
        3 => json!({"protocol": protocol, "port": 70, "endPort": dice.pick(&[80, 90])}),
        4 => json!({"protocol": "TCP", "port": "http"}),
        _ => json!({"protocol": protocol, "port": dice.pick(&["http", "dns", "sig"])}),
    }
}

/// What the specification points out, one set of policies each.
pub(crate) fn special(addresses: &[String]) -> Vec<Vec<Value>> {
    let x = |name: &str, spec: Value| json!({"metadata": {"name": name, "namespace": "x"}, "spec": spec});
    let a = json!({"matchLabels": {"pod": "a"}});
    let from = |peers: Value| json!({"podSelector": a, "ingress": [{"from": peers}]});
    let except = host(&addresses[1]);
    let six = addresses.iter().find(|one| one.contains(':'));
    let six = six.expect("an address of each family");
    let ns_y = json!({"matchLabels": {"ns": "y"}});
    let b = json!({"matchLabels": {"pod": "b"}});
    vec![
        // No policy isolates nobody.
        vec![],
        // Default deny, in each direction and in both.
        vec![x(
            "p",
            json!({"podSelector": {}, "policyTypes": ["Ingress"]}),
        )],
        vec![x(
            "p",
            json!({"podSelector": {}, "policyTypes": ["Egress"]}),
        )],
        vec![x(
            "p",
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
        )],
        // Allow all beside deny all: policies add up.
        vec![
            x("p", json!({"podSelector": {}, "policyTypes": ["Ingress"]})),
            x(
                "q",
                json!({"podSelector": a, "policyTypes": ["Ingress"], "ingress": [{}]}),
            ),
        ],
        // One peer with both selectors means both; two peers mean either.
        vec![x(
            "p",
            from(json!([{"namespaceSelector": ns_y, "podSelector": b}])),
        )],
        vec![x(
            "p",
            from(json!([{"namespaceSelector": ns_y}, {"podSelector": b}])),
        )],
        // Empty selectors: all pods of the namespace, all namespaces.
        vec![x("p", from(json!([{"podSelector": {}}])))],
        vec![x("p", from(json!([{"namespaceSelector": {}}])))],
        // An empty list of peers is no list.
        vec![x("p", from(json!([])))],
        // A hole in a block, and another policy that fills it.
        vec![x(
            "p",
            from(json!([{"ipBlock": {"cidr": "10.244.0.0/16", "except": [except]}}])),
        )],
        vec![
            x(
                "p",
                from(json!([{"ipBlock": {"cidr": "10.244.0.0/16", "except": [except]}}])),
            ),
            x(
                "q",
                from(json!([{"podSelector": {"matchLabels": {"pod": "b"}}}])),
            ),
        ],
        // A block of one family says nothing about the other; both beside each other say all.
        vec![x("p", from(json!([{"ipBlock": {"cidr": "0.0.0.0/0"}}])))],
        vec![x("p", from(json!([{"ipBlock": {"cidr": "::/0"}}])))],
        vec![x(
            "p",
            from(
                json!([{"ipBlock": {"cidr": "0.0.0.0/0", "except": [except]}},
                {"ipBlock": {"cidr": "::/0", "except": [host(six)]}}]),
            ),
        )],
        // A name means what each pod calls by it, on the way in and on the way out.
        vec![x(
            "p",
            json!({"podSelector": {}, "ingress": [{"ports": [{"port": "http"}]}]}),
        )],
        vec![x(
            "p",
            json!({"podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{"ports": [{"port": "http"}, {"port": "dns", "protocol": "UDP"}]}]}),
        )],
        // A range of ports, and a protocol without a port.
        vec![x(
            "p",
            json!({"podSelector": {}, "ingress": [{"ports": [{"port": 81, "endPort": 90}]}]}),
        )],
        vec![x(
            "p",
            json!({"podSelector": {}, "ingress": [{"ports": [{"protocol": "UDP"}]}]}),
        )],
        vec![x(
            "p",
            json!({"podSelector": {}, "ingress": [{"ports": [{"protocol": "SCTP"}]}]}),
        )],
        vec![x(
            "p",
            json!({"podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{"ports": [{"port": "sig", "protocol": "SCTP"}]}]}),
        )],
        // Egress rules make an egress policy even if no type says so; answers come back in.
        vec![x(
            "p",
            json!({"podSelector": {}, "egress": [{"to": [{"namespaceSelector": ns_y}]}]}),
        )],
    ]
}
