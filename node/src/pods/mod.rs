//! The pod runtime: from a Pod object to containers, through CRI.
//!
//! The manager here gives every pod of this node a [`worker`]: one task that reads (the object,
//! the runtime), plans ([`plan`], pure), applies ([`jobs`]) and reports ([`report`], pure, and
//! [`publish`]). Nothing about a pod is stored outside the API and the runtime: labels on
//! sandboxes and containers ([`names`]) let a daemon that starts anew adopt what runs.
//!
//! A sandbox without a pod in the API is ended like a deleted pod. While the API is away, pods go
//! on with what was last known of them.

pub mod backoff;
pub mod cgroups;
pub mod conditions;
pub mod container;
pub mod containers;
pub mod context;
pub mod env;
pub mod events;
pub mod expand;
pub mod fields;
pub mod hooks;
pub mod http;
pub mod image;
pub mod jobs;
pub mod last_words;
pub mod memory;
pub mod names;
pub mod objects;
pub mod observed;
pub mod plan;
pub mod poller;
pub mod probes;
pub mod publish;
pub mod pull_auth;
pub mod report;
pub mod resize;
pub mod resources;
pub mod rotation;
pub mod sandbox;
pub mod start;
pub mod stop;
pub mod volumes;
pub mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use naru_cri::Cri;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::watches::Table;
use crate::{PartResult, Shared};
use context::Context;
use names::PodId;
use plan::DEFAULT_GRACE;
use poller::{News, Pace};
use worker::{Inbox, Worker};

/// Runs every pod bound to this node until `shutdown`; pods outlive it.
///
/// # Errors
/// None: what fails is retried, pod by pod.
pub async fn run(shared: Shared, shutdown: CancellationToken) -> PartResult {
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        // Services too: their variables are part of every container's environment.
        () = async { tokio::join!(shared.watches.own_pods.synced(), shared.watches.services.synced()); } => {}
    }
    let cri = Cri::new(&shared.config.cri_socket);
    let pace = Pace::default();
    let ctx = Arc::new(Context::new(&shared, cri.clone(), pace.clone()).await);
    let (news_to, mut news) = mpsc::unbounded_channel();
    let mut helpers = JoinSet::new();
    helpers.spawn(poller::run(cri.clone(), pace, news_to, shutdown.clone()));
    helpers.spawn(rotation::run(cri, ctx.dirs.clone(), shutdown.clone()));
    let mut manager = Manager::new(ctx, shutdown.clone());
    let own_pods = &shared.watches.own_pods;
    let mut changes = own_pods.subscribe();
    loop {
        manager.sync(own_pods);
        tokio::select! {
            () = shutdown.cancelled() => break,
            _ = changes.changed() => {}
            Some(list) = news.recv() => manager.take_news(list, own_pods),
            Some(ended) = manager.workers.join_next() => manager.take_end(ended),
        }
    }
    while manager.workers.join_next().await.is_some() {}
    helpers.join_all().await;
    Ok(())
}

/// How to reach a worker.
struct Handle {
    pod: watch::Sender<Arc<Pod>>,
    runtime: Arc<Notify>,
}

struct Manager {
    ctx: Arc<Context>,
    shutdown: CancellationToken,
    handles: HashMap<String, Handle>,
    workers: JoinSet<(String, bool)>,
    /// Pods that are gone from this node, until they are gone from the API's list as well.
    done: HashSet<String>,
}

impl Manager {
    fn new(ctx: Arc<Context>, shutdown: CancellationToken) -> Self {
        Self {
            ctx,
            shutdown,
            handles: HashMap::new(),
            workers: JoinSet::new(),
            done: HashSet::new(),
        }
    }

    /// Brings workers in line with the API: one for each pod, and the word to end for the rest.
    fn sync(&mut self, table: &Table<Pod>) {
        let pods: HashMap<String, Arc<Pod>> = table
            .list()
            .into_iter()
            .map(|pod| (PodId::of(&pod).uid, pod))
            .collect();
        self.done.retain(|uid| pods.contains_key(uid));
        for (uid, pod) in &pods {
            match self.handles.get(uid) {
                Some(handle) => {
                    handle
                        .pod
                        .send_if_modified(|known| replace_if_newer(known, pod));
                }
                None if self.done.contains(uid) => {}
                None => self.spawn(uid.clone(), Arc::clone(pod)),
            }
        }
        for (uid, handle) in &self.handles {
            if !pods.contains_key(uid) {
                handle.pod.send_if_modified(mark_deleted);
            }
        }
    }

    fn spawn(&mut self, uid: String, pod: Arc<Pod>) {
        let (sender, receiver) = watch::channel(pod);
        let runtime = Arc::new(Notify::new());
        let inbox = Inbox {
            pod: receiver,
            runtime: Arc::clone(&runtime),
            shutdown: self.shutdown.clone(),
        };
        let worker = Worker::new(Arc::clone(&self.ctx), inbox);
        self.handles.insert(
            uid.clone(),
            Handle {
                pod: sender,
                runtime,
            },
        );
        self.workers.spawn(async move { (uid, worker.run().await) });
    }

    fn take_news(&mut self, list: Vec<News>, table: &Table<Pod>) {
        for news in list {
            let uid = &news.pod.uid;
            match self.handles.get(uid) {
                Some(handle) => handle.runtime.notify_one(),
                None if self.done.contains(uid) || is_in(table, &news.pod) => {}
                None => {
                    tracing::info!(pod = news.pod.describe(), "ending a pod unknown to the API");
                    self.spawn(uid.clone(), Arc::new(orphan(news)));
                }
            }
        }
    }

    fn take_end(&mut self, ended: Result<(String, bool), tokio::task::JoinError>) {
        match ended {
            Ok((uid, gone)) => {
                self.handles.remove(&uid);
                if gone {
                    self.done.insert(uid);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a pod's worker panicked");
                self.handles.retain(|_, handle| !handle.pod.is_closed());
            }
        }
    }
}

fn is_in(table: &Table<Pod>, id: &PodId) -> bool {
    let pod = table.get(&id.namespace, &id.name);
    pod.is_some_and(|pod| PodId::of(&pod).uid == id.uid)
}

/// A fresh list repeats what was known; only another version is news.
fn replace_if_newer(known: &mut Arc<Pod>, pod: &Arc<Pod>) -> bool {
    let newer = known.metadata.resource_version != pod.metadata.resource_version;
    if newer {
        *known = Arc::clone(pod);
    }
    newer
}

/// A pod that vanished from the API without a word was deleted by force.
fn mark_deleted(known: &mut Arc<Pod>) -> bool {
    if known.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let mut pod = Pod::clone(known);
    pod.metadata.deletion_timestamp = Some(Time(Timestamp::now()));
    *known = Arc::new(pod);
    true
}

/// A deleted pod of which nothing is known but its name.
fn orphan(news: News) -> Pod {
    Pod {
        metadata: ObjectMeta {
            namespace: Some(news.pod.namespace),
            name: Some(news.pod.name),
            uid: Some(news.pod.uid),
            deletion_timestamp: Some(Time(Timestamp::now())),
            deletion_grace_period_seconds: Some(news.grace.unwrap_or(DEFAULT_GRACE)),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec::default()),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vanished_pod_is_marked_once() {
        let mut pod = Arc::new(Pod::default());
        assert!(mark_deleted(&mut pod));
        assert!(!mark_deleted(&mut pod));
        assert!(plan::is_deleted(&pod));
    }

    #[test]
    fn a_repeated_version_is_no_news() {
        let version = |text: &str| {
            let mut pod = Pod::default();
            pod.metadata.resource_version = Some(text.into());
            Arc::new(pod)
        };
        let mut known = version("1");
        assert!(!replace_if_newer(&mut known, &version("1")));
        assert!(replace_if_newer(&mut known, &version("2")));
    }

    #[test]
    fn orphans_get_the_grace_their_sandbox_names() {
        let id = PodId {
            namespace: "n".into(),
            name: "p".into(),
            uid: "u".into(),
        };
        let pod = orphan(News {
            pod: id.clone(),
            grace: Some(5),
        });
        assert!(plan::is_deleted(&pod));
        assert_eq!(plan::grace(&pod).as_secs(), 5);
        assert_eq!(PodId::of(&pod), id);
    }
}
