//! What the server adds to new objects, and whom it turns away, before they are checked,
//! and what it does not let go.

mod classes;
mod namespace;
pub(super) mod node;
mod service_account;
mod tolerations;

pub(super) use classes::PRIORITIES;

use serde_json::Value;

use super::kinds::Target;
use super::server::Server;
use super::status::Result;

/// Admits a new object, completing it where it is a pod.
///
/// # Errors
/// 404 when its namespace does not exist, 403 when that is being deleted or when a pod asks for a
/// class that there is not.
pub(super) fn admit(server: &Server, target: Target, object: &mut Value) -> Result<()> {
    namespace::admit(server, target, object)?;
    if target.kind.group.is_empty() && target.kind.plural == "pods" {
        classes::admit(server, target, object)?;
        service_account::complete(server, object);
        tolerations::complete(object);
    }
    Ok(())
}

/// Admits the deletion of the object called `name`.
///
/// # Errors
/// 403 for what a cluster cannot be without.
pub(super) fn delete(target: Target, name: &str) -> Result<()> {
    namespace::delete(target, name)
}
