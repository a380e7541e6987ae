//! PersistentVolumeClaimResize: a claim grows only if its StorageClass says that it can.

use naru_core::Quantity;
use serde_json::Value;

use crate::api::kinds::Target;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{name, text};

/// Where the class was named before there was a field; still first.
const OLD_CLASS: &str = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";

/// Checks the change of a claim.
///
/// # Errors
/// 403 when it asks for more and is not bound, or its class does not allow that.
pub(super) fn check(server: &Server, target: Target, new: &Value, old: &Value) -> Result<()> {
    let refused = |why| Err(Status::forbidden_object(target.kind, name(new), why));
    if !grows(new, old) {
        return Ok(());
    }
    if text(old, "/status/phase") != "Bound" {
        return refused("only bound persistent volume claims can be expanded");
    }
    let (class, had) = (class(new), class(old));
    let is_one = !class.is_empty() && class == had;
    if is_one && allows(server, class) {
        return Ok(());
    }
    refused(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the \
         pvc must support resize",
    )
}

fn grows(new: &Value, old: &Value) -> bool {
    let size = |claim| -> Option<Quantity> {
        text(claim, "/spec/resources/requests/storage").parse().ok()
    };
    match (size(new), size(old)) {
        (Some(new), Some(old)) => new > old,
        _ => false,
    }
}

fn class(claim: &Value) -> &str {
    match text(claim, OLD_CLASS) {
        "" => text(claim, "/spec/storageClassName"),
        old => old,
    }
}

fn allows(server: &Server, class: &str) -> bool {
    let classes = server.kinds.of("storage.k8s.io", "storageclasses");
    let class = classes.and_then(|it| server.store.get(it.resource, class));
    class.is_some_and(|class| class.value()["allowVolumeExpansion"] == true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_compared_as_amounts() {
        let claim = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
        assert!(grows(&claim("2Gi"), &claim("2000Mi")));
        assert!(!grows(&claim("1Gi"), &claim("1024Mi")));
        assert!(!grows(&claim("1Gi"), &claim("1025Mi")));
    }
}
