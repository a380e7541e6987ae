//! Client of etcd's gRPC interface (API v3): the wire types, a cluster's members, and the four calls
//! that a store is made of.
//!
//! A call goes to one member and moves on to the next when that one cannot be reached or has no
//! leader. What was sent and got no answer is never sent again here, because it may have happened:
//! that is told apart ([`Error::is_unknown`]) and left to the caller. Nothing is cached.

mod client;
mod error;
mod keys;
mod members;
mod watch;

/// Messages and raw clients of the wire format.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v3 {
    tonic::include_proto!("etcdserverpb");
}

pub use client::Etcd;
pub use error::{ConfigError, Error};
pub use keys::prefix_end;
pub use members::Config;
pub use watch::{Changes, Watch};
