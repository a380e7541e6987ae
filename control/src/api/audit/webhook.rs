//! The thread that posts events to a server, as `EventList`s of `audit.k8s.io/v1`. A list that is
//! refused is posted again a few times, later each time, and then lost.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

use super::queue::Queue;
use crate::api::remote::Endpoint;

/// How often a list is posted, as in Kubernetes.
const ATTEMPTS: usize = 5;

/// Where events are posted to, and how.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// A kubeconfig that leads there.
    pub kubeconfig: PathBuf,
    /// Events of one list, at most.
    pub most: usize,
    /// How long a list waits for more events.
    pub wait: Duration,
    /// How long to wait before a list is posted for the second time; each further wait is half as
    /// long again.
    pub backoff: Duration,
    /// Whether requests wait for their events.
    pub blocking: bool,
}

/// The way to the server.
///
/// # Errors
/// What is wrong with the kubeconfig, or that the system has no thread to give.
pub(super) fn open(webhook: &Webhook) -> io::Result<Arc<Queue>> {
    let endpoint = Endpoint::of_kubeconfig(&webhook.kubeconfig).map_err(io::Error::other)?;
    let queue = Arc::new(Queue::new("the audit webhook"));
    let poster = Poster {
        queue: queue.clone(),
        endpoint,
        webhook: webhook.clone(),
        runtime: Builder::new_current_thread().enable_all().build()?,
    };
    let thread = std::thread::Builder::new().name("audit-webhook".into());
    thread.spawn(move || poster.run())?;
    Ok(queue)
}

struct Poster {
    queue: Arc<Queue>,
    endpoint: Endpoint,
    webhook: Webhook,
    runtime: Runtime,
}

impl Poster {
    fn run(self) {
        // Who waits for his events need not wait for others'.
        let wait = match self.webhook.blocking {
            true => Duration::ZERO,
            false => self.webhook.wait,
        };
        loop {
            let events = self.queue.gather(self.webhook.most, wait);
            if events.is_empty() {
                break;
            }
            let delivered = self.deliver(list(&events));
            self.queue.done(&events, !delivered);
        }
        self.queue.end();
    }

    /// Posts a list until it is taken; false if it is not.
    fn deliver(&self, list: Bytes) -> bool {
        let mut pause = self.webhook.backoff;
        for attempt in 1..=ATTEMPTS {
            let posted = self.runtime.block_on(self.endpoint.post(list.clone()));
            let Err(why) = posted else {
                self.queue.stuck(false);
                return true;
            };
            self.queue.stuck(true);
            tracing::warn!(attempt, why, "the audit webhook does not take events");
            if attempt < ATTEMPTS {
                self.queue.pause(pause);
                pause += pause / 2;
            }
        }
        tracing::error!("events are lost: the audit webhook does not take them");
        false
    }
}

/// Events, each JSON, as one list.
fn list(events: &[Bytes]) -> Bytes {
    let start = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;
    let events = events.join(&b","[..]);
    [start.as_bytes(), &events, b"]}"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_holds_events_in_order() {
        let events = ["{\"a\":1}\n", "{\"a\":2}\n"].map(Bytes::from);
        let read: serde_json::Value = serde_json::from_slice(&list(&events)).unwrap();
        assert_eq!(read["kind"], "EventList");
        assert_eq!(read["items"], serde_json::json!([{"a": 1}, {"a": 2}]));
    }
}
