//! The last complete view of one kind, and the news that it changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use tokio::sync::watch;

/// Namespace (empty for cluster-scoped kinds) and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The namespace, empty for cluster-scoped kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// The key of `namespace/name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

type Objects<T> = HashMap<Key, Arc<T>, RandomState>;

/// Objects of one kind. Readers share the objects; a change wakes every subscriber once.
#[derive(Debug)]
pub struct Table<T> {
    kind: &'static str,
    objects: RwLock<Objects<T>>,
    generation: watch::Sender<u64>,
    synced: watch::Sender<bool>,
}

impl<T> Table<T> {
    /// An empty table that has not been synced.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            objects: RwLock::default(),
            generation: watch::Sender::new(0),
            synced: watch::Sender::new(false),
        }
    }

    /// What the table holds, for log lines.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// One object.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.objects.read().get(&Key::new(namespace, name)).cloned()
    }

    /// Every object, in no order.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<T>> {
        self.objects.read().values().cloned().collect()
    }

    /// Every object under its key, sorted by key: the input of plans that must be deterministic.
    #[must_use]
    pub fn sorted(&self) -> BTreeMap<Key, Arc<T>> {
        self.objects
            .read()
            .iter()
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect()
    }

    /// The objects that are wanted, sorted by key.
    #[must_use]
    pub fn matching(&self, wanted: impl Fn(&T) -> bool) -> BTreeMap<Key, Arc<T>> {
        let objects = self.objects.read();
        let matching = objects.iter().filter(|(_, object)| wanted(object));
        matching
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.read().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.read().is_empty()
    }

    /// A receiver whose value changes with every change of the table. It carries no hint of what
    /// changed: a reconciler reads the whole table.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Waits until the table has been complete once.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// Whether the table has been complete once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Adds or replaces one object.
    pub fn apply(&self, key: Key, object: T) {
        self.objects.write().insert(key, Arc::new(object));
        self.changed();
    }

    /// Forgets one object.
    pub fn remove(&self, key: &Key) {
        if self.objects.write().remove(key).is_some() {
            self.changed();
        }
    }

    /// Replaces everything by a complete list, and marks the table as synced.
    pub fn replace(&self, objects: impl IntoIterator<Item = (Key, T)>) {
        let fresh = objects
            .into_iter()
            .map(|(key, object)| (key, Arc::new(object)))
            .collect();
        *self.objects.write() = fresh;
        self.changed();
        self.synced.send_replace(true);
    }

    fn changed(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_wakes_subscribers_and_a_no_op_does_not() {
        let table = Table::new("numbers");
        let mut changes = table.subscribe();
        table.apply(Key::new("a", "b"), 1);
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        table.remove(&Key::new("a", "none"));
        assert!(!changes.has_changed().unwrap());
        assert_eq!(*table.get("a", "b").unwrap(), 1);
    }

    #[tokio::test]
    async fn replace_drops_what_the_list_lacks_and_syncs() {
        let table = Table::new("numbers");
        table.apply(Key::new("", "old"), 1);
        assert!(!table.is_synced());
        table.replace([(Key::new("", "new"), 2)]);
        table.synced().await;
        assert!(table.get("", "old").is_none());
        assert_eq!(table.len(), 1);
    }
}
