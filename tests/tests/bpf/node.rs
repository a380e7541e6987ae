//! A node for one test: programs, maps, and the facts that the daemon would have written.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues, RingBuf};
use aya::programs::{Program, ProgramError, SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use naru_ebpf_common::config::{self, Timeouts};
use naru_ebpf_common::endpoint::{ISOLATED_EGRESS, ISOLATED_INGRESS};
use naru_ebpf_common::{
    Addr, Conn, Counter, DropCount, DropKey, Endpoint, Event, Family, IpInfo, NatEntry, NatKey,
    NodeConfig, Pace, PolicyEntry, PolicyKey, Port, Reason, Tuple, counter, event, ipcache, names,
    policy,
};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::addresses::*;
use crate::frames::{self, Ends};
use crate::numbers::*;
use crate::objects;

/// What a program did with a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Out {
    /// 0 pass, 2 drop, 7 redirect.
    pub(crate) action: u32,
    pub(crate) frame: Vec<u8>,
}

/// The same, with what the packet is for the kernel.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) out: Out,
    /// `skb->mark`.
    pub(crate) mark: u32,
    /// `skb->tstamp`: when the packet may leave, 0 for at once.
    pub(crate) departure_ns: u64,
}

/// Bytes of `__sk_buff`, and where in it the mark and the time are.
const CONTEXT: usize = 192;
const CONTEXT_MARK: std::ops::Range<usize> = 8..12;
const CONTEXT_TIME: std::ops::Range<usize> = 152..160;

/// The tc programs of a node without an overlay.
const NATIVE: [&str; 3] = [names::FROM_POD, names::TO_POD, names::FROM_NETWORK];

pub(crate) const PASS: u32 = 0;
pub(crate) const DROP: u32 = 2;
pub(crate) const REDIRECT: u32 = 7;

impl Out {
    /// The frame's ends, with checksums checked.
    pub(crate) fn ends(&self) -> Ends {
        frames::parse(&self.frame)
    }
}

/// A node with its maps. The first object owns the maps, the others share them by their pins.
pub(crate) struct Node {
    pub(crate) objects: Vec<(&'static str, Ebpf)>,
    pub(crate) bpffs: tempfile::TempDir,
}

#[allow(
    clippy::wrong_self_convention,
    reason = "methods are called like the hooks"
)]
impl Node {
    /// A configured node with two pods; `None`, with a printed reason, where eBPF is not to be had.
    pub(crate) fn new() -> Option<Self> {
        Self::with(&NATIVE)
    }

    /// The same with an overlay.
    pub(crate) fn with_overlay() -> Option<Self> {
        let mut node = Self::with(&names::TC_PROGRAMS)?;
        node.configure(NodeConfig {
            overlay_ifindex: OVERLAY,
            ..config()
        });
        Some(node)
    }

    /// A node whose uplink sends packets on.
    pub(crate) fn with_wire() -> Option<Self> {
        Self::with(&[&NATIVE[..], &[names::FROM_WIRE]].concat())
    }

    /// A node that leads packets to endpoints on its own network.
    pub(crate) fn with_own_network() -> Option<Self> {
        let mut node = Self::with(&[&NATIVE[..], &[names::TO_NETWORK]].concat())?;
        node.configure(NodeConfig {
            flags: config::OWN_NETWORK,
            ..config()
        });
        Some(node)
    }

    fn with(programs: &[&'static str]) -> Option<Self> {
        if let Some(why) = objects::unavailable() {
            println!("SKIP {why}");
            return None;
        }
        let bpffs = namespaces();
        let load = |name: &&'static str| (*name, load(name, bpffs.path(), true));
        let objects = programs.iter().map(load).collect();
        let mut node = Self { objects, bpffs };
        node.configure(config());
        node.populate();
        Some(node)
    }

    fn populate(&mut self) {
        self.endpoint(WEB, endpoint(1, ID_WEB, WEB_IFINDEX));
        self.endpoint(API, endpoint(2, ID_API, API_IFINDEX));
        let own = ipcache::NODE | ipcache::HOST;
        self.identity(NODE, ipcache::IDENTITY_HOST, own);
        self.identity(SECOND, ipcache::IDENTITY_HOST, own);
        self.identity(NODE2, ipcache::IDENTITY_REMOTE_NODE, ipcache::NODE);
        self.identity(WEB, ID_WEB, ipcache::POD);
        self.identity(API, ID_API, ipcache::POD);
        self.identity(REMOTE, ID_REMOTE, ipcache::POD);
        self.identity(INGRESS, ID_PROXY, ipcache::HOST);
        self.identity(DNS, ID_DNS, ipcache::HOST);
    }

    pub(crate) fn map(&mut self, name: &str) -> &mut Map {
        self.objects[0]
            .1
            .map_mut(name)
            .unwrap_or_else(|| panic!("no map {name}"))
    }

    pub(crate) fn hash<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &str,
    ) -> HashMap<&mut MapData, K, V> {
        self.map(name).try_into().expect("a hash map")
    }

    pub(crate) fn configure(&mut self, config: NodeConfig) {
        let mut map: Array<_, NodeConfig> = self.map(names::NODE_CONFIG).try_into().expect("array");
        map.set(0, config, 0).expect("node config");
    }

    /// Tells every processor how often it did what has this index.
    pub(crate) fn pace(&mut self, index: u32, pace: Pace) {
        let mut map: PerCpuArray<_, Pace> = self.map(names::PACE).try_into().expect("array");
        let processors = aya::util::nr_cpus().expect("processors");
        let paces = PerCpuValues::try_from(vec![pace; processors]).expect("one each");
        map.set(index, paces, 0).expect("pace");
    }

    /// Adds or changes a pod, as the daemon does: flows look their ends up again.
    pub(crate) fn endpoint(&mut self, addr: Addr, endpoint: Endpoint) {
        self.hash(names::ENDPOINTS)
            .insert(addr, endpoint, 0)
            .expect("endpoint");
        self.forget_ends();
    }

    /// Removes a pod, but tells no flow of it.
    pub(crate) fn remove_silently(&mut self, addr: Addr) {
        self.hash::<Addr, Endpoint>(names::ENDPOINTS)
            .remove(&addr)
            .expect("endpoint");
    }

    /// Hands on what these flags of the node's facts say.
    pub(crate) fn hand_on(&mut self, flags: u32) {
        let mut map: Array<_, NodeConfig> = self.map(names::NODE_CONFIG).try_into().expect("array");
        let mut config = map.get(&0, 0).expect("node config");
        config.flags |= flags;
        for family in [&mut config.v4, &mut config.v6] {
            family.hand_on_ifindex = config.overlay_ifindex;
        }
        map.set(0, config, 0).expect("node config");
    }

    /// Begins another epoch.
    pub(crate) fn forget_ends(&mut self) {
        let mut map: Array<_, NodeConfig> = self.map(names::NODE_CONFIG).try_into().expect("array");
        let mut config = map.get(&0, 0).expect("node config");
        config.epoch += 1;
        map.set(0, config, 0).expect("node config");
    }

    pub(crate) fn identity(&mut self, addr: Addr, identity: u32, flags: u32) {
        let node = if addr == REMOTE {
            NODE2
        } else {
            Addr::UNSPECIFIED
        };
        self.identity_on(node, addr, identity, flags);
    }

    /// The identity of an address that lives on `node`.
    pub(crate) fn identity_on(&mut self, node: Addr, addr: Addr, identity: u32, flags: u32) {
        let info = IpInfo {
            identity,
            flags,
            node,
        };
        let mut map: LpmTrie<_, Addr, IpInfo> =
            self.map(names::IPCACHE).try_into().expect("LPM trie");
        map.insert(&Key::new(128, addr), info, 0).expect("identity");
    }

    /// Isolates the pod in both directions, as of a new policy revision.
    pub(crate) fn isolate(&mut self, addr: Addr, revision: u32) {
        let map: HashMap<_, Addr, Endpoint> = self.hash(names::ENDPOINTS);
        let mut endpoint = map.get(&addr, 0).expect("endpoint");
        endpoint.flags = ISOLATED_INGRESS | ISOLATED_EGRESS;
        endpoint.policy_revision = revision;
        self.endpoint(addr, endpoint);
    }

    pub(crate) fn rule(&mut self, key: PolicyKey, verdict: u32, rule: u32) {
        self.hash(names::POLICY)
            .insert(key, PolicyEntry { verdict, rule }, 0)
            .expect("rule");
    }

    /// Allows TCP to `port` at `endpoint` with `identity` at the other end.
    pub(crate) fn allow(&mut self, endpoint: u32, direction: u8, identity: u32, port: u16) {
        self.allow_protocol(
            naru_ebpf_common::protocol::TCP,
            endpoint,
            direction,
            identity,
            port,
        );
    }

    /// The same for another protocol.
    pub(crate) fn allow_protocol(
        &mut self,
        protocol: u8,
        endpoint: u32,
        direction: u8,
        identity: u32,
        port: u16,
    ) {
        let key = PolicyKey {
            endpoint,
            identity,
            port: Port::new(port),
            protocol,
            direction,
        };
        self.rule(key, policy::ALLOW, 77);
    }

    /// A program, as one of its kind.
    pub(crate) fn program<'a, P>(&'a mut self, name: &str) -> &'a mut P
    where
        &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let mut objects = self.objects.iter_mut();
        let (_, object) = objects.find(|(n, _)| *n == name).expect("a program");
        let program = object.program_mut(name).expect("its program");
        program.try_into().expect("of that kind")
    }

    fn classifier(&mut self, program: &str) -> &mut SchedClassifier {
        self.program(program)
    }

    /// Runs a program on a packet with this mark.
    pub(crate) fn send(&mut self, program: &str, frame: &[u8], mark: u32) -> Sent {
        let mut before = [0; CONTEXT];
        before[CONTEXT_MARK].copy_from_slice(&mark.to_ne_bytes());
        let (mut after, mut out) = ([0; CONTEXT], vec![0; frame.len() + 64]);
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&before),
            ctx_out: Some(&mut after),
            ..TestRunOptions::new()
        };
        let result = self.classifier(program).test_run(options);
        let result = result.expect("test run");
        out.truncate(result.data_size_out as usize);
        Sent {
            out: Out {
                action: result.return_value,
                frame: out,
            },
            mark: u32::from_ne_bytes(after[CONTEXT_MARK].try_into().expect("a word")),
            departure_ns: u64::from_ne_bytes(after[CONTEXT_TIME].try_into().expect("two words")),
        }
    }

    /// Runs a program on a frame.
    pub(crate) fn run(&mut self, program: &str, frame: &[u8]) -> Out {
        let program = self.classifier(program);
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::new()
        };
        let result = program.test_run(options).expect("test run");
        out.truncate(result.data_size_out as usize);
        Out {
            action: result.return_value,
            frame: out,
        }
    }

    pub(crate) fn from_pod(&mut self, frame: &[u8]) -> Out {
        self.run(names::FROM_POD, frame)
    }

    pub(crate) fn to_pod(&mut self, frame: &[u8]) -> Out {
        self.run(names::TO_POD, frame)
    }

    pub(crate) fn from_network(&mut self, frame: &[u8]) -> Out {
        self.run(names::FROM_NETWORK, frame)
    }

    pub(crate) fn to_network(&mut self, frame: &[u8]) -> Out {
        self.run(names::TO_NETWORK, frame)
    }

    /// Packets counted for a reason at a hook.
    pub(crate) fn count(&mut self, hook: u8, reason: Reason) -> u64 {
        let map: PerCpuArray<_, Counter> = self.map(names::COUNTERS).try_into().expect("array");
        let values = map.get(&counter::index(hook, reason), 0).expect("counter");
        values.iter().map(|c| c.packets).sum()
    }

    /// Asserts that a frame is dropped for a reason, and that this is counted.
    #[track_caller]
    pub(crate) fn drops(&mut self, program: &str, frame: &[u8], reason: Reason) {
        let hook = (0..counter::HOOKS as u8)
            .find(|hook| counter::hook_name(*hook) == program)
            .expect("a hook");
        let before = self.count(hook, reason);
        let out = self.run(program, frame);
        let found: Vec<_> = Reason::ALL
            .iter()
            .filter(|r| self.count(hook, **r) > 0)
            .map(|r| r.name())
            .collect();
        assert_eq!(out.action, DROP, "not dropped; reasons so far: {found:?}");
        assert_eq!(
            self.count(hook, reason),
            before + 1,
            "another reason; so far: {found:?}"
        );
    }

    /// Asserts that a frame is answered at once, and that this is counted as a drop for want of a
    /// backend; returns the answer.
    #[track_caller]
    pub(crate) fn refuses(&mut self, program: &str, hook: u8, frame: &[u8]) -> Vec<u8> {
        let before = self.count(hook, Reason::NO_BACKEND);
        let out = self.run(program, frame);
        assert_eq!(out.action, REDIRECT, "not answered");
        assert_eq!(self.count(hook, Reason::NO_BACKEND), before + 1);
        assert_eq!(
            (&out.frame[..6], &out.frame[6..12]),
            (&frame[6..12], &frame[..6]),
            "back to who handed it over"
        );
        out.frame
    }

    pub(crate) fn conn(&mut self, e: Ends, protocol: u8) -> Option<Conn> {
        let (key, _) = tuple(e, protocol);
        self.hash::<Tuple, Conn>(names::CONNTRACK).get(&key, 0).ok()
    }

    /// Lets the flow seem idle since the start of time.
    pub(crate) fn age(&mut self, e: Ends, protocol: u8) {
        let mut conn = self.conn(e, protocol).expect("a flow");
        conn.seen_ns = 1;
        let (key, _) = tuple(e, protocol);
        self.hash(names::CONNTRACK)
            .insert(key, conn, 0)
            .expect("conntrack");
    }

    pub(crate) fn nat_entries(&mut self) -> Vec<(NatKey, NatEntry)> {
        let map: HashMap<_, NatKey, NatEntry> = self.hash(names::NAT);
        map.iter().map(|e| e.expect("NAT entry")).collect()
    }

    /// Lets so many seconds pass for translations.
    pub(crate) fn idle_nat(&mut self, seconds: u64) {
        for (key, mut entry) in self.nat_entries() {
            entry.seen_ns = entry.seen_ns.saturating_sub(seconds * 1_000_000_000);
            self.insert_nat(key, entry);
        }
    }

    pub(crate) fn insert_nat(&mut self, key: NatKey, entry: NatEntry) {
        self.hash(names::NAT)
            .insert(key, entry, 0)
            .expect("NAT entry");
    }

    pub(crate) fn forget_nat(&mut self, key: &NatKey) {
        let mut map: HashMap<_, NatKey, NatEntry> = self.hash(names::NAT);
        map.remove(key).expect("NAT entry");
    }

    pub(crate) fn drop_counts(&mut self) -> Vec<(DropKey, DropCount)> {
        let map: HashMap<_, DropKey, DropCount> = self.hash(names::DROPS);
        map.iter().map(|e| e.expect("drop")).collect()
    }

    /// Takes the events that were sent since the last call.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        let mut ring: RingBuf<&mut MapData> =
            self.map(names::EVENTS).try_into().expect("ring buffer");
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            events.push(Event::from_item(&item).expect("an event"));
        }
        events
    }

    /// The kinds of events since the last call.
    pub(crate) fn event_kinds(&mut self) -> Vec<u8> {
        self.events()
            .iter()
            .map(|e| e.kind)
            .filter(|k| *k != event::DROP)
            .collect()
    }
}

fn tuple(e: Ends, protocol: u8) -> (Tuple, usize) {
    Tuple::new(
        &e.src,
        Port::new(e.src_port),
        &e.dst,
        Port::new(e.dst_port),
        protocol,
    )
}

/// The node's facts.
pub(crate) fn config() -> NodeConfig {
    let side = Family {
        node_addr: NODE,
        ingress_addr: INGRESS,
        gateway_addr: GATEWAY,
        pod_net: POD_NET.0,
        pod_prefix: POD_NET.1,
        service_net: SERVICE_NET.0,
        service_prefix: SERVICE_NET.1,
        ..Family::NONE
    };
    NodeConfig {
        v4: if NODE.is_v4() { side } else { Family::NONE },
        v6: if NODE.is_v4() { Family::NONE } else { side },
        uplink_ifindex: UPLINK,
        node_port_first: NodeConfig::NODE_PORT_FIRST,
        node_port_last: NodeConfig::NODE_PORT_LAST,
        snat_port_first: NodeConfig::SNAT_PORT_FIRST,
        snat_port_last: NodeConfig::SNAT_PORT_LAST,
        snat_low_first: NodeConfig::SNAT_LOW_FIRST,
        snat_low_ports: NodeConfig::SNAT_LOW_PORTS,
        timeouts: Timeouts::DEFAULT,
        epoch: 1,
        ..NodeConfig::default()
    }
}

pub(crate) fn endpoint(id: u32, identity: u32, ifindex: u32) -> Endpoint {
    Endpoint {
        id,
        identity,
        ifindex,
        policy_revision: 1,
        ..Endpoint::default()
    }
}

/// Namespaces of this thread alone, with a bpffs that nobody else sees.
pub(crate) fn namespaces() -> tempfile::TempDir {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("unshare");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
    let dir = tempfile::tempdir().expect("a directory");
    mount(Some("bpf"), dir.path(), Some("bpf"), MsFlags::empty(), none).expect("bpffs");
    dir
}

/// Entries of a table in tests that do not want the real size.
pub(crate) const SMALL: u32 = 512;

/// Loads an object and its tc program. Maps are small unless a test wants the real sizes.
pub(crate) fn load(program: &'static str, bpffs: &Path, small: bool) -> Ebpf {
    let bytes = objects::read(program);
    let mut loader = EbpfLoader::new();
    for (map, _) in names::MAPS {
        loader.map_pin_path(map, bpffs.join(map));
    }
    if small {
        for (map, _) in names::MAPS {
            let fixed = [
                names::NODE_CONFIG,
                names::COUNTERS,
                names::PACE,
                names::EVENTS,
            ];
            if !fixed.contains(&map) {
                loader.map_max_entries(map, SMALL);
            }
        }
    }
    let mut object = loader
        .load(&bytes)
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    let loaded = match object.program_mut(program) {
        Some(Program::SchedClassifier(classifier)) => persist(|| classifier.load()),
        Some(Program::Xdp(xdp)) => persist(|| xdp.load()),
        _ => Ok(()),
    };
    loaded.unwrap_or_else(|e| refused(program, &e));
    object
}

/// How long a program may take until the verifier was left alone for long enough.
const PATIENCE: Duration = Duration::from_secs(60);

/// The verifier gives up when its process gets a signal, of a child of another test for example; and
/// while that one sets up its links, those come by the dozen.
pub(crate) fn persist(
    mut load: impl FnMut() -> Result<(), ProgramError>,
) -> Result<(), ProgramError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match load() {
            Err(ProgramError::LoadError { io_error, .. })
                if io_error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {}
            outcome => return outcome,
        }
    }
}

fn refused(program: &str, error: &ProgramError) -> ! {
    if let ProgramError::LoadError {
        verifier_log,
        io_error,
    } = error
    {
        let log = verifier_log.to_string();
        let tail: Vec<_> = log.lines().rev().take(60).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        panic!("{program}: {io_error}\n{}", tail.join("\n"));
    }
    panic!("{program}: {error}");
}
