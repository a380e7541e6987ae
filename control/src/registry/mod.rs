//! The kinds: one file per kind, generic machinery around them.

pub mod kind;
