//! Events go when nobody has written to them for a while, as those of Kubernetes do.
//!
//! To write an event costs nothing for it: one task follows the store's log and notes which key was
//! written at which revision. Writes are due in their order, so that this is a queue, of which only
//! the front is looked at; an event that was written again stands further behind once more. How old
//! the events are that a start finds is read in them. Where several servers share a store, the one
//! that runs the controllers does this, too; if two do for a moment, one finds the event gone.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::kinds::Target;
use super::server::Server;
use super::value::{items, text};
use crate::store::{EventType, Expired, Object, WriteError};

/// Events that go at once.
const BATCH: usize = 256;
/// Most times in objects are cut off to whole seconds: what looks older by this may not be.
const CUT: Duration = Duration::from_secs(1);
/// Between two looks at the queue, at most.
const PACE: Duration = Duration::from_secs(1);

/// Removes every event that was not written to for `life`, until `stopping`. A life of nothing is one
/// without end.
pub async fn expire_events(server: Arc<Server>, life: Duration, stopping: CancellationToken) {
    let Some(events) = server.core("events").filter(|_| !life.is_zero()) else {
        return;
    };
    loop {
        let following = follow(&server, events, life);
        let Some(Expired { .. }) = stopping.run_until_cancelled(following).await else {
            return;
        };
        tracing::debug!("more events were written than the log keeps; all are looked at again");
    }
}

/// Removes what is due until the log is ahead of the reader.
async fn follow(server: &Server, events: Target, life: Duration) -> Expired {
    let (snapshot, mut watcher) = server.store.snapshot_and_watch(events.resource);
    let mut queue = found(snapshot.objects, life).await;
    loop {
        loop {
            let (written, complete) = match watcher.poll() {
                Ok(news) => news,
                Err(expired) => return expired,
            };
            let due = Instant::now() + life;
            let alive = written.iter().filter(|it| it.event != EventType::Deleted);
            queue.extend(alive.map(|it| Due::of(&it.object, due)));
            if complete.is_some() {
                break;
            }
        }
        remove_due(server, events, &mut queue).await;
        tokio::time::sleep(PACE.min(life / 8)).await;
    }
}

/// A write after which an event has to go.
struct Due {
    at: Instant,
    revision: u64,
    key: Box<str>,
}

impl Due {
    fn of(object: &Object, at: Instant) -> Self {
        Self {
            at,
            revision: object.revision,
            key: object.key().into(),
        }
    }
}

/// Those that are there already, by their age.
async fn found(objects: impl IntoIterator<Item = Object>, life: Duration) -> VecDeque<Due> {
    let (start, now) = (Instant::now(), Timestamp::now());
    let mut queue = Vec::new();
    for object in objects {
        let age = age(&object.value(), now).saturating_sub(CUT);
        let left = life.saturating_sub(age);
        queue.push(Due::of(&object, start + left));
        // There may be very many.
        if queue.len() % BATCH == 0 {
            tokio::task::yield_now().await;
        }
    }
    queue.sort_unstable_by_key(|due| (due.at, due.revision));
    queue.into()
}

/// Removes what is due, so many at a time, and stops at what cannot be removed now.
async fn remove_due(server: &Server, events: Target, queue: &mut VecDeque<Due>) {
    loop {
        let now = Instant::now();
        let due = queue.partition_point(|due| due.at <= now).min(BATCH);
        if due == 0 {
            return;
        }
        let batch = queue.iter().take(due);
        let removed = join_all(batch.map(|due| remove(server, events, due))).await;
        match removed.into_iter().find_map(Result::err) {
            None => drop(queue.drain(..due)),
            Some(error) => {
                tracing::warn!(%error, "events cannot be removed now");
                return;
            }
        }
    }
}

/// Removes an event unless it was written to since, or is gone.
async fn remove(server: &Server, events: Target, due: &Due) -> Result<(), WriteError> {
    let stored = server.store.get(events.resource, &due.key);
    let Some(stored) = stored.filter(|stored| stored.revision == due.revision) else {
        return Ok(());
    };
    let last = stored.value();
    match server.remove(events, &due.key, &stored, &last).await {
        Ok(_) | Err(WriteError::Conflict { .. } | WriteError::Missing) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The time since the last write that an event tells of. What lies ahead is not believed, and an event
/// without any time is new.
fn age(event: &Value, now: Timestamp) -> Duration {
    let own = [
        "/metadata/creationTimestamp",
        "/lastTimestamp",
        "/series/lastObservedTime",
        "/eventTime",
    ];
    let own = own.iter().map(|pointer| text(event, pointer));
    let managers = items(event, "/metadata/managedFields").iter();
    let written = own.chain(managers.map(|manager| text(manager, "/time")));
    let times = written.filter_map(|time| time.parse::<Timestamp>().ok());
    let last = times.filter(|time| *time <= now).max();
    let since = last.map(|last| now.duration_since(last));
    since.map_or(Duration::ZERO, |since| {
        Duration::try_from(since).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::{Draft, ResourceDef};

    const NOON: &str = "2026-01-01T12:00:00Z";

    fn minutes(event: &Value) -> u64 {
        age(event, NOON.parse().unwrap()).as_secs() / 60
    }

    #[test]
    fn the_latest_time_in_an_event_that_has_been_tells_its_age() {
        let mut event = json!({"metadata": {"creationTimestamp": "2026-01-01T10:00:00Z"}});
        assert_eq!(minutes(&event), 120);
        event["eventTime"] = "2026-01-01T10:10:00.123456Z".into();
        assert_eq!(minutes(&event), 109);
        event["lastTimestamp"] = "2026-01-01T10:20:00Z".into();
        assert_eq!(minutes(&event), 100);
        event["metadata"]["managedFields"] =
            json!([{"time": "2026-01-01T11:00:00Z"}, {"time": "2026-01-01T10:30:00Z"}]);
        assert_eq!(minutes(&event), 60);
        event["series"] = json!({"lastObservedTime": "2026-01-01T11:30:00.000000Z"});
        assert_eq!(minutes(&event), 30);
        event["lastTimestamp"] = "2036-01-01T00:00:00Z".into();
        assert_eq!(minutes(&event), 30);
        assert_eq!(
            minutes(&json!({"lastTimestamp": null, "eventTime": "noon"})),
            0
        );
    }

    #[tokio::test]
    async fn what_a_start_finds_is_due_by_its_age_and_never_again_before_its_life_is_over() {
        let life = Duration::from_secs(3600);
        let now = Timestamp::now();
        let event = |name: &str, revision: u64, minutes: i64| {
            let time = now - jiff::SignedDuration::from_mins(minutes);
            let event = json!({"metadata": {"name": name}, "lastTimestamp": time.to_string()});
            let draft = Draft::new(&event, &ResourceDef::default());
            draft.finish(name, revision, EventType::Added, None)
        };
        let events = [
            event("young", 1, 1),
            event("old", 3, 90),
            event("older", 2, 50),
        ];
        let before = Instant::now();
        let queue = found(events, life).await;
        let keys: Vec<&str> = queue.iter().map(|due| &*due.key).collect();
        assert_eq!(keys, ["old", "older", "young"]);
        assert!(queue[0].at <= Instant::now());
        let left = Duration::from_mins(9)..Duration::from_mins(11);
        assert!(left.contains(&(queue[1].at - before)));
        assert!(queue[2].at - before < life);
        let cut = found([event("now", 4, 0)], life).await;
        assert!(cut[0].at - before >= life);
    }
}
