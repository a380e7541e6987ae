//! Who waits for which revision to be shown.
//!
//! A bell that all of them hear would wake thousands of writers for each of their writes; here each
//! is woken once, in the order of revisions.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The revision that memory shows, and those who wait for later ones.
pub(super) struct Arrivals(Mutex<Waiting>);

struct Waiting {
    shown: u64,
    waiters: BTreeMap<u64, Vec<oneshot::Sender<()>>>,
}

impl Arrivals {
    pub(super) fn at(shown: u64) -> Self {
        Self(Mutex::new(Waiting {
            shown,
            waiters: BTreeMap::new(),
        }))
    }

    /// Returns when `revision` is shown. Whoever gives up is forgotten when it is.
    pub(super) async fn reach(&self, revision: u64) {
        let arrival = {
            let mut waiting = self.0.lock();
            if waiting.shown >= revision {
                return;
            }
            let (bell, arrival) = oneshot::channel();
            waiting.waiters.entry(revision).or_default().push(bell);
            arrival
        };
        if arrival.await.is_err() {
            // The store was closed: nothing will be shown any more.
            std::future::pending::<()>().await;
        }
    }

    /// Everything up to `revision` is shown.
    pub(super) fn shown(&self, revision: u64) {
        let arrived = {
            let mut waiting = self.0.lock();
            waiting.shown = waiting.shown.max(revision);
            let later = waiting.waiters.split_off(&(revision + 1));
            std::mem::replace(&mut waiting.waiters, later)
        };
        for bell in arrived.into_values().flatten() {
            let _ = bell.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn everybody_is_woken_when_it_is_time_and_not_before() {
        let arrivals = Arc::new(Arrivals::at(5));
        arrivals.reach(5).await;
        let wait = |revision| {
            let arrivals = arrivals.clone();
            tokio::spawn(async move { arrivals.reach(revision).await })
        };
        let (six, eight, also_eight) = (wait(6), wait(8), wait(8));
        while arrivals.0.lock().waiters.values().flatten().count() < 3 {
            tokio::task::yield_now().await;
        }
        arrivals.shown(7);
        six.await.unwrap();
        assert_eq!(arrivals.0.lock().waiters.len(), 1, "two still wait");
        arrivals.shown(8);
        eight.await.unwrap();
        also_eight.await.unwrap();
    }
}
