//! The field table of the Kubernetes API: validation, OpenAPI, strategic merge.
//!
//! One table of facts (`kubernetes.table`, one line a field) answers every question about the shape
//! of an object: which fields there are and of which types ([`check`]), how a list merges
//! ([`strategic_merge`]), what a client may be told ([`openapi`]). The table is text because a
//! human reviews its changes, and it is parsed on first use into a few hundred KiB.
//!
//! Rules that concern one kind only (defaults, ranges, immutability) are the registry's.

pub mod openapi;

mod canonical;
mod check;
mod merge;
pub mod ownership;
pub mod structural;
mod table;

pub use canonical::canonicalize;
pub use check::{Report, check};
pub use merge::{MergeError, strategic_merge};
