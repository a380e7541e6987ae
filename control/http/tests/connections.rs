//! Connections with many open answers, over TLS and TCP, as clients see them.

mod support;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use support::{FAREWELL, Server, line, rest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Enough for connections to gather what they say.
const MANY: usize = 40;
/// Bytes that nobody has read of a stream, where that does not matter.
const WIDE: u32 = 1 << 20;
/// More than any of this takes; who waits so long waits for ever.
const FOR_EVER: Duration = Duration::from_secs(60);

/// The next `size` bytes of an answer.
async fn take(answer: &mut Incoming, size: usize) -> String {
    let mut taken = Vec::new();
    while taken.len() < size {
        let frame = timeout(FOR_EVER, answer.frame()).await;
        let frame = frame.expect("something to read").expect("no end").unwrap();
        taken.extend_from_slice(&frame.into_data().unwrap());
    }
    String::from_utf8(taken).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_watch_of_a_connection_gets_every_event_in_its_order() {
    let server = Server::start().await;
    let mut client = server.client(WIDE).await;
    let mut watches = client.open_many("/watch", MANY).await;
    server.has_open(MANY).await;
    // Short ones, which h2 puts together itself, and some that are worth no copy.
    let sizes = [20, 300, 1000, 5000, 40_000];
    for round in 0..20 {
        let events = sizes.map(|size| format!("{round:0>size$}\n"));
        for event in &events {
            server.news.send(Bytes::from(event.clone())).unwrap();
        }
        let expected = events.concat();
        for watch in &mut watches {
            assert_eq!(take(watch, expected.len()).await, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_answers_come_between_the_events_of_many_watches() {
    let server = Server::start().await;
    let mut client = server.client(WIDE).await;
    let mut watches = client.open_many("/watch", MANY).await;
    server.has_open(MANY).await;
    let mut events = String::new();
    for round in 0..100 {
        if round % 2 == 0 {
            let event = format!("{round:0>500}\n");
            events.push_str(&event);
            server.news.send(event.into()).unwrap();
        }
        let path = format!("/answer/{round}");
        let answer = async { rest(client.open(&path).await).await };
        assert_eq!(timeout(FOR_EVER, answer).await.expect("an answer"), path);
    }
    for watch in &mut watches {
        assert_eq!(take(watch, events.len()).await, events);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_that_are_full_delay_and_lose_nothing() {
    let server = Server::start().await;
    let mut client = server.client(16 << 10).await;
    let answers = client.open_many("/long?300", MANY).await;
    let expected: String = (0..300).map(line).collect();
    // One after the other: the rest stand with their windows full.
    for answer in answers {
        let read = timeout(FOR_EVER, rest(answer)).await;
        assert!(read.expect("the end of it") == expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_words_of_watches_arrive_when_the_server_stops() {
    let server = Server::start().await;
    let mut client = server.client(WIDE).await;
    let watches = client.open_many("/watch", MANY).await;
    server.has_open(MANY).await;
    server.news.send("news\n".into()).unwrap();
    server.stopping.cancel();
    for watch in watches {
        let read = timeout(FOR_EVER, rest(watch)).await.expect("its end");
        assert!(read.ends_with(FAREWELL), "{read}");
    }
    let end = timeout(FOR_EVER, client.connection).await;
    end.expect("the end of the connection").unwrap().unwrap();
    timeout(FOR_EVER, server.served).await.unwrap().unwrap();
}

#[test]
fn a_client_that_vanishes_leaves_no_answer_open() {
    let (ours, theirs) = (Runtime::new().unwrap(), Runtime::new().unwrap());
    let server = ours.block_on(Server::start());
    let mut client = theirs.block_on(server.client(WIDE));
    let watches = theirs.block_on(client.open_many("/watch", MANY));
    ours.block_on(server.has_open(MANY));
    // The socket goes with its runtime, before any stream could be ended in order.
    theirs.shutdown_background();
    // Nobody listens any more if the server has noticed already.
    server.news.send(vec![b'x'; 2000].into()).ok();
    let gone = ours.block_on(async { timeout(FOR_EVER, server.has_open(0)).await });
    gone.expect("watches of nobody");
    drop((client, watches));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switched_connection_says_everything_at_once_and_ends_in_order() {
    let server = Server::start().await;
    let mut stream = server.connect("http/1.1").await;
    let request =
        "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    for word in ["one", "two", "three"] {
        stream.write_all(word.as_bytes()).await.unwrap();
        let mut place = vec![0; word.len()];
        let echoed = timeout(FOR_EVER, stream.read_exact(&mut place)).await;
        echoed.expect("an echo").unwrap();
        assert_eq!(place, word.as_bytes());
    }
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    // An end that TLS does not announce is an error.
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}
