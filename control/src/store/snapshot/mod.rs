//! A store as a file: everything at one revision, as text that people and programs can read.
//!
//! The first line is a [`Header`], then comes a line of JSON per object, the last line is a
//! [`Trailer`] with the number of objects and a checksum of all that stands before it: a file that was
//! cut off, or changed, is found out before anything of it is used. What is encrypted at rest is
//! plain in it, so that the keys need not outlive it; whoever keeps the file has to protect it.

mod restore;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Objects;
pub use restore::{RestoreError, Restored, into_etcd, into_file};

/// The form of the file; another one is another number.
const FORMAT: u32 = 1;
/// How much is handed on at once, about.
const CHUNK: usize = 64 << 10;

/// The first line.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Header {
    /// [`FORMAT`].
    naru_snapshot: u32,
    /// The revision at which everything is.
    revision: u64,
}

/// One object.
#[derive(Debug, Serialize, Deserialize)]
struct Row<'a> {
    /// `plural` or `plural.group`.
    resource: &'a str,
    /// `namespace/name` or `name`.
    key: &'a str,
    /// The write that made it.
    revision: u64,
    /// As it is stored.
    #[serde(borrow)]
    object: &'a RawValue,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Trailer {
    /// Objects in the file.
    objects: u64,
    /// CRC-32 (IEEE) of all lines before this one.
    crc32: u32,
}

/// Every resource of a store at one revision.
pub struct Everything {
    pub(super) revision: u64,
    /// By the names under which they are stored.
    pub(super) kinds: Vec<(std::sync::Arc<str>, Objects)>,
}

impl Everything {
    /// The file, in pieces of many lines; it is made while it is read.
    pub fn into_file(self) -> impl Iterator<Item = Bytes> + Send {
        let header = Header {
            naru_snapshot: FORMAT,
            revision: self.revision,
        };
        let rows = self.kinds.into_iter().flat_map(|(resource, objects)| {
            let line = move |object: super::Object| row(&resource, object.key(), &object);
            objects.into_iter().map(line)
        });
        Pieces {
            rows,
            waiting: line(&header),
            checksum: crc32fast::Hasher::new(),
            objects: 0,
            ended: false,
        }
    }
}

fn row(resource: &str, key: &str, object: &super::Object) -> Vec<u8> {
    let text = std::str::from_utf8(object.text()).expect("JSON is text");
    let stored = serde_json::from_str(text).expect("the store only holds JSON that it encoded");
    line(&Row {
        resource,
        key,
        revision: object.revision,
        object: stored,
    })
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("strings and numbers encode");
    line.push(b'\n');
    line
}

/// Lines, gathered.
struct Pieces<I> {
    rows: I,
    waiting: Vec<u8>,
    checksum: crc32fast::Hasher,
    objects: u64,
    ended: bool,
}

impl<I: Iterator<Item = Vec<u8>>> Iterator for Pieces<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        while self.waiting.len() < CHUNK {
            let Some(row) = self.rows.next() else {
                self.ended = true;
                break;
            };
            self.waiting.extend_from_slice(&row);
            self.objects += 1;
        }
        let mut piece = std::mem::take(&mut self.waiting);
        self.checksum.update(&piece);
        if self.ended {
            piece.extend(line(&Trailer {
                objects: self.objects,
                crc32: self.checksum.clone().finalize(),
            }));
        }
        Some(piece.into())
    }
}
