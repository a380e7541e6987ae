//! The cluster's certificate authority and the credentials that it signs.
//!
//! Keys are ECDSA P-256. The authority lives in `DIR/pki` and is made once; every other credential
//! is made from it: offline, without the API server, or as somebody asks for it there (`request`).
//! Key files are readable by their owner only. What a new node shows before it has a credential is a
//! `bootstrap_token`.

mod authority;
mod bootstrap_token;
mod credentials;
mod kubeconfig;
mod request;
mod rotation;
mod signing;

pub use authority::{AUTHORITY_LIFE, Authority, LEAF_LIFE, Leaf, PkiError, Subject};
pub use bootstrap_token::{BootstrapToken, DEFAULT_GROUP, TOKEN_TYPE, split_token};
pub use credentials::{
    NodeFiles, write_kubeconfig, write_node_credentials, write_signed_kubeconfig,
};
pub use kubeconfig::{KubeconfigSpec, cluster_info, kubeconfig};
#[cfg(test)]
pub(crate) use request::tests as request_tests;
pub use request::{CertificateRequest, RequestError};
pub use rotation::{Rotating, Rotation};
pub use signing::Purpose;
