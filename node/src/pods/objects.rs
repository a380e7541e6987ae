//! The ConfigMaps and Secrets that this node's pods name: one watch each, shared by the pods.
//!
//! A followed object stays known while the API is away, so that a container can restart with the
//! configuration it had. The watch ends with the last pod that needs it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Volume};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::plan::spec;
use super::{containers, env};

/// How long a pod waits for the API's first word about an object.
const PATIENCE: Duration = Duration::from_secs(10);

/// The API said nothing about an object yet.
#[derive(Debug, thiserror::Error)]
#[error("failed to sync {kind} cache: no answer about {name} yet")]
pub struct Unknown {
    kind: &'static str,
    name: String,
}

/// `None` before the API's first answer, then whether the object exists.
type Seen<K> = Option<Option<Arc<K>>>;

/// One object under watch.
#[derive(Debug)]
pub struct Followed<K> {
    seen: watch::Receiver<Seen<K>>,
    task: AbortHandle,
}

impl<K> Drop for Followed<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Namespace and name.
type Key = (String, String);

/// All objects of one kind that are followed.
pub struct Cache<K> {
    kind: &'static str,
    client: Client,
    followed: Mutex<HashMap<Key, Weak<Followed<K>>>>,
}

impl<K> Cache<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    /// A cache of nothing; `kind` is for messages.
    pub fn new(client: Client, kind: &'static str) -> Self {
        Self {
            kind,
            client,
            followed: Mutex::default(),
        }
    }

    /// Follows an object for as long as the result lives.
    pub fn follow(&self, namespace: &str, name: &str) -> Arc<Followed<K>> {
        let mut followed = self.followed.lock();
        followed.retain(|_, object| object.strong_count() > 0);
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(object) = followed.get(&key).and_then(Weak::upgrade) {
            return object;
        }
        let (sender, seen) = watch::channel(None);
        let api = Api::namespaced(self.client.clone(), namespace);
        let task = tokio::spawn(follow(api, name.to_owned(), sender)).abort_handle();
        let object = Arc::new(Followed { seen, task });
        followed.insert(key, Arc::downgrade(&object));
        object
    }

    async fn get(&self, name: &str, object: &Followed<K>) -> Result<Option<Arc<K>>, Unknown> {
        let mut seen = object.seen.clone();
        let known = tokio::time::timeout(PATIENCE, seen.wait_for(Option::is_some)).await;
        match known {
            Ok(Ok(seen)) => Ok(seen.clone().flatten()),
            _ => Err(Unknown {
                kind: self.kind,
                name: name.to_owned(),
            }),
        }
    }
}

async fn follow<K>(api: Api<K>, name: String, seen: watch::Sender<Seen<K>>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let stream = watcher::watch_object(api, &name).default_backoff();
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(object) => {
                seen.send_if_modified(|seen| renew(seen, object));
            }
            Err(error) => tracing::debug!(name, %error, "object watch interrupted"),
        }
    }
}

/// Whether the object is news: a watch that starts anew repeats what was known.
fn renew<K: Resource>(seen: &mut Seen<K>, object: Option<K>) -> bool {
    let version = |object: &K| object.meta().resource_version.clone();
    let same = match (&*seen, &object) {
        (Some(Some(old)), Some(new)) => version(old) == version(new) && version(new).is_some(),
        (Some(None), None) => true,
        _ => false,
    };
    if !same {
        *seen = Some(object.map(Arc::new));
    }
    !same
}

/// Names of everything a pod's environment, volumes and pulls refer to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct References {
    /// ConfigMaps.
    pub config_maps: BTreeSet<String>,
    /// Secrets.
    pub secrets: BTreeSet<String>,
}

impl References {
    /// Collects them from the spec.
    pub fn of(pod: &Pod) -> Self {
        let mut references = Self::default();
        let spec = spec(pod);
        for container in containers::all(pod) {
            let (maps, secrets) = env::references(&container);
            references.config_maps.extend(maps);
            references.secrets.extend(secrets);
        }
        for volume in spec.volumes.iter().flatten() {
            references.add_volume(volume);
        }
        let pull = spec.image_pull_secrets.iter().flatten();
        references
            .secrets
            .extend(pull.map(|secret| secret.name.clone()));
        references.config_maps.remove("");
        references.secrets.remove("");
        references
    }

    fn add_volume(&mut self, volume: &Volume) {
        self.config_maps
            .extend(volume.config_map.iter().map(|source| source.name.clone()));
        self.secrets
            .extend(volume.secret.iter().filter_map(|s| s.secret_name.clone()));
        let projected = volume
            .projected
            .iter()
            .flat_map(|p| p.sources.iter().flatten());
        for source in projected {
            self.config_maps
                .extend(source.config_map.iter().map(|s| s.name.clone()));
            self.secrets
                .extend(source.secret.iter().map(|s| s.name.clone()));
        }
    }
}

/// Everything one pod refers to, under watch.
#[derive(Debug)]
pub struct Sources {
    config_maps: BTreeMap<String, Arc<Followed<ConfigMap>>>,
    secrets: BTreeMap<String, Arc<Followed<Secret>>>,
}

/// The objects of one pod at one moment.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    config_maps: BTreeMap<String, Arc<ConfigMap>>,
    secrets: BTreeMap<String, Arc<Secret>>,
}

impl env::Objects for Snapshot {
    fn config_map(&self, name: &str) -> Option<&ConfigMap> {
        self.config_maps.get(name).map(AsRef::as_ref)
    }

    fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name).map(AsRef::as_ref)
    }
}

/// The caches of both kinds.
pub struct Caches {
    config_maps: Cache<ConfigMap>,
    secrets: Cache<Secret>,
}

impl Caches {
    /// Caches of nothing.
    pub fn new(client: &Client) -> Self {
        Self {
            config_maps: Cache::new(client.clone(), "configmap"),
            secrets: Cache::new(client.clone(), "secret"),
        }
    }

    /// Starts to follow everything the pod refers to.
    pub fn follow(&self, pod: &Pod) -> Sources {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let references = References::of(pod);
        Sources {
            config_maps: references
                .config_maps
                .into_iter()
                .map(|name| (name.clone(), self.config_maps.follow(namespace, &name)))
                .collect(),
            secrets: references
                .secrets
                .into_iter()
                .map(|name| (name.clone(), self.secrets.follow(namespace, &name)))
                .collect(),
        }
    }

    /// The objects as the API last said; waits for its first word.
    ///
    /// # Errors
    /// An object about which the API has said nothing within ten seconds.
    pub async fn snapshot(&self, sources: &Sources) -> Result<Snapshot, Unknown> {
        let mut snapshot = Snapshot::default();
        for (name, object) in &sources.config_maps {
            if let Some(found) = self.config_maps.get(name, object).await? {
                snapshot.config_maps.insert(name.clone(), found);
            }
        }
        for (name, object) in &sources.secrets {
            if let Some(found) = self.secrets.get(name, object).await? {
                snapshot.secrets.insert(name.clone(), found);
            }
        }
        Ok(snapshot)
    }
}

impl Sources {
    /// Calls `changed` whenever one of the objects has changed; ends with the last object.
    pub fn on_change(&self, changed: impl Fn() + Clone + Send + 'static) -> Vec<AbortHandle> {
        let maps = self
            .config_maps
            .values()
            .map(|o| notify(o.seen.clone(), changed.clone()));
        let secrets = self
            .secrets
            .values()
            .map(|o| notify(o.seen.clone(), changed.clone()));
        maps.chain(secrets).collect()
    }
}

fn notify<T: Send + Sync + 'static>(
    mut seen: watch::Receiver<Option<T>>,
    changed: impl Fn() + Send + 'static,
) -> AbortHandle {
    let task = async move {
        // The first answer is no change: whoever prepared volumes has waited for it.
        if seen.wait_for(Option::is_some).await.is_err() {
            return;
        }
        seen.mark_unchanged();
        while seen.changed().await.is_ok() {
            changed();
        }
    };
    tokio::spawn(task).abort_handle()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_wherever_they_hide() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {}, "spec": {
            "imagePullSecrets": [{"name": "pull"}],
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "a"}}]}],
            "containers": [{"name": "c", "env": [{"name": "X",
                "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}],
            "volumes": [
                {"name": "v", "configMap": {"name": "b"}},
                {"name": "w", "secret": {"secretName": "t"}},
                {"name": "p", "projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "u"}}]}}
            ]}}))
        .unwrap();
        let references = References::of(&pod);
        assert_eq!(Vec::from_iter(references.config_maps), ["a", "b", "c"]);
        assert_eq!(Vec::from_iter(references.secrets), ["pull", "s", "t", "u"]);
    }

    #[test]
    fn a_repeated_object_is_no_news() {
        let object = |version: &str| {
            let mut map = ConfigMap::default();
            map.metadata.resource_version = Some(version.into());
            Some(map)
        };
        let mut seen = None;
        assert!(renew(&mut seen, object("1")));
        assert!(!renew(&mut seen, object("1")));
        assert!(renew(&mut seen, object("2")));
        assert!(renew(&mut seen, None));
        assert!(!renew(&mut seen, None));
    }
}
