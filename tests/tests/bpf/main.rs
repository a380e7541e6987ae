//! Packet in, verdict, packet out: the eBPF programs in the running kernel.
//!
//! Every test has a node of its own: a mount namespace with a bpffs, a network namespace, and maps
//! that nobody else sees; all of it ends with the test's thread. Programs run under
//! BPF_PROG_TEST_RUN, sockets under programs that are really attached.
//!
//! On a kernel or for a user that may not load eBPF the tests print a line that begins with `SKIP`
//! and the reason, and only then.

mod addresses;
mod clients;
mod frames;
mod from_network;
mod from_pod;
mod life;
mod live;
mod node;
mod objects;
mod programs;
mod refused;
mod remembered;
mod services;
mod sockets;
mod to_pod;
