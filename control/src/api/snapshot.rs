//! `GET /snapshot`: everything that is stored, at one revision, for `netctl snapshot save`.
//!
//! A path that is no resource's, so that it is granted by name and to nobody by default: Secrets are in
//! it as whoever may read them sees them.

use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::body::{self, BoxError, Reply};
use super::server::Server;
use super::status::{Result, Status};

/// Where it is.
pub(super) const PATH: &str = "/snapshot";

/// Answers with the file; it is made while it is sent.
///
/// # Errors
/// 405 for anything but GET, 503 when the store cannot tell what is the newest.
pub(super) async fn answer(server: &Server, method: &Method) -> Result<Reply> {
    if method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    let fresh = server.store.fresh().await;
    fresh.map_err(|error| Status::unavailable(format!("the store: {error}")))?;
    let pieces = server.store.everything().into_file();
    let frames = pieces.map(|piece: Bytes| Ok::<_, BoxError>(Frame::data(piece)));
    let file = StreamBody::new(stream::iter(frames)).boxed_unsync();
    Ok(body::reply(StatusCode::OK, "application/jsonl", file))
}
