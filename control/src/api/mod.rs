//! HTTP verbs, discovery, negotiation, patch, watch streams, authentication, authorization.
