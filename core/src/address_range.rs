//! Ranges of addresses as people write them: `192.0.2.0/28`, `192.0.2.10-192.0.2.20`, `192.0.2.7`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses of one family from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Something that should be an address is none.
    #[error("{0:?} is not an IP address")]
    Address(String),
    /// The prefix length is no number or too large.
    #[error("{0:?} is not a prefix length")]
    Prefix(String),
    /// The address has bits beyond the prefix, so that two ranges could be meant.
    #[error("the network of that length begins at {0}")]
    HostBits(IpAddr),
    /// The ends are of different families.
    #[error("a range is of one family")]
    Families,
    /// The last address comes before the first.
    #[error("the range ends before it begins")]
    Order,
}

impl AddressRange {
    /// The first address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// Whether the address is among them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4()
            && (number(self.first)..=number(self.last)).contains(&number(address))
    }

    /// How many addresses there are, at most `u128::MAX`.
    #[must_use]
    pub fn size(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1)
    }

    /// Every address in order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let v4 = self.first.is_ipv4();
        (number(self.first)..=number(self.last)).map(move |value| address(value, v4))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn address(value: u128, v4: bool) -> IpAddr {
    match u32::try_from(value) {
        Ok(value) if v4 => Ipv4Addr::from(value).into(),
        _ => Ipv6Addr::from(value).into(),
    }
}

fn parse(text: &str) -> Result<IpAddr, RangeError> {
    let trimmed = text.trim();
    let address = trimmed.parse();
    address.map_err(|_| RangeError::Address(trimmed.to_owned()))
}

fn network(text: &str, length: &str) -> Result<AddressRange, RangeError> {
    let first = parse(text)?;
    let bits = if first.is_ipv4() { 32 } else { 128 };
    let length: u32 = length
        .parse()
        .ok()
        .filter(|length| *length <= bits)
        .ok_or_else(|| RangeError::Prefix(length.to_owned()))?;
    let mask = 1_u128
        .checked_shl(bits - length)
        .map_or(u128::MAX, |size| size - 1);
    let value = number(first);
    if value & mask != 0 {
        let begin = address(value & !mask, first.is_ipv4());
        return Err(RangeError::HostBits(begin));
    }
    let last = address(value | mask, first.is_ipv4());
    Ok(AddressRange { first, last })
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        if let Some((address, length)) = text.split_once('/') {
            return network(address, length);
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (parse(first)?, parse(last)?);
        if first.is_ipv4() != last.is_ipv4() {
            return Err(RangeError::Families);
        }
        if number(last) < number(first) {
            return Err(RangeError::Order);
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().expect(text)
    }

    #[test]
    fn networks_ranges_and_single_addresses_are_read() {
        assert_eq!(range("192.0.2.16/30").to_string(), "192.0.2.16-192.0.2.19");
        assert_eq!(range("192.0.2.9 - 192.0.2.10").size(), 2);
        assert_eq!(range("192.0.2.9").iter().count(), 1);
        assert_eq!(range("fd00::/64").size(), 1 << 64);
        assert_eq!(range("::/0").size(), u128::MAX);
        assert!(range("fd00::/64").contains("fd00::ffff".parse().expect("an address")));
        assert!(!range("0.0.0.0/0").contains("::1".parse().expect("an address")));
    }

    #[test]
    fn faults_are_told_apart() {
        let fault = |text: &str| text.parse::<AddressRange>().expect_err(text).to_string();
        assert_eq!(fault("ten"), "\"ten\" is not an IP address");
        assert_eq!(fault("192.0.2.0/33"), "\"33\" is not a prefix length");
        assert_eq!(
            fault("192.0.2.1/24"),
            "the network of that length begins at 192.0.2.0"
        );
        assert_eq!(
            fault("192.0.2.9-192.0.2.1"),
            "the range ends before it begins"
        );
        assert_eq!(fault("192.0.2.9-::1"), "a range is of one family");
    }
}
