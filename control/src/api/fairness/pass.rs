//! What a request that may go on carries along: its seats, how long it may take, and what its answer
//! says about its way.
//!
//! Seats are held until the answer is made: until the handler is done, or, where it only then begins
//! to say much, until the last of that is said. A watch gives them back when it has begun.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;

use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::inflight::Flying;
use super::level::Turn;
use super::plan::Route;
use crate::api::body::{Body, BoxError, Reply};
use crate::api::status::{Result, Status};

static SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
static LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// A request that may go on.
#[derive(Default)]
pub(in crate::api) struct Pass {
    pub(super) route: Option<Arc<Route>>,
    pub(super) hold: Hold,
    /// How long it may hold what it holds; none if it holds nothing that others miss.
    pub(super) time: Option<Duration>,
    /// Whether it goes on after its answer has begun.
    pub(super) watches: bool,
}

/// What is given back when it is over.
#[derive(Default)]
pub(super) enum Hold {
    #[default]
    Nothing,
    Seats(#[expect(dead_code, reason = "held until it is dropped")] Turn),
    Place(#[expect(dead_code, reason = "held until it is dropped")] Flying),
}

impl Pass {
    /// The answer that `made` comes to. It stays where it is: a handler is long, and moving it costs.
    pub(in crate::api) async fn carry(
        mut self,
        mut made: Pin<&mut impl Future<Output = Result<Reply>>>,
    ) -> Reply {
        let made = match self.time {
            None => made.await,
            Some(time) => match tokio::time::timeout(time, made.as_mut()).await {
                Ok(made) => made,
                // A watch may take its time to begin, but not at the expense of others.
                Err(_) if self.watches => {
                    self.hold = Hold::Nothing;
                    made.await
                }
                Err(_) => Err(Status::late()),
            },
        };
        let mut reply = made.unwrap_or_else(Status::into_reply);
        if let Some(route) = &self.route {
            stamp(&mut reply, route);
        }
        // A body of known length is all there; the work is done.
        let done = self.watches || reply.body().size_hint().exact().is_some();
        match self.hold {
            Hold::Nothing => reply,
            _ if done => reply,
            hold => reply.map(|body| Held::of(body, hold)),
        }
    }
}

/// The answer to a request that may not go on, and may be tried again after so many seconds.
pub(super) fn refusal(route: Option<&Route>, seconds: u64) -> Reply {
    let mut reply = Status::too_many_requests(seconds).into_reply();
    if let Some(route) = route {
        stamp(&mut reply, route);
    }
    reply
}

/// Says which way the request went.
fn stamp(reply: &mut Reply, route: &Route) {
    let headers = reply.headers_mut();
    if let Some(uid) = &route.schema.uid {
        headers.insert(&SCHEMA_UID, uid.clone());
    }
    if let Some(uid) = &route.level_uid {
        headers.insert(&LEVEL_UID, uid.clone());
    }
}

/// A body that is still being made while seats are held; they are given back with its end, and after
/// [`MOST`] at the latest: a client that does not read must not keep others waiting.
struct Held {
    body: Body,
    _until: oneshot::Sender<()>,
}

/// How long a body may hold seats.
const MOST: Duration = super::patience::REQUEST;

impl Held {
    fn of(body: Body, hold: Hold) -> Body {
        let (until, ended) = oneshot::channel();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(MOST, ended).await;
            drop(hold);
        });
        let held = Held {
            body,
            _until: until,
        };
        held.boxed_unsync()
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
