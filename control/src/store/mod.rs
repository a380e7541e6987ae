//! Revisions, the watch log, and what makes writes durable: the embedded back end, or etcd.
//!
//! All reads and watches are served from memory: persistent maps give a consistent snapshot in
//! constant time, and a bounded log per resource gives watchers their events. One global counter
//! numbers the writes; it is the `resourceVersion` of the API. Over the embedded back end every write
//! goes through one committer thread, which gathers what waits into one transaction, makes it durable,
//! shows it to readers, and only then answers; over etcd it is a transaction there, and memory follows
//! etcd (`etcd`).
//!
//! The store knows no kind and no rule of the API: it keeps JSON under `resource`, `namespace/name`.

mod backend;
mod commit;
mod embedded;
mod engine;
mod etcd;
mod journal;
mod load;
mod log;
mod object;
mod objects;
mod outline;
mod seal;
pub mod snapshot;
mod state;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;

use engine::Engine;

pub use backend::BackendError;
pub use etcd::EtcdConfig;
pub use log::{Event, EventType, Expired, Watcher};
pub use object::{Draft, Head, Object, Selectable};
pub use objects::Objects;
pub use seal::{Encryption, EncryptionError};
pub use state::Snapshot;

/// Bytes that an object may take as it is stored, in either kind of store: what etcd takes. The store
/// does not look at it: what the server itself notes about an object is written whatever it takes.
pub const MAX_OBJECT: usize = 3 << 19;

/// Reads one field of an object for field selectors.
pub type FieldReader = fn(&Value) -> String;

/// One resource that the store keeps, such as `apps/deployments`.
#[derive(Clone, Copy, Default)]
pub struct ResourceDef {
    /// Group of the resource, empty for the core group.
    pub group: &'static str,
    /// Plural name.
    pub plural: &'static str,
    /// Selectable fields beyond name and namespace.
    pub fields: &'static [(&'static str, FieldReader)],
    /// Selectable fields by their dotted paths; they come after `fields`.
    pub paths: &'static [&'static str],
}

impl ResourceDef {
    /// The name under which rows are kept on disk: `plural` or `plural.group`.
    fn row_name(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Levels of an object that its selectable fields are found in.
    fn levels(&self) -> usize {
        let deep = self.paths.iter().map(|path| path.split('.').count());
        deep.fold(outline::LEVELS, usize::max)
    }
}

/// Index of a resource in the list that the store was opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resource(pub usize);

/// What a write wants to happen to one key.
pub enum Change {
    /// The key must be free.
    Create(Draft),
    /// The key must hold exactly this revision.
    Update(Draft, u64),
    /// The key must hold exactly this revision; the draft is the last state that watchers see.
    Delete(Draft, u64),
}

/// What a write was decided from beyond its own key: nobody may have made a write under this name
/// since. Processes that share a store are kept apart by it; within one, whoever decides sees to that,
/// and the embedded back end does not look at it.
#[derive(Debug, Clone, Copy)]
pub struct Guard {
    /// What is guarded.
    pub name: &'static str,
    /// The newest revision that was looked at.
    pub seen: u64,
}

/// Why a write did not happen; but for [`Self::Unanswered`] nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The key of a creation is taken.
    #[error("the key exists already")]
    Exists,
    /// The key of an update or deletion is free.
    #[error("the key does not exist")]
    Missing,
    /// The key holds another revision than the write expects.
    #[error("the key is at revision {current}, not at the expected one")]
    Conflict {
        /// The revision that the key holds.
        current: u64,
    },
    /// What the write was decided from has changed since, in another process.
    #[error("another process was faster")]
    Overtaken,
    /// The object is larger than [`MAX_OBJECT`], or than etcd takes.
    #[error(
        "the object takes {bytes} bytes as it is stored, more than the {MAX_OBJECT} (1.5 MiB) that \
         an object may take"
    )]
    TooLarge {
        /// Bytes of the object as it was to be stored, without its revision.
        bytes: usize,
    },
    /// The disk or the quota is full.
    #[error("no space left for the store")]
    Full,
    /// The back end failed otherwise.
    #[error("the store cannot write: {0}")]
    Backend(String),
    /// The back end did not answer: the write may have happened, or may still.
    #[error("the store did not answer: {0}")]
    Unanswered(String),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

pub(crate) struct Write {
    resource: Resource,
    key: Arc<str>,
    change: Change,
    guard: Option<Guard>,
    reply: oneshot::Sender<Result<Object, WriteError>>,
}

/// What the committer is asked to do.
pub(crate) enum Command {
    /// A write.
    Write(Write),
    /// One more resource to keep.
    Add(ResourceDef, oneshot::Sender<Result<Resource, BackendError>>),
}

/// Handle of an open store; clones share it. The committer ends when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<state::Shared>,
    engine: Engine,
    /// The database file of the embedded back end.
    file: Option<Arc<Path>>,
}

impl Store {
    /// Opens or creates the embedded store in the file `path`, with its journal beside it, and loads every object into memory.
    ///
    /// # Errors
    /// When the file cannot be opened, is in use, or holds something that is no store.
    pub fn open(path: &Path, resources: &[ResourceDef]) -> Result<Self, BackendError> {
        Self::open_encrypted(path, resources, Encryption::default())
    }

    /// The same with files that hold no more than `encryption` allows to be read in them.
    ///
    /// # Errors
    /// As [`Self::open`], and when a row was encrypted by a key that `encryption` lacks.
    pub fn open_encrypted(
        path: &Path,
        resources: &[ResourceDef],
        encryption: Encryption,
    ) -> Result<Self, BackendError> {
        let embedded = embedded::Embedded::open(path)?;
        let journaled = journal::Journaled::open(path, Box::new(embedded))?;
        let mut backend = seal::Sealed::new(journaled, encryption);
        let state = load::load(&mut backend, resources)?;
        let shared = Arc::new(state::Shared::new(state));
        let (writes, queue) = mpsc::channel();
        let committer = commit::Committer::new(Box::new(backend), shared.clone());
        std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || committer.run(&queue))
            .map_err(BackendError::Io)?;
        Ok(Self {
            shared,
            engine: Engine::Embedded(writes),
            file: Some(path.into()),
        })
    }

    /// Opens the store on an etcd cluster, which other processes may use at the same time, and loads
    /// every object into memory. Runs on the current tokio runtime until the last clone is dropped.
    ///
    /// # Errors
    /// When no member can be reached, and when an object is not readable.
    pub async fn open_etcd(
        config: &EtcdConfig,
        resources: &[ResourceDef],
        encryption: Encryption,
    ) -> Result<Self, BackendError> {
        let (etcd, shared) = etcd::Etcd::open(config, resources, encryption).await?;
        Ok(Self {
            shared,
            engine: Engine::Etcd(etcd),
            file: None,
        })
    }

    /// Whether other processes may write to it.
    pub fn is_shared(&self) -> bool {
        matches!(self.engine, Engine::Etcd(_))
    }

    /// Returns when readers see everything that any process had been told of before the call. Over
    /// the embedded back end that is at once.
    ///
    /// # Errors
    /// When that cannot be known, because most of etcd is out of reach.
    pub async fn fresh(&self) -> Result<(), BackendError> {
        self.engine.fresh().await
    }

    /// Returns when readers see `revision`, which another process may have told of; or after
    /// `patience`.
    pub async fn reach(&self, revision: u64, patience: Duration) {
        self.engine.reach(revision, patience).await;
    }

    /// Keeps one more resource from now on, with what the back end has of it. The index stays its own
    /// as long as the store is open.
    ///
    /// # Errors
    /// When the back end cannot be read.
    pub async fn add(&self, def: ResourceDef) -> Result<Resource, BackendError> {
        let closed = || BackendError::Io(std::io::ErrorKind::BrokenPipe.into());
        let (reply, answer) = oneshot::channel();
        self.engine.add(def, reply);
        answer.await.map_err(|_| closed())?
    }

    /// Encodes an object of `resource` for a write.
    pub fn draft(&self, resource: Resource, object: &Value) -> Draft {
        let def = self.shared.state.read().kinds[resource.0].def;
        Draft::new(object, &def)
    }

    /// Writes and returns when the change is durable and visible.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing has changed then.
    pub async fn write(
        &self,
        resource: Resource,
        key: Arc<str>,
        change: Change,
    ) -> Result<Object, WriteError> {
        self.write_guarded(resource, key, change, None).await
    }

    /// The same, unless somebody wrote under `guard` since it was looked at.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing has changed then.
    pub async fn write_guarded(
        &self,
        resource: Resource,
        key: Arc<str>,
        change: Change,
        guard: Option<Guard>,
    ) -> Result<Object, WriteError> {
        let (reply, answer) = oneshot::channel();
        let write = Write {
            resource,
            key,
            change,
            guard,
            reply,
        };
        self.engine.write(write);
        answer.await.map_err(|_| WriteError::Closed)?
    }

    /// The object under `key`, `namespace/name` or `name`.
    pub fn get(&self, resource: Resource, key: &str) -> Option<Object> {
        self.shared.state.read().kinds[resource.0]
            .objects
            .get(key)
            .cloned()
    }

    /// The newest revision that readers see.
    pub fn revision(&self) -> u64 {
        self.shared.state.read().revision
    }

    /// All objects of a resource at this moment, in constant time.
    pub fn snapshot(&self, resource: Resource) -> Snapshot {
        self.shared.state.read().snapshot(resource)
    }

    /// All resources at one revision, in constant time for each.
    pub fn everything(&self) -> snapshot::Everything {
        let state = self.shared.state.read();
        let kinds = state.kinds.iter();
        snapshot::Everything {
            revision: state.revision,
            kinds: kinds
                .map(|kind| (kind.name.clone(), kind.objects.clone()))
                .collect(),
        }
    }

    /// How many objects there are of each resource, in the order of their indices, with the names
    /// under which they are stored.
    pub fn counts(&self) -> Vec<(Arc<str>, usize)> {
        let state = self.shared.state.read();
        let kinds = state.kinds.iter();
        kinds
            .map(|kind| (kind.name.clone(), kind.objects.len()))
            .collect()
    }

    /// Bytes of the embedded back end's database file; none on etcd.
    pub fn file_bytes(&self) -> Option<u64> {
        let path = self.file.as_deref()?;
        std::fs::metadata(path).ok().map(|file| file.len())
    }

    /// The events of a resource after `revision`.
    ///
    /// # Errors
    /// [`Expired`] when events after `revision` are no longer kept.
    pub fn watch(&self, resource: Resource, revision: u64) -> Result<Watcher, Expired> {
        Watcher::after(self.shared.clone(), resource, revision)
    }

    /// A snapshot and the events that follow it without a gap.
    pub fn snapshot_and_watch(&self, resource: Resource) -> (Snapshot, Watcher) {
        let snapshot = self.snapshot(resource);
        let revision = snapshot.revision;
        let watcher = Watcher::at(self.shared.clone(), resource, revision);
        (snapshot, watcher)
    }
}
