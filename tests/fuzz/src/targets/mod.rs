//! What is hunted.

mod api;
mod attachment;
mod examples;
mod names;
mod neighbours;
mod packets;
mod requests;

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;

use crate::Target;

/// Every target's name.
pub const NAMES: [&str; 11] = [
    "objects",
    "patches",
    "queries",
    "expressions",
    "definitions",
    "headers",
    "strangers",
    "packets",
    "names",
    "attachments",
    "neighbours",
];

/// The target of that name.
///
/// # Errors
/// When there is none of that name, or what it needs can't be started.
pub fn open(name: &str) -> anyhow::Result<Box<dyn Target>> {
    Ok(match name {
        "packets" => Box::new(packets::Packets),
        "names" => Box::new(names::Names::new()),
        "attachments" => Box::new(attachment::Attachments),
        "neighbours" => Box::new(neighbours::Neighbours),
        _ => Box::new(api::Requests::open(name)?),
    })
}

/// A number that is the same for the same answer, in every run.
fn answer(how: impl Hash) -> u64 {
    FixedState::with_seed(0).hash_one(how)
}
