//! The server side of the CNI plugin.
