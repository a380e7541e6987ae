//! What a client still sends of a request that has its answer.
//!
//! A refusal often needs no body. HTTP/1.1 has no way to say so but to end the connection, and a client
//! that is just sending its next request over it cannot know whether that was done. So the rest is read
//! and forgotten, as far as it is short and comes soon. HTTP/2 ends the one stream, and who waits to be
//! told to continue (`Expect: 100-continue`) has sent nothing yet. A rest that does not come ends the
//! connection: whoever reads from it waits for nothing else.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::BoxError;

/// Bytes of a rest that are read at most.
const MOST: usize = 256 << 10;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A body that, dropped, is read to its end.
struct Wanted {
    body: Option<Incoming>,
    /// Cancelled when the rest does not come.
    given_up: CancellationToken,
}

/// The request with a body of any kind. If the rest of it is not wanted and does not come, the connection
/// is `given_up`.
pub(crate) fn wanted(
    request: Request<Incoming>,
    given_up: &CancellationToken,
) -> Request<crate::Body> {
    let one_by_one = request.version() != Version::HTTP_2;
    let is_sent = one_by_one && !request.headers().contains_key(EXPECT);
    request.map(|body| match is_sent {
        true => {
            let (body, given_up) = (Some(body), given_up.clone());
            Wanted { body, given_up }.boxed_unsync()
        }
        false => body.map_err(Into::into).boxed_unsync(),
    })
}

impl Body for Wanted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.as_ref().map(Incoming::size_hint);
        hint.unwrap_or_default()
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, Handle::try_current()) {
            let given_up = self.given_up.clone();
            runtime.spawn(async move {
                if tokio::time::timeout(PATIENCE, forget(rest)).await.is_err() {
                    given_up.cancel();
                }
            });
        }
    }
}

async fn forget(mut rest: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = rest.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MOST {
            return;
        }
    }
}
