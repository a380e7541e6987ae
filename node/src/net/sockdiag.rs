//! Ending datagram sockets from outside (`SOCK_DESTROY`, linux/sock_diag.h and linux/inet_diag.h).
//!
//! A connected datagram socket does not notice that its peer is gone. One that is ended here fails
//! with ECONNABORTED at its next operation, so that its program connects anew. Needs
//! `CONFIG_INET_DIAG_DESTROY` and `udp_diag`.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use naru_ebpf_common::{Addr, Port, protocol};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::netlink::NetError;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Bytes of `nlmsghdr`, of `inet_diag_sockid`, of what precedes it in an answer.
const HEADER: usize = 16;
const ID: usize = 48;
const ID_AT: usize = 4;
/// Every state of a socket.
const ANY_STATE: u32 = u32::MAX;

/// A connected datagram socket: its cookie and its peer.
pub type Peer = (u64, Addr, Port);

/// Ends those of this thread's network namespace that are among `sockets`. Returns how many.
///
/// # Errors
/// When the kernel refuses.
pub fn end_sockets(sockets: &HashSet<Peer>) -> Result<usize, NetError> {
    let ended = [libc::AF_INET, libc::AF_INET6].map(|family| end_family(family as u8, sockets));
    let [v4, v6] = ended;
    // A kernel without IPv6 has no such sockets.
    Ok(v4.map_err(NetError::Socket)? + v6.unwrap_or(0))
}

/// Whether this kernel can end datagram sockets.
#[must_use]
pub fn can_end_sockets() -> bool {
    let nobody = [0xff; ID];
    let probe = || -> io::Result<bool> {
        let family = libc::AF_INET as u8;
        list(&open()?, family)?;
        match destroy(&open()?, family, &nobody) {
            Ok(()) => Ok(true),
            Err(error) => Ok(error.raw_os_error() != Some(libc::EOPNOTSUPP)),
        }
    };
    probe().unwrap_or(false)
}

fn end_family(family: u8, sockets: &HashSet<Peer>) -> io::Result<usize> {
    let diag = open()?;
    let all = list(&diag, family)?;
    let mut ended = 0;
    for id in all.iter().filter(|id| sockets.contains(&peer(family, id))) {
        match destroy(&diag, family, id) {
            Ok(()) => ended += 1,
            // Closed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ended)
}

fn open() -> io::Result<OwnedFd> {
    Ok(socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?)
}

fn request(kind: u16, flags: u16, family: u8, id: &[u8; ID]) -> Vec<u8> {
    let length = (HEADER + 8 + ID) as u32;
    let mut message = Vec::with_capacity(length as usize);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((REQUEST | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, protocol::UDP, 0, 0]);
    message.extend(ANY_STATE.to_ne_bytes());
    message.extend(id);
    message
}

fn send(diag: &OwnedFd, message: &[u8]) -> io::Result<()> {
    let kernel = NetlinkAddr::new(0, 0);
    sendto(diag.as_raw_fd(), message, &kernel, MsgFlags::empty())?;
    Ok(())
}

/// The identities of every datagram socket.
fn list(diag: &OwnedFd, family: u8) -> io::Result<Vec<[u8; ID]>> {
    send(diag, &request(SOCK_DIAG_BY_FAMILY, DUMP, family, &[0; ID]))?;
    let mut found = Vec::new();
    loop {
        let mut buffer = vec![0; 32 * 1024];
        let length = recv(diag.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for (kind, body) in messages(&buffer[..length]) {
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return Err(error(body)),
                _ => found.extend(identity(body)),
            }
        }
    }
}

fn destroy(diag: &OwnedFd, family: u8, id: &[u8; ID]) -> io::Result<()> {
    send(diag, &request(SOCK_DESTROY, ACK, family, id))?;
    let mut buffer = [0; 1024];
    let length = recv(diag.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    match messages(&buffer[..length]).next() {
        Some((NLMSG_ERROR, body)) if code(body) == 0 => Ok(()),
        Some((NLMSG_ERROR, body)) => Err(error(body)),
        _ => Err(Errno::EPROTO.into()),
    }
}

/// The messages of a datagram: type and body.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

fn code(body: &[u8]) -> i32 {
    let code = body.get(..4).and_then(|code| code.try_into().ok());
    code.map_or(-libc::EPROTO, i32::from_ne_bytes)
}

fn error(body: &[u8]) -> io::Error {
    io::Error::from_raw_os_error(-code(body))
}

fn identity(body: &[u8]) -> Option<[u8; ID]> {
    body.get(ID_AT..ID_AT + ID)?.try_into().ok()
}

/// Cookie and peer of a socket.
fn peer(family: u8, id: &[u8; ID]) -> Peer {
    let word = |at: usize| [id[at], id[at + 1], id[at + 2], id[at + 3]];
    let addr = if i32::from(family) == libc::AF_INET {
        Addr::v4(word(20))
    } else {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&id[20..36]);
        Addr::from_bytes(bytes)
    };
    let (low, high) = (word(40), word(44));
    let cookie = u64::from(u32::from_ne_bytes(high)) << 32 | u64::from(u32::from_ne_bytes(low));
    (cookie, addr, Port(u16::from_ne_bytes([id[2], id[3]])))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};

    use nix::sys::socket::getsockopt;
    use nix::{getsockopt_impl, sockopt_impl};

    use super::*;

    /// asm-generic/socket.h.
    const SO_COOKIE: i32 = 57;

    sockopt_impl!(Cookie, GetOnly, libc::SOL_SOCKET, SO_COOKIE, u64);

    fn connected(peer: SocketAddr) -> (UdpSocket, u64) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(peer).expect("connected");
        let cookie = getsockopt(&socket, Cookie).expect("a cookie");
        (socket, cookie)
    }

    #[test]
    fn exactly_the_socket_that_is_meant_ends() {
        if !nix::unistd::geteuid().is_root() || !can_end_sockets() {
            println!("SKIP sockets are ended by root, on a kernel that can");
            return;
        }
        let server = UdpSocket::bind("127.0.0.1:0").expect("a server");
        let at = server.local_addr().expect("bound");
        let ((meant, cookie), (other, _)) = (connected(at), connected(at));
        let peer = (cookie, at.ip().into(), Port::new(at.port()));
        let elsewhere = (cookie, at.ip().into(), Port::new(1));
        assert_eq!(end_sockets(&[elsewhere].into()).expect("asked"), 0);
        assert_eq!(end_sockets(&[peer].into()).expect("asked"), 1);
        let error = meant.recv(&mut [0; 4]).expect_err("ended");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        other.send(b"still here").expect("sent");
    }

    #[test]
    fn messages_are_read_to_the_last_and_no_further() {
        let mut bytes = Vec::new();
        for (kind, body) in [(NLMSG_DONE, &[1_u8, 2, 3][..]), (7, &[4; 8][..])] {
            bytes.extend(((HEADER + body.len()) as u32).to_ne_bytes());
            bytes.extend(u16::to_ne_bytes(kind));
            bytes.extend([0; 10]);
            bytes.extend(body);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let read: Vec<_> = messages(&bytes).map(|(kind, b)| (kind, b.len())).collect();
        assert_eq!(read, [(NLMSG_DONE, 3), (7, 8)]);
        assert_eq!(messages(&bytes[..30]).count(), 1);
        assert_eq!(messages(&[]).count(), 0);
    }
}
