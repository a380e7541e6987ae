//! exec, attach and port-forward for clients that speak WebSocket.
//!
//! Nodes and container runtimes speak SPDY/3.1 to the server; the translation lives here and not on
//! the node, so that it serves every kubelet and there is one of it. A client of SPDY is tunnelled
//! as it is (`proxy`). Here is: the handshake (`websocket`), what the channels of each subprotocol
//! mean (`channels`), who carries what (`bridge`), SPDY (`spdy`), and the newest way to forward
//! ports, SPDY inside WebSocket, which is unpacked and tunnelled (`tunnel`).
//!
//! A side that is slow holds the other one back: nothing is kept but the message under way.

mod bridge;
mod channels;
mod dial;
mod sink;
mod spdy;
mod tunnel;
mod websocket;

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{Body, Reply};
use super::proxy::{Client, NodeClient, Opened};
use super::status::{Result, Status};
use channels::Protocol;
pub(super) use dial::{Dialled, dial};
pub(super) use websocket::is_wanted;
use websocket::{Handshake, Socket};

/// A connection to a node that carries bytes both ways.
pub(super) type Pipe = Box<dyn Both>;

/// Something that carries bytes both ways.
pub(super) trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

/// What the streams of a request are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A process' streams: which of them are wanted.
    Process(Wanted),
    /// Ports, in the order of their channels; those of a tunnel are named later, inside it.
    Ports(Vec<u16>),
}

/// The streams of a process that a client wants, as the node is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The client sends input.
    pub stdin: bool,
    /// The client wants output.
    pub stdout: bool,
    /// The client wants errors; never with a terminal, which has one stream for both.
    pub stderr: bool,
    /// A terminal, which can change its size.
    pub tty: bool,
}

/// What SPDY servers expect to be asked for.
const REMOTE_COMMAND: &str = "v4.channel.k8s.io";
const PORT_FORWARD: &str = "portforward.k8s.io";

/// Answers a WebSocket upgrade: opens the same streams at the node under `path_and_query` and joins
/// the two. What the node refuses is passed on, before anything is switched.
///
/// # Errors
/// 400 for a handshake that is none, for subprotocols that are unknown, and for missing ports; 500
/// when the node is out of reach.
pub(super) async fn serve(
    nodes: &NodeClient,
    address: SocketAddr,
    path_and_query: &str,
    purpose: Purpose,
    mut request: Request<Body>,
) -> Result<Reply> {
    let handshake = Handshake::read(request.headers())?;
    let protocol = channels::choose(&purpose, &handshake.offered)?;
    if protocol != Protocol::Tunnel && purpose == Purpose::Ports(Vec::new()) {
        return Err(Status::bad_request("query parameter \"ports\" is required"));
    }
    let version = match purpose {
        Purpose::Process(_) => REMOTE_COMMAND,
        Purpose::Ports(_) => PORT_FORWARD,
    };
    let node = match nodes.open(address, path_and_query, version).await? {
        Opened::Pipe(node) => node,
        Opened::Refused(reply) => return Ok(reply),
    };
    let Client { connection, trail } = Client::of(&mut request);
    let reply = handshake.reply(protocol.name());
    tokio::spawn(async move {
        let _until_the_end = trail;
        match websocket::accept(connection).await {
            Ok(socket) => join(socket, node, protocol, purpose).await,
            Err(error) => tracing::debug!(%error, "an upgrade broke off"),
        }
    });
    Ok(reply)
}

async fn join(socket: Socket, node: Pipe, protocol: Protocol, purpose: Purpose) {
    match protocol {
        Protocol::Tunnel => tunnel::run(socket, node).await,
        Protocol::Channels(coding) => bridge::run(socket, node, coding, &purpose).await,
    }
}

/// A piece of content with its channel.
type Piece = (u8, Bytes);
