//! Rebuilding something from whole tables whenever they change.

use std::time::{Duration, Instant};

use futures_util::future::select_all;
use tokio::sync::watch;

/// Shortest pause between rebuilds while changes keep coming.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// A rebuild is followed by a pause of this many times its own length.
const PAUSE_FACTOR: u32 = 4;

/// Calls `rebuild` at once and then after every change, until a table is gone.
///
/// A single change is acted upon immediately. While many come, the pause after each rebuild keeps
/// its share of a core at a fifth and lets changes gather; none is lost, because what changes
/// during a rebuild or a pause starts the next one.
pub async fn follow(mut tables: Vec<watch::Receiver<u64>>, mut rebuild: impl FnMut()) {
    loop {
        let start = Instant::now();
        tables.iter_mut().for_each(|table| table.mark_unchanged());
        rebuild();
        let pause = start.elapsed() * PAUSE_FACTOR;
        tokio::time::sleep(pause.max(SHORTEST_PAUSE)).await;
        let changes = tables.iter_mut().map(|table| Box::pin(table.changed()));
        if select_all(changes).await.0.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test]
    async fn the_last_change_is_always_seen() {
        let (one, other) = (watch::Sender::new(0), watch::Sender::new(0));
        let seen = Arc::new(AtomicU64::new(0));
        let task = {
            let (reader, seen) = (one.subscribe(), Arc::clone(&seen));
            let tables = vec![one.subscribe(), other.subscribe()];
            tokio::spawn(follow(tables, move || {
                seen.store(*reader.borrow(), Ordering::SeqCst)
            }))
        };
        for value in 1..=200 {
            one.send_replace(value);
            tokio::task::yield_now().await;
        }
        let settled = async {
            while seen.load(Ordering::SeqCst) != 200 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), settled)
            .await
            .unwrap();
        drop((one, other));
        task.await.unwrap();
    }
}
