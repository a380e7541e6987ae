//! Bytes from strangers, made wrong on purpose: the parsers of the API server, the
//! data path, the DNS and the CNI plugin.
//!
//! A [`Target`] takes any bytes and says how it went, or which promise was broken. A [`hunt`] begins
//! with examples that are right, changes them (`mutate`), and keeps those that were answered in a new
//! way as examples of their own (`pool`), which leads it deeper without instrumented code: it runs
//! with the toolchain and the build that everything else has. The same seed gives the same inputs.
//!
//! `cargo xtask fuzz` hunts as long as one likes; the tests of this package do it with few inputs.
//! Not here: what real kernels do with packets (`tests/bpf`), and HTTP itself, which is hyper's.

mod hunt;
mod mutate;
mod pool;
pub mod targets;

pub use hunt::{Found, Hunt, hunt};
pub use targets::{NAMES, open};

/// Something that reads bytes of strangers.
pub trait Target {
    /// Examples that are right: a hunt begins with them.
    fn examples(&self) -> Vec<Vec<u8>>;

    /// Words that mean something to it; inputs get them put in.
    fn words(&self) -> &[&str];

    /// Reads `input`; the number tells ways to answer apart.
    ///
    /// # Errors
    /// The promise that was broken.
    fn read(&self, input: &[u8]) -> Result<u64, String>;
}
