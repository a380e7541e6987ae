//! Who owns which field: sets of fields, and how objects are compared, merged and pruned by them.
//!
//! This is the calculus behind server-side apply. A set ([`FieldSet`]) is a tree of path steps; the
//! schema ([`Node`]) says where a value is one thing (a scalar, an atomic list) and where its members
//! have owners of their own (structs, maps, lists with keys, sets). All functions are pure. Who the
//! managers are and when there is a conflict is decided in `api`.

mod atomics;
mod compare;
mod merge;
mod node;
mod prune;
mod set;
mod step;
#[cfg(test)]
mod tests;
mod written;

pub use atomics::atomics;
pub use compare::{Difference, compare, fields_of};
pub use merge::merge;
pub use node::Node;
pub use prune::prune;
pub use set::FieldSet;
pub use written::written;
