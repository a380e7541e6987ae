//! Frames: made with right checksums, read back with their checksums checked.

use naru_ebpf_common::{Addr, protocol};

const ETH: usize = 14;
/// Bytes of an IPv4 header without options.
const IPV4: usize = 20;
/// Bytes of an IPv6 header without extensions.
const IPV6: usize = 40;
/// The number of a fragment header.
const FRAGMENT: u8 = 44;
/// Ethertype of IPv6.
const ETHERTYPE_V6: [u8; 2] = [0x86, 0xdd];

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
    data(e, flags, b"naru")
}

/// The same with other data.
pub(crate) fn data(e: Ends, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut l4 = vec![0; 20];
    l4[..2].copy_from_slice(&e.src_port.to_be_bytes());
    l4[2..4].copy_from_slice(&e.dst_port.to_be_bytes());
    l4[12] = 5 << 4;
    l4[13] = flags;
    l4.extend_from_slice(data);
    ip(e, protocol::TCP, checked(e, protocol::TCP, l4, 16))
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
    ip(e, protocol::TCP, checked(e, protocol::TCP, l4, 16))
}

pub(crate) fn udp(e: Ends) -> Vec<u8> {
    let l4 = udp_header(e);
    ip(e, protocol::UDP, checked(e, protocol::UDP, l4, 6))
}

/// UDP without a checksum (allowed in IPv4, RFC 768).
pub(crate) fn udp_unchecked(e: Ends) -> Vec<u8> {
    ip(e, protocol::UDP, udp_header(e))
}

fn udp_header(e: Ends) -> Vec<u8> {
    let mut l4 = Vec::new();
    l4.extend_from_slice(&e.src_port.to_be_bytes());
    l4.extend_from_slice(&e.dst_port.to_be_bytes());
    l4.extend_from_slice(&[0, 12, 0, 0]);
    l4.extend_from_slice(b"naru");
    l4
}

/// Types of SCTP chunks (RFC 9260, 3.2).
pub(crate) const DATA: u8 = 0;
pub(crate) const INIT: u8 = 1;
pub(crate) const INIT_ACK: u8 = 2;
pub(crate) const ABORT: u8 = 6;
pub(crate) const COOKIE_ECHO: u8 = 10;

/// SCTP with one chunk of this type.
pub(crate) fn sctp(e: Ends, chunk: u8) -> Vec<u8> {
    let mut l4 = sctp_packet(e, chunk);
    let sum = crc32c(&l4);
    l4[SCTP_CHECKSUM].copy_from_slice(&sum.to_le_bytes());
    ip(e, protocol::SCTP, l4)
}

/// SCTP whose checksum is still to be computed, or left out (RFC 9653).
pub(crate) fn sctp_unchecked(e: Ends, chunk: u8) -> Vec<u8> {
    ip(e, protocol::SCTP, sctp_packet(e, chunk))
}

const SCTP_CHECKSUM: std::ops::Range<usize> = 8..12;

fn sctp_packet(e: Ends, chunk: u8) -> Vec<u8> {
    let mut l4 = Vec::new();
    l4.extend_from_slice(&e.src_port.to_be_bytes());
    l4.extend_from_slice(&e.dst_port.to_be_bytes());
    l4.extend_from_slice(&[0, 0, 0, 7, 0, 0, 0, 0]);
    l4.extend_from_slice(&[chunk, 0, 0, 8]);
    l4.extend_from_slice(b"naru");
    l4
}

/// The checksum of SCTP (RFC 9260, appendix A), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 != 0 { 0x82f6_3b78 } else { 0 };
        }
    }
    !crc
}

/// Whether the checksum of an SCTP packet is right, or none.
fn is_sctp_right(l4: &[u8]) -> bool {
    let mut bytes = l4.to_vec();
    bytes[SCTP_CHECKSUM].fill(0);
    l4[SCTP_CHECKSUM] == [0; 4] || l4[SCTP_CHECKSUM] == crc32c(&bytes).to_le_bytes()
}

/// ICMP echo: both ports of `e` are the identifier.
pub(crate) fn echo(e: Ends, reply: bool) -> Vec<u8> {
    let kind = match (e.src.is_v4(), reply) {
        (true, false) => 8,
        (true, true) => 0,
        (false, false) => 128,
        (false, true) => 129,
    };
    let mut l4 = vec![kind, 0, 0, 0];
    l4.extend_from_slice(&e.src_port.to_be_bytes());
    l4.extend_from_slice(&[0, 1]);
    l4.extend_from_slice(b"naru");
    icmp(e, l4)
}

/// An ICMP or ICMPv6 message, its checksum to be filled in.
pub(crate) fn icmp(e: Ends, mut l4: Vec<u8>) -> Vec<u8> {
    if !e.src.is_v4() {
        let l4 = checked(e, protocol::ICMPV6, l4, 2);
        return ip(e, protocol::ICMPV6, l4);
    }
    let sum = checksum(&l4);
    l4[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(e, protocol::ICMP, l4)
}

/// `sender` tells the source of `about` that its destination is unreachable.
pub(crate) fn unreachable(sender: Addr, about: &[u8]) -> Vec<u8> {
    let kind = if sender.is_v4() { [3, 1] } else { [1, 0] };
    error(sender, kind, 0, about)
}

/// `sender` tells the source of `about` something of this type and code, with a number.
pub(crate) fn error(sender: Addr, [kind, code]: [u8; 2], number: u32, about: &[u8]) -> Vec<u8> {
    let mut l4 = vec![kind, code, 0, 0];
    l4.extend_from_slice(&number.to_be_bytes());
    l4.extend_from_slice(&about[ETH..l4_of(about) + 8]);
    icmp(ends(sender, 0, source(about), 0), l4)
}

/// A packet of either family.
pub(crate) fn ip(e: Ends, protocol: u8, l4: Vec<u8>) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
    if e.src.is_v4() {
        frame.extend_from_slice(&[0x08, 0x00]);
        frame.extend(ipv4_header(e, protocol, l4.len()));
    } else {
        frame.extend_from_slice(&ETHERTYPE_V6);
        frame.extend(ipv6_header(e, protocol, l4.len()));
    }
    frame.extend(l4);
    frame
}

fn ipv4_header(e: Ends, protocol: u8, len: usize) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend_from_slice(&((IPV4 + len) as u16).to_be_bytes());
    header.extend_from_slice(&[0, 1, 0x40, 0, 64, protocol, 0, 0]);
    header.extend_from_slice(address(&e.src.bytes()));
    header.extend_from_slice(address(&e.dst.bytes()));
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

fn ipv6_header(e: Ends, protocol: u8, len: usize) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend_from_slice(&(len as u16).to_be_bytes());
    header.extend_from_slice(&[protocol, 64]);
    header.extend_from_slice(&e.src.bytes());
    header.extend_from_slice(&e.dst.bytes());
    header
}

/// The bytes of an address as its family writes it.
fn address(bytes: &[u8; 16]) -> &[u8] {
    if Addr::from_bytes(*bytes).is_v4() {
        &bytes[12..]
    } else {
        bytes
    }
}

/// A packet in two fragments (RFC 791, section 3.2; RFC 8200, section 4.5): the first has the first
/// eight bytes behind the IP header.
pub(crate) fn parts(frame: &[u8]) -> [Vec<u8>; 2] {
    parts_after(frame, 1)
}

/// The same, the first with so many times eight bytes.
pub(crate) fn parts_after(frame: &[u8], eights: u8) -> [Vec<u8>; 2] {
    let l4 = l4_of(frame);
    let (first, later) = frame[l4..].split_at(8 * usize::from(eights));
    [(0, first), (eights, later)].map(|(offset, bytes)| {
        let more = u8::from(offset == 0);
        let mut part = frame[..l4].to_vec();
        if is_v6(frame) {
            part.extend([frame[ETH + 6], 0, 0, offset << 3 | more, 0, 0, 0, 9]);
            part[ETH + 6] = FRAGMENT;
            let len = (bytes.len() + 8) as u16;
            part[ETH + 4..ETH + 6].copy_from_slice(&len.to_be_bytes());
        } else {
            part[ETH + 6..ETH + 8].copy_from_slice(&[more << 5, offset]);
            let len = (bytes.len() + IPV4) as u16;
            part[ETH + 2..ETH + 4].copy_from_slice(&len.to_be_bytes());
            part[ETH + 10..ETH + 12].fill(0);
            let sum = checksum(&part[ETH..]);
            part[ETH + 10..ETH + 12].copy_from_slice(&sum.to_be_bytes());
        }
        part.extend_from_slice(bytes);
        part
    })
}

/// The packet that two fragments are of, as the receiver puts it together.
pub(crate) fn joined(first: &[u8], later: &[u8]) -> Vec<u8> {
    let [one, other] = [first, later].map(|part| addresses(part, ETH));
    assert_eq!(one, other, "parts of one packet");
    let l4 = l4_of(first);
    let mut whole = first.to_vec();
    if is_v6(first) {
        whole[ETH + 6] = first[l4];
        whole.splice(l4..l4 + 8, []);
        whole.extend_from_slice(&later[l4 + 8..]);
        let len = (whole.len() - l4) as u16;
        whole[ETH + 4..ETH + 6].copy_from_slice(&len.to_be_bytes());
    } else {
        assert_eq!(checksum(&later[ETH..l4]), 0, "checksum of the later part");
        whole.extend_from_slice(&later[l4..]);
        let len = (whole.len() - ETH) as u16;
        whole[ETH + 2..ETH + 4].copy_from_slice(&len.to_be_bytes());
        whole[ETH + 6..ETH + 8].fill(0);
        whole[ETH + 10..ETH + 12].fill(0);
        let sum = checksum(&whole[ETH..l4]);
        whole[ETH + 10..ETH + 12].copy_from_slice(&sum.to_be_bytes());
    }
    whole
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
    all.extend_from_slice(address(&src.bytes()));
    all.extend_from_slice(address(&dst.bytes()));
    // The same sum in both families, whatever the order of these.
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

fn is_v6(frame: &[u8]) -> bool {
    frame[12..14] == ETHERTYPE_V6
}

/// Where the header of layer 4 begins, without options or extensions before it.
fn l4_of(frame: &[u8]) -> usize {
    ETH + if is_v6(frame) { IPV6 } else { IPV4 }
}

/// Source and destination of the IP header at `header`.
fn addresses(frame: &[u8], header: usize) -> [Addr; 2] {
    let v4 = |at: usize| Addr::v4(frame[at..at + 4].try_into().expect("four bytes"));
    let v6 = |at: usize| Addr::from_bytes(frame[at..at + 16].try_into().expect("sixteen bytes"));
    if is_v6(frame) {
        [v6(header + 8), v6(header + 24)]
    } else {
        [v4(header + 12), v4(header + 16)]
    }
}

fn source(frame: &[u8]) -> Addr {
    addresses(frame, ETH)[0]
}

fn read_port(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// What a frame says; panics when one of its checksums is wrong.
pub(crate) fn parse(frame: &[u8]) -> Ends {
    let protocol = if is_v6(frame) {
        frame[ETH + 6]
    } else {
        let sum = checksum(&frame[ETH..ETH + IPV4]);
        assert_eq!(sum, 0, "checksum of the IP header");
        frame[ETH + 9]
    };
    let [src, dst] = addresses(frame, ETH);
    let l4 = &frame[l4_of(frame)..];
    let sum = || checksum(&pseudo(src, dst, protocol, l4));
    match protocol {
        protocol::ICMP => assert_eq!(checksum(l4), 0, "ICMP checksum"),
        protocol::ICMPV6 => assert_eq!(sum(), 0, "ICMPv6 checksum"),
        protocol::SCTP => assert!(is_sctp_right(l4), "SCTP checksum"),
        protocol::UDP if l4[6..8] == [0, 0] => assert!(!is_v6(frame), "no checksum in IPv6"),
        _ => assert_eq!(sum(), 0, "layer 4 checksum"),
    }
    if protocol == protocol::ICMP || protocol == protocol::ICMPV6 {
        let id = read_port(l4, 4);
        return ends(src, id, dst, id);
    }
    ends(src, read_port(l4, 0), dst, read_port(l4, 2))
}

/// Sequence and acknowledgement numbers and the flags of a TCP frame without data.
pub(crate) fn segment_of(frame: &[u8]) -> (u32, u32, u8) {
    let l4 = &frame[l4_of(frame)..];
    assert_eq!(l4.len(), 20, "a bare header");
    let word = |at: usize| u32::from_be_bytes(l4[at..at + 4].try_into().expect("four bytes"));
    (word(4), word(8), l4[13])
}

/// Type and code of an ICMP frame.
pub(crate) fn icmp_of(frame: &[u8]) -> (u8, u8) {
    let l4 = l4_of(frame);
    (frame[l4], frame[l4 + 1])
}

/// The number in an ICMP error.
pub(crate) fn number_of(frame: &[u8]) -> u32 {
    let at = l4_of(frame) + 4;
    u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"))
}

/// The same frame with what its family has to prolong a header: four bytes of IPv4 options, or
/// eight of IPv6 options for the destination.
pub(crate) fn prolonged(frame: &[u8]) -> Vec<u8> {
    let (mut long, l4) = (frame.to_vec(), l4_of(frame));
    if is_v6(frame) {
        long.splice(l4..l4, [frame[ETH + 6], 0, 1, 4, 0, 0, 0, 0]);
        long[ETH + 6] = 60;
        let len = (long.len() - ETH - IPV6) as u16;
        long[ETH + 4..ETH + 6].copy_from_slice(&len.to_be_bytes());
        return long;
    }
    long.splice(l4..l4, [1, 1, 1, 0]);
    long[ETH] = 0x46;
    let len = (long.len() - ETH) as u16;
    long[ETH + 2..ETH + 4].copy_from_slice(&len.to_be_bytes());
    long[ETH + 10..ETH + 12].fill(0);
    let sum = checksum(&long[ETH..l4 + 4]);
    long[ETH + 10..ETH + 12].copy_from_slice(&sum.to_be_bytes());
    long
}

/// The packet that an ICMP error is about; an IPv4 header's checksum is checked.
pub(crate) fn embedded(frame: &[u8]) -> Ends {
    let inner = l4_of(frame) + 8;
    let l4 = inner + l4_of(frame) - ETH;
    if !is_v6(frame) {
        let sum = checksum(&frame[inner..l4]);
        assert_eq!(sum, 0, "checksum of the embedded IP header");
    }
    let [src, dst] = addresses(frame, inner);
    ends(src, read_port(frame, l4), dst, read_port(frame, l4 + 2))
}

/// Whether a UDP frame says that it has no checksum.
pub(crate) fn has_no_udp_checksum(frame: &[u8]) -> bool {
    let l4 = l4_of(frame);
    frame[l4 + 6..l4 + 8] == [0, 0]
}

#[test]
fn made_frames_have_right_checksums() {
    let v4 = [Addr::v4([10, 244, 1, 2]), Addr::v4([10, 244, 1, 3])];
    let v6 = [1, 2].map(|last| Addr {
        words: [0xfd, 0, 0, last],
    });
    for [one, other] in [v4, v6] {
        let e = ends(one, 40000, other, 80);
        assert_eq!(parse(&tcp(e, protocol::SYN)), e);
        assert_eq!(parse(&udp(e)), e);
        let id = ends(one, 7, other, 7);
        assert_eq!(parse(&echo(id, false)), id);
        assert_eq!(embedded(&unreachable(other, &udp(e))), e);
    }
}
