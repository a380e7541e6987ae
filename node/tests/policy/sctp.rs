//! SCTP as far as a policy sees it: an INIT and its answer, by raw sockets. So the table needs no SCTP of
//! the kernel, and no hook sees these sockets.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{SockaddrStorage, recvfrom};
use socket2::{Domain, Protocol, Socket, Type};

use crate::support::netns::Netns;
use crate::verdict::Row;

/// The protocol's number.
const SCTP: i32 = 132;
/// Types of chunks (RFC 9260, 3.2).
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// The common header, and an INIT without parameters.
const COMMON: usize = 12;
const CHUNK: usize = 20;
/// Longer than any packet here.
const LONGEST: usize = 128;
/// Clients' ports begin here, and go round among so many.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 20_000;

/// The next client's port: a flow of an earlier question is none of this one.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// A packet with one chunk, its ends and the type of that.
struct Packet {
    from: IpAddr,
    src_port: u16,
    dst_port: u16,
    chunk: u8,
}

fn socket(six: bool) -> io::Result<Socket> {
    let domain = if six { Domain::IPV6 } else { Domain::IPV4 };
    Socket::new(domain, Type::RAW, Some(Protocol::from(SCTP)))
}

/// Sends a chunk; with a checksum of zero, as a sender does that leaves it to others (RFC 9653).
fn send(socket: &Socket, to: IpAddr, ports: (u16, u16), chunk: u8) -> io::Result<()> {
    let mut bytes = [0; COMMON + CHUNK];
    bytes[..2].copy_from_slice(&ports.0.to_be_bytes());
    bytes[2..4].copy_from_slice(&ports.1.to_be_bytes());
    bytes[COMMON] = chunk;
    bytes[COMMON + 3] = CHUNK as u8;
    // Initiate tag and numbers of streams must not be zero.
    bytes[COMMON + 7] = 1;
    bytes[COMMON + 13] = 1;
    bytes[COMMON + 15] = 1;
    socket
        .send_to(&bytes, &SocketAddr::new(to, 0).into())
        .map(drop)
}

/// The next packet; raw sockets of IPv4 show its header, those of IPv6 don't.
fn receive(socket: &Socket, six: bool) -> io::Result<Option<Packet>> {
    let mut buffer = [0; LONGEST];
    let (length, from) = recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer)?;
    let bytes = &buffer[..length];
    let header = match bytes.first() {
        Some(first) if !six => usize::from(first & 0xf) * 4,
        _ => 0,
    };
    let from = from.and_then(|from| match six {
        true => from.as_sockaddr_in6().map(|from| IpAddr::V6(from.ip())),
        false => from.as_sockaddr_in().map(|from| IpAddr::V4(from.ip())),
    });
    let (Some(from), Some(sctp)) = (from, bytes.get(header..)) else {
        return Ok(None);
    };
    Ok((sctp.len() > COMMON).then(|| Packet {
        from,
        src_port: u16::from_be_bytes([sctp[0], sctp[1]]),
        dst_port: u16::from_be_bytes([sctp[2], sctp[3]]),
        chunk: sctp[COMMON],
    }))
}

/// Answers every INIT to one of these ports, in both families.
pub(crate) fn serve(netns: &Netns, ports: [u16; 2]) {
    for six in [false, true] {
        let (bound, wait) = std::sync::mpsc::channel();
        netns.spawn(move || {
            let socket = socket(six).expect("root may");
            bound.send(()).expect("the test waits");
            loop {
                if let Ok(Some(asked)) = receive(&socket, six)
                    && asked.chunk == INIT
                    && ports.contains(&asked.dst_port)
                {
                    let back = (asked.dst_port, asked.src_port);
                    let _ = send(&socket, asked.from, back, INIT_ACK);
                }
            }
        });
        wait.recv().expect("the server listens");
    }
}

/// Asks rows of one family at once, and waits so long for answers.
pub(crate) fn ask_all(asked: &[(Row, IpAddr)], wait: Duration) -> Vec<(Row, bool)> {
    let six = asked[0].0.six;
    let socket = socket(six).expect("root may");
    let number = NEXT.fetch_add(asked.len() as u16, Ordering::Relaxed);
    let own = |place: usize| FIRST_PORT + number.wrapping_add(place as u16) % PORTS;
    for (place, (row, address)) in asked.iter().enumerate() {
        // What a policy refuses here is a question without an answer.
        let _ = send(&socket, *address, (own(place), row.port), INIT);
    }
    let mut answered = vec![false; asked.len()];
    let deadline = Instant::now() + wait;
    while answered.contains(&false) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left)).expect("a timeout");
        match receive(&socket, six) {
            Ok(Some(packet)) if packet.chunk == INIT_ACK => {
                let is_answer = |(place, (row, address)): (usize, &(Row, IpAddr))| {
                    own(place) == packet.dst_port
                        && row.port == packet.src_port
                        && *address == packet.from
                };
                if let Some(place) = asked.iter().enumerate().position(is_answer) {
                    answered[place] = true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            _ => {}
        }
    }
    let rows = asked.iter().map(|(row, _)| *row);
    rows.zip(answered).collect()
}
