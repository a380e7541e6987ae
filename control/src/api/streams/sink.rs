//! The sending side of a client's socket, shared by those who have something to say.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::websocket::Socket;

/// How often a silent client is asked whether it is there. What nobody acknowledges breaks the
/// connection in the end, so that a client that vanished does not keep a process' streams open.
const PING: Duration = Duration::from_secs(30);
/// How long a client may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Sends messages, each as a whole and only as fast as the client takes them.
pub(super) struct Sink(Mutex<SplitSink<Socket, Message>>);

/// Both directions of `socket`.
pub(super) fn split(socket: Socket) -> (Sink, SplitStream<Socket>) {
    let (sink, source) = socket.split();
    (Sink(Mutex::new(sink)), source)
}

impl Sink {
    /// Sends one message.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(super) async fn send(&self, message: Message) -> io::Result<()> {
        let mut sink = self.0.lock().await;
        sink.send(message).await.map_err(io::Error::other)
    }

    /// Asks now and then whether the client is there; ends when it is not.
    pub(super) async fn ping(&self) -> io::Result<()> {
        let mut turns = tokio::time::interval(PING);
        turns.tick().await;
        loop {
            turns.tick().await;
            self.send(Message::Ping(Bytes::new())).await?;
        }
    }

    /// Says goodbye and hears the client out for a while: a connection that is closed over unread
    /// input takes with it what the client has not read yet.
    pub(super) async fn close(&self, source: &mut SplitStream<Socket>) {
        let goodbye = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        let closing = async {
            if self.send(Message::Close(Some(goodbye))).await.is_ok() {
                while let Some(Ok(_)) = source.next().await {}
            }
        };
        let _ = tokio::time::timeout(GOODBYE, closing).await;
    }
}
