//! Bodies in transit: a request's that can be taken back as long as nobody has read from it, and
//! a response's that counts as load until its end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::backend::Load;

/// Owns a request body between attempts.
#[derive(Debug)]
pub struct Lender<B = Incoming> {
    slot: Arc<Mutex<Option<B>>>,
    frames: Arc<AtomicU64>,
}

impl<B> Lender<B> {
    /// Takes the body of a request.
    pub fn new(body: B) -> Self {
        Self {
            slot: Arc::new(Mutex::new(Some(body))),
            frames: Arc::default(),
        }
    }

    /// The body for one attempt.
    pub fn lend(&self) -> Lent<B> {
        Lent {
            slot: Arc::clone(&self.slot),
            frames: Arc::clone(&self.frames),
            taken: None,
        }
    }

    /// Whether no attempt has begun to read the body, so that another one can have it whole.
    pub fn is_whole(&self) -> bool {
        self.slot.lock().is_some()
    }

    /// Frames passed on so far, from which the caller sees progress.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }
}

/// A body on loan. It leaves the lender at the first read.
#[derive(Debug)]
pub struct Lent<B = Incoming> {
    slot: Arc<Mutex<Option<B>>>,
    frames: Arc<AtomicU64>,
    taken: Option<B>,
}

impl<B: Body> Lent<B> {
    fn peek<T>(&self, read: impl Fn(&B) -> T) -> Option<T> {
        match &self.taken {
            Some(body) => Some(read(body)),
            None => self.slot.lock().as_ref().map(read),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Lent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if this.taken.is_none() {
            this.taken = this.slot.lock().take();
        }
        let Some(body) = &mut this.taken else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = &polled {
            this.frames.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.peek(B::is_end_stream).unwrap_or(true)
    }

    fn size_hint(&self) -> SizeHint {
        self.peek(B::size_hint).unwrap_or_default()
    }
}

/// A response body from an endpoint.
#[derive(Debug)]
pub struct Guarded {
    body: Incoming,
    _load: Load,
}

impl Guarded {
    /// Counts as load of the endpoint until dropped.
    pub fn new(body: Incoming, load: Load) -> Self {
        Self { body, _load: load }
    }
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    #[tokio::test]
    async fn a_body_can_be_lent_again_until_it_is_read() {
        let lender = Lender::new(Full::new(Bytes::from_static(b"abc")));
        let unread = lender.lend();
        assert_eq!(unread.size_hint().exact(), Some(3));
        drop(unread);
        assert!(lender.is_whole());
        let read = lender.lend().collect().await.unwrap().to_bytes();
        assert_eq!(read, "abc");
        assert!(!lender.is_whole());
        assert_eq!(lender.frames(), 1);
        assert!(lender.lend().is_end_stream());
    }
}
