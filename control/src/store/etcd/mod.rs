//! The store on an etcd cluster, which several processes share.
//!
//! Reads and watches come from memory here as they do over the embedded back end, but memory is fed
//! by one watch of etcd, in the order of its revisions, whoever wrote. A write is a transaction of its
//! own that compares the revision which the key has to have; etcd's revision of it becomes the
//! `resourceVersion`. It is answered once the watch has brought it, so that whoever wrote reads what he
//! wrote. A read that must not be older than what anybody was told ([`Etcd::fresh`]) asks etcd for its
//! revision and waits for the watch to get there; questions that come meanwhile share the next one.
//!
//! The watch is of all keys, because then every revision shows up in it and nothing is waited for in
//! vain: the etcd cluster should be Naru's own. What a write's loss of contact leaves open is told to
//! the writer as such; nothing is written twice.

mod arrivals;
mod compaction;
mod follower;
mod freshness;
mod import;
mod keys;
mod load;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use naru_etcd::Error;
use tokio::sync::{mpsc, oneshot};

use super::backend::BackendError;
use super::seal::Encryption;
use super::state::{Shared, State};
use super::{Resource, ResourceDef, Write};
use arrivals::Arrivals;
use follower::{Addition, Follower};
use freshness::Freshness;
pub(super) use import::Import;
use keys::Keys;
use load::Loader;
use writer::Writer;

/// How long a read waits for memory to catch up before it is refused.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which etcd, and where in it.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// The members and how to speak with them.
    pub cluster: naru_etcd::Config,
    /// What all keys begin with, such as `/naru`.
    pub prefix: String,
}

/// The way to etcd of an open store. The parts end when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Etcd {
    writer: Arc<Writer>,
    additions: mpsc::UnboundedSender<Addition>,
    freshness: Freshness,
    arrivals: Arc<Arrivals>,
}

impl Etcd {
    /// Loads everything and starts to follow.
    pub(super) async fn open(
        config: &EtcdConfig,
        resources: &[ResourceDef],
        encryption: Encryption,
    ) -> Result<(Self, Arc<Shared>), BackendError> {
        let etcd = naru_etcd::Etcd::new(&config.cluster).map_err(BackendError::EtcdConfig)?;
        let loader = Loader {
            etcd: etcd.clone(),
            keys: Keys::under(&config.prefix),
            encryption,
        };
        let revision = loader.revision().await?;
        let kinds = loader.kinds(resources, revision).await?;
        let shared = Arc::new(Shared::new(State { revision, kinds }));
        let arrivals = Arc::new(Arrivals::at(revision));
        let writer = Writer {
            loader: loader.clone(),
            shared: shared.clone(),
            arrivals: arrivals.clone(),
        };
        let follower = Follower::new(loader, shared.clone(), arrivals.clone(), revision);
        let (additions, queue) = mpsc::unbounded_channel();
        tokio::spawn(follower.run(queue));
        let open = Self {
            writer: Arc::new(writer),
            additions,
            freshness: Freshness::start(etcd, arrivals.clone()),
            arrivals,
        };
        Ok((open, shared))
    }

    pub(super) fn write(&self, write: Write) {
        tokio::spawn(self.writer.clone().write(write));
    }

    pub(super) fn add(
        &self,
        def: ResourceDef,
        reply: oneshot::Sender<Result<Resource, BackendError>>,
    ) {
        // Without a follower the reply is dropped, which says that the store is closed.
        let _ = self.additions.send(Addition { def, reply });
    }

    /// Returns when memory shows whatever anybody had been told of before.
    pub(super) async fn fresh(&self) -> Result<(), BackendError> {
        let fresh = tokio::time::timeout(PATIENCE, self.freshness.ask()).await;
        fresh.unwrap_or(Err(BackendError::Behind))
    }

    /// Returns when memory shows `revision`.
    pub(super) async fn reach(&self, revision: u64) {
        self.arrivals.reach(revision).await;
    }
}

/// etcd's revisions are never negative.
fn revision(of_etcd: i64) -> u64 {
    u64::try_from(of_etcd).unwrap_or(0)
}

/// A revision as etcd counts; more than it can count is its last.
fn to_etcd(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn failed(error: Error) -> BackendError {
    if error.is_full() {
        return BackendError::Full;
    }
    BackendError::Etcd(error)
}
