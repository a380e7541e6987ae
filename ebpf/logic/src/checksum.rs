//! Checksums of IPv4, TCP and UDP that follow a change without the packet being read (RFC 1624).
//!
//! For programs that have no helper of the kernel for it. Sums are in ones' complement, which does
//! not mind the order of bytes, so words are taken as they lie in memory.

/// What a packet's changed words do to its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change(u64);

impl Change {
    /// Of one word; half a word counts with zeros in the place of the other half.
    #[inline(always)]
    #[must_use]
    pub const fn of(old: u32, new: u32) -> Self {
        Self(!old as u64 + new as u64)
    }

    /// Of both.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum in the place of `before`.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, before: u16) -> u16 {
        !fold(self.0 + !before as u64)
    }

    /// The same for UDP, where zero says that there is none.
    #[inline(always)]
    #[must_use]
    pub const fn apply_udp(self, before: u16) -> u16 {
        match (before, self.apply(before)) {
            (0, _) => 0,
            (_, 0) => 0xffff,
            (_, after) => after,
        }
    }
}

/// The checksum of a header of `N` words in which it is zero.
#[inline(always)]
#[must_use]
pub const fn of<const N: usize>(words: &[u32; N]) -> u16 {
    let (mut sum, mut at) = (0, 0);
    while at < N {
        sum += words[at] as u64;
        at += 1;
    }
    !fold(sum)
}

/// A sum in sixteen bits, with every carry added again.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071, two bytes at a time.
    fn plain(words: &[u32]) -> u16 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_ne_bytes([pair[0], pair[1]]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn a_change_makes_what_summing_again_would(
            mut words in prop::array::uniform10(any::<u32>()),
            new in prop::array::uniform4(prop_oneof![any::<u32>(), Just(0), Just(u32::MAX)]),
        ) {
            let before = plain(&words);
            prop_assert_eq!(of(&words), before);
            let change = words.iter().zip(&new).fold(Change::default(), |all, (old, new)| {
                all.and(Change::of(*old, *new))
            });
            words[..4].copy_from_slice(&new);
            let after = change.apply(before);
            // Both are zero in ones' complement, and a receiver takes either.
            let same = |sum: u16| if sum == 0xffff { 0 } else { sum };
            prop_assert_eq!(same(after), same(plain(&words)));
        }
    }

    #[test]
    fn no_checksum_of_udp_stays_none_and_one_never_becomes_none() {
        let change = Change::of(1, 2);
        assert_eq!(change.apply_udp(0), 0);
        for before in 1..=u16::MAX {
            assert_ne!(change.apply_udp(before), 0);
        }
    }
}
