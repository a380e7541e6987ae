//! Connections to endpoints, from the node's ingress address.
//!
//! The source address is what NetworkPolicy sees, so a connection without it would be judged as
//! the node's own traffic; until the node has a pod CIDR there is none, and connecting fails.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Uri;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

/// How long an endpoint may take to accept.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Silence after which the kernel probes the peer.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// From which address the proxy connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Not known yet.
    Unknown,
    /// Whatever the kernel picks.
    Any,
    /// The one of the endpoint's family, IPv4 first; a family without one cannot be reached.
    Addresses([Option<IpAddr>; 2]),
}

/// Opens connections for the client's pool.
#[derive(Debug, Clone)]
pub struct Connector {
    source: Arc<ArcSwap<Source>>,
}

impl Connector {
    /// A connector that uses the source address that `source` holds at the time.
    pub fn new(source: Arc<ArcSwap<Source>>) -> Self {
        Self { source }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let source = **self.source.load();
        Box::pin(async move {
            let connecting = connect(source, address(&uri)?);
            let stream = tokio::time::timeout(TIMEOUT, connecting).await??;
            Ok(TokioIo::new(stream))
        })
    }
}

/// The address in the URI of an endpoint, which always has a literal one.
fn address(uri: &Uri) -> io::Result<SocketAddr> {
    let authority = uri.authority().map(|authority| authority.as_str());
    let address = authority.and_then(|text| text.parse().ok());
    address.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no address and port"))
}

async fn connect(source: Source, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match source {
        Source::Any => {}
        Source::Addresses(all) if all[family(address)].is_some() => {
            all[family(address)].map_or(Ok(()), |ip| bind(&socket, ip))?;
        }
        Source::Unknown | Source::Addresses(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                "the node has no ingress address yet",
            ));
        }
    }
    // A peer that vanishes without a word must not hold a request forever.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    TcpSocket::from_std_stream(socket.into())
        .connect(address)
        .await
}

/// The place of an address's family in [`Source::Addresses`].
fn family(address: SocketAddr) -> usize {
    usize::from(address.is_ipv6())
}

/// Binds the address without choosing a port, so that the kernel may use every port once for each
/// endpoint instead of once altogether.
fn bind(socket: &Socket, ip: IpAddr) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};
    setsockopt(socket, sockopt::IpBindAddressNoPort, &true).map_err(io::Error::from)?;
    socket.bind(&SocketAddr::new(ip, 0).into())
}
