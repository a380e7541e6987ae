//! What the committer needs of a back end: load everything once, then make batches durable.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

/// One stored object.
pub(super) struct Row<'a> {
    /// `namespace/name` or `name`.
    pub key: &'a str,
    /// The write that made it.
    pub revision: u64,
    /// The object.
    pub json: &'a [u8],
}

/// One change of a batch; shares its parts with what is in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowChange {
    /// Name of the resource.
    pub resource: Arc<str>,
    /// `namespace/name` or `name`.
    pub key: Arc<str>,
    /// The write that made it.
    pub revision: u64,
    /// The object, or none to remove the row.
    pub json: Option<Bytes>,
}

/// Keeps rows durably. Used by one thread.
pub(super) trait Backend: Send {
    /// The revision of the last batch.
    ///
    /// # Errors
    /// When the storage cannot be read.
    fn revision(&mut self) -> Result<u64, BackendError>;

    /// The revision of the last change to a resource, deletions included.
    ///
    /// # Errors
    /// When the storage cannot be read.
    fn last_change(&mut self, resource: &str) -> Result<u64, BackendError>;

    /// Calls `each` with every row of a resource in key order.
    ///
    /// # Errors
    /// When the storage cannot be read, or the first error of `each`.
    fn scan(
        &mut self,
        resource: &str,
        each: &mut dyn FnMut(Row<'_>) -> Result<(), BackendError>,
    ) -> Result<(), BackendError>;

    /// Makes a batch durable, all or nothing; returns after the storage has confirmed it.
    ///
    /// # Errors
    /// The batch did not happen. [`BackendError::Diverged`] means that its fate was unknown and that
    /// it did happen: the process must start again to show it.
    fn commit(&mut self, revision: u64, changes: &[RowChange]) -> Result<(), BackendError>;
}

/// Why the storage failed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// No space left on the device or in the quota.
    #[error("no space left on the device")]
    Full,
    /// The file system refused.
    #[error("input or output failed")]
    Io(#[source] io::Error),
    /// The database refused.
    #[error("the database failed")]
    Database(#[source] Box<redb::Error>),
    /// A row is not readable.
    #[error("the row {key} holds no JSON")]
    Row {
        /// The row's key.
        key: String,
        /// What the decoder said.
        #[source]
        source: serde_json::Error,
    },
    /// A journal is damaged in front of something that was acknowledged.
    #[error("the journal {path} is damaged at byte {offset}; what stands behind cannot be trusted")]
    Journal {
        /// The file.
        path: String,
        /// Where.
        offset: u64,
    },
    /// A row was encrypted by a key that is not known here.
    #[error("the row {row} is encrypted by {by:?}, which the encryption configuration lacks")]
    Locked {
        /// Resource and key of the row.
        row: String,
        /// The name of the key, or how the row begins.
        by: String,
    },
    /// A row does not open with the key of that name.
    #[error(
        "the row {row} does not open with the key {by:?}: that is another one, or it is damaged"
    )]
    Sealed {
        /// Resource and key of the row.
        row: String,
        /// The name of the key.
        by: String,
    },
    /// Nothing can be encrypted.
    #[error("the system has no random numbers")]
    Random,
    /// The way to etcd is not usable as configured.
    #[error("the configuration of etcd")]
    EtcdConfig(#[source] naru_etcd::ConfigError),
    /// etcd refused, or is not reached.
    #[error("etcd does not serve")]
    Etcd(#[source] naru_etcd::Error),
    /// etcd cannot be asked what is the newest.
    #[error("etcd does not say what is the newest")]
    Unreachable(#[source] Arc<naru_etcd::Error>),
    /// Memory does not catch up with etcd.
    #[error("what is in memory is older than what etcd has")]
    Behind,
    /// A batch that was reported as failed is on disk.
    #[error("the disk is at revision {disk}, the process at {memory}; a restart is needed")]
    Diverged {
        /// Revision on disk.
        disk: u64,
        /// Revision in memory.
        memory: u64,
    },
}

/// Whatever a file or the database says.
pub(super) fn failed(error: impl Into<redb::Error>) -> BackendError {
    match error.into() {
        redb::Error::Io(source) if is_full(&source) => BackendError::Full,
        redb::Error::Io(source) => BackendError::Io(source),
        other => BackendError::Database(Box::new(other)),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
