//! Lookup tables, by which packets from outside choose a backend. Map [`crate::names::MAGLEV`].
//!
//! A table gives each of its slots to one backend of a service; a hash of the packet's flow says
//! which slot counts ([Maglev], NSDI 2016, section 3.4). It belongs to one revision of the service,
//! as the backend slots do: it is written before the service and deleted after it. In the map it
//! lies in blocks, so that a hash map holds tables of every size and takes memory for those alone
//! that there are.
//!
//! [Maglev]: https://research.google/pubs/pub44824/

use crate::abi;

/// Slots of a block. With its key and what the kernel keeps beside it (64 bytes) an entry of the
/// map fills 2 KiB; with a power of two it would waste half of what the kernel gives it.
pub const BLOCK_SLOTS: usize = 992;
/// 2³² / [`BLOCK_SLOTS`], rounded up: a program divides by multiplication.
const RECIPROCAL: u64 = (1 << 32) / BLOCK_SLOTS as u64 + 1;

/// Place of the table's size in [`crate::Service::flags`]: the upper four bits, 0 without a table.
pub const TABLE_SHIFT: u32 = 28;

/// How far each size is below its power of two, five bits each, the smallest size first.
const GAPS: u64 = {
    let gaps: [u64; SIZES as usize] = [5, 3, 3, 9, 3, 1, 3, 19, 15, 1];
    let (mut packed, mut size) = (0, 0);
    while size < gaps.len() {
        packed |= gaps[size] << (5 * size);
        size += 1;
    }
    packed
};
/// How many sizes there are.
const SIZES: u8 = 10;

/// The size of a lookup table: the largest prime below a power of two, from 2⁸ to 2¹⁷. In
/// arithmetic, since a program has no table of constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableSize(u8);

impl TableSize {
    /// 16,381 slots: shares of a hundred backends differ by less than a hundredth.
    pub const DEFAULT: Self = Self(7);

    /// Every size, the smallest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=SIZES).map(Self)
    }

    /// The size that a service's flags name; none if the service has no table.
    #[inline(always)]
    pub const fn of(flags: u32) -> Option<Self> {
        let number = flags >> TABLE_SHIFT;
        if number == 0 {
            None
        } else {
            Some(Self(number as u8))
        }
    }

    /// The bits of [`crate::Service::flags`] that name this size.
    pub const fn flags(self) -> u32 {
        (self.0 as u32) << TABLE_SHIFT
    }

    /// Number of slots.
    #[inline(always)]
    pub const fn slots(self) -> u32 {
        let number = self.0 as u32;
        let gap = (GAPS >> (5 * (number - 1))) as u32 & 0x1f;
        (1 << (number + 7)) - gap
    }

    /// Number of blocks.
    pub const fn blocks(self) -> u32 {
        self.slots().div_ceil(BLOCK_SLOTS as u32)
    }
}

abi! {
    /// One block of one table.
    pub struct MaglevKey = 8 {
        /// [`crate::Service::revision`].
        pub revision: u32,
        /// 0 to [`TableSize::blocks`] - 1.
        pub block: u32,
    }
}

impl MaglevKey {
    /// Where a slot (below 2¹⁷) lies: its block, and its place in that. In words of 64 bits: the
    /// verifier loses the bounds of a shorter number when it is extended a second time.
    #[inline(always)]
    pub const fn of(revision: u32, slot: u32) -> (Self, usize) {
        let slot = slot as u64;
        let block = (slot * RECIPROCAL) >> 32;
        let place = slot - block * BLOCK_SLOTS as u64;
        let block = block as u32;
        (Self { revision, block }, place as usize)
    }
}

/// Slots of a table, one behind the other; behind the last one zeros.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct MaglevBlock {
    /// [`crate::BackendKey::slot`] of the backend that has the slot.
    pub backends: [u16; BLOCK_SLOTS],
}

const _: () = assert!(core::mem::size_of::<MaglevBlock>() == 2 * BLOCK_SLOTS);

impl MaglevBlock {
    /// A block without a slot.
    pub const EMPTY: Self = Self {
        backends: [0; BLOCK_SLOTS],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_prime(number: u32) -> bool {
        let mut divisors = (2..).take_while(|d| d * d <= number);
        divisors.all(|divisor| !number.is_multiple_of(divisor))
    }

    #[test]
    fn sizes_are_the_largest_primes_below_powers_of_two() {
        let largest = |power: u32| (1..1 << power).rev().find(|n| is_prime(*n)).unwrap();
        let expected: Vec<u32> = (8..=17).map(largest).collect();
        let sizes: Vec<u32> = TableSize::all().map(TableSize::slots).collect();
        assert_eq!(sizes, expected);
        assert_eq!(TableSize::DEFAULT.slots(), 16_381);
    }

    #[test]
    fn a_size_is_found_again_in_flags_beside_the_longest_affinity() {
        assert_eq!(TableSize::of(u32::MAX >> 4), None);
        for size in TableSize::all() {
            assert_eq!(TableSize::of(size.flags() | 86_400 << 8), Some(size));
        }
    }

    #[test]
    fn every_slot_has_a_place_of_its_own() {
        let places = (0..1 << 17).map(|slot| MaglevKey::of(1, slot));
        for (slot, (key, place)) in (0..).zip(places) {
            let expected = (slot / BLOCK_SLOTS, slot % BLOCK_SLOTS);
            assert_eq!((key.block as usize, place), expected);
        }
    }
}
