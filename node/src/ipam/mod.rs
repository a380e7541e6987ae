//! Pod addresses of this node.
