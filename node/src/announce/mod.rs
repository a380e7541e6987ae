//! Announces addresses of load balancers on the link of this node: answers ARP for those that it
//! leads.
//!
//! [`plan`] reads from the API which nodes may announce an address; among these an [`election`] by
//! datagrams between the nodes finds one. The API server has no part in it: a takeover costs no
//! request and works while the control plane is away. Packets to an announced address are the data
//! path's, as all packets to service addresses: the address is on no link of the node, and a daemon
//! that ends leaves it served until another node has taken over.
//!
//! It will not announce what another controller assigned, and knows IPv4 alone so far.

pub mod arp;
pub mod election;
mod event;
pub mod message;
mod peers;
pub mod plan;
mod resume;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::net::{Link, LinkSocket, Netlink};
use crate::watches::Watches;
use crate::{PartResult, Shared};
use election::{Change, Election, HEARTBEAT};
use peers::Peers;
use plan::Announced;

const ARP: u16 = 0x0806;
/// How often it is looked whether a leader has died.
const TICK: Duration = Duration::from_millis(50);
/// Heartbeats on which a new address is told to the whole link again, in case a frame was lost.
const REPEATS: u8 = 4;
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

fn v4(addresses: &[IpAddr]) -> Option<Ipv4Addr> {
    let mut v4 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    v4.next()
}

struct Announcer {
    shared: Shared,
    link: Link,
    peers: Peers,
    /// Open while this node leads an address, so that questions of others wake nobody.
    arp: Option<LinkSocket>,
    election: Election,
    started: Instant,
    announced: BTreeMap<IpAddr, Announced>,
    /// Addresses of nodes: nobody else is listened to.
    nodes: BTreeSet<IpAddr>,
    /// How often a new address is still to be told.
    repeats: BTreeMap<IpAddr, u8>,
}

impl Announcer {
    /// Waits until there is a data path to announce, then opens what is needed.
    async fn open(shared: &Shared) -> PartResult<Self> {
        while shared.network.get().is_none() {
            sleep(PAUSE).await;
        }
        let Some(node) = v4(&shared.config.node_ip) else {
            // Candidates speak with each other over IPv4, and only its addresses are announced.
            return std::future::pending().await;
        };
        let watches = &shared.watches;
        watches.services.synced().await;
        watches.endpoint_slices.synced().await;
        watches.nodes.synced().await;
        let resumed = resume::load(&shared.config.run_dir);
        Ok(Self {
            link: Netlink::here()?.link(&shared.config.uplink).await?,
            peers: Peers::open(node).await?,
            arp: None,
            election: Election::new(node.into(), resumed),
            started: Instant::now(),
            announced: BTreeMap::new(),
            nodes: BTreeSet::new(),
            repeats: BTreeMap::new(),
            shared: shared.clone(),
        })
    }

    async fn serve(mut self) -> PartResult {
        let watches = Arc::clone(&self.shared.watches);
        let mut changes = Changes::of(&watches);
        let mut heartbeat = timer(HEARTBEAT);
        let mut tick = timer(TICK);
        let mut frame = [0; arp::FRAME];
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
                received = question(self.arp.as_ref(), &mut frame) => match received {
                    Ok(length) => self.answer(&frame[..length]),
                    Err(error) => {
                        tracing::warn!(link = self.link.name, %error, "link failed");
                        sleep(PAUSE).await;
                    }
                },
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
        let changes = self.election.tick(self.now());
        if !changes.is_empty() {
            self.tell();
            self.apply(changes).await;
        }
    }

    /// Tells the other candidates how this node stands, and the link which addresses are new here.
    fn tell(&mut self) {
        for (peer, entries) in self.election.messages(self.now()) {
            for datagram in message::encode(&entries) {
                self.peers.send(peer, &datagram);
            }
        }
        let due: Vec<IpAddr> = self.repeats.keys().copied().collect();
        due.into_iter().for_each(|address| self.announce(address));
        self.repeats.retain(|_, left| {
            *left -= 1;
            *left > 0
        });
    }

    fn announce(&self, address: IpAddr) {
        let (Some(socket), IpAddr::V4(address)) = (&self.arp, address) else {
            return;
        };
        for frame in arp::announcements(address, self.link.mac) {
            if let Err(error) = socket.send(&frame) {
                tracing::debug!(%address, %error, "not announced");
            }
        }
    }

    fn answer(&self, frame: &[u8]) {
        let Some(question) = arp::read(frame) else {
            return;
        };
        let led = self
            .election
            .leads()
            .contains_key(&IpAddr::V4(question.target));
        if let (true, Some(socket)) = (led, &self.arp)
            && let Err(error) = socket.send(&arp::answer(&question, self.link.mac))
        {
            tracing::debug!(address = %question.target, %error, "not answered");
        }
    }

    async fn apply(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let leads = self.election.leads();
        if let Err(error) = self.open_or_close(!leads.is_empty()) {
            let fault = format!(
                "addresses can't be announced on {}: {error}",
                self.link.name
            );
            self.shared.health.set("announce", Some(fault));
        }
        resume::save(&self.shared.config.run_dir, &leads);
        for change in changes {
            match change {
                Change::Took(address) => self.took(address),
                Change::Left(address) => {
                    self.repeats.remove(&address);
                    tracing::info!(%address, "another node announces");
                }
            }
        }
    }

    fn took(&mut self, address: IpAddr) {
        self.announce(address);
        self.repeats.insert(address, REPEATS);
        let service = self
            .announced
            .get(&address)
            .map(|entry| entry.service.clone());
        tracing::info!(%address, mac = %self.link.mac, ?service, "announcing");
        if let Some(key) = service {
            let message = format!(
                "node {} announces {address} at {}",
                self.shared.config.node_name, self.link.mac
            );
            tokio::spawn(event::record(self.shared.clone(), key, message));
        }
    }

    fn open_or_close(&mut self, wanted: bool) -> io::Result<()> {
        match (wanted, &self.arp) {
            (true, None) => self.arp = Some(LinkSocket::open(self.link.index, ARP)?),
            (false, Some(_)) => self.arp = None,
            _ => {}
        }
        Ok(())
    }
}

/// The next frame; never, while there is no socket.
async fn question(socket: Option<&LinkSocket>, frame: &mut [u8]) -> io::Result<usize> {
    match socket {
        Some(socket) => socket.receive(frame).await,
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
