//! Nothing is created in a namespace that does not exist or is going away, and none goes that the
//! cluster itself lives in.

use naru_core::names::namespaces;
use serde_json::Value;

use crate::api::kinds::Target;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{called, namespace};

pub(super) fn admit(server: &Server, target: Target, object: &Value) -> Result<()> {
    if !target.kind.namespaced {
        return Ok(());
    }
    let place = namespace(object);
    let Some(namespaces) = server.core("namespaces") else {
        return Ok(());
    };
    match server.store.get(namespaces.resource, place) {
        None => Err(Status::not_found(namespaces.kind, place)),
        // Events tell how the deletion goes.
        Some(stored) if stored.deleting && target.kind.kind != "Event" => {
            let why = format!(
                "unable to create new content in namespace {place} because it is being terminated"
            );
            Err(Status::terminating(
                target.kind,
                called(object),
                place,
                &why,
            ))
        }
        Some(_) => Ok(()),
    }
}

/// Whether an object may be deleted.
///
/// # Errors
/// 403 for the namespaces that every cluster has.
pub(super) fn delete(target: Target, name: &str) -> Result<()> {
    let namespace = target.kind.group.is_empty() && target.kind.plural == "namespaces";
    if namespace && namespaces::ALL.contains(&name) {
        let why = "this namespace may not be deleted";
        return Err(Status::forbidden_object(target.kind, name, why));
    }
    Ok(())
}
