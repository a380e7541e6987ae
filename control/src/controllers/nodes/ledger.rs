//! Which parts of the cluster's ranges the nodes hold, and who waits for one.
//!
//! Kept beside the cache because a range is given before the cache shows it, and because looking
//! through all nodes for each new one does not end on large clusters.

use crate::controllers::range::Range;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The ranges of all nodes.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    held: HashMap<String, Vec<Range>>,
    /// Each range in order, and how many nodes hold it: a user can give one twice.
    taken: BTreeMap<Range, usize>,
    waiting: BTreeSet<String>,
}

impl Ledger {
    /// Notes what a node holds, in place of what it held.
    pub(super) fn hold(&mut self, node: &str, ranges: Vec<Range>) {
        self.give_back(node);
        self.waiting.remove(node);
        for range in &ranges {
            *self.taken.entry(*range).or_default() += 1;
        }
        self.held.insert(node.to_owned(), ranges);
    }

    /// Forgets a node. Answers those who wait for a range: there may be one now.
    pub(super) fn release(&mut self, node: &str) -> BTreeSet<String> {
        self.give_back(node);
        self.waiting.remove(node);
        std::mem::take(&mut self.waiting)
    }

    fn give_back(&mut self, node: &str) {
        for range in self.held.remove(node).unwrap_or_default() {
            if let Some(count) = self.taken.get_mut(&range) {
                *count -= 1;
                if *count == 0 {
                    self.taken.remove(&range);
                }
            }
        }
    }

    /// The first free part of each range for a node, which holds them from now on.
    ///
    /// # Errors
    /// The range that has none; the node waits then.
    pub(super) fn give(
        &mut self,
        node: &str,
        cluster: &[Range],
        v4_prefix: u8,
    ) -> Result<Vec<Range>, Range> {
        self.give_back(node);
        let part = |range: &Range| {
            let prefix = range.node_prefix(v4_prefix);
            range.first_free(prefix, self.taken.keys()).ok_or(*range)
        };
        let free: Result<Vec<Range>, Range> = cluster.iter().map(part).collect();
        match &free {
            Ok(free) => self.hold(node, free.clone()),
            Err(_) => drop(self.waiting.insert(node.to_owned())),
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(texts: &[&str]) -> Vec<Range> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_node_gets_a_part_of_every_range_or_none() {
        let cluster = ranges(&["fd00:1::/56", "10.0.0.0/23"]);
        let mut ledger = Ledger::default();
        ledger.hold("old", ranges(&["10.0.0.0/24", "fd00:1::/64"]));
        let given = ranges(&["fd00:1:0:1::/64", "10.0.1.0/24"]);
        assert_eq!(ledger.give("new", &cluster, 24), Ok(given.clone()));
        assert_eq!(ledger.give("new", &cluster, 24), Ok(given));
        assert_eq!(ledger.give("late", &cluster, 24), Err(cluster[1]));
        assert_eq!(ledger.release("old"), ["late".to_owned()].into());
        let freed = ranges(&["fd00:1::/64", "10.0.0.0/24"]);
        assert_eq!(ledger.give("late", &cluster, 24), Ok(freed));
        assert!(ledger.release("new").is_empty());
    }

    #[test]
    fn a_range_that_two_nodes_hold_is_free_after_both() {
        let cluster = ranges(&["10.0.0.0/24"]);
        let mut ledger = Ledger::default();
        ledger.hold("a", cluster.clone());
        ledger.hold("b", cluster.clone());
        ledger.release("a");
        assert!(ledger.give("c", &cluster, 24).is_err());
        ledger.release("b");
        assert_eq!(ledger.give("c", &cluster, 24), Ok(cluster));
    }
}
