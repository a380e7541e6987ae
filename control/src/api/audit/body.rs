//! Bodies of which is kept what flows by.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;

use super::Trail;
use crate::api::body::{Body, BoxError};
use crate::api::decode::MAX_BODY;

/// What has flowed by, shared and not copied; nothing when it was more than may be kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pieces: Vec<Bytes>,
    size: usize,
}

impl Kept {
    /// The bytes in one piece.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    fn add(&mut self, data: &Bytes) {
        self.size += data.len();
        if self.size > MAX_BODY {
            self.pieces = Vec::new();
        } else {
            self.pieces.push(data.clone());
        }
    }
}

/// Who hears what flows through a body.
pub(super) trait Listen: Send + Unpin + 'static {
    /// A piece has passed.
    fn piece(&mut self, data: &Bytes);

    /// Nothing will follow. May be said twice.
    fn end(&mut self) {}
}

/// What has been sent until now, for its trail, while a handler still reads.
#[derive(Debug, Clone, Default)]
pub(super) struct SentSoFar(Arc<Mutex<Kept>>);

impl SentSoFar {
    /// The bytes; nothing is left.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock()).bytes()
    }
}

impl Listen for SentSoFar {
    fn piece(&mut self, data: &Bytes) {
        self.0.lock().add(data);
    }
}

/// What is answered; its trail is let go at the end.
pub(super) struct Said {
    trail: Option<Trail>,
    kept: Option<Kept>,
}

impl Said {
    /// Keeps the answer if there is something to keep it in.
    pub(super) fn new(trail: Trail, kept: Option<Kept>) -> Self {
        Self {
            trail: Some(trail),
            kept,
        }
    }
}

impl Listen for Said {
    fn piece(&mut self, data: &Bytes) {
        if let Some(kept) = &mut self.kept {
            kept.add(data);
        }
    }

    fn end(&mut self) {
        if let (Some(trail), Some(kept)) = (&self.trail, self.kept.take()) {
            trail.said(kept);
        }
        self.trail = None;
    }
}

/// A body with somebody who listens.
pub(super) struct Tap<L: Listen> {
    body: Body,
    listener: L,
}

impl<L: Listen> Tap<L> {
    /// The same body, heard by `listener`.
    pub(super) fn of(body: Body, listener: L) -> Body {
        Self { body, listener }.boxed_unsync()
    }
}

impl<L: Listen> HttpBody for Tap<L> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => frame.data_ref().into_iter().for_each(|data| {
                self.listener.piece(data);
            }),
            Some(Err(_)) | None => self.listener.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<L: Listen> Drop for Tap<L> {
    fn drop(&mut self) {
        self.listener.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_may_be_kept_is_not_kept_at_all() {
        let mut kept = Kept::default();
        kept.add(&Bytes::from_static(b"some"));
        assert_eq!(kept.bytes(), b"some");
        kept.add(&vec![b'x'; MAX_BODY].into());
        kept.add(&Bytes::from_static(b"late"));
        assert!(kept.bytes().is_empty());
    }
}
