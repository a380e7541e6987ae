//! Announces addresses of load balancers on the link of this node: answers ARP and neighbour
//! solicitations for those that it leads.
//!
//! [`plan`] reads from the API which nodes may announce an address; among these an [`election`] by
//! datagrams between the nodes finds one. The API server has no part in it: a takeover costs no
//! request and works while the control plane is away. Packets to an announced address are the data
//! path's, as all packets to service addresses: the address is on no link of the node, and a daemon
//! that ends leaves it served until another node has taken over.
//!
//! It will not announce what another controller assigned, nor an address of a family that the node
//! has no address of.

pub mod arp;
pub mod election;
mod event;
pub mod message;
pub mod ndp;
mod peers;
pub mod plan;
pub mod repeats;
mod resume;
mod voice;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::net::{Carrier, Netlink};
use crate::watches::Watches;
use crate::{PartResult, Shared};
use election::{Change, Election, HEARTBEAT};
use peers::Peers;
use plan::{Announced, identity};
use repeats::Repeats;
use voice::{Question, Voice};

/// How often it is looked whether a leader has died.
const TICK: Duration = Duration::from_millis(50);
/// Pause after the link failed.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs until `shutdown`.
///
/// # Errors
/// When a socket can't be opened.
pub async fn run(shared: Shared, shutdown: CancellationToken) -> PartResult {
    let announcer = Announcer::open(&shared);
    let outcome = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        outcome = async { announcer.await?.serve().await } => outcome,
    };
    shared
        .health
        .set("announce", outcome.as_ref().err().map(ToString::to_string));
    outcome
}

struct Announcer {
    shared: Shared,
    voice: Voice,
    /// Followed while this node stands for an address.
    carrier: Option<Carrier>,
    peers: Peers,
    election: Election,
    started: Instant,
    announced: BTreeMap<IpAddr, Announced>,
    /// Addresses of nodes: nobody else is listened to.
    nodes: BTreeSet<IpAddr>,
    repeats: Repeats,
}

impl Announcer {
    /// Waits until there is a data path to announce, then opens what is needed.
    async fn open(shared: &Shared) -> PartResult<Self> {
        while shared.network.get().is_none() {
            sleep(PAUSE).await;
        }
        let config = &shared.config;
        let node = identity(&config.node_ip).unwrap_or(config.first_ip());
        let watches = &shared.watches;
        watches.services.synced().await;
        watches.endpoint_slices.synced().await;
        watches.nodes.synced().await;
        let resumed = resume::load(&shared.config.run_dir);
        Ok(Self {
            voice: Voice::of(Netlink::here()?.link(&shared.config.uplink).await?),
            carrier: None,
            peers: Peers::open(node).await?,
            election: Election::new(node, resumed),
            started: Instant::now(),
            announced: BTreeMap::new(),
            nodes: BTreeSet::new(),
            repeats: Repeats::default(),
            shared: shared.clone(),
        })
    }

    async fn serve(mut self) -> PartResult {
        let watches = Arc::clone(&self.shared.watches);
        let mut changes = Changes::of(&watches);
        let mut heartbeat = timer(HEARTBEAT);
        let mut tick = timer(TICK);
        self.shared.health.set("announce", None);
        self.replan().await;
        loop {
            let busy = !self.election.is_idle();
            tokio::select! {
                () = changes.wait(!self.announced.is_empty()) => self.replan().await,
                received = self.peers.receive() => {
                    let (from, datagram) = received?;
                    self.hear(from, &datagram).await;
                }
                question = self.voice.question() => match question {
                    Ok(question) => self.answer(&question),
                    Err(error) => {
                        tracing::warn!(link = self.voice.link.name, %error, "link failed");
                        sleep(PAUSE).await;
                    }
                },
                () = again(self.carrier.as_mut()) => {
                    tracing::info!(link = self.voice.link.name, "link is back");
                    let changes = self.election.rejoin(self.now());
                    self.apply(changes).await;
                }
                _ = tick.tick(), if busy => self.look().await,
                _ = heartbeat.tick(), if busy => self.tell(),
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    async fn replan(&mut self) {
        let watches = &self.shared.watches;
        // Most Services have nothing to announce, and most clusters no Service that has.
        let services = watches.services.matching(plan::has_address);
        let (mut slices, mut nodes) = (BTreeMap::new(), BTreeMap::new());
        if !services.is_empty() {
            slices = watches.endpoint_slices.sorted();
            nodes = watches.nodes.sorted();
        }
        self.announced = plan::announced(&services, &slices, &nodes);
        self.nodes = plan::addresses_of(&nodes);
        let wanted = self.announced.iter();
        let wanted = wanted
            .map(|(address, entry)| (*address, entry.ranked.clone()))
            .collect();
        let changes = self.election.set(self.now(), &wanted);
        // Who steps down says so at once.
        self.tell();
        self.apply(changes).await;
        self.follow_link().await;
    }

    async fn follow_link(&mut self) {
        if self.election.is_idle() {
            self.carrier = None;
        } else if self.carrier.is_none() {
            let watched = Carrier::watch(self.voice.link.index).await;
            let fault = |error| tracing::warn!(%error, "the link is not followed");
            self.carrier = watched.map_err(fault).ok();
        }
    }

    async fn hear(&mut self, from: IpAddr, datagram: &[u8]) {
        let Some(entries) = message::decode(datagram).filter(|_| self.nodes.contains(&from)) else {
            tracing::debug!(%from, "a datagram of no node");
            return;
        };
        self.election.hear(self.now(), from, &entries);
        self.look().await;
    }

    async fn look(&mut self) {
        let now = self.now();
        let changes = self.election.tick(now);
        if !changes.is_empty() {
            self.tell();
            self.apply(changes).await;
        }
        // Whoever else led until now has told the link so, and was perhaps the last that it heard.
        for address in self.election.disputed(now) {
            self.repeats.begin(now, address);
        }
        let due = self.repeats.due(now);
        due.into_iter()
            .for_each(|address| self.voice.announce(address));
    }

    /// Tells the other candidates how this node stands.
    fn tell(&mut self) {
        for (peer, entries) in self.election.messages(self.now()) {
            for datagram in message::encode(&entries) {
                self.peers.send(peer, &datagram);
            }
        }
    }

    fn answer(&self, question: &Question) {
        if self.election.leads().contains_key(&question.target()) {
            self.voice.answer(question);
        }
    }

    async fn apply(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let leads = self.election.leads();
        if let Err(error) = self.voice.set(leads.keys().copied()) {
            let link = &self.voice.link.name;
            let fault = format!("addresses can't be announced on {link}: {error}");
            self.shared.health.set("announce", Some(fault));
        }
        resume::save(&self.shared.config.run_dir, &leads);
        for change in changes {
            match change {
                Change::Took(address) => self.took(address),
                Change::Left(address) => {
                    self.repeats.stop(address);
                    tracing::info!(%address, "announcing no more");
                }
            }
        }
    }

    fn took(&mut self, address: IpAddr) {
        self.voice.announce(address);
        self.repeats.begin(self.now(), address);
        let service = self
            .announced
            .get(&address)
            .map(|entry| entry.service.clone());
        tracing::info!(%address, mac = %self.voice.link.mac, ?service, "announcing");
        if let Some(key) = service {
            let message = format!(
                "node {} announces {address} at {}",
                self.shared.config.node_name, self.voice.link.mac
            );
            tokio::spawn(event::record(self.shared.clone(), key, message));
        }
    }
}

/// The link is back; never, while it is not followed.
async fn again(carrier: Option<&mut Carrier>) {
    match carrier {
        Some(carrier) => carrier.again().await,
        None => pending().await,
    }
}

fn timer(period: Duration) -> tokio::time::Interval {
    let mut timer = interval(period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}

/// News of any table that the plan reads.
struct Changes([tokio::sync::watch::Receiver<u64>; 3]);

impl Changes {
    fn of(watches: &Watches) -> Self {
        Self([
            watches.services.subscribe(),
            watches.endpoint_slices.subscribe(),
            watches.nodes.subscribe(),
        ])
    }

    /// Slices and nodes matter only where something is announced (`any`).
    async fn wait(&mut self, any: bool) {
        let [services, slices, nodes] = &mut self.0;
        // The tables live as long as the daemon.
        tokio::select! {
            _ = services.changed() => {}
            _ = slices.changed(), if any => {}
            _ = nodes.changed(), if any => {}
        }
    }
}
