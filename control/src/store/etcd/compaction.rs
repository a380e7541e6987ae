//! Forgetting old revisions: etcd keeps every state of every object until it is told not to.
//!
//! Every server does this for itself; who comes second finds nothing to do. What is forgotten is as
//! old as the interval, which is the time that a server may be cut off and still catch up.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::to_etcd;

/// As kube-apiserver has it (`--etcd-compaction-interval`).
const INTERVAL: Duration = Duration::from_secs(300);

pub(super) struct Compaction {
    etcd: naru_etcd::Etcd,
    clock: Interval,
    /// What was shown an interval ago.
    before: Option<u64>,
}

impl Compaction {
    pub(super) fn new(etcd: naru_etcd::Etcd) -> Self {
        let mut clock = interval_at(Instant::now() + INTERVAL, INTERVAL);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            etcd,
            clock,
            before: None,
        }
    }

    /// Returns when it is time.
    pub(super) async fn due(&mut self) {
        self.clock.tick().await;
    }

    /// Lets etcd forget what was before the last time, and does not wait for it.
    pub(super) fn start(&mut self, shown: u64) {
        let Some(old) = self.before.replace(shown) else {
            return;
        };
        let etcd = self.etcd.clone();
        tokio::spawn(async move {
            match etcd.compact(to_etcd(old)).await {
                Ok(()) => tracing::debug!(revision = old, "etcd is compacted"),
                Err(error) if error.is_compacted() => {}
                Err(error) => tracing::warn!(%error, "etcd was not compacted"),
            }
        });
    }
}
