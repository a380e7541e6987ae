//! Sockets under the cgroup programs, attached to a cgroup of the test's own, on loopback.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::MutexGuard;
use std::time::Duration;

use aya::programs::{CgroupAttachMode, Program};
use naru_ebpf_common::protocol::{SYN, TCP, UDP};
use naru_ebpf_common::service::{AFFINITY_SHIFT, OWN_SOCKETS, RANGED};
use naru_ebpf_common::{Addr, ConnectedPeer, SocketKey, SocketPeer, names};
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};

use super::addresses::*;
use super::live::undisturbed;
use super::node::{self, Node};
use super::services::Entry;
use crate::frames;

/// A node whose cgroup programs see this process.
pub(crate) struct Sockets {
    pub(crate) node: Node,
    cgroup: PathBuf,
    home: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Sockets {
    pub(crate) fn new() -> Option<Self> {
        let turn = crate::TURN.lock().unwrap_or_else(|e| e.into_inner());
        let mut node = Node::new()?;
        let (root, home) = cgroup2();
        let cgroup = root.join(format!("naru-test-bpf-{}", std::process::id()));
        std::fs::create_dir_all(&cgroup).expect("a cgroup");
        for program in names::CGROUP_PROGRAMS {
            let mut object = node::load(program, node.bpffs.path(), true);
            attach(object.program_mut(program).expect("its program"), &cgroup);
            node.objects.push((program, object));
        }
        let lo = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(lo.expect("ip").success(), "lo is up");
        let this = Self {
            node,
            cgroup,
            home,
            _turn: turn,
        };
        enter(&this.cgroup);
        Some(this)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        enter(&self.home);
        // Programs are detached with their objects; an empty cgroup can be removed.
        self.node.objects.clear();
        let _ = std::fs::remove_dir(&self.cgroup);
    }
}

fn attach(program: &mut Program, cgroup: &Path) {
    let dir = File::open(cgroup).expect("the cgroup");
    let mode = CgroupAttachMode::Single;
    match program {
        Program::CgroupSockAddr(program) => {
            node::persist(|| program.load()).expect("load");
            program.attach(dir, mode).expect("attach");
        }
        Program::CgroupSock(program) => {
            node::persist(|| program.load()).expect("load");
            program.attach(dir, mode).expect("attach");
        }
        other => panic!("no cgroup program: {:?}", other.prog_type()),
    }
}

fn enter(cgroup: &Path) {
    std::fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string()).expect("to move");
}

/// Where cgroup2 is mounted, and this process's directory in it.
fn cgroup2() -> (PathBuf, PathBuf) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    let root = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (path, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    let root = root.expect("a cgroup2 mount");
    let own = std::fs::read_to_string("/proc/self/cgroup").expect("own cgroup");
    let own = own
        .lines()
        .find_map(|l| l.strip_prefix("0::/"))
        .unwrap_or_default();
    (root.clone(), root.join(own))
}

pub(crate) fn at(addr: Addr, port: u16) -> SocketAddr {
    SocketAddr::new(addr.into(), port)
}

pub(crate) fn service(port: u16) -> SocketAddr {
    at(SERVICE, port)
}

fn udp_server() -> UdpSocket {
    let server = UdpSocket::bind(at(LOOPBACK, 0)).expect("a server");
    server
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("timeout");
    server
}

pub(crate) fn port(addr: std::io::Result<SocketAddr>) -> u16 {
    addr.expect("bound").port()
}

#[test]
fn a_connection_to_a_service_meets_its_backend_and_sees_the_service() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    let server = TcpListener::bind(at(LOOPBACK, 0)).expect("a server");
    sockets
        .node
        .service(SERVICE, 80, TCP, &[(LOOPBACK, port(server.local_addr()))]);
    let client = TcpStream::connect(service(80)).expect("connected");
    assert_eq!(client.peer_addr().expect("a peer"), service(80));
    let (_, from) = server.accept().expect("accepted");
    assert_eq!(
        from,
        client.local_addr().expect("own address"),
        "nothing is translated per packet"
    );
}

#[test]
fn what_is_remembered_of_a_socket_ends_with_its_last_descriptor() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    let server = TcpListener::bind(at(LOOPBACK, 0)).expect("a server");
    let backend = (LOOPBACK, port(server.local_addr()));
    sockets.node.service(SERVICE, 80, TCP, &[backend]);
    let client = TcpStream::connect(service(80)).expect("connected");
    let (accepted, _) = server.accept().expect("accepted");
    let twin = client.try_clone().expect("another descriptor");
    drop(client);
    assert_eq!(twin.peer_addr().expect("a peer"), service(80));
    assert_eq!(remembered(&mut sockets), 1, "the accepted socket has none");
    drop((twin, accepted));
    assert_eq!(remembered(&mut sockets), 0);
}

#[test]
fn a_connection_beyond_what_can_be_remembered_works_and_sees_the_backend() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    let server = UdpSocket::bind(at(LOOPBACK, 0)).expect("a server");
    let backend = server.local_addr().expect("bound");
    let backends = [(LOOPBACK, backend.port())];
    sockets.node.service(SERVICE, 80, UDP, &backends);
    let connect = || {
        let client = UdpSocket::bind(at(NONE, 0)).expect("a client");
        client.connect(service(80)).expect("connected");
        client
    };
    let clients: Vec<_> = (0..node::SMALL).map(|_| connect()).collect();
    assert_eq!(remembered(&mut sockets), node::SMALL as usize);
    assert_eq!(connect().peer_addr().expect("a peer"), backend);
    drop(clients);
    assert_eq!(connect().peer_addr().expect("a peer"), service(80));
}

fn remembered(sockets: &mut Sockets) -> usize {
    let map = sockets.node.hash::<u64, ConnectedPeer>(names::CONNECTED);
    map.keys().count()
}

#[test]
fn a_datagram_socket_connected_anew_to_the_backend_sees_the_backend() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    let server = UdpSocket::bind(at(LOOPBACK, 0)).expect("a server");
    let backend = server.local_addr();
    let number = port(server.local_addr());
    sockets
        .node
        .service(SERVICE, 80, UDP, &[(LOOPBACK, number)]);
    let client = UdpSocket::bind(at(NONE, 0)).expect("a client");
    client.connect(service(80)).expect("connected");
    assert_eq!(client.peer_addr().expect("a peer"), service(80));
    let backend = backend.expect("its address");
    client.connect(backend).expect("connected anew");
    assert_eq!(client.peer_addr().expect("a peer"), backend);
}

#[test]
fn a_connected_datagram_socket_is_noted_for_the_daemon() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    sockets.node.service(SERVICE, 83, UDP, &[(LOOPBACK, 5353)]);
    let client = UdpSocket::bind(at(NONE, 0)).expect("a client");
    client.connect(service(83)).expect("connected");
    let noted: Vec<_> = {
        let map = sockets.node.hash::<SocketKey, SocketPeer>(names::SOCKETS);
        map.iter().map(|e| e.expect("an entry")).collect()
    };
    let (key, asked) = noted.first().expect("an entry");
    assert_eq!((key.addr, key.port.get()), (LOOPBACK, 5353));
    assert_eq!((asked.addr, asked.port.get()), (SERVICE, 83));
}

#[test]
fn a_service_without_endpoints_refuses_at_once() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    sockets.node.service(SERVICE, 80, TCP, &[]);
    let error = TcpStream::connect(service(80)).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_node_port_is_reached_at_the_nodes_address() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    let server = TcpListener::bind(at(LOOPBACK, 0)).expect("a server");
    sockets.node.service(
        NODE.any(),
        30080,
        TCP,
        &[(LOOPBACK, port(server.local_addr()))],
    );
    let target = SocketAddr::new(NODE.into(), 30080);
    let client = TcpStream::connect(target).expect("connected");
    assert_eq!(client.peer_addr().expect("a peer"), target);
}

#[test]
fn a_datagrams_answer_seems_to_come_from_the_service() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    let server = udp_server();
    sockets
        .node
        .service(SERVICE, 53, UDP, &[(LOOPBACK, port(server.local_addr()))]);
    let client = udp_server();
    client.send_to(b"who", service(53)).expect("sent");
    let mut buffer = [0; 16];
    let (_, from) = undisturbed(|| server.recv_from(&mut buffer)).expect("asked");
    server.send_to(b"you", from).expect("answered");
    let (len, from) = undisturbed(|| client.recv_from(&mut buffer)).expect("an answer");
    assert_eq!((&buffer[..len], from), (&b"you"[..], service(53)));
}

#[test]
fn an_unconnected_socket_keeps_its_backend() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    let servers = [udp_server(), udp_server()];
    let backends = [0, 1].map(|i: usize| (LOOPBACK, port(servers[i].local_addr())));
    sockets.node.service(SERVICE, 53, UDP, &backends);
    let client = UdpSocket::bind(at(LOOPBACK, 0)).expect("a client");
    for _ in 0..8 {
        client.send_to(b"who", service(53)).expect("sent");
    }
    // Datagrams on loopback are in the receiver's queue when `send_to` returns.
    let received = servers.each_ref().map(|server| {
        server.set_nonblocking(true).expect("nonblocking");
        (0..8).filter(|_| server.recv(&mut [0; 16]).is_ok()).count()
    });
    assert!(received == [8, 0] || received == [0, 8], "{received:?}");
}

/// Two servers behind a service whose clients keep theirs.
fn affine(sockets: &mut Sockets, flags: u32) -> [TcpListener; 2] {
    let servers = [0, 1].map(|_| TcpListener::bind(at(LOOPBACK, 0)).expect("a server"));
    let backends = [0, 1].map(|i: usize| (LOOPBACK, port(servers[i].local_addr())));
    sockets.node.entry(&Entry {
        addr: SERVICE,
        port: 82,
        protocol: TCP,
        scope: 0,
        flags,
        version: 0,
        backends: &backends,
    });
    servers
}

/// `SO_NETNS_COOKIE` of asm-generic/socket.h.
const SO_NETNS_COOKIE: i32 = 71;

sockopt_impl!(
    /// The number of a socket's network namespace.
    NetnsCookie,
    GetOnly,
    libc::SOL_SOCKET,
    SO_NETNS_COOKIE,
    u64
);

/// The number of this thread's network namespace.
fn netns_cookie() -> u64 {
    let socket = UdpSocket::bind(at(LOOPBACK, 0)).expect("a socket");
    getsockopt(&socket, NetnsCookie).expect("a cookie")
}

#[test]
fn sockets_and_packets_of_a_pod_keep_one_backend() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    let _servers = affine(&mut sockets, 60 << AFFINITY_SHIFT);
    let cookie = netns_cookie();
    sockets.node.pod_in(cookie, WEB);
    let met = || {
        let client = TcpStream::connect(service(82)).expect("connected");
        client.peer_addr().expect("a peer")
    };
    for _ in 0..16 {
        assert_eq!(met(), service(82));
    }
    let kept = sockets.node.kept(WEB).expect("the pod keeps a backend");
    for port in 40000..40016 {
        let frame = frames::tcp(frames::ends(WEB, port, SERVICE, 82), SYN);
        let out = sockets.node.from_pod(&frame).ends();
        assert_eq!((out.dst, out.dst_port), (kept.addr, kept.port.get()));
    }
}

#[test]
fn a_program_of_the_node_itself_is_known_by_the_nodes_address() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    let _servers = affine(&mut sockets, 60 << AFFINITY_SHIFT);
    TcpStream::connect(service(82)).expect("connected");
    assert!(sockets.node.kept(NODE).is_some());
}

#[test]
fn some_addresses_are_for_the_nodes_own_sockets() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    let servers = affine(&mut sockets, OWN_SOCKETS);
    let client = TcpStream::connect(service(82)).expect("connected");
    assert_eq!(client.peer_addr().expect("a peer"), service(82));
    drop(servers);
    sockets.node.pod_in(netns_cookie(), WEB);
    // Nothing is translated for a pod: there is no route to the address here.
    let error = TcpStream::connect(service(82)).expect_err("no route");
    assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
}

#[test]
fn who_is_in_no_source_range_is_refused_at_the_socket() {
    let Some(mut sockets) = Sockets::new() else {
        return;
    };
    let _servers = affine(&mut sockets, RANGED);
    let error = TcpStream::connect(service(82)).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    sockets.node.range((NODE, 128));
    TcpStream::connect(service(82)).expect("connected");
}

#[test]
fn other_addresses_are_left_alone() {
    let Some(_sockets) = Sockets::new() else {
        return;
    };
    let server = TcpListener::bind(at(LOOPBACK, 0)).expect("a server");
    let addr = server.local_addr().expect("bound");
    let client = TcpStream::connect(addr).expect("connected");
    assert_eq!(client.peer_addr().expect("a peer"), addr);
    assert_eq!(addr.ip(), IpAddr::from(LOOPBACK));
}
