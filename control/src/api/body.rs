//! Bodies of requests and answers, and the few shapes of answers.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use serde_json::Value;

use super::negotiate::Encoding;

pub use naru_http::{Body, BoxError};

/// An answer.
pub type Reply = Response<Body>;

/// A body that is there at once.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body without content.
pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// An answer with `body`.
pub(super) fn reply(code: StatusCode, content_type: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = code;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// Marks an answer that is one document of the server's own, which may take another form on its way;
/// in which encoding, where that was settled with its shape.
#[derive(Clone, Copy)]
struct Document(Option<Encoding>);

/// The same answer, marked as a document: neither a stream of events or bytes, nor another server's.
pub(super) fn document(mut reply: Reply) -> Reply {
    reply.extensions_mut().insert(Document(None));
    reply
}

/// The same, of which it is settled in what it is written.
pub(super) fn document_in(encoding: Encoding, mut reply: Reply) -> Reply {
    reply.extensions_mut().insert(Document(Some(encoding)));
    reply
}

/// Whether an answer is a document.
pub(super) fn is_document(reply: &Reply) -> bool {
    reply.extensions().get::<Document>().is_some()
}

/// In what a document is to be written, if that is settled.
pub(super) fn settled_encoding(reply: &Reply) -> Option<Encoding> {
    reply.extensions().get::<Document>()?.0
}

/// A JSON answer from encoded bytes.
pub(super) fn json_bytes(code: StatusCode, bytes: impl Into<Bytes>) -> Reply {
    reply(code, "application/json", full(bytes))
}

/// A JSON answer.
pub(super) fn json(code: StatusCode, value: &Value) -> Reply {
    json_bytes(code, value.to_string())
}

/// A plain text answer.
pub(super) fn text(code: StatusCode, text: impl Into<Bytes>) -> Reply {
    reply(code, "text/plain; charset=utf-8", full(text))
}
