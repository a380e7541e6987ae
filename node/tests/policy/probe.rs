//! Servers and clients in pods: everything that one pod asks is asked at once, SCTP by threads of its own.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::sctp;
use crate::support::netns::Netns;
use crate::support::pod::Pod;
use crate::verdict::{Protocol, Row, World};

/// How long a probe waits. What is allowed is answered within a millisecond unless the machine is
/// busy, and is then asked again.
const WAIT: Duration = Duration::from_millis(250);
/// How long a canary is waited for.
const BRIEFLY: Duration = Duration::from_millis(50);

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(work)
}

/// Answers with the pod's name on every port, by TCP and by UDP, in both families; by SCTP it just
/// answers.
pub(crate) fn serve(netns: &Netns, name: &str, ports: [u16; 2]) {
    sctp::serve(netns, ports);
    let (bound, wait) = std::sync::mpsc::channel();
    let name = name.to_owned();
    netns.spawn(move || {
        block_on(async {
            let mut servers = JoinSet::new();
            for port in ports {
                let tcp = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                    .await
                    .expect("free");
                let udp = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
                    .await
                    .expect("free");
                servers.spawn(greet(tcp, name.clone()));
                servers.spawn(answer(udp, name.clone()));
            }
            bound.send(()).expect("the test waits");
            servers.join_all().await;
        });
    });
    wait.recv().expect("the servers listen");
}

async fn greet(listener: TcpListener, name: String) {
    loop {
        if let Ok((mut stream, _)) = listener.accept().await {
            let name = name.clone();
            tokio::spawn(async move {
                let _ = stream.write_all(name.as_bytes()).await;
                // The client closes first, so that no port of the server waits.
                let _ = timeout(Duration::from_secs(2), stream.read(&mut [0])).await;
            });
        }
    }
}

async fn answer(socket: UdpSocket, name: String) {
    let mut buffer = [0; 16];
    loop {
        if let Ok((_, peer)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(name.as_bytes(), peer).await;
        }
    }
}

/// Asks every row; the pods ask at the same time.
pub(crate) fn measure(pods: &[Pod], world: &World, rows: &[Row]) -> BTreeMap<Row, bool> {
    let mut threads = Vec::new();
    for (from, pod) in pods.iter().enumerate() {
        let asked = rows.iter().filter(|row| row.from == from);
        let (chunks, asked): (Vec<_>, Vec<_>) = asked
            .map(|row| {
                (
                    *row,
                    world.pods[row.to].address(row.six),
                    world.pods[row.to].name.clone(),
                )
            })
            .partition(|(row, ..)| row.protocol == Protocol::Sctp);
        if !asked.is_empty() {
            threads.push(pod.netns.spawn(move || block_on(ask_all(asked))));
        }
        for six in [false, true] {
            let asked = chunks.iter().filter(|(row, ..)| row.six == six);
            let asked: Vec<_> = asked.map(|(row, address, _)| (*row, *address)).collect();
            if !asked.is_empty() {
                threads.push(pod.netns.spawn(move || sctp::ask_all(&asked, WAIT)));
            }
        }
    }
    threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("a prober"))
        .collect()
}

async fn ask_all(asked: Vec<(Row, IpAddr, String)>) -> Vec<(Row, bool)> {
    let mut probes = JoinSet::new();
    for (row, address, name) in asked {
        probes.spawn(async move {
            let said = if row.protocol == Protocol::Udp {
                timeout(WAIT, datagram(address, row.port)).await
            } else {
                timeout(WAIT, connection(address, row.port)).await
            };
            let said = said.ok().and_then(Result::ok);
            (row, said.as_deref() == Some(name.as_bytes()))
        });
    }
    probes.join_all().await
}

async fn connection(address: IpAddr, port: u16) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((address, port)).await?;
    let mut said = vec![0; 16];
    let length = stream.read(&mut said).await?;
    said.truncate(length);
    Ok(said)
}

async fn datagram(address: IpAddr, port: u16) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if address.is_ipv6() {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect((address, port)).await?;
    socket.send(b"?").await?;
    let mut said = vec![0; 16];
    let length = socket.recv(&mut said).await?;
    said.truncate(length);
    Ok(said)
}

/// Whether a port on which nobody listens refuses, as it does if policies let the question through.
pub(crate) fn is_refused(netns: &Netns, address: &str, port: u16) -> bool {
    let to = (address.parse::<Ipv4Addr>().expect("an address"), port);
    let ask = async move { timeout(BRIEFLY, TcpStream::connect(to)).await };
    let asked = netns.spawn(move || block_on(ask));
    let asked = asked.join().expect("a prober");
    matches!(asked, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused)
}
