//! Translated sockets, so that `recvmsg` and `getpeername` can name the service that the program
//! asked for.
//!
//! A connected socket has one peer: table [`crate::names::CONNECTED`], the kernel's address of the
//! socket → [`ConnectedPeer`], from `connect` to the socket's end (`sock_release`). The table is
//! made in advance. Storage of the socket itself would be found faster, but the kernel charges each
//! such allocation to the cgroup of the daemon, which costs a connection several times as much as
//! all the rest of `connect`. Sockets that the kernel opens for itself have no such end, so each of
//! theirs may leave an entry; one that is met again by another socket names another backend and is
//! not believed.
//!
//! An unconnected socket may have many peers: LRU map [`crate::names::SOCKETS`], socket and
//! backend → service. Connected datagram sockets are there too, for the daemon, which ends them
//! when their backend leaves its service.

use crate::{Addr, Port, abi};

abi! {
    /// A socket and the backend that it talks to.
    pub struct SocketKey = 32 {
        /// Cookie of the socket (`bpf_get_socket_cookie`).
        pub cookie: u64,
        /// Address of the backend.
        pub addr: Addr,
        /// Port of the backend.
        pub port: Port,
        /// IP protocol.
        pub protocol: u8,
        /// Zero.
        pub reserved: [u8; 5],
    }
}

abi! {
    /// The service that the program sees.
    pub struct SocketPeer = 24 {
        /// Address of the service.
        pub addr: Addr,
        /// Port of the service.
        pub port: Port,
        /// Zero.
        pub reserved: u16,
        /// [`crate::Service::id`].
        pub service: u32,
    }
}

abi! {
    /// The peer of a connected socket, as the kernel and as the program know it.
    pub struct ConnectedPeer = 48 {
        /// Address of the backend.
        pub addr: Addr,
        /// The service.
        pub service: SocketPeer,
        /// Port of the backend.
        pub port: Port,
        /// Zero.
        pub reserved: [u16; 3],
    }
}
