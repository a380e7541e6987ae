//! Clients that are slow, or say nothing: they lose their connection, and nobody else waits for them.

mod support;

use std::time::Duration;

use bytes::Bytes;
use naru_http::Patience;
use support::{FAREWELL, Server, line, rest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// More than any of this takes; who waits so long waits for ever.
const FOR_EVER: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(200);

/// Waits for the end of a connection, whatever the server says before it.
async fn ended(mut stream: impl AsyncRead + Unpin) {
    let mut said = Vec::new();
    let end = timeout(FOR_EVER, stream.read_to_end(&mut said)).await;
    // An end with or without TLS's own farewell.
    let _ = end.expect("the end of the connection");
}

/// Somebody else is served at once.
async fn serves(server: &Server) {
    let mut client = server.client(1 << 20).await;
    let answer = async { rest(client.open("/answer").await).await };
    assert_eq!(
        timeout(FOR_EVER, answer).await.expect("an answer"),
        "/answer"
    );
}

fn patience(change: impl FnOnce(&mut Patience)) -> Patience {
    let mut patience = Patience {
        handshake: LONG,
        silence: LONG,
        head: LONG,
        answer: LONG,
    };
    change(&mut patience);
    patience
}

#[tokio::test]
async fn a_handshake_that_stops_ends_the_connection() {
    let server = Server::start_within(patience(|it| it.handshake = SHORT)).await;
    let silent = server.tcp().await;
    let mut begun = server.tcp().await;
    // The head of a record that never comes.
    begun.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    ended(silent).await;
    ended(begun).await;
    drop(server);
}

#[tokio::test]
async fn who_says_nothing_after_the_handshake_is_let_go_whatever_he_speaks() {
    let server = Server::start_within(patience(|it| it.silence = SHORT)).await;
    for protocol in ["h2", "http/1.1"] {
        let silent = server.connect(protocol).await;
        serves(&server).await;
        ended(silent).await;
    }
    // As much as might still be either.
    for (protocol, begun) in [("http/1.1", "P"), ("h2", "PRI * HTTP/2.0\r\n")] {
        let mut stream = server.connect(protocol).await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        ended(stream).await;
    }
}

#[tokio::test]
async fn a_connection_that_has_spoken_is_not_taken_for_a_silent_one() {
    let server = Server::start_within(patience(|it| it.silence = SHORT)).await;
    let mut client = server.client(1 << 20).await;
    let mut plain = server.connect("http/1.1").await;
    let request = "GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for _ in 0..2 {
        plain.write_all(request.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"/a") {
            said.push(timeout(FOR_EVER, plain.read_u8()).await.unwrap().unwrap());
        }
        assert_eq!(rest(client.open("/b").await).await, "/b");
        tokio::time::sleep(2 * SHORT).await;
    }
}

#[tokio::test]
async fn a_head_that_drips_ends_the_connection() {
    let server = Server::start_within(patience(|it| it.head = SHORT)).await;
    let stream = server.connect("http/1.1").await;
    let (reading, mut writing) = tokio::io::split(stream);
    let dripping = tokio::spawn(async move {
        let request = "GET /a HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
        writing.write_all(request.as_bytes()).await.unwrap();
        while drip(&mut writing).await {}
    });
    serves(&server).await;
    ended(reading).await;
    timeout(FOR_EVER, dripping).await.unwrap().unwrap();
}

async fn drip(writing: &mut (impl AsyncWrite + Unpin)) -> bool {
    tokio::time::sleep(SHORT / 10).await;
    writing.write_all(b"x").await.is_ok() && writing.flush().await.is_ok()
}

/// More than a connection and the system keep of an answer that nobody reads.
const LINES: usize = 100_000;

/// Nothing is held any more of what was asked for.
async fn let_go(server: &Server) {
    let gone = timeout(FOR_EVER, server.has_open(0)).await;
    gone.expect("the end of every answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_http_1_that_nobody_reads_ends_its_connection() {
    let server = Server::start_within(patience(|it| it.answer = SHORT)).await;
    let mut stream = server.connect("http/1.1").await;
    let request = format!("GET /long?{LINES} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    timeout(FOR_EVER, server.has_open(1)).await.unwrap();
    serves(&server).await;
    let_go(&server).await;
    // It was cut, not sent.
    let mut said = Vec::new();
    let _ = timeout(FOR_EVER, stream.read_to_end(&mut said)).await;
    assert!(said.len() < LINES * line(0).len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_without_a_window_end_their_connection_and_no_other() {
    let server = Server::start_within(patience(|it| it.answer = SHORT)).await;
    let mut reader = server.client(1 << 20).await;
    let news = reader.open("/watch").await;
    // An answer that has begun, one of which nothing was ever taken, and one of a few bytes.
    for (path, window) in [("/long?100", 1000), ("/long?100", 0), ("/short", 0)] {
        let mut hungry = server.client(window).await;
        let held = hungry.open(path).await;
        serves(&server).await;
        let end = timeout(FOR_EVER, &mut hungry.connection).await;
        drop(end.expect("the end of the connection"));
        timeout(FOR_EVER, server.has_open(1)).await.unwrap();
        drop(held);
    }
    // A watch that has news for somebody who takes none.
    let mut hungry = server.client(0).await;
    let held = hungry.open_many("/watch", 20).await;
    timeout(FOR_EVER, server.has_open(21)).await.unwrap();
    server.news.send(Bytes::from_static(b"news\n")).unwrap();
    timeout(FOR_EVER, server.has_open(1)).await.unwrap();
    drop(held);
    // Who had taken all there was is there still.
    server.stopping.cancel();
    let said = timeout(FOR_EVER, rest(news)).await.expect("the end");
    assert_eq!(said, format!("news\n{FAREWELL}"));
}
