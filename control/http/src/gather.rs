//! What a connection has to say in one turn, said at once.
//!
//! h2 writes and flushes every frame of more than a few hundred bytes by itself: a TLS record, a call
//! into the kernel, and a packet for each. Where one event goes to many watches of one connection,
//! that is most of the work. As long as many answers are open ([`Crowd`]), a [`Gathered`] stream takes what
//! is written and keeps it until the turn of its connection is over ([`Turns`]). A turn that comes
//! because an open answer spoke is given away once, to everybody else who is ready: they may have
//! something to say over the same connection. Requests and short answers wait for nobody, and with few
//! open answers nothing is kept.
//!
//! A peer that reads slowly costs no more memory than before: one record is kept, and h2 is held up
//! behind it. Only for HTTP/2, whose connections keep their stream to the end: the stream of a
//! connection that switches to another protocol is used by others, who take no turns.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::crowd::Crowd;

/// Bytes that are kept at most: as many as a TLS record takes.
const MOST: usize = 16 << 10;
/// Bytes that are not worth another copy to be sent with others.
const LARGE: usize = 4 << 10;

/// A stream and what is still to be written to it.
struct Gate<S> {
    stream: S,
    kept: Vec<u8>,
    crowd: Crowd,
    /// Whether a connection takes turns that end with a flush.
    turns: bool,
    /// Whether the turn owes a flush: something was kept, or a flush was asked for.
    owed: bool,
    /// Why the flush at the end of a turn failed, for the connection, which has not heard yet.
    failed: Option<io::Error>,
}

impl<S: AsyncWrite + Unpin> Gate<S> {
    fn gathers(&self) -> bool {
        self.turns && self.crowd.is_large()
    }

    /// Tells the connection, once, of a failure that it has not seen.
    fn sound(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
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
        self.sound()?;
        let size = parts.iter().map(|part| part.len()).sum::<usize>();
        let keeps = self.gathers() && size < LARGE;
        if !keeps || self.kept.len() + size > MOST {
            ready!(self.drain(context))?;
        }
        if !keeps {
            return Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        }
        self.owed = true;
        parts
            .iter()
            .for_each(|part| self.kept.extend_from_slice(part));
        Poll::Ready(Ok(size))
    }

    /// The flush at the end of a turn. If it fails the connection hears of it in a turn of its own.
    fn settle(&mut self, context: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.flush(context) {
            self.kept = Vec::new();
            self.owed = false;
            self.failed = Some(error);
            context.waker().wake_by_ref();
        }
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
            failed: None,
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut gate = lock(&self.0);
        gate.sound()?;
        Pin::new(&mut gate.stream).poll_read(context, buffer)
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
        gate.sound()?;
        if !gate.gathers() {
            return gate.flush(context);
        }
        gate.owed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gate = lock(&self.0);
        gate.sound()?;
        ready!(gate.drain(context))?;
        Pin::new(&mut gate.stream).poll_shutdown(context)
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
        let spoke = self.crowd.spoke();
        self.waited = !self.waited && spoke && self.crowd.is_large();
        if self.waited {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let turn = Pin::new(&mut self.connection).poll(context);
        let mut gate = lock(&self.stream.0);
        // Whoever has the stream after the connection takes no turns.
        gate.turns &= turn.is_pending();
        if gate.owed {
            gate.settle(context);
        }
        turn
    }
}
