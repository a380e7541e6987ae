//! The WebSocket handshake (RFC 6455) and the socket that comes of it.

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::Pipe;
use crate::api::body::{Reply, empty};
use crate::api::proxy::upgrade_of;
use crate::api::status::{Result, Status};

/// The longest message that a client may send, and what one connection may keep at most.
const MESSAGE: usize = 16 << 20;

/// A WebSocket connection, the server's side.
pub(super) type Socket = WebSocketStream<Pipe>;

/// Whether the headers ask for an upgrade to WebSocket.
pub(in super::super) fn is_wanted(headers: &HeaderMap) -> bool {
    upgrade_of(headers).is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

/// A client's side of the handshake.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handshake {
    accept: String,
    /// The subprotocols that the client knows, the ones that it likes best first.
    pub(super) offered: Vec<String>,
}

impl Handshake {
    /// Reads the headers of a request.
    ///
    /// # Errors
    /// 400 when there is no key or the version is another than 13.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self> {
        if headers
            .get(SEC_WEBSOCKET_VERSION)
            .is_none_or(|version| version != "13")
        {
            return Err(Status::bad_request("Sec-WebSocket-Version must be 13"));
        }
        let key = headers
            .get(SEC_WEBSOCKET_KEY)
            .ok_or_else(|| Status::bad_request("there is no Sec-WebSocket-Key"))?;
        let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let offered = offered
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        let offered = offered.map(str::trim).filter(|name| !name.is_empty());
        Ok(Self {
            accept: derive_accept_key(key.as_bytes()),
            offered: offered.map(str::to_owned).collect(),
        })
    }

    /// The server's side: 101 with the subprotocol, which may be empty.
    pub(super) fn reply(&self, protocol: &'static str) -> Reply {
        let mut reply = Reply::new(empty());
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let accept = HeaderValue::from_str(&self.accept).expect("base64 is a header value");
        let headers = reply.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        if !protocol.is_empty() {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        reply
    }
}

/// The socket of a connection that is being upgraded.
///
/// # Errors
/// When the client goes away first.
pub(super) async fn accept(client: OnUpgrade) -> hyper::Result<Socket> {
    let upgraded: Pipe = Box::new(TokioIo::new(client.await?));
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE))
        .max_frame_size(Some(MESSAGE));
    Ok(WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_key_of_the_rfc_gets_the_answer_of_the_rfc() {
        let headers = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v5.channel.k8s.io, a"),
            ("sec-websocket-protocol", "b"),
        ]);
        assert!(is_wanted(&headers));
        let handshake = Handshake::read(&headers).unwrap();
        assert_eq!(handshake.offered, ["v5.channel.k8s.io", "a", "b"]);
        let reply = handshake.reply("v5.channel.k8s.io");
        assert_eq!(reply.status(), 101);
        let said = |name: &str| reply.headers()[name].to_str().unwrap();
        assert_eq!(said("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(said("sec-websocket-protocol"), "v5.channel.k8s.io");
    }

    #[test]
    fn a_handshake_that_is_none_is_refused() {
        let old = headers(&[("sec-websocket-version", "8"), ("sec-websocket-key", "x")]);
        assert_eq!(Handshake::read(&old).unwrap_err().code, 400);
        let keyless = headers(&[("sec-websocket-version", "13")]);
        assert_eq!(Handshake::read(&keyless).unwrap_err().code, 400);
        assert!(!is_wanted(&headers(&[("upgrade", "websocket")])));
    }
}
