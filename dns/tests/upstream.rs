//! Names outside the cluster: forwarding, fallback, caching. The upstream is another instance that
//! serves `example.com`, or a socket that misbehaves.

mod support;

use std::net::SocketAddr;
use std::time::Instant;

use support::{cluster, dig, external, headless, serve, shop, short};
use tokio::net::UdpSocket;

const NAME: &str = "www.shop.svc.example.com";

fn example() -> support::Running {
    let services = [("www", cluster("192.0.2.1")), ("many", headless(200))];
    serve("example.com", shop(services), vec![])
}

/// A socket that takes questions and never answers.
async fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[tokio::test]
async fn other_names_come_from_upstream_and_then_from_the_cache() {
    let upstream = example();
    let server = serve("cluster.local", shop([]), vec![upstream.address]);
    let first = dig(server.address, &[NAME, "A"]).await;
    assert!(
        first.contains("192.0.2.1") && first.contains("flags: qr rd ra;"),
        "{first}"
    );
    drop(upstream);
    assert_eq!(
        short(server.address, &[&NAME.to_uppercase(), "A"]).await,
        ["192.0.2.1"]
    );
    let absent = dig(server.address, &["other.shop.svc.example.com", "A"]).await;
    assert!(absent.contains("status: SERVFAIL"), "{absent}");
}

#[tokio::test]
async fn negative_answers_are_passed_on_and_kept() {
    let upstream = example();
    let server = serve("cluster.local", shop([]), vec![upstream.address]);
    for _ in 0..2 {
        let absent = dig(server.address, &["none.shop.svc.example.com", "A"]).await;
        assert!(
            absent.contains("status: NXDOMAIN") && absent.contains("SOA"),
            "{absent}"
        );
    }
    drop(upstream);
    let kept = dig(server.address, &["none.shop.svc.example.com", "A"]).await;
    assert!(kept.contains("status: NXDOMAIN"), "{kept}");
}

#[tokio::test]
async fn a_long_upstream_answer_is_fetched_by_tcp() {
    let upstream = example();
    let server = serve("cluster.local", shop([]), vec![upstream.address]);
    let all = short(server.address, &["many.shop.svc.example.com", "A"]).await;
    assert_eq!(all.len(), 200);
}

#[tokio::test]
async fn an_external_name_brings_its_addresses() {
    let upstream = example();
    let services = shop([("out", external("www.shop.svc.example.com."))]);
    let server = serve("cluster.local", services, vec![upstream.address]);
    let name = "out.shop.svc.cluster.local";
    assert_eq!(
        short(server.address, &[name, "A"]).await,
        ["192.0.2.1", "www.shop.svc.example.com."]
    );
    assert_eq!(
        short(server.address, &[name, "CNAME"]).await,
        ["www.shop.svc.example.com."]
    );
}

#[tokio::test]
async fn a_silent_server_costs_its_patience_once() {
    let (socket, silent) = silent().await;
    let upstream = example();
    let server = serve("cluster.local", shop([]), vec![silent, upstream.address]);
    assert_eq!(short(server.address, &[NAME, "A"]).await, ["192.0.2.1"]);
    let asked = || socket.try_recv_from(&mut [0; 512]).is_ok();
    assert!(asked(), "it comes first");
    while asked() {}
    assert_eq!(
        short(server.address, &["pod-1.many.shop.svc.example.com", "A"]).await,
        ["10.1.0.1"]
    );
    assert!(!asked(), "it was waited for again");
}

#[tokio::test]
async fn without_an_upstream_that_answers_it_is_servfail() {
    let (_socket, silent) = silent().await;
    for upstream in [vec![], vec![silent], vec!["127.0.0.1:1".parse().unwrap()]] {
        let server = serve("cluster.local", shop([]), upstream);
        let failed = dig(server.address, &[NAME, "A"]).await;
        assert!(failed.contains("status: SERVFAIL"), "{failed}");
    }
}

#[tokio::test]
async fn a_waiting_question_holds_up_no_other() {
    let (_socket, silent) = silent().await;
    let services = shop([("web", cluster("10.96.0.20"))]);
    let server = serve("cluster.local", services, vec![silent]);
    let waiting = async { (dig(server.address, &[NAME, "A"]).await, Instant::now()) };
    let local = async {
        let name = "web.shop.svc.cluster.local";
        (short(server.address, &[name, "A"]).await, Instant::now())
    };
    let ((failed, given_up), (found, answered)) = tokio::join!(waiting, local);
    assert_eq!(found, ["10.96.0.20"]);
    assert!(answered < given_up, "it waited for the other");
    assert!(failed.contains("SERVFAIL"), "{failed}");
}

#[tokio::test]
async fn a_forged_answer_is_ignored() {
    let (socket, address) = silent().await;
    let real = example();
    let liar = tokio::spawn(async move {
        let mut buffer = [0; 4096];
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        let question = buffer[..length].to_vec();
        let mut forged = question.clone();
        forged[0] ^= 0xff;
        forged[2] |= 0x80;
        socket.send_to(&forged, client).await.unwrap();
        socket.send_to(b"garbage", client).await.unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        other.send_to(&question, real.address).await.unwrap();
        let length = other.recv(&mut buffer).await.unwrap();
        socket.send_to(&buffer[..length], client).await.unwrap();
    });
    let server = serve("cluster.local", shop([]), vec![address]);
    assert_eq!(short(server.address, &[NAME, "A"]).await, ["192.0.2.1"]);
    liar.await.unwrap();
}
