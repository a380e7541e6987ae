//! Clients that hold on to what they have: a request that is never whole, an answer that is never read,
//! a connection that idles. Each costs bounded memory, and nobody else waits for it.

use std::process::Command;
use std::time::Instant;

use super::hostile::{ask, frame, frames, frames_with, head, literal};
use super::*;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

const POST: &str = "/api/v1/namespaces/default/configmaps?timeout=1s";

/// Type, flags, stream and payload of the next frame of HTTP/2; none at the end.
async fn next_frame(stream: &mut TlsStream<TcpStream>) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], id, payload))
}

/// What is said on a stream until it ends.
async fn said_on(stream: &mut TlsStream<TcpStream>, wanted: u32) -> String {
    let mut said = Vec::new();
    loop {
        let next = timeout(support::PATIENCE, next_frame(stream)).await;
        let (kind, flags, id, payload) = next.expect("a frame").expect("no end");
        let is_over = id == wanted && (kind == 3 || (kind <= 1 && flags & 1 == 1));
        if id == wanted && kind == 0 {
            said.extend(payload);
        }
        if is_over {
            return String::from_utf8(said).unwrap();
        }
    }
}

#[tokio::test]
async fn a_body_that_stops_in_the_middle_is_given_up_with_its_request() {
    let control = Control::start(&[]).await;
    let post = format!("POST {POST} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
    for begun in [
        format!("{post}Content-Length: 1000\r\n\r\n{{\"metadata\": "),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n100\r\n{{\"metadata\": "),
    ] {
        // To the end of the connection: what comes later is no request.
        let said = ask(&control, begun.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 504"), "{said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    }
    let mut stream = frames(&control).await;
    let mut fields = head(POST);
    fields.splice(
        ..literal(":method", "GET").len(),
        literal(":method", "POST"),
    );
    fields.extend(literal("content-type", "application/json"));
    let begun = [frame(1, 4, 1, &fields), frame(0, 0, 1, b"{\"metadata\": ")];
    stream.write_all(&begun.concat()).await.unwrap();
    let refusal: Value = serde_json::from_str(&said_on(&mut stream, 1).await).unwrap();
    assert_eq!(refusal["code"], 504, "{refusal:#}");
    // Of HTTP/2 only the stream is lost.
    stream
        .write_all(&frame(1, 5, 3, &head("/version")))
        .await
        .unwrap();
    assert!(said_on(&mut stream, 3).await.contains("gitVersion"));
}

/// RFC 9112, 2.2: a recipient may take a bare LF for the end of a line, and must then do so throughout.
#[tokio::test]
async fn lines_that_end_in_bare_lf_are_lines_and_hide_nothing() {
    let control = Control::start(&[]).await;
    let body = map("bare").to_string();
    let post = |separator: &str| {
        format!(
            "POST {MAPS} HTTP/1.1\nHost: x\nContent-Type: application/json\nX-A: \
             b{separator}Content-Length: {}\n\n{body}GET /version HTTP/1.1\nHost: x\n\
             Connection: close\n\n",
            body.len()
        )
    };
    let said = ask(&control, post("\n").as_bytes()).await;
    let codes: Vec<_> = said
        .match_indices("HTTP/1.1 ")
        .map(|(at, _)| &said[at + 9..at + 12])
        .collect();
    assert_eq!(codes, ["201", "200"], "{said}");
    // A bare CR is no end of a line, and nothing in a value.
    let said = ask(&control, post("\r").as_bytes()).await;
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 400"),
        "{said}"
    );
    assert!(said.matches("HTTP/1.1 ").count() <= 1, "{said}");
    let chunk =
        format!("POST {MAPS} HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n2\n{{}}\n0\n\n");
    let said = ask(&control, chunk.as_bytes()).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
}

#[tokio::test]
async fn answers_that_nobody_reads_cost_bounded_memory_and_nobody_else() {
    const MAPS_OF_20K: usize = 500;
    const CONNECTIONS: usize = 20;
    const STREAMS: u32 = 100;
    let control = Control::start(&[]).await;
    for index in 0..MAPS_OF_20K {
        let mut large = map(&format!("m{index}"));
        large["data"]["b"] = "x".repeat(20_000).into();
        create(&control, MAPS, &large).await;
    }
    control.get(MAPS).await.expect(200);
    let before = control.rss();
    let mut held = Vec::new();
    let (list, watch) = (MAPS.to_owned(), format!("{MAPS}?watch=1"));
    for _ in 0..CONNECTIONS {
        let mut stream = control.connect().await;
        let request = format!("GET {list} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(stream);
        // SETTINGS_INITIAL_WINDOW_SIZE is 0.
        let mut stream = frames_with(&control, &[0, 4, 0, 0, 0, 0]).await;
        for index in 0..STREAMS {
            let path = if index % 2 == 0 { &list } else { &watch };
            let open = frame(1, 5, 2 * index + 1, &head(path));
            stream.write_all(&open).await.unwrap();
        }
        let mut heads = 0;
        while heads < STREAMS {
            let next = timeout(support::PATIENCE, next_frame(&mut stream)).await;
            let (kind, _, id, payload) = next.expect("a frame").expect("no end");
            heads += u32::from(kind == 1);
            assert!(kind != 0 || payload.is_empty(), "stream {id} has no window");
        }
        held.push(stream);
    }
    // Each was owed 10 MB, or every event.
    let list = control.get(MAPS).await.expect(200);
    assert!(names(&list).len() >= MAPS_OF_20K);
    create(&control, MAPS, &map("new")).await;
    let answers = CONNECTIONS * (1 + STREAMS as usize);
    let grown = control.rss().saturating_sub(before) / 1024;
    println!("{answers} answers of 10 MB that nobody reads: {grown} MiB");
    assert!(grown < 400, "{grown} MiB for {answers} answers");
    drop(held);
}

/// A connection that has asked once and only answers pings from then on.
async fn idle(control: &Control) -> TlsStream<TcpStream> {
    let mut stream = frames(control).await;
    stream
        .write_all(&frame(1, 5, 1, &head("/livez")))
        .await
        .unwrap();
    assert_eq!(said_on(&mut stream, 1).await, "ok");
    stream
}

async fn stay(mut stream: TlsStream<TcpStream>) {
    while let Some((kind, flags, _, payload)) = next_frame(&mut stream).await {
        if kind == 6 && flags == 0 && stream.write_all(&frame(6, 1, 0, &payload)).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_cost_bounded_memory_each() {
    const MANY: usize = 10_000;
    const AT_ONCE: usize = 20;
    /// KiB that one may cost.
    const EACH: u64 = 64;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if most < MANY as u64 + 500 {
        eprintln!(
            "SKIPPED: a process may have {most} files here, and {MANY} connections need more"
        );
        return;
    }
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let control = std::sync::Arc::new(Control::start(&[]).await);
    let before = control.rss();
    let mut opening = JoinSet::new();
    for _ in 0..AT_ONCE {
        let control = control.clone();
        opening.spawn(async move {
            let mut staying = JoinSet::new();
            for _ in 0..MANY / AT_ONCE {
                staying.spawn(stay(idle(&control).await));
            }
            staying
        });
    }
    let staying = opening.join_all().await;
    assert!(control.open_files() >= MANY, "{}", control.open_files());
    create(&control, MAPS, &map("meanwhile")).await;
    control.get(MAPS).await.expect(200);
    let grown = control.rss().saturating_sub(before);
    println!(
        "{MANY} idle connections: {} to {} MiB, {} KiB each",
        before >> 10,
        (before + grown) >> 10,
        grown / MANY as u64
    );
    assert!(grown / (MANY as u64) < EACH, "{grown} KiB");
    drop(staying);
    eventually("they are gone", || async {
        (control.open_files() < 500).then_some(())
    })
    .await;
    control.get(MAPS).await.expect(200);
}

#[tokio::test]
async fn a_server_without_files_serves_on_and_takes_connections_again_when_some_end() {
    let control = Control::start(&[]).await;
    create(&control, MAPS, &map("before")).await;
    let room = control.open_files() + 20;
    let limit = Command::new("prlimit")
        .args([
            "--pid",
            &control.pid().to_string(),
            &format!("--nofile={room}:{room}"),
        ])
        .status();
    assert!(limit.unwrap().success());
    let (asked, tried) = (Instant::now(), || {
        control.log().matches("cannot accept a connection").count()
    });
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(
            TcpStream::connect(("127.0.0.1", control.port()))
                .await
                .unwrap(),
        );
    }
    eventually("it runs out", || async { (tried() >= 3).then_some(()) }).await;
    // Who is connected is served, written objects included.
    for name in ["a", "b", "c"] {
        create(&control, MAPS, &map(name)).await;
    }
    eventually("it goes on trying", || async {
        (tried() >= 10).then_some(())
    })
    .await;
    // Every 100 ms, and not as fast as it can.
    let (tried, most) = (tried(), asked.elapsed().as_millis() / 100 + 1);
    assert!(tried as u128 <= most, "{tried} times where {most} are due");
    drop(held);
    let stream = timeout(support::PATIENCE, idle(&control)).await;
    drop(stream.expect("it is served"));
    assert_eq!(
        names(&control.get(MAPS).await.expect(200)),
        ["a", "b", "before", "c"]
    );
}
