//! A journal in front of a back end: a batch is durable after one append and one `fdatasync`.
//!
//! Two segments of a fixed size take turns. While one fills, a thread carries the changes of the full
//! one over into the back end, in one large transaction; then it may begin a new life. After a crash
//! both are read and what the back end lacks is carried over first. A tree that is rewritten for each
//! small batch costs a multiple of this in time and in bytes.
//!
//! When the back end can't take more, a full disk above all, writes go on until the segments are full;
//! the last piece of them is kept for deletions. What it will not do: keep history, or be read by
//! anybody but the next start.

mod record;
mod segment;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::backend::{Backend, BackendError, Row, RowChange, failed};
use record::Batch;
use segment::Segment;
use worker::{Inner, Worker};

/// Bytes of a segment that only deletions may use.
const RESERVE: u64 = 256 << 10;

/// A back end with a journal in front.
pub(super) struct Journaled {
    inner: Inner,
    worker: Worker,
    /// The one that fills.
    active: Segment,
    /// The one whose changes are carried over.
    other: Segment,
    /// Changes in `active`.
    pending: Vec<RowChange>,
    /// Changes in `other` that the back end has not confirmed.
    sealed: Arc<Vec<RowChange>>,
    revision: u64,
    /// Whether an append failed, so that nobody knows what stands behind the last good batch.
    torn: bool,
    buffer: Vec<u8>,
}

impl Journaled {
    /// Opens the segments `path.0` and `path.1` and brings `inner` up to what they hold.
    ///
    /// # Errors
    /// When a segment can't be read or made, is damaged, or `inner` refuses.
    pub(super) fn open(path: &Path, mut inner: Box<dyn Backend>) -> Result<Self, BackendError> {
        let open = |number: &str| Segment::open(&path.with_extension(number));
        let ((one, first), (two, second)) = (open("journal.0")?, open("journal.1")?);
        let older_first = one.generation <= two.generation;
        let (mut active, other) = if older_first { (one, two) } else { (two, one) };
        let (early, late) = if older_first {
            (first, second)
        } else {
            (second, first)
        };
        recover(inner.as_mut(), early.into_iter().chain(late))?;
        active.begin(other.generation + 1)?;
        let revision = inner.revision()?;
        let inner = Arc::new(Mutex::new(inner));
        Ok(Self {
            worker: Worker::start(inner.clone())?,
            inner,
            active,
            other,
            pending: Vec::new(),
            sealed: Arc::default(),
            revision,
            torn: false,
            buffer: Vec::new(),
        })
    }

    /// Whether the back end has everything of the other segment, once the worker is done.
    fn is_carried(&mut self) -> bool {
        match self.worker.wait() {
            Some(Ok(())) => self.sealed = Arc::default(),
            Some(Err(error)) => tracing::warn!(%error, "the journal cannot be carried over"),
            None => {}
        }
        self.sealed.is_empty()
    }

    /// Makes room in the journal: the other segment is next.
    fn turn(&mut self) -> Result<(), BackendError> {
        if !self.is_carried() {
            // Both are taken together: deletions free what creations could not get.
            return self.restart();
        }
        self.other.begin(self.active.generation + 1)?;
        std::mem::swap(&mut self.active, &mut self.other);
        self.sealed = Arc::new(std::mem::take(&mut self.pending));
        self.worker.carry(self.revision, self.sealed.clone());
        Ok(())
    }

    /// Carries everything over at once.
    fn settle(&mut self) -> Result<(), BackendError> {
        if self.is_carried() && self.pending.is_empty() {
            return Ok(());
        }
        let changes = newest(self.sealed.iter().chain(&self.pending));
        self.inner.lock().commit(self.revision, &changes)?;
        self.sealed = Arc::default();
        self.pending.clear();
        Ok(())
    }

    /// Carries everything over and begins the segment anew.
    fn restart(&mut self) -> Result<(), BackendError> {
        self.settle()?;
        let newest = self.active.generation.max(self.other.generation);
        self.active.begin(newest + 1)?;
        self.torn = false;
        Ok(())
    }

    /// Encodes the batch for a segment that has room for it; none where no segment has.
    fn place(&mut self, revision: u64, changes: &[RowChange]) -> Result<bool, BackendError> {
        let frees = changes.iter().all(|change| change.json.is_none());
        let kept = if frees { 0 } else { RESERVE };
        self.active.encode(revision, changes, &mut self.buffer);
        let fits = |room: u64, buffer: &[u8]| room >= buffer.len() as u64 + kept;
        if fits(self.active.room(), &self.buffer) {
            return Ok(true);
        }
        if self.buffer.len() as u64 + kept > segment::CAPACITY {
            return Ok(false);
        }
        self.turn()?;
        self.active.encode(revision, changes, &mut self.buffer);
        Ok(true)
    }
}

impl Backend for Journaled {
    fn revision(&mut self) -> Result<u64, BackendError> {
        Ok(self.revision)
    }

    fn last_change(&mut self, resource: &str) -> Result<u64, BackendError> {
        self.settle()?;
        self.inner.lock().last_change(resource)
    }

    fn scan(
        &mut self,
        resource: &str,
        each: &mut dyn FnMut(Row<'_>) -> Result<(), BackendError>,
    ) -> Result<(), BackendError> {
        self.settle()?;
        self.inner.lock().scan(resource, each)
    }

    fn commit(&mut self, revision: u64, changes: &[RowChange]) -> Result<(), BackendError> {
        if self.torn {
            self.restart()?;
        }
        if self.place(revision, changes)? {
            let appended = self.active.append(&self.buffer);
            self.torn = appended.is_err();
            appended.map_err(failed)?;
            self.pending.extend_from_slice(changes);
        } else {
            self.settle()?;
            self.inner.lock().commit(revision, changes)?;
        }
        self.revision = revision;
        Ok(())
    }
}

impl Drop for Journaled {
    fn drop(&mut self) {
        // The next start finds it in the journal if this fails.
        if let Err(error) = self.settle() {
            tracing::warn!(%error, "the journal is left for the next start");
        }
    }
}

/// Brings a back end up to what a journal holds.
fn recover(
    inner: &mut dyn Backend,
    batches: impl Iterator<Item = Batch>,
) -> Result<(), BackendError> {
    let stored = inner.revision()?;
    let missing: Vec<Batch> = batches.filter(|batch| batch.revision > stored).collect();
    let Some(last) = missing.last().map(|batch| batch.revision) else {
        return Ok(());
    };
    let changes = missing.iter().flat_map(|batch| &batch.changes);
    inner.commit(last, &newest(changes))
}

/// The last change of each row, in the order of rows.
fn newest<'a>(changes: impl Iterator<Item = &'a RowChange>) -> Vec<RowChange> {
    let mut last: BTreeMap<(&str, &str), &RowChange> = BTreeMap::new();
    for change in changes {
        last.insert((&change.resource, &change.key), change);
    }
    last.into_values().cloned().collect()
}
