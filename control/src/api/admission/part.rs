//! Objects that are written beside others or instead of them: a Scale, a Binding, an Eviction, a
//! TokenRequest, and the options of connections. Webhooks and validating policies see these, and not
//! what becomes of the object that they belong to.
//!
//! What it will not do: show them to mutating policies.

use serde_json::{Value, json};

use super::Request;
use super::webhooks::Operation;
use super::write::Write;
use crate::api::server::Server;
use crate::api::status::Result;
use crate::api::verbs::Call;

/// An object of a subresource.
#[derive(Clone, Copy)]
pub(in crate::api) struct Part<'a> {
    /// Its group, version and kind.
    pub(in crate::api) kind: (&'static str, &'static str, &'static str),
    pub(in crate::api) operation: Operation,
    /// The name of the object that it belongs to.
    pub(in crate::api) name: &'a str,
    /// The namespace of that, empty for an object of the cluster.
    pub(in crate::api) namespace: &'a str,
}

impl Part<'_> {
    /// Lets webhooks change the part, and asks webhooks and policies whether it may be.
    ///
    /// # Errors
    /// What one of them refuses with.
    pub(in crate::api) async fn admit(
        &self,
        server: &Server,
        request: &Request<'_>,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<()> {
        let write = Write {
            server,
            request,
            target: request.target,
            operation: self.operation,
            part: Some(self),
        };
        if !server.hooks.never_mutate(server) {
            let asked = server.hooks.mutate(write, new, old).await?;
            server.hooks.again(write, asked, new, old).await?;
        }
        if !server.policies.never_check(server) {
            server.policies.check(write, Some(new), old).await?;
        }
        if !server.hooks.never_refuse(server) {
            server.hooks.validate(write, Some(new), old).await?;
        }
        Ok(())
    }
}

/// Asks about the connection of a call with options of `kind`, of which nothing can be changed.
///
/// # Errors
/// What a webhook or a policy refuses with.
pub(in crate::api) async fn connect(call: &Call, kind: &'static str, options: Value) -> Result<()> {
    let mut shown = json!({"apiVersion": "v1", "kind": kind});
    if let (Some(shown), Value::Object(options)) = (shown.as_object_mut(), options) {
        shown.extend(options);
    }
    let part = call.part(Operation::Connect, ("", "v1", kind));
    part.admit(&call.server, &call.request(false), &mut shown, None)
        .await
}

/// Whether nobody would be asked about a part.
pub(in crate::api) fn is_unwatched(server: &Server) -> bool {
    server.hooks.never_mutate(server)
        && server.hooks.never_refuse(server)
        && server.policies.never_check(server)
}
