//! Lets claims and volumes go that are to be deleted, once nobody uses them.
//!
//! Admission gives each a finalizer when it is made (`api/admission/in_use.rs`); it goes when no pod
//! that still runs mounts the claim, and when no claim is bound to the volume. Whether a pod does is
//! asked of the API and not of the cache, which might not know a pod that was made just now.

mod claims;
mod volumes;

pub use claims::Claims;
pub use volumes::Volumes;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::runtime::meta;

/// Whether the object is to be deleted and `finalizer` holds it.
fn is_held(metadata: &ObjectMeta, finalizer: &str) -> bool {
    let mut finalizers = metadata.finalizers.iter().flatten();
    meta::is_deleting(metadata) && finalizers.any(|have| have == finalizer)
}

/// The same without `finalizer`.
fn released(mut metadata: ObjectMeta, finalizer: &str) -> ObjectMeta {
    if let Some(finalizers) = metadata.finalizers.as_mut() {
        finalizers.retain(|have| have != finalizer);
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn only_what_is_to_be_deleted_is_released_and_only_from_us() {
        let mut metadata = ObjectMeta {
            finalizers: Some(vec!["a/b".into(), "c/d".into()]),
            ..ObjectMeta::default()
        };
        assert!(!is_held(&metadata, "a/b"));
        metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert!(is_held(&metadata, "a/b"));
        let after = released(metadata, "a/b");
        assert!(!is_held(&after, "a/b"));
        assert_eq!(after.finalizers, Some(vec!["c/d".to_owned()]));
    }
}
