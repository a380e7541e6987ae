//! The audit log: who did what to what, when, and how it ended (`audit.k8s.io/v1`).
//!
//! `policy` decides how much is recorded, `event` is the record, `body` keeps what flows by where
//! the policy wants it, `log` hands lines to the thread that writes the `file`. A server without a
//! policy asks one question of an `Option` at each station of a request, and nothing else. Bodies
//! are kept as they pass and read when the request is over, so that recording changes neither what
//! a handler sees nor when.
//!
//! Not recorded: bodies of more than 3 MiB, what is sent to proxies, and what flows over switched
//! connections. No request waits for the log: a disk that is slower than the requests costs events,
//! which are counted, and never answers.

mod body;
mod event;
mod file;
mod log;
mod policy;

use std::io;
use std::path::Path;
use std::sync::Arc;

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
use log::Log;
pub use policy::PolicyError;
use policy::{Level, Policy, Stage, Verdict};

/// The header under which client and log know a request.
const AUDIT_ID: &str = "audit-id";
/// Characters of an identifier that a client may choose.
const MAX_ID: usize = 64;

/// Why nothing can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The policy is none.
    #[error("audit policy {path}")]
    Policy {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: PolicyError,
    },
    /// The log cannot be opened.
    #[error("audit log {path}")]
    Log {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A policy and the log that it fills.
pub struct Audit {
    policy: Policy,
    log: Log,
}

impl Audit {
    /// Reads the policy and opens the log; events go to the file `log`, or to standard output for
    /// `-`.
    ///
    /// # Errors
    /// See [`AuditError`]. A log that fails later is no error: the server goes on.
    pub fn open(
        policy: &Path,
        log: &Path,
        limits: Limits,
    ) -> std::result::Result<Self, AuditError> {
        let read = Policy::read(policy).map_err(|source| AuditError::Policy {
            path: policy.display().to_string(),
            source,
        })?;
        let log = Log::open(log, limits).map_err(|source| AuditError::Log {
            path: log.display().to_string(),
            source,
        })?;
        Ok(Self { policy: read, log })
    }
}

/// One request on its way through the server; clones are of the same. Its record is completed when
/// the last one is dropped: with the last byte of the answer, the end of a switched connection, the
/// client that left, or the handler that panicked. Without a policy there is nothing in it.
#[derive(Clone)]
pub(super) struct Trail(Option<Arc<Record>>);

struct Record {
    audit: Arc<Audit>,
    state: Mutex<State>,
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
            })
        }))
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
        state.long = switches || is_long(info);
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

    /// The answer is there, but perhaps not all of it.
    pub(super) fn answered(self, mut reply: Reply) -> Reply {
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
            self.audit.log.write(state.event.line(stage));
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

/// Whether the answer goes on until somebody ends it.
fn is_long(info: &RequestInfo) -> bool {
    let streams = ["exec", "attach", "portforward", "proxy", "log"];
    let path = info.resource.as_ref();
    let subresource = path.and_then(|path| path.subresource.as_deref());
    info.verb == "watch" || subresource.is_some_and(|name| streams.contains(&name))
}

#[cfg(test)]
mod tests;
