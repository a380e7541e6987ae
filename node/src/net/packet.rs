//! A socket for the frames of one protocol on one link.

#![allow(
    unsafe_code,
    reason = "no crate of ours makes a sockaddr_ll in safe code"
)]

use std::io::{self, Read, Write};

use nix::libc;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use tokio::io::unix::AsyncFd;

/// Whole frames, Ethernet header included, of one link.
#[derive(Debug)]
pub struct LinkSocket(AsyncFd<Socket>);

impl LinkSocket {
    /// Receives what arrives for `ethertype` on link `index`; frames that this node sends itself are
    /// not among them.
    ///
    /// # Errors
    /// When the kernel refuses, for instance for want of `CAP_NET_RAW`.
    pub fn open(index: u32, ethertype: u16) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(ethertype.to_be()));
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(Domain::PACKET, kind, Some(protocol))?;
        socket.bind(&address(index, ethertype)?)?;
        // SAFETY: the socket owns its descriptor, gives the same one at all times, and lives as long
        // as the registration.
        Ok(Self(unsafe { AsyncFd::register(socket) }?))
    }

    /// Waits for a frame; of one that is longer than `buffer` the rest is lost.
    ///
    /// # Errors
    /// When the link is gone or down.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(outcome) = ready.try_io(|socket| socket.get_ref().read(buffer)) {
                return outcome;
            }
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the link takes none.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.0.get_ref().write(frame).map(drop)
    }
}

fn address(index: u32, ethertype: u16) -> io::Result<SockAddr> {
    let index = i32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is plain data that fits into the storage, which has room and alignment
    // for every kind of address, and zero is a valid value of all its fields.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    // The constant is 17.
    link.sll_family = libc::AF_PACKET as libc::sa_family_t;
    link.sll_protocol = ethertype.to_be();
    link.sll_ifindex = index;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the storage holds a `sockaddr_ll`, of which `length` is the size.
    Ok(unsafe { SockAddr::new(storage, length) })
}
