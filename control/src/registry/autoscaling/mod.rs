//! The group autoscaling: how many replicas, by measure. Kept as version 2.

mod metrics;
pub(super) mod v1;
pub(super) mod v2;
