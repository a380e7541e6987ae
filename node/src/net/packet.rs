//! A socket for the frames of one protocol on one link.

#![allow(
    unsafe_code,
    reason = "no crate of ours makes a sockaddr_ll in safe code"
)]

use std::io::{self, Read, Write};

use nix::libc;
use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

/// Which frames of its protocol a socket is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Every one.
    All,
    /// Those that have these bytes at these offsets, counted from the Ethernet header on. The
    /// kernel compares, so that other frames wake nobody.
    Bytes(&'static [(u32, u8)]),
}

/// Whole frames, Ethernet header included, of one link.
#[derive(Debug)]
pub struct LinkSocket(AsyncFd<Socket>);

impl LinkSocket {
    /// Receives what arrives for `ethertype` on link `index`, as far as it is `wanted`; frames that
    /// this node sends itself are not among them.
    ///
    /// # Errors
    /// When the kernel refuses, for instance for want of `CAP_NET_RAW`.
    pub fn open(index: u32, ethertype: u16, wanted: Wanted) -> io::Result<Self> {
        let kind = Type::RAW.nonblocking().cloexec();
        // Without a protocol nothing is received before the socket is bound to its link.
        let socket = Socket::new(Domain::PACKET, kind, None)?;
        if let Wanted::Bytes(bytes) = wanted {
            socket.attach_filter(&filter(bytes))?;
        }
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

/// The comparison as a program of the kernel's packet filter: a frame that is too short fails it.
fn filter(bytes: &[(u32, u8)]) -> Vec<SockFilter> {
    // These constants are below 256.
    let load = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    let compare = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let end = (libc::BPF_RET | libc::BPF_K) as u16;
    let refuse = || SockFilter::new(end, 0, 0, 0);
    let tests = bytes.iter().flat_map(|(offset, byte)| {
        [
            SockFilter::new(load, 0, 0, *offset),
            SockFilter::new(compare, 1, 0, u32::from(*byte)),
            refuse(),
        ]
    });
    tests
        .chain([SockFilter::new(end, 0, 0, u32::MAX)])
        .collect()
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
