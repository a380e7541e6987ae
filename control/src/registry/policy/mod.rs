//! The group policy: limits to what is done to pods.

pub(super) mod pod_disruption_budget;
