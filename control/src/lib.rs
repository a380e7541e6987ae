//! The control plane of Naru: API server, store, controllers and scheduler in one process.
//!
//! `api` serves what `registry` describes out of what `store` holds; `controllers` and `scheduler`
//! are clients of `api` and never see the store.

pub mod api;
mod cel;
pub mod controllers;
mod measure;
pub mod pki;
pub mod registry;
pub mod scheduler;
pub mod schema;
pub mod store;
