//! Pods as far as controllers and the scheduler read them.
//!
//! A cluster's pods are by far most of what the caches hold, and of a pod's kilobytes a controller
//! reads a few dozen bytes. [`Pod`] is decoded from what the API sends without building the rest:
//! how containers are started, volumes, managed fields. It can be named, deleted and told of, but
//! not written back; writes to pods are patches of their own.

mod container;
mod pod;
mod status;

pub use container::{Container, HostPort, Port, Resources};
pub use pod::{DELETION_COST, Pod, Spec};
pub use status::{Phase, Readiness, Resize, Status};

use serde::{Deserialize, Deserializer};

/// A field that may be absent or null, as its default.
fn or_default<'de, D, T>(decoder: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(decoder)?.unwrap_or_default())
}
