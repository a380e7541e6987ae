//! The group resource.k8s.io: devices and who uses them.

mod claim_spec;
pub(super) mod device_class;
pub(super) mod resource_claim;
pub(super) mod resource_claim_template;
pub(super) mod resource_slice;
