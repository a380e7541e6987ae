//! The event recorder: tells people what was done to an object, and counts repeats.
//!
//! Recording never blocks a reconcile and never fails it: events pass through a bounded channel to
//! one task, and are dropped (with a log line) when that is full.

use super::error::chain;
use super::{Writer, meta, now, time};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde_json::json;
use std::collections::HashMap;
use tokio::sync::mpsc;

const PENDING: usize = 4096;
const REMEMBERED: usize = 2048;

/// `type` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// All is well.
    Normal,
    /// Somebody may want to look.
    Warning,
}

impl Severity {
    fn text(self) -> &'static str {
        match self {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        }
    }
}

/// What makes two events the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Note {
    component: &'static str,
    severity: Severity,
    reason: &'static str,
    message: String,
    object: ObjectKey,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ObjectKey {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
    uid: String,
}

struct Seen {
    name: String,
    count: i32,
    used: u64,
}

/// A handle to record events of one component.
#[derive(Clone)]
pub struct Recorder {
    component: &'static str,
    sender: mpsc::Sender<Note>,
}

impl Recorder {
    /// The recorder of `component` and the task that writes; drive the latter until shutdown.
    pub fn new(component: &'static str, writer: Writer) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::channel(PENDING);
        (Recorder { component, sender }, write(writer, receiver))
    }

    /// The same stream under another component's name.
    pub fn named(&self, component: &'static str) -> Self {
        Recorder {
            component,
            sender: self.sender.clone(),
        }
    }

    /// Records an event about `object`.
    pub fn record<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        self.about(&meta::reference(object), severity, reason, message.into());
    }

    /// Records an event about the object that `target` names.
    pub fn about(
        &self,
        target: &ObjectReference,
        severity: Severity,
        reason: &'static str,
        message: String,
    ) {
        let object = ObjectKey {
            api_version: target.api_version.clone().unwrap_or_default(),
            kind: target.kind.clone().unwrap_or_default(),
            namespace: target.namespace.clone().unwrap_or_default(),
            name: target.name.clone().unwrap_or_default(),
            uid: target.uid.clone().unwrap_or_default(),
        };
        let note = Note {
            component: self.component,
            severity,
            reason,
            message,
            object,
        };
        if self.sender.try_send(note).is_err() {
            tracing::debug!(component = self.component, reason, "event dropped");
        }
    }
}

async fn write(writer: Writer, mut notes: mpsc::Receiver<Note>) {
    let mut seen: HashMap<Note, Seen> = HashMap::new();
    let mut clock = 0u64;
    while let Some(note) = notes.recv().await {
        clock += 1;
        forget_oldest(&mut seen);
        if let Some(known) = seen.get_mut(&note)
            && repeat(&writer, &note, known).await
        {
            known.used = clock;
            continue;
        }
        match first(&writer, &note).await {
            Some(name) => drop(seen.insert(
                note,
                Seen {
                    name,
                    count: 1,
                    used: clock,
                },
            )),
            None => drop(seen.remove(&note)),
        }
    }
}

/// Halves the memory of repeats when it is full.
fn forget_oldest(seen: &mut HashMap<Note, Seen>) {
    if seen.len() < REMEMBERED {
        return;
    }
    let mut ages: Vec<u64> = seen.values().map(|known| known.used).collect();
    let middle = ages.len() / 2;
    let (_, &mut median, _) = ages.select_nth_unstable(middle);
    seen.retain(|_, known| known.used > median);
}

fn namespace(note: &Note) -> &str {
    if note.object.namespace.is_empty() {
        "default"
    } else {
        &note.object.namespace
    }
}

async fn repeat(writer: &Writer, note: &Note, known: &mut Seen) -> bool {
    let api: Api<Event> = Api::namespaced(writer.client().clone(), namespace(note));
    let patch = json!({"count": known.count + 1, "lastTimestamp": time(now())});
    let answer = api
        .patch(&known.name, &PatchParams::default(), &Patch::Merge(&patch))
        .await;
    known.count += i32::from(answer.is_ok());
    answer.is_ok()
}

async fn first(writer: &Writer, note: &Note) -> Option<String> {
    match writer.create(&event(note)).await {
        Ok(event) => event.metadata.name,
        // A namespace that is going away takes no events; that is no news.
        Err(error) => {
            tracing::debug!(
                reason = note.reason,
                error = chain(&error),
                "event not written"
            );
            None
        }
    }
}

fn event(note: &Note) -> Event {
    let mut event = Event {
        involved_object: involved(&note.object),
        type_: Some(note.severity.text().into()),
        reason: Some(note.reason.into()),
        message: Some(note.message.clone()),
        source: Some(EventSource {
            component: Some(note.component.into()),
            host: None,
        }),
        reporting_component: Some(note.component.into()),
        reporting_instance: Some(String::new()),
        first_timestamp: Some(time(now())),
        last_timestamp: Some(time(now())),
        count: Some(1),
        ..Event::default()
    };
    let nanos = jiff::Timestamp::now().as_nanosecond();
    event.metadata.name = Some(format!("{}.{:x}", note.object.name, nanos));
    event.metadata.namespace = Some(namespace(note).into());
    event
}

fn involved(object: &ObjectKey) -> ObjectReference {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    ObjectReference {
        api_version: some(&object.api_version),
        kind: some(&object.kind),
        namespace: some(&object.namespace),
        name: some(&object.name),
        uid: some(&object.uid),
        ..ObjectReference::default()
    }
}
