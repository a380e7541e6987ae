//! ARP on Ethernet (RFC 826, RFC 5227) as bytes: what is asked, what is answered, what is told.

use std::net::Ipv4Addr;

use crate::net::Mac;

/// Length of an Ethernet header and an ARP packet about IPv4.
pub const FRAME: usize = 42;

const ETHERTYPE: [u8; 2] = [0x08, 0x06];
/// Ethernet and IPv4 with their lengths.
const KINDS: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const BROADCAST: Mac = Mac([0xff; 6]);
const NOBODY: Mac = Mac([0; 6]);

/// A question: who has `target`?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Who asks; unspecified if it only wants to know whether anybody has the address.
    pub sender: Ipv4Addr,
    /// Its link.
    pub mac: Mac,
    /// The address that it looks for.
    pub target: Ipv4Addr,
}

/// Reads a frame; none if it is not a question about an IPv4 address.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Question> {
    let frame: &[u8; FRAME] = frame.first_chunk()?;
    let is_question = frame[12..14] == ETHERTYPE && frame[14..20] == KINDS && frame[21] == REQUEST;
    let address =
        |at: usize| -> Option<Ipv4Addr> { Some(Ipv4Addr::from(*frame[at..].first_chunk::<4>()?)) };
    let question = Question {
        sender: address(28)?,
        mac: Mac(*frame[22..].first_chunk()?),
        target: address(38)?,
    };
    (is_question && frame[20] == 0).then_some(question)
}

/// The answer: the address is at `mac`.
#[must_use]
pub fn answer(question: &Question, mac: Mac) -> [u8; FRAME] {
    let (to, target) = ((question.mac, question.sender), question.target);
    frame(REPLY, question.mac, (mac, target), to)
}

/// Tells everybody that the address is at `mac`, in both forms that hosts take notice of. Linux
/// takes notice at once, whenever it learnt something else last, only if a reply names the same
/// link twice.
#[must_use]
pub fn announcements(address: Ipv4Addr, mac: Mac) -> [[u8; FRAME]; 2] {
    [
        frame(REQUEST, BROADCAST, (mac, address), (NOBODY, address)),
        frame(REPLY, BROADCAST, (mac, address), (mac, address)),
    ]
}

fn frame(
    operation: u8,
    to: Mac,
    (sender_mac, sender): (Mac, Ipv4Addr),
    (target_mac, target): (Mac, Ipv4Addr),
) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&sender_mac.0);
    frame[12..14].copy_from_slice(&ETHERTYPE);
    frame[14..20].copy_from_slice(&KINDS);
    frame[21] = operation;
    frame[22..28].copy_from_slice(&sender_mac.0);
    frame[28..32].copy_from_slice(&sender.octets());
    frame[32..38].copy_from_slice(&target_mac.0);
    frame[38..42].copy_from_slice(&target.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKER: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OWN: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn question() -> Question {
        Question {
            sender: Ipv4Addr::new(192, 0, 2, 1),
            mac: ASKER,
            target: Ipv4Addr::new(192, 0, 2, 9),
        }
    }

    fn asked(question: &Question) -> [u8; FRAME] {
        let (from, target) = ((question.mac, question.sender), (NOBODY, question.target));
        frame(REQUEST, BROADCAST, from, target)
    }

    #[test]
    fn a_question_is_read_and_nothing_else_is() {
        let frame = asked(&question());
        assert_eq!(read(&frame), Some(question()));
        assert_eq!(read(&frame[..41]), None);
        assert_eq!(read(&answer(&question(), OWN)), None);
        for at in [12, 14, 16, 18, 20] {
            let mut odd = frame;
            odd[at] ^= 0x40;
            assert_eq!(read(&odd), None, "byte {at}");
        }
    }

    #[test]
    fn the_answer_goes_to_the_asker_alone_and_the_announcement_to_all() {
        let answer = answer(&question(), OWN);
        assert_eq!((&answer[..6], &answer[6..12]), (&ASKER.0[..], &OWN.0[..]));
        assert_eq!(answer[28..32], [192, 0, 2, 9]);
        assert_eq!(answer[38..42], [192, 0, 2, 1]);
        let told = announcements(Ipv4Addr::new(192, 0, 2, 9), OWN);
        assert_eq!((told[0][21], told[1][21]), (REQUEST, REPLY));
        assert_eq!(told[1][32..38], OWN.0);
        for told in told {
            assert_eq!((&told[..6], &told[22..28]), (&[0xff; 6][..], &OWN.0[..]));
            assert_eq!(
                told[28..32],
                told[38..42],
                "sender and target are the address"
            );
        }
    }
}
