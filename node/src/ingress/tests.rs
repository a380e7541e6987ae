//! The proxy between real sockets: clients that write bytes, endpoints that are hyper servers or
//! listeners that misbehave.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::backend::Backend;
use super::table::{PathKind, PathRoute};
use super::*;
use crate::watches::Key;

const SOURCE: &str = "127.0.0.9";

/// A running proxy, ended when dropped.
struct Fixture {
    address: SocketAddr,
    table: Arc<ArcSwap<RouteTable>>,
    shutdown: CancellationToken,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn start(table: RouteTable) -> Fixture {
    let table = Arc::new(ArcSwap::from_pointee(table));
    let source = Arc::new(ArcSwap::from_pointee(Source::Addresses([
        SOURCE.parse().ok(),
        None,
    ])));
    let patience = Duration::from_millis(300);
    let proxy = Proxy::new(Arc::clone(&table), Connector::new(source), patience);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    tokio::spawn(listen::serve(listener, Arc::new(proxy), shutdown.clone()));
    Fixture {
        address,
        table,
        shutdown,
    }
}

fn route(host: &str, path: &str, endpoints: &[SocketAddr]) -> RouteTable {
    let mut known = Endpoints::default();
    let endpoints = endpoints
        .iter()
        .filter_map(|address| known.get(*address))
        .collect();
    let backend = Arc::new(Backend::new("test/backend:80", endpoints));
    let mut table = RouteTable::default();
    table
        .host_mut(host)
        .add(PathRoute::new(PathKind::Prefix, path, backend));
    table
}

/// An HTTP server that answers with what it was asked; a body comes back as it is. With `gate`,
/// every answer first takes a permit.
async fn endpoint(name: &'static str, gate: Option<Arc<Semaphore>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let gate = gate.clone();
            let service = service_fn(move |request| {
                let gate = gate.clone();
                async move {
                    if let Some(gate) = gate {
                        gate.acquire().await.unwrap().forget();
                    }
                    Ok::<_, Infallible>(describe(name, peer, request).await)
                }
            });
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    address
}

async fn describe(
    name: &str,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let mut text = format!("{name} {} {} from {}\n", head.method, head.uri, peer.ip());
    for (key, value) in &head.headers {
        text.push_str(&format!("{key}={}\n", value.to_str().unwrap_or("?")));
    }
    let content = if body.is_empty() {
        Bytes::from(text)
    } else {
        body
    };
    let response = Response::builder()
        .header("x-served-by", name)
        .header("keep-alive", "timeout=9");
    response.body(Full::new(content)).unwrap()
}

/// An endpoint that takes connections and hands each to `then`, counting them.
async fn listener<F, R>(then: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(then(stream));
        }
    });
    (address, count)
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// An address on which nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Sends bytes and reads until the proxy closes.
async fn exchange(proxy: &Fixture, request: &str) -> String {
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    let reading = stream.read_to_end(&mut reply);
    timeout(Duration::from_secs(10), reading)
        .await
        .expect("a reply in time")
        .unwrap();
    String::from_utf8_lossy(&reply).into_owned()
}

async fn get(proxy: &Fixture, host: &str, path: &str) -> String {
    exchange(
        proxy,
        &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
    )
    .await
}

#[tokio::test]
async fn a_request_reaches_its_endpoint_from_the_ingress_address() {
    let one = endpoint("one", None).await;
    let proxy = start(route("shop.test", "/", &[one])).await;
    let reply = get(&proxy, "Shop.test:8080", "/a/b?c=d").await;
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
    assert!(
        reply.contains(&format!("one GET /a/b?c=d from {SOURCE}\n")),
        "{reply}"
    );
    for line in [
        "host=Shop.test:8080",
        "x-forwarded-host=Shop.test:8080",
        "x-forwarded-for=127.0.0.1",
        "x-forwarded-proto=http",
    ] {
        assert!(reply.contains(&format!("{line}\n")), "{line}: {reply}");
    }
    assert!(!reply.contains("keep-alive: timeout"), "{reply}");
}

#[tokio::test]
async fn what_cannot_be_served_gets_its_own_status() {
    let proxy = start(route("shop.test", "/", &[])).await;
    let status = |reply: String| reply.split(' ').nth(1).unwrap_or("none").to_owned();
    assert_eq!(status(get(&proxy, "shop.test", "/").await), "503");
    assert_eq!(status(get(&proxy, "other.test", "/").await), "404");
    assert_eq!(status(get(&proxy, "shop.test", "/a/../b").await), "400");
    assert_eq!(
        status(exchange(&proxy, "GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await),
        "400"
    );
    assert_eq!(status(exchange(&proxy, "garbage\r\n\r\n").await), "400");
    proxy
        .table
        .store(Arc::new(route("shop.test", "/", &[nobody().await])));
    assert_eq!(status(get(&proxy, "shop.test", "/").await), "502");
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_request_even_with_a_body() {
    let alive = endpoint("alive", None).await;
    let proxy = start(route("", "/", &[nobody().await, alive])).await;
    for _ in 0..4 {
        let request =
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
        let reply = exchange(&proxy, request).await;
        assert!(
            reply.starts_with("HTTP/1.1 200") && reply.ends_with("hello"),
            "{reply}"
        );
    }
}

#[tokio::test]
async fn a_broken_answer_is_repeated_only_for_idempotent_methods() {
    let (broken, count) = listener(|mut stream| async move {
        read_head(&mut stream).await;
    })
    .await;
    let proxy = start(route("", "/", &[broken])).await;
    let reply = exchange(
        &proxy,
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(reply.starts_with("HTTP/1.1 502"), "{reply}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    proxy.table.store(Arc::new(route(
        "",
        "/",
        &[broken, endpoint("alive", None).await],
    )));
    for _ in 0..4 {
        let reply = get(&proxy, "a", "/").await;
        assert!(reply.contains("alive GET /"), "{reply}");
    }
}

#[tokio::test]
async fn a_silent_endpoint_is_a_timeout() {
    let (silent, _) = listener(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.read_u8().await;
    })
    .await;
    let proxy = start(route("", "/", &[silent])).await;
    let reply = get(&proxy, "a", "/").await;
    assert!(reply.starts_with("HTTP/1.1 504"), "{reply}");
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let (socket, _) = listener(|mut stream| async move {
        let head = read_head(&mut stream).await;
        assert!(head.contains("upgrade: websocket\r\n"), "{head}");
        let reply = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n";
        stream.write_all(reply.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    })
    .await;
    let proxy = start(route("", "/", &[socket])).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let request =
        "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = timeout(Duration::from_secs(5), read_head(&mut stream))
        .await
        .unwrap();
    assert!(
        head.starts_with("HTTP/1.1 101") && head.contains("sec-websocket-accept: x"),
        "{head}"
    );
    stream.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    timeout(Duration::from_secs(5), stream.read_exact(&mut echo))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&echo, b"ping");
}

#[tokio::test]
async fn a_body_streams_in_both_directions() {
    let (slow, _) = listener(|mut stream| async move {
        read_head(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        // The second part comes only after the client has sent more of its own body.
        let mut more = [0; 64];
        let mut seen = String::new();
        while !seen.contains("more") {
            let length = stream.read(&mut more).await.unwrap();
            seen.push_str(&String::from_utf8_lossy(&more[..length]));
        }
        stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    })
    .await;
    let proxy = start(route("", "/", &[slow])).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let request = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nbeg\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    let mut buffer = [0; 256];
    let mut sent = false;
    while !reply.contains("second") {
        let read = timeout(Duration::from_secs(5), stream.read(&mut buffer)).await;
        let length = read
            .unwrap_or_else(|_| panic!("stuck after {reply}"))
            .unwrap();
        assert!(length > 0, "{reply}");
        reply.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if reply.contains("first") && !sent {
            sent = true;
            stream.write_all(b"4\r\nmore\r\n0\r\n\r\n").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_large_body_comes_back_whole() {
    let echo = endpoint("echo", None).await;
    let proxy = start(route("", "/", &[echo])).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let body = vec![b'x'; 8 << 20];
    let head = format!(
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let sending = tokio::spawn(async move {
        write.write_all(&body).await.unwrap();
        write
    });
    let mut reply = Vec::new();
    timeout(Duration::from_secs(20), read.read_to_end(&mut reply))
        .await
        .unwrap()
        .unwrap();
    sending.await.unwrap();
    assert_eq!(reply.iter().filter(|byte| **byte == b'x').count() >> 20, 8);
}

#[tokio::test]
async fn a_change_of_routes_breaks_nothing_in_progress() {
    let gate = Arc::new(Semaphore::new(0));
    let old = endpoint("old", Some(Arc::clone(&gate))).await;
    let proxy = start(route("", "/", &[old])).await;
    let waiting = {
        let address = proxy.address;
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            let slow = read_reply(&mut stream).await;
            // The same connection then follows the new route.
            stream
                .write_all(b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n")
                .await
                .unwrap();
            (slow, read_reply(&mut stream).await)
        })
    };
    let busy = async {
        while proxy.table.load().find("a", "/").unwrap().endpoints()[0].open() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(5), busy).await.unwrap();
    proxy
        .table
        .store(Arc::new(route("", "/", &[endpoint("new", None).await])));
    assert!(get(&proxy, "a", "/").await.contains("new GET /"));
    gate.add_permits(10);
    let (slow, next) = waiting.await.unwrap();
    assert!(slow.contains("old GET /slow"), "{slow}");
    assert!(next.contains("new GET /next"), "{next}");
}

/// One response with a Content-Length.
async fn read_reply(stream: &mut TcpStream) -> String {
    let head = read_head(stream).await;
    let length = head.to_ascii_lowercase();
    let length = length
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split('\r').next());
    let mut body = vec![0; length.expect("a length").parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    head + &String::from_utf8_lossy(&body)
}

#[tokio::test]
async fn a_smuggled_request_does_not_arrive() {
    let one = endpoint("one", None).await;
    let proxy = start(route("", "/public", &[one])).await;
    let hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
    let length = "0\r\n\r\n".len() + hidden.len();
    let both = format!(
        "POST /public HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
    );
    let obscured = format!(
        "POST /public HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\ncontent-length: {length}\r\n\r\n0\r\n\r\n{hidden}"
    );
    let twice = format!(
        "POST /public HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-length: 5\r\n\r\n{hidden}"
    );
    for request in [both, obscured, twice] {
        let reply = exchange(&proxy, &request).await;
        assert!(!reply.contains("/hidden"), "{request}\n{reply}");
    }
}

#[tokio::test]
async fn shutdown_lets_a_request_end() {
    let gate = Arc::new(Semaphore::new(0));
    let slow = endpoint("slow", Some(Arc::clone(&gate))).await;
    let proxy = start(route("", "/", &[slow])).await;
    let endpoint = Arc::clone(&proxy.table.load().find("a", "/").unwrap().endpoints()[0]);
    let release = async {
        while endpoint.open() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        proxy.shutdown.cancel();
        gate.add_permits(1);
    };
    let (reply, ()) = tokio::join!(get(&proxy, "a", "/"), release);
    assert!(reply.contains("slow GET /"), "{reply}");
}

#[test]
fn the_ingress_address_is_the_first_of_the_pod_cidr() {
    let node = |cidr: &str| -> Node {
        serde_json::from_value(serde_json::json!({"metadata": {}, "spec": {"podCIDR": cidr}}))
            .unwrap()
    };
    assert_eq!(
        ingress_addresses(&node("10.244.3.0/24")),
        ["10.244.3.1".parse().ok(), None]
    );
    assert_eq!(
        ingress_addresses(&node("fd00:10:244:3::/64")),
        [None, "fd00:10:244:3::1".parse().ok()]
    );
    assert_eq!(ingress_addresses(&node("broken")), [None, None]);
    assert_eq!(ingress_addresses(&Node::default()), [None, None]);
}

fn apply_route(watches: &Watches, host: &str) {
    let backend = serde_json::json!({"service": {"name": "web", "port": {"number": 80}}});
    let path = serde_json::json!({"path": "/", "pathType": "Prefix", "backend": backend});
    let ingress = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {"ingressClassName": "naru", "rules": [{"host": host, "http": {"paths": [path]}}]}
    }));
    watches
        .ingresses
        .apply(Key::new("shop", "shop"), ingress.unwrap());
}

#[tokio::test]
async fn a_change_is_live_within_50_ms_of_its_event() {
    let watches = Watches::new();
    watches.ingresses.replace([]);
    watches.ingress_classes.replace([]);
    watches.services.replace([]);
    watches.endpoint_slices.replace([]);
    let (table, built) = (
        Arc::new(ArcSwap::from_pointee(RouteTable::default())),
        Arc::new(Notify::new()),
    );
    let follower = {
        let (table, watches, built) =
            (Arc::clone(&table), Arc::clone(&watches), Arc::clone(&built));
        tokio::spawn(async move { follow_routes(&table, &watches, &built).await })
    };
    timeout(Duration::from_secs(5), built.notified())
        .await
        .unwrap();
    let mut fastest = Duration::MAX;
    for number in 0..5 {
        let host = format!("host{number}.test");
        let start = std::time::Instant::now();
        apply_route(&watches, &host);
        let live = async {
            while table.load().find(&host, "/").is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(5), live).await.unwrap();
        // The machine may be busy with other tests; it is not busy five times in a row.
        fastest = fastest.min(start.elapsed());
    }
    follower.abort();
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
}
