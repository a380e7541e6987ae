//! Answers in protobuf, made of what they are in JSON.
//!
//! A document is written anew. A list carries its objects with it ([`List`]), and is made of these
//! instead of its text: up to [`HELD`] bytes are written once and held; of what is beyond them only
//! the length is taken, which stands in front, and each object is written again when the client takes
//! it. So a list of any length costs a bounded amount of memory.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};

use super::table::{Message, Table};
use super::{MEDIA_TYPE, encode, encoded, list_item, list_metadata, refusal};
use crate::api::body::{Body, BoxError, Reply, full};
use crate::api::pieces::Pieces;
use crate::api::status::{Result, Status};
use crate::store::Object;

/// Bytes of a list that are held.
const HELD: usize = 4 << 20;
/// Bytes of one piece of a list that is written while it is sent.
const CHUNK: usize = 64 << 10;
/// Objects of a list that are written before others have their turn.
const TOGETHER: usize = 64;

/// What a list is made of; goes with an answer whose text is the same list in JSON.
#[derive(Clone)]
pub(in crate::api) struct List(Arc<Parts>);

struct Parts {
    version: String,
    /// The kind of the items.
    kind: String,
    metadata: Value,
    items: Items,
}

/// The items of a list.
pub(in crate::api) enum Items {
    /// Objects as they are stored.
    Stored(Vec<Object>),
    /// The metadata of stored objects.
    Metadata(Vec<Object>),
    /// Objects in another version than the stored one.
    Shown(Vec<Value>),
}

impl Items {
    fn len(&self) -> usize {
        match self {
            Self::Stored(objects) | Self::Metadata(objects) => objects.len(),
            Self::Shown(values) => values.len(),
        }
    }
}

impl List {
    /// A list of `items` of a kind.
    pub(in crate::api) fn new(kind: &str, version: &str, metadata: &Value, items: Items) -> Self {
        Self(Arc::new(Parts {
            version: version.to_owned(),
            kind: kind.to_owned(),
            metadata: metadata.clone(),
            items,
        }))
    }
}

impl Parts {
    fn message(&self) -> Result<&'static Message> {
        let message = Table::get().of_kind(&self.version, &self.kind);
        message.ok_or_else(|| Status::internal(format!("{} has no protobuf", self.kind)))
    }

    /// Appends an item.
    fn put(&self, message: &Message, index: usize, out: &mut Vec<u8>) -> Result<()> {
        let written = match &self.items {
            Items::Stored(objects) => list_item(message, &objects[index].value(), out),
            Items::Metadata(objects) => {
                let metadata: Value =
                    serde_json::from_slice(objects[index].metadata()).unwrap_or_default();
                list_item(message, &json!({ "metadata": metadata }), out)
            }
            Items::Shown(values) => list_item(message, &values[index], out),
        };
        written.map_err(|misfit| refusal(&self.kind, misfit))
    }

    /// The list in its envelope.
    async fn body(self: Arc<Self>) -> Result<Body> {
        let message = self.message()?;
        let mut held = Vec::new();
        list_metadata(Some(&self.metadata), &mut held)
            .map_err(|misfit| refusal(&self.kind, misfit))?;
        let count = self.items.len();
        // Items that are held, and the length of all.
        let (mut first, mut length) = (0, held.len());
        let mut scratch = Vec::new();
        for index in 0..count {
            if index % TOGETHER == TOGETHER - 1 {
                tokio::task::yield_now().await;
            }
            if first == index && held.len() < HELD {
                self.put(message, index, &mut held)?;
                (first, length) = (index + 1, held.len());
            } else {
                scratch.clear();
                self.put(message, index, &mut scratch)?;
                length += scratch.len();
            }
        }
        drop(scratch);
        let mut head = encode::head(&self.version, &format!("{}List", self.kind), length);
        if first == count {
            head.reserve_exact(held.len() + encode::TAIL.len());
            head.extend_from_slice(&held);
            head.extend_from_slice(encode::TAIL);
            return Ok(full(head));
        }
        let begun = [Bytes::from(head), Bytes::from(held)];
        let rest = Rest {
            parts: self,
            message,
            next: first,
        };
        let pieces = begun.into_iter().map(Ok).chain(rest);
        let frames = pieces.map(|piece| piece.map(Frame::data));
        Ok(StreamBody::new(stream::iter(frames)).boxed_unsync())
    }
}

/// What of a list is written while it is sent.
struct Rest {
    parts: Arc<Parts>,
    message: &'static Message,
    /// The first item of the next piece; one more than there are behind the end.
    next: usize,
}

impl Iterator for Rest {
    type Item = std::result::Result<Bytes, BoxError>;

    fn next(&mut self) -> Option<Self::Item> {
        let count = self.parts.items.len();
        if self.next > count {
            return None;
        }
        let mut piece = Vec::with_capacity(CHUNK + CHUNK / 4);
        while piece.len() < CHUNK {
            if self.next == count {
                piece.extend_from_slice(encode::TAIL);
                self.next += 1;
                break;
            }
            if let Err(status) = self.parts.put(self.message, self.next, &mut piece) {
                self.next = count + 1;
                return Some(Err(status.message.into()));
            }
            self.next += 1;
        }
        Some(Ok(piece.into()))
    }
}

/// The same answer in protobuf, or as it was if it is no JSON document or has no protobuf. The JSON of
/// a list is made all the same if it is `recorded`.
pub(in crate::api) async fn written(
    mut reply: Reply,
    recorded: bool,
) -> std::result::Result<Reply, Reply> {
    let json = HeaderValue::from_static("application/json");
    if reply.headers().get(CONTENT_TYPE) != Some(&json) {
        return Err(reply);
    }
    if let Some(List(parts)) = reply.extensions_mut().remove::<List>() {
        let (head, mut text) = reply.into_parts();
        while recorded && text.frame().await.is_some() {}
        drop(text);
        return match parts.body().await {
            Ok(body) => Ok(labelled(Reply::from_parts(head, body))),
            Err(status) => Ok(refused(&status)),
        };
    }
    let (head, body) = reply.into_parts();
    let pieces = Pieces::begin(body, usize::MAX).await;
    let text = match pieces.all() {
        Ok(text) => text,
        Err(pieces) => return Err(Reply::from_parts(head, pieces.into_body())),
    };
    let document: Option<Value> = serde_json::from_slice(&text).ok();
    match document.as_ref().map_or(Ok(None), encoded) {
        Ok(Some(bytes)) => Ok(labelled(Reply::from_parts(head, full(bytes)))),
        Ok(None) => Err(Reply::from_parts(head, full(text))),
        Err(status) => Ok(refused(&status)),
    }
}

/// A refusal in protobuf.
fn refused(status: &Status) -> Reply {
    let bytes = encoded(&status.to_value());
    let mut reply = Reply::new(full(bytes.ok().flatten().unwrap_or_default()));
    *reply.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    crate::api::body::document(labelled(reply))
}

fn labelled(mut reply: Reply) -> Reply {
    let headers = reply.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    reply
}
