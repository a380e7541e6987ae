//! naru-node

fn main() {}
