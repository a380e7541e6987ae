//! The server as clients see it: datagrams, streams, limits, broken packets.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use support::{cluster, dig, headless, serve, shop, short};
use tokio::net::UdpSocket;
use tokio::time::timeout;

const WEB: &str = "web.shop.svc.cluster.local";

/// Sends a packet and waits a moment for what comes back.
async fn exchange(server: SocketAddr, packet: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(packet).await.unwrap();
    let mut buffer = [0; 4096];
    let length = timeout(Duration::from_millis(300), socket.recv(&mut buffer))
        .await
        .ok()?
        .ok()?;
    Some(buffer[..length].to_vec())
}

#[tokio::test]
async fn datagrams_and_streams_answer_alike() {
    let server = serve(
        "cluster.local",
        shop([("web", cluster("10.96.0.20"))]),
        vec![],
    );
    assert_eq!(short(server.address, &[WEB, "A"]).await, ["10.96.0.20"]);
    assert_eq!(
        short(server.address, &["+tcp", WEB, "A"]).await,
        ["10.96.0.20"]
    );
    let srv = short(
        server.address,
        &["_http._tcp.web.shop.svc.cluster.local", "SRV"],
    )
    .await;
    assert_eq!(srv, ["0 100 80 web.shop.svc.cluster.local."]);
}

#[tokio::test]
async fn flags_and_negative_answers_are_in_order() {
    let server = serve(
        "cluster.local",
        shop([("web", cluster("10.96.0.20"))]),
        vec![],
    );
    let absent = dig(server.address, &["none.shop.svc.cluster.local", "A"]).await;
    assert!(absent.contains("status: NXDOMAIN"), "{absent}");
    assert!(absent.contains("flags: qr aa rd ra;"), "{absent}");
    assert!(absent.contains("SOA\tns.dns.cluster.local."), "{absent}");
    let empty = dig(server.address, &[WEB, "AAAA"]).await;
    assert!(
        empty.contains("status: NOERROR") && empty.contains("ANSWER: 0"),
        "{empty}"
    );
    assert!(
        empty.contains("EDNS: version: 0, flags:; udp: 1232"),
        "{empty}"
    );
}

#[tokio::test]
async fn an_answer_too_long_is_cut_and_whole_over_tcp() {
    let server = serve("cluster.local", shop([("many", headless(200))]), vec![]);
    let name = "many.shop.svc.cluster.local";
    let cut = dig(server.address, &["+ignore", name, "A"]).await;
    assert!(cut.contains("flags: qr aa tc rd ra"), "{cut}");
    assert!(
        !cut.contains("malformed") && cut.contains("udp: 1232"),
        "{cut}"
    );
    let plain = dig(server.address, &["+ignore", "+noedns", name, "A"]).await;
    let (_, size) = plain.split_once("MSG SIZE  rcvd: ").unwrap();
    let size: usize = size.trim().parse().unwrap();
    assert!(
        plain.contains(" tc ") && (400..=512).contains(&size),
        "{plain}"
    );
    assert_eq!(short(server.address, &[name, "A"]).await.len(), 200);
}

#[tokio::test]
async fn answers_are_shuffled() {
    let server = serve("cluster.local", shop([("few", headless(4))]), vec![]);
    let mut firsts = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let text = dig(
            server.address,
            &["few.shop.svc.cluster.local", "A", "+short"],
        )
        .await;
        firsts.extend(text.lines().next().map(str::to_owned));
    }
    assert!(firsts.len() > 2, "{firsts:?}");
}

#[tokio::test]
async fn broken_packets_get_a_fault_or_nothing() {
    let server = serve(
        "cluster.local",
        shop([("web", cluster("10.96.0.20"))]),
        vec![],
    );
    let header = |flags: u8, questions: u8| [7, 9, flags, 0, 0, questions, 0, 0, 0, 0, 0, 0];
    let fault = |reply: Option<Vec<u8>>| reply.map(|reply| (reply[..2].to_vec(), reply[3] & 15));
    assert_eq!(exchange(server.address, b"hello").await, None);
    assert_eq!(
        exchange(server.address, &header(0x80, 1)).await,
        None,
        "a response"
    );
    let formerr = Some((vec![7, 9], 1));
    assert_eq!(
        fault(exchange(server.address, &header(1, 1)).await),
        formerr,
        "no question"
    );
    assert_eq!(
        fault(exchange(server.address, &header(1, 0)).await),
        formerr
    );
    assert_eq!(
        fault(exchange(server.address, &header(1, 2)).await),
        formerr
    );
    let notimp = Some((vec![7, 9], 4));
    assert_eq!(
        fault(exchange(server.address, &header(0x28, 1)).await),
        notimp,
        "an update"
    );
    let endless = [&header(1, 1)[..], &[0xc0, 12, 0, 1, 0, 1]].concat();
    assert_eq!(
        fault(exchange(server.address, &endless).await),
        formerr,
        "a name in a circle"
    );
    assert_eq!(short(server.address, &[WEB, "A"]).await, ["10.96.0.20"]);
}

#[tokio::test]
async fn what_we_do_not_serve_is_refused_by_name() {
    let server = serve(
        "cluster.local",
        shop([("web", cluster("10.96.0.20"))]),
        vec![],
    );
    let chaos = dig(server.address, &["CH", "TXT", "version.bind"]).await;
    assert!(chaos.contains("status: REFUSED"), "{chaos}");
    let version = dig(server.address, &["+edns=7", "+noednsneg", WEB, "A"]).await;
    assert!(version.contains("status: BADVERS"), "{version}");
    let transfer = dig(server.address, &["AXFR", "cluster.local"]).await;
    assert!(transfer.contains("Transfer failed"), "{transfer}");
}

#[tokio::test]
async fn a_stream_takes_many_questions() {
    let server = serve(
        "cluster.local",
        shop([("web", cluster("10.96.0.20"))]),
        vec![],
    );
    let text = dig(
        server.address,
        &["+tcp", "+keepopen", "+short", WEB, "A", WEB, "A", WEB, "A"],
    )
    .await;
    assert_eq!(
        text.lines().filter(|line| *line == "10.96.0.20").count(),
        3,
        "{text}"
    );
}

#[tokio::test]
async fn only_the_given_address_listens() {
    let server = serve("cluster.local", shop([]), vec![]);
    let elsewhere = SocketAddr::from(([127, 0, 0, 9], server.address.port()));
    let refused = dig(elsewhere, &["+time=1", WEB, "A"]).await;
    assert!(
        refused.contains("refused") || refused.contains("no servers"),
        "{refused}"
    );
}

#[tokio::test]
async fn an_address_that_is_not_there_yet_can_be_bound() {
    let address = "192.0.2.53:0".parse().unwrap();
    assert!(naru_dns::Server::bind(address, 1).is_ok());
}
