//! Garbage collection by owner references: background, foreground, orphan.
//!
//! Guarantees: nothing is deleted on the word of a cache. An owner that the graph does not hold is
//! looked up in the API by its uid first, and a deletion carries the uid and version that were
//! judged. What it will not do: guess. An owner of a kind that the server does not know keeps its
//! dependents until the kind is known.

pub mod graph;
mod monitor;
#[cfg(test)]
mod tests;

use super::Context;
use super::runtime::discovery::{Offered, offered};
use super::runtime::uids::Uids;
use super::runtime::{After, ApiError, Key, Queue, Reconcile, ReconcileError, meta};
use graph::{FOREGROUND, Graph, Ident, ORPHAN, Object, Owner, Verdict};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Uids of owners that are known to be gone; a uid never comes back.
const REMEMBERED: usize = 4096;

/// When an owner that no watch has shown yet is looked up again.
const UNSEEN: Duration = Duration::from_secs(5);

/// The garbage collector.
pub struct Collector {
    context: Arc<Context>,
    queue: Queue<String>,
    graph: Mutex<Graph>,
    kinds: Mutex<HashMap<(String, String), Offered>>,
    absent: Mutex<HashSet<String>>,
    listeners: Mutex<Vec<Listener>>,
}

/// How the owners of an object stand.
#[derive(Default)]
struct Owners {
    /// By uid.
    states: HashMap<String, Owner>,
    /// Whether one of them lives of which the graph knows nothing yet, because its kind is new. It
    /// may go before its kind is watched, and then nothing would tell.
    unseen: bool,
}

/// Hears the namespace of an object that is gone.
type Listener = Box<dyn Fn(&str) + Send + Sync>;

impl Collector {
    /// Subscribes to the shared caches.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let collector = Arc::new(Collector {
            context,
            queue: Queue::default(),
            graph: Mutex::default(),
            kinds: Mutex::default(),
            absent: Mutex::default(),
            listeners: Mutex::default(),
        });
        monitor::subscribe(&collector, &collector.context.caches);
        collector
    }

    /// Starts discovery and the watches on kinds without a shared cache.
    pub fn follow(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        tasks.spawn(monitor::follow(Arc::downgrade(self)));
    }

    fn seen(&self, uid: &str, object: Object) {
        let wake = self.graph.lock().set(uid, object);
        wake.into_iter().for_each(|uid| self.queue.add(uid));
    }

    fn removed(&self, uid: &str) {
        let mut graph = self.graph.lock();
        let namespace = graph.namespace_of(uid);
        let wake = graph.remove(uid);
        drop(graph);
        wake.into_iter().for_each(|uid| self.queue.add(uid));
        if let Some(namespace) = namespace {
            let listeners = self.listeners.lock();
            listeners.iter().for_each(|listener| listener(&namespace));
        }
    }

    /// Takes note that `listed` are all objects of a kind.
    fn listed(&self, api_version: &str, kind: &str, listed: &Uids) {
        let missing = self.graph.lock().missing(api_version, kind, listed);
        missing.iter().for_each(|uid| self.removed(uid));
    }

    /// Calls `listener` with the namespace of whatever is deleted, of any kind; it must not block.
    pub fn on_removal(&self, listener: impl Fn(&str) + Send + Sync + 'static) {
        self.listeners.lock().push(Box::new(listener));
    }

    fn learn(&self, kinds: Vec<Offered>) {
        let by_name = |kind: Offered| {
            (
                (
                    kind.resource.api_version.clone(),
                    kind.resource.kind.clone(),
                ),
                kind,
            )
        };
        tracing::debug!(count = kinds.len(), "kinds known");
        *self.kinds.lock() = kinds.into_iter().map(by_name).collect();
    }

    /// The kind as the server offers it; an unknown one is asked for anew, with the queue's back-off.
    async fn kind(
        &self,
        api_version: &str,
        kind: &str,
        asking: &str,
    ) -> Result<Offered, ReconcileError> {
        let name = (api_version.to_owned(), kind.to_owned());
        if let Some(known) = self.kinds.lock().get(&name).cloned() {
            return Ok(known);
        }
        let kinds = offered(self.context.writer.client()).await?;
        self.learn(kinds);
        let known = self.kinds.lock().get(&name).cloned();
        let what = || format!("the server to know {api_version} {kind}");
        known.ok_or_else(|| ReconcileError::Pending {
            object: asking.to_owned(),
            what: what(),
        })
    }

    /// The metadata of an object as the API has it now.
    async fn live(&self, ident: &Ident) -> Result<Option<ObjectMeta>, ReconcileError> {
        let kind = self
            .kind(&ident.api_version, &ident.kind, &ident.name)
            .await?;
        let api = kind.api(self.context.writer.client(), &ident.namespace);
        let answer = api
            .get_metadata_opt(&ident.name)
            .await
            .map_err(kind.failed("get", &key(ident)))?;
        Ok(answer.map(|object| object.metadata))
    }

    /// How the owners of `object` stand.
    async fn owners(&self, object: &Object) -> Result<Owners, ReconcileError> {
        let mut owners = Owners::default();
        for reference in &object.owners {
            let known = self.graph.lock().owner(&reference.uid);
            let state = match known {
                Some(state) => state,
                None => self.look_up(reference, object, &mut owners.unseen).await?,
            };
            owners.states.insert(reference.uid.clone(), state);
        }
        Ok(owners)
    }

    async fn look_up(
        &self,
        reference: &OwnerReference,
        dependent: &Object,
        unseen: &mut bool,
    ) -> Result<Owner, ReconcileError> {
        if self.absent.lock().contains(&reference.uid) {
            return Ok(Owner::Absent);
        }
        let kind = self
            .kind(
                &reference.api_version,
                &reference.kind,
                &dependent.ident.name,
            )
            .await?;
        if kind.namespaced && dependent.ident.namespace.is_empty() {
            tracing::warn!(object = ?dependent.ident, owner = reference.name, "a cluster-scoped object names a namespaced owner");
            return Ok(Owner::Solid);
        }
        let namespace = if kind.namespaced {
            dependent.ident.namespace.clone()
        } else {
            String::new()
        };
        let ident = Ident {
            api_version: reference.api_version.clone(),
            kind: reference.kind.clone(),
            namespace,
            name: reference.name.clone(),
        };
        match self
            .live(&ident)
            .await?
            .filter(|live| meta::uid(live) == reference.uid)
            .inspect(|_| *unseen = true)
        {
            Some(live) if Object::read("", "", &live).foreground && meta::is_deleting(&live) => {
                Ok(Owner::Waiting)
            }
            Some(_) => Ok(Owner::Solid),
            None => {
                self.remember_absent(&reference.uid);
                Ok(Owner::Absent)
            }
        }
    }

    fn remember_absent(&self, uid: &str) {
        let mut absent = self.absent.lock();
        if absent.len() >= REMEMBERED {
            absent.clear();
        }
        absent.insert(uid.to_owned());
    }

    async fn apply(
        &self,
        uid: &str,
        object: &Object,
        live: &ObjectMeta,
        verdict: Verdict,
    ) -> Result<(), ReconcileError> {
        match verdict {
            Verdict::Keep => {}
            Verdict::Detach(lost) => {
                let owners = object
                    .owners
                    .iter()
                    .filter(|owner| !lost.contains(&owner.uid))
                    .cloned()
                    .collect();
                self.write_owners(&object.ident, live, owners).await?;
            }
            Verdict::Delete { foreground } => {
                self.delete(&object.ident, live, foreground, object.orphan)
                    .await?
            }
            Verdict::Orphan(dependents) => {
                for dependent in dependents {
                    self.free(&dependent, uid).await?;
                }
                self.drop_finalizer(&object.ident, live, ORPHAN).await?;
            }
            Verdict::Finish => self.drop_finalizer(&object.ident, live, FOREGROUND).await?,
            Verdict::Await(dependents) => {
                dependents.into_iter().for_each(|uid| self.queue.add(uid))
            }
        }
        Ok(())
    }

    /// Removes the reference to `owner` from a dependent.
    async fn free(&self, dependent: &str, owner: &str) -> Result<(), ReconcileError> {
        let Some(object) = self.graph.lock().get(dependent).cloned() else {
            return Ok(());
        };
        let Some(live) = self
            .live(&object.ident)
            .await?
            .filter(|live| meta::uid(live) == dependent)
        else {
            return Ok(());
        };
        let owners: Vec<_> = live.owner_references.clone().unwrap_or_default();
        let owners = owners
            .into_iter()
            .filter(|reference| reference.uid != owner)
            .collect();
        self.write_owners(&object.ident, &live, owners).await
    }

    async fn write_owners(
        &self,
        ident: &Ident,
        live: &ObjectMeta,
        owners: Vec<OwnerReference>,
    ) -> Result<(), ReconcileError> {
        self.patch(ident, live, "ownerReferences", json!(owners))
            .await
    }

    async fn drop_finalizer(
        &self,
        ident: &Ident,
        live: &ObjectMeta,
        name: &str,
    ) -> Result<(), ReconcileError> {
        let left: Vec<_> = live
            .finalizers
            .iter()
            .flatten()
            .filter(|finalizer| *finalizer != name)
            .collect();
        self.patch(ident, live, "finalizers", json!(left)).await
    }

    async fn patch(
        &self,
        ident: &Ident,
        live: &ObjectMeta,
        field: &str,
        value: Value,
    ) -> Result<(), ReconcileError> {
        let kind = self
            .kind(&ident.api_version, &ident.kind, &ident.name)
            .await?;
        let patch = json!({"metadata": {"uid": live.uid, "resourceVersion": live.resource_version, field: value}});
        let api = kind.api(self.context.writer.client(), &ident.namespace);
        let answer = api
            .patch_metadata(&ident.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        ignore_gone(answer.map(drop).map_err(kind.failed("patch", &key(ident))))
    }

    async fn delete(
        &self,
        ident: &Ident,
        live: &ObjectMeta,
        foreground: bool,
        orphan: bool,
    ) -> Result<(), ReconcileError> {
        let kind = self
            .kind(&ident.api_version, &ident.kind, &ident.name)
            .await?;
        let params = match (foreground, orphan) {
            (true, _) => DeleteParams::foreground(),
            (false, true) => DeleteParams::orphan(),
            (false, false) => DeleteParams::background(),
        };
        let guard = Preconditions {
            uid: live.uid.clone(),
            resource_version: live.resource_version.clone(),
        };
        let params = DeleteParams {
            preconditions: Some(guard),
            ..params
        };
        let api = kind.api(self.context.writer.client(), &ident.namespace);
        tracing::debug!(object = ?ident, foreground, "collected");
        let answer = api.delete(&ident.name, &params).await;
        ignore_gone(answer.map(drop).map_err(kind.failed("delete", &key(ident))))
    }
}

fn key(ident: &Ident) -> Key {
    Key::new(&ident.namespace, &ident.name)
}

fn ignore_gone(answer: Result<(), ApiError>) -> Result<(), ReconcileError> {
    match answer {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}

impl Reconcile for Collector {
    type Key = String;
    const NAME: &'static str = "garbage-collector";
    const WORKERS: usize = 4;

    fn queue(&self) -> &Queue<String> {
        &self.queue
    }

    fn keys(&self) -> Vec<String> {
        self.graph.lock().interesting()
    }

    async fn reconcile(&self, uid: &String) -> Result<After, ReconcileError> {
        let Some(cached) = self.graph.lock().get(uid).cloned() else {
            return Ok(After::Settled);
        };
        let owners = self.owners(&cached).await?;
        let state = |owner: &str| owners.states.get(owner).copied().unwrap_or(Owner::Solid);
        let after = if owners.unseen {
            After::Again(UNSEEN)
        } else {
            After::Settled
        };
        let first = self.graph.lock().verdict(uid, &cached, state);
        if first == Verdict::Keep {
            return Ok(after);
        }
        let Some(live) = self
            .live(&cached.ident)
            .await?
            .filter(|live| meta::uid(live) == uid)
        else {
            return Ok(After::Settled);
        };
        // Judged again by what is stored now: an owner may have been added since.
        let object = Object::read(&cached.ident.api_version, &cached.ident.kind, &live);
        let verdict = self.graph.lock().verdict(uid, &object, state);
        self.apply(uid, &object, &live, verdict).await?;
        Ok(after)
    }
}
