//! Namespaces: what each gets at birth, and how one is emptied before it goes.

mod furnisher;
pub mod terminate;
mod terminator;

pub use furnisher::Furnisher;
pub use terminator::Terminator;
