//! Shuffle sharding: which few of a level's queues a flow may use. Two flows share one queue often, a
//! whole hand of them hardly ever, so that a flood fills its own hand and leaves others a way.

/// Queues of one hand at most: dealing may take 60 bits of a hash.
pub(super) const MOST: usize = 15;
/// Bits of a hash that dealing may take.
const BITS: f64 = 60.0;

/// Whether a hand of so many cards can be dealt from such a deck.
pub(super) fn fits(deck: u32, cards: u32) -> bool {
    let bits = f64::from(deck).log2() * f64::from(cards);
    (1..=deck).contains(&cards) && cards as usize <= MOST && bits.ceil() <= BITS
}

/// Deals `cards` different numbers below `deck`, the same for the same hash.
///
/// A remainder for each card picks it among those that are left; the hash is used up on the way.
pub(super) fn deal(mut hash: u64, deck: u32, cards: u32) -> ([u32; MOST], usize) {
    let mut hand = [0; MOST];
    let cards = (cards.min(deck) as usize).min(MOST);
    let mut left = u64::from(deck);
    for index in 0..cards {
        // Below `deck`, which is a u32.
        let mut card = u32::try_from(hash % left).unwrap_or_default();
        hash /= left;
        left -= 1;
        // The cards before are gone: in ascending order each shifts the rest by one.
        let mut gone = hand;
        gone[..index].sort_unstable();
        for taken in &gone[..index] {
            card += u32::from(card >= *taken);
        }
        hand[index] = card;
    }
    (hand, cards)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_hand_is_of_different_cards_of_the_deck(
            hash: u64,
            deck in 1_u32..1000,
            cards in 1_u32..=15,
        ) {
            let (hand, count) = deal(hash, deck, cards);
            let hand = &hand[..count];
            prop_assert_eq!(count, cards.min(deck) as usize);
            prop_assert_eq!(hand.iter().collect::<BTreeSet<_>>().len(), count);
            prop_assert!(hand.iter().all(|card| *card < deck));
            prop_assert_eq!(deal(hash, deck, cards).0, deal(hash, deck, cards).0);
        }
    }

    #[test]
    fn every_card_is_dealt_equally_often() {
        let mut dealt = [0_u32; 8];
        for hash in 0..8 * 7 * 6 {
            let (hand, count) = deal(hash, 8, 3);
            for card in &hand[..count] {
                dealt[*card as usize] += 1;
            }
        }
        assert_eq!(dealt, [126; 8]);
    }

    #[test]
    fn what_a_hash_cannot_deal_does_not_fit() {
        for (deck, cards) in [(1, 1), (128, 6), (15, 15), (10_000_000, 2)] {
            assert!(fits(deck, cards), "{cards} of {deck}");
        }
        for (deck, cards) in [(4, 0), (4, 5), (16, 16), (128, 9), (0, 0)] {
            assert!(!fits(deck, cards), "{cards} of {deck}");
        }
    }
}
