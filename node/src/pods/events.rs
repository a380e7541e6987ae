//! Events about pods: repeats are counted on one object instead of making another.
//!
//! Recording never waits and never fails for the caller: an event that can't be delivered within a
//! few attempts is dropped, since pods must go on while the API is away.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::mpsc;

/// Repeats within this many seconds are counted; later ones make a new event.
const AGGREGATE: i64 = 600;
/// Events that wait for delivery; more are dropped.
const QUEUE: usize = 1024;
const ATTEMPTS: u32 = 5;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// All is well.
    Normal,
    /// Someone should look.
    Warning,
}

impl Severity {
    fn text(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    uid: String,
    field: Option<String>,
    severity: Severity,
    reason: String,
    message: String,
}

struct Occurrence {
    about: ObjectReference,
    severity: Severity,
    reason: String,
    message: String,
}

/// Where events are handed in. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Occurrence>,
}

impl Recorder {
    /// A recorder that writes in the name of `component` of `node` until its last clone is dropped.
    pub fn start(client: Client, component: &'static str, node: String) -> Self {
        let (queue, received) = mpsc::channel(QUEUE);
        let source = Source { component, node };
        tokio::spawn(deliver(client, source, received));
        Self { queue }
    }

    /// Hands in an event.
    pub fn record(
        &self,
        about: ObjectReference,
        severity: Severity,
        reason: &str,
        message: impl Into<String>,
    ) {
        let message = message.into();
        tracing::info!(object = about.name, reason, message, "event");
        let occurrence = Occurrence {
            about,
            severity,
            reason: reason.to_owned(),
            message,
        };
        if self.queue.try_send(occurrence).is_err() {
            tracing::warn!(reason, "event dropped, too many wait for the API");
        }
    }
}

/// Who writes events.
struct Source {
    component: &'static str,
    node: String,
}

/// A repeat that was written before: which object to count on.
#[derive(Debug, Clone)]
struct Known {
    name: String,
    count: i32,
    last: Timestamp,
}

async fn deliver(client: Client, source: Source, mut received: mpsc::Receiver<Occurrence>) {
    let mut known: HashMap<Key, Known> = HashMap::new();
    while let Some(occurrence) = received.recv().await {
        let now = Timestamp::now();
        known.retain(|_, event| now.duration_since(event.last).as_secs() < AGGREGATE);
        let key = Key {
            uid: occurrence.about.uid.clone().unwrap_or_default(),
            field: occurrence.about.field_path.clone(),
            severity: occurrence.severity,
            reason: occurrence.reason.clone(),
            message: occurrence.message.clone(),
        };
        let before = known.get(&key).cloned();
        match write(&client, &source, occurrence, before, now).await {
            Some(event) => known.insert(key, event),
            None => known.remove(&key),
        };
    }
}

async fn write(
    client: &Client,
    source: &Source,
    occurrence: Occurrence,
    before: Option<Known>,
    now: Timestamp,
) -> Option<Known> {
    let namespace = occurrence
        .about
        .namespace
        .clone()
        .unwrap_or_else(|| "default".to_owned());
    let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
    if let Some(before) = before
        && let Some(counted) = count(&api, before, now).await
    {
        return Some(counted);
    }
    let event = event(occurrence, namespace, source, now);
    let mut delay = Duration::from_millis(200);
    for _ in 0..ATTEMPTS {
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                return Some(Known {
                    name: event.name_any(),
                    count: 1,
                    last: now,
                });
            }
            Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                tracing::debug!(reason = event.reason, %status, "event refused");
                return None;
            }
            Err(error) => tracing::debug!(%error, "event not delivered"),
        }
        tokio::time::sleep(delay).await;
        delay *= 2;
    }
    None
}

async fn count(api: &Api<Event>, before: Known, now: Timestamp) -> Option<Known> {
    let count = before.count + 1;
    let patch = serde_json::json!({"count": count, "lastTimestamp": Time(now)});
    api.patch(&before.name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .ok()?;
    Some(Known {
        name: before.name,
        count,
        last: now,
    })
}

fn event(occurrence: Occurrence, namespace: String, source: &Source, now: Timestamp) -> Event {
    let Source { component, node } = source;
    let name = occurrence.about.name.clone().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: occurrence.about,
        reason: Some(occurrence.reason),
        message: Some(occurrence.message),
        type_: Some(occurrence.severity.text().to_owned()),
        source: Some(EventSource {
            component: Some((*component).to_owned()),
            host: Some(node.clone()),
        }),
        reporting_component: Some((*component).to_owned()),
        reporting_instance: Some(node.clone()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_its_object_and_its_source() {
        let occurrence = Occurrence {
            about: ObjectReference {
                name: Some("web".into()),
                ..ObjectReference::default()
            },
            severity: Severity::Warning,
            reason: "BackOff".into(),
            message: "m".into(),
        };
        let source = Source {
            component: "kubelet",
            node: "node1".into(),
        };
        let event = event(occurrence, "shop".into(), &source, Timestamp::UNIX_EPOCH);
        assert!(event.name_any().starts_with("web."));
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.source.unwrap().host.as_deref(), Some("node1"));
    }
}
