//! A body of which the first pieces are there, so that it is known how long it is at least.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::body::{Body, BoxError};

/// A body that has begun.
pub(super) struct Pieces {
    first: VecDeque<Bytes>,
    /// What comes after them, if there may be more.
    rest: Option<Body>,
    failure: Option<BoxError>,
}

impl Pieces {
    /// Reads `body` to its end, or until it has `enough` bytes.
    pub(super) async fn begin(body: Body, enough: usize) -> Self {
        let mut pieces = Self {
            first: VecDeque::new(),
            rest: Some(body),
            failure: None,
        };
        let (mut first, mut bytes) = (VecDeque::new(), 0);
        while bytes < enough {
            match pieces.next().await {
                Some(Ok(piece)) => {
                    bytes += piece.len();
                    first.push_back(piece);
                }
                Some(Err(error)) => {
                    pieces.failure = Some(error);
                    break;
                }
                None => break,
            }
        }
        pieces.first = first;
        pieces
    }

    /// Whether it has ended before it had enough bytes.
    pub(super) fn is_short(&self) -> bool {
        self.rest.is_none() && self.failure.is_none()
    }

    /// All of a short body, or the same.
    pub(super) fn all(self) -> Result<Bytes, Self> {
        if !self.is_short() {
            return Err(self);
        }
        let mut first = self.first;
        match (first.pop_front(), first.is_empty()) {
            (None, _) => Ok(Bytes::new()),
            (Some(only), true) => Ok(only),
            (Some(piece), false) => {
                first.push_front(piece);
                Ok(Vec::from(first).concat().into())
            }
        }
    }

    /// The next piece.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        if let Some(piece) = self.first.pop_front() {
            return Some(Ok(piece));
        }
        if let Some(failure) = self.failure.take() {
            return Some(Err(failure));
        }
        loop {
            match self.rest.as_mut()?.frame().await {
                None => self.rest = None,
                // Answers have no trailers.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Some(Err(error)) => {
                    self.rest = None;
                    return Some(Err(error));
                }
            }
        }
    }

    /// The body as it came.
    pub(super) fn into_body(self) -> Body {
        let frames = stream::unfold(self, |mut pieces| async move {
            let piece = pieces.next().await?;
            Some((piece.map(Frame::data), pieces))
        });
        StreamBody::new(frames).boxed_unsync()
    }
}
