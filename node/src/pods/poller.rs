//! News from the runtime: which pods have changed since the last look.
//!
//! Runtimes with an event stream (containerd from 1.7) tell by themselves and are asked only now
//! and then; the others are asked once a second while there is anything to ask about, and more
//! often for a moment after something was done, when news is likely.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use naru_cri::{Cri, v1};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::names::PodId;

const QUICK: Duration = Duration::from_millis(100);
const CALM: Duration = Duration::from_secs(1);
/// With an event stream, or with no pods at all.
const IDLE: Duration = Duration::from_secs(10);
/// How long an action makes news likely.
const HURRY: Duration = Duration::from_millis(1500);

/// How fast to look. Clones share one pace.
#[derive(Debug, Clone, Default)]
pub struct Pace(Arc<PaceInner>);

#[derive(Debug, Default)]
struct PaceInner {
    hurry_until: Mutex<Option<Instant>>,
    woken: Notify,
}

impl Pace {
    /// News is likely for a moment.
    pub fn hurry(&self) {
        *self.0.hurry_until.lock() = Some(Instant::now() + HURRY);
        self.0.woken.notify_one();
    }

    fn delay(&self, calm: Duration) -> Duration {
        let hurries = self
            .0
            .hurry_until
            .lock()
            .is_some_and(|until| until > Instant::now());
        if hurries { QUICK } else { calm }
    }
}

/// What the runtime has of one pod, as one comparable number.
type Fingerprint = u64;

/// A pod about which the runtime has news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The pod, as its sandbox or container names it.
    pub pod: PodId,
    /// Its termination grace period in seconds, as its sandbox names it.
    pub grace: Option<i64>,
}

/// Looks until `shutdown` and sends the pods that changed.
pub async fn run(
    cri: Cri,
    pace: Pace,
    news: mpsc::UnboundedSender<Vec<News>>,
    shutdown: CancellationToken,
) {
    let mut known = HashMap::new();
    let mut events = None;
    loop {
        if events.is_none() {
            events = cri.container_events().await.ok();
        }
        match look(&cri).await {
            Ok(seen) => {
                let _ = news.send(changed(&known, &seen));
                known = seen
                    .into_iter()
                    .map(|(news, print)| (news.pod, print))
                    .collect();
            }
            Err(error) => tracing::warn!(%error, "runtime can't be listed"),
        }
        let calm = if events.is_some() || known.is_empty() {
            IDLE
        } else {
            CALM
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pace.delay(calm)) => {}
            () = pace.0.woken.notified() => tokio::time::sleep(QUICK).await,
            more = next(&mut events) => if !more { events = None },
        }
    }
}

async fn next(events: &mut Option<tonic::Streaming<v1::ContainerEventResponse>>) -> bool {
    match events {
        Some(stream) => matches!(stream.message().await, Ok(Some(_))),
        None => std::future::pending().await,
    }
}

async fn look(cri: &Cri) -> Result<Vec<(News, Fingerprint)>, naru_cri::Error> {
    let (sandboxes, containers) = tokio::try_join!(
        cri.list_pod_sandbox(v1::ListPodSandboxRequest::default()),
        cri.list_containers(v1::ListContainersRequest::default()),
    )?;
    Ok(fingerprints(&sandboxes.items, &containers.containers))
}

/// The grace period that a pod's sandbox carries, and the state of each of its parts by id.
type PodStates<'a> = (Option<i64>, Vec<(&'a str, i32)>);

fn fingerprints(
    sandboxes: &[v1::PodSandbox],
    containers: &[v1::Container],
) -> Vec<(News, Fingerprint)> {
    let mut states: HashMap<PodId, PodStates<'_>> = HashMap::new();
    for sandbox in sandboxes {
        let Some(pod) = PodId::from_labels(&sandbox.labels) else {
            continue;
        };
        let entry = states.entry(pod).or_default();
        let grace = sandbox.annotations.get(super::names::GRACE_PERIOD);
        entry.0 = grace.and_then(|text| text.parse().ok()).or(entry.0);
        entry.1.push((&sandbox.id, sandbox.state));
    }
    for container in containers {
        let Some(pod) = PodId::from_labels(&container.labels) else {
            continue;
        };
        states
            .entry(pod)
            .or_default()
            .1
            .push((&container.id, container.state));
    }
    let print = |mut parts: Vec<(&str, i32)>| {
        parts.sort_unstable();
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        hasher.finish()
    };
    states
        .into_iter()
        .map(|(pod, (grace, parts))| (News { pod, grace }, print(parts)))
        .collect()
}

/// Pods that are new, different, or gone.
fn changed(known: &HashMap<PodId, Fingerprint>, seen: &[(News, Fingerprint)]) -> Vec<News> {
    let fresh = seen
        .iter()
        .filter(|(news, print)| known.get(&news.pod) != Some(print));
    let gone = known
        .keys()
        .filter(|pod| !seen.iter().any(|(news, _)| news.pod == **pod));
    let gone = gone.map(|pod| News {
        pod: pod.clone(),
        grace: None,
    });
    fresh.map(|(news, _)| news.clone()).chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(name: &str) -> News {
        News {
            pod: PodId {
                namespace: "n".into(),
                name: name.into(),
                uid: name.into(),
            },
            grace: None,
        }
    }

    #[test]
    fn only_changes_are_news() {
        let known = HashMap::from([
            (news("same").pod, 1),
            (news("differs").pod, 1),
            (news("gone").pod, 1),
        ]);
        let seen = [(news("same"), 1), (news("differs"), 2), (news("new"), 1)];
        let mut names: Vec<_> = changed(&known, &seen)
            .into_iter()
            .map(|n| n.pod.name)
            .collect();
        names.sort();
        assert_eq!(names, ["differs", "gone", "new"]);
    }

    #[test]
    fn a_changed_state_changes_the_fingerprint_and_order_does_not() {
        let labels: HashMap<_, _> = news("a").pod.labels(Some("c")).into_iter().collect();
        let container = |id: &str, state| v1::Container {
            id: id.into(),
            state,
            labels: labels.clone(),
            ..v1::Container::default()
        };
        let print = |list: &[v1::Container]| fingerprints(&[], list)[0].1;
        let (a, b) = (container("a", 1), container("b", 1));
        assert_eq!(
            print(&[a.clone(), b.clone()]),
            print(&[b.clone(), a.clone()])
        );
        assert_ne!(print(&[a, b.clone()]), print(&[container("a", 2), b]));
    }
}
