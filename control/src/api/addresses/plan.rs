//! The ranges that Services get addresses and ports from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// Addresses at the lower end that are only given on request.
const STATIC_BAND: u128 = 256;
/// Addresses of one range that are looked at, at most: an IPv6 range is far larger than any number
/// of Services.
const LOOKED_AT: u128 = 1 << 20;

/// Ranges to allocate from.
#[derive(Debug, Clone)]
pub struct AddressPlan {
    ranges: Vec<ServiceRange>,
    pub(super) node_ports: RangeInclusive<u16>,
}

/// Why a range is unusable.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The CIDR is malformed, or too small or large.
    #[error(
        "{0}: a service CIDR must be an IPv4 range between /12 and /28 or an IPv6 range between \
         /64 and /124"
    )]
    Cidr(String),
    /// Not one range, nor one of each family.
    #[error("service CIDRs: one is needed, or two of which one is IPv4 and one IPv6")]
    Families,
    /// The port range is malformed or empty.
    #[error("{0}: the node port range must be FIRST-LAST")]
    Ports(String),
}

impl AddressPlan {
    /// Parses `10.96.0.0/12` or `fd00:10:96::/112`, or one of each, and `30000-32767`. The family
    /// that comes first is that of Services which ask for none.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn parse<T: AsRef<str>>(cidrs: &[T], ports: &str) -> Result<Self, PlanError> {
        let range = |cidr: &T| {
            let cidr = cidr.as_ref();
            ServiceRange::parse(cidr).ok_or_else(|| PlanError::Cidr(cidr.to_owned()))
        };
        let ranges: Vec<_> = cidrs.iter().map(range).collect::<Result<_, _>>()?;
        match ranges.as_slice() {
            [_] => {}
            [one, other] if one.family() != other.family() => {}
            _ => return Err(PlanError::Families),
        }
        let node_ports = parse_ports(ports).ok_or_else(|| PlanError::Ports(ports.to_owned()))?;
        Ok(Self { ranges, node_ports })
    }

    /// The n-th address of the first range.
    pub fn nth(&self, index: u32) -> IpAddr {
        self.ranges[0].nth(index.into())
    }

    /// The n-th address of every range, that of the preferred family first.
    pub fn each(&self, index: u32) -> Vec<IpAddr> {
        let ranges = self.ranges.iter();
        ranges.map(|range| range.nth(index.into())).collect()
    }

    /// The families of the cluster, the preferred one first.
    pub(super) fn families(&self) -> Vec<&'static str> {
        self.ranges.iter().map(ServiceRange::family).collect()
    }

    /// The range of a family, and its place.
    pub(super) fn range(&self, family: &str) -> Option<(usize, &ServiceRange)> {
        let mut ranges = self.ranges.iter().enumerate();
        ranges.find(|(_, range)| range.family() == family)
    }
}

/// Addresses of one family.
#[derive(Debug, Clone)]
pub(super) struct ServiceRange {
    first: IpAddr,
    size: u128,
}

impl ServiceRange {
    fn parse(cidr: &str) -> Option<Self> {
        let (address, prefix) = cidr.split_once('/')?;
        let prefix: u32 = prefix.parse().ok()?;
        let (limits, bits) = match address.parse().ok()? {
            IpAddr::V4(_) => (12..=28, 32),
            IpAddr::V6(_) => (64..=124, 128),
        };
        if !limits.contains(&prefix) {
            return None;
        }
        let size = 1_u128 << (bits - prefix);
        let first = match address.parse().ok()? {
            IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip) & !((size - 1) as u32)).into(),
            IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & !(size - 1)).into(),
        };
        Some(Self { first, size })
    }

    /// `IPv4` or `IPv6`.
    pub(super) fn family(&self) -> &'static str {
        family(self.first)
    }

    /// Whether a Service may have the address: the first and the last may not be given.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let offset = match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                u32::from(address).wrapping_sub(first.into()).into()
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                u128::from(address).wrapping_sub(first.into())
            }
            _ => return false,
        };
        offset > 0 && offset < self.size - 1
    }

    /// The first free address after the `last` offset given, outside the static band, with its own
    /// offset.
    pub(super) fn free(
        &self,
        last: u128,
        taken: impl Fn(IpAddr) -> bool,
    ) -> Option<(IpAddr, u128)> {
        let band = STATIC_BAND.min(self.size / 16).max(1);
        let span = (self.size - band - 1).min(LOOKED_AT);
        let offsets = (0..span).map(|step| (last + step) % span);
        let mut all = offsets.map(|offset| (self.nth(band + offset), (offset + 1) % span));
        all.find(|(ip, _)| !taken(*ip))
    }

    fn nth(&self, index: u128) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => Ipv4Addr::from(u32::from(first) + index as u32).into(),
            IpAddr::V6(first) => Ipv6Addr::from(u128::from(first) + index).into(),
        }
    }
}

/// What the API calls the family of an address.
pub(super) fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn parse_ports(ports: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = ports.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_ranges_are_refused() {
        for (cidrs, ports) in [
            (&["10.0.0.0/8"][..], "1-2"),
            (&["x"], "1-2"),
            (&[], "1-2"),
            (&["10.96.0.0/12"], "5-1"),
            (&["fd00::/63"], "1-2"),
            (&["fd00::/125"], "1-2"),
            (&["fd00::/112", "fd01::/112"], "1-2"),
            (&["10.96.0.0/12"], "70000-80000"),
        ] {
            assert!(
                AddressPlan::parse(cidrs, ports).is_err(),
                "{cidrs:?} {ports}"
            );
        }
    }

    #[test]
    fn the_first_family_is_preferred_and_each_has_a_range() {
        let plan = AddressPlan::parse(&["fd00:96::7/112", "10.96.0.0/12"], "1-2").unwrap();
        assert_eq!(plan.families(), ["IPv6", "IPv4"]);
        assert_eq!(plan.nth(10).to_string(), "fd00:96::a");
        assert_eq!(plan.each(10)[1].to_string(), "10.96.0.10");
        let (place, range) = plan.range("IPv6").unwrap();
        assert_eq!(place, 0);
        for (address, inside) in [
            ("fd00:96::1", true),
            ("fd00:96::", false),
            ("fd00:96::ffff", false),
            ("fd00:97::1", false),
            ("10.96.0.1", false),
        ] {
            assert_eq!(
                range.contains(address.parse().unwrap()),
                inside,
                "{address}"
            );
        }
        let free = range.free(0, |ip| ip.to_string() == "fd00:96::100");
        assert_eq!(free.unwrap().0.to_string(), "fd00:96::101");
    }
}
