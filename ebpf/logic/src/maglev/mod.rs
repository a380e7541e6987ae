//! Choosing a backend by a hash of the flow: whichever node the packet comes to, and whatever that
//! node has forgotten, the choice is the same ([Maglev], NSDI 2016, section 3.4).
//!
//! The hash is of what every node sees alike: the client, the service's port, and the service's
//! address, which for a node port is none. It is an agreement between nodes, of several releases
//! perhaps: a change of it moves flows. [`table`] fills the tables, on the host alone.
//!
//! [Maglev]: https://research.google/pubs/pub44824/

#[cfg(feature = "host")]
mod shares;
#[cfg(feature = "host")]
pub mod table;

use naru_ebpf_common::{Addr, MaglevKey, Port, Service, ServiceKey, TableSize};

use crate::{Maps, Step};

/// What hashing begins with, for each thing that is hashed another.
const FLOW: u64 = 0x243F_6A88_85A3_08D3;
const CLIENT: u64 = 0x1319_8A2E_0370_7344;
#[cfg(feature = "host")]
const BACKEND: u64 = 0xA409_3822_299F_31D0;
#[cfg(feature = "host")]
const SLOT: u64 = 0x082E_FA98_EC4E_6C89;
/// 2⁶⁴ divided by the golden ratio, odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The number by which a flow chooses.
#[inline(always)]
pub(crate) fn of_flow(client: &Addr, port: Port, service: &ServiceKey) -> u32 {
    let ports = u64::from(port.get()) << 16 | u64::from(service.port.get());
    let hash = with(with(FLOW, client), &service.addr);
    last(mix(hash, ports << 8 | u64::from(service.protocol)))
}

/// The number by which a client chooses that keeps its backend: that of all its flows, to whichever
/// of the service's addresses.
#[inline(always)]
pub(crate) fn of_client(client: &Addr) -> u32 {
    last(with(CLIENT, client))
}

/// The backend slot that a table of this size has for a number; none while the table is not there.
#[inline(always)]
pub(crate) fn backend<M: Maps>(
    m: &M,
    service: &Service,
    size: TableSize,
    number: u32,
) -> Option<u32> {
    let slot = slot_of(number, size);
    let (key, place) = MaglevKey::of(service.revision, slot);
    let backend = m.table(&key, place)?;
    m.step(|| Step::Table(slot, size));
    Some(backend.into())
}

/// Maps 32 even bits evenly to the slots.
#[inline(always)]
const fn slot_of(number: u32, size: TableSize) -> u32 {
    ((number as u64 * size.slots() as u64) >> 32) as u32
}

#[inline(always)]
fn with(hash: u64, addr: &Addr) -> u64 {
    let [a, b, c, d] = addr.words.map(|word| u64::from(u32::from_le(word)));
    mix(mix(hash, a << 32 | b), c << 32 | d)
}

/// Multiplying carries every bit upwards, the shift carries it down again.
#[inline(always)]
const fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(GOLDEN);
    product ^ product >> 32
}

#[inline(always)]
const fn last(hash: u64) -> u32 {
    (mix(hash, hash >> 29) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(addr: Addr) -> ServiceKey {
        ServiceKey {
            addr,
            port: Port::new(443),
            protocol: 6,
            scope: 1,
        }
    }

    /// Nodes of several releases agree on these.
    #[test]
    fn the_hash_is_what_it_has_always_been() {
        let vip = service(Addr::v4([192, 0, 2, 7]));
        let client = Addr::v4([203, 0, 113, 9]);
        let v6 = Addr::from_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        let numbers = [
            of_flow(&client, Port::new(40_000), &vip),
            of_flow(&v6, Port::new(40_000), &vip),
            of_client(&client),
            of_client(&v6),
        ];
        let known = [0x9114_EFE2, 0x5380_F6B5, 0xB8C9_4629, 0xFAA3_2954];
        assert_eq!(numbers, known);
    }

    #[test]
    fn everything_that_makes_a_flow_counts() {
        let client = Addr::v4([203, 0, 113, 9]);
        let vip = service(Addr::v4([192, 0, 2, 7]));
        let flow = |client: Addr, port, key: ServiceKey| of_flow(&client, Port::new(port), &key);
        let first = flow(client, 40_000, vip);
        let port = Port::new(80);
        let protocol = 17;
        let others = [
            flow(Addr::v4([203, 0, 113, 10]), 40_000, vip),
            flow(client, 40_001, vip),
            flow(client, 40_000, service(Addr::ANY_V4)),
            flow(client, 40_000, ServiceKey { port, ..vip }),
            flow(client, 40_000, ServiceKey { protocol, ..vip }),
        ];
        assert!(others.iter().all(|other| *other != first), "{others:?}");
        let scope = 0;
        assert_eq!(flow(client, 40_000, ServiceKey { scope, ..vip }), first);
    }

    /// Clients with addresses and ports in a row are spread as chance would: the fullest of a
    /// thousand slots has less than three halves of its share of a million flows.
    #[test]
    fn neighbours_are_spread_over_the_slots() {
        const SLOTS: usize = 1000;
        let mut slots = vec![0_u32; SLOTS];
        let vip = service(Addr::v4([192, 0, 2, 7]));
        for n in 0..1_000_000_u32 {
            let [_, _, host, port] = n.to_be_bytes();
            let client = Addr::v4([10, 0, (n >> 16) as u8, host]);
            let number = of_flow(&client, Port::new(32_768 + u16::from(port)), &vip);
            slots[((u64::from(number) * SLOTS as u64) >> 32) as usize] += 1;
        }
        let (least, most) = (slots.iter().min().unwrap(), slots.iter().max().unwrap());
        assert!(*least > 500 && *most < 1500, "{least} to {most}");
    }
}
