//! The core group: what has no group in its path.

pub(super) mod config_map;
mod data_keys;
pub(super) mod endpoints;
pub(super) mod event;
pub(super) mod namespace;
pub(super) mod node;
pub(super) mod pod;
pub(super) mod secret;
pub(super) mod service;
pub(super) mod service_account;
