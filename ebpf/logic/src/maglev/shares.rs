//! Evening out: from the bids for the slots of a table to its owners.
//!
//! Each bidder has a handicap, by which its bids come later. It is raised while the bidder has too
//! many slots and lowered while it has too few, by just as much as it takes on average, for all
//! bidders at once. What chance leaves over changes hands one slot at a time, where the difference
//! of the bids is the smallest.

use std::ops::RangeInclusive;

/// How often handicaps are changed at most. Each time leaves about the square root of the
/// differences that it finds; a third time would leave as many as it finds, and move more slots than
/// [`Shares::exchange`] does.
const ROUNDS: usize = 2;

/// Bids of one slot that are looked at: whoever is further behind does not get it in any case.
pub(super) const BIDS: usize = 4;

/// Moments of a turn.
pub(super) const PARTS: u32 = 256;

/// One bid for one slot; the earlier the better. Its time, in [`PARTS`] of a turn, stands above the 16
/// bits of who makes it, so that one number says which is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bid(i64);

impl Bid {
    /// In the place of bids where there are fewer: never made, and nobody's.
    pub(super) const NONE: Self = Self(i64::MAX >> 1);
    /// One [`PARTS`]th of a turn.
    const MOMENT: i64 = 1 << 16;

    pub(super) fn new(time: u32, bidder: u16) -> Self {
        Self(i64::from(time) * Self::MOMENT + i64::from(bidder))
    }

    /// Who makes it.
    pub(super) fn bidder(self) -> u16 {
        self.0 as u16
    }
}

/// Who has how many slots.
pub(super) struct Shares<'a> {
    /// The first bids for each slot.
    bids: &'a [[Bid; BIDS]],
    /// By bidder, in units of a bid's time.
    handicaps: Vec<i64>,
    /// By bidder.
    counts: Vec<u32>,
}

impl<'a> Shares<'a> {
    /// Of one bidder at least.
    pub(super) fn new(bids: &'a [[Bid; BIDS]], bidders: usize) -> Self {
        Self {
            bids,
            handicaps: vec![0; bidders],
            counts: vec![0; bidders],
        }
    }

    /// The owner of each slot.
    pub(super) fn even_out(mut self) -> Vec<u16> {
        let fair = self.fair();
        let mut owners = self.owners();
        for _ in 0..ROUNDS {
            if self.counts.iter().all(|count| fair.contains(count)) {
                return owners;
            }
            self.handicap();
            owners = self.owners();
        }
        while self.exchange(&mut owners, &fair) {}
        owners
    }

    /// A bid as it counts.
    fn with_handicap(&self, bid: Bid) -> Bid {
        let handicap = self.handicaps.get(usize::from(bid.bidder()));
        Bid(bid.0.wrapping_add(handicap.copied().unwrap_or(0)))
    }

    /// The first bid for a slot as they count.
    fn first(&self, bids: &[Bid; BIDS]) -> Bid {
        let [a, b, c, d] = bids.map(|bid| self.with_handicap(bid));
        a.min(b).min(c.min(d))
    }

    /// The owners as handicaps are now, counted.
    fn owners(&mut self) -> Vec<u16> {
        let first = self.bids.iter().map(|bids| self.first(bids).bidder());
        let owners: Vec<u16> = first.collect();
        self.counts.fill(0);
        for owner in &owners {
            self.counts[usize::from(*owner)] += 1;
        }
        owners
    }

    /// What is a share: give or take a hundredth, or what cannot be divided.
    fn fair(&self) -> RangeInclusive<u32> {
        let (slots, bidders) = (self.bids.len(), self.counts.len());
        let least = (slots * 99).div_ceil(bidders * 100).min(slots / bidders);
        let most = (slots * 101 / (bidders * 100)).max(slots.div_ceil(bidders));
        least as u32..=most as u32
    }

    /// Who bids a turn later makes one bid less, and so loses a slot.
    fn handicap(&mut self) {
        let (slots, bidders) = (self.bids.len() as i64, self.counts.len() as i64);
        for (handicap, count) in self.handicaps.iter_mut().zip(&self.counts) {
            let surplus = i64::from(*count) * bidders - slots;
            *handicap += surplus * i64::from(PARTS) / bidders * Bid::MOMENT;
        }
    }

    /// Moves slots from who has too many to others, and to who has too few from others; whether
    /// there were any.
    fn exchange(&mut self, owners: &mut [u16], fair: &RangeInclusive<u32>) -> bool {
        let mut moved = false;
        for (_, slot, to) in self.exchanges(owners, fair) {
            let from = owners[slot];
            let (has, gets) = (usize::from(from), usize::from(to));
            let (less, more) = (self.counts[has], self.counts[gets]);
            let relieves = less > *fair.end() && more < *fair.end();
            let helps = more < *fair.start() && less > *fair.start();
            if from != to && (relieves || helps) {
                self.counts[has] -= 1;
                self.counts[gets] += 1;
                owners[slot] = to;
                moved = true;
            }
        }
        moved
    }

    /// What could be moved to whom, the cheapest first.
    fn exchanges(&self, owners: &[u16], fair: &RangeInclusive<u32>) -> Vec<(i64, usize, u16)> {
        let mut exchanges = Vec::new();
        for (slot, bids) in self.bids.iter().enumerate() {
            let many = self.counts[usize::from(owners[slot])] > *fair.end();
            let first = self.first(bids);
            for bid in bids.iter().filter(|bid| bid.bidder() != owners[slot]) {
                let count = self.counts.get(usize::from(bid.bidder()));
                if count.is_some_and(|count| many || count < fair.start()) {
                    let later = self.with_handicap(*bid).0 - first.0;
                    exchanges.push((later, slot, bid.bidder()));
                }
            }
        }
        exchanges.sort_unstable();
        exchanges
    }
}
