//! Packet in, verdict, packet out: the eBPF programs in the running kernel.
//!
//! Every test has a node of its own: a mount namespace with a bpffs, a network namespace, and maps
//! that nobody else sees; all of it ends with the test's thread. Programs run under
//! BPF_PROG_TEST_RUN, sockets under programs that are really attached.
//!
//! The tables exist once and run twice: each of their files is a module of [`v4`] and of [`v6`],
//! and differs by the addresses beside it. What one family has and the other has not is in `only`.
//!
//! On a kernel or for a user that may not load eBPF the tests print a line that begins with `SKIP`
//! and the reason, and only then.

#![allow(clippy::duplicate_mod, reason = "tables that run in both families")]

mod frames;
mod numbers;
mod objects;
mod reasons;

/// A process is in one cgroup: tests of sockets take turns.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

mod v4 {
    mod addresses;
    #[path = "../bandwidth.rs"]
    mod bandwidth;
    #[path = "../clients.rs"]
    mod clients;
    #[path = "../direct.rs"]
    mod direct;
    #[path = "../fragments.rs"]
    mod fragments;
    #[path = "../from_network.rs"]
    mod from_network;
    #[path = "../from_pod.rs"]
    mod from_pod;
    #[path = "../life.rs"]
    mod life;
    #[path = "../live.rs"]
    mod live;
    #[path = "../maglev.rs"]
    mod maglev;
    #[path = "../node.rs"]
    mod node;
    mod only;
    #[path = "../overlay.rs"]
    mod overlay;
    #[path = "../own_network.rs"]
    mod own_network;
    #[path = "../programs.rs"]
    mod programs;
    #[path = "../refused.rs"]
    mod refused;
    #[path = "../remembered.rs"]
    mod remembered;
    #[path = "../sctp.rs"]
    mod sctp;
    #[path = "../services.rs"]
    mod services;
    #[path = "../sockets.rs"]
    mod sockets;
    #[path = "../to_pod.rs"]
    mod to_pod;
    #[path = "../two_nodes.rs"]
    mod two_nodes;
    #[path = "../wire.rs"]
    mod wire;
}

mod v6 {
    mod addresses;
    #[path = "../bandwidth.rs"]
    mod bandwidth;
    #[path = "../clients.rs"]
    mod clients;
    #[path = "../direct.rs"]
    mod direct;
    #[path = "../fragments.rs"]
    mod fragments;
    #[path = "../from_network.rs"]
    mod from_network;
    #[path = "../from_pod.rs"]
    mod from_pod;
    #[path = "../life.rs"]
    mod life;
    #[path = "../live.rs"]
    mod live;
    #[path = "../maglev.rs"]
    mod maglev;
    #[path = "../node.rs"]
    mod node;
    mod only;
    #[path = "../overlay.rs"]
    mod overlay;
    #[path = "../own_network.rs"]
    mod own_network;
    #[path = "../refused.rs"]
    mod refused;
    #[path = "../remembered.rs"]
    mod remembered;
    #[path = "../sctp.rs"]
    mod sctp;
    #[path = "../services.rs"]
    mod services;
    #[path = "../sockets.rs"]
    mod sockets;
    #[path = "../to_pod.rs"]
    mod to_pod;
    #[path = "../two_nodes.rs"]
    mod two_nodes;
    #[path = "../wire.rs"]
    mod wire;
}
