//! API priority and fairness: whose requests are served now, whose wait, and whose are refused.
//!
//! A request belongs to the first FlowSchema that fits it (`rules`, `schema`) and by that to a
//! priority level (`spec`), which has a part of the server's seats. While there are seats it takes
//! them (`width`: a list takes several) and goes on. Otherwise it waits in one of the queues of its
//! flow (`hand`, `queues`), no longer than a quarter of its time (`patience`), or is refused and told
//! when to try again (`retry`). The configuration in force is a `plan`, swapped as a whole by who
//! follows the objects (`follow`); every ten seconds seats are divided anew by what levels wanted
//! (`demand`, `borrowing`). The cluster's own objects are made and kept by `keep`.
//!
//! `queues` and everything that it and `plan` are made of are pure; `level` puts the lock, the clock
//! and the wakers around them, `pass` what a request carries along. A request that finds a seat pays
//! for comparing it with the rules, a short lock when it comes and one when it goes, and nothing that
//! is allocated.
//!
//! Not limited: what goes on until somebody ends it (exec, attach, port-forward, proxy, logs; watches
//! once they have begun), and version and health, which are answered before anybody is asked who he
//! is. Not counted: the work that a write leaves for watchers after its answer, which Kubernetes adds
//! to its seats.

mod borrowing;
mod demand;
mod dump;
mod follow;
mod hand;
mod inflight;
mod keep;
mod level;
mod measures;
mod pass;
mod patience;
mod plan;
mod queues;
mod retry;
mod rules;
mod schema;
mod spec;
mod width;

use std::hash::{BuildHasher, RandomState};

use arc_swap::ArcSwap;

use super::authn::User;
use super::body::Reply;
use super::request::{Query, RequestInfo};
use super::server::Server;
use super::status::Result;
use follow::Seen;
pub use follow::run;
use inflight::InFlight;
pub(super) use keep::ensure;
pub(super) use measures::MEASURES;
use pass::{Hold, Pass};
pub use patience::duration;
use plan::Plan;

/// Who may have how much of the server at once.
pub struct Fairness {
    kind: Kind,
}

enum Kind {
    Fair(Box<Fair>),
    InFlight(InFlight),
}

struct Fair {
    /// Seats of the server.
    total: u64,
    plan: ArcSwap<Plan>,
    /// The objects of which the plan was made.
    seen: Seen,
    /// Tells flows apart; a new one with every start, so that nobody can choose names that collide.
    flows: RandomState,
}

/// What becomes of a request.
pub(super) enum Verdict {
    /// It may go on.
    Pass(Pass),
    /// It may not, in these words.
    Refused(Reply),
}

/// Requests at once of a server that is told nothing else: those that change something, and others.
const DEFAULT: (usize, usize) = (200, 400);

impl Default for Fairness {
    fn default() -> Self {
        Self::fair(DEFAULT.0 + DEFAULT.1)
    }
}

impl Fairness {
    /// So many seats, divided by the cluster's FlowSchemas and PriorityLevelConfigurations.
    pub fn fair(total: usize) -> Self {
        let total = total as u64;
        let plan = Plan::new(total, &[], &[], &Plan::default());
        Self {
            kind: Kind::Fair(Box::new(Fair {
                total,
                plan: ArcSwap::from_pointee(plan),
                seen: Seen::default(),
                flows: RandomState::new(),
            })),
        }
    }

    /// At most so many requests at once that read, and that write; 0: as many as come.
    pub fn limits(reading: usize, writing: usize) -> Self {
        Self {
            kind: Kind::InFlight(InFlight::new(reading, writing)),
        }
    }

    /// Whether the cluster's objects are looked at.
    fn as_fair(&self) -> Option<&Fair> {
        match &self.kind {
            Kind::Fair(fair) => Some(fair),
            Kind::InFlight(_) => None,
        }
    }

    /// Lets the request pass when it is its turn.
    ///
    /// # Errors
    /// 400 when it asks for a time that is none.
    pub(super) async fn admit(
        &self,
        server: &Server,
        user: &User,
        info: &RequestInfo,
        query: &Query,
    ) -> Result<Verdict> {
        let watches = info.verb == "watch";
        if info.goes_on() && !watches {
            return Ok(Verdict::Pass(Pass::default()));
        }
        let mut verdict = match &self.kind {
            Kind::Fair(fair) => fair.admit(server, user, info, query, watches).await?,
            Kind::InFlight(limits) => match limits.enter(user, info) {
                Ok(place) => Verdict::Pass(Pass {
                    hold: place.map_or(Hold::Nothing, Hold::Place),
                    ..Pass::default()
                }),
                Err(()) => Verdict::Refused(pass::refusal(None, inflight::RETRY)),
            },
        };
        // Also who waits for nobody may not take for ever.
        if let Verdict::Pass(pass) = &mut verdict
            && pass.time.is_none()
            && !watches
        {
            pass.time = Some(patience::of(query)?);
        }
        Ok(verdict)
    }

    /// Answers what administrators ask about it.
    pub(super) fn dump(&self, path: &str) -> Option<Reply> {
        dump::answer(&self.as_fair()?.plan.load(), path)
    }
}

impl Fair {
    async fn admit(
        &self,
        server: &Server,
        user: &User,
        info: &RequestInfo,
        query: &Query,
        watches: bool,
    ) -> Result<Verdict> {
        let Some(route) = self.plan.load().find(user, info).cloned() else {
            return Ok(Verdict::Pass(Pass::default()));
        };
        let (time, flow, width) = if route.level.is_exempt() {
            (None, 0, 1)
        } else {
            let name = (&*route.schema.name, route.schema.distinguisher(user, info));
            let width = width::of(server, info, query, route.widest);
            let time = if watches {
                patience::REQUEST
            } else {
                patience::of(query)?
            };
            (Some(time), self.flows.hash_one(name), width)
        };
        let refused = || Verdict::Refused(pass::refusal(Some(&route), route.level.refuse()));
        let Some(mut turn) = route.level.enter(flow, width) else {
            return Ok(refused());
        };
        if !turn
            .come(time.map(patience::wait).unwrap_or_default())
            .await
        {
            drop(turn);
            return Ok(refused());
        }
        Ok(Verdict::Pass(Pass {
            hold: Hold::Seats(turn),
            time,
            route: Some(route),
            watches,
        }))
    }
}
