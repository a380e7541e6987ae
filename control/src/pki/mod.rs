//! The cluster's certificate authority and the credentials that it signs.
//!
//! Keys are ECDSA P-256. The authority lives in `DIR/pki` and is made once; every other credential
//! is made from it offline, without the API server. Key files are readable by their owner only.

mod authority;
mod credentials;
mod kubeconfig;
mod rotation;

pub use authority::{AUTHORITY_LIFE, Authority, LEAF_LIFE, Leaf, PkiError, Subject};
pub use credentials::{
    NodeFiles, write_kubeconfig, write_node_credentials, write_signed_kubeconfig,
};
pub use kubeconfig::{KubeconfigSpec, kubeconfig};
pub use rotation::{Rotating, Rotation};
