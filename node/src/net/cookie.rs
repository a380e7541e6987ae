//! The number that the kernel gives to a network namespace (`SO_NETNS_COOKIE`, Linux 5.14): the
//! same that programs see, and never another's again while the machine runs.

use std::net::UdpSocket;
use std::path::Path;

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};

use super::netlink::{NetError, Netlink};

/// asm-generic/socket.h.
const SO_NETNS_COOKIE: i32 = 71;

sockopt_impl!(
    /// The number of a socket's network namespace.
    NetnsCookie,
    GetOnly,
    libc::SOL_SOCKET,
    SO_NETNS_COOKIE,
    u64
);

/// The number of the namespace at `path`.
///
/// # Errors
/// When it cannot be entered.
pub async fn namespace_cookie(path: &Path) -> Result<u64, NetError> {
    let (_, cookie) = Netlink::inside(path, own_cookie).await?;
    Ok(cookie)
}

/// The number of this thread's namespace.
fn own_cookie() -> Result<u64, NetError> {
    let socket = UdpSocket::bind("0.0.0.0:0").map_err(NetError::Socket)?;
    getsockopt(&socket, NetnsCookie).map_err(|error| NetError::Socket(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_one_number() {
        let number = own_cookie().expect("a number");
        assert_ne!(number, 0);
        assert_eq!(own_cookie().expect("a number"), number);
    }
}
