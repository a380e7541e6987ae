//! The socket by which nodes hear each other.
//!
//! Datagrams leave with a TTL of 255 and count only if they arrive with it (RFC 5082): who is not on
//! the same link can't send one. Who is could answer questions for the address as well. Nodes speak
//! IPv4 with each other if they have it, and IPv6 otherwise.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use naru_core::names::defaults::ANNOUNCE_PORT;
use nix::cmsg_space;
use nix::sys::socket::sockopt::{Ipv4RecvTtl, Ipv6RecvHopLimit};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::message;

const TTL: u8 = 255;

/// See the module.
#[derive(Debug)]
pub(super) struct Peers(UdpSocket);

impl Peers {
    /// Listens at the node's address.
    ///
    /// # Errors
    /// When the port is taken.
    pub(super) async fn open(node: IpAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((node, ANNOUNCE_PORT)).await?;
        if node.is_ipv4() {
            socket.set_ttl(TTL.into())?;
            setsockopt(&socket, Ipv4RecvTtl, &true)?;
        } else {
            SockRef::from(&socket).set_unicast_hops_v6(TTL.into())?;
            setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
        }
        Ok(Self(socket))
    }

    /// Sends; what the link does not take is lost, as on the way.
    pub(super) fn send(&self, to: IpAddr, datagram: &[u8]) {
        let to = SocketAddr::new(to, ANNOUNCE_PORT);
        if let Err(error) = self.0.try_send_to(datagram, to) {
            tracing::debug!(%to, %error, "not told");
        }
    }

    /// Waits for a datagram that comes from this link.
    ///
    /// # Errors
    /// When the socket fails.
    pub(super) async fn receive(&self) -> io::Result<(IpAddr, Vec<u8>)> {
        loop {
            self.0.readable().await?;
            let received = self
                .0
                .try_io(Interest::READABLE, || read(self.0.as_raw_fd()));
            match received {
                Ok(Some(received)) => return Ok(received),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An answer by ICMP that a peer is not there.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn read(socket: i32) -> io::Result<Option<(IpAddr, Vec<u8>)>> {
    let mut bytes = vec![0; message::LONGEST];
    let mut control = cmsg_space!(i32);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<SockaddrStorage>(socket, &mut slices, Some(&mut control), flags)?;
    let mut messages = received.cmsgs()?;
    let near = messages.any(|message| match message {
        ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
            ttl == i32::from(TTL)
        }
        _ => false,
    });
    let (from, length) = (received.address.and_then(ip), received.bytes);
    bytes.truncate(length);
    Ok(from.filter(|_| near).map(|from| (from, bytes)))
}

fn ip(address: SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    async fn hears_neighbours_only(own: IpAddr) {
        let peers = match Peers::open(own).await {
            Err(error) if own.is_ipv6() => return eprintln!("SKIPPED: no IPv6 here: {error}"),
            opened => opened.expect("a free port"),
        };
        let to = SocketAddr::from((own, ANNOUNCE_PORT));
        let other = UdpSocket::bind((own, 0)).await.expect("a socket");
        for (hops, text) in [(254, &b"far"[..]), (255, b"near")] {
            let other_ref = SockRef::from(&other);
            let set = if own.is_ipv4() {
                other_ref.set_ttl_v4(hops)
            } else {
                other_ref.set_unicast_hops_v6(hops)
            };
            set.expect("a TTL");
            other.send_to(text, to).await.expect("sent");
        }
        let (from, said) = peers.receive().await.expect("a datagram");
        assert_eq!((from, said.as_slice()), (own, &b"near"[..]));
    }

    #[tokio::test]
    async fn only_neighbours_are_heard() {
        hears_neighbours_only(Ipv4Addr::LOCALHOST.into()).await;
    }

    #[tokio::test]
    async fn only_neighbours_are_heard_over_ipv6() {
        hears_neighbours_only(Ipv6Addr::LOCALHOST.into()).await;
    }
}
