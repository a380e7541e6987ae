//! What all controllers and the scheduler stand on: caches, queues, workers, writes, events.
//!
//! One watch per kind feeds one [`Store`]; controllers subscribe to its changes and put keys into a
//! [`Queue`]; workers take a key, read caches, plan in a pure function, write through a [`Writer`].
//! A key says *what* to look at, never *why*, so timer, watch and retry take the same path.
//!
//! It will not cache what nobody reads: managed fields and the last applied configuration are
//! dropped on arrival, which is safe because every write is a difference (see [`merge`]); of pods,
//! which are many, only a few fields are decoded at all (see [`lean`]).

pub mod claim;
pub mod discovery;
pub mod error;
pub mod events;
pub mod fraction;
pub mod key;
pub mod kinds;
pub mod lean;
pub mod merge;
pub mod meta;
pub mod pod;
pub mod queue;
pub mod start;
pub mod store;
pub mod taints;
pub mod uid;
pub mod uids;
pub mod worker;
pub mod writer;

pub use error::{ApiError, ReconcileError};
pub use events::{Recorder, Severity};
pub use key::Key;
pub use kinds::{Kind, Whole};
pub use queue::Queue;
pub use start::Start;
pub use store::{Change, Store};
pub use worker::{After, Reconcile};
pub use writer::Writer;

use jiff::Timestamp;

/// The current time in whole seconds, the resolution of `metav1.Time`.
pub fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A `metav1.Time`.
pub fn time(at: Timestamp) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::Time {
    k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at)
}
