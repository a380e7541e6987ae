//! Reading everything from the back end, when the store is opened.
//!
//! The back end is read by one thread, and what it has read is decoded by others meanwhile; when they
//! cannot keep up, the reader lends a hand. With many objects a start is as quick as all processors
//! together.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::ResourceDef;
use super::backend::{Backend, BackendError, Row};
use super::log::Log;
use super::object::Object;
use super::objects::Objects;
use super::state::{KindState, State};

/// Rows that are decoded together.
const BATCH: usize = 128;
/// Batches that wait for a decoder.
const WAITING: usize = 8;

/// Reads everything from the back end.
pub(super) fn load(
    backend: &mut dyn Backend,
    resources: &[ResourceDef],
) -> Result<State, BackendError> {
    let kinds = resources.iter().map(|def| load_kind(backend, *def));
    let kinds = kinds.collect::<Result<Vec<_>, _>>()?;
    Ok(State {
        revision: backend.revision()?.max(1),
        kinds,
    })
}

/// Reads one resource from the back end.
pub(super) fn load_kind(
    backend: &mut dyn Backend,
    def: ResourceDef,
) -> Result<KindState, BackendError> {
    let name = def.row_name();
    let objects = std::thread::scope(|scope| {
        let mut decoders = Decoders::new(scope, &def);
        let scanned = backend.scan(&name, &mut |row| decoders.take(row));
        let decoded = decoders.finish();
        scanned.and(decoded)
    })?;
    Ok(KindState {
        def,
        log: Log::starting_at(backend.last_change(&name)?),
        name: name.into(),
        objects,
        wake: watch::Sender::new(0),
    })
}

/// A row on its way to becoming an object.
struct Raw {
    key: Box<str>,
    revision: u64,
    json: Box<[u8]>,
}

type Batch = (usize, Vec<Raw>);
type Decoded = (usize, Vec<Object>);

/// Threads that decode what is given them, in any order. There are none before the first batch is
/// full: most resources have few objects.
struct Decoders<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    def: &'env ResourceDef,
    filling: Vec<Raw>,
    count: usize,
    /// What the reader has decoded itself.
    decoded: Vec<Decoded>,
    running: Option<Running<'scope>>,
}

struct Running<'scope> {
    batches: SyncSender<Batch>,
    threads: Vec<ScopedJoinHandle<'scope, Result<Vec<Decoded>, BackendError>>>,
}

impl<'scope, 'env> Decoders<'scope, 'env> {
    fn new(scope: &'scope Scope<'scope, 'env>, def: &'env ResourceDef) -> Self {
        Self {
            scope,
            def,
            filling: Vec::new(),
            count: 0,
            decoded: Vec::new(),
            running: None,
        }
    }

    fn take(&mut self, row: Row<'_>) -> Result<(), BackendError> {
        self.filling.push(Raw {
            key: row.key.into(),
            revision: row.revision,
            json: row.json.into(),
        });
        if self.filling.len() < BATCH {
            return Ok(());
        }
        let batch = (self.count, std::mem::take(&mut self.filling));
        self.count += 1;
        let running = self
            .running
            .get_or_insert_with(|| start(self.scope, self.def));
        if let Err(TrySendError::Full((index, rows))) = running.batches.try_send(batch) {
            self.decoded.push((index, decode(self.def, rows)?));
        }
        // Without anybody to receive it, all decoders have met a fault, which is told at the end.
        Ok(())
    }

    /// All objects, once every decoder is done; or the fault of the first row that has one.
    fn finish(self) -> Result<Objects, BackendError> {
        let mut decoded = self.decoded;
        decoded.push((self.count, decode(self.def, self.filling)?));
        if let Some(Running { batches, threads }) = self.running {
            drop(batches);
            for thread in threads {
                let outcome = thread.join();
                decoded.extend(outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
        }
        decoded.sort_unstable_by_key(|(index, _)| *index);
        Ok(decoded
            .into_iter()
            .flat_map(|(_, objects)| objects)
            .collect())
    }
}

/// One thread fewer than there are processors: one reads.
fn start<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    def: &'env ResourceDef,
) -> Running<'scope> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let (batches, waiting) = sync_channel(WAITING);
    let waiting = Arc::new(Mutex::new(waiting));
    let decoder = |_| {
        let waiting = waiting.clone();
        scope.spawn(move || decode_all(def, &waiting))
    };
    let threads = (1..processors.max(2)).map(decoder).collect();
    Running { batches, threads }
}

fn decode_all(
    def: &ResourceDef,
    waiting: &Mutex<Receiver<Batch>>,
) -> Result<Vec<Decoded>, BackendError> {
    let mut decoded = Vec::new();
    loop {
        let next = waiting.lock().recv();
        let Ok((index, rows)) = next else {
            return Ok(decoded);
        };
        decoded.push((index, decode(def, rows)?));
    }
}

fn decode(def: &ResourceDef, rows: Vec<Raw>) -> Result<Vec<Object>, BackendError> {
    let objects = rows.into_iter().map(|row| {
        let object = Object::load(&row.key, row.revision, &row.json, def);
        object.map_err(|source| BackendError::Row {
            key: row.key.into(),
            source,
        })
    });
    objects.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::backend::RowChange;
    use crate::store::embedded::Embedded;

    const ROWS: usize = 50 * BATCH + 7;

    fn key(index: usize) -> String {
        format!("ns/o{index:06}")
    }

    /// A database of so many objects, of which one is no JSON.
    fn filled(directory: &std::path::Path, broken: Option<usize>) -> Embedded {
        let mut backend = Embedded::open(&directory.join("store")).unwrap();
        let row = |index: usize| {
            let json = format!(r#"{{"metadata":{{"labels":{{"index":"{index}"}}}}}}"#);
            let json = if broken == Some(index) {
                "{".into()
            } else {
                json
            };
            RowChange {
                resource: "things".into(),
                key: key(index).into(),
                revision: index as u64 + 1,
                json: Some(json.into()),
            }
        };
        let rows: Vec<_> = (0..ROWS).map(row).collect();
        backend.commit(ROWS as u64, &rows).unwrap();
        backend
    }

    fn things() -> ResourceDef {
        ResourceDef {
            plural: "things",
            ..ResourceDef::default()
        }
    }

    #[test]
    fn every_object_is_there_whoever_decoded_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut backend = filled(directory.path(), None);
        let state = load(&mut backend, &[things()]).unwrap();
        let objects = &state.kinds[0].objects;
        assert_eq!((objects.len(), state.revision), (ROWS, ROWS as u64));
        for (index, (name, object)) in objects.iter().enumerate() {
            assert_eq!(name, key(index));
            assert_eq!(object.revision, index as u64 + 1);
            assert_eq!(object.selectable.label("index"), Some(&*index.to_string()));
        }
    }

    #[test]
    fn a_row_that_is_no_json_is_named() {
        for broken in [0, ROWS / 2, ROWS - 1] {
            let directory = tempfile::tempdir().unwrap();
            let mut backend = filled(directory.path(), Some(broken));
            match load(&mut backend, &[things()]) {
                Err(BackendError::Row { key: named, .. }) => assert_eq!(named, key(broken)),
                other => panic!("{:?}", other.err()),
            }
        }
    }
}
