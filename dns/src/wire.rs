//! Packets to questions and answers to packets.
//!
//! A packet is judged before it is decoded: what is no question gets no reply (a reply to a reply
//! would loop), what is broken gets the smallest reply that names the fault. The OPT record is
//! written by hand after the message, so that truncation never drops it.

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::DNSClass;
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use crate::answer::Answer;

/// Largest UDP payload that we send and announce: no fragment on any path with an Ethernet MTU or
/// a tunnel over it (DNS flag day 2020).
pub const MAX_UDP: u16 = 1232;

/// Length of a DNS header.
const HEADER: usize = 12;
/// Length of an OPT record without options.
const OPT: u16 = 11;
/// UDP payload of a client without EDNS (RFC 1035, 2.3.4).
const PLAIN_UDP: u16 = 512;
/// TTL bit of an OPT record that stands for "DNSSEC OK".
const DNSSEC_OK: u8 = 0x80;

/// How a packet arrived, which decides how long the reply may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A datagram.
    Udp,
    /// A stream with length prefixes.
    Tcp,
}

/// A well-formed question and what its reply must repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Id of the message.
    pub id: u16,
    /// The one question.
    pub query: Query,
    /// The client asks for recursion.
    pub recursion_desired: bool,
    /// The client checks DNSSEC itself.
    pub checking_disabled: bool,
    /// The client speaks EDNS.
    pub edns: Option<ClientEdns>,
}

/// What a client said in its OPT record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientEdns {
    /// Largest datagram it takes.
    pub payload: u16,
    /// It wants DNSSEC records.
    pub dnssec_ok: bool,
}

/// What to do with a packet.
#[derive(Debug)]
pub enum Received {
    /// Answer it.
    Request(Request),
    /// Send this fault back.
    Fault(Vec<u8>),
    /// Say nothing.
    Ignore,
}

/// Judges and decodes a packet.
pub fn receive(packet: &[u8]) -> Received {
    if packet.len() < HEADER || packet[2] & 0x80 != 0 {
        return Received::Ignore;
    }
    let opcode = OpCode::from_u8((packet[2] >> 3) & 0x0f);
    if opcode != OpCode::Query {
        return Received::Fault(fault(packet, ResponseCode::NotImp));
    }
    // Counted before decoding, because the decoder reserves memory for as many as are announced.
    if packet[4..6] != [0, 1] {
        return Received::Fault(fault(packet, ResponseCode::FormErr));
    }
    match Message::from_vec(packet) {
        Ok(message) => request(packet, message),
        Err(_) => Received::Fault(fault(packet, ResponseCode::FormErr)),
    }
}

fn request(packet: &[u8], mut message: Message) -> Received {
    let Some(query) = message.queries.pop() else {
        return Received::Fault(fault(packet, ResponseCode::FormErr));
    };
    let edns = message.edns.as_ref().map(|edns| ClientEdns {
        payload: edns.max_payload(),
        dnssec_ok: edns.flags().dnssec_ok,
    });
    let request = Request {
        id: message.metadata.id,
        recursion_desired: message.metadata.recursion_desired,
        checking_disabled: message.metadata.checking_disabled,
        edns,
        query,
    };
    if message.version() > 0 {
        let answer = Answer::remote(ResponseCode::BADVERS);
        return Received::Fault(respond(&request, answer, Transport::Udp));
    }
    if request.query.query_class() != DNSClass::IN {
        let answer = Answer::remote(ResponseCode::Refused);
        return Received::Fault(respond(&request, answer, Transport::Udp));
    }
    Received::Request(request)
}

/// A header alone, with the id, opcode and RD bit of the packet.
fn fault(packet: &[u8], code: ResponseCode) -> Vec<u8> {
    let mut reply = vec![0; HEADER];
    reply[..2].copy_from_slice(&packet[..2]);
    reply[2] = 0x80 | (packet[2] & 0x79);
    reply[3] = code.low();
    reply
}

/// Encodes the reply, cut to what the transport and the client allow.
pub fn respond(request: &Request, answer: Answer, transport: Transport) -> Vec<u8> {
    let limit = limit(request, transport);
    let code_high = answer.code.high();
    let mut message = message(request, answer);
    let mut reply = encode(&message, limit);
    // Missing additional records are no truncation (RFC 2181, 9).
    if is_truncated(&reply) && !message.additionals.is_empty() {
        message.additionals.clear();
        reply = encode(&message, limit);
    }
    if let Some(edns) = request.edns {
        append_opt(&mut reply, edns, code_high);
    }
    reply
}

fn limit(request: &Request, transport: Transport) -> u16 {
    match (transport, request.edns) {
        (Transport::Tcp, _) => u16::MAX - OPT,
        (Transport::Udp, None) => PLAIN_UDP,
        (Transport::Udp, Some(edns)) => edns.payload.clamp(PLAIN_UDP, MAX_UDP) - OPT,
    }
}

fn message(request: &Request, answer: Answer) -> Message {
    let mut message = Message::new(request.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_desired = request.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.checking_disabled = request.checking_disabled;
    message.metadata.authoritative = answer.authoritative;
    message.metadata.authentic_data = answer.authentic;
    message.metadata.response_code = ResponseCode::from_low(answer.code.low());
    message.queries.push(request.query.clone());
    message.answers = answer.answers;
    message.authorities = answer.authorities;
    message.additionals = answer.additionals;
    message
}

fn encode(message: &Message, limit: u16) -> Vec<u8> {
    let mut reply = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut reply);
    encoder.set_max_size(limit);
    if let Err(error) = message.emit(&mut encoder) {
        tracing::warn!(%error, "a DNS answer could not be encoded");
        return failure(message.metadata.id);
    }
    // A record that did not fit leaves its first bytes behind.
    encoder.trim();
    reply
}

fn failure(id: u16) -> Vec<u8> {
    let message = Message::error_msg(id, OpCode::Query, ResponseCode::ServFail);
    message.to_vec().unwrap_or_default()
}

/// Whether the TC bit is set.
pub fn is_truncated(packet: &[u8]) -> bool {
    packet.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

fn append_opt(reply: &mut Vec<u8>, edns: ClientEdns, code_high: u8) {
    let Some(count) = reply.get(10..HEADER) else {
        return;
    };
    let count = u16::from_be_bytes([count[0], count[1]]).saturating_add(1);
    reply[10..HEADER].copy_from_slice(&count.to_be_bytes());
    let [high, low] = MAX_UDP.to_be_bytes();
    let flags = if edns.dnssec_ok { DNSSEC_OK } else { 0 };
    reply.extend_from_slice(&[0, 0, 41, high, low, code_high, 0, flags, 0, 0, 0]);
}
