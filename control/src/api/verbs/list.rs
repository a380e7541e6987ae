//! Many objects: one snapshot, whole or in pages.

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};

use super::Call;
use crate::api::body::{BoxError, Reply, json as json_reply, reply};
use crate::api::negotiate::{Encoding, Form, Shape};
use crate::api::options::ListOptions;
use crate::api::pages::Token;
use crate::api::protobuf::{Items, List};
use crate::api::status::{Result, Status};
use crate::api::table::{IncludeObject, metadata_text, table};
use crate::store::{Object, Snapshot};

/// Bytes of one piece of a long answer.
const CHUNK: usize = 64 << 10;
/// Objects left from which on the next piece is taken to be a whole one.
const MANY: usize = 64;

pub(super) async fn list(call: &Call) -> Result<Reply> {
    let Form { shape, encoding } = call.form()?;
    let protobuf = encoding == Encoding::Protobuf;
    let options = ListOptions::parse(&call.query, call.target.kind)?;
    let (snapshot, token) = snapshot(call, &options)?;
    let limit = options.limit.unwrap_or(usize::MAX);
    let page = select(call, &options, &snapshot, token.as_ref(), limit);
    let metadata = list_metadata(call, &options, &snapshot, &page);
    let objects = page.selected;
    let (kind, version) = (call.target.kind.kind, call.target.api_version());
    Ok(match shape {
        Shape::Object if call.target.kind.stored_as.is_none() => {
            let items = || Items::Stored(objects.clone());
            let list = protobuf.then(|| List::new(kind, &version, &metadata, items()));
            let show = |object: &Object, piece: &mut BytesMut| piece.put_slice(object.text());
            let reply = stream_list(kind, &version, &metadata, objects, Box::new(show));
            carrying(reply, list)
        }
        Shape::Object => {
            let shown = shown(call, &objects).await?;
            let items = || Items::Shown(shown.clone());
            let list = protobuf.then(|| List::new(kind, &version, &metadata, items()));
            let show = |object: &Value, piece: &mut BytesMut| {
                piece.put_slice(object.to_string().as_bytes())
            };
            let reply = stream_list(kind, &version, &metadata, shown, Box::new(show));
            carrying(reply, list)
        }
        Shape::Table => {
            let include = IncludeObject::parse(call.query.get("includeObject"));
            let now = jiff::Timestamp::now().as_second();
            let shown = shown(call, &objects).await?;
            let table = table(call.target.kind, metadata, shown.into_iter(), include, now);
            json_reply(StatusCode::OK, &table)
        }
        Shape::Metadata => {
            let show =
                |object: &Object, piece: &mut BytesMut| piece.put_slice(&metadata_text(object));
            let (kind, version) = ("PartialObjectMetadata", "meta.k8s.io/v1");
            let items = || Items::Metadata(objects.clone());
            let list = protobuf.then(|| List::new(kind, version, &metadata, items()));
            let reply = stream_list(kind, version, &metadata, objects, Box::new(show));
            carrying(reply, list)
        }
    })
}

/// The same answer with what it is made of, if it is to be written in protobuf.
fn carrying(mut reply: Reply, list: Option<List>) -> Reply {
    if let Some(list) = list {
        reply.extensions_mut().insert(list);
    }
    reply
}

/// The objects in the version of the path.
async fn shown(call: &Call, objects: &[Object]) -> Result<Vec<Value>> {
    let values = objects.iter().map(|object| object.value()).collect();
    call.server.shown(call.target, values).await
}

/// The snapshot that the request is about, and the token of the page that it asks for.
pub(super) fn snapshot(call: &Call, options: &ListOptions) -> Result<(Snapshot, Option<Token>)> {
    let server = &call.server;
    let resource = call.target.resource;
    if let Some(token) = &options.continue_token {
        if options.version.is_some_and(|version| version > 0) {
            let why = "specifying resource version is not allowed when using continue";
            return Err(Status::bad_request(why));
        }
        let token = Token::decode(token);
        let token = token.ok_or_else(|| Status::bad_request("continue key is not valid"))?;
        let page = match token.revision {
            Some(revision) => server.pages.find(resource, revision, Instant::now()),
            None => Some(server.store.snapshot(resource)),
        };
        let page = page.ok_or_else(|| Status::inconsistent(&token.onward()))?;
        return Ok((page, Some(token)));
    }
    let latest = server.store.snapshot(resource);
    match (options.version, options.version_match) {
        (Some(wanted), _) if wanted > latest.revision => {
            Err(Status::future_version(wanted, latest.revision))
        }
        (Some(wanted), _) if options.is_exact() && wanted < latest.revision => {
            let kept = server.pages.find(resource, wanted, Instant::now());
            let kept = kept.or_else(|| unchanged(call, latest, wanted));
            let kept = kept.ok_or_else(|| {
                Status::expired("The resourceVersion for the provided list is too old.")
            })?;
            Ok((kept, None))
        }
        _ => Ok((latest, None)),
    }
}

/// The latest objects as those of `wanted`, if nothing has happened to them since.
fn unchanged(call: &Call, latest: Snapshot, wanted: u64) -> Option<Snapshot> {
    let mut since = call.server.store.watch(call.target.resource, wanted).ok()?;
    let (events, _) = since.poll().ok()?;
    events.is_empty().then_some(Snapshot {
        revision: wanted,
        ..latest
    })
}

/// A page of a snapshot.
pub(super) struct Page {
    /// What was asked for.
    pub(super) selected: Vec<Object>,
    /// The last key that was looked at, if there are more.
    next: Option<Box<str>>,
    /// How many there are after this page, where that is known.
    remaining: Option<usize>,
}

/// The first `limit` objects that the request selects, from where `token` says.
pub(super) fn select(
    call: &Call,
    options: &ListOptions,
    snapshot: &Snapshot,
    token: Option<&Token>,
    limit: usize,
) -> Page {
    let namespace = call.path.namespace.as_deref();
    let mut page = Page {
        selected: Vec::new(),
        next: None,
        remaining: None,
    };
    if let (Some(name), true) = (
        options.fields.name(),
        namespace.is_some() || !call.target.kind.namespaced,
    ) {
        let key = crate::api::value::key(namespace, name);
        let found = snapshot
            .objects
            .get(&key)
            .filter(|object| wanted(options, &key, object));
        page.selected.extend(found.cloned());
        return page;
    }
    let mut range = snapshot.range(namespace, token.map(|token| token.after.as_str()));
    let mut last = None;
    for (key, object) in range.by_ref() {
        if page.selected.len() == limit {
            page.next = last.map(|last: &Object| last.key().into());
            let unfiltered = call.query.get("labelSelector").is_none()
                && call.query.get("fieldSelector").is_none();
            // Counted once: to count what follows each page is the square of the list.
            let known = token.and_then(|token| token.remaining);
            page.remaining = unfiltered.then(|| match known {
                Some(before) => before.saturating_sub(limit),
                None => range.count() + 1,
            });
            return page;
        }
        if wanted(options, key, object) {
            page.selected.push(object.clone());
        }
        last = Some(object);
    }
    page
}

fn wanted(options: &ListOptions, key: &str, object: &Object) -> bool {
    options.labels.matches(&object.selectable) && options.fields.matches(key, &object.selectable)
}

fn list_metadata(call: &Call, options: &ListOptions, snapshot: &Snapshot, page: &Page) -> Value {
    let mut metadata = json!({"resourceVersion": snapshot.revision.to_string()});
    if let (Some(next), true) = (&page.next, options.limit.is_some()) {
        call.server
            .pages
            .keep(call.target.resource, snapshot, Instant::now());
        let token = Token {
            revision: Some(snapshot.revision),
            after: next.to_string(),
            remaining: page.remaining,
        };
        metadata["continue"] = token.encode().into();
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    metadata
}

/// Streams the list out of the shared encodings, piece by piece.
fn stream_list<T: Send + 'static>(
    kind: &str,
    version: &str,
    metadata: &Value,
    objects: Vec<T>,
    show: Show<T>,
) -> Reply {
    let head = format!(
        r#"{{"kind":"{kind}List","apiVersion":"{version}","metadata":{metadata},"items":["#
    );
    let mut pieces = Pieces {
        show,
        head: Some(head.into()),
        objects: objects.into_iter(),
        first: true,
    };
    let first = pieces.next().unwrap_or_default();
    if pieces.objects.len() == 0 && pieces.head.is_none() && first.ends_with(b"]}") {
        return reply(
            StatusCode::OK,
            "application/json",
            crate::api::body::full(first),
        );
    }
    let pieces = std::iter::once(first).chain(pieces);
    let frames = pieces.map(|piece| Ok::<_, BoxError>(Frame::data(piece)));
    let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
    reply(StatusCode::OK, "application/json", body)
}

/// Appends the text of an object to a piece of the list.
type Show<T> = Box<dyn Fn(&T, &mut BytesMut) + Send>;

/// The list as a sequence of pieces of about [`CHUNK`] bytes; the last ends with `]}`.
struct Pieces<T> {
    show: Show<T>,
    head: Option<Bytes>,
    objects: std::vec::IntoIter<T>,
    first: bool,
}

impl<T> Iterator for Pieces<T> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.head.is_none() && self.first {
            return None;
        }
        // A short list is not worth a whole chunk; a long one is worth no growing.
        let many = self.objects.len() >= MANY;
        let mut piece = BytesMut::with_capacity(if many { CHUNK + CHUNK / 4 } else { 0 });
        if let Some(head) = self.head.take() {
            piece.put_slice(&head);
        }
        for object in self.objects.by_ref() {
            if !std::mem::take(&mut self.first) {
                piece.put_u8(b',');
            }
            (self.show)(&object, &mut piece);
            if piece.len() >= CHUNK {
                return Some(piece.freeze());
            }
        }
        piece.put_slice(b"]}");
        self.first = true;
        Some(piece.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Draft, EventType};

    fn pieces(count: usize) -> (usize, Value) {
        let object = |index: usize| {
            let text = "x".repeat(CHUNK / 2);
            let value = json!({"metadata": {"name": format!("o{index}")}, "text": text});
            let draft = Draft::new(&value, &crate::store::ResourceDef::default());
            draft.finish("o", 1, EventType::Added, None)
        };
        let objects: Vec<_> = (0..count).map(object).collect();
        let head = Some(Bytes::from_static(b"{\"items\":["));
        let pieces = Pieces {
            show: Box::new(|object: &Object, piece| piece.put_slice(object.text())),
            head,
            objects: objects.into_iter(),
            first: true,
        };
        let all: Vec<Bytes> = pieces.collect();
        (all.len(), serde_json::from_slice(&all.concat()).unwrap())
    }

    #[test]
    fn the_pieces_make_one_list() {
        for count in [0, 1, 2, 3, 4, 5] {
            let (_, list) = pieces(count);
            assert_eq!(list["items"].as_array().unwrap().len(), count);
        }
        assert!(pieces(5).0 >= 2);
    }
}
