//! How many flows a node has room for: pure.
//!
//! Tables begin small and grow with what they hold, because their memory is taken as soon as they
//! are made, and a box with one gigabyte and a server with a thousand have the same daemon.

use naru_ebpf_common::{Conn, NatEntry, NatKey, Tuple, names};

use crate::config::{LEAST_FLOWS, MOST_FLOWS};

/// What the kernel adds to an entry of a map that is made in advance, and to find it, in bytes.
const BOOKKEEPING: u64 = 64;
/// What a flow takes, half as many translations included.
const BYTES: u64 = (size_of::<Tuple>() + size_of::<Conn>()) as u64
    + (size_of::<NatKey>() + size_of::<NatEntry>()) as u64 / 2
    + BOOKKEEPING * 3 / 2;
/// The part of a node's memory that the tables may come to take, as its divisor.
const SHARE: u64 = 64;

/// From how many flows to how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Where tables begin.
    pub(super) first: u32,
    /// Where they stop growing.
    pub(super) most: u32,
}

impl Room {
    /// Of a node with `memory` bytes, where its configuration says nothing else.
    pub(super) fn new(memory: u64, first: Option<u32>, most: Option<u32>) -> Self {
        let affordable =
            (memory / SHARE / BYTES).clamp(LEAST_FLOWS.into(), MOST_FLOWS.into()) as u32;
        let affordable = 1 << affordable.ilog2();
        let most = most.unwrap_or(affordable.max(first.unwrap_or(0)));
        let usual = (affordable / 4).clamp(LEAST_FLOWS, names::CONNTRACK_SIZE);
        let first = first.unwrap_or(usual).min(most);
        Self { first, most }
    }

    /// The size that tables of `size` flows should have, if that is another one, for what they hold.
    pub(super) fn wanted(self, held: Held, size: u32) -> Option<u32> {
        let mut wanted = size.max(self.first);
        while held.is_too_much_for(size, 4) && held.is_too_much_for(wanted, 2) {
            wanted = wanted.saturating_mul(2);
        }
        let wanted = wanted.min(self.most);
        (wanted > size).then_some(wanted)
    }
}

/// How much is in the tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) flows: u64,
    pub(super) translations: u64,
}

impl Held {
    /// The same and as many flows more, each of them translated, which is two entries.
    pub(super) fn and(self, flows: u64) -> Self {
        Self {
            flows: self.flows.saturating_add(flows),
            translations: self.translations.saturating_add(flows.saturating_mul(2)),
        }
    }

    /// Whether it fills more of tables for `size` flows than all but one of `parts` equal parts.
    pub(super) fn is_too_much_for(self, size: u32, parts: u64) -> bool {
        let taken = |size: u32| u64::from(size) / parts * (parts - 1);
        self.flows > taken(size) || self.translations > taken(size / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn tables_begin_and_end_by_the_memory_of_the_node() {
        let of = |gib| Room::new(gib * GIB, None, None);
        assert_eq!((of(1).first, of(1).most), (16_384, 65_536));
        assert_eq!((of(24).first, of(24).most), (131_072, 1 << 20));
        assert_eq!((of(4096).first, of(4096).most), (131_072, MOST_FLOWS));
        assert_eq!((of(0).first, of(0).most), (LEAST_FLOWS, LEAST_FLOWS));
    }

    #[test]
    fn what_is_given_holds() {
        let of = |first, most| Room::new(24 * GIB, first, most);
        assert_eq!(of(Some(5000), None).first, 5000);
        assert_eq!(of(Some(4 << 20), None).most, 4 << 20);
        assert_eq!(
            of(None, Some(50_000)),
            Room {
                first: 50_000,
                most: 50_000
            }
        );
    }

    #[test]
    fn three_quarters_full_is_too_full_and_half_full_is_enough() {
        let room = Room {
            first: 4096,
            most: 65_536,
        };
        let holding = |flows, translations| Held {
            flows,
            translations,
        };
        assert_eq!(room.wanted(holding(3072, 0), 4096), None);
        assert_eq!(room.wanted(holding(3073, 0), 4096), Some(8192));
        assert_eq!(room.wanted(holding(4096, 0), 4096), Some(8192));
        assert_eq!(room.wanted(holding(10, 1537), 4096), Some(8192));
        assert_eq!(room.wanted(holding(60_000, 0), 65_536), None);
        assert_eq!(room.wanted(holding(60_000, 0), 32_768), Some(65_536));
        assert_eq!(room.wanted(holding(0, 0), 2048), Some(4096), "the first");
    }

    #[test]
    fn flows_that_were_opened_since_may_all_be_translated() {
        let held = Held::default().and(700);
        assert!(!held.is_too_much_for(4096, 4) && held.is_too_much_for(2048, 4));
    }
}
