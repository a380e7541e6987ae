//! SPDY inside WebSocket, as kubectl forwards ports from 1.31 on: the bytes of binary messages are
//! the bytes of the connection to the node. What they say is between the client and the runtime.

use std::io;

use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_tungstenite::tungstenite::Message;

use super::Pipe;
use super::sink::{self, Sink};
use super::websocket::Socket;

/// Bytes of one message to the client.
const READ: usize = 32 << 10;

/// Carries bytes until one side ends.
pub(super) async fn run(socket: Socket, node: Pipe) {
    let (sink, mut source) = sink::split(socket);
    let (read, write) = tokio::io::split(node);
    let ended = tokio::select! {
        ended = inward(&mut source, write) => ended,
        ended = outward(read, &sink) => ended,
        ended = sink.ping() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a tunnel broke off");
    }
    sink.close(&mut source).await;
}

async fn inward(source: &mut SplitStream<Socket>, mut node: WriteHalf<Pipe>) -> io::Result<()> {
    while let Some(message) = source.next().await {
        match message.map_err(io::Error::other)? {
            message @ (Message::Binary(_) | Message::Text(_)) => {
                node.write_all(&message.into_data()).await?;
                node.flush().await?;
            }
            Message::Close(_) => break,
            _ => {}
        }
    }
    Ok(())
}

async fn outward(mut node: ReadHalf<Pipe>, sink: &Sink) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ);
        if node.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        sink.send(Message::Binary(buffer.split().freeze())).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::super::bridge::tests::pair;
    use super::*;
    use futures_util::SinkExt;

    #[tokio::test]
    async fn bytes_arrive_whatever_their_messages_are() {
        let (socket, mut client) = pair().await;
        let (ours, mut node) = tokio::io::duplex(1 << 16);
        let run = tokio::spawn(run(socket, Box::new(ours)));
        for part in [&b"ab"[..], b"", b"cd"] {
            let message = Message::Binary(bytes::Bytes::from_static(part));
            client.send(message).await.unwrap();
        }
        let mut heard = [0; 4];
        node.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"abcd");
        node.write_all(b"answer").await.unwrap();
        let answer = client.next().await.unwrap().unwrap();
        assert_eq!(
            answer,
            Message::Binary(bytes::Bytes::from_static(b"answer"))
        );
        drop(node);
        assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
        assert!(client.next().await.is_none());
        run.await.unwrap();
    }
}
