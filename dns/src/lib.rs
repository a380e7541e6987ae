//! The cluster DNS of a node: names of Services and pods from a snapshot of API objects, every
//! other name from upstream servers through a bounded cache.
//!
//! The parts, from pure to sockets: [`plan`] turns API objects into a [`zone::Zone`]; [`answer`]
//! answers one question from it; [`wire`] decodes and encodes packets; [`cache`] keeps upstream
//! answers; [`forward`] talks to upstream servers; [`resolver`] joins them; [`server`] owns the
//! listening sockets. A question about the cluster is answered inside the socket's loop, without a
//! task, a lock or a wait: the zone is immutable and swapped as a whole.
//!
//! The loop is our own on `hickory-proto`, not `hickory-server`, which spawns a task and logs two
//! events for each query and costs 1.5 to 1.85 times as much.
//!
//! Not here: zone transfers, dynamic updates, DNSSEC signing, zone files.

pub mod answer;
pub mod cache;
pub mod forward;
pub mod plan;
pub mod random;
pub mod resolver;
pub mod server;
pub mod wire;
pub mod zone;

pub use resolver::{Resolver, ResolverConfig};
pub use server::{Server, ServerError};
pub use zone::{Domain, Zone};
