//! The Node object, its conditions and its lease.
