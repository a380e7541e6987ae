//! One question, all sources: the zone first, then the cache, then upstream.
//!
//! [`Resolver::receive`] does what needs no waiting, and hands back a [`Pending`] for the rest, so
//! that the caller decides whether that deserves a task.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::{Record, RecordType};

use crate::answer::{self, Answer, Outcome};
use crate::cache::{Cache, Key};
use crate::forward::{Flags, Forwarder};
use crate::random::Random;
use crate::wire::{self, Received, Request, Transport};
use crate::zone::Zone;

/// What a resolver is built from.
#[derive(Debug, Clone)]
pub struct ResolverConfig {
    /// Servers for names outside the cluster, in order of preference; may be empty.
    pub upstream: Vec<SocketAddr>,
    /// How long one server may take.
    pub patience: Duration,
    /// Questions open upstream at a time; one more gets SERVFAIL.
    pub in_flight: usize,
    /// Answers kept.
    pub cache: usize,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self {
            upstream: Vec::new(),
            patience: Duration::from_millis(1500),
            in_flight: 512,
            cache: 10_000,
        }
    }
}

/// Answers packets.
#[derive(Debug)]
pub struct Resolver {
    zone: Arc<ArcSwap<Zone>>,
    cache: Cache,
    forwarder: Forwarder,
    random: Random,
}

/// What to do with a packet.
#[derive(Debug)]
pub enum Step {
    /// Send this.
    Reply(Vec<u8>),
    /// Send nothing.
    Ignore,
    /// Only upstream knows: call [`Resolver::finish`].
    Wait(Pending),
}

/// A question that has to wait for upstream.
#[derive(Debug)]
pub struct Pending {
    request: Request,
    transport: Transport,
    /// What upstream is asked, which differs from the client's question behind an alias.
    query: Query,
    /// Aliases that stand before upstream's answer.
    aliases: Vec<Record>,
}

impl Resolver {
    /// A resolver over the zone that `zone` holds at the time of each question.
    pub fn new(zone: Arc<ArcSwap<Zone>>, config: ResolverConfig) -> Self {
        Self {
            zone,
            cache: Cache::new(config.cache),
            forwarder: Forwarder::new(config.upstream, config.patience, config.in_flight),
            random: Random::default(),
        }
    }

    /// Answers a packet as far as that needs no waiting.
    pub fn receive(&self, packet: &[u8], transport: Transport) -> Step {
        match wire::receive(packet) {
            Received::Ignore => Step::Ignore,
            Received::Fault(reply) => Step::Reply(reply),
            Received::Request(request) => self.step(request, transport),
        }
    }

    fn step(&self, request: Request, transport: Transport) -> Step {
        let pending = match answer::answer(&self.zone.load(), &request.query) {
            Outcome::Done(answer) => return self.reply(&request, answer, transport),
            Outcome::Elsewhere => Pending {
                query: request.query.clone(),
                request,
                transport,
                aliases: Vec::new(),
            },
            Outcome::Follow { so_far, target } => Pending {
                query: Query::query(target, request.query.query_type()),
                request,
                transport,
                aliases: so_far.answers,
            },
        };
        if !is_forwarded(&pending.request) {
            return self.reply(
                &pending.request,
                Answer::remote(ResponseCode::Refused),
                transport,
            );
        }
        match self.cache.get(&key(&pending), Instant::now()) {
            Some(answer) => self.complete(pending, answer),
            None => Step::Wait(pending),
        }
    }

    /// Asks upstream and makes the reply; takes as long as the servers' patience allows.
    pub async fn finish(&self, pending: Pending) -> Vec<u8> {
        let key = key(&pending);
        let flags = Flags {
            dnssec_ok: key_dnssec(&pending.request),
            checking_disabled: pending.request.checking_disabled,
        };
        let answer = self.forwarder.ask(&pending.query, flags).await;
        self.cache.put(key, answer.clone(), Instant::now());
        match self.complete(pending, answer) {
            Step::Reply(reply) => reply,
            Step::Ignore | Step::Wait(_) => Vec::new(),
        }
    }

    fn complete(&self, pending: Pending, mut answer: Answer) -> Step {
        if !pending.aliases.is_empty() {
            answer.answers.splice(0..0, pending.aliases);
            answer.authentic = false;
        }
        self.reply(&pending.request, answer, pending.transport)
    }

    fn reply(&self, request: &Request, mut answer: Answer, transport: Transport) -> Step {
        self.spread(&mut answer.answers);
        Step::Reply(wire::respond(request, answer, transport))
    }

    /// Shuffles the records behind the aliases, which must stay in their order in front.
    fn spread(&self, records: &mut [Record]) {
        let is_alias = |record: &Record| record.record_type() == RecordType::CNAME;
        let aliases = records
            .iter()
            .rposition(is_alias)
            .map_or(0, |last| last + 1);
        self.random.shuffle(&mut records[aliases..]);
    }
}

/// Zone transfers are nothing to pass on, and a client that asks for no recursion gets none.
fn is_forwarded(request: &Request) -> bool {
    let kind = request.query.query_type();
    request.recursion_desired && !matches!(kind, RecordType::AXFR | RecordType::IXFR)
}

fn key_dnssec(request: &Request) -> bool {
    request.edns.is_some_and(|edns| edns.dnssec_ok)
}

fn key(pending: &Pending) -> Key {
    let request = &pending.request;
    Key::new(
        &pending.query,
        key_dnssec(request),
        request.checking_disabled,
    )
}
