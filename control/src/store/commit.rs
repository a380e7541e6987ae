//! The committer: the one thread that writes.
//!
//! It takes whatever waits (up to [`BATCH`]), checks each write against memory and the writes before
//! it in the batch, makes the batch durable with one fsync, shows it, and then answers everybody.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::backend::{Backend, BackendError, RowChange};
use super::load::load_kind;
use super::log::{Event, EventType};
use super::object::Object;
use super::state::{Shared, State};
use super::{Change, Command, Resource, ResourceDef, Write, WriteError};

/// Writes that share one transaction, at most.
const BATCH: usize = 256;

type Answer = tokio::sync::oneshot::Sender<Result<Object, WriteError>>;

/// A write that passed its check.
struct Accepted {
    resource: Resource,
    key: Arc<str>,
    event: Event,
    reply: Answer,
}

pub(super) struct Committer {
    backend: Box<dyn Backend>,
    shared: Arc<Shared>,
}

impl Committer {
    pub(super) fn new(backend: Box<dyn Backend>, shared: Arc<Shared>) -> Self {
        Self { backend, shared }
    }

    /// Runs until every handle of the store is gone.
    pub(super) fn run(mut self, queue: &Receiver<Command>) {
        while let Ok(first) = queue.recv() {
            let mut batch = Vec::new();
            let more = queue.try_iter().take(BATCH - 1);
            for command in std::iter::once(first).chain(more) {
                match command {
                    Command::Write(write) => batch.push(write),
                    // What comes after may be about the new resource already; nobody who wrote
                    // before knows it.
                    Command::Add(def, reply) => drop(reply.send(self.add(def))),
                }
            }
            if !batch.is_empty() {
                self.commit(batch);
            }
        }
    }

    /// Takes up one more resource, or finds the place of one that is there.
    fn add(&mut self, def: ResourceDef) -> Result<Resource, BackendError> {
        let name = def.row_name();
        let position = |state: &State| state.kinds.iter().position(|kind| *kind.name == *name);
        let there = position(&self.shared.state.read());
        let kind = load_kind(self.backend.as_mut(), def)?;
        let mut state = self.shared.state.write();
        match there {
            Some(index) => {
                // Its selectable fields may be others now.
                state.kinds[index].def = kind.def;
                state.kinds[index].objects = kind.objects;
                Ok(Resource(index))
            }
            None => {
                state.kinds.push(kind);
                Ok(Resource(state.kinds.len() - 1))
            }
        }
    }

    fn commit(&mut self, batch: Vec<Write>) {
        let (revision, accepted) = self.accept(batch);
        if accepted.is_empty() {
            return;
        }
        match self.make_durable(revision, &accepted) {
            Ok(()) => self.show(revision, accepted),
            Err(error) => refuse(&error, accepted),
        }
    }

    /// Checks each write and gives it its revision; those that fail are answered here.
    fn accept(&self, batch: Vec<Write>) -> (u64, Vec<Accepted>) {
        let state = self.shared.state.read();
        let mut revision = state.revision;
        let mut pending: HashMap<(Resource, Arc<str>), Option<Object>> = HashMap::new();
        let mut accepted = Vec::with_capacity(batch.len());
        for Write {
            resource,
            key,
            change,
            guard: _,
            reply,
        } in batch
        {
            let slot = (resource, key);
            let before = match pending.get(&slot) {
                Some(object) => object.clone(),
                None => state.kinds[resource.0].objects.get(&slot.1).cloned(),
            };
            match decide(change, &slot.1, before.as_ref(), revision + 1) {
                Ok((event, object)) => {
                    revision += 1;
                    let alive = event != EventType::Deleted;
                    let key = slot.1.clone();
                    pending.insert(slot, alive.then(|| object.clone()));
                    let before = before.map(|before| before.selectable.clone());
                    let event = Event {
                        event,
                        object,
                        before,
                    };
                    accepted.push(Accepted {
                        resource,
                        key,
                        event,
                        reply,
                    });
                }
                Err(error) => drop(reply.send(Err(error))),
            }
        }
        (revision, accepted)
    }

    fn make_durable(&mut self, revision: u64, accepted: &[Accepted]) -> Result<(), BackendError> {
        let changes: Vec<RowChange> = {
            let state = self.shared.state.read();
            let change = |write: &Accepted| RowChange {
                resource: state.kinds[write.resource.0].name.clone(),
                key: write.key.clone(),
                revision: write.event.object.revision,
                json: (write.event.event != EventType::Deleted).then(|| write.event.object.json()),
            };
            accepted.iter().map(change).collect()
        };
        self.backend.commit(revision, &changes)
    }

    fn show(&self, revision: u64, accepted: Vec<Accepted>) {
        let mut touched = BTreeSet::new();
        let mut answers = Vec::with_capacity(accepted.len());
        {
            let mut state = self.shared.state.write();
            for Accepted {
                resource,
                event,
                reply,
                ..
            } in accepted
            {
                touched.insert(resource.0);
                answers.push((reply, event.object.clone()));
                state.apply(resource, event);
            }
            state.revision = revision;
        }
        for (reply, object) in answers {
            let _ = reply.send(Ok(object));
        }
        let state = self.shared.state.read();
        for index in touched {
            state.kinds[index].wake.send_replace(revision);
        }
    }
}

/// Whether a write may happen over `before`, and the object that it makes.
fn decide(
    change: Change,
    key: &str,
    before: Option<&Object>,
    revision: u64,
) -> Result<(EventType, Object), WriteError> {
    let expected = |before: Option<&Object>, expect: u64| match before {
        None => Err(WriteError::Missing),
        Some(before) if before.revision == expect => Ok(()),
        Some(before) => Err(WriteError::Conflict {
            current: before.revision,
        }),
    };
    let (event, draft) = match change {
        Change::Create(_) if before.is_some() => return Err(WriteError::Exists),
        Change::Create(draft) => (EventType::Added, draft),
        Change::Update(draft, expect) => {
            expected(before, expect)?;
            (EventType::Modified, draft)
        }
        Change::Delete(draft, expect) => {
            expected(before, expect)?;
            (EventType::Deleted, draft)
        }
    };
    Ok((event, draft.finish(key, revision, event, before)))
}

fn refuse(error: &BackendError, accepted: Vec<Accepted>) {
    tracing::error!(writes = accepted.len(), error = %chain(error), "the store could not commit");
    for write in accepted {
        let refusal = match error {
            BackendError::Full => WriteError::Full,
            other => WriteError::Backend(chain(other)),
        };
        let _ = write.reply.send(Err(refusal));
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
