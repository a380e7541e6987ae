//! Bootstrap tokens: what is over goes, and what vouches for the cluster signs what everybody may
//! read about it.

mod cleaner;
mod jws;
mod signer;

pub use cleaner::Cleaner;
pub use signer::Signer;

use k8s_openapi::api::core::v1::Secret;

use crate::pki::BootstrapToken;

/// What a token's Secret says.
fn read(secret: &Secret) -> BootstrapToken {
    BootstrapToken::read(|key| {
        let data = secret.data.as_ref()?;
        data.get(key).map(|bytes| bytes.0.clone())
    })
}
