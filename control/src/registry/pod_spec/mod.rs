//! The pod spec, shared by Pod and by the kinds with a pod template: defaults, validation, cells.

mod columns;
mod container;
mod default;
mod validate;
mod volume;
mod warnings;

pub(super) use columns::{container_cells, wide_cells};
pub(super) use container::resize_policies;
pub(super) use default::{pod_defaults, template_defaults};
pub(super) use validate::{
    ephemeral_additions as validate_ephemeral_additions, spec as validate_spec,
    template as validate_template, template_selector,
};
pub(super) use warnings::in_vain;

/// The lists of containers that a pod spec has.
const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
