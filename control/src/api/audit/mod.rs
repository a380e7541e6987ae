//! The audit log: who did what to what, when, and how it ended (`audit.k8s.io/v1`).
//!
//! `policy` decides how much is recorded, `event` is the record, `body` keeps what flows by where
//! the policy wants it. Events wait in a `queue` for each place that they go to: a thread writes the
//! `file` (`log`), another posts to a server (`webhook`). A server without a
//! policy asks one question of an `Option` at each station of a request, and nothing else. Bodies
//! are kept as they pass and read when the request is over, so that recording changes neither what
//! a handler sees nor when.
//!
//! Not recorded: bodies of more than 3 MiB, what is sent to proxies, and what flows over switched
//! connections. No request waits for a place that is slow, unless that was asked for (`receipts`): a
//! disk that is slower than the requests costs events, which are counted, and never answers.

mod body;
mod event;
mod file;
mod log;
mod places;
mod policy;
mod queue;
mod receipts;
mod webhook;

use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Request};
use parking_lot::Mutex;

use super::authn::User;
use super::body::{Body, Reply};
use super::negotiate::content_type;
use super::request::RequestInfo;
use super::status::Result;
use body::{Kept, Said, SentSoFar, Tap};
use event::Event;
pub use file::Limits;
pub use places::{Audit, AuditError, LogFile};
pub use policy::PolicyError;
use policy::{Level, Stage, Verdict};
use receipts::Receipts;
pub use webhook::Webhook;

/// The header under which client and log know a request.
const AUDIT_ID: &str = "audit-id";
/// Characters of an identifier that a client may choose.
const MAX_ID: usize = 64;

/// One request on its way through the server; clones are of the same. Its record is completed when
/// the last one is dropped: with the last byte of the answer, the end of a switched connection, the
/// client that left, or the handler that panicked. Without a policy there is nothing in it.
#[derive(Clone)]
pub(super) struct Trail(Option<Arc<Record>>);

struct Record {
    audit: Arc<Audit>,
    state: Mutex<State>,
    /// Where its events are that requests wait for.
    receipts: Receipts,
}

/// What is known of a request under way.
struct State {
    event: Event,
    verdict: Verdict,
    /// What was sent, and its media type.
    sent: Option<(SentSoFar, String)>,
    /// What was answered.
    said: Option<Kept>,
    /// The answer goes on until somebody ends it.
    long: bool,
}

impl Trail {
    /// The trail of a request that has just arrived.
    pub(super) fn begin(audit: Option<&Arc<Audit>>, request: &Request<Body>) -> Self {
        Self(audit.map(|audit| {
            let id = given_id(request.headers());
            let id = id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
            let state = State {
                event: Event::new(id, request),
                verdict: Verdict::default(),
                sent: None,
                said: None,
                long: false,
            };
            Arc::new(Record {
                audit: audit.clone(),
                state: Mutex::new(state),
                receipts: Receipts::default(),
            })
        }))
    }

    /// Waits until what is recorded by now has arrived where requests wait for it.
    pub(super) async fn settled(&self) {
        if let Some(record) = &self.0 {
            record.receipts.settled().await;
        }
    }

    /// The answer, which waits for what is recorded about it where that is wanted.
    pub(super) async fn finish(self, reply: Reply) -> Reply {
        let Some(record) = self.0.clone() else {
            return reply;
        };
        let (receipts, long) = (record.receipts.clone(), record.state.lock().long);
        let waits = record.audit.places.iter().any(|place| place.blocking);
        drop(record);
        let reply = self.answered(reply);
        if !waits {
            return reply;
        }
        let reply = if long {
            reply
        } else {
            receipts::gathered(reply).await
        };
        receipts.settled().await;
        reply
    }

    /// Whether anything may be recorded.
    pub(super) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// It is known who asks for what; `who` as authentication found it. From here on the policy
    /// counts.
    pub(super) fn asked(
        &self,
        who: &Result<Option<User>>,
        info: &RequestInfo,
        mut request: Request<Body>,
    ) -> Request<Body> {
        let Some(record) = &self.0 else {
            return request;
        };
        let user = match who {
            Ok(Some(user)) => user,
            Ok(None) => &User::anonymous(),
            Err(_) => &User::default(),
        };
        let mut state = record.state.lock();
        state.verdict = record.audit.policy.verdict(user, info);
        let level = state.verdict.level;
        if level == Level::None {
            return request;
        }
        state.event.about(level, user, info);
        let switches = super::proxy::upgrade_of(request.headers()).is_some();
        state.long = switches || info.goes_on();
        record.write(&mut state, Stage::RequestReceived);
        if switches {
            // Whoever takes the connection over keeps it until the end.
            request.extensions_mut().insert(self.clone());
        }
        if level < Level::Request || state.long {
            return request;
        }
        let sent = SentSoFar::default();
        state.sent = Some((sent.clone(), content_type(request.headers())));
        request.map(|body| Tap::of(body, sent))
    }

    /// `user` acts as `acting`, who may be the same.
    pub(super) fn acts(&self, user: &User, acting: &User) {
        if let Some(record) = self.0.as_ref().filter(|_| user != acting) {
            record.state.lock().event.impersonated(acting);
        }
    }

    /// Whether it was permitted.
    pub(super) fn decided(&self, allowed: bool) {
        if let Some(record) = &self.0 {
            record.state.lock().event.decided(allowed);
        }
    }

    /// Something that was found out on the way, under its key; said only if somebody records it.
    pub(super) fn note(&self, key: &str, text: impl FnOnce() -> String) {
        self.note_from(Level::Metadata, key, text);
    }

    /// The same, said only if somebody records what is written.
    pub(super) fn note_content(&self, key: &str, text: impl FnOnce() -> String) {
        self.note_from(Level::Request, key, text);
    }

    fn note_from(&self, least: Level, key: &str, text: impl FnOnce() -> String) {
        let Some(record) = &self.0 else {
            return;
        };
        let mut state = record.state.lock();
        if state.verdict.level >= least {
            state.event.noted(key, &text());
        }
    }

    /// The answer is there, but perhaps not all of it.
    fn answered(self, mut reply: Reply) -> Reply {
        let Some(record) = self.0.clone() else {
            return reply;
        };
        let mut state = record.state.lock();
        let level = state.verdict.level;
        if level == Level::None {
            return reply;
        }
        let code = reply.status();
        state.event.answered(code);
        if let Ok(id) = HeaderValue::from_str(state.event.id()) {
            reply.headers_mut().insert(AUDIT_ID, id);
        }
        if state.long {
            record.write(&mut state, Stage::ResponseStarted);
        }
        let failed = code.is_client_error() || code.is_server_error();
        let wanted = level == Level::RequestResponse || failed || state.event.lacks_name();
        let kept = (wanted && !state.long).then(Kept::default);
        drop(state);
        reply.map(|body| Tap::of(body, Said::new(self, kept)))
    }

    /// What was answered, as far as it was wanted.
    fn said(&self, kept: Kept) {
        if let Some(record) = &self.0 {
            record.state.lock().said = Some(kept);
        }
    }
}

impl Record {
    fn write(&self, state: &mut State, stage: Stage) {
        if !state.verdict.omitted.contains(&stage) {
            let line = Bytes::from(state.event.line(stage));
            for place in &self.audit.places {
                let number = place.queue.push(line.clone());
                if place.blocking {
                    self.receipts.add(&place.queue, number);
                }
            }
        }
    }

    /// The last stage, and what there is to say about it.
    fn complete(&self) {
        let mut state = self.state.lock();
        let Verdict { level, strip, .. } = state.verdict;
        if level == Level::None {
            return;
        }
        if let Some((sent, media_type)) = state.sent.take() {
            state.event.sent(&sent.take(), &media_type, strip);
        }
        if let Some(said) = state.said.take() {
            let whole = level == Level::RequestResponse;
            state.event.said(&said.bytes(), whole, strip);
        }
        let stage = if std::thread::panicking() {
            state.event.panicked();
            Stage::Panic
        } else {
            state.event.closed();
            Stage::ResponseComplete
        };
        self.write(&mut state, stage);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.complete();
    }
}

fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(AUDIT_ID)?.to_str().ok()?;
    (!id.is_empty() && id.len() <= MAX_ID).then(|| id.to_owned())
}

#[cfg(test)]
mod tests;
