//! The link as the announcer speaks and listens on it: ARP for IPv4, neighbour discovery for IPv6.
//!
//! The sockets are open while an address of their family is led, so that questions of others wake
//! nobody. Of IPv6 the kernel lets nothing through but solicitations, and of these only what it has
//! not been told to keep away by a program, as packets to pods are.

use std::collections::BTreeSet;
use std::future::pending;
use std::io;
use std::net::IpAddr;

use super::{arp, ndp};
use crate::net::{Groups, Link, LinkSocket, Wanted};

const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

/// Somebody asks for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Of IPv4.
    Arp(arp::Question),
    /// Of IPv6.
    Ndp(ndp::Question),
}

impl Question {
    /// The address that it is about.
    pub(super) fn target(&self) -> IpAddr {
        match self {
            Question::Arp(question) => question.target.into(),
            Question::Ndp(question) => question.target.into(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Voice {
    /// The link.
    pub(super) link: Link,
    arp: Option<LinkSocket>,
    ndp: Option<LinkSocket>,
    groups: Groups,
}

impl Voice {
    /// Silent so far.
    pub(super) fn of(link: Link) -> Self {
        Self {
            groups: Groups::of(link.index),
            arp: None,
            ndp: None,
            link,
        }
    }

    /// Opens what is needed to announce the addresses that are `led`, and closes the rest.
    ///
    /// # Errors
    /// When the kernel refuses one of them; the other family is served all the same.
    pub(super) fn set(&mut self, led: impl Iterator<Item = IpAddr>) -> io::Result<()> {
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = led.partition(IpAddr::is_ipv4);
        let groups = v6.iter().filter_map(|address| match address {
            IpAddr::V6(address) => Some(ndp::group(*address)),
            IpAddr::V4(_) => None,
        });
        let groups: BTreeSet<_> = groups.collect();
        let index = self.link.index;
        let open = |wanted: bool, socket: &mut Option<LinkSocket>, kind, which| {
            if !wanted {
                *socket = None;
            } else if socket.is_none() {
                *socket = Some(LinkSocket::open(index, kind, which)?);
            }
            Ok(())
        };
        let arp = open(!v4.is_empty(), &mut self.arp, ARP, Wanted::All);
        let signs = Wanted::Bytes(ndp::SIGNS);
        let ndp = open(!v6.is_empty(), &mut self.ndp, IPV6, signs);
        arp.and(ndp).and(self.groups.set(&groups))
    }

    /// Tells the link that an address is here.
    pub(super) fn announce(&self, address: IpAddr) {
        let mac = self.link.mac;
        match address {
            IpAddr::V4(address) => {
                for frame in arp::announcements(address, mac) {
                    send(self.arp.as_ref(), &frame, address.into());
                }
            }
            IpAddr::V6(address) => {
                let frame = ndp::announcement(address, mac);
                send(self.ndp.as_ref(), &frame, address.into());
            }
        }
    }

    /// Answers that the address is here.
    pub(super) fn answer(&self, question: &Question) {
        let (mac, target) = (self.link.mac, question.target());
        match question {
            Question::Arp(question) => {
                send(self.arp.as_ref(), &arp::answer(question, mac), target);
            }
            Question::Ndp(question) => {
                send(self.ndp.as_ref(), &ndp::answer(question, mac), target);
            }
        }
    }

    /// The next question; never, while nothing is led.
    ///
    /// # Errors
    /// When the link is gone or down.
    pub(super) async fn question(&self) -> io::Result<Question> {
        let (mut arp, mut ndp) = ([0; arp::FRAME], [0; ndp::LONGEST]);
        loop {
            let question = tokio::select! {
                length = receive(self.arp.as_ref(), &mut arp) =>
                    arp::read(&arp[..length?]).map(Question::Arp),
                length = receive(self.ndp.as_ref(), &mut ndp) =>
                    ndp::read(&ndp[..length?]).map(Question::Ndp),
            };
            if let Some(question) = question {
                return Ok(question);
            }
        }
    }
}

fn send(socket: Option<&LinkSocket>, frame: &[u8], address: IpAddr) {
    let Some(socket) = socket else {
        return;
    };
    if let Err(error) = socket.send(frame) {
        tracing::debug!(%address, %error, "not told");
    }
}

async fn receive(socket: Option<&LinkSocket>, frame: &mut [u8]) -> io::Result<usize> {
    match socket {
        Some(socket) => socket.receive(frame).await,
        None => pending().await,
    }
}
