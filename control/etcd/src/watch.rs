//! One watch: what etcd sends about keys, in the order of its revisions.

use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::v3::{Event, WatchRequest, WatchResponse};
use crate::{Error, Etcd};

/// A running watch; it ends when it is dropped.
#[derive(Debug)]
pub struct Watch {
    answers: Streaming<WatchResponse>,
    /// The stream of requests stays open with it, and the watch with that.
    _requests: mpsc::Sender<WatchRequest>,
    etcd: Etcd,
    /// The member that it runs on.
    member: usize,
    /// What came so far of an answer that comes in parts.
    parts: Vec<Event>,
}

/// What a watch has to tell.
#[derive(Debug)]
pub enum Changes {
    /// Everything that happened at some revisions; no event of any of them is missing.
    Events(Vec<Event>),
    /// What happened before this revision is compacted away, and with it what should have come next.
    Compacted(i64),
}

impl Watch {
    pub(crate) fn new(
        answers: Streaming<WatchResponse>,
        requests: mpsc::Sender<WatchRequest>,
        etcd: Etcd,
        member: usize,
    ) -> Self {
        Self {
            answers,
            _requests: requests,
            etcd,
            member,
            parts: Vec::new(),
        }
    }

    /// What comes next. Nothing is lost if the future is dropped half way.
    ///
    /// # Errors
    /// When the watch has ended; a new one has to go on from what was delivered.
    pub async fn next(&mut self) -> Result<Changes, Error> {
        loop {
            let answer = self.answers.message().await.and_then(running);
            let answer = answer.map_err(|status| self.ended(&status))?;
            if answer.compact_revision > 0 {
                return Ok(Changes::Compacted(answer.compact_revision));
            }
            self.parts.extend(answer.events);
            // A large answer comes in parts, which may share a revision. One without an event says
            // that the watch is there, or that nothing happened.
            if !answer.fragment && !self.parts.is_empty() {
                return Ok(Changes::Events(std::mem::take(&mut self.parts)));
            }
        }
    }

    fn ended(&self, status: &Status) -> Error {
        let error = Error::new("Watch", status);
        self.etcd.moves_on(self.member, &error);
        error
    }
}

/// The answer of a watch that goes on, or tells of compaction.
fn running(answer: Option<WatchResponse>) -> Result<WatchResponse, Status> {
    match answer {
        None => Err(Status::unavailable("the stream ended")),
        Some(answer) if answer.canceled && answer.compact_revision == 0 => {
            Err(Status::unavailable(answer.cancel_reason))
        }
        Some(answer) => Ok(answer),
    }
}
