//! A client on one side, the node's end of the pipe on the other.

use futures_util::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::super::channels::{Protocol, choose};
use super::super::spdy::frames::{data_head, refuse};
use super::*;

/// The two ends of a WebSocket connection.
pub(in super::super) async fn pair() -> (Socket, WebSocketStream<DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let ours: Pipe = Box::new(ours);
    (
        WebSocketStream::from_raw_socket(ours, Role::Server, None).await,
        WebSocketStream::from_raw_socket(theirs, Role::Client, None).await,
    )
}

/// A bridge under way.
struct Bench {
    client: WebSocketStream<DuplexStream>,
    node: DuplexStream,
    run: tokio::task::JoinHandle<()>,
}

const ALL: Wanted = Wanted {
    stdin: true,
    stdout: true,
    stderr: true,
    tty: true,
};

impl Bench {
    async fn start(protocol: &str, purpose: Purpose) -> Self {
        let Protocol::Channels(coding) = choose(&purpose, &[protocol.to_owned()]).unwrap() else {
            panic!("{protocol} has no channels");
        };
        let (socket, client) = pair().await;
        let (ours, node) = tokio::io::duplex(1 << 12);
        let run = async move { run(socket, Box::new(ours), coding, &purpose).await };
        Self {
            client,
            node,
            run: tokio::spawn(run),
        }
    }

    /// Reads the frames that open streams; answers how many there were.
    async fn opened(&mut self, streams: usize) {
        for _ in 0..streams {
            let frame = self.frame().await;
            assert_eq!(frame[..4], [0x80, 3, 0, 1], "{frame:?}");
        }
    }

    async fn frame(&mut self) -> Vec<u8> {
        let mut frame = vec![0; 8];
        self.node.read_exact(&mut frame).await.unwrap();
        let length = u32::from_be_bytes([0, frame[5], frame[6], frame[7]]) as usize;
        frame.resize(8 + length, 0);
        self.node.read_exact(&mut frame[8..]).await.unwrap();
        frame
    }

    async fn say(&mut self, stream: u32, bytes: &[u8]) {
        let head = data_head(stream, bytes.len(), false);
        self.node
            .write_all(&[&head[..], bytes].concat())
            .await
            .unwrap();
    }

    async fn heard(&mut self) -> Vec<u8> {
        match self.client.next().await.unwrap().unwrap() {
            Message::Close(_) => b"closed".to_vec(),
            message => message.into_data().to_vec(),
        }
    }

    async fn send(&mut self, message: &[u8]) {
        let message = Message::Binary(Bytes::copy_from_slice(message));
        self.client.send(message).await.unwrap();
    }
}

// Streams are numbered 1 (error), 3 (stdin), 5 (stdout), 7 (stderr), 9 (resize).

#[tokio::test]
async fn every_channel_finds_its_stream_and_the_status_comes_last() {
    let mut bench = Bench::start("v5.channel.k8s.io", Purpose::Process(ALL)).await;
    bench.opened(5).await;
    assert_eq!(bench.heard().await, [STDOUT]);
    for (message, stream) in [(&b"\0in"[..], 3u8), (b"\x04{}", 9)] {
        bench.send(message).await;
        let frame = bench.frame().await;
        assert_eq!(
            frame[..8],
            [0, 0, 0, stream, 0, 0, 0, message.len() as u8 - 1]
        );
        assert_eq!(frame[8..], message[1..]);
    }
    // No such channel, one of the other direction, nothing at all: not heard.
    for message in [&b"\x09x"[..], b"\x01x", b"", b"\xff\x07"] {
        bench.send(message).await;
    }
    bench.send(&[255, STDIN]).await;
    assert_eq!(bench.frame().await, data_head(3, 0, true));
    bench.say(1, b"{\"status\":").await;
    bench.say(5, b"out").await;
    bench.say(7, b"err").await;
    bench.say(1, b"\"Success\"}").await;
    assert_eq!(bench.heard().await, b"\x01out");
    assert_eq!(bench.heard().await, b"\x02err");
    bench.node.shutdown().await.unwrap();
    assert_eq!(bench.heard().await, b"\x03{\"status\":\"Success\"}");
    assert_eq!(bench.heard().await, b"closed");
    assert!(bench.client.next().await.is_none());
    bench.run.await.unwrap();
}

#[tokio::test]
async fn a_node_that_falls_silent_is_no_success() {
    for (protocol, wanted) in [
        ("v4.channel.k8s.io", "Failure"),
        ("channel.k8s.io", "ended"),
    ] {
        let mut bench = Bench::start(protocol, Purpose::Process(ALL)).await;
        bench.opened(5).await;
        bench.heard().await;
        // Not SPDY, and with it the end.
        bench.node.write_all(b"\x80\x09\0\0\0\0\0\0").await.unwrap();
        let heard = bench.heard().await;
        assert_eq!(heard[0], ERROR);
        let said = String::from_utf8(heard[1..].to_vec()).unwrap();
        assert!(said.contains(wanted), "{said}");
        assert_eq!(bench.heard().await, b"closed");
    }
}

#[tokio::test]
async fn old_clients_hear_of_failures_only_and_in_words() {
    for (status, wanted) in [
        ("{\"status\":\"Success\"}", &b"closed"[..]),
        (
            "{\"status\":\"Failure\",\"message\":\"exit 7\"}",
            b"\x03exit 7",
        ),
    ] {
        let mut bench = Bench::start("channel.k8s.io", Purpose::Process(ALL)).await;
        bench.opened(5).await;
        bench.heard().await;
        bench.say(1, status.as_bytes()).await;
        bench.node.shutdown().await.unwrap();
        assert_eq!(bench.heard().await, wanted);
    }
}

#[tokio::test]
async fn the_node_loses_its_connection_when_the_client_goes() {
    let mut bench = Bench::start("v4.channel.k8s.io", Purpose::Process(ALL)).await;
    bench.opened(5).await;
    drop(bench.client);
    let mut rest = Vec::new();
    bench.node.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    bench.run.await.unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_node_back() {
    let mut bench = Bench::start("v4.channel.k8s.io", Purpose::Process(ALL)).await;
    bench.opened(5).await;
    let chunk = [&data_head(5, 1024, false)[..], &[b'x'; 1024]].concat();
    let mut sent = 0;
    loop {
        let write = bench.node.write_all(&chunk);
        if tokio::time::timeout(Duration::from_millis(300), write)
            .await
            .is_err()
        {
            break;
        }
        sent += 1;
        assert!(sent < 1024, "a MiB went somewhere");
    }
    // What was held back still comes.
    let mut heard = 0;
    while heard < sent * 1024 {
        heard += bench.heard().await.len().saturating_sub(1);
    }
}

#[tokio::test]
async fn ports_have_two_channels_each_and_say_their_number_first() {
    let ports = Purpose::Ports(vec![80, 0x1234]);
    let mut bench = Bench::start("v4.channel.k8s.io", ports).await;
    for _ in 0..2 {
        bench.opened(1).await;
        let end = bench.frame().await;
        assert_eq!(end[4], 1, "errors come from the node only");
        bench.opened(1).await;
    }
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(bench.heard().await);
    }
    let wanted = [[0, 80, 0], [1, 80, 0], [2, 0x34, 0x12], [3, 0x34, 0x12]];
    assert_eq!(heard, wanted);
    bench.send(b"\x02GET").await;
    assert_eq!(bench.frame().await[8..], *b"GET");
    bench.say(7, b"200").await;
    assert_eq!(bench.heard().await, b"\x02200");
    bench.say(1, b"refused").await;
    assert_eq!(bench.heard().await, b"\x01refused");
    for stream in [1, 3, 5, 7] {
        bench.node.write_all(&refuse(stream)).await.unwrap();
    }
    assert_eq!(bench.heard().await, b"closed");
}
