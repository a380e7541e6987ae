//! What nodes tell each other about the addresses that they stand for: one datagram, entries of
//! fixed length.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `NARU` |
//! | 1 | version, 1 |
//! | 1 | number of entries, at most 48 |
//! | 2 | zero |
//! | 24 each | address (16, IPv4 mapped), term (4, big endian), stance (1), zero (3) |

use std::net::{IpAddr, Ipv6Addr};

const MAGIC: [u8; 4] = *b"NARU";
const VERSION: u8 = 1;
const HEADER: usize = 8;
const ENTRY: usize = 24;
/// Entries of one datagram: it fits the smallest MTU of IPv6.
const ENTRIES: usize = 48;
/// The longest datagram.
pub const LONGEST: usize = HEADER + ENTRIES * ENTRY;

/// How a node stands to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// It does not announce it (any more) and will not.
    Gone,
    /// It would announce it if nobody else did.
    Stands,
    /// It announces it.
    Leads,
}

/// What a node says about one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The address.
    pub address: IpAddr,
    /// Grows with every takeover: of two that lead, the higher term is right.
    pub term: u32,
    /// How the sender stands to it.
    pub stance: Stance,
}

/// Puts entries into as many datagrams as they need.
#[must_use]
pub fn encode(entries: &[Entry]) -> Vec<Vec<u8>> {
    entries.chunks(ENTRIES).map(datagram).collect()
}

fn datagram(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    // A chunk has at most ENTRIES entries.
    bytes.extend([VERSION, entries.len() as u8, 0, 0]);
    for entry in entries {
        let address = match entry.address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let stance = match entry.stance {
            Stance::Gone => 0,
            Stance::Stands => 1,
            Stance::Leads => 2,
        };
        bytes.extend(address.octets());
        bytes.extend(entry.term.to_be_bytes());
        bytes.extend([stance, 0, 0, 0]);
    }
    bytes
}

/// Reads a datagram; none if it is not one of ours, whole and of this version.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (header, body) = bytes.split_at_checked(HEADER)?;
    let [magic @ .., version, count, _, _] = header else {
        return None;
    };
    let whole = body.len() == usize::from(*count) * ENTRY;
    if magic != MAGIC || *version != VERSION || !whole {
        return None;
    }
    let (entries, _) = body.as_chunks::<ENTRY>();
    entries.iter().map(|bytes| entry(bytes)).collect()
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    let address = Ipv6Addr::from(*bytes.first_chunk::<16>()?);
    let stance = match bytes.get(20)? {
        0 => Stance::Gone,
        1 => Stance::Stands,
        2 => Stance::Leads,
        _ => return None,
    };
    Some(Entry {
        address: address.to_canonical(),
        term: u32::from_be_bytes(*bytes[16..].first_chunk()?),
        stance,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: u8) -> Vec<Entry> {
        let entry = |host| Entry {
            address: IpAddr::from([192, 0, 2, host]),
            term: u32::from(host) << 20,
            stance: [Stance::Gone, Stance::Stands, Stance::Leads][usize::from(host % 3)],
        };
        (0..count).map(entry).collect()
    }

    #[test]
    fn many_entries_go_in_several_datagrams_and_come_out_the_same() {
        let datagrams = encode(&entries(100));
        assert_eq!(datagrams.len(), 3);
        assert!(datagrams.iter().all(|bytes| bytes.len() <= LONGEST));
        let read: Vec<_> = datagrams
            .iter()
            .filter_map(|bytes| decode(bytes))
            .flatten()
            .collect();
        assert_eq!(read, entries(100));
    }

    #[test]
    fn a_datagram_with_any_part_missing_or_odd_says_nothing() {
        let good = encode(&entries(2)).remove(0);
        (0..good.len()).for_each(|length| assert_eq!(decode(&good[..length]), None));
        for (at, odd) in [(0, b'X'), (4, 2), (5, 1), (HEADER + 20, 3)] {
            let mut bad = good.clone();
            bad[at] = odd;
            assert_eq!(decode(&bad), None, "byte {at}");
        }
    }
}
