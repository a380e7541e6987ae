//! Addresses and ports as they lie in packets.

use crate::abi;

abi! {
    /// An IP address of 16 bytes in network order; IPv4 is mapped (`::ffff:a.b.c.d`, RFC 4291
    /// section 2.5.5.2). The words hold the bytes as they lie in memory, so that a program copies
    /// and compares them without a swap.
    pub struct Addr = 16 {
        /// The four words, each with the bytes in the packet's order.
        pub words: [u32; 4],
    }
}

/// Third word of a mapped IPv4 address.
const MAPPED: u32 = 0x0000_ffff_u32.to_be();

impl Addr {
    /// `::`: no address at all; in a service key, *any IPv6 address of a node* (NodePort).
    pub const UNSPECIFIED: Self = Self { words: [0; 4] };
    /// `::ffff:0.0.0.0`: in a service key, *any IPv4 address of a node* (NodePort).
    pub const ANY_V4: Self = Self {
        words: [0, 0, MAPPED, 0],
    };

    /// Any address of a node in the family of this address: [`Self::ANY_V4`] or `::`.
    #[inline(always)]
    pub const fn any(&self) -> Self {
        if self.is_v4() {
            Self::ANY_V4
        } else {
            Self::UNSPECIFIED
        }
    }

    /// A mapped address from the four bytes of an IPv4 address.
    #[inline(always)]
    pub const fn v4(bytes: [u8; 4]) -> Self {
        Self::v4_word(u32::from_ne_bytes(bytes))
    }

    /// A mapped address from the word that lies in an IPv4 header.
    #[inline(always)]
    pub const fn v4_word(word: u32) -> Self {
        Self {
            words: [0, 0, MAPPED, word],
        }
    }

    /// An address from its 16 bytes in network order.
    pub const fn from_bytes(b: [u8; 16]) -> Self {
        Self {
            words: [
                u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
                u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
                u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
                u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
            ],
        }
    }

    /// The 16 bytes in network order.
    pub const fn bytes(&self) -> [u8; 16] {
        let [a, b, c, d] = self.words;
        let (a, b) = (a.to_ne_bytes(), b.to_ne_bytes());
        let (c, d) = (c.to_ne_bytes(), d.to_ne_bytes());
        [
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1],
            d[2], d[3],
        ]
    }

    /// Whether this is a mapped IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.words[0] == 0 && self.words[1] == 0 && self.words[2] == MAPPED
    }

    /// The word of a mapped IPv4 address as it lies in a header; the last word of an IPv6 one.
    #[inline(always)]
    pub const fn word_v4(&self) -> u32 {
        self.words[3]
    }

    /// Whether the address is multicast or the limited broadcast (224.0.0.0/4, 255.255.255.255,
    /// ff00::/8).
    #[inline(always)]
    pub const fn is_multicast(&self) -> bool {
        if self.is_v4() {
            let first = self.words[3].to_ne_bytes()[0];
            first & 0xf0 == 0xe0 || self.words[3] == u32::MAX
        } else {
            self.words[0].to_ne_bytes()[0] == 0xff
        }
    }

    /// Whether the first `prefix_len` bits (0 to 128, IPv4 counted from 96) equal those of `net`.
    #[inline(always)]
    pub const fn within(&self, net: &Self, prefix_len: u32) -> bool {
        let mut left = prefix_len;
        let mut word = 0;
        while word < 4 {
            let bits = if left > 32 { 32 } else { left };
            let mask = if bits == 0 {
                0
            } else {
                (u32::MAX << (32 - bits)).to_be()
            };
            if (self.words[word] ^ net.words[word]) & mask != 0 {
                return false;
            }
            left -= bits;
            word += 1;
        }
        true
    }
}

/// A TCP or UDP port (or an ICMP echo identifier) in network byte order.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Port(pub u16);

impl Port {
    /// Wildcard of a policy key: any port.
    pub const ANY: Self = Self(0);

    /// A port from its number in host order.
    #[inline(always)]
    pub const fn new(number: u16) -> Self {
        Self(number.to_be())
    }

    /// The number in host order.
    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be(self.0)
    }

    /// Whether the port's number lies in `first..=last` (host order).
    #[inline(always)]
    pub const fn between(self, first: u16, last: u16) -> bool {
        let number = self.get();
        number >= first && number <= last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_address_has_the_bytes_of_rfc_4291() {
        let a = Addr::v4([10, 244, 1, 2]);
        assert_eq!(
            a.bytes(),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 244, 1, 2]
        );
        assert_eq!(Addr::from_bytes(a.bytes()), a);
        assert!(a.is_v4());
        assert!(!Addr::UNSPECIFIED.is_v4());
    }

    #[test]
    fn prefixes_compare_in_network_order() {
        let net = Addr::v4([10, 244, 1, 0]);
        assert!(Addr::v4([10, 244, 1, 255]).within(&net, 96 + 24));
        assert!(!Addr::v4([10, 244, 2, 0]).within(&net, 96 + 24));
        assert!(Addr::v4([10, 245, 2, 0]).within(&net, 96 + 15));
        assert!(!Addr::v4([10, 246, 2, 0]).within(&net, 96 + 15));
        assert!(Addr::UNSPECIFIED.within(&net, 0));
    }

    #[test]
    fn multicast_and_broadcast_are_recognised() {
        assert!(Addr::v4([224, 0, 0, 1]).is_multicast());
        assert!(Addr::v4([255; 4]).is_multicast());
        assert!(!Addr::v4([10, 0, 0, 255]).is_multicast());
        assert!(
            Addr {
                words: [0x0000_02ff, 0, 0, 0]
            }
            .is_multicast()
        );
    }

    #[test]
    fn ports_are_kept_in_network_order() {
        assert_eq!(Port::new(80).0.to_ne_bytes(), [0, 80]);
        assert_eq!(Port::new(61000).get(), 61000);
        assert!(Port::new(30000).between(30000, 32767));
        assert!(!Port::new(32768).between(30000, 32767));
    }
}
