//! What the host adds to the contract: `aya::Pod`, conversions and `Display`.
#![allow(unsafe_code, reason = "aya::Pod is an unsafe trait")]

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use crate::{
    Addr, Affinity, AffinityKey, Backend, BackendKey, Bandwidth, BandwidthKey, Conn, ConnectedPeer,
    Counter, DropCount, DropKey, Endpoint, Event, Family, FragmentKey, Fragmented, IpInfo,
    MaglevBlock, MaglevKey, MemberKey, NatEntry, NatKey, NodeConfig, Pace, PodAddrs, PolicyEntry,
    PolicyKey, Port, RangeKey, Reason, Service, ServiceKey, SocketKey, SocketPeer, TableSize,
    Tuple,
};

/// Compiles only for types without padding whose every bit pattern is valid.
const fn assert_plain<T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable>() {}

macro_rules! pods {
    ($($name:ident)*) => {
        $(
            const _: () = assert_plain::<$name>();
            // SAFETY: `assert_plain` above proves that the type is plain bytes without padding.
            unsafe impl aya::Pod for $name {}
        )*
    };
}

pods! {
    Addr Affinity AffinityKey Backend BackendKey Bandwidth BandwidthKey Conn ConnectedPeer Counter DropCount DropKey Endpoint Event IpInfo
    Family FragmentKey Fragmented MaglevBlock MaglevKey MemberKey NatEntry NatKey NodeConfig Pace PodAddrs PolicyEntry PolicyKey RangeKey Service ServiceKey
    SocketKey SocketPeer Tuple
}

impl Event {
    /// An event from an item of the ring buffer; `None` when the size is another's.
    pub fn from_item(item: &[u8]) -> Option<Self> {
        zerocopy::FromBytes::read_from_bytes(item).ok()
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(addr: Ipv4Addr) -> Self {
        Self::v4(addr.octets())
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(addr: Ipv6Addr) -> Self {
        Self::from_bytes(addr.octets())
    }
}

impl From<IpAddr> for Addr {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

/// A mapped address becomes IPv4 again.
impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        Ipv6Addr::from(addr.bytes()).to_canonical()
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The number of slots.
impl fmt::Display for TableSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.slots().fmt(f)
    }
}

/// A number of slots that no table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTableSize;

impl core::error::Error for NoTableSize {}

impl fmt::Display for NoTableSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("supported values: ")?;
        for (n, size) in TableSize::all().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}\"{size}\"")?;
        }
        Ok(())
    }
}

impl FromStr for TableSize {
    type Err = NoTableSize;

    fn from_str(text: &str) -> Result<Self, NoTableSize> {
        let slots: u32 = text.parse().map_err(|_| NoTableSize)?;
        let mut all = Self::all();
        all.find(|size| size.slots() == slots).ok_or(NoTableSize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_size_is_a_number_of_slots_that_there_is() {
        assert_eq!("16381".parse(), Ok(TableSize::DEFAULT));
        assert_eq!(TableSize::DEFAULT.to_string(), "16381");
        let error = "16384".parse::<TableSize>().unwrap_err().to_string();
        assert!(error.ends_with("\"65521\", \"131071\""), "{error}");
    }

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["10.244.1.2", "fd00::1", "0.0.0.0"] {
            let ip: IpAddr = text.parse().expect("an address");
            assert_eq!(IpAddr::from(Addr::from(ip)), ip);
            assert_eq!(Addr::from(ip).to_string(), text);
        }
    }
}
