//! From Services, EndpointSlices and host ports to service maps: pure plans.
//!
//! [`Wanted`] says what each address and port should lead to, Service by Service; [`host_ports`] does
//! for the ports of pods; [`Programmed::plan`] compares that with what the maps hold and yields the steps in
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
mod slices;
mod wanted;

pub use balancing::Balancing;
pub use desired::{Desired, DesiredService, ServicePortName};
pub(crate) use desired::{group, is_local, slices_of};
pub(crate) use ends::nodes_with_ready;
pub use health::{HealthCheck, has_health_port, health_checks};
pub use host_ports::host_ports;
pub use leftover::{Leftover, leftovers, stranded};
pub use lookup::{Filler, LookupTable};
pub use program::{Contents, Plan, Programmed, Range, Stale};
pub use wanted::{Context, Tables, Touched, Wanted};
