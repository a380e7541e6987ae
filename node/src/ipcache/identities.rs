//! The numbers of classes.

use std::collections::{BTreeMap, HashMap, HashSet};

use ipnet::IpNet;
use naru_ebpf_common::ipcache::{
    IDENTITY_FIRST, IDENTITY_HOST, IDENTITY_REMOTE_NODE, IDENTITY_WORLD,
};

use super::class::Class;
use super::plan::Entry;

/// Class → number. A number is never given twice in the life of a node's maps, so that a stale
/// entry cannot speak for a new class.
#[derive(Debug)]
pub struct Identities {
    numbers: HashMap<Class, u32>,
    next: u32,
}

impl Default for Identities {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            next: IDENTITY_FIRST,
        }
    }
}

impl Identities {
    /// Goes on where an earlier daemon ended: each class takes the number that one of its addresses
    /// has in the map (`live`), unless another class claimed it first; new numbers begin after
    /// `highest`, the highest in the map, be it of an address that is gone.
    pub fn adopt(
        live: &HashMap<IpNet, u32>,
        highest: u32,
        entries: &BTreeMap<IpNet, Entry>,
    ) -> Self {
        let next = highest.max(IDENTITY_FIRST - 1) + 1;
        let (mut numbers, mut claimed) = (HashMap::new(), HashSet::new());
        for (net, entry) in entries {
            let Some(number) = live.get(net).copied() else {
                continue;
            };
            if fixed(&entry.class).is_some() || number < IDENTITY_FIRST {
                continue;
            }
            if !numbers.contains_key(&entry.class) && claimed.insert(number) {
                numbers.insert(entry.class.clone(), number);
            }
        }
        Self { numbers, next }
    }

    /// Gives every class of `entries` its number and forgets classes that no address has.
    pub fn resolve(&mut self, entries: &BTreeMap<IpNet, Entry>) {
        let alive: HashSet<&Class> = entries.values().map(|entry| &entry.class).collect();
        self.numbers.retain(|class, _| alive.contains(class));
        for entry in entries.values() {
            if fixed(&entry.class).is_none() && !self.numbers.contains_key(&entry.class) {
                self.numbers.insert(entry.class.clone(), self.next);
                self.next += 1;
            }
        }
    }

    /// The number of a class that [`Identities::resolve`] has seen.
    #[must_use]
    pub fn number(&self, class: &Class) -> u32 {
        fixed(class)
            .or_else(|| self.numbers.get(class).copied())
            .unwrap_or(IDENTITY_WORLD)
    }

    /// Every class that a policy can name, with its number.
    pub fn classes(&self) -> impl Iterator<Item = (&Class, u32)> {
        self.numbers.iter().map(|(class, number)| (class, *number))
    }
}

/// Numbers of the contract.
fn fixed(class: &Class) -> Option<u32> {
    match class {
        Class::Host => Some(IDENTITY_HOST),
        Class::RemoteNode { blocks } if blocks.is_empty() => Some(IDENTITY_REMOTE_NODE),
        Class::Outside { blocks } if blocks.is_empty() => Some(IDENTITY_WORLD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pod(name: &str) -> Entry {
        let labels = Arc::new(BTreeMap::from([("app".to_owned(), name.to_owned())]));
        Entry::of(Class::Pod {
            namespace: "a".into(),
            labels,
            blocks: vec![],
        })
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_are_shared_within_a_class_and_never_reused() {
        let mut identities = Identities::default();
        let mut entries = BTreeMap::from([
            (net("10.0.0.1/32"), pod("a")),
            (net("10.0.0.2/32"), pod("a")),
        ]);
        identities.resolve(&entries);
        let first = identities.number(&pod("a").class);
        assert_eq!(first, IDENTITY_FIRST);
        entries = BTreeMap::from([(net("10.0.0.1/32"), pod("b"))]);
        identities.resolve(&entries);
        assert_eq!(identities.number(&pod("b").class), first + 1);
        entries.insert(net("10.0.0.2/32"), pod("a"));
        identities.resolve(&entries);
        assert_eq!(identities.number(&pod("a").class), first + 2);
    }

    #[test]
    fn a_restart_keeps_numbers_and_settles_conflicts() {
        let entries = BTreeMap::from([
            (net("10.0.0.1/32"), pod("a")),
            (net("10.0.0.2/32"), pod("b")),
        ]);
        let live = HashMap::from([(net("10.0.0.1/32"), 300), (net("10.0.0.2/32"), 300)]);
        let mut identities = Identities::adopt(&live, 300, &entries);
        identities.resolve(&entries);
        assert_eq!(identities.number(&pod("a").class), 300);
        assert_eq!(identities.number(&pod("b").class), 301);
    }

    #[test]
    fn after_a_restart_the_number_of_an_address_that_is_gone_is_nobodys() {
        let world = Entry::of(Class::Outside {
            blocks: vec![net("0.0.0.0/0")],
        });
        let entries = BTreeMap::from([
            (net("0.0.0.0/0"), world.clone()),
            (net("10.0.0.1/32"), pod("a")),
            (net("10.0.0.2/32"), pod("b")),
        ]);
        let live = HashMap::from([(net("0.0.0.0/0"), 300), (net("10.0.0.1/32"), 301)]);
        let mut identities = Identities::adopt(&live, 310, &entries);
        identities.resolve(&entries);
        let numbers = [&world, &pod("a"), &pod("b")].map(|entry| identities.number(&entry.class));
        assert_eq!(numbers, [300, 301, 311]);
    }
}
