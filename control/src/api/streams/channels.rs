//! The subprotocols: which there are, and how a message says what it belongs to. Pure.
//!
//! A message is one byte, its channel, and content. Channels of a process: 0 stdin, 1 stdout,
//! 2 stderr, 3 how it ended, 4 sizes of the terminal; of forwarded ports: 2n data and 2n+1 errors of
//! the n-th, each begun by the server with the port's number, little endian.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;

use super::{Piece, Purpose};
use crate::api::status::{Result, Status};

/// Channel of input.
pub(super) const STDIN: u8 = 0;
/// Channel of output.
pub(super) const STDOUT: u8 = 1;
/// Channel of errors.
pub(super) const STDERR: u8 = 2;
/// Channel on which a Status says how the process ended.
pub(super) const ERROR: u8 = 3;
/// Channel of terminal sizes.
pub(super) const RESIZE: u8 = 4;
/// Not a channel: the next byte names one on which nothing follows.
const CLOSE: u8 = 255;

/// How messages look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Coding {
    /// The content is base64 and the channel a digit, for clients that know text only.
    base64: bool,
    /// A client may close a channel.
    closes: bool,
    /// The end is told as a Status; older clients get a sentence, and only of a failure.
    pub(super) status: bool,
    name: &'static str,
}

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Messages with channels.
    Channels(Coding),
    /// SPDY/3.1 inside binary messages.
    Tunnel,
}

const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

const fn coding(name: &'static str, base64: bool, closes: bool, status: bool) -> Coding {
    Coding {
        base64,
        closes,
        status,
        name,
    }
}

/// Those of a process.
const PROCESS: [Coding; 5] = [
    coding("v5.channel.k8s.io", false, true, true),
    coding("v4.channel.k8s.io", false, false, true),
    coding("v4.base64.channel.k8s.io", true, false, true),
    coding("channel.k8s.io", false, false, false),
    coding("base64.channel.k8s.io", true, false, false),
];
/// Those of ports.
const PORTS: [Coding; 2] = [
    coding("v4.channel.k8s.io", false, false, false),
    coding("v4.base64.channel.k8s.io", true, false, false),
];

impl Protocol {
    /// Its name in the handshake.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Channels(coding) => coding.name,
            Self::Tunnel => TUNNEL,
        }
    }
}

/// The first of the `offered` subprotocols that is known for the purpose. Who offers none gets the
/// plainest.
///
/// # Errors
/// 400 with what is known, when nothing fits.
pub(super) fn choose(purpose: &Purpose, offered: &[String]) -> Result<Protocol> {
    let (known, plain, tunnel): (&[Coding], _, _) = match purpose {
        Purpose::Process(_) => (&PROCESS, coding("", false, false, false), false),
        Purpose::Ports(_) => (&PORTS, coding("", false, false, false), true),
    };
    if offered.is_empty() {
        return Ok(Protocol::Channels(plain));
    }
    let find = |name: &String| match known.iter().find(|coding| coding.name == name) {
        Some(coding) => Some(Protocol::Channels(*coding)),
        None => (tunnel && name == TUNNEL).then_some(Protocol::Tunnel),
    };
    offered.iter().find_map(find).ok_or_else(|| {
        let names = known.iter().map(|coding| coding.name);
        let names: Vec<_> = names.chain(tunnel.then_some(TUNNEL)).collect();
        let (offered, names) = (offered.join(", "), names.join(", "));
        Status::bad_request(format!(
            "unable to upgrade: none of the subprotocols is known: {offered}; known are {names}"
        ))
    })
}

/// What a client's message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Content for a channel.
    Content(Piece),
    /// Nothing follows on this channel.
    Closed(u8),
    /// Nothing that is understood.
    Nothing,
}

impl Coding {
    /// Reads a message. One without sense says nothing, as clients know it from other servers.
    pub(super) fn read(&self, message: Bytes) -> Said {
        let Some(&first) = message.first() else {
            return Said::Nothing;
        };
        if self.closes && first == CLOSE {
            let [_, channel] = message[..] else {
                return Said::Nothing;
            };
            return Said::Closed(channel);
        }
        if !self.base64 {
            return Said::Content((first, message.slice(1..)));
        }
        match (
            first.checked_sub(b'0'),
            BASE64_STANDARD.decode(&message[1..]),
        ) {
            (Some(channel @ 0..=9), Ok(content)) => Said::Content((channel, content.into())),
            _ => Said::Nothing,
        }
    }

    /// The message for a piece of content.
    pub(super) fn write(&self, channel: u8, content: &[u8]) -> Message {
        if self.base64 {
            let content = BASE64_STANDARD.encode(content);
            return Message::text(format!("{channel}{content}"));
        }
        let mut message = BytesMut::with_capacity(content.len() + 1);
        message.put_u8(channel);
        message.extend_from_slice(content);
        Message::Binary(message.freeze())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Wanted;
    use super::*;

    fn process(offered: &[&str]) -> Result<Protocol> {
        let offered: Vec<_> = offered.iter().map(|name| (*name).to_owned()).collect();
        choose(&Purpose::Process(Wanted::default()), &offered)
    }

    #[test]
    fn the_clients_favourite_among_the_known_is_spoken() {
        let name = |offered: &[&str]| process(offered).unwrap().name();
        assert_eq!(name(&["v5.channel.k8s.io"]), "v5.channel.k8s.io");
        assert_eq!(
            name(&["new", "channel.k8s.io", "v4.channel.k8s.io"]),
            "channel.k8s.io"
        );
        assert_eq!(name(&[]), "");
        let message = process(&["x", TUNNEL]).unwrap_err().message;
        assert!(message.contains("v5.channel.k8s.io"), "{message}");
        let offered = [TUNNEL.to_owned()];
        let forward = choose(&Purpose::Ports(Vec::new()), &offered).unwrap();
        assert_eq!(forward, Protocol::Tunnel);
    }

    #[test]
    fn only_the_fifth_version_closes_a_channel() {
        let message = Bytes::from_static(&[255, 0]);
        let [five, four, ..] = PROCESS;
        assert_eq!(five.read(message.clone()), Said::Closed(0));
        let content = Bytes::from_static(&[0]);
        assert_eq!(four.read(message), Said::Content((255, content)));
        assert_eq!(five.read(Bytes::from_static(&[255, 0, 1])), Said::Nothing);
        assert_eq!(five.read(Bytes::from_static(&[255])), Said::Nothing);
    }

    #[test]
    fn base64_has_digits_for_channels() {
        let coding = PROCESS[2];
        assert_eq!(coding.write(1, b"hi\n"), Message::text("1aGkK"));
        let content = Bytes::from_static(b"hi\n");
        assert_eq!(
            coding.read(Bytes::from_static(b"0aGkK")),
            Said::Content((0, content))
        );
        assert_eq!(coding.read(Bytes::from_static(b"0a")), Said::Nothing);
        assert_eq!(coding.read(Bytes::from_static(b"xaGkK")), Said::Nothing);
    }

    proptest! {
        #[test]
        fn any_message_is_read_and_what_is_written_comes_back(bytes: Vec<u8>, channel in 0u8..10) {
            for coding in PROCESS.iter().chain(&PORTS) {
                let _ = coding.read(Bytes::from(bytes.clone()));
                let written = coding.write(channel, &bytes).into_data();
                let content = Bytes::from(bytes.clone());
                prop_assert_eq!(coding.read(written), Said::Content((channel, content)));
            }
        }
    }
}
