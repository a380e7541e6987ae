//! The watch log: the recent events of each resource, and readers that follow it.
//!
//! The log is bounded by count and by bytes. A reader that falls behind its beginning gets
//! [`Expired`]; it has to list again.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::watch;

use super::Resource;
use super::object::{Object, Selectable};
use super::state::Shared;

/// Events kept per resource at most.
const MAX_EVENTS: usize = 16_384;
/// Bytes of encoded objects kept per resource at most, beyond [`MIN_EVENTS`].
const MAX_BYTES: usize = 8 << 20;
/// Events kept per resource whatever their size.
const MIN_EVENTS: usize = 128;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// It came to be.
    Added,
    /// It changed.
    Modified,
    /// It is gone; the event carries its last state.
    Deleted,
}

impl EventType {
    /// The `type` of the watch event.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }

    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Added => r#"{"type":"ADDED","object":"#,
            Self::Modified => r#"{"type":"MODIFIED","object":"#,
            Self::Deleted => r#"{"type":"DELETED","object":"#,
        }
    }
}

/// One change of one object.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub event: EventType,
    /// The state after the change, or the last state of a deleted object.
    pub object: Object,
    /// What selectors saw before the change.
    pub before: Option<Arc<Selectable>>,
}

/// The wanted events are no longer kept: the client has to list again.
#[derive(Debug, thiserror::Error)]
#[error("too old resource version: {wanted} ({oldest})")]
pub struct Expired {
    /// The revision after which events were wanted.
    pub wanted: u64,
    /// The oldest revision from which a watch can start.
    pub oldest: u64,
}

/// The events of one resource, oldest first.
#[derive(Default)]
pub(super) struct Log {
    events: VecDeque<Event>,
    /// Sequence number of the first kept event.
    first: u64,
    /// Every event up to this revision may be gone.
    floor: u64,
    bytes: usize,
}

impl Log {
    /// An empty log of a resource whose last change was at `floor`.
    pub(super) fn starting_at(floor: u64) -> Self {
        Self {
            floor,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.bytes += event.object.size();
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS
            || (self.bytes > MAX_BYTES && self.events.len() > MIN_EVENTS)
        {
            self.drop_first();
        }
    }

    /// Forgets everything: what happened up to `floor` is not known. Readers have to list again.
    pub(super) fn expire(&mut self, floor: u64) {
        self.first += self.events.len() as u64 + 1;
        self.events.clear();
        self.bytes = 0;
        self.floor = floor;
    }

    fn drop_first(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.first += 1;
            self.floor = event.object.revision;
            self.bytes -= event.object.size();
        }
    }

    /// Sequence number of the first event after `revision`.
    fn position(&self, revision: u64) -> Result<u64, Expired> {
        if revision < self.floor {
            return Err(Expired {
                wanted: revision,
                oldest: self.floor,
            });
        }
        let index = self
            .events
            .partition_point(|event| event.object.revision <= revision);
        Ok(self.first + index as u64)
    }

    /// At most `limit` events from sequence number `from` on.
    fn read(&self, from: u64, limit: usize) -> Result<Vec<Event>, Expired> {
        let Some(index) = from.checked_sub(self.first) else {
            return Err(Expired {
                wanted: from,
                oldest: self.floor,
            });
        };
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        Ok(self
            .events
            .iter()
            .skip(index)
            .take(limit)
            .cloned()
            .collect())
    }
}

/// Follows the events of one resource.
pub struct Watcher {
    shared: Arc<Shared>,
    resource: Resource,
    next: u64,
    wake: watch::Receiver<u64>,
}

/// Events handed to a watcher at once, at most.
const READ_LIMIT: usize = 256;

impl Watcher {
    pub(super) fn after(
        shared: Arc<Shared>,
        resource: Resource,
        revision: u64,
    ) -> Result<Self, Expired> {
        let (wake, next) = {
            let state = shared.state.read();
            let kind = &state.kinds[resource.0];
            (kind.wake.subscribe(), kind.log.position(revision)?)
        };
        Ok(Self {
            shared,
            resource,
            next,
            wake,
        })
    }

    /// Starts right after a snapshot that was just taken.
    pub(super) fn at(shared: Arc<Shared>, resource: Resource, revision: u64) -> Self {
        let (wake, next) = {
            let state = shared.state.read();
            let kind = &state.kinds[resource.0];
            let next = kind.log.position(revision).unwrap_or(kind.log.first);
            (kind.wake.subscribe(), next)
        };
        Self {
            shared,
            resource,
            next,
            wake,
        }
    }

    /// What is there now, and the revision up to which nothing is missing once it is delivered
    /// (absent when there is more to read).
    ///
    /// # Errors
    /// [`Expired`] when the reader fell behind the beginning of the log.
    pub fn poll(&mut self) -> Result<(Vec<Event>, Option<u64>), Expired> {
        self.wake.borrow_and_update();
        let state = self.shared.state.read();
        let events = state.kinds[self.resource.0]
            .log
            .read(self.next, READ_LIMIT)?;
        self.next += events.len() as u64;
        let complete = (events.len() < READ_LIMIT).then_some(state.revision);
        Ok((events, complete))
    }

    /// Waits until there may be something to read; false when the store is closed.
    pub async fn changed(&mut self) -> bool {
        self.wake.changed().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::{Draft, ResourceDef};

    fn event(revision: u64) -> Event {
        let draft = Draft::new(&json!({"metadata": {"name": "x"}}), &ResourceDef::default());
        let object = draft.finish("x", revision, EventType::Modified, None);
        Event {
            event: EventType::Modified,
            object,
            before: None,
        }
    }

    #[test]
    fn a_watch_starts_after_the_given_revision() {
        let mut log = Log::starting_at(10);
        [11, 13, 17]
            .into_iter()
            .for_each(|revision| log.push(event(revision)));
        let read = |revision| {
            let from = log.position(revision).unwrap();
            let events = log.read(from, 10).unwrap();
            events
                .iter()
                .map(|event| event.object.revision)
                .collect::<Vec<_>>()
        };
        assert_eq!(read(10), [11, 13, 17]);
        assert_eq!(read(12), [13, 17]);
        assert!(read(17).is_empty());
        assert!(log.position(9).is_err());
    }

    #[test]
    fn a_reader_behind_the_bound_is_expired() {
        let mut log = Log::default();
        (1..=MAX_EVENTS as u64 + 5).for_each(|revision| log.push(event(revision)));
        assert!(log.read(4, 1).is_err());
        assert_eq!(log.read(5, 1).unwrap()[0].object.revision, 6);
        assert!(log.position(4).is_err());
        assert_eq!(log.position(5).unwrap(), 5);
    }
}
