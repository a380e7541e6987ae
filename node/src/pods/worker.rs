//! One task per pod: reads, plans, applies, reports; then waits for news of any kind.
//!
//! # Guarantees
//! All news takes one path: whatever wakes the worker, it looks at everything again. Actions run
//! as tasks of their own, so that a slow pull delays neither a stop nor a status.

mod probing;
mod resizing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::context::Context;
use super::events::Severity::{Normal, Warning};
use super::jobs::{CANCELLED, Job, OtherJob, Outcome};
use super::memory::{Memory, Retry, StartFailure, Volumes};
use super::names::PodId;
use super::objects::{References, Sources};
use super::observed::{Container, Observed, Reader, RunState};
use super::plan::{
    Action, Lifecycle, Plan, View, has_finished, is_deleted, is_overdue, spec, start_wait,
};
use super::probes::{Kind, Report};
use super::report::{ERROR_SHOWN, Facts, OVERDUE, pod_status};
use super::start::StartJob;
use super::stop::StopJob;
use super::volumes::tokens::Tokens;
use super::{containers, last_words, publish};

/// What the manager tells a worker.
#[derive(Debug)]
pub struct Inbox {
    /// The pod as the API has it.
    pub pod: watch::Receiver<Arc<Pod>>,
    /// The runtime has news about it.
    pub runtime: Arc<Notify>,
    /// The daemon ends; the pod goes on.
    pub shutdown: CancellationToken,
}

/// The state of one pod's worker.
pub struct Worker {
    ctx: Arc<Context>,
    id: PodId,
    pod: Arc<Pod>,
    inbox: Inbox,
    reader: Reader,
    observed: Observed,
    memory: Memory,
    lifecycle: Lifecycle,
    jobs: JoinSet<Outcome>,
    over: CancellationToken,
    sources: Arc<Sources>,
    source_tasks: Vec<AbortHandle>,
    source_news: Arc<Notify>,
    tokens: Arc<Mutex<Tokens>>,
    volumes_dirty: bool,
    probes: BTreeMap<(String, Kind), AbortHandle>,
    reports: mpsc::UnboundedReceiver<Report>,
    report_to: mpsc::UnboundedSender<Report>,
    reported: PodStatus,
    publish: watch::Sender<Option<PodStatus>>,
    _publisher: AbortOnDropHandle<()>,
    announced: BTreeSet<(String, Timestamp)>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.source_tasks.iter().for_each(AbortHandle::abort);
        self.probes.values().for_each(AbortHandle::abort);
    }
}

impl Worker {
    /// A worker that knows nothing but the object.
    pub fn new(ctx: Arc<Context>, mut inbox: Inbox) -> Self {
        let pod = inbox.pod.borrow_and_update().clone();
        let id = PodId::of(&pod);
        let sources = Arc::new(ctx.caches.follow(&pod));
        let source_news = Arc::new(Notify::new());
        let wake = Arc::clone(&source_news);
        let source_tasks = sources.on_change(move || wake.notify_one());
        let (report_to, reports) = mpsc::unbounded_channel();
        let reported = pod.status.clone().unwrap_or_default();
        let (publish, wanted) = watch::channel(None);
        let stored = inbox.pod.clone();
        let publisher = publish::run(
            ctx.client.clone(),
            id.clone(),
            reported.clone(),
            wanted,
            stored,
        );
        Self {
            memory: Memory {
                probes: probing::adopted(&reported),
                ..Memory::default()
            },
            ctx,
            id,
            pod,
            inbox,
            reader: Reader::default(),
            observed: Observed::default(),
            lifecycle: Lifecycle::Syncing,
            jobs: JoinSet::new(),
            over: CancellationToken::new(),
            sources,
            source_tasks,
            source_news,
            tokens: Arc::default(),
            volumes_dirty: false,
            probes: BTreeMap::new(),
            reports,
            report_to,
            reported,
            publish,
            _publisher: AbortOnDropHandle::new(tokio::spawn(publisher)),
            announced: BTreeSet::new(),
        }
    }

    /// Works until the pod is gone (`true`) or the daemon ends (`false`).
    pub async fn run(mut self) -> bool {
        let mut stale = true;
        loop {
            if stale {
                self.read().await;
            }
            let wake = self.turn();
            match self.wait(wake).await {
                Woken::Reread => stale = true,
                Woken::Replan => stale = false,
                Woken::Gone => return true,
                Woken::Shutdown => return false,
            }
        }
    }

    async fn read(&mut self) {
        match self.reader.read(&self.ctx.cri, &self.id.uid).await {
            Ok(observed) => self.observed = observed,
            // What was seen last stands: a runtime that restarts keeps its containers.
            Err(error) => tracing::warn!(pod = self.id.describe(), %error, "runtime can't be read"),
        }
    }

    /// Plans, applies and reports once; returns when to do so again without news.
    fn turn(&mut self) -> Option<Timestamp> {
        let now = Timestamp::now();
        self.note_due_tokens(now);
        self.sync_resources();
        let view = View {
            pod: &self.pod,
            observed: &self.observed,
            memory: &self.memory,
            now,
        };
        let (next, plan) = self.lifecycle.step(view);
        if next != self.lifecycle {
            tracing::debug!(pod = self.id.describe(), from = ?self.lifecycle, to = ?next, "lifecycle");
        }
        let ends = self.lifecycle == Lifecycle::Syncing && next != Lifecycle::Syncing;
        if ends && is_overdue(view) && !has_finished(view) && !is_deleted(view.pod) {
            let (reason, message) = OVERDUE;
            self.ctx.event(&self.pod, None, Normal, reason, message);
        }
        self.lifecycle = next;
        if next != Lifecycle::Syncing {
            self.over.cancel();
        }
        self.announce_waits(&plan, now);
        let wake = self.wake(&plan, now);
        self.apply(plan.actions, now);
        self.sync_probes();
        self.report(now);
        wake
    }

    fn wake(&self, plan: &Plan, now: Timestamp) -> Option<Timestamp> {
        let shown = self
            .memory
            .containers
            .values()
            .filter_map(|c| c.failure.as_ref());
        let shown = shown
            .map(|failure| failure.at + ERROR_SHOWN)
            .filter(|at| *at > now);
        let tokens = self
            .tokens
            .try_lock()
            .ok()
            .and_then(|tokens| tokens.renew_at());
        let asked = self.ask_again(now);
        plan.wake
            .into_iter()
            .chain(shown)
            .chain(tokens)
            .chain(asked)
            .min()
    }

    fn note_due_tokens(&mut self, now: Timestamp) {
        let due = self
            .tokens
            .try_lock()
            .ok()
            .and_then(|tokens| tokens.renew_at());
        if due.is_some_and(|at| at <= now) {
            self.refresh_volumes();
        }
    }

    fn refresh_volumes(&mut self) {
        self.volumes_dirty = true;
        if self.memory.volumes == Volumes::Ready {
            self.memory.volumes = Volumes::Refresh;
        }
    }

    // --- apply

    fn apply(&mut self, actions: Vec<Action>, now: Timestamp) {
        for action in actions {
            let job = self.job(&action);
            if let Action::Start {
                container, attempt, ..
            } = &action
                && *attempt > 0
                && !self.is_resized(container)
            {
                self.memory.container(container).crash.attempt(now);
            }
            if action == Action::PrepareVolumes {
                self.volumes_dirty = false;
            }
            self.note_sent(&action);
            self.memory.running.insert(action.clone());
            self.jobs
                .spawn(job.run(Arc::clone(&self.ctx), action, self.over.clone()));
        }
    }

    fn job(&self, action: &Action) -> Job {
        let pod = self.granted();
        let ips = self.observed.ips().to_vec();
        match action {
            Action::Start {
                container,
                attempt,
                sandbox,
            } => Job::Start(StartJob {
                pod,
                container: container.clone(),
                attempt: *attempt,
                sandbox: (
                    sandbox.clone(),
                    self.observed.sandbox().map_or(0, |s| s.attempt),
                ),
                ips,
                target: self.looked_at(container),
                leftovers: self.leftovers(container),
                sources: Arc::clone(&self.sources),
            }),
            Action::Stop {
                id,
                container,
                grace,
                reason,
            } => Job::Stop(StopJob {
                pod,
                id: id.clone(),
                container: container.clone(),
                grace: *grace,
                reason: *reason,
                ips,
                repeated: self.is_stopping(id),
            }),
            other => Job::Other(Box::new(OtherJob {
                action: other.clone(),
                pod,
                ips,
                sources: Arc::clone(&self.sources),
                tokens: Arc::clone(&self.tokens),
                status: self.reported.clone(),
            })),
        }
    }

    /// What the container looks at, if it is one that looks at another.
    fn looked_at(&self, name: &str) -> Option<(String, Option<String>)> {
        let target = containers::target(&self.pod, name)?;
        let id = self.observed.newest(target).map(|c| c.id.clone());
        Some((target.to_owned(), id))
    }

    /// Whether the container ended only to start again with other resources.
    fn is_resized(&self, name: &str) -> bool {
        let newest = self.observed.newest(name);
        newest.is_some_and(|newest| self.memory.resize.ended.contains(&newest.id))
    }

    fn leftovers(&self, name: &str) -> Vec<String> {
        let created = |c: &&Container| c.name == name && c.state == RunState::Created;
        self.observed
            .containers
            .iter()
            .filter(created)
            .map(|c| c.id.clone())
            .collect()
    }

    fn is_stopping(&self, id: &str) -> bool {
        let stops =
            |action: &Action| matches!(action, Action::Stop { id: other, .. } if other == id);
        self.memory.running.iter().any(stops)
    }

    // --- report

    fn report(&mut self, now: Timestamp) {
        let over = self.lifecycle != Lifecycle::Syncing;
        let dirs = &self.ctx.dirs;
        let (id, pod) = (&self.id, &self.pod);
        let words = |container: &Container| last_words::read(dirs, id, pod, container);
        let facts = Facts {
            node_ips: &self.ctx.node_ips,
            runtime: &self.ctx.runtime,
            over,
            before: &self.reported,
            last_words: &words,
        };
        let view = View {
            pod: &self.pod,
            observed: &self.observed,
            memory: &self.memory,
            now,
        };
        // Once sandboxes go, so do the facts: what was reported last stays.
        if matches!(self.lifecycle, Lifecycle::Removing | Lifecycle::Gone)
            || spec(pod).containers.is_empty()
        {
            return;
        }
        let status = pod_status(view, &facts);
        if status != self.reported {
            self.reported = status.clone();
            self.publish.send_replace(Some(status));
        }
    }

    /// Events about waiting, once per wait.
    fn announce_waits(&mut self, plan: &Plan, now: Timestamp) {
        for (name, until) in &plan.crash_waits {
            if self.announced.insert((name.clone(), *until)) {
                let message = format!(
                    "Back-off restarting failed container {name} in pod {}",
                    self.id.describe()
                );
                self.ctx
                    .event(&self.pod, Some(name), Warning, "BackOff", message);
            }
        }
        let waits: Vec<_> = self
            .memory
            .containers
            .iter()
            .filter_map(|(name, memory)| {
                let failure = memory
                    .failure
                    .as_ref()
                    .filter(|f| f.reason == "ErrImagePull")?;
                let shown = now.duration_since(failure.at) >= ERROR_SHOWN;
                let until = start_wait(&self.memory, name, now).filter(|_| shown)?;
                Some((name.clone(), until))
            })
            .collect();
        for (name, until) in waits {
            if self.announced.insert((name.clone(), until)) {
                let image = containers::find(&self.pod, &name)
                    .and_then(|c| c.image.clone())
                    .unwrap_or_default();
                let message = format!("Back-off pulling image \"{image}\"");
                self.ctx
                    .event(&self.pod, Some(&name), Normal, "BackOff", message);
                let message = "Error: ImagePullBackOff";
                self.ctx
                    .event(&self.pod, Some(&name), Warning, "Failed", message);
            }
        }
        self.announced.retain(|(_, until)| *until > now);
    }

    // --- news

    async fn wait(&mut self, wake: Option<Timestamp>) -> Woken {
        let sleep = async {
            match wake {
                Some(at) => {
                    let left = at.duration_since(Timestamp::now());
                    tokio::time::sleep(left.try_into().unwrap_or_default()).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.inbox.shutdown.cancelled() => Woken::Shutdown,
            Some(outcome) = self.jobs.join_next() => self.take_outcome(outcome),
            Ok(()) = self.inbox.pod.changed() => self.take_pod(),
            () = self.inbox.runtime.notified() => Woken::Reread,
            Some(report) = self.reports.recv() => {
                self.take_report(report);
                Woken::Replan
            }
            () = self.source_news.notified() => {
                self.refresh_volumes();
                self.memory.sources_changed();
                Woken::Replan
            }
            () = sleep => Woken::Replan,
        }
    }

    fn take_pod(&mut self) -> Woken {
        let pod = self.inbox.pod.borrow_and_update().clone();
        let facts = |pod: &Pod| {
            (
                pod.metadata.labels.clone(),
                pod.metadata.annotations.clone(),
            )
        };
        if facts(&pod) != facts(&self.pod) {
            self.refresh_volumes();
        }
        if References::of(&pod) != References::of(&self.pod) {
            self.follow(&pod);
        }
        self.pod = pod;
        Woken::Replan
    }

    /// Follows what the pod refers to now: containers that join it later may refer to more.
    fn follow(&mut self, pod: &Pod) {
        self.sources = Arc::new(self.ctx.caches.follow(pod));
        let wake = Arc::clone(&self.source_news);
        let tasks = self.sources.on_change(move || wake.notify_one());
        let before = std::mem::replace(&mut self.source_tasks, tasks);
        before.iter().for_each(AbortHandle::abort);
    }

    fn take_outcome(&mut self, outcome: Result<Outcome, tokio::task::JoinError>) -> Woken {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                // Which action panicked is not known: forgetting them all at worst repeats some.
                tracing::error!(pod = self.id.describe(), %error, "an action panicked");
                self.memory.running.clear();
                return Woken::Reread;
            }
        };
        let Outcome { action, result } = outcome;
        self.memory.running.remove(&action);
        if let Err(failure) = &result {
            tracing::warn!(
                pod = self.id.describe(),
                ?action,
                error = failure.message,
                "action failed"
            );
        }
        let done = result.is_ok() && action == Action::DeleteObject;
        self.remember(action, result);
        if done { Woken::Gone } else { Woken::Reread }
    }

    fn remember(&mut self, action: Action, result: Result<(), StartFailure>) {
        let now = Timestamp::now();
        match (&action, &result) {
            (Action::Start { container, .. }, Ok(())) => {
                let memory = self.memory.container(container);
                memory.failure = None;
                memory.retry = Default::default();
                return;
            }
            // The pod ends: that is no fault of the container's.
            (Action::Start { .. }, Err(failure)) if failure.reason == CANCELLED => return,
            (Action::Start { container, .. }, Err(failure)) => {
                let memory = self.memory.container(container);
                memory.retry.attempt(now);
                memory.failure = Some(failure.clone());
                return;
            }
            // Half-made volumes must be taken away as whole ones are.
            (Action::PrepareVolumes, Err(failure)) if failure.reason == CANCELLED => {
                self.memory.volumes = Volumes::Ready;
            }
            (Action::PrepareVolumes, Ok(())) => {
                let dirty = self.volumes_dirty;
                self.memory.volumes = if dirty {
                    Volumes::Refresh
                } else {
                    Volumes::Ready
                };
            }
            (Action::ReleaseVolumes, Ok(())) => self.memory.volumes = Volumes::Stale,
            (Action::Resize { id, container }, result) => {
                self.note_resized(id, container, result);
            }
            _ => {}
        }
        match result {
            Ok(()) => self.memory.retries.insert(action.name(), Retry::default()),
            Err(failure) => {
                let retry = self.memory.retries.entry(action.name()).or_default();
                retry.fail(now, failure.message);
                None
            }
        };
    }
}

/// Why a worker looks again.
enum Woken {
    /// The runtime may have changed.
    Reread,
    /// Something else has.
    Replan,
    /// Nothing is left of the pod.
    Gone,
    /// The daemon ends.
    Shutdown,
}
