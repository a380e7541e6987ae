//! netctl

fn main() {}
