//! When a reconciler runs: after any change, once it has settled, and now and then anyway.

use std::time::Duration;

use futures_util::future::select_all;
use tokio::sync::watch;

/// Long enough for the objects of one `kubectl apply` to arrive together, too short to be felt.
const SETTLE: Duration = Duration::from_millis(2);

/// Several sources of change as one.
#[derive(Debug)]
pub(super) struct Trigger {
    sources: Vec<watch::Receiver<u64>>,
    resync: Duration,
}

impl Trigger {
    /// Fires after a change of any source, and `resync` after the last time.
    pub(super) fn new(sources: Vec<watch::Receiver<u64>>, resync: Duration) -> Self {
        Self { sources, resync }
    }

    /// Waits for the next run. Carries no hint of what changed, but says whether anything has, or it is
    /// only time for another look.
    pub(super) async fn wait(&mut self) -> bool {
        let changes = self
            .sources
            .iter_mut()
            .map(|source| Box::pin(source.changed()));
        let change = tokio::time::timeout(self.resync, select_all(changes));
        let changed = change.await.is_ok();
        tokio::time::sleep(SETTLE).await;
        self.sources
            .iter_mut()
            .for_each(watch::Receiver::mark_unchanged);
        changed
    }
}
