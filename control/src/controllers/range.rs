//! Ranges of IPv4 addresses and their equal parts.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use thiserror::Error;

/// A network in CIDR form; host bits are always zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ipv4Range {
    base: u32,
    prefix: u8,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not an IPv4 range such as 10.244.0.0/16")]
pub struct ParseRangeError(String);

impl FromStr for Ipv4Range {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, ParseRangeError> {
        let fault = || ParseRangeError(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(fault)?;
        let address: Ipv4Addr = address.parse().map_err(|_| fault())?;
        let prefix: u8 = prefix
            .parse()
            .ok()
            .filter(|prefix| *prefix <= 32)
            .ok_or_else(fault)?;
        Ok(Ipv4Range {
            base: u32::from(address) & mask(prefix),
            prefix,
        })
    }
}

impl fmt::Display for Ipv4Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

impl Ipv4Range {
    /// Whether the two share an address.
    pub fn overlaps(&self, other: &Ipv4Range) -> bool {
        let shorter = mask(self.prefix.min(other.prefix));
        self.base & shorter == other.base & shorter
    }

    /// The parts of length `prefix`, in order; none if `prefix` is shorter than the range's own.
    pub fn parts(&self, prefix: u8) -> impl Iterator<Item = Ipv4Range> + use<> {
        let (base, bits) = (self.base, prefix.saturating_sub(self.prefix));
        let count = if prefix < self.prefix || prefix > 32 {
            0
        } else {
            1u64 << bits
        };
        let step = 1u64 << (32 - prefix.min(32));
        (0..count).map(move |index| Ipv4Range {
            base: base + (index * step) as u32,
            prefix,
        })
    }

    /// The first part of length `prefix` that overlaps none of `used`.
    pub fn first_free(&self, prefix: u8, used: &[Ipv4Range]) -> Option<Ipv4Range> {
        self.parts(prefix)
            .find(|part| !used.iter().any(|taken| taken.overlaps(part)))
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Ipv4Range;

    fn range(text: &str) -> Ipv4Range {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_free_part_is_given_and_a_freed_one_again() {
        let all = range("10.244.0.0/16");
        let used = [range("10.244.0.0/24"), range("10.244.2.0/24")];
        assert_eq!(all.first_free(24, &used), Some(range("10.244.1.0/24")));
        assert_eq!(all.first_free(24, &[]), Some(range("10.244.0.0/24")));
        assert_eq!(
            all.first_free(24, &[range("10.244.0.0/23")]),
            Some(range("10.244.2.0/24"))
        );
    }

    #[test]
    fn an_exhausted_range_gives_nothing() {
        let used: Vec<_> = range("10.0.0.0/22").parts(24).collect();
        assert_eq!(used.len(), 4);
        assert_eq!(range("10.0.0.0/22").first_free(24, &used), None);
        assert_eq!(range("10.0.0.0/24").first_free(16, &[]), None);
    }

    #[test]
    fn texts_are_checked_and_host_bits_cleared() {
        assert_eq!(range("10.244.3.9/16").to_string(), "10.244.0.0/16");
        assert_eq!(range("0.0.0.0/0").parts(1).count(), 2);
        for bad in ["10.244.0.0", "10.244.0.0/33", "10.0.0/8", "::/0", ""] {
            assert!(bad.parse::<Ipv4Range>().is_err(), "{bad}");
        }
    }
}
