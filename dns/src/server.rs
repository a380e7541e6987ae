//! The listening sockets: datagrams and streams on one address.
//!
//! Several datagram sockets share the port (SO_REUSEPORT), one loop each, so that no lock stands
//! between cores. The address may appear later than the server: the sockets are bound freely
//! (IP_FREEBIND), to that address alone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::resolver::{Resolver, Step};
use crate::wire::Transport;

/// Streams open at a time; more wait in the listener's queue.
const MAX_STREAMS: usize = 256;
/// How long a stream may be silent (RFC 7766, 6.2.3 asks for seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Longest datagram that is read; a longer question is cut and then malformed.
const MAX_QUESTION: usize = 4096;
/// Bytes of questions that the kernel keeps while all loops are busy.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Answers to datagrams that may wait for upstream at a time, for each socket.
const MAX_WAITING: usize = 1024;

/// Why the server can't run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A socket could not be opened on the address.
    #[error("listen on {address} ({transport})")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// `udp` or `tcp`.
        transport: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Bound sockets that do not serve yet.
#[derive(Debug)]
pub struct Server {
    datagrams: Vec<UdpSocket>,
    streams: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds `loops` datagram sockets and one listener to the address. Port 0 picks a port.
    ///
    /// # Errors
    /// When a socket can't be opened or bound. Must be called within a tokio runtime.
    pub fn bind(address: SocketAddr, loops: usize) -> Result<Self, ServerError> {
        let failed = |transport| {
            move |source| ServerError::Listen {
                address,
                transport,
                source,
            }
        };
        let streams = listener(address).map_err(failed("tcp"))?;
        let address = streams.local_addr().map_err(failed("tcp"))?;
        let datagrams = (0..loops.max(1)).map(|_| datagram_socket(address));
        let datagrams = datagrams
            .collect::<io::Result<_>>()
            .map_err(failed("udp"))?;
        Ok(Self {
            datagrams,
            streams,
            address,
        })
    }

    /// The address with its port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until dropped; with it end all its tasks.
    pub async fn serve(self, resolver: Arc<Resolver>) {
        let mut tasks = JoinSet::new();
        for socket in self.datagrams {
            tasks.spawn(serve_datagrams(Arc::new(socket), resolver.clone()));
        }
        tasks.spawn(serve_streams(self.streams, resolver));
        while tasks.join_next().await.is_some() {}
    }
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
    }
    Ok(socket)
}

fn datagram_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_reuse_port(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

async fn serve_datagrams(socket: Arc<UdpSocket>, resolver: Arc<Resolver>) {
    let mut waiting = JoinSet::new();
    let mut buffer = [0; MAX_QUESTION];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An ICMP error of an earlier answer shows up here; the socket is sound.
            Err(error) => {
                tracing::debug!(%error, "datagram not received");
                continue;
            }
        };
        while waiting.try_join_next().is_some() {}
        match resolver.receive(&buffer[..length], Transport::Udp) {
            Step::Reply(reply) => send(&socket, &reply, client).await,
            Step::Wait(pending) if waiting.len() < MAX_WAITING => {
                let (socket, resolver) = (socket.clone(), resolver.clone());
                waiting.spawn(async move {
                    send(&socket, &resolver.finish(pending).await, client).await;
                });
            }
            // Past the bound the client's own retry is the queue.
            Step::Wait(_) | Step::Ignore => {}
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    if let Err(error) = socket.send_to(reply, client).await {
        tracing::debug!(%client, %error, "answer not sent");
    }
}

async fn serve_streams(listener: TcpListener, resolver: Arc<Resolver>) {
    let slots = Arc::new(Semaphore::new(MAX_STREAMS));
    let mut streams = JoinSet::new();
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        while streams.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, client)) => {
                let resolver = resolver.clone();
                streams.spawn(async move {
                    if let Err(error) = serve_stream(stream, &resolver).await {
                        tracing::debug!(%client, %error, "stream ended");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "stream not accepted");
                // Out of descriptors, most likely: let some close.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// One question after the other, until the client closes or falls silent.
async fn serve_stream(mut stream: TcpStream, resolver: &Resolver) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let question = match timeout(IDLE, read_question(&mut stream)).await {
            Ok(Ok(question)) => question,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        let reply = match resolver.receive(&question, Transport::Tcp) {
            Step::Reply(reply) => reply,
            Step::Wait(pending) => resolver.finish(pending).await,
            Step::Ignore => return Ok(()),
        };
        timeout(IDLE, write_reply(&mut stream, &reply)).await??;
    }
}

async fn read_question(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut question = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut question).await?;
    Ok(question)
}

async fn write_reply(stream: &mut TcpStream, reply: &[u8]) -> io::Result<()> {
    let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes()[..], reply].concat())
        .await
}
