//! The cache of one kind, kept by one watch, with handlers that hear of every change in order.

use super::{Key, Kind};
use futures_util::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
/// Objects by namespace and name.
type Names<K> = BTreeMap<String, BTreeMap<String, Arc<K>>>;

/// All objects of one kind as last seen. Lags behind the API by the watch's latency.
pub struct Store<K> {
    index: RwLock<Index<K>>,
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
    trim: fn(&mut K),
    group: fn(&K) -> &str,
}

struct Index<K> {
    names: Names<K>,
    /// The keys of those that have a group.
    groups: HashMap<String, BTreeSet<Key>>,
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self {
            names: Names::new(),
            groups: HashMap::new(),
        }
    }
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
            group: |_| "",
        }
    }

    /// A store that finds its objects by `group` too, as pods by their node. Those whose group is
    /// empty have none.
    #[must_use]
    pub fn grouped(mut self, group: fn(&K) -> &str) -> Self {
        self.group = group;
        self
    }

    /// Calls `handler` after each change, from the watching task: it must not block.
    pub fn subscribe(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        self.handlers.lock().push(Box::new(handler));
    }

    /// The object `namespace`/`name`.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let index = self.index.read();
        index.names.get(namespace)?.get(name).cloned()
    }

    /// The object of `key`.
    pub fn at(&self, key: &Key) -> Option<Arc<K>> {
        self.get(&key.namespace, &key.name)
    }

    /// All objects of one namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let index = self.index.read();
        let names = index.names.get(namespace);
        names
            .map(|names| names.values().cloned().collect())
            .unwrap_or_default()
    }

    /// The objects of one group, by key.
    pub fn in_group(&self, group: &str) -> Vec<Arc<K>> {
        let index = self.index.read();
        let keys = index.groups.get(group).into_iter().flatten();
        let objects = keys.filter_map(|key| index.names.get(&key.namespace)?.get(&key.name));
        objects.cloned().collect()
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.index
            .read()
            .names
            .values()
            .flat_map(BTreeMap::values)
            .cloned()
            .collect()
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<Key> {
        let index = self.index.read();
        let names = index.names.iter();
        names
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
        let mut listing = Names::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.absorb(event, &mut listing),
                Err(error) => tracing::debug!(kind = %K::kind(&()), %error, "watch interrupted"),
            }
        }
    }

    fn absorb(&self, event: watcher::Event<K>, listing: &mut Names<K>) {
        match event {
            watcher::Event::Apply(object) => self.set(self.keep(object)),
            watcher::Event::Delete(object) => {
                self.remove(&Key::of(&object), Some(self.keep(object)))
            }
            watcher::Event::Init => listing.clear(),
            watcher::Event::InitApply(object) => drop(insert(listing, self.keep(object))),
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
        let old = self.index.write().set(object.clone(), self.group);
        self.tell(Change {
            old,
            new: Some(object),
        });
    }

    fn remove(&self, key: &Key, last: Option<Arc<K>>) {
        let removed = self.index.write().remove(key, self.group);
        if let Some(removed) = removed {
            self.tell(Change {
                old: Some(last.unwrap_or(removed)),
                new: None,
            });
        }
    }

    /// Takes over a complete list; handlers hear of the differences only.
    fn replace(&self, listing: Names<K>) {
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

impl<K: Kind> Index<K> {
    /// Takes an object in and returns what it replaces.
    fn set(&mut self, object: Arc<K>, group: fn(&K) -> &str) -> Option<Arc<K>> {
        let key = Key::of(object.as_ref());
        let old = insert(&mut self.names, object.clone());
        let before = old.as_deref().map_or("", group);
        let after = group(&object);
        if before != after {
            self.leave(before, &key);
            if !after.is_empty() {
                self.groups.entry(after.to_owned()).or_default().insert(key);
            }
        }
        old
    }

    fn remove(&mut self, key: &Key, group: fn(&K) -> &str) -> Option<Arc<K>> {
        let names = self.names.get_mut(&key.namespace)?;
        let removed = names.remove(&key.name)?;
        if names.is_empty() {
            self.names.remove(&key.namespace);
        }
        self.leave(group(&removed), key);
        Some(removed)
    }

    fn leave(&mut self, group: &str, key: &Key) {
        if let Some(keys) = self.groups.get_mut(group) {
            keys.remove(key);
            if keys.is_empty() {
                self.groups.remove(group);
            }
        }
    }
}

fn insert<K: Kind>(names: &mut Names<K>, object: Arc<K>) -> Option<Arc<K>> {
    let key = Key::of(object.as_ref());
    names
        .entry(key.namespace)
        .or_default()
        .insert(key.name, object)
}

fn holds<K>(names: &Names<K>, key: &Key) -> bool {
    names
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
        let mut listing = Names::new();
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
    fn a_group_has_who_is_in_it_now() {
        fn group(map: &ConfigMap) -> &str {
            map.metadata.generate_name.as_deref().unwrap_or_default()
        }
        let store = Store::<ConfigMap>::default().grouped(group);
        let of = |name: &str, version: &str, group: &str| {
            let mut map = map(name, version);
            map.metadata.generate_name = Some(group.into());
            map
        };
        let names = |group: &str| -> Vec<String> {
            let all = store.in_group(group);
            all.iter().map(|map| map.name_any()).collect()
        };
        let all = [
            of("a", "1", "x"),
            of("b", "1", "x"),
            of("c", "1", "y"),
            map("d", "1"),
        ];
        list(&store, &all);
        assert_eq!(names("x"), ["a", "b"]);
        list(
            &store,
            &[of("a", "2", "y"), of("c", "1", "y"), of("d", "2", "x")],
        );
        assert_eq!(
            (names("x"), names("y")),
            (vec!["d".into()], vec!["a".into(), "c".into()])
        );
        list(&store, &[]);
        assert!(names("y").is_empty() && names("").is_empty());
        assert!(store.index.read().groups.is_empty());
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
