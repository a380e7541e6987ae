//! How a set of reconcilers starts: watches fill the caches, then the workers begin.

use super::{Kind, Reconcile, Store, worker};
use futures_util::future::{BoxFuture, FutureExt, join_all};
use kube::Client;
use kube::runtime::watcher;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Watches under way, and what has to be known before anybody may plan.
pub struct Start {
    client: Client,
    watches: JoinSet<()>,
    synced: Vec<BoxFuture<'static, ()>>,
}

impl Start {
    /// Nothing yet; everything will be read through `client`.
    pub fn new(client: Client) -> Self {
        Start {
            client,
            watches: JoinSet::new(),
            synced: Vec::new(),
        }
    }

    /// Keeps `store` filled with what `config` selects.
    pub fn follow<K: Kind>(&mut self, store: &Arc<Store<K>>, config: watcher::Config) {
        let (follower, waiter) = (store.clone(), store.clone());
        self.watches
            .spawn(follower.follow(self.client.clone(), config));
        self.synced
            .push(async move { waiter.wait_synced().await }.boxed());
    }

    /// The tasks that end with the workers.
    pub fn watches(&mut self) -> &mut JoinSet<()> {
        &mut self.watches
    }

    /// Waits until every store holds a complete list; `None` when `shutdown` comes first.
    pub async fn ready(mut self, shutdown: CancellationToken) -> Option<Running> {
        let synced = join_all(std::mem::take(&mut self.synced));
        shutdown.run_until_cancelled(synced).await?;
        Some(Running {
            _watches: self.watches,
            workers: JoinSet::new(),
            shutdown,
        })
    }
}

/// Workers over filled caches.
pub struct Running {
    _watches: JoinSet<()>,
    workers: JoinSet<()>,
    shutdown: CancellationToken,
}

impl Running {
    /// Adds the workers of a reconciler.
    pub fn spawn<R: Reconcile>(&mut self, reconciler: Arc<R>) {
        worker::spawn(reconciler, &mut self.workers, &self.shutdown);
    }

    /// Returns after the shutdown, when the writes in hand are done.
    pub async fn finish(mut self) {
        while self.workers.join_next().await.is_some() {}
    }
}
