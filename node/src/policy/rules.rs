//! Numbers of rules, and the policies that they come from.

use std::collections::{BTreeMap, HashMap};

use crate::watches::Key;

/// One rule of one policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleName {
    /// The policy.
    pub policy: Key,
    /// Whether it is an egress rule.
    pub egress: bool,
    /// Its place in the policy's list, from 0.
    pub index: usize,
    /// Its own name, empty if it has none.
    pub title: String,
}

impl RuleName {
    /// A rule without a name of its own.
    #[must_use]
    pub fn new(policy: &Key, egress: bool, index: usize) -> Self {
        Self {
            policy: policy.clone(),
            egress,
            index,
            title: String::new(),
        }
    }

    /// The rule with its own name.
    #[must_use]
    pub fn titled(self, title: &str) -> Self {
        let title = title.to_owned();
        Self { title, ..self }
    }
}

/// For people: `NAMESPACE/NAME` of a NetworkPolicy, whose rules add up; of a ClusterNetworkPolicy the
/// rule, too, because it is one of an order.
impl std::fmt::Display for RuleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.policy.namespace.is_empty() {
            return self.policy.fmt(f);
        }
        let way = if self.egress { "egress" } else { "ingress" };
        write!(
            f,
            "ClusterNetworkPolicy/{} {way}[{}]",
            self.policy.name, self.index
        )?;
        if self.title.is_empty() {
            return Ok(());
        }
        write!(f, " {:?}", self.title)
    }
}

/// Rule ↔ number. The number is a hash of the name, so that it outlives a restart; of two rules
/// with one hash the second takes the next number.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    numbers: BTreeMap<RuleName, u32>,
    names: HashMap<u32, RuleName>,
}

impl Rules {
    /// The rule's number, never 0.
    pub fn number(&mut self, name: RuleName) -> u32 {
        if let Some(number) = self.numbers.get(&name) {
            return *number;
        }
        let mut number = hash(&name).max(1);
        while self.names.contains_key(&number) {
            number = number.checked_add(1).unwrap_or(1);
        }
        self.names.insert(number, name.clone());
        self.numbers.insert(name, number);
        number
    }

    /// The rule with a number.
    #[must_use]
    pub fn name(&self, number: u32) -> Option<&RuleName> {
        self.names.get(&number)
    }
}

/// FNV-1a of 32 bits.
fn hash(name: &RuleName) -> u32 {
    let text = format!(
        "{}/{}/{}/{}",
        name.policy.namespace, name.policy.name, name.egress, name.index
    );
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_and_lead_back_to_the_policy() {
        let name = |index| RuleName::new(&Key::new("shop", "deny"), false, index);
        let (mut one, mut other) = (Rules::default(), Rules::default());
        let number = one.number(name(0));
        other.number(name(1));
        assert_eq!(other.number(name(0)), number);
        assert_ne!(one.number(name(1)), number);
        assert_eq!(one.name(number), Some(&name(0)));
    }

    #[test]
    fn rules_of_cluster_policies_are_told_apart() {
        let network = RuleName::new(&Key::new("shop", "deny"), false, 1);
        assert_eq!(network.to_string(), "shop/deny");
        let cluster = RuleName::new(&Key::new("", "deny"), true, 1);
        assert_eq!(cluster.to_string(), "ClusterNetworkPolicy/deny egress[1]");
        let titled = cluster.titled("no db").to_string();
        assert_eq!(titled, "ClusterNetworkPolicy/deny egress[1] \"no db\"");
    }
}
