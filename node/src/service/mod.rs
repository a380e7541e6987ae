//! From Services and EndpointSlices to service maps: pure plans.
//!
//! [`desired`] says what each address and port should lead to; [`Programmed::plan`] compares that
//! with what the maps hold and yields the steps in an order in which no reader ever sees half a
//! change: slots of the new revision first, then the service entries, then what is stale.

mod desired;
mod program;

pub use desired::{Desired, DesiredService, ServicePortName, desired};
pub use program::{Plan, Programmed};
