//! HTTP routing by host and path, in the embedded proxy.
