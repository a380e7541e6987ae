//! What clients have asked for and do not take.
//!
//! An answer costs its objects for as long as it lasts, and neither protocol ends one that nobody
//! reads: HTTP/1.1 waits for room in the connection ([`Outgoing`]), HTTP/2 for the stream's window, which
//! the client alone opens ([`Counted`]). So whatever waits for the client is counted ([`Debts`]), and a
//! connection on which something has waited too long is ended ([`Attended`]). An answer that has
//! nothing to say, such as a watch without news, waits for nobody.
//!
//! What waits carries no time. It is counted in two generations, which change places when `patience`
//! is over: what is left of the one before has waited at least so long, and less than twice that.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::BoxError;

/// Bytes of a piece at most. Each is to be taken in time, so this is also how slowly one may read.
const PIECE: usize = 64 << 10;

/// What waits for the client of one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Debts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Which of the two is the younger: the last bit.
    generation: AtomicUsize,
    waiting: [AtomicUsize; 2],
    /// Answers that are read at leisure.
    leisurely: AtomicUsize,
    /// Whether the end of a generation will be seen.
    attended: AtomicBool,
    /// Who has to hear that something waits, unless it is attended. What waits may do so in a task of
    /// its own, which tells the connection nothing.
    attendant: Mutex<Option<Waker>>,
}

impl Debts {
    /// The body, whose pieces are counted while they wait.
    pub(crate) fn count(&self, body: crate::Body) -> crate::Body {
        if body.is_end_stream() {
            return body;
        }
        let counted = Counted {
            waiting: Some(self.wait()),
            rest: Bytes::new(),
            debts: self.clone(),
            body,
        };
        counted.boxed_unsync()
    }

    /// The body, which may be read at leisure: nothing of it is counted, and no other answer is over the
    /// same connection of HTTP/1.1.
    pub(crate) fn forbear(&self, body: crate::Body) -> crate::Body {
        self.0.leisurely.fetch_add(1, Ordering::Relaxed);
        let leisure = Leisure(self.clone());
        let hold = move |frame: Frame<Bytes>| {
            let _held = &leisure;
            frame
        };
        body.map_frame(hold).boxed_unsync()
    }

    fn wait(&self) -> Waiting {
        let generation = self.0.generation.load(Ordering::Relaxed) & 1;
        self.0.waiting[generation].fetch_add(1, Ordering::SeqCst);
        if !self.0.attended.load(Ordering::SeqCst)
            && let Some(attendant) = self.attendant().take()
        {
            attendant.wake();
        }
        Waiting {
            debts: self.clone(),
            generation,
        }
    }

    fn is_any(&self) -> bool {
        let waiting = &self.0.waiting;
        waiting.iter().any(|it| it.load(Ordering::SeqCst) > 0)
    }

    /// Whether anything waits; if not, who asks hears of the next that does.
    fn is_any_or_wakes(&self, context: &Context<'_>) -> bool {
        self.0.attended.store(false, Ordering::SeqCst);
        *self.attendant() = Some(context.waker().clone());
        let any = self.is_any();
        self.0.attended.store(any, Ordering::SeqCst);
        any
    }

    fn attendant(&self) -> MutexGuard<'_, Option<Waker>> {
        let attendant = self.0.attendant.lock();
        attendant.unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a generation; whether something is left of the one before.
    fn is_overdue(&self) -> bool {
        let older = self.0.generation.load(Ordering::Relaxed).wrapping_add(1);
        let overdue = self.0.waiting[older & 1].load(Ordering::Relaxed) > 0;
        self.0.generation.store(older, Ordering::Relaxed);
        overdue
    }
}

/// Something that waits, until dropped.
struct Waiting {
    debts: Debts,
    generation: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.debts.0.waiting[self.generation].fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer that may be read at leisure, until dropped.
struct Leisure(Debts);

impl Drop for Leisure {
    fn drop(&mut self) {
        self.0.0.leisurely.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A piece in the hands of whoever writes it.
struct Lent {
    bytes: Bytes,
    _waiting: Waiting,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body that counts what its client does not take.
struct Counted {
    body: crate::Body,
    /// What is left of the last frame.
    rest: Bytes,
    /// There from a piece, or the beginning, until the client has room for another one.
    waiting: Option<Waiting>,
    debts: Debts,
}

impl Counted {
    fn piece(&mut self, mut bytes: Bytes) -> Frame<Bytes> {
        self.rest = bytes.split_off(bytes.len().min(PIECE));
        let waiting = self.debts.wait();
        // Nobody asks for another piece after the last.
        if self.is_end_stream() {
            let lent = Lent {
                bytes,
                _waiting: waiting,
            };
            return Frame::data(Bytes::from_owner(lent));
        }
        self.waiting = Some(waiting);
        Frame::data(bytes)
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.waiting = None;
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece(rest))));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map_ok(|frame| match frame.into_data() {
            Ok(bytes) => self.piece(bytes),
            Err(trailers) => trailers,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// A stream that counts when its peer has no room for what is written.
pub(crate) struct Outgoing<S> {
    stream: S,
    debts: Debts,
    waiting: Option<Waiting>,
}

impl<S> Outgoing<S> {
    /// The stream below a connection with the answers of `debts`.
    pub(crate) fn new(stream: S, debts: Debts) -> Self {
        Self {
            stream,
            debts,
            waiting: None,
        }
    }

    fn note<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if written.is_ready() {
            self.waiting = None;
        } else if self.waiting.is_none() && self.debts.0.leisurely.load(Ordering::Relaxed) == 0 {
            self.waiting = Some(self.debts.wait());
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Outgoing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Outgoing<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection that ends when its client does not take what it asked for.
pub(crate) struct Attended<F> {
    connection: F,
    debts: Debts,
    patience: Duration,
    /// The end of a generation; there while something waits, and a little longer.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<F> Attended<F> {
    /// The connection with the answers of `debts`, of which each piece may wait for `patience` at least
    /// and twice that at most.
    pub(crate) fn new(connection: F, debts: Debts, patience: Duration) -> Self {
        Self {
            connection,
            debts,
            patience,
            alarm: None,
        }
    }

    /// Waits for the moment when a piece has waited for too long.
    fn poll_overdue(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.alarm.is_none() && self.debts.is_any_or_wakes(context) {
                self.alarm = Some(Box::pin(tokio::time::sleep(self.patience)));
            }
            let Some(alarm) = &mut self.alarm else {
                return Poll::Pending;
            };
            std::task::ready!(alarm.as_mut().poll(context));
            self.alarm = None;
            if self.debts.is_overdue() {
                return Poll::Ready(());
            }
        }
    }
}

impl<F: Future + Unpin> Future for Attended<F> {
    /// What the connection said at its end; nothing if its client did not take an answer.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F::Output>> {
        if let Poll::Ready(end) = Pin::new(&mut self.connection).poll(context) {
            return Poll::Ready(Some(end));
        }
        self.poll_overdue(context).map(|()| None)
    }
}
