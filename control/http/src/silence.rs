//! Clients that connect and then say nothing.
//!
//! Before a connection is one of HTTP/1.1 or of HTTP/2 nobody watches its time: which of them it is
//! shows in its first bytes, and these may never come. So the stream itself gives up when they don't.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How a connection of HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes have to come in time.
pub(crate) struct Spoken<S> {
    stream: S,
    /// What is still waited for, until it is known what is spoken.
    wait: Option<Wait>,
}

struct Wait {
    until: Pin<Box<Sleep>>,
    /// How much of the preface has come.
    begun: usize,
}

impl Wait {
    /// Whether the bytes tell what is spoken: they are the end of the preface, or none of it.
    fn is_over(&mut self, bytes: &[u8]) -> bool {
        let rest = &PREFACE[self.begun..];
        let new = bytes.len().min(rest.len());
        self.begun += new;
        bytes[..new] != rest[..new] || self.begun == PREFACE.len()
    }
}

impl<S> Spoken<S> {
    /// The stream, which fails to be read when `patience` is over and the client has not said what it
    /// speaks.
    pub(crate) fn within(patience: Duration, stream: S) -> Self {
        let wait = Wait {
            until: Box::pin(tokio::time::sleep(patience)),
            begun: 0,
        };
        Self {
            stream,
            wait: Some(wait),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Spoken<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(wait) = &mut this.wait else {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        };
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if read.is_pending() {
            ready!(wait.until.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if wait.is_over(&buffer.filled()[before..]) {
            this.wait = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Spoken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
