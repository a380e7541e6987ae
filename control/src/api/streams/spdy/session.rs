//! A SPDY session over a pipe: one side that sends, one that receives.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, Semaphore};

use super::super::Pipe;
use super::frame::{self, Decoder, Encoder, Frame};

/// Bytes that are read at once.
const READ: usize = 32 << 10;
/// Bytes of one data frame that is sent.
const WRITE: usize = 1 << 20;
/// Answers to frames of the other side that may wait for their turn; more are not answered.
const ANSWERS: usize = 16;

/// What arrives on streams that we have opened.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Event {
    /// Content.
    Data(u32, Bytes),
    /// Nothing follows on this stream.
    End(u32),
}

struct Inner {
    pipe: WriteHalf<Pipe>,
    encoder: Encoder,
    next: u32,
}

/// Opens streams and sends; clones share the session.
#[derive(Clone)]
pub(in super::super) struct Sender(Arc<Mutex<Inner>>);

impl Sender {
    /// Opens a stream with `headers` and answers its number.
    ///
    /// # Errors
    /// When the pipe is broken.
    pub(in super::super) async fn open(&self, headers: &[(&str, &str)]) -> io::Result<u32> {
        let mut inner = self.0.lock().await;
        let stream = inner.next;
        inner.next += 2;
        let frame = inner.encoder.open(stream, headers);
        inner.pipe.write_all(&frame).await?;
        inner.pipe.flush().await?;
        Ok(stream)
    }

    /// Sends `bytes` on `stream`, as slowly as the other side takes them.
    ///
    /// # Errors
    /// When the pipe is broken.
    pub(in super::super) async fn data(&self, stream: u32, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(WRITE) {
            self.send(stream, part, false).await?;
        }
        Ok(())
    }

    /// Says that nothing follows on `stream`.
    ///
    /// # Errors
    /// When the pipe is broken.
    pub(in super::super) async fn finish(&self, stream: u32) -> io::Result<()> {
        self.send(stream, &[], true).await
    }

    async fn send(&self, stream: u32, bytes: &[u8], last: bool) -> io::Result<()> {
        let mut inner = self.0.lock().await;
        let head = frame::data_head(stream, bytes.len(), last);
        inner.pipe.write_all(&head).await?;
        inner.pipe.write_all(bytes).await?;
        inner.pipe.flush().await
    }

    async fn raw(&self, frame: &[u8]) -> io::Result<()> {
        let mut inner = self.0.lock().await;
        inner.pipe.write_all(frame).await?;
        inner.pipe.flush().await
    }
}

/// Receives; answers pings and refuses streams of the other side by itself.
pub(in super::super) struct Receiver {
    pipe: ReadHalf<Pipe>,
    sender: Sender,
    decoder: Decoder,
    buffer: BytesMut,
    /// The end that was told together with the last content.
    ended: Option<u32>,
    answers: Arc<Semaphore>,
}

impl Receiver {
    /// The next event; none when the other side has closed the pipe.
    ///
    /// # Errors
    /// When the pipe breaks or what comes is no SPDY.
    pub(in super::super) async fn next(&mut self) -> io::Result<Option<Event>> {
        if let Some(stream) = self.ended.take() {
            return Ok(Some(Event::End(stream)));
        }
        loop {
            let frame = self.decoder.next(&mut self.buffer);
            let frame = frame.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match frame {
                None => {
                    self.buffer.reserve(READ);
                    if self.pipe.read_buf(&mut self.buffer).await? == 0 {
                        return Ok(None);
                    }
                }
                Some(frame) => {
                    if let Some(event) = self.event(frame) {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    fn event(&mut self, frame: Frame) -> Option<Event> {
        match frame {
            Frame::Data {
                stream,
                bytes,
                last,
            } if !bytes.is_empty() => {
                self.ended = last.then_some(stream);
                return Some(Event::Data(stream, bytes));
            }
            Frame::Data {
                stream, last: true, ..
            }
            | Frame::Ended(stream) => return Some(Event::End(stream)),
            Frame::Ping(number) => self.answer(frame::pong(number)),
            Frame::Opened(stream) => self.answer(frame::refuse(stream)),
            Frame::Data { .. } | Frame::Other => {}
        }
        None
    }

    /// Sends `frame` when its turn comes. Waiting for that here could wait for ever: the other side
    /// may take nothing until we have taken what it says.
    fn answer(&self, frame: Vec<u8>) {
        if let Ok(turn) = self.answers.clone().try_acquire_owned() {
            let sender = self.sender.clone();
            tokio::spawn(async move {
                // A broken pipe shows itself to the one who reads.
                let _ = sender.raw(&frame).await;
                drop(turn);
            });
        }
    }
}

/// A session over `pipe`, on which both sides have agreed to speak SPDY/3.1.
pub(in super::super) fn join(pipe: Pipe) -> (Sender, Receiver) {
    let (read, write) = tokio::io::split(pipe);
    let sender = Sender(Arc::new(Mutex::new(Inner {
        pipe: write,
        encoder: Encoder::default(),
        next: 1,
    })));
    let receiver = Receiver {
        pipe: read,
        sender: sender.clone(),
        decoder: Decoder::default(),
        buffer: BytesMut::new(),
        ended: None,
        answers: Arc::new(Semaphore::new(ANSWERS)),
    };
    (sender, receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pings_are_answered_and_foreign_streams_refused_between_the_content() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let (sender, mut receiver) = join(Box::new(ours));
        assert_eq!(sender.open(&[("streamtype", "stdout")]).await.unwrap(), 1);
        assert_eq!(sender.open(&[("streamtype", "stdin")]).await.unwrap(), 3);
        let mut said = frame::pong(2);
        said.extend(Encoder::default().open(2, &[]));
        said.extend(frame::data_head(1, 2, true));
        said.extend(b"hi");
        theirs.write_all(&said).await.unwrap();
        let hi = Event::Data(1, Bytes::from_static(b"hi"));
        assert_eq!(receiver.next().await.unwrap(), Some(hi));
        assert_eq!(receiver.next().await.unwrap(), Some(Event::End(1)));
        let tail = [frame::pong(2), frame::refuse(2)].concat();
        let mut heard = Vec::new();
        while !heard.ends_with(&tail) {
            let read = theirs.read_buf(&mut heard).await.unwrap();
            assert!(read > 0, "{heard:?}");
        }
        sender.finish(3).await.unwrap();
        let mut end = [0; 8];
        theirs.read_exact(&mut end).await.unwrap();
        assert_eq!(end, frame::data_head(3, 0, true));
    }

    #[tokio::test]
    async fn what_is_no_spdy_ends_the_session_with_an_error() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let (_sender, mut receiver) = join(Box::new(ours));
        theirs.write_all(b"\x80\x07\0\x01\0\0\0\0").await.unwrap();
        let error = receiver.next().await.unwrap_err();
        assert!(error.to_string().contains("version 7"), "{error}");
    }
}
