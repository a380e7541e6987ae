//! The socket by which nodes hear each other.
//!
//! Datagrams leave with a TTL of 255 and count only if they arrive with it (RFC 5082): who is not on
//! the same link can't send one. Who is could answer ARP questions as well.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;

use naru_core::names::defaults::ANNOUNCE_PORT;
use nix::cmsg_space;
use nix::sys::socket::sockopt::Ipv4RecvTtl;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt};
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
    pub(super) async fn open(node: Ipv4Addr) -> io::Result<Self> {
        let socket = UdpSocket::bind((node, ANNOUNCE_PORT)).await?;
        socket.set_ttl(TTL.into())?;
        setsockopt(&socket, Ipv4RecvTtl, &true)?;
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
    let received = recvmsg::<SockaddrIn>(socket, &mut slices, Some(&mut control), flags)?;
    let mut messages = received.cmsgs()?;
    let near = messages.any(
        |message| matches!(message, ControlMessageOwned::Ipv4Ttl(ttl) if ttl == i32::from(TTL)),
    );
    let (from, length) = (received.address.map(SocketAddrV4::from), received.bytes);
    bytes.truncate(length);
    Ok(from
        .filter(|_| near)
        .map(|from| (IpAddr::V4(*from.ip()), bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_neighbours_are_heard() {
        let peers = Peers::open(Ipv4Addr::LOCALHOST).await.expect("a free port");
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, ANNOUNCE_PORT));
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a socket");
        other.set_ttl(254).expect("a TTL");
        other.send_to(b"far", to).await.expect("sent");
        other.set_ttl(255).expect("a TTL");
        other.send_to(b"near", to).await.expect("sent");
        let (from, said) = peers.receive().await.expect("a datagram");
        assert_eq!(
            (from, said.as_slice()),
            (Ipv4Addr::LOCALHOST.into(), &b"near"[..])
        );
    }
}
