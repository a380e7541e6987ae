//! From Services, EndpointSlices and host ports to service maps: pure plans.
//!
//! [`desired`] says what each address and port should lead to, as [`add_host_ports`] does for the
//! ports of pods; [`Programmed::plan`] compares that with what the maps hold and yields the steps in
//! an order in which no reader ever sees half a change: slots of the new revision first, then the
//! service entries, then what is stale. [`Balancing`] says who has a lookup table, which a
//! [`Filler`] fills. [`leftovers`] are flows that a change left behind, [`health_checks`] what load
//! balancers are told.

mod balancing;
mod desired;
mod ends;
mod health;
mod host_ports;
mod leftover;
mod lookup;
mod program;

pub use balancing::{Balancing, limit_tables, unmet_wishes};
pub use desired::{Desired, DesiredService, ServicePortName, desired};
pub(crate) use desired::{group, is_local, slices_of};
pub use ends::Here;
pub(crate) use ends::nodes_with_ready;
pub use health::{HealthCheck, health_checks};
pub use host_ports::add_host_ports;
pub use leftover::{Leftover, leftovers, stranded};
pub use lookup::{Filler, LookupTable};
pub use program::{Contents, Plan, Programmed, Range, Stale};
