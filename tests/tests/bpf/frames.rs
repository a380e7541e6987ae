//! Frames: made with right checksums, read back with their checksums checked.

use naru_ebpf_common::{Addr, protocol};

const ETH: usize = 14;
const IP: usize = 20;

/// What a frame says, in one comparable value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) src: Addr,
    pub(crate) src_port: u16,
    pub(crate) dst: Addr,
    pub(crate) dst_port: u16,
}

/// From here to there.
pub(crate) fn ends(src: Addr, src_port: u16, dst: Addr, dst_port: u16) -> Ends {
    Ends {
        src,
        src_port,
        dst,
        dst_port,
    }
}

impl Ends {
    /// The way back.
    pub(crate) fn back(self) -> Self {
        ends(self.dst, self.dst_port, self.src, self.src_port)
    }
}

pub(crate) fn tcp(e: Ends, flags: u8) -> Vec<u8> {
    let mut l4 = vec![0; 20];
    l4[..2].copy_from_slice(&e.src_port.to_be_bytes());
    l4[2..4].copy_from_slice(&e.dst_port.to_be_bytes());
    l4[12] = 5 << 4;
    l4[13] = flags;
    l4.extend_from_slice(b"naru");
    ipv4(e, protocol::TCP, checked(e, protocol::TCP, l4, 16))
}

/// A segment of these numbers, without data.
pub(crate) fn segment(e: Ends, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let mut l4 = vec![0; 20];
    l4[..2].copy_from_slice(&e.src_port.to_be_bytes());
    l4[2..4].copy_from_slice(&e.dst_port.to_be_bytes());
    l4[4..8].copy_from_slice(&seq.to_be_bytes());
    l4[8..12].copy_from_slice(&ack.to_be_bytes());
    l4[12] = 5 << 4;
    l4[13] = flags;
    ipv4(e, protocol::TCP, checked(e, protocol::TCP, l4, 16))
}

pub(crate) fn udp(e: Ends) -> Vec<u8> {
    let l4 = udp_header(e);
    ipv4(e, protocol::UDP, checked(e, protocol::UDP, l4, 6))
}

/// UDP without a checksum (allowed in IPv4, RFC 768).
pub(crate) fn udp_unchecked(e: Ends) -> Vec<u8> {
    ipv4(e, protocol::UDP, udp_header(e))
}

fn udp_header(e: Ends) -> Vec<u8> {
    let mut l4 = Vec::new();
    l4.extend_from_slice(&e.src_port.to_be_bytes());
    l4.extend_from_slice(&e.dst_port.to_be_bytes());
    l4.extend_from_slice(&[0, 12, 0, 0]);
    l4.extend_from_slice(b"naru");
    l4
}

/// ICMP echo: both ports of `e` are the identifier.
pub(crate) fn echo(e: Ends, reply: bool) -> Vec<u8> {
    let mut l4 = vec![if reply { 0 } else { 8 }, 0, 0, 0];
    l4.extend_from_slice(&e.src_port.to_be_bytes());
    l4.extend_from_slice(&[0, 1]);
    l4.extend_from_slice(b"naru");
    let sum = checksum(&l4);
    l4[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(e, protocol::ICMP, l4)
}

/// `sender` tells the source of `about` that its destination is unreachable.
pub(crate) fn unreachable(sender: Addr, about: &[u8]) -> Vec<u8> {
    let mut l4 = vec![3, 1, 0, 0, 0, 0, 0, 0];
    l4.extend_from_slice(&about[ETH..ETH + IP + 8]);
    let sum = checksum(&l4);
    l4[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(
        ends(sender, 0, read_addr(about, ETH + 12), 0),
        protocol::ICMP,
        l4,
    )
}

pub(crate) fn ipv4(e: Ends, protocol: u8, l4: Vec<u8>) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00];
    let mut header = vec![0x45, 0];
    header.extend_from_slice(&((IP + l4.len()) as u16).to_be_bytes());
    header.extend_from_slice(&[0, 1, 0x40, 0, 64, protocol, 0, 0]);
    header.extend_from_slice(&e.src.word_v4().to_ne_bytes());
    header.extend_from_slice(&e.dst.word_v4().to_ne_bytes());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(header);
    frame.extend(l4);
    frame
}

fn checked(e: Ends, protocol: u8, mut l4: Vec<u8>, at: usize) -> Vec<u8> {
    let mut sum = checksum(&pseudo(e.src, e.dst, protocol, &l4));
    if sum == 0 && protocol == protocol::UDP {
        sum = 0xffff;
    }
    l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    l4
}

fn pseudo(src: Addr, dst: Addr, protocol: u8, l4: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    all.extend_from_slice(&src.word_v4().to_ne_bytes());
    all.extend_from_slice(&dst.word_v4().to_ne_bytes());
    all.extend_from_slice(&[0, protocol]);
    all.extend_from_slice(&(l4.len() as u16).to_be_bytes());
    all.extend_from_slice(l4);
    all
}

/// The internet checksum (RFC 1071); 0 over bytes that contain a right one.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|c| u32::from(u16::from_be_bytes([c[0], c.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn read_addr(frame: &[u8], at: usize) -> Addr {
    Addr::v4(frame[at..at + 4].try_into().expect("four bytes"))
}

fn read_port(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// What a frame says; panics when one of its checksums is wrong.
pub(crate) fn parse(frame: &[u8]) -> Ends {
    assert_eq!(
        checksum(&frame[ETH..ETH + IP]),
        0,
        "checksum of the IP header"
    );
    let (src, dst) = (read_addr(frame, ETH + 12), read_addr(frame, ETH + 16));
    let l4 = &frame[ETH + IP..];
    let protocol = frame[ETH + 9];
    if protocol == protocol::ICMP {
        assert_eq!(checksum(l4), 0, "ICMP checksum");
        let id = read_port(l4, 4);
        return ends(src, id, dst, id);
    }
    let without = protocol == protocol::UDP && l4[6..8] == [0, 0];
    assert!(
        without || checksum(&pseudo(src, dst, protocol, l4)) == 0,
        "layer 4 checksum"
    );
    ends(src, read_port(l4, 0), dst, read_port(l4, 2))
}

/// Sequence and acknowledgement numbers and the flags of a TCP frame without data.
pub(crate) fn segment_of(frame: &[u8]) -> (u32, u32, u8) {
    assert_eq!(frame.len(), ETH + IP + 20, "a bare header");
    let word = |at| u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"));
    (word(ETH + IP + 4), word(ETH + IP + 8), frame[ETH + IP + 13])
}

/// Type and code of an ICMP frame.
pub(crate) fn icmp_of(frame: &[u8]) -> (u8, u8) {
    (frame[ETH + IP], frame[ETH + IP + 1])
}

/// The same frame with four bytes of options in its IP header.
pub(crate) fn with_options(frame: &[u8]) -> Vec<u8> {
    let mut long = frame.to_vec();
    long.splice(ETH + IP..ETH + IP, [1, 1, 1, 0]);
    long[ETH] = 0x46;
    let len = (long.len() - ETH) as u16;
    long[ETH + 2..ETH + 4].copy_from_slice(&len.to_be_bytes());
    long[ETH + 10..ETH + 12].fill(0);
    let sum = checksum(&long[ETH..ETH + IP + 4]);
    long[ETH + 10..ETH + 12].copy_from_slice(&sum.to_be_bytes());
    long
}

/// The packet that an ICMP error is about; its IP header's checksum is checked.
pub(crate) fn embedded(frame: &[u8]) -> Ends {
    let inner = &frame[ETH + IP + 8..];
    assert_eq!(
        checksum(&inner[..IP]),
        0,
        "checksum of the embedded IP header"
    );
    ends(
        read_addr(inner, 12),
        read_port(inner, IP),
        read_addr(inner, 16),
        read_port(inner, IP + 2),
    )
}

/// Whether a UDP frame says that it has no checksum.
pub(crate) fn has_no_udp_checksum(frame: &[u8]) -> bool {
    frame[ETH + IP + 6..ETH + IP + 8] == [0, 0]
}

#[test]
fn made_frames_have_right_checksums() {
    use crate::addresses::{API, WEB};
    let e = ends(WEB, 40000, API, 80);
    assert_eq!(parse(&tcp(e, protocol::SYN)), e);
    assert_eq!(parse(&udp(e)), e);
    let id = ends(WEB, 7, API, 7);
    assert_eq!(parse(&echo(id, false)), id);
}
