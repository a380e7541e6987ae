//! Workers: take a key, reconcile, retry with back-off; a slow tick offers every key again.

use super::error::chain;
use super::{Queue, ReconcileError};
use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often every key is offered again, in case a change was missed.
const RESYNC: Duration = Duration::from_secs(600);

/// What a finished reconcile wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing until something changes.
    Settled,
    /// Another look in this time.
    Again(Duration),
}

/// A reconciler: level-triggered, so it gets a key and no hint.
pub trait Reconcile: Send + Sync + 'static {
    /// What a unit of work is named by.
    type Key: Clone + Eq + Hash + Debug + Display + Send + Sync + 'static;
    /// Name in logs.
    const NAME: &'static str;
    /// Keys worked on at the same time.
    const WORKERS: usize = 2;

    /// The queue that feeds it.
    fn queue(&self) -> &Queue<Self::Key>;

    /// Every key that exists now.
    fn keys(&self) -> Vec<Self::Key>;

    /// Reads, plans, applies, reports.
    fn reconcile(
        &self,
        key: &Self::Key,
    ) -> impl Future<Output = Result<After, ReconcileError>> + Send;
}

/// Adds the workers of `reconciler` to `tasks`; they end when `stop` is cancelled, after the
/// attempt in hand.
pub fn spawn<R: Reconcile>(reconciler: Arc<R>, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
    for _ in 0..R::WORKERS {
        tasks.spawn(work(reconciler.clone(), stop.clone()));
    }
    tasks.spawn(resync(reconciler, stop.clone()));
}

async fn work<R: Reconcile>(reconciler: Arc<R>, stop: CancellationToken) {
    let mut iteration = 0u64;
    while let Some(key) = stop.run_until_cancelled(reconciler.queue().next()).await {
        iteration += 1;
        attempt(reconciler.as_ref(), &key, iteration).await;
        reconciler.queue().done(&key);
        // An attempt that had nothing to wait for would otherwise keep its thread from everybody,
        // for as long as there are keys.
        tokio::task::yield_now().await;
    }
}

async fn attempt<R: Reconcile>(reconciler: &R, key: &R::Key, iteration: u64) {
    let queue = reconciler.queue();
    match reconciler.reconcile(key).await {
        Ok(After::Settled) => queue.forget(key),
        Ok(After::Again(delay)) => {
            queue.forget(key);
            queue.add_after(key.clone(), delay);
        }
        Err(error) if error.is_final() => {
            tracing::debug!(controller = R::NAME, %key, iteration, error = chain(&error), "over");
            queue.forget(key);
        }
        Err(error) => {
            if error.is_expected() {
                tracing::debug!(controller = R::NAME, %key, iteration, error = chain(&error), "retry");
            } else {
                tracing::warn!(controller = R::NAME, %key, iteration, error = chain(&error), "reconcile failed");
            }
            queue.retry(key.clone());
        }
    }
}

async fn resync<R: Reconcile>(reconciler: Arc<R>, stop: CancellationToken) {
    loop {
        reconciler
            .keys()
            .into_iter()
            .for_each(|key| reconciler.queue().add(key));
        if stop
            .run_until_cancelled(tokio::time::sleep(RESYNC))
            .await
            .is_none()
        {
            return;
        }
    }
}
