//! The last complete view of one kind, and the news that it changed.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
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

/// So many changes can be told one by one; who lags further behind reads everything.
const JOURNAL: usize = 4096;

/// What is held, and what changed last.
#[derive(Debug)]
struct Held<T> {
    objects: Objects<T>,
    /// Grows with every change.
    version: u64,
    /// The keys of the last changes, the newest last.
    journal: VecDeque<Key>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self {
            objects: Objects::default(),
            version: 0,
            journal: VecDeque::new(),
        }
    }
}

impl<T> Held<T> {
    fn note(&mut self, key: Key) {
        self.version += 1;
        if self.journal.len() == JOURNAL {
            self.journal.pop_front();
        }
        self.journal.push_back(key);
    }
}

/// What a table differs in from an earlier version of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The version that this leads to.
    pub version: u64,
    /// The objects that came, changed or went; `None` when that may be any.
    pub keys: Option<BTreeSet<Key>>,
}

/// Objects of one kind. Readers share the objects; a change wakes every subscriber once.
#[derive(Debug)]
pub struct Table<T> {
    kind: &'static str,
    held: RwLock<Held<T>>,
    generation: watch::Sender<u64>,
    synced: watch::Sender<bool>,
}

impl<T> Table<T> {
    /// An empty table that has not been synced.
    #[must_use]
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            held: RwLock::default(),
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
        self.find(&Key::new(namespace, name))
    }

    /// The object with a key.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Arc<T>> {
        self.held.read().objects.get(key).cloned()
    }

    /// What is another than at version `since`. An object that is read afterwards may be newer still;
    /// then it is among the changes the next time, too.
    #[must_use]
    pub fn changes(&self, since: u64) -> Changes {
        let held = self.held.read();
        let behind = held.version.checked_sub(since);
        let behind = behind.and_then(|behind| usize::try_from(behind).ok());
        let first = behind.and_then(|behind| held.journal.len().checked_sub(behind));
        Changes {
            version: held.version,
            keys: first.map(|first| held.journal.range(first..).cloned().collect()),
        }
    }

    /// Every object, in no order.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<T>> {
        self.held.read().objects.values().cloned().collect()
    }

    /// Every object under its key, sorted by key: the input of plans that must be deterministic.
    #[must_use]
    pub fn sorted(&self) -> BTreeMap<Key, Arc<T>> {
        self.matching(|_| true)
    }

    /// The objects that are wanted, sorted by key.
    #[must_use]
    pub fn matching(&self, wanted: impl Fn(&T) -> bool) -> BTreeMap<Key, Arc<T>> {
        let held = self.held.read();
        let matching = held.objects.iter().filter(|(_, object)| wanted(object));
        matching
            .map(|(key, object)| (key.clone(), Arc::clone(object)))
            .collect()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.read().objects.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.read().objects.is_empty()
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
        let mut held = self.held.write();
        held.objects.insert(key.clone(), Arc::new(object));
        held.note(key);
        drop(held);
        self.changed();
    }

    /// Forgets one object.
    pub fn remove(&self, key: &Key) {
        let mut held = self.held.write();
        let was_there = held.objects.remove(key).is_some();
        if was_there {
            held.note(key.clone());
        }
        drop(held);
        if was_there {
            self.changed();
        }
    }

    /// Replaces everything by a complete list, and marks the table as synced.
    pub fn replace(&self, objects: impl IntoIterator<Item = (Key, T)>) {
        let fresh = objects
            .into_iter()
            .map(|(key, object)| (key, Arc::new(object)))
            .collect();
        let mut held = self.held.write();
        held.objects = fresh;
        held.journal.clear();
        held.version += 1;
        drop(held);
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

    #[test]
    fn changes_are_told_since_a_version_while_they_are_remembered() {
        let table = Table::new("numbers");
        let told = |since| {
            let Changes { version, keys } = table.changes(since);
            let names = |keys: BTreeSet<Key>| keys.into_iter().map(|key| key.name).collect();
            (version, keys.map(names))
        };
        let names = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
        assert_eq!(told(0), (0, names(&[])));
        table.apply(Key::new("a", "one"), 1);
        table.apply(Key::new("a", "two"), 2);
        table.apply(Key::new("a", "one"), 3);
        table.remove(&Key::new("a", "none"));
        assert_eq!(told(0), (3, names(&["one", "two"])));
        assert_eq!(told(2), (3, names(&["one"])));
        table.remove(&Key::new("a", "two"));
        assert_eq!(told(3), (4, names(&["two"])));
        assert_eq!(told(4), (4, names(&[])));
        table.replace([(Key::new("a", "one"), 1)]);
        assert_eq!(told(4), (5, None::<Vec<String>>));
        assert_eq!(told(5), (5, names(&[])));
        for number in 0..=JOURNAL {
            table.apply(Key::new("a", "one"), number);
        }
        assert_eq!(told(5).1, None);
        assert_eq!(told(6).1, names(&["one"]));
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
