//! StorageObjectInUseProtection: what may hold data gets a finalizer, which a controller takes away
//! when nobody uses it any more.

use naru_core::names::finalizers;
use serde_json::Value;

use crate::api::meta::set_finalizer;

/// Protects a new claim.
pub(super) fn protect_claim(claim: &mut Value) {
    set_finalizer(claim, finalizers::CLAIM_IN_USE, true);
}

/// Protects a new volume.
pub(super) fn protect_volume(volume: &mut Value) {
    set_finalizer(volume, finalizers::VOLUME_IN_USE, true);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_finalizer_is_there_once() {
        let mut claim = json!({"metadata": {"name": "a"}});
        protect_claim(&mut claim);
        protect_claim(&mut claim);
        let expected = json!(["kubernetes.io/pvc-protection"]);
        assert_eq!(claim["metadata"]["finalizers"], expected);
        let mut volume = json!({"metadata": {"name": "a"}});
        protect_volume(&mut volume);
        let expected = json!(["kubernetes.io/pv-protection"]);
        assert_eq!(volume["metadata"]["finalizers"], expected);
    }
}
