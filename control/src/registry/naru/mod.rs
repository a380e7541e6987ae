//! The group naru.dev: kinds of our own.

pub(super) mod address_pool;
