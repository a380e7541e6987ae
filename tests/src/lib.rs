//! What the tests of a whole cluster stand on.
//!
//! `support` is the cluster fixture. `cargo xtask up` and the end-to-end tests start the same
//! cluster through it, so that what a person tries by hand is what the tests run.

pub mod support;
