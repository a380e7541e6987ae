//! Client of the container runtime interface (CRI v1): the wire types and one method per call.
//!
//! The channel connects lazily and reconnects by itself, so a restarted runtime needs no handling
//! beyond the error of the calls that were under way. Nothing is cached and nothing is retried
//! here: what an error means is the caller's to decide.

mod client;
mod error;

/// Messages and raw clients of the wire format.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v1 {
    tonic::include_proto!("runtime.v1");
}

pub use client::Cri;
pub use error::Error;
