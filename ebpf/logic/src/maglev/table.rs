//! Filling a lookup table.
//!
//! A table is a function of the set of backends and of its size alone, whatever their order, so
//! that nodes which see the same endpoints have the same table. It is even: every backend has its
//! share of the slots, give or take a hundredth (where that is less than a slot, what cannot be
//! divided and one slot), as long as there are a hundred slots for each. And it is steady: when one
//! of a hundred backends goes, its slots go to others, and of the rest less than one in a hundred
//! changes hands.
//!
//! As in the paper backends take turns, and with each turn a backend bids for one slot, which a hash
//! of both names. But who finds a slot taken does not try another: there a slot that comes free is
//! claimed by a backend that therefore leaves another one to the next, and so on; when one of a
//! hundred goes, such chains move 1.4 in a hundred slots between the others. Here a slot is its first
//! bidder's, and when one goes, nobody else's slots are touched. Shares are then as even as chance
//! has it, which is not enough, so that [`super::shares`] evens them out by small steps that depend
//! little on each other. That needs the later bids for a slot as well, but few of them: work grows
//! with the slots, not with the backends.

use naru_ebpf_common::maglev::BLOCK_SLOTS;
use naru_ebpf_common::{Backend, MaglevBlock, MaglevKey, TableSize};

use super::shares::{BIDS, Bid, PARTS, Shares};
use super::{BACKEND, SLOT, mix, with};

/// Bids that are made for a slot on average: with one slot in twenty thousand it is none.
const MADE: usize = 10;

/// For each slot the place of its backend in `backends`. The 65,536th backend and what comes after it
/// get none, and no more than there are slots get any.
#[must_use]
pub fn fill(backends: &[Backend], size: TableSize) -> Vec<u16> {
    let bidders = bidders(backends);
    if bidders.is_empty() {
        return Vec::new();
    }
    let bids = bids(&bidders, size.slots() as usize);
    let owners = Shares::new(&bids, bidders.len()).even_out();
    let place = |owner: u16| bidders[usize::from(owner)].1;
    owners.into_iter().map(place).collect()
}

/// A table's entries in the map.
pub fn blocks(revision: u32, table: &[u16]) -> impl Iterator<Item = (MaglevKey, MaglevBlock)> {
    let blocks = (0..).zip(table.chunks(BLOCK_SLOTS));
    blocks.map(move |(block, slots)| {
        let mut entry = MaglevBlock::EMPTY;
        entry.backends[..slots.len()].copy_from_slice(slots);
        (MaglevKey { revision, block }, entry)
    })
}

/// The backends' hashes in order, with the places of the backends.
fn bidders(backends: &[Backend]) -> Vec<(u64, u16)> {
    let hash = |backend: &Backend| {
        let port = backend.port.get().into();
        mix(with(BACKEND, &backend.addr), port)
    };
    let places = 0..u16::MAX;
    let mut bidders: Vec<_> = backends.iter().map(hash).zip(places).collect();
    bidders.sort_unstable();
    bidders
}

/// The first bids for each slot, the first first.
fn bids(bidders: &[(u64, u16)], slots: usize) -> Vec<[Bid; BIDS]> {
    let mut bids = vec![[Bid::NONE; BIDS]; slots];
    // How many there are for each slot. Most of those that come later are of no use, and meet only
    // this.
    let mut entered = vec![0_u8; slots];
    let most = bidders.len().min(BIDS) as u8;
    let turns = (MADE * slots).div_ceil(bidders.len());
    for turn in 0..turns as u32 {
        for (bidder, (hash, _)) in (0..).zip(bidders) {
            let number = mix(mix(*hash, turn.into()), SLOT);
            let slot = (((number >> 32) * slots as u64) >> 32) as usize;
            if entered[slot] < most {
                let time = turn * PARTS + number as u32 % PARTS;
                let is_new = enter(&mut bids[slot], Bid::new(time, bidder));
                entered[slot] += u8::from(is_new);
            }
        }
    }
    let without = bids.iter_mut().enumerate();
    for (slot, bids) in without.filter(|(_, bids)| bids[0] == Bid::NONE) {
        bids[0] = Bid::new(turns as u32 * PARTS, (slot % bidders.len()) as u16);
    }
    bids
}

/// Enters a bid where it belongs, if it is the bidder's first; whether it is. Bids come nearly in
/// order: those of a later turn are later.
fn enter(bids: &mut [Bid; BIDS], bid: Bid) -> bool {
    if bids.iter().any(|other| other.bidder() == bid.bidder()) {
        return false;
    }
    let mut place = BIDS - 1;
    while place > 0 && bid < bids[place - 1] {
        bids[place] = bids[place - 1];
        place -= 1;
    }
    bids[place] = bid;
    true
}
