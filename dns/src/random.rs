//! Unpredictable numbers for query ids, and cheap ones for shuffling.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A generator that many tasks may share: SipHash, keyed by the operating system at construction,
/// over a counter. Someone who sees outputs can't tell the next one, which is what a DNS query id
/// needs (RFC 5452); it is no key material.
#[derive(Debug, Default)]
pub struct Random {
    key: RandomState,
    counter: AtomicU64,
}

impl Random {
    /// The next 64 bits.
    pub fn next(&self) -> u64 {
        self.key
            .hash_one(self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&self, bound: usize) -> usize {
        // The multiplication maps 64 random bits onto the range with a bias below 2^-32 for every
        // length that a DNS message can have.
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Puts the items in random order (Fisher-Yates).
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffle_keeps_every_item_and_moves_the_first() {
        let random = Random::default();
        let mut firsts = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let mut items = [1, 2, 3, 4];
            random.shuffle(&mut items);
            firsts.insert(items[0]);
            items.sort_unstable();
            assert_eq!(items, [1, 2, 3, 4]);
        }
        assert_eq!(firsts.len(), 4);
    }

    #[test]
    fn below_stays_below() {
        let random = Random::default();
        assert!((0..1000).all(|_| random.below(3) < 3));
        assert_eq!(random.below(0), 0);
    }
}
