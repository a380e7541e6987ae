//! Clients that mean harm: what they smuggle in is never carried out, what they send without end costs
//! bounded memory, and others are served meanwhile.

use std::sync::Arc;

use super::*;
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// KiB that the server may grow by under any of this.
const GROWTH: u64 = 64 << 10;

/// A request that nobody may ever have made.
fn smuggled() -> String {
    let body = map("smuggled").to_string();
    format!(
        "POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: \
         {}\r\n\r\n{body}",
        body.len()
    )
}

/// What the server says until it closes the connection.
pub(super) async fn said(stream: &mut TlsStream<TcpStream>) -> String {
    let mut said = Vec::new();
    let end = timeout(support::PATIENCE, stream.read_to_end(&mut said)).await;
    // A reset is an end, too.
    let _ = end.expect("the connection is closed");
    String::from_utf8_lossy(&said).into_owned()
}

/// Sends everything as far as the server takes it, and hears it out.
pub(super) async fn ask(control: &Control, bytes: &[u8]) -> String {
    let mut stream = control.connect().await;
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    said(&mut stream).await
}

/// The server is whole: it serves somebody else, and has made nothing that was smuggled.
async fn is_whole(control: &Control, what: &str) {
    control.get(&format!("{MAPS}/kept")).await.expect(200);
    let smuggled = control.get(&format!("{MAPS}/smuggled")).await;
    assert_eq!(smuggled.code, 404, "{what}");
}

#[tokio::test]
async fn malformed_heads_are_refused_and_nothing_behind_them_is_done() {
    let control = Control::start(&[]).await;
    create(&control, MAPS, &map("kept")).await;
    let before = control.rss();
    let get = format!("GET {MAPS} HTTP/1.1\r\nHost: x\r\n");
    let post = format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
    let inner = smuggled();
    let heads = [
        (
            "two lengths",
            format!("{post}Content-Length: 0\r\nContent-Length: 5\r\n\r\n{inner}"),
        ),
        (
            "two lengths in one",
            format!("{post}Content-Length: 0, 5\r\n\r\n{inner}"),
        ),
        (
            "a signed length",
            format!("{post}Content-Length: +0\r\n\r\n{inner}"),
        ),
        (
            "a length beyond all",
            format!("{post}Content-Length: 99999999999999999999\r\n\r\n{inner}"),
        ),
        (
            "chunked, then not",
            format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{inner}"),
        ),
        (
            "another encoding",
            format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{inner}"),
        ),
        (
            "chunked of 1.0",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}")
                .replacen("HTTP/1.1", "HTTP/1.0", 1),
        ),
        ("a folded line", format!("{get}X-A: a\r\n b\r\n\r\n{inner}")),
        (
            "a space before the colon",
            format!("{get}Content-Length : 5\r\n\r\n{inner}"),
        ),
        (
            "a line without a colon",
            format!("{get}nonsense\r\n\r\n{inner}"),
        ),
        ("NUL in a header", format!("{get}X-A: a\0b\r\n\r\n{inner}")),
        (
            "NUL in the path",
            format!("{get}\r\n{inner}").replacen("/api", "/\0api", 1),
        ),
        ("a bare CR", format!("{get}X-A: a\rb\r\n\r\n{inner}")),
        ("no version", format!("GET {MAPS}\r\n\r\n{inner}")),
        (
            "version 3",
            format!("{get}\r\n{inner}").replacen("HTTP/1.1", "HTTP/3.0", 1),
        ),
        (
            "a request line of 1 MiB",
            format!("GET /{} HTTP/1.1\r\n\r\n{inner}", "a".repeat(1 << 20)),
        ),
        (
            "100,000 headers",
            format!("{get}{}\r\n{inner}", "X-A: b\r\n".repeat(100_000)),
        ),
        (
            "a header of 1 MiB",
            format!("{get}X-A: {}\r\n\r\n{inner}", "b".repeat(1 << 20)),
        ),
    ];
    for (what, bytes) in &heads {
        let said = ask(&control, bytes.as_bytes()).await;
        let refused = said.is_empty() || said.starts_with("HTTP/1.1 4");
        assert!(refused, "{what}: {said}");
        assert_eq!(
            said.matches("HTTP/1.1 ").count(),
            usize::from(!said.is_empty()),
            "{what}"
        );
        is_whole(&control, what).await;
    }
    let grown = control.rss().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} KiB");
}

#[tokio::test]
async fn what_is_chunked_is_the_last_of_its_connection() {
    let control = Control::start(&[]).await;
    create(&control, MAPS, &map("kept")).await;
    let inner = smuggled();
    let post = format!("POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
    let both = "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n";
    let turned = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    let overflow = "fffffffffffffffff\r\n{}\r\n0\r\n\r\n";
    for (what, bytes) in [
        ("both lengths", format!("{post}{both}\r\n0\r\n\r\n{inner}")),
        (
            "both, turned",
            format!("{post}{turned}\r\n0\r\n\r\n{inner}"),
        ),
        (
            "a chunk without end",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n{overflow}{inner}"),
        ),
        (
            "a chunk of no size",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n-1\r\n{{}}\r\n0\r\n\r\n{inner}"),
        ),
        (
            "bare LF in a chunk",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n2;\n{{}}\r\n0\r\n\r\n{inner}"),
        ),
    ] {
        let said = ask(&control, bytes.as_bytes()).await;
        // An empty or broken body is a bad request.
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 4"),
            "{what}: {said}"
        );
        assert!(said.matches("HTTP/1.1 ").count() <= 1, "{what}: {said}");
        is_whole(&control, what).await;
    }
    let body = map("chunked").to_string();
    let whole = format!(
        "{post}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let said = ask(&control, whole.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 201"), "{said}");
}

#[tokio::test]
async fn paths_that_play_tricks_lead_nowhere_else() {
    let control = Control::start(&[]).await;
    create(&control, MAPS, &map("kept")).await;
    let user = rights::sign(&control, "nobody", "nothing").await;
    for path in [
        "/api/../api/v1/secrets",
        "/version/../api/v1/secrets",
        "/healthz/../api/v1/secrets",
        "/livez/%2e%2e/api/v1/secrets",
        "/openapi/%2e%2e/api/v1/secrets",
        "/openapi%2f..%2fapi/v1/secrets",
        "/api/v1/namespaces/default%2fsecrets",
        "/api/v1/secrets%00",
        "/api/v1/secrets%2f",
        "/api/v1/namespaces/default/secrets/..%2f..%2fkube-system%2fsecrets",
    ] {
        let answer = support::http::send(&user, http::Method::GET, path, &[], "").await;
        assert!([403, 404].contains(&answer.code), "{path}: {}", answer.code);
        let secrets = answer.body.get("items").is_some();
        assert!(!secrets, "{path}: {:#}", answer.body);
    }
    for method in ["CONNECT", "TRACE", "OPTIONS", "BREW"] {
        let request =
            format!("{method} {MAPS}/kept HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let said = ask(&control, request.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 4"), "{method}: {said}");
    }
    let close = "Host: x\r\nConnection: close\r\n\r\n";
    let absolute = format!("GET http://elsewhere{MAPS}/kept HTTP/1.1\r\n{close}");
    // RFC 9112, 3.2.2: a server takes the absolute form, and its path.
    let said = ask(&control, absolute.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    is_whole(&control, "the end").await;
}

/// An administrator's connection that speaks HTTP/2, frame by frame.
pub(super) async fn frames(control: &Control) -> TlsStream<TcpStream> {
    frames_with(control, &[]).await
}

/// The same with settings, as they stand in their frame.
pub(super) async fn frames_with(control: &Control, settings: &[u8]) -> TlsStream<TcpStream> {
    let file = Kubeconfig::read_from(control.dir().join("admin.kubeconfig")).unwrap();
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(file, &options).await;
    let mut tls = config.unwrap().rustls_client_config().unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", control.port())).await;
    let connector = TlsConnector::from(Arc::new(tls));
    let name = "localhost".try_into().unwrap();
    let mut stream = connector.connect(name, stream.unwrap()).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    stream.write_all(preface).await.unwrap();
    stream.write_all(&frame(4, 0, 0, settings)).await.unwrap();
    stream
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header without a table, such as RFC 7541 has it in 6.2.2.
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0, u8::try_from(name.len()).unwrap()];
    field.extend(name.bytes());
    field.push(u8::try_from(value.len()).unwrap());
    field.extend(value.bytes());
    field
}

pub(super) fn head(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "x"),
    ];
    fields
        .iter()
        .flat_map(|(name, value)| literal(name, value))
        .collect()
}

/// Sends frames without end, until the server has enough or `most` are sent.
async fn flood(
    control: &Control,
    most: usize,
    frame_of: impl Fn(usize) -> Vec<u8> + Send + 'static,
) {
    let stream = frames(control).await;
    let (mut reading, mut writing) = tokio::io::split(stream);
    let read = tokio::spawn(async move {
        let mut place = vec![0; 64 << 10];
        while let Ok(1..) = reading.read(&mut place).await {}
    });
    for index in 0..most {
        if writing.write_all(&frame_of(index)).await.is_err() {
            break;
        }
    }
    is_whole(control, "while frames flow").await;
    let _ = writing.shutdown().await;
    read.abort();
}

#[tokio::test]
async fn floods_of_frames_cost_bounded_memory_and_nobody_else() {
    const MANY: usize = 50_000;
    let control = Control::start(&[]).await;
    create(&control, MAPS, &map("kept")).await;
    let before = control.rss();
    let stream = |index: usize| u32::try_from(2 * index + 1).unwrap();
    // A head that goes on and on.
    flood(&control, MANY, |index| match index {
        0 => frame(1, 0, 1, &head("/version")),
        _ => frame(9, 0, 1, &literal("x-a", &"b".repeat(100))),
    })
    .await;
    // Streams that are taken back at once.
    flood(&control, MANY, move |index| {
        let open = frame(1, 5, stream(index), &head("/api/v1/configmaps"));
        [open, frame(3, 0, stream(index), &[0, 0, 0, 8])].concat()
    })
    .await;
    // Streams that stay open, many more than allowed.
    flood(&control, MANY / 10, move |index| {
        frame(1, 5, stream(index), &head("/api/v1/configmaps?watch=1"))
    })
    .await;
    flood(&control, MANY, |_| frame(6, 0, 0, &[0; 8])).await;
    flood(&control, MANY, |_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 9])).await;
    flood(&control, MANY, |_| frame(2, 0, 1, &[0, 0, 0, 0, 9])).await;
    flood(&control, MANY, |_| frame(0, 0, 0, &[])).await;
    let grown = control.rss().saturating_sub(before);
    println!("floods: {grown} KiB more than before");
    assert!(grown < GROWTH, "{grown} KiB");
}
