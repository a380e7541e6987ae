//! landing

fn main() {}
