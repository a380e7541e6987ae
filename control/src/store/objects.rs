//! The objects of one resource, in the order of their keys.
//!
//! A persistent set: a clone is made in constant time and never changes. The key is a part of each
//! object, so that the set holds nothing but one pointer for each.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Bound;

use imbl::OrdSet;

use super::object::Object;

/// The objects of a resource by `namespace/name` or `name`.
#[derive(Clone, Default)]
pub struct Objects(OrdSet<ByKey>);

/// An object in its place. Keys are compared as bytes, which is the order of text, too.
#[derive(Clone)]
struct ByKey(Object);

impl Borrow<[u8]> for ByKey {
    fn borrow(&self) -> &[u8] {
        self.0.key_bytes()
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key_bytes().cmp(other.0.key_bytes())
    }
}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for ByKey {}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key_bytes() == other.0.key_bytes()
    }
}

impl Objects {
    /// No objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both are known to be the same, because one was made from the other without a change.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }

    /// The object under `key`.
    pub fn get(&self, key: &str) -> Option<&Object> {
        self.0.get(key.as_bytes()).map(|found| &found.0)
    }

    /// Whether there is an object under `key`.
    pub fn contains_key(&self, key: &str) -> bool {
        self.0.contains(key.as_bytes())
    }

    /// All with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Object)> {
        self.0.iter().map(|ByKey(object)| (object.key(), object))
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(key, _)| key)
    }

    /// Those from `start` on with their keys.
    pub(super) fn from<'a>(
        &'a self,
        start: Bound<&str>,
    ) -> impl Iterator<Item = (&'a str, &'a Object)> + use<'a> {
        let range = (start.map(str::as_bytes), Bound::Unbounded);
        let range = self.0.range::<_, [u8]>(range);
        range.map(|ByKey(object)| (object.key(), object))
    }

    /// Puts an object in the place of what was under its key.
    pub(super) fn insert(&mut self, object: Object) {
        self.0.insert(ByKey(object));
    }

    /// Removes what is under `key`.
    pub(super) fn remove(&mut self, key: &str) {
        self.0.remove(key.as_bytes());
    }
}

impl IntoIterator for Objects {
    type Item = Object;
    type IntoIter = Box<dyn Iterator<Item = Object> + Send>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.0.into_iter().map(|ByKey(object)| object))
    }
}

impl FromIterator<Object> for Objects {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        Self(objects.into_iter().map(ByKey).collect())
    }
}

impl Extend<Object> for Objects {
    fn extend<I: IntoIterator<Item = Object>>(&mut self, objects: I) {
        self.0.extend(objects.into_iter().map(ByKey));
    }
}
