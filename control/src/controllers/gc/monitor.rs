//! Feeds the graph: from the shared caches where a kind has one, else by a watch on metadata.

use super::Collector;
use super::graph::Object;
use crate::controllers::context::Caches;
use crate::controllers::runtime::discovery::{Offered, offered};
use crate::controllers::runtime::error::chain;
use crate::controllers::runtime::uids::Uids;
use crate::controllers::runtime::{Change, Kind, Store, meta};
use futures_util::StreamExt;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};

/// How often new kinds are looked for: clients bring some along at any time.
const REDISCOVER: Duration = Duration::from_secs(15);
/// How soon discovery is tried again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Kinds that come from the shared caches.
const SHARED: [&str; 13] = [
    "Deployment",
    "EndpointSlice",
    "Endpoints",
    "Lease",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "ReplicaSet",
    "ResourceQuota",
    "Service",
    "ServiceAccount",
];

/// Subscribes `collector` to the shared caches.
pub(super) fn subscribe(collector: &Arc<Collector>, caches: &Caches) {
    observe(collector, &caches.deployments);
    observe(collector, &caches.slices);
    observe(collector, &caches.endpoints);
    observe(collector, &caches.leases);
    observe(collector, &caches.namespaces);
    observe(collector, &caches.nodes);
    observe(collector, &caches.pods);
    observe(collector, &caches.replicasets);
    observe(collector, &caches.services);
    observe(collector, &caches.accounts);
    observe(collector, &caches.claims);
    observe(collector, &caches.quotas);
    observe(collector, &caches.volumes);
}

fn observe<K: Kind>(collector: &Arc<Collector>, store: &Store<K>) {
    let weak = Arc::downgrade(collector);
    store.subscribe(move |change| {
        if let Some(collector) = weak.upgrade() {
            absorb(&collector, change);
        }
    });
}

fn absorb<K: Kind>(collector: &Collector, change: &Change<K>) {
    // A name that was deleted and made anew between two events is two objects.
    let replaced = change.old.as_ref().filter(|old| {
        change
            .new
            .as_ref()
            .is_none_or(|new| meta::uid(new.meta()) != meta::uid(old.meta()))
    });
    if let Some(old) = replaced {
        collector.removed(meta::uid(old.meta()));
    }
    if let Some(new) = &change.new {
        let object = Object::read(&K::api_version(&()), &K::kind(&()), new.meta());
        collector.seen(meta::uid(new.meta()), object);
    }
}

/// Keeps the map of kinds fresh and watches the kinds without a shared cache, for ever.
pub(super) async fn follow(collector: Weak<Collector>) {
    let mut watches = JoinSet::new();
    let mut watched: HashMap<(String, String), AbortHandle> = HashMap::new();
    loop {
        let Some(strong) = collector.upgrade() else {
            return;
        };
        let pause = match offered(strong.context.writer.client()).await {
            Ok(kinds) => {
                let wanted = kinds.iter().filter(|kind| needs_watch(kind));
                let wanted: HashMap<_, _> = wanted.map(|kind| (id(kind), kind)).collect();
                watched.retain(|id, watch| {
                    let stays = wanted.contains_key(id);
                    if !stays {
                        watch.abort();
                    }
                    stays
                });
                for (id, kind) in wanted {
                    watched
                        .entry(id)
                        .or_insert_with(|| watches.spawn(watch(collector.clone(), kind.clone())));
                }
                // What has ended is not kept.
                while watches.try_join_next().is_some() {}
                strong.learn(kinds);
                REDISCOVER
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "discovery failed");
                RETRY
            }
        };
        drop(strong);
        tokio::time::sleep(pause).await;
    }
}

fn id(kind: &Offered) -> (String, String) {
    (kind.resource.group.clone(), kind.resource.kind.clone())
}

/// Events own nothing and are many.
fn needs_watch(kind: &Offered) -> bool {
    let name = kind.resource.kind.as_str();
    kind.can(&["list", "watch", "delete"]) && name != "Event" && !SHARED.contains(&name)
}

async fn watch(collector: Weak<Collector>, kind: Offered) {
    let Some(strong) = collector.upgrade() else {
        return;
    };
    let api = kind.all(strong.context.writer.client());
    drop(strong);
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let (api_version, name) = (&kind.resource.api_version, &kind.resource.kind);
    let mut listed = Uids::default();
    while let Some(event) = events.next().await {
        let Some(collector) = collector.upgrade() else {
            return;
        };
        let seen = |object: &PartialObjectMeta<DynamicObject>| {
            let read = Object::read(api_version, name, &object.metadata);
            collector.seen(meta::uid(&object.metadata), read);
        };
        match event {
            Ok(watcher::Event::Apply(object)) => seen(&object),
            Ok(watcher::Event::Delete(object)) => collector.removed(meta::uid(&object.metadata)),
            Ok(watcher::Event::Init) => listed = Uids::default(),
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(meta::uid(&object.metadata).into());
                seen(&object);
            }
            Ok(watcher::Event::InitDone) => {
                let listed = std::mem::take(&mut listed);
                collector.listed(api_version, name, &listed);
            }
            Err(error) => tracing::debug!(kind = kind.resource.kind, %error, "watch interrupted"),
        }
    }
}
