//! The expression language of Kubernetes (CEL): rules of custom kinds, conditions of webhooks, and
//! admission policies.
//!
//! The `kube-cel` crate parses and evaluates, with the functions that Kubernetes adds; it has no
//! bound on what an expression may cost. Here an expression gets one: its text and its nesting are
//! bounded when it is compiled, and every round of a comprehension asks a [`Budget`] for leave, which
//! has a number of rounds and a deadline. An evaluation that runs out of either is an error, whatever
//! it would have come to.
//!
//! What somebody writes is checked for its types, too ([`check`]), before it is kept; what is kept is
//! run as it stands.

mod authorizer;
mod budget;
mod check;
mod escape;
mod guard;
mod lookup;
mod messages;
mod program;
mod signs;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use authorizer::{Answer, Question, Resource, What, authorizers};
pub(crate) use budget::Budget;
pub(crate) use check::{Scope, Type, of_schema};
pub(crate) use program::{Program, Variables};
pub(crate) use value::{map_of, of_json, optional, to_json, typed};
