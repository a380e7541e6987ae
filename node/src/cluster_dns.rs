//! Feeds the cluster DNS from the API and runs it on this node.
