//! Where writes go: the committer of the embedded back end, or etcd.

use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::backend::BackendError;
use super::etcd::Etcd;
use super::{Command, Resource, ResourceDef, Write};

/// What a store is made on; clones share it. A question that cannot be passed on is dropped, which
/// tells who asked it that the store is closed.
#[derive(Clone)]
pub(super) enum Engine {
    /// A file of this process alone, written by one thread.
    Embedded(mpsc::Sender<Command>),
    /// A cluster that other processes write to as well.
    Etcd(Etcd),
}

impl Engine {
    pub(super) fn write(&self, write: Write) {
        match self {
            Self::Embedded(committer) => drop(committer.send(Command::Write(write))),
            Self::Etcd(etcd) => etcd.write(write),
        }
    }

    pub(super) fn add(
        &self,
        def: ResourceDef,
        reply: oneshot::Sender<Result<Resource, BackendError>>,
    ) {
        match self {
            Self::Embedded(committer) => drop(committer.send(Command::Add(def, reply))),
            Self::Etcd(etcd) => etcd.add(def, reply),
        }
    }

    /// Returns when memory shows whatever anybody had been told of before.
    pub(super) async fn fresh(&self) -> Result<(), BackendError> {
        match self {
            // Nobody is told of anything before it is shown.
            Self::Embedded(_) => Ok(()),
            Self::Etcd(etcd) => etcd.fresh().await,
        }
    }

    /// Returns when memory shows `revision`, or after `patience`.
    pub(super) async fn reach(&self, revision: u64, patience: Duration) {
        match self {
            // What is not shown yet was never told to anybody.
            Self::Embedded(_) => {}
            Self::Etcd(etcd) => {
                let _ = tokio::time::timeout(patience, etcd.reach(revision)).await;
            }
        }
    }
}
