//! Neighbour discovery on Ethernet (RFC 4861) as bytes: what is asked, what is answered, what is
//! told.
//!
//! What is no valid solicitation (RFC 4861, 7.1.1) is none: a hop limit below 255 would come from
//! another link. An address of a load balancer may move, so that all advertisements override; it
//! says nothing about routers.

use std::net::Ipv6Addr;

use crate::net::Mac;

/// Enough for any solicitation with its options.
pub const LONGEST: usize = 512;
/// Length of an advertisement: Ethernet, IPv6, ICMPv6 and one option.
pub const FRAME: usize = 86;

const ETHERNET: usize = 14;
const ETHERTYPE: [u8; 2] = [0x86, 0xdd];
const IPV6: usize = 40;
const ICMPV6: u8 = 58;
/// Of a packet that no router has passed on.
const HOPS: u8 = 255;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// ICMPv6 header, flags and target.
const FIXED: usize = 24;
/// What a frame must have to be worth a look: next header, hop limit, type, behind Ethernet.
pub const SIGNS: &[(u32, u8)] = &[(20, ICMPV6), (21, HOPS), (54, SOLICITATION)];
const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Everybody on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A question: who has `target`?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Who asks; unspecified if it wants the address for itself and looks whether it is taken.
    pub sender: Ipv6Addr,
    /// Its link.
    pub mac: Mac,
    /// The address that it looks for.
    pub target: Ipv6Addr,
}

/// Reads a frame; none if it is not a valid question.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Question> {
    let (ethernet, packet) = frame.split_first_chunk::<ETHERNET>()?;
    let (header, rest) = packet.split_first_chunk::<IPV6>()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let message = rest.get(..length)?;
    let (fixed, options) = message.split_first_chunk::<FIXED>()?;
    let is_question = ethernet[12..] == ETHERTYPE
        && (header[0] >> 4, header[6], header[7]) == (6, ICMPV6, HOPS)
        && fixed[..2] == [SOLICITATION, 0];
    let (sender, to) = (address(header, 8)?, address(header, 24)?);
    let target = address(fixed, 8)?;
    if !is_question || target.is_multicast() || checksum(sender, to, message) != 0 {
        return None;
    }
    let link = source_link(options)?;
    // Who has no address yet asks the group and can't be answered at a link.
    if sender.is_unspecified() && (link.is_some() || to != group(target)) {
        return None;
    }
    let mac = link.unwrap_or(Mac(*ethernet[6..].first_chunk()?));
    Some(Question {
        sender,
        mac,
        target,
    })
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?))
}

/// The sender's link among the options, if it tells it; none at all if the options are malformed.
fn source_link(mut options: &[u8]) -> Option<Option<Mac>> {
    let mut link = None;
    while let [kind, eights, ..] = *options {
        let length = usize::from(eights) * 8;
        if length == 0 {
            return None;
        }
        let (option, rest) = options.split_at_checked(length)?;
        if kind == SOURCE_LINK {
            link = Some(Mac(*option[2..].first_chunk()?));
        }
        options = rest;
    }
    options.is_empty().then_some(link)
}

/// The answer: the address is at `mac`. To everybody, if the asker has no address.
#[must_use]
pub fn answer(question: &Question, mac: Mac) -> [u8; FRAME] {
    if question.sender.is_unspecified() {
        return announcement(question.target, mac);
    }
    let to = (question.mac, question.sender);
    frame(question.target, mac, to, SOLICITED | OVERRIDE)
}

/// Tells everybody that the address is at `mac`.
#[must_use]
pub fn announcement(address: Ipv6Addr, mac: Mac) -> [u8; FRAME] {
    frame(address, mac, (multicast(ALL_NODES), ALL_NODES), OVERRIDE)
}

/// The group that questions about an address go to (RFC 4291, 2.7.1).
#[must_use]
pub fn group(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// The link address of a group (RFC 2464, 7).
fn multicast(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

fn frame(target: Ipv6Addr, mac: Mac, (to_mac, to): (Mac, Ipv6Addr), flags: u8) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let (ethernet, packet) = frame.split_at_mut(ETHERNET);
    ethernet[..6].copy_from_slice(&to_mac.0);
    ethernet[6..12].copy_from_slice(&mac.0);
    ethernet[12..].copy_from_slice(&ETHERTYPE);
    let (header, message) = packet.split_at_mut(IPV6);
    // The message is 32 bytes long.
    header[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, HOPS]);
    header[8..24].copy_from_slice(&target.octets());
    header[24..].copy_from_slice(&to.octets());
    message[0] = ADVERTISEMENT;
    message[4] = flags;
    message[8..24].copy_from_slice(&target.octets());
    message[24..26].copy_from_slice(&[TARGET_LINK, 1]);
    message[26..].copy_from_slice(&mac.0);
    let sum = checksum(target, to, message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The checksum of an ICMPv6 message (RFC 4443, 2.3); 0 over one that holds its own.
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let words = from.segments().into_iter().chain(to.segments());
    let pairs = message.chunks(2);
    let pairs = pairs.map(|pair| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    // A frame has far fewer words than would overflow the sum.
    let sum: u32 = words.chain(pairs).map(u32::from).sum();
    let sum = sum + message.len() as u32 + u32::from(ICMPV6);
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKER: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OWN: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn question() -> Question {
        Question {
            sender: "fd00:77::2".parse().expect("an address"),
            mac: ASKER,
            target: "fd00:77::3:201".parse().expect("an address"),
        }
    }

    /// A solicitation with these options, right in all else.
    fn asked(question: &Question, options: &[u8]) -> Vec<u8> {
        let to = group(question.target);
        let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        message.extend(question.target.octets());
        message.extend(options);
        let sum = checksum(question.sender, to, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut frame = [&multicast(to).0[..], &ASKER.0, &ETHERTYPE].concat();
        frame.extend([0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, HOPS]);
        frame.extend([question.sender.octets(), to.octets()].concat());
        frame.extend(message);
        frame
    }

    #[test]
    fn a_question_is_read_and_nothing_else_is() {
        let option = [&[SOURCE_LINK, 1][..], &ASKER.0].concat();
        let frame = asked(&question(), &option);
        assert_eq!(read(&frame), Some(question()));
        assert_eq!(read(&asked(&question(), &[])), Some(question()));
        assert_eq!(read(&[&frame[..], &[0; 4]].concat()), Some(question()));
        (0..frame.len()).for_each(|length| assert_eq!(read(&frame[..length]), None));
        // Ethertype, version, next header, hop limit, type, code, checksum, target.
        for at in [12, 14, 20, 21, 54, 55, 56, 70] {
            let mut odd = frame.clone();
            odd[at] ^= 0x10;
            assert_eq!(read(&odd), None, "byte {at}");
        }
        assert_eq!(read(&answer(&question(), OWN)), None);
    }

    #[test]
    fn options_are_passed_over_unless_they_are_malformed() {
        let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
        let other = [SOURCE_LINK, 1, 2, 0, 0, 0, 0, 7];
        let elsewhere = Question {
            mac: Mac([2, 0, 0, 0, 0, 7]),
            ..question()
        };
        let both = [nonce, other].concat();
        assert_eq!(read(&asked(&question(), &both)), Some(elsewhere));
        for bad in [
            &[14, 0, 0, 0, 0, 0, 0, 0][..],
            &[14, 2, 0, 0, 0, 0, 0, 0],
            &[1],
        ] {
            assert_eq!(read(&asked(&question(), bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn who_has_no_address_yet_is_told_with_everybody_else() {
        let nobody = Question {
            sender: Ipv6Addr::UNSPECIFIED,
            ..question()
        };
        let option = [&[SOURCE_LINK, 1][..], &ASKER.0].concat();
        assert_eq!(read(&asked(&nobody, &option)), None);
        let frame = asked(&nobody, &[]);
        let read = read(&frame).expect("a question");
        assert_eq!(read.target, question().target);
        assert_eq!(answer(&read, OWN), announcement(question().target, OWN));
    }

    #[test]
    fn the_answer_goes_to_the_asker_alone_and_the_announcement_to_all() {
        let told = answer(&question(), OWN);
        assert_eq!((&told[..6], &told[6..12]), (&ASKER.0[..], &OWN.0[..]));
        assert_eq!(told[38..54], question().sender.octets());
        assert_eq!((told[54], told[58]), (ADVERTISEMENT, 0x60));
        let told = announcement(question().target, OWN);
        assert_eq!(told[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(told[38..54], ALL_NODES.octets());
        assert_eq!((told[54], told[58]), (ADVERTISEMENT, 0x20));
        for told in [told, answer(&question(), OWN)] {
            assert_eq!(told[22..38], question().target.octets());
            assert_eq!(told[62..78], question().target.octets());
            assert_eq!((&told[78..80], &told[80..]), (&[2, 1][..], &OWN.0[..]));
        }
    }

    #[test]
    fn the_checksum_is_the_sum_made_by_hand() {
        let [from, to] =
            ["fd00::2", "fd00::1"].map(|text| text.parse::<Ipv6Addr>().expect("an address"));
        let question = Question {
            sender: to,
            mac: ASKER,
            target: from,
        };
        let told = answer(&question, OWN);
        // Both addresses, length, protocol, type, flags, target, option, link.
        let sum: u32 = 0xfd02 + 0xfd01 + 32 + 58 + 0x8800 + 0x6000 + 0xfd02 + 0x0201 + 0x0200 + 2;
        let folded = (sum & 0xffff) + (sum >> 16);
        assert_eq!(told[56..58], (!folded as u16).to_be_bytes());
        assert_eq!(checksum(from, to, &told[54..]), 0);
    }

    #[test]
    fn a_group_has_the_last_three_bytes() {
        assert_eq!(group(question().target).to_string(), "ff02::1:ff03:201");
        assert_eq!(
            multicast(group(question().target)).to_string(),
            "33:33:ff:03:02:01"
        );
    }
}
