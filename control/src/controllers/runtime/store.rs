//! The cache of one kind, kept by one watch, with handlers that hear of every change in order.

use super::{Key, Kind};
use futures_util::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One change of the cache: `old` is absent for an addition, `new` for a removal.
pub struct Change<K> {
    /// What the cache held before.
    pub old: Option<Arc<K>>,
    /// What it holds now.
    pub new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The newest version that is known.
    pub fn latest(&self) -> &K {
        self.new
            .as_deref()
            .or(self.old.as_deref())
            .expect("a change has at least one side")
    }

    /// Both sides, old first.
    pub fn sides(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old.iter().chain(self.new.iter())
    }
}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;
type Index<K> = BTreeMap<String, BTreeMap<String, Arc<K>>>;

/// All objects of one kind as last seen. Lags behind the API by the watch's latency.
pub struct Store<K> {
    index: RwLock<Index<K>>,
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
    trim: fn(&mut K),
}

impl<K: Kind> Default for Store<K> {
    fn default() -> Self {
        Store::trimmed(|_| {})
    }
}

impl<K: Kind> Store<K> {
    /// A store that passes every object through `trim` before keeping it.
    pub fn trimmed(trim: fn(&mut K)) -> Self {
        Store {
            index: RwLock::default(),
            handlers: Mutex::default(),
            synced: watch::Sender::new(false),
            trim,
        }
    }

    /// Calls `handler` after each change, from the watching task: it must not block.
    pub fn subscribe(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.handlers.lock().push(Box::new(handler));
    }

    /// The object `namespace`/`name`.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.index.read().get(namespace)?.get(name).cloned()
    }

    /// The object of `key`.
    pub fn at(&self, key: &Key) -> Option<Arc<K>> {
        self.get(&key.namespace, &key.name)
    }

    /// All objects of one namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.index
            .read()
            .get(namespace)
            .map(|names| names.values().cloned().collect())
            .unwrap_or_default()
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.index
            .read()
            .values()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect()
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<Key> {
        let index = self.index.read();
        index
            .iter()
            .flat_map(|(ns, names)| names.keys().map(move |name| Key::new(ns, name)))
            .collect()
    }

    /// Waits until the first complete list is in.
    pub async fn wait_synced(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Lists and watches for ever, with back-off on errors.
    pub async fn follow(self: Arc<Self>, client: Client, config: watcher::Config) {
        let mut events = std::pin::pin!(watcher(Api::<K>::all(client), config).default_backoff());
        let mut listing = Index::default();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.absorb(event, &mut listing),
                Err(error) => tracing::debug!(kind = %K::kind(&()), %error, "watch interrupted"),
            }
        }
    }

    fn absorb(&self, event: watcher::Event<K>, listing: &mut Index<K>) {
        match event {
            watcher::Event::Apply(object) => self.set(self.keep(object)),
            watcher::Event::Delete(object) => {
                self.remove(&Key::of(&object), Some(self.keep(object)))
            }
            watcher::Event::Init => listing.clear(),
            watcher::Event::InitApply(object) => insert(listing, self.keep(object)),
            watcher::Event::InitDone => self.replace(std::mem::take(listing)),
        }
    }

    fn keep(&self, mut object: K) -> Arc<K> {
        let meta = object.meta_mut();
        meta.managed_fields = None;
        if let Some(annotations) = meta.annotations.as_mut() {
            annotations.remove(LAST_APPLIED);
        }
        (self.trim)(&mut object);
        Arc::new(object)
    }

    fn set(&self, object: Arc<K>) {
        let key = Key::of(object.as_ref());
        let old = self
            .index
            .write()
            .entry(key.namespace)
            .or_default()
            .insert(key.name, object.clone());
        self.tell(Change {
            old,
            new: Some(object),
        });
    }

    fn remove(&self, key: &Key, last: Option<Arc<K>>) {
        let removed = {
            let mut index = self.index.write();
            let Some(names) = index.get_mut(&key.namespace) else {
                return;
            };
            let removed = names.remove(&key.name);
            if names.is_empty() {
                index.remove(&key.namespace);
            }
            removed
        };
        if let Some(removed) = removed {
            self.tell(Change {
                old: Some(last.unwrap_or(removed)),
                new: None,
            });
        }
    }

    /// Takes over a complete list; handlers hear of the differences only.
    fn replace(&self, listing: Index<K>) {
        let gone: Vec<Key> = self
            .keys()
            .into_iter()
            .filter(|key| !holds(&listing, key))
            .collect();
        gone.iter().for_each(|key| self.remove(key, None));
        for object in listing.into_values().flat_map(BTreeMap::into_values) {
            let known = self.at(&Key::of(object.as_ref()));
            if known.is_none_or(|known| known.resource_version() != object.resource_version()) {
                self.set(object);
            }
        }
        self.synced.send_replace(true);
    }

    fn tell(&self, change: Change<K>) {
        self.handlers
            .lock()
            .iter()
            .for_each(|handler| handler(&change));
    }
}

fn insert<K: Kind>(index: &mut Index<K>, object: Arc<K>) {
    let key = Key::of(object.as_ref());
    index
        .entry(key.namespace)
        .or_default()
        .insert(key.name, object);
}

fn holds<K>(index: &Index<K>, key: &Key) -> bool {
    index
        .get(&key.namespace)
        .is_some_and(|names| names.contains_key(&key.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn map(name: &str, version: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.into());
        map.metadata.namespace = Some("ns".into());
        map.metadata.resource_version = Some(version.into());
        map
    }

    fn list(store: &Store<ConfigMap>, objects: &[ConfigMap]) {
        let mut listing = Index::default();
        store.absorb(watcher::Event::Init, &mut listing);
        objects
            .iter()
            .for_each(|o| store.absorb(watcher::Event::InitApply(o.clone()), &mut listing));
        store.absorb(watcher::Event::InitDone, &mut listing);
    }

    #[test]
    fn a_relist_tells_only_differences() {
        let store = Arc::new(Store::<ConfigMap>::default());
        list(&store, &[map("a", "1"), map("b", "1")]);
        let (changes, removals) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (c, r) = (changes.clone(), removals.clone());
        store.subscribe(move |change| {
            let counter = if change.new.is_some() { &c } else { &r };
            counter.fetch_add(1, Ordering::Relaxed);
        });
        list(&store, &[map("a", "1"), map("c", "3")]);
        assert_eq!(
            (
                changes.load(Ordering::Relaxed),
                removals.load(Ordering::Relaxed)
            ),
            (1, 1)
        );
        assert_eq!(store.keys(), vec![Key::new("ns", "a"), Key::new("ns", "c")]);
    }

    #[test]
    fn what_nobody_reads_is_not_kept() {
        let store = Store::<ConfigMap>::default();
        let mut object = map("a", "1");
        object.metadata.annotations = Some([(LAST_APPLIED.to_owned(), "{}".to_owned())].into());
        object.metadata.managed_fields = Some(vec![Default::default()]);
        list(&store, &[object]);
        let kept = store.get("ns", "a").unwrap();
        assert!(kept.metadata.managed_fields.is_none() && kept.annotations().is_empty());
    }
}
