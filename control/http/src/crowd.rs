//! The open answers of a connection: how many there are, and whether one has said something.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};

use crate::BoxError;

/// Open answers from which on a connection gathers and lets others go first. With fewer of them there
/// is little to gather, and a turn that is given away costs time.
pub(crate) const LARGE: usize = 8;

/// The answers of one connection that are open: begun, and of unknown length.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crowd(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    spoke: AtomicBool,
}

impl Crowd {
    /// Whether there are so many that gathering pays.
    pub(crate) fn is_large(&self) -> bool {
        self.0.open.load(Ordering::Relaxed) >= LARGE
    }

    /// Whether one of them has said something since this was asked last.
    pub(crate) fn spoke(&self) -> bool {
        self.0.spoke.swap(false, Ordering::Relaxed)
    }

    /// The body, counted as long as it is open.
    pub(crate) fn count(&self, body: crate::Body) -> crate::Body {
        if body.size_hint().exact().is_some() {
            return body;
        }
        self.0.open.fetch_add(1, Ordering::Relaxed);
        let crowd = self.clone();
        Open { body, crowd }.boxed_unsync()
    }
}

/// An answer that goes on.
struct Open {
    body: crate::Body,
    crowd: Crowd,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.crowd.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Body for Open {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.crowd.0.spoke.store(true, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
