//! Real packets: two pods, a node and the outside as network namespaces, joined by veths that carry
//! the programs. What BPF_PROG_TEST_RUN can't show: redirects, offloaded checksums, large segments.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use aya::programs::{SchedClassifier, TcAttachType};
use naru_ebpf_common::protocol::{TCP, UDP};
use naru_ebpf_common::{Addr, Endpoint, names};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

use super::addresses::*;
use super::node::{self, Node};
use crate::numbers::*;

type Job = Box<dyn FnOnce() + Send>;

/// Enough for many large segments.
pub(super) const BULK: usize = 4 << 20;

/// A thread with a network namespace of its own; both end with the last handle.
#[derive(Clone)]
pub(super) struct Place {
    jobs: mpsc::Sender<Job>,
    pub(super) tid: i32,
}

impl Place {
    pub(super) fn new() -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            tell.send(gettid().as_raw()).expect("told");
            inbox.into_iter().for_each(|job| job());
        });
        Self {
            jobs,
            tid: told.recv().expect("a thread"),
        }
    }

    /// Runs `job` here.
    pub(super) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.after(job).recv().expect("the job ends")
    }

    /// Runs `job` here, while the caller goes on.
    pub(super) fn after<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> mpsc::Receiver<T> {
        let (tell, told) = mpsc::channel();
        let job: Job = Box::new(move || drop(tell.send(job())));
        self.jobs.send(job).expect("the thread lives");
        told
    }

    pub(super) fn ip(&self, line: &str) {
        let line = line.to_owned();
        self.run(move || ip(&line));
    }

    pub(super) fn listen(&self, addr: SocketAddr) -> TcpListener {
        self.run(move || TcpListener::bind(addr))
            .expect("listening")
    }

    pub(super) fn connect(&self, addr: SocketAddr) -> TcpStream {
        self.run(move || connect(addr))
    }
}

pub(super) fn connect(addr: SocketAddr) -> TcpStream {
    TcpStream::connect_timeout(&addr, Duration::from_secs(5))
        .unwrap_or_else(|e| panic!("{addr}: {e}"))
}

pub(super) fn ip(line: &str) {
    let status = Command::new("ip")
        .args(line.split(' '))
        .status()
        .expect("ip");
    assert!(status.success(), "ip {line}");
}

pub(super) fn at(addr: Addr, port: u16) -> SocketAddr {
    SocketAddr::new(addr.into(), port)
}

/// Waits again when a signal for the process, as of another test's child, ended the wait.
pub(super) fn undisturbed<T>(mut wait: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match wait() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Sends [`BULK`] each way.
pub(super) fn exchange(mut client: TcpStream, listener: &TcpListener) -> IpAddr {
    let (mut server, from) = listener.accept().expect("accepted");
    let echo = std::thread::spawn(move || {
        let mut bytes = vec![0; BULK];
        server.read_exact(&mut bytes).expect("the request");
        server.write_all(&bytes).expect("the answer");
    });
    let sent: Vec<u8> = (0..BULK).map(|i| ((i * 31) >> 3) as u8).collect();
    let mut writer = client.try_clone().expect("a second handle");
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("timeout");
    let bytes = sent.clone();
    let write = std::thread::spawn(move || writer.write_all(&bytes).expect("sent"));
    let mut received = vec![0; BULK];
    client.read_exact(&mut received).expect("received");
    write.join().expect("written");
    echo.join().expect("echoed");
    assert!(received == sent, "bytes changed on their way");
    from.ip()
}

pub(super) struct Fabric {
    pub(super) node: Node,
    pub(super) web: Place,
    pub(super) api: Place,
    pub(super) outside: Place,
}

impl Fabric {
    pub(super) fn new() -> Option<Self> {
        Some(Self::around(Node::new()?))
    }

    /// The same with this node.
    pub(super) fn around(mut node: Node) -> Self {
        ip("link set lo up");
        let (web, api, outside) = (Place::new(), Place::new(), Place::new());
        pod(&mut node, &web, "web", WEB, 1, ID_WEB);
        pod(&mut node, &api, "api", API, 2, ID_API);
        veth("uplink", &outside);
        let length = NODE_NET.1 - NOT_COUNTED;
        ip(&format!("addr add {NODE}/{length} dev uplink nodad"));
        outside.ip(&format!("addr add {OUTSIDE}/{length} dev eth0 nodad"));
        let mut config = node::config();
        config.uplink_ifindex = ifindex("uplink");
        node.configure(config);
        attach(
            &mut node,
            names::FROM_NETWORK,
            "uplink",
            TcAttachType::Ingress,
        );
        Self {
            node,
            web,
            api,
            outside,
        }
    }
}

/// A veth from here, `name`, to `eth0` of a place.
pub(super) fn veth(name: &str, to: &Place) {
    ip(&format!(
        "link add {name} type veth peer name eth0 netns {}",
        to.tid
    ));
    ip(&format!("link set {name} up"));
    to.ip("link set eth0 up");
    to.ip("link set lo up");
}

pub(super) fn pod(node: &mut Node, place: &Place, name: &str, addr: Addr, id: u32, identity: u32) {
    veth(name, place);
    let host_mac = read_mac(name);
    let length = 128 - NOT_COUNTED;
    place.ip(&format!("addr add {addr}/{length} dev eth0 nodad"));
    place.ip(&format!("route add {GATEWAY}/{length} dev eth0 scope link"));
    place.ip(&format!("route add default via {GATEWAY} dev eth0"));
    place.ip(&format!(
        "neigh add {GATEWAY} lladdr {host_mac} dev eth0 nud permanent"
    ));
    let pod_mac = place.run(mac_of_eth0);
    ip(&format!("route add {addr}/{length} dev {name}"));
    ip(&format!(
        "neigh add {addr} lladdr {pod_mac} dev {name} nud permanent"
    ));
    let endpoint = Endpoint {
        pod_mac: octets(&pod_mac),
        host_mac: octets(&host_mac),
        ..node::endpoint(id, identity, ifindex(name))
    };
    node.endpoint(addr, endpoint);
    attach(node, names::FROM_POD, name, TcAttachType::Ingress);
    attach(node, names::TO_POD, name, TcAttachType::Egress);
}

pub(super) fn attach(node: &mut Node, program: &str, interface: &str, at: TcAttachType) {
    let (_, object) = node
        .objects
        .iter_mut()
        .find(|(n, _)| *n == program)
        .expect("an object");
    let classifier: &mut SchedClassifier = object
        .program_mut(program)
        .expect("a program")
        .try_into()
        .expect("a classifier");
    // Kernels before 6.6 attach to a qdisc; later ones need none.
    let _ = aya::programs::tc::qdisc_add_clsact(interface);
    classifier
        .attach(interface, at)
        .unwrap_or_else(|e| panic!("{program} on {interface}: {e}"));
}

pub(super) fn ifindex(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).expect("an interface")
}

/// `ip` speaks netlink, so that sysfs need not belong to this namespace.
fn read_mac(name: &str) -> String {
    let output = Command::new("ip")
        .args(["-o", "link", "show", name])
        .output()
        .expect("ip");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace().skip_while(|w| *w != "link/ether");
    words.nth(1).expect("a MAC address").to_owned()
}

fn octets(mac: &str) -> [u8; 6] {
    let octets = mac.split(':').map(|octet| u8::from_str_radix(octet, 16));
    let octets: Result<Vec<_>, _> = octets.collect();
    octets.expect("octets").try_into().expect("six")
}

fn mac_of_eth0() -> String {
    read_mac("eth0")
}

#[test]
fn pods_of_one_node_talk_directly() {
    let Some(fabric) = Fabric::new() else { return };
    let server = fabric.api.listen(at(API, 80));
    assert_eq!(
        exchange(fabric.web.connect(at(API, 80)), &server),
        IpAddr::from(WEB)
    );
}

#[test]
fn a_pod_reaches_a_service_whose_socket_was_not_translated() {
    let Some(mut fabric) = Fabric::new() else {
        return;
    };
    fabric.node.service(SERVICE, 80, TCP, &[(API, 8080)]);
    let server = fabric.api.listen(at(API, 8080));
    assert_eq!(
        exchange(fabric.web.connect(at(SERVICE, 80)), &server),
        IpAddr::from(WEB)
    );
}

#[test]
fn a_pod_reaches_itself_through_its_service_on_the_wire() {
    let Some(mut fabric) = Fabric::new() else {
        return;
    };
    fabric.node.service(SERVICE, 80, TCP, &[(WEB, 8080)]);
    let server = fabric.web.listen(at(WEB, 8080));
    assert_eq!(
        exchange(fabric.web.connect(at(SERVICE, 80)), &server),
        IpAddr::from(GATEWAY)
    );
}

#[test]
fn the_outside_sees_the_nodes_address() {
    let Some(fabric) = Fabric::new() else { return };
    let server = fabric.outside.listen(at(OUTSIDE, 80));
    assert_eq!(
        exchange(fabric.web.connect(at(OUTSIDE, 80)), &server),
        IpAddr::from(NODE)
    );
}

#[test]
fn a_pod_behind_a_node_port_sees_the_client() {
    let Some(mut fabric) = Fabric::new() else {
        return;
    };
    fabric.node.service(NODE.any(), 30080, TCP, &[(WEB, 8080)]);
    let server = fabric.web.listen(at(WEB, 8080));
    assert_eq!(
        exchange(fabric.outside.connect(at(NODE, 30080)), &server),
        IpAddr::from(OUTSIDE)
    );
}

/// The error that a connection to `addr` ends in.
pub(super) fn refusal(addr: SocketAddr) -> ErrorKind {
    TcpStream::connect_timeout(&addr, Duration::from_secs(5))
        .expect_err("nobody is there")
        .kind()
}

/// The error that a datagram to `addr` is answered with.
fn datagram_refusal(addr: SocketAddr) -> ErrorKind {
    let socket = UdpSocket::bind(at(NONE, 0)).expect("a socket");
    socket.connect(addr).expect("connected");
    let wait = Some(Duration::from_secs(5));
    socket.set_read_timeout(wait).expect("timeout");
    socket.send(b"who").expect("sent");
    let answer = undisturbed(|| socket.recv(&mut [0; 16]));
    let error = answer.expect_err("nobody is there");
    error.kind()
}

#[test]
fn a_service_without_endpoints_refuses_a_pods_packets() {
    let Some(mut fabric) = Fabric::new() else {
        return;
    };
    for protocol in [TCP, UDP] {
        fabric.node.service(SERVICE, 81, protocol, &[]);
    }
    let refused = fabric.web.run(|| refusal(at(SERVICE, 81)));
    assert_eq!(refused, ErrorKind::ConnectionRefused);
    let refused = fabric.web.run(|| datagram_refusal(at(SERVICE, 81)));
    assert_eq!(refused, ErrorKind::ConnectionRefused);
}

#[test]
fn a_node_port_without_endpoints_refuses_the_outside() {
    let Some(mut fabric) = Fabric::new() else {
        return;
    };
    for protocol in [TCP, UDP] {
        fabric.node.service(NODE.any(), 30081, protocol, &[]);
    }
    let refused = fabric.outside.run(|| refusal(at(NODE, 30081)));
    assert_eq!(refused, ErrorKind::ConnectionRefused);
    let refused = fabric.outside.run(|| datagram_refusal(at(NODE, 30081)));
    assert_eq!(refused, ErrorKind::ConnectionRefused);
}

/// Bytes of a datagram that no frame holds.
const LARGE: usize = 5000;

/// Sends a large datagram from here to `addr` and gets it back; the address that `server` saw.
pub(super) fn echoed(
    client: &Place,
    addr: SocketAddr,
    server: &Place,
    listener: UdpSocket,
) -> IpAddr {
    let asked = server.after(move || {
        let mut bytes = vec![0; 2 * LARGE];
        let wait = Some(Duration::from_secs(10));
        listener.set_read_timeout(wait).expect("timeout");
        let request = undisturbed(|| listener.recv_from(&mut bytes));
        let (len, from) = request.expect("the request");
        listener.send_to(&bytes[..len], from).expect("the answer");
        from.ip()
    });
    let sent: Vec<u8> = (0..LARGE).map(|i| ((i * 7) >> 2) as u8).collect();
    let question = sent.clone();
    let answer = client.run(move || {
        let socket = UdpSocket::bind(at(NONE, 0)).expect("a socket");
        let wait = Some(Duration::from_secs(10));
        socket.set_read_timeout(wait).expect("timeout");
        socket.send_to(&question, addr).expect("sent");
        let mut bytes = vec![0; 2 * LARGE];
        let answer = undisturbed(|| socket.recv_from(&mut bytes));
        let (len, from) = answer.expect("the answer");
        assert_eq!(from, addr);
        bytes.truncate(len);
        bytes
    });
    assert!(answer == sent, "bytes changed on their way");
    asked.recv().expect("the server ends")
}

#[test]
fn large_datagrams_go_in_fragments_wherever_small_ones_go() {
    let Some(mut fabric) = Fabric::new() else {
        return;
    };
    fabric.node.service(SERVICE, 53, UDP, &[(API, 5353)]);
    fabric.node.service(NODE.any(), 30053, UDP, &[(API, 5353)]);
    let (web, api, outside) = (&fabric.web, &fabric.api, &fabric.outside);
    let cases = [
        (web, at(API, 5353), api, at(API, 5353), WEB),
        (web, at(SERVICE, 53), api, at(API, 5353), WEB),
        (web, at(OUTSIDE, 53), outside, at(OUTSIDE, 53), NODE),
        (outside, at(NODE, 30053), api, at(API, 5353), OUTSIDE),
    ];
    for (client, addr, server, own, seen) in cases {
        let listener = server.run(move || UdpSocket::bind(own)).expect("bound");
        let from = echoed(client, addr, server, listener);
        assert_eq!(from, IpAddr::from(seen), "{addr}");
    }
}

#[test]
fn node_and_pod_reach_each_other() {
    let Some(fabric) = Fabric::new() else { return };
    let server = fabric.web.listen(at(WEB, 80));
    assert_eq!(exchange(connect(at(WEB, 80)), &server), IpAddr::from(NODE));
    let server = TcpListener::bind(at(NODE, 10250)).expect("listening");
    assert_eq!(
        exchange(fabric.web.connect(at(NODE, 10250)), &server),
        IpAddr::from(WEB)
    );
}
