//! What a connection has to say in one turn, said at once.
//!
//! h2 writes and flushes every frame of more than a few hundred bytes by itself: a TLS record, a call
//! into the kernel, and a packet for each. Where one event goes to many watches of one connection,
//! that is most of the work. As long as many answers are open ([`Crowd`]), a [`Gathered`] stream takes what
//! is written and keeps it until the turn of its connection is over ([`Turns`]); and the connection
//! takes its turn only after everybody else who is ready, so that they can all say their part before.
//! With few, nothing is kept and nobody waits.
//!
//! Only for HTTP/2, whose connections keep their stream to the end: the stream of a connection that
//! switches to another protocol is used by others, who take no turns.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::BoxError;

/// Bytes that are kept at most: as many as a TLS record takes.
const MOST: usize = 16 << 10;
/// Bytes that are not worth another copy to be sent with others.
const LARGE: usize = 4 << 10;
/// Open answers from which on a connection gathers and lets others go first. With fewer of them there
/// is little to gather, and a turn that is given away costs time.
const CROWD: usize = 8;

/// A stream and what is still to be written to it.
struct Gate<S> {
    stream: S,
    kept: Vec<u8>,
    crowd: Crowd,
    /// Whether a connection takes turns that end with a flush.
    turns: bool,
    /// Whether a flush was asked for that the turn still owes.
    owed: bool,
}

impl<S: AsyncWrite + Unpin> Gate<S> {
    fn gathers(&self) -> bool {
        self.turns && self.crowd.is_large()
    }

    /// Writes what is kept. Nothing of its memory stays with a connection that idles.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.kept))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.kept.drain(..written);
        }
        self.kept = Vec::new();
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.owed = false;
        Poll::Ready(Ok(()))
    }

    fn write(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size = parts.iter().map(|part| part.len()).sum::<usize>();
        let keeps = self.gathers() && size < LARGE;
        if !keeps || self.kept.len() + size > MOST {
            ready!(self.drain(context))?;
        }
        if !keeps {
            return Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        }
        parts
            .iter()
            .for_each(|part| self.kept.extend_from_slice(part));
        Poll::Ready(Ok(size))
    }
}

/// A stream whose writes wait for the end of a turn.
pub(crate) struct Gathered<S>(Arc<Mutex<Gate<S>>>);

impl<S> Gathered<S> {
    /// The stream of a connection with the answers of `crowd`, which may gather if `turns`.
    pub(crate) fn new(stream: S, crowd: Crowd, turns: bool) -> Self {
        Self(Arc::new(Mutex::new(Gate {
            stream,
            kept: Vec::new(),
            crowd,
            turns,
            owed: false,
        })))
    }

    /// The same stream, for the [`Turns`] of the connection that is given this one.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Nobody panics while he holds it, and if he did, nothing of it would be half done.
fn lock<S>(gate: &Mutex<Gate<S>>) -> MutexGuard<'_, Gate<S>> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).write(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gate = lock(&self.0);
        if !gate.gathers() {
            return gate.flush(context);
        }
        gate.owed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gate = lock(&self.0);
        ready!(gate.drain(context))?;
        Pin::new(&mut gate.stream).poll_shutdown(context)
    }
}

/// How many answers of a connection are open: begun, and of unknown length.
#[derive(Debug, Clone, Default)]
pub(crate) struct Crowd(Arc<AtomicUsize>);

impl Crowd {
    fn is_large(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= CROWD
    }

    /// The body, counted as long as it is open.
    pub(crate) fn count(&self, body: crate::Body) -> crate::Body {
        if body.size_hint().exact().is_some() {
            return body;
        }
        self.0.fetch_add(1, Ordering::Relaxed);
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
        self.crowd.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Body for Open {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that sends what it has to say at the end of each of its turns.
pub(crate) struct Turns<F, S> {
    connection: F,
    stream: Gathered<S>,
    crowd: Crowd,
    /// Whether others have been let go first.
    waited: bool,
}

impl<F, S> Turns<F, S> {
    /// The turns of a connection over `stream` that has the answers of `crowd`.
    pub(crate) fn new(connection: F, stream: Gathered<S>, crowd: Crowd) -> Self {
        Self {
            connection,
            stream,
            crowd,
            waited: false,
        }
    }
}

impl<F, S> Future for Turns<F, S>
where
    F: Future + Unpin,
    S: AsyncWrite + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.waited = !self.waited && self.crowd.is_large();
        if self.waited {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let turn = Pin::new(&mut self.connection).poll(context);
        let mut gate = lock(&self.stream.0);
        // Whoever has the stream after the connection takes no turns.
        gate.turns &= turn.is_pending();
        if gate.owed {
            // A stream that fails does so again when the connection reads from it.
            let _ = gate.flush(context);
        }
        turn
    }
}
