//! The group certificates.k8s.io: certificates that somebody asks for.

pub(super) mod certificate_signing_request;
