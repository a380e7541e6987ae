//! From a watch of the API to a [`Table`].

use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::table::{Key, Table};

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// How long after it was told that a kind is not served the API server is asked again.
const MISSING_DELAY: Duration = Duration::from_secs(10);

/// Whether the API server must serve a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// A kind of Kubernetes itself.
    Certain,
    /// A custom kind: while it is not served, there are no objects of it.
    Optional,
}

/// Keeps an object whole, without what only clients of `apply` read.
pub(super) fn whole<K: Resource>(mut object: K) -> Option<K> {
    trim(object.meta_mut());
    Some(object)
}

/// Drops the parts of metadata that are large and that no part of the node reads.
fn trim(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// Follows one kind until `shutdown`. Errors are retried with growing delay and leave the table
/// as it was; a fresh list replaces it in one step.
pub(super) async fn run<K, T>(
    client: Client,
    config: watcher::Config,
    table: &Table<T>,
    reduce: fn(K) -> Option<T>,
    presence: Presence,
    shutdown: CancellationToken,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let begin = || watcher::watcher(Api::<K>::all(client.clone()), config.clone());
    let mut stream = std::pin::pin!(begin());
    let mut listing = Vec::new();
    let mut delay = FIRST_DELAY;
    let mut missing = false;
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = stream.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                // A list that only began says nothing of the server's health.
                if !matches!(event, Event::Init) {
                    delay = FIRST_DELAY;
                }
                if matches!(event, Event::InitDone) && std::mem::take(&mut missing) {
                    tracing::info!(kind = table.kind(), "the API server serves the kind now");
                }
                absorb(event, table, reduce, &mut listing);
            }
            Some(Err(error)) if presence == Presence::Optional && is_missing(&error) => {
                if !std::mem::replace(&mut missing, true) {
                    let kind = table.kind();
                    tracing::info!(
                        kind,
                        "the API server does not serve the kind: there are none"
                    );
                    table.replace([]);
                }
                // From a list on: what comes back begins anew.
                stream.set(begin());
                let _ = tokio::time::timeout(MISSING_DELAY, shutdown.cancelled()).await;
            }
            Some(Err(error)) => {
                tracing::warn!(kind = table.kind(), %error, ?delay, "watch interrupted");
                pause(&mut delay, &shutdown).await;
            }
            None => return,
        }
    }
}

/// Whether the API server says that there is no such kind.
fn is_missing(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}

async fn pause(delay: &mut Duration, shutdown: &CancellationToken) {
    let _ = tokio::time::timeout(*delay, shutdown.cancelled()).await;
    *delay = (*delay * 2).min(LONGEST_DELAY);
}

fn absorb<K, T>(
    event: Event<K>,
    table: &Table<T>,
    reduce: fn(K) -> Option<T>,
    listing: &mut Vec<(Key, T)>,
) where
    K: Resource<DynamicType = ()>,
{
    match event {
        Event::Init => listing.clear(),
        Event::InitApply(object) => {
            let key = key_of(&object);
            listing.extend(reduce(object).map(|object| (key, object)));
        }
        Event::InitDone => table.replace(std::mem::take(listing)),
        Event::Apply(object) => {
            let key = key_of(&object);
            match reduce(object) {
                Some(object) => table.apply(key, object),
                None => table.remove(&key),
            }
        }
        Event::Delete(object) => table.remove(&key_of(&object)),
    }
}

fn key_of<K: Resource>(object: &K) -> Key {
    Key::new(object.namespace().unwrap_or_default(), object.name_any())
}
