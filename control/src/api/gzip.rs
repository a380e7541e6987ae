//! Long answers, compressed for clients that take them so (`Accept-Encoding: gzip`).
//!
//! As in Kubernetes: gets, lists, discovery and OpenAPI documents of [`MIN`] bytes and more, at the
//! level that costs least. Never watches, logs, streams, or what another server says. An answer is
//! compressed piece by piece as the client takes it, after it was recorded for the audit log.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};

use super::body::{Body, BoxError, Reply, is_document};
use super::pieces::Pieces;

/// Bytes from which on an answer is compressed.
const MIN: usize = 128 << 10;
/// Compressed bytes that are sent together.
const PIECE: usize = 16 << 10;

/// Whether a client takes answers as gzip.
pub(super) fn is_accepted(headers: &HeaderMap) -> bool {
    let all = headers.get_all(ACCEPT_ENCODING).iter();
    let all = all.filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).any(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let named = parts.next() == Some("gzip");
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let refused = weight.is_some_and(|weight| weight.parse() == Ok(0.0));
        named && !refused
    })
}

/// The answer for a client that takes gzip.
pub(super) async fn compressed(reply: Reply) -> Reply {
    let size = reply.body().size_hint();
    let short = size.upper().is_some_and(|bytes| bytes < MIN as u64);
    if short || !is_document(&reply) {
        return reply;
    }
    let (mut head, body) = reply.into_parts();
    let pieces = Pieces::begin(body, MIN).await;
    if pieces.is_short() {
        return Reply::from_parts(head, pieces.into_body());
    }
    head.headers.remove(CONTENT_LENGTH);
    let headers = [(CONTENT_ENCODING, "gzip"), (VARY, "Accept-Encoding")];
    for (name, value) in headers {
        head.headers.append(name, HeaderValue::from_static(value));
    }
    Reply::from_parts(head, packed(pieces))
}

/// The body, compressed.
fn packed(pieces: Pieces) -> Body {
    let encoder = GzEncoder::new(Vec::with_capacity(2 * PIECE), Compression::fast());
    let frames = stream::unfold(
        (pieces, Some(encoder)),
        |(mut pieces, encoder)| async move {
            let mut encoder = encoder?;
            while encoder.get_ref().len() < PIECE {
                let written = match pieces.next().await {
                    Some(piece) => {
                        piece.and_then(|piece| encoder.write_all(&piece).map_err(BoxError::from))
                    }
                    None => {
                        let last = encoder.finish().map_err(BoxError::from);
                        return Some((last.map(|last| Frame::data(last.into())), (pieces, None)));
                    }
                };
                if let Err(error) = written {
                    return Some((Err(error), (pieces, None)));
                }
            }
            let piece = std::mem::replace(encoder.get_mut(), Vec::with_capacity(2 * PIECE));
            Some((Ok(Frame::data(piece.into())), (pieces, Some(encoder))))
        },
    );
    StreamBody::new(frames).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_by_who_says_so() {
        let taken = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
            is_accepted(&headers)
        };
        for value in ["gzip", "deflate, gzip;q=0.5", "br,gzip ; q=1"] {
            assert!(taken(value), "{value}");
        }
        for value in ["", "identity", "gzip;q=0", "gzip;q=0.0", "xgzip", "*"] {
            assert!(!taken(value), "{value}");
        }
        assert!(!is_accepted(&HeaderMap::new()));
    }
}
