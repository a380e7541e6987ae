//! What a ReplicaSet has written and not yet seen come back through the cache.
//!
//! Assumption: every creation and deletion appears in the watch exactly once. Guarantee: while a
//! ReplicaSet has unseen writes its pods are not counted, so a stale cache never leads to double
//! creation. Caveat: a lost event is waited for [`EXPIRY`], then forgotten.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// After this long an expectation is void.
pub const EXPIRY: Duration = Duration::from_secs(300);

/// Expectations by the owner's uid.
#[derive(Default)]
pub struct Expectations {
    owners: Mutex<HashMap<String, Unseen>>,
}

struct Unseen {
    creations: usize,
    deletions: HashSet<String>,
    since: Instant,
}

impl Expectations {
    /// Expects `creations` new pods and the end of the pods with uids `deletions`.
    pub fn expect(
        &self,
        owner: &str,
        creations: usize,
        deletions: impl IntoIterator<Item = String>,
    ) {
        let unseen = Unseen {
            creations,
            deletions: deletions.into_iter().collect(),
            since: Instant::now(),
        };
        self.owners.lock().insert(owner.to_owned(), unseen);
    }

    /// A creation was seen, or failed.
    pub fn created(&self, owner: &str, count: usize) {
        if let Some(unseen) = self.owners.lock().get_mut(owner) {
            unseen.creations = unseen.creations.saturating_sub(count);
        }
    }

    /// A deletion was seen, or failed.
    pub fn deleted(&self, owner: &str, pod: &str) {
        if let Some(unseen) = self.owners.lock().get_mut(owner) {
            unseen.deletions.remove(pod);
        }
    }

    /// Whether the cache shows everything that `owner` wrote.
    pub fn met(&self, owner: &str) -> bool {
        self.owners.lock().get(owner).is_none_or(|unseen| {
            (unseen.creations == 0 && unseen.deletions.is_empty())
                || unseen.since.elapsed() > EXPIRY
        })
    }

    /// Forgets a deleted owner.
    pub fn forget(&self, owner: &str) {
        self.owners.lock().remove(owner);
    }
}

#[cfg(test)]
mod tests {
    use super::Expectations;

    #[test]
    fn an_owner_waits_until_every_write_was_seen() {
        let expectations = Expectations::default();
        assert!(expectations.met("rs"));
        expectations.expect("rs", 2, ["p1".to_owned()]);
        expectations.created("rs", 1);
        expectations.created("rs", 1);
        assert!(!expectations.met("rs"));
        expectations.deleted("rs", "p1");
        assert!(expectations.met("rs"));
    }

    #[test]
    fn pods_of_others_do_not_count() {
        let expectations = Expectations::default();
        expectations.expect("rs", 1, []);
        expectations.created("other", 1);
        assert!(!expectations.met("rs"));
        expectations.forget("rs");
        assert!(expectations.met("rs"));
    }
}
