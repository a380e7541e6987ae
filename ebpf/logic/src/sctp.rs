//! SCTP (RFC 9260): what a chunk does to an association, and the checksum of a packet whose ports
//! change.
//!
//! The checksum is a CRC32c over the whole packet (RFC 9260, appendix A). It is linear: what four bytes
//! change in it follows from their difference and from how many bytes come after them, and none of
//! these bytes is read. So ports are translated like TCP's. Addresses are not under it.
//!
//! Not here: addresses inside INIT chunks. An association of several paths that is translated has the
//! one path that is.

use naru_ebpf_common::protocol;

/// Bytes of the common header.
pub const HEADER_LEN: usize = 12;
/// Where the checksum lies in it.
pub const CHECKSUM: usize = 8;
/// Words up to the first chunk's head, with it.
pub(crate) const WORDS: usize = 4;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const SHUTDOWN_COMPLETE: u8 = 14;

/// What conntrack reads of a packet by its first chunk, in the flags of TCP: these chunks are sent
/// alone or first (RFC 9260, 6.10), and mean the same.
#[inline(always)]
pub(crate) const fn flags(chunk: u8) -> u8 {
    match chunk {
        INIT => protocol::SYN,
        INIT_ACK => protocol::SYN | protocol::ACK,
        ABORT | SHUTDOWN_COMPLETE => protocol::RST,
        _ => protocol::ACK,
    }
}

/// The polynomial of CRC32c, its bits reversed: the coefficient of 1 is the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// 1 as a polynomial.
const ONE: u32 = 1 << 31;

/// What a remainder is multiplied by when `i` bytes follow: `x` to the power of `8 * i`. Together with
/// [`MANY`] good for every length of a packet.
///
/// Two products with entries of small tables, where one for each bit of the length would keep the
/// verifier busy for longer than it allows.
static FEW: [u32; 256] = powers(ONE >> 8);
/// What a remainder is multiplied by when `256 * i` bytes follow.
static MANY: [u32; 256] = powers({
    let mut power = ONE >> 8;
    let mut k = 0;
    while k < 8 {
        power = product(power, power);
        k += 1;
    }
    power
});

/// The powers of `base`, from 1 on.
const fn powers(base: u32) -> [u32; 256] {
    let mut powers = [ONE; 256];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = product(powers[i - 1], base);
        i += 1;
    }
    powers
}

/// `a * b` modulo the polynomial. Without a branch: the verifier need not follow every combination
/// of bits.
#[inline(always)]
const fn product(a: u32, mut b: u32) -> u32 {
    let mut sum = 0;
    let mut bit = 0;
    while bit < 32 {
        sum ^= b & 0u32.wrapping_sub(a >> (31 - bit) & 1);
        b = (b >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(b & 1));
        bit += 1;
    }
    sum
}

/// The checksum, as it lies in memory, of a packet with this `checksum` before its first word
/// changed from `old` to `new`, as they lie in memory; `len` are the packet's bytes from the common
/// header on, below 65,536.
///
/// A checksum of zero stays: hardware computes it later, or both ends do without (RFC 9653).
#[inline(never)]
pub fn checksum(checksum: u32, old: u32, new: u32, len: u32) -> u32 {
    if checksum == 0 {
        return 0;
    }
    let change = u32::from_le(old ^ new);
    let few = product(FEW[len as usize & 0xff], change);
    let change = product(MANY[len as usize >> 8 & 0xff], few);
    checksum ^ change.to_le()
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// Bit by bit, as the specification has it.
    fn crc32c(bytes: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ if crc & 1 != 0 { POLYNOMIAL } else { 0 };
            }
        }
        !crc
    }

    fn summed(mut packet: Vec<u8>) -> Vec<u8> {
        packet[CHECKSUM..HEADER_LEN].fill(0);
        let sum = crc32c(&packet);
        packet[CHECKSUM..HEADER_LEN].copy_from_slice(&sum.to_le_bytes());
        packet
    }

    fn word(packet: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(packet[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // The usual check value.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn what_has_no_checksum_gets_none() {
        assert_eq!(checksum(0, 1, 2, 40), 0);
    }

    proptest! {
        #[test]
        fn a_changed_packet_has_the_checksum_that_it_would_have_been_sent_with(
            packet in prop::collection::vec(any::<u8>(), HEADER_LEN..1600),
            ports in any::<[u8; 4]>(),
        ) {
            let before = summed(packet);
            let mut after = before.clone();
            after[..4].copy_from_slice(&ports);
            let after = summed(after);
            let (old, new) = (word(&before, 0), word(&after, 0));
            let said = checksum(word(&before, CHECKSUM), old, new, before.len() as u32);
            prop_assert_eq!(said, word(&after, CHECKSUM));
        }
    }
}
