//! What anybody on a node's link may send to the one that stands for addresses of load balancers:
//! questions of ARP and neighbour discovery, and what nodes tell each other.
//!
//! The first byte of an input says which it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use naru_node::announce::message::{self, Entry, Stance};
use naru_node::announce::{arp, ndp};
use naru_node::net::Mac;

use super::answer;
use crate::Target;

const ARP: u8 = 0;
/// A frame whose checksum is made right before it is read: most changes would end there.
const SUMMED: u8 = 1;
const NDP: u8 = 2;
const KINDS: u8 = 4;

const ASKER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OWN: Mac = Mac([2, 0, 0, 0, 0, 2]);
/// Where a packet begins in a frame, and its message in the packet.
const ETHERNET: usize = 14;
const IPV6: usize = 40;

pub(super) struct Neighbours;

impl Target for Neighbours {
    fn examples(&self) -> Vec<Vec<u8>> {
        let kind = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
        let [asked, _] = arp::announcements(Ipv4Addr::new(192, 0, 2, 9), ASKER);
        let entry = |address: IpAddr, stance| Entry {
            address,
            term: 7,
            stance,
        };
        let told = message::encode(&[
            entry([192, 0, 2, 9].into(), Stance::Leads),
            entry(Ipv6Addr::LOCALHOST.into(), Stance::Gone),
        ]);
        let wanted = solicitation(&[1, 1, 2, 0, 0, 0, 0, 1]);
        let bare = solicitation(&[]);
        let mut all: Vec<_> = told.iter().map(|bytes| kind(KINDS - 1, bytes)).collect();
        all.push(kind(ARP, &asked));
        all.extend([&wanted, &bare].map(|frame| kind(SUMMED, frame)));
        all.push(kind(NDP, &wanted));
        all
    }

    fn words(&self) -> &[&str] {
        &["NARU", "\u{1}\u{1}", "\u{0}\u{0}\u{0}\u{0}", ":"]
    }

    fn read(&self, input: &[u8]) -> Result<u64, String> {
        let Some((kind, bytes)) = input.split_first() else {
            return Ok(0);
        };
        match kind % KINDS {
            ARP => asked_by_arp(bytes),
            SUMMED => asked_by_ndp(&summed(bytes.to_vec())),
            NDP => asked_by_ndp(bytes),
            _ => told(bytes),
        }
    }
}

fn asked_by_arp(frame: &[u8]) -> Result<u64, String> {
    let Some(question) = arp::read(frame) else {
        return Ok(1);
    };
    let reply = arp::answer(&question, OWN);
    if reply[..6] != question.mac.0 || reply[28..32] != question.target.octets() {
        return Err(format!("{question:?} is answered with {reply:?}"));
    }
    match arp::read(&reply) {
        Some(again) => Err(format!("an answer asks {again:?}")),
        None => Ok(2),
    }
}

fn asked_by_ndp(frame: &[u8]) -> Result<u64, String> {
    let Some(question) = ndp::read(frame) else {
        return Ok(3);
    };
    let reply = ndp::answer(&question, OWN);
    if summed(reply.to_vec()) != reply {
        return Err(format!("{question:?} is answered with a wrong checksum"));
    }
    if ndp::read(&reply).is_some() {
        return Err(format!("the answer to {question:?} asks something"));
    }
    let nameless = question.sender.is_unspecified();
    Ok(answer((4, nameless, question.mac == ASKER)))
}

fn told(datagram: &[u8]) -> Result<u64, String> {
    let Some(entries) = message::decode(datagram) else {
        return Ok(5);
    };
    let again = message::encode(&entries);
    let again: Vec<_> = again.iter().filter_map(|it| message::decode(it)).collect();
    if again.concat() != entries {
        return Err(format!("{entries:?} are told on as {again:?}"));
    }
    Ok(answer((6, entries.len().min(3))))
}

/// A question for an address, with these options.
fn solicitation(options: &[u8]) -> Vec<u8> {
    let target = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
    let mut frame = [[0xff; 6], ASKER.0].concat();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend((24 + options.len() as u16).to_be_bytes());
    frame.extend([58, 255]);
    frame.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets());
    frame.extend(ndp::group(target).octets());
    frame.extend([135, 0, 0, 0, 0, 0, 0, 0]);
    frame.extend(target.octets());
    frame.extend(options);
    summed(frame)
}

/// A frame with the checksum of ICMPv6 (RFC 4443, 2.3) that its bytes need, if they are enough.
fn summed(mut frame: Vec<u8>) -> Vec<u8> {
    const CHECKSUM: usize = ETHERNET + IPV6 + 2;
    let Some(length) = frame.get(ETHERNET + 4..ETHERNET + 6) else {
        return frame;
    };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    let end = ETHERNET + IPV6 + length;
    if length < 4 || end > frame.len() {
        return frame;
    }
    frame[CHECKSUM..CHECKSUM + 2].fill(0);
    let covered = &frame[ETHERNET + 8..end];
    let words = covered.chunks(2);
    let words = words.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum = words.sum::<u32>() + length as u32 + 58;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame
}
