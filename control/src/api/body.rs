//! Bodies of requests and answers, and the few shapes of answers.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use serde_json::Value;

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
