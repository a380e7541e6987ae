//! Ranges of addresses, of either family, and their equal parts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use thiserror::Error;

/// Prefix length of a node's IPv6 range, where the cluster's is short enough.
const NODE_PREFIX_V6: u8 = 64;
/// Nodes that an IPv6 range has room for, as a power of two, where it is not.
const NODES_V6: u8 = 8;

/// A network in CIDR form; host bits are always zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    base: u128,
    prefix: u8,
    /// Bits of an address: 32 or 128.
    bits: u8,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a range such as 10.244.0.0/16 or fd00:10:244::/56")]
pub struct ParseRangeError(String);

impl FromStr for Range {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, ParseRangeError> {
        let fault = || ParseRangeError(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(fault)?;
        let (base, bits) = match address.parse().map_err(|_| fault())? {
            IpAddr::V4(address) => (u32::from(address).into(), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let prefix: u8 = prefix
            .parse()
            .ok()
            .filter(|prefix| *prefix <= bits)
            .ok_or_else(fault)?;
        Ok(Range {
            base: base & mask(prefix, bits),
            prefix,
            bits,
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.prefix)
    }
}

impl Range {
    /// Whether it is of IPv6.
    pub fn is_v6(&self) -> bool {
        self.bits == 128
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: &Range) -> bool {
        let shorter = mask(self.prefix.min(other.prefix), self.bits);
        self.bits == other.bits && self.base & shorter == other.base & shorter
    }

    /// The prefix length of one node's part of this range, where IPv4 nodes get `v4`: 64 for IPv6,
    /// or longer where the range has not room enough for so long parts.
    pub fn node_prefix(&self, v4: u8) -> u8 {
        if self.is_v6() {
            NODE_PREFIX_V6.max(self.prefix.saturating_add(NODES_V6).min(120))
        } else {
            v4
        }
    }

    /// The first part of length `prefix` that overlaps none of `taken`, which come in their order:
    /// one pass over them.
    pub fn first_free<'a>(
        &self,
        prefix: u8,
        taken: impl IntoIterator<Item = &'a Range>,
    ) -> Option<Range> {
        let count = self.count(prefix);
        let step = u32::from(self.bits.saturating_sub(prefix));
        let index = |address: u128| (address - self.base).checked_shr(step).unwrap_or(0);
        let mut next = 0;
        for range in taken.into_iter().filter(|range| range.overlaps(self)) {
            if index(range.base.max(self.base)) > next {
                break;
            }
            next = next.max(index(range.last().min(self.last())) + 1);
        }
        (next < count).then(|| self.part(next, prefix))
    }

    /// How many parts of length `prefix` there are, none if that is shorter than its own; 2^64 is as
    /// good as any greater number.
    fn count(&self, prefix: u8) -> u128 {
        let more = prefix
            .checked_sub(self.prefix)
            .filter(|_| prefix <= self.bits);
        more.map_or(0, |more| 1_u128 << more.min(64))
    }

    fn part(&self, index: u128, prefix: u8) -> Range {
        let step = u32::from(self.bits.saturating_sub(prefix));
        Range {
            base: self.base + index.checked_shl(step).unwrap_or(0),
            prefix,
            bits: self.bits,
        }
    }

    /// Its last address.
    fn last(&self) -> u128 {
        self.base | !mask(self.prefix, self.bits)
    }

    fn address(&self) -> IpAddr {
        match u32::try_from(self.base) {
            Ok(base) if self.bits == 32 => Ipv4Addr::from(base).into(),
            _ => Ipv6Addr::from(self.base).into(),
        }
    }
}

/// The ranges of a cluster's pods: one, or one of each family.
///
/// # Errors
/// One sentence, when there are none, too many, or two of one family.
pub fn of_cluster(ranges: &[Range]) -> Result<(), String> {
    match ranges {
        [_] => Ok(()),
        [one, other] if one.is_v6() != other.is_v6() => Ok(()),
        _ => Err("pod CIDRs: one is needed, or two of which one is IPv4 and one IPv6".to_owned()),
    }
}

fn mask(prefix: u8, bits: u8) -> u128 {
    let hosts = 1_u128.checked_shl((bits - prefix).into());
    !hosts.map_or(u128::MAX, |hosts| hosts - 1)
}

#[cfg(test)]
mod tests {
    use super::{Range, of_cluster};

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_free_part_is_given_and_a_freed_one_again() {
        let all = range("10.244.0.0/16");
        let used = [range("10.244.0.0/24"), range("10.244.2.0/24")];
        assert_eq!(all.first_free(24, &used), Some(range("10.244.1.0/24")));
        assert_eq!(all.first_free(24, &[]), Some(range("10.244.0.0/24")));
        for (taken, next) in [
            (&["10.244.0.0/23"][..], "10.244.2.0/24"),
            (
                &["10.244.0.0/25", "10.244.0.128/25", "10.244.1.7/32"],
                "10.244.2.0/24",
            ),
            (
                &["10.244.0.0/22", "10.244.1.0/24", "10.245.0.0/16"],
                "10.244.4.0/24",
            ),
            (&["10.240.0.0/24", "10.244.1.0/24"], "10.244.0.0/24"),
        ] {
            let taken: Vec<_> = taken.iter().map(|text| range(text)).collect();
            assert_eq!(all.first_free(24, &taken), Some(range(next)), "{taken:?}");
        }
        assert_eq!(all.first_free(24, &[range("10.0.0.0/8")]), None);
    }

    #[test]
    fn each_family_has_parts_of_its_own() {
        let all = range("fd00:10:244::/56");
        let used = [range("10.244.0.0/24"), range("fd00:10:244::/64")];
        let next = all.first_free(all.node_prefix(24), &used).unwrap();
        assert_eq!(next.to_string(), "fd00:10:244:1::/64");
        assert!(!range("::a00:0/120").overlaps(&range("10.0.0.0/24")));
        assert_eq!(all.count(64), 256);
        for (text, length) in [("fd00::/64", 72), ("fd00::/118", 120), ("10.0.0.0/8", 24)] {
            assert_eq!(range(text).node_prefix(24), length, "{text}");
        }
    }

    #[test]
    fn an_exhausted_range_gives_nothing() {
        let used: Vec<_> = (0..4)
            .map(|index| range("10.0.0.0/22").part(index, 24))
            .collect();
        assert_eq!(used.len(), 4);
        assert_eq!(range("10.0.0.0/22").first_free(24, &used), None);
        assert_eq!(range("10.0.0.0/24").first_free(16, &[]), None);
        assert_eq!(range("10.0.0.0/24").first_free(33, &[]), None);
    }

    #[test]
    fn texts_are_checked_and_host_bits_cleared() {
        assert_eq!(range("10.244.3.9/16").to_string(), "10.244.0.0/16");
        assert_eq!(range("fd00::9/64").to_string(), "fd00::/64");
        assert_eq!(range("0.0.0.0/0").count(1), 2);
        assert_eq!(range("::/0").count(1), 2);
        for bad in ["10.244.0.0", "10.244.0.0/33", "10.0.0/8", "::/129", ""] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cluster_has_one_range_for_each_family() {
        let ranges = |texts: &[&str]| texts.iter().map(|text| range(text)).collect::<Vec<_>>();
        for good in [&["fd00::/56"][..], &["fd00::/56", "10.0.0.0/8"]] {
            assert_eq!(of_cluster(&ranges(good)), Ok(()));
        }
        for bad in [&[][..], &["10.0.0.0/8", "11.0.0.0/8"]] {
            assert!(of_cluster(&ranges(bad)).is_err(), "{bad:?}");
        }
    }
}
