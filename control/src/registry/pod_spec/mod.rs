//! The pod spec, shared by Pod and by the kinds with a pod template: defaults, validation, cells.

mod columns;
mod container;
mod default;
mod volume;

pub(super) use columns::wide_cells;
pub(super) use default::{pod_defaults, template_defaults};

/// The lists of containers that a pod spec has.
const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
