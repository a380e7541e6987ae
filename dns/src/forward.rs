//! Asks upstream servers.
//!
//! Every exchange has a socket of its own, so that the kernel picks a fresh random port, and a
//! random id; a datagram that does not repeat id and question is not the answer and is ignored
//! (RFC 5452). A truncated answer is asked again by TCP. Servers are tried in order, beginning
//! with the one that answered last, so that a dead first server costs its timeout once.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::serialize::binary::DecodeError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::random::Random;
use crate::wire::MAX_UDP;

/// How often the list of servers is gone through.
const ROUNDS: usize = 2;

/// Why one server gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// A socket failed.
    #[error("socket")]
    Socket(#[from] io::Error),
    /// Nothing came in time.
    #[error("no answer in time")]
    Timeout,
    /// The query could not be encoded.
    #[error("the query cannot be encoded")]
    Encode(#[source] hickory_proto::ProtoError),
    /// The answer is no DNS message.
    #[error("the answer is malformed")]
    Decode(#[from] DecodeError),
    /// The stream carried an answer to something else.
    #[error("the answer is to another question")]
    Mismatch,
    /// The server can't or won't answer.
    #[error("the server answered {0}")]
    Refused(ResponseCode),
}

/// A client of upstream servers.
#[derive(Debug)]
pub struct Forwarder {
    servers: Vec<SocketAddr>,
    /// Index of the server that answered last.
    preferred: AtomicUsize,
    random: Random,
    in_flight: Semaphore,
    patience: Duration,
}

/// What of the client's question goes upstream.
#[derive(Debug, Clone, Copy)]
pub struct Flags {
    /// Ask for DNSSEC records.
    pub dnssec_ok: bool,
    /// Ask the server not to validate.
    pub checking_disabled: bool,
}

impl Forwarder {
    /// A client of `servers` that waits `patience` for each and has at most `limit` questions
    /// open at a time.
    pub fn new(servers: Vec<SocketAddr>, patience: Duration, limit: usize) -> Self {
        Self {
            servers,
            preferred: AtomicUsize::new(0),
            random: Random::default(),
            in_flight: Semaphore::new(limit),
            patience,
        }
    }

    /// The answer of the first server that has one; SERVFAIL when none has, or when too many
    /// questions are open.
    pub async fn ask(&self, query: &Query, flags: Flags) -> Answer {
        let Ok(_permit) = self.in_flight.try_acquire() else {
            tracing::warn!(name = %query.name(), "too many questions are open upstream");
            return Answer::remote(ResponseCode::ServFail);
        };
        let first = self.preferred.load(Ordering::Relaxed);
        for attempt in 0..ROUNDS * self.servers.len() {
            let index = (first + attempt) % self.servers.len();
            let server = self.servers[index];
            match self.exchange(server, query, flags).await {
                Ok(message) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return answer(message);
                }
                Err(error) => {
                    tracing::debug!(%server, name = %query.name(), %error, "upstream failed");
                }
            }
        }
        Answer::remote(ResponseCode::ServFail)
    }

    async fn exchange(
        &self,
        server: SocketAddr,
        query: &Query,
        flags: Flags,
    ) -> Result<Message, ExchangeError> {
        let id = self.random.next() as u16;
        let packet = question(id, query, flags)
            .to_vec()
            .map_err(ExchangeError::Encode)?;
        let patience = |_| ExchangeError::Timeout;
        let by_udp = timeout(self.patience, over_udp(server, &packet, id, query));
        let mut message = by_udp.await.map_err(patience)??;
        if message.metadata.truncation {
            let by_tcp = timeout(self.patience, over_tcp(server, &packet, id, query));
            message = by_tcp.await.map_err(patience)??;
        }
        match message.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(message),
            code => Err(ExchangeError::Refused(code)),
        }
    }
}

fn question(id: u16, query: &Query, flags: Flags) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = flags.checking_disabled;
    message.queries.push(query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP)
        .set_version(0)
        .set_dnssec_ok(flags.dnssec_ok);
    message.edns = Some(edns);
    message
}

fn answer(message: Message) -> Answer {
    Answer {
        code: message.metadata.response_code,
        authoritative: false,
        authentic: message.metadata.authentic_data,
        answers: message.answers,
        authorities: message.authorities,
        additionals: message.additionals,
    }
}

/// Whether a message answers the question: a response with its id and, apart from case, its name.
fn is_reply(message: &Message, id: u16, query: &Query) -> bool {
    message.metadata.message_type == MessageType::Response
        && message.metadata.id == id
        && matches!(message.queries.as_slice(), [asked] if asked.name() == query.name()
            && asked.query_type() == query.query_type()
            && asked.query_class() == query.query_class())
}

async fn over_udp(
    server: SocketAddr,
    packet: &[u8],
    id: u16,
    query: &Query,
) -> Result<Message, ExchangeError> {
    let any = match server.ip() {
        IpAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        IpAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match Message::from_vec(&buffer[..length]) {
            Ok(message) if is_reply(&message, id, query) => return Ok(message),
            // Garbage may be forged to make us give up; the real answer may still come.
            _ => {}
        }
    }
}

async fn over_tcp(
    server: SocketAddr,
    packet: &[u8],
    id: u16,
    query: &Query,
) -> Result<Message, ExchangeError> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let length = u16::try_from(packet.len()).map_err(|_| ExchangeError::Mismatch)?;
    stream
        .write_all(&[&length.to_be_bytes()[..], packet].concat())
        .await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    let message = Message::from_vec(&buffer)?;
    match is_reply(&message, id, query) {
        true => Ok(message),
        false => Err(ExchangeError::Mismatch),
    }
}
