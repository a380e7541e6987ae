//! Nouns that the control plane and the nodes share: quantities, ranges of addresses, well-known
//! names, process start-up, TLS without a name to check.
//!
//! Everything here is small and free of I/O, except [`start`], which every `main` calls first.
//! What only one side needs does not belong here.

mod address_range;
pub mod names;
pub mod quantity;
mod start;
mod trust;

pub use address_range::{AddressRange, RangeError};
pub use quantity::Quantity;
pub use start::start;
pub use trust::trusting_anybody;
