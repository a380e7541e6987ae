//! Two nodes with a pod each, and between them a network that knows no pods: a router, which plays
//! the outside, too. Each node is a thread with namespaces and maps of its own.

use std::fs;
use std::sync::mpsc;

use aya::programs::TcAttachType;
use naru_ebpf_common::overlay::{DEVICE, OVERHEAD, PORT, VNI};
use naru_ebpf_common::{Addr, Family, NodeConfig, ipcache, names};
use nix::unistd::gettid;

use super::addresses::*;
use super::live::{Place, attach, ifindex, ip, pod};
use super::node::{self, Node};
use crate::numbers::*;

type Job = Box<dyn FnOnce(&mut Node) + Send>;

/// The nodes' addresses in the network between them.
pub(super) const OUTER: [Addr; 2] = [Addr::v4([192, 168, 77, 101]), Addr::v4([192, 168, 77, 102])];
/// The router's.
const ROUTER_V4: Addr = Addr::v4([192, 168, 77, 2]);
/// MTU of pods behind an uplink of Ethernet.
const MTU: u32 = 1500 - OVERHEAD;

/// A node on a thread of its own; both end together.
pub(super) struct Site {
    jobs: mpsc::Sender<Job>,
    tid: i32,
}

impl Site {
    fn new() -> Option<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let node = Node::with_overlay();
            let tid = node.as_ref().map(|_| gettid().as_raw());
            tell.send(tid).expect("told");
            if let Some(mut node) = node {
                inbox.into_iter().for_each(|job| job(&mut node));
            }
        });
        let tid = told.recv().expect("a thread")?;
        Some(Self { jobs, tid })
    }

    /// Runs `job` here.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Node) -> T + Send + 'static,
    ) -> T {
        let (tell, told) = mpsc::channel();
        let job: Job = Box::new(move |node| drop(tell.send(job(node))));
        self.jobs.send(job).expect("the thread lives");
        told.recv().expect("the job ends")
    }
}

/// One node as it is set up.
#[derive(Clone, Copy)]
struct Plan {
    /// Where it is in [`OUTER`], and its uplink's other end at the router.
    number: usize,
    /// Its address in the family of this table.
    addr: Addr,
    pod: Addr,
    pod_identity: u32,
}

const PLANS: [Plan; 2] = [
    Plan {
        number: 0,
        addr: NODE,
        pod: WEB,
        pod_identity: ID_WEB,
    },
    Plan {
        number: 1,
        addr: NODE2,
        pod: REMOTE,
        pod_identity: ID_REMOTE,
    },
];

impl Plan {
    /// The network of the pods.
    fn net(self) -> Addr {
        let mut bytes = self.pod.bytes();
        bytes[15] = 0;
        Addr::from_bytes(bytes)
    }

    fn other(self) -> Self {
        PLANS[1 - self.number]
    }

    fn facts(self) -> NodeConfig {
        let mut facts = node::config();
        let side = Family {
            node_addr: self.addr,
            ingress_addr: Addr::UNSPECIFIED,
            pod_net: self.net(),
            ..*facts.family(&NODE)
        };
        facts.v4.node_addr = OUTER[self.number];
        if NODE.is_v4() {
            facts.v4 = side;
        } else {
            facts.v6 = side;
        }
        facts.uplink_ifindex = ifindex("uplink");
        facts.overlay_ifindex = ifindex(DEVICE);
        facts
    }
}

pub(super) struct TwoNodes {
    pub(super) one: Site,
    pub(super) two: Site,
    /// The pod [`WEB`] of the first.
    pub(super) web: Place,
    /// The pod [`REMOTE`] of the second.
    pub(super) remote: Place,
    /// The router between them.
    pub(super) outside: Place,
}

impl TwoNodes {
    pub(super) fn new() -> Option<Self> {
        let outside = Place::new();
        let (one, two) = (Site::new()?, Site::new()?);
        let places = [Place::new(), Place::new()];
        outside.run(forward);
        outside.ip("link set lo up");
        for (site, plan) in [&one, &two].into_iter().zip(PLANS) {
            let number = plan.number;
            outside.ip(&format!(
                "link add r{number} type veth peer name uplink netns {}",
                site.tid
            ));
            outside.ip(&format!("link set r{number} up"));
            let (down, up) = (format!("r{number}"), "uplink");
            site.run(|_| ip("link set uplink up"));
            for (addr, router) in [(plan.addr, OUTSIDE), (OUTER[number], ROUTER_V4)] {
                join(&outside, &down, router, addr);
                site.run(move |_| lines(up, addr, router).iter().for_each(|line| ip(line)));
            }
        }
        let [web, remote] = places;
        for (site, plan, place) in [(&one, PLANS[0], &web), (&two, PLANS[1], &remote)] {
            let place = place.clone();
            site.run(move |node| furnish(node, plan, &place));
        }
        Some(Self {
            one,
            two,
            web,
            remote,
            outside,
        })
    }
}

/// A router of both families, which knows the nodes and nothing else.
pub(super) fn forward() {
    for key in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        fs::write(format!("/proc/sys/net/{key}"), "1").expect("a router");
    }
    // A node may answer under another one's address.
    for which in ["all", "default"] {
        let key = format!("/proc/sys/net/ipv4/conf/{which}/rp_filter");
        fs::write(key, "0").expect("no filter");
    }
}

/// What gives a link the address `own`, with the neighbour `other`. Once more is as good.
fn lines(link: &str, own: Addr, other: Addr) -> Vec<String> {
    let (length, kind) = if own.is_v4() {
        (32, "")
    } else {
        (128, " nodad")
    };
    vec![
        format!("addr replace {own}/{length} dev {link}{kind}"),
        format!("route replace {other}/{length} dev {link}"),
        format!("route replace default via {other} dev {link}"),
    ]
}

/// The router's end.
fn join(router: &Place, link: &str, own: Addr, other: Addr) {
    for line in &lines(link, own, other)[..2] {
        router.ip(line);
    }
}

/// Pod, overlay, facts and identities, as the daemon would have made them.
fn furnish(node: &mut Node, plan: Plan, place: &Place) {
    ip("link set lo up");
    ip(&format!(
        "link add {DEVICE} type vxlan external dstport {PORT} nolearning"
    ));
    // No address of its own, no neighbours.
    ip(&format!("link set {DEVICE} addrgenmode none"));
    ip(&format!("link set {DEVICE} mtu {MTU} arp off up"));
    node.remove_silently(WEB);
    node.remove_silently(API);
    pod(node, place, "pod", plan.pod, 1, plan.pod_identity);
    ip(&format!("link set pod mtu {MTU}"));
    place.ip(&format!("link set eth0 mtu {MTU}"));
    let (other, length) = (plan.other(), POD_NET.1 - NOT_COUNTED);
    let (outer, own) = (OUTER[other.number], plan.addr);
    let via = if NODE.is_v4() {
        outer.to_string()
    } else {
        "fe80::2".to_owned()
    };
    ip(&format!(
        "route add {}/{length} encap ip id {VNI} dst {outer} via {via} dev {DEVICE} onlink src {own}",
        other.net()
    ));
    let facts = plan.facts();
    node.configure(facts);
    let (here, there) = (OUTER[plan.number], outer);
    let own = ipcache::NODE | ipcache::HOST;
    node.identity_on(here, plan.addr, ipcache::IDENTITY_HOST, own);
    node.identity_on(here, plan.pod, plan.pod_identity, ipcache::POD);
    let remote_node = ipcache::IDENTITY_REMOTE_NODE;
    node.identity_on(there, there, remote_node, ipcache::NODE);
    node.identity_on(there, other.addr, remote_node, ipcache::NODE);
    node.identity_on(there, other.pod, other.pod_identity, ipcache::POD);
    attach(node, names::FROM_NETWORK, "uplink", TcAttachType::Ingress);
    attach(node, names::FROM_OVERLAY, DEVICE, TcAttachType::Ingress);
}

/// Gives this node a second IPv4 address, and has its routes choose that one.
pub(super) fn prefer_another_source() {
    let second = "192.168.77.201";
    ip(&format!("addr add {second}/32 dev uplink"));
    ip(&format!(
        "route replace default via {ROUTER_V4} dev uplink src {second}"
    ));
}

/// How many packets this namespace had to cut into fragments.
pub(super) fn fragments_made() -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/snmp").expect("counters");
    let mut lines = table.lines().filter(|line| line.starts_with("Ip: "));
    let (heads, values) = (lines.next().expect("heads"), lines.next().expect("values"));
    let mut both = heads.split(' ').zip(values.split(' '));
    let found = both.find(|(head, _)| *head == "FragCreates");
    found
        .and_then(|(_, value)| value.parse().ok())
        .expect("a number")
}
