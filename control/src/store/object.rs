//! One stored object: encoded once, shared by every reader and watcher.
//!
//! The encoding is a whole watch line, `{"type":"ADDED","object":{…}}\n`; the object itself is a
//! slice of it, its metadata a slice of that. Only what selectors and admission need of every object
//! is kept in decoded form. All of it, the key included, is one allocation: a cluster has so many
//! objects that what each of a few would cost beside its content is felt.

use std::ops::{Deref, Range};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use serde_json::{Map, Value};
use triomphe::ThinArc;

use super::ResourceDef;
use super::log::EventType;
use super::outline::Outline;

const TAIL: &[u8] = b"}\n";
/// How the metadata of every object begins.
const METADATA: &[u8] = br#"{"resourceVersion":""#;

/// What label and field selectors look at.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selectable {
    /// Labels, sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Values of the resource's selectable fields, in their declared order.
    pub fields: Box<[Box<str>]>,
}

impl Selectable {
    fn of(object: &Value, def: &ResourceDef) -> Self {
        let labels = object
            .pointer("/metadata/labels")
            .and_then(Value::as_object);
        let labels = labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())));
        let mut labels: Vec<(Box<str>, Box<str>)> = labels.collect();
        labels.sort();
        let fields = def
            .fields
            .iter()
            .map(|(_, read)| read(object).into_boxed_str());
        let by_path = def
            .paths
            .iter()
            .map(|path| at_path(object, path).into_boxed_str());
        let fields = fields.chain(by_path);
        Self {
            labels: labels.into(),
            fields: fields.collect(),
        }
    }

    /// Shared, where there is nothing in it: most objects have no labels.
    fn share(self) -> Arc<Self> {
        static NOTHING: LazyLock<Arc<Selectable>> = LazyLock::new(Arc::default);
        if self == **NOTHING {
            return NOTHING.clone();
        }
        Arc::new(self)
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let found = self
            .labels
            .binary_search_by(|(have, _)| have.as_ref().cmp(key));
        found.ok().map(|index| self.labels[index].1.as_ref())
    }
}

/// A scalar behind a dotted path as text, empty where there is none.
fn at_path(object: &Value, path: &str) -> String {
    let mut names = path.split('.');
    match names.try_fold(object, |value, name| value.get(name)) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(truth)) => truth.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// An object as it stands in the store; clones share it.
#[derive(Clone)]
pub struct Object(ThinArc<Head, u8>);

/// What is known of an object beside its key and its text, which stand behind it in memory.
#[derive(Debug)]
pub struct Head {
    /// The write that made this state.
    pub revision: u64,
    /// What selectors look at.
    pub selectable: Arc<Selectable>,
    /// Whether it is on its way out: it has a `deletionTimestamp`.
    pub deleting: bool,
    event: EventType,
    /// Bytes of the key; the line follows.
    key: u32,
    /// Where in the object's JSON its metadata stands.
    metadata: Range<u32>,
}

impl Deref for Object {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.0.header.header
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head: &Head = self;
        formatter
            .debug_struct("Object")
            .field("key", &self.key())
            .field("head", head)
            .finish_non_exhaustive()
    }
}

/// An object whose memory a body borrows.
struct Lender(Object);

impl AsRef<[u8]> for Lender {
    fn as_ref(&self) -> &[u8] {
        self.0.line_text()
    }
}

impl Object {
    /// The name in its resource: `namespace/name` or `name`.
    pub fn key(&self) -> &str {
        std::str::from_utf8(self.key_bytes()).expect("a key is text")
    }

    pub(super) fn key_bytes(&self) -> &[u8] {
        &self.0.slice[..self.key as usize]
    }

    fn line_text(&self) -> &[u8] {
        &self.0.slice[self.key as usize..]
    }

    /// Where in the line the object stands.
    fn place(&self) -> Range<usize> {
        self.event.prefix().len()..self.line_text().len() - TAIL.len()
    }

    fn metadata_place(&self) -> Range<usize> {
        self.metadata.start as usize..self.metadata.end as usize
    }

    /// The whole line, without a copy.
    fn lend(&self) -> Bytes {
        Bytes::from_owner(Lender(self.clone()))
    }

    /// The object as JSON.
    pub fn text(&self) -> &[u8] {
        &self.line_text()[self.place()]
    }

    /// The object as JSON, to be kept or sent; shares the memory of the store.
    pub fn json(&self) -> Bytes {
        self.lend().slice(self.place())
    }

    /// The object's metadata as JSON.
    pub fn metadata(&self) -> &[u8] {
        &self.text()[self.metadata_place()]
    }

    /// The object, decoded.
    pub fn value(&self) -> Value {
        serde_json::from_slice(self.text()).expect("the store only holds JSON that it encoded")
    }

    /// The watch line of an event of type `event`, newline included.
    pub fn line(&self, event: EventType) -> Bytes {
        if event == self.event {
            return self.lend();
        }
        let prefix = event.prefix().as_bytes();
        [prefix, self.text(), TAIL].concat().into()
    }

    /// Bytes of memory that the encoding takes.
    pub(super) fn size(&self) -> usize {
        self.line_text().len()
    }

    /// An object read back from disk.
    pub(super) fn load(
        key: &str,
        revision: u64,
        json: &[u8],
        def: &ResourceDef,
    ) -> Result<Self, serde_json::Error> {
        let Outline { value, metadata } = Outline::read(json, def.levels())?;
        let facts = Facts {
            selectable: Selectable::of(&value, def).share(),
            deleting: is_deleting(&value),
            metadata: range(metadata.start, metadata.end),
        };
        Ok(facts.stored(key, revision, EventType::Added, &[json]))
    }

    /// An object from a text that has another revision, or none, where `revision` is to stand.
    ///
    /// # Errors
    /// When the text is no JSON, or its metadata does not begin with `resourceVersion`.
    pub(super) fn revised(
        key: &str,
        revision: u64,
        event: EventType,
        json: &[u8],
        def: &ResourceDef,
        before: Option<&Self>,
    ) -> Result<Self, serde_json::Error> {
        let Outline { value, metadata } = Outline::read(json, def.levels())?;
        let number = number(json, metadata.start).ok_or_else(|| {
            serde::de::Error::custom("the metadata does not begin with resourceVersion")
        })?;
        let facts = Facts {
            selectable: shared(Selectable::of(&value, def), before),
            deleting: is_deleting(&value),
            metadata: grown(&metadata, &number, revision),
        };
        Ok(facts.spliced(key, revision, event, json, &number))
    }

    /// The last state of the object, which is gone since `revision`.
    pub(super) fn last(&self, revision: u64) -> Self {
        let json = self.text();
        let metadata = self.metadata_place();
        let number = number(json, metadata.start).unwrap_or(0..0);
        let facts = Facts {
            selectable: self.selectable.clone(),
            deleting: self.deleting,
            metadata: grown(&metadata, &number, revision),
        };
        facts.spliced(self.key(), revision, EventType::Deleted, json, &number)
    }
}

/// What an object is known to be before it has its place in memory.
struct Facts {
    selectable: Arc<Selectable>,
    deleting: bool,
    metadata: Range<u32>,
}

impl Facts {
    /// The object whose text is `parts`, one after the other.
    fn stored(self, key: &str, revision: u64, event: EventType, parts: &[&[u8]]) -> Object {
        let head = Head {
            revision,
            selectable: self.selectable,
            deleting: self.deleting,
            event,
            key: short(key.len()),
            metadata: self.metadata,
        };
        let ends = [key.as_bytes(), event.prefix().as_bytes()];
        let bytes = [&ends[..], parts, &[TAIL]].concat().concat();
        Object(ThinArc::from_header_and_slice(head, &bytes))
    }

    /// The object whose text is `json` with `revision` in the place of `number`.
    fn spliced(
        self,
        key: &str,
        revision: u64,
        event: EventType,
        json: &[u8],
        number: &Range<usize>,
    ) -> Object {
        let text = revision.to_string();
        let (head, tail) = (&json[..number.start], &json[number.end..]);
        self.stored(key, revision, event, &[head, text.as_bytes(), tail])
    }
}

/// Where the number of the resourceVersion stands in an object whose metadata begins at `start`.
fn number(json: &[u8], start: usize) -> Option<Range<usize>> {
    let metadata = json.get(start..)?;
    let number = metadata.strip_prefix(METADATA)?;
    let length = number.iter().position(|byte| *byte == b'"')?;
    let from = start + METADATA.len();
    Some(from..from + length)
}

/// The place of the metadata after its number has changed.
fn grown(metadata: &Range<usize>, number: &Range<usize>, revision: u64) -> Range<u32> {
    let length = revision.to_string().len();
    range(metadata.start, metadata.end - number.len() + length)
}

/// One's own, or what the state before had already.
fn shared(selectable: Selectable, before: Option<&Object>) -> Arc<Selectable> {
    match before {
        Some(before) if *before.selectable == selectable => before.selectable.clone(),
        _ => selectable.share(),
    }
}

fn is_deleting(object: &Value) -> bool {
    let metadata = object.get("metadata");
    metadata.is_some_and(|metadata| {
        metadata
            .get("deletionTimestamp")
            .is_some_and(Value::is_string)
    })
}

/// Objects are far smaller than 4 GiB.
fn short(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

fn range(start: usize, end: usize) -> Range<u32> {
    short(start)..short(end)
}

/// An encoded object that lacks only its revision, which the committer puts between the halves.
pub struct Draft {
    /// Ends behind the opening quotation mark of the resourceVersion, the first in the metadata.
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Bytes of the tail that belong to the metadata.
    metadata: usize,
    selectable: Selectable,
    deleting: bool,
}

impl Draft {
    /// Encodes `object`; a resourceVersion that it carries is left out.
    pub fn new(object: &Value, def: &ResourceDef) -> Self {
        let empty = Map::new();
        let object_map = object.as_object().unwrap_or(&empty);
        let (head, tail, metadata) = halves(object_map);
        Self {
            head,
            tail,
            metadata,
            selectable: Selectable::of(object, def),
            deleting: is_deleting(object),
        }
    }

    /// The finished object under `key`; shares `before`'s selectable part where nothing changed in it.
    pub fn finish(
        self,
        key: &str,
        revision: u64,
        event: EventType,
        before: Option<&Object>,
    ) -> Object {
        let text = revision.to_string();
        let start = self.head.len() - METADATA.len();
        let end = self.head.len() + text.len() + self.metadata;
        let facts = Facts {
            selectable: shared(self.selectable, before),
            deleting: self.deleting,
            metadata: range(start, end),
        };
        let parts = [&self.head, text.as_bytes(), &self.tail];
        facts.stored(key, revision, event, &parts)
    }

    /// Bytes of the object without a revision.
    pub fn size(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// The object without a revision, for a store that gives it one of its own.
    pub(super) fn bare(&self) -> Bytes {
        [self.head.as_slice(), &self.tail].concat().into()
    }
}

/// `{"apiVersion":…,"kind":…,"metadata":{"resourceVersion":"`, all that follows the number, and how
/// much of that is metadata.
fn halves(object: &Map<String, Value>) -> (Vec<u8>, Vec<u8>, usize) {
    let mut head = Vec::with_capacity(128);
    head.push(b'{');
    for key in ["apiVersion", "kind"] {
        if let Some(value) = object.get(key) {
            member(&mut head, key, value);
            head.push(b',');
        }
    }
    head.extend_from_slice(br#""metadata":"#);
    head.extend_from_slice(METADATA);
    let mut tail = Vec::with_capacity(1024);
    tail.push(b'"');
    let metadata = object.get("metadata").and_then(Value::as_object);
    for (key, value) in metadata.into_iter().flatten() {
        if key != "resourceVersion" {
            tail.push(b',');
            member(&mut tail, key, value);
        }
    }
    tail.push(b'}');
    let metadata = tail.len();
    for (key, value) in object {
        if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            tail.push(b',');
            member(&mut tail, key, value);
        }
    }
    tail.push(b'}');
    (head, tail, metadata)
}

fn member(out: &mut Vec<u8>, key: &str, value: &Value) {
    serde_json::to_writer(&mut *out, key).expect("a string encodes");
    out.push(b':');
    serde_json::to_writer(&mut *out, value).expect("a JSON value encodes");
}

#[cfg(test)]
mod tests;
