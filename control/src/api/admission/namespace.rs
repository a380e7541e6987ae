//! Nothing is created in a namespace that does not exist or is going away.

use serde_json::Value;

use crate::api::kinds::Target;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{is_deleting, name, namespace};

pub(super) fn admit(server: &Server, target: Target, object: &Value) -> Result<()> {
    if !target.kind.namespaced {
        return Ok(());
    }
    let place = namespace(object);
    let Some(namespaces) = server.core("namespaces") else {
        return Ok(());
    };
    match server.stored("namespaces", None, place) {
        None => Err(Status::not_found(namespaces.kind, place)),
        // Events tell how the deletion goes.
        Some(stored) if is_deleting(&stored) && target.kind.kind != "Event" => {
            let why = format!(
                "unable to create new content in namespace {place} because it is being terminated"
            );
            Err(Status::terminating(target.kind, name(object), place, &why))
        }
        Some(_) => Ok(()),
    }
}
