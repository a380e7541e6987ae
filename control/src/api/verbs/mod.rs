//! One file per verb, generic over the kinds.

mod apply;
mod collection;
mod create;
mod delete;
mod get;
mod list;
mod patch;
mod update;

pub(super) use delete::{check_preconditions, delete_one};

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::admission::{self, Operation, Request};
use super::audit::Trail;
use super::authn::User;
use super::body::{Body, Reply, document_in, json, json_bytes};
use super::kinds::Target;
use super::managed::Writer;
use super::negotiate::{self, Form, Shape};
use super::request::{Query, ResourcePath};
use super::server::Server;
use super::status::{Result, Status};
use super::table::{IncludeObject, metadata_only, table};
use super::value::key;
use super::write::Part;

/// A request for a known resource.
pub(super) struct Call {
    pub(super) server: Arc<Server>,
    /// Who asks.
    pub(super) user: User,
    pub(super) target: Target,
    pub(super) path: ResourcePath,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    /// What is remembered of the request.
    pub(super) trail: Trail,
}

impl Call {
    /// The store's key of the named object.
    fn key(&self) -> String {
        key(self.path.namespace.as_deref(), self.name())
    }

    fn name(&self) -> &str {
        self.path.name.as_deref().unwrap_or_default()
    }

    /// Whether the caller may make this role or binding.
    fn may_grant(&self, new: &Value) -> Result<()> {
        if !super::authz::escalation::concerns(self.target) {
            return Ok(());
        }
        let mut new = new.clone();
        if let Some(namespace) = &self.path.namespace {
            new["metadata"]["namespace"] = namespace.as_str().into();
        }
        super::authz::escalation::check(&self.server, &self.user, self.target, None, &new)
    }

    /// The request as admission sees it.
    pub(super) fn request(&self, dry: bool) -> Request<'_> {
        let subresource = self.path.subresource.as_deref().unwrap_or_default();
        Request::of(&self.user, self.target, subresource, dry, &self.trail)
    }

    /// The part that this call makes beside its object, or instead of it.
    pub(super) fn part(
        &self,
        operation: Operation,
        kind: (&'static str, &'static str, &'static str),
    ) -> admission::part::Part<'_> {
        admission::part::Part {
            kind,
            operation,
            name: self.name(),
            namespace: self.path.namespace.as_deref().unwrap_or_default(),
        }
    }

    /// Who writes a part of the object.
    pub(super) fn writer(&self, manager: Option<&str>, part: Part) -> Writer {
        let agent = self.headers.get(http::header::USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok());
        Writer::of(manager, agent, &self.user.name, part)
    }

    /// What the client gets of an object.
    fn form(&self) -> Result<Form> {
        negotiate::form(&self.headers, self.target.kind)
    }

    /// A stored object in the version of the path and the shape that the client wants.
    async fn answer(&self, code: StatusCode, object: Bytes) -> Result<Reply> {
        let shape = self.form()?.shape;
        let object = match shape {
            // All versions of an object have one metadata.
            Shape::Metadata => object,
            _ => self.server.shown_text(self.target, object).await?,
        };
        if shape == Shape::Object {
            return Ok(json_bytes(code, object));
        }
        let value: Value =
            serde_json::from_slice(&object).map_err(|error| Status::internal(error.to_string()))?;
        Ok(json(code, &self.shaped(shape, value)))
    }

    fn shaped(&self, shape: Shape, object: Value) -> Value {
        match shape {
            Shape::Object => object,
            Shape::Metadata => metadata_only(&object),
            Shape::Table => {
                let version = object.pointer("/metadata/resourceVersion").cloned();
                let metadata = serde_json::json!({"resourceVersion": version});
                let include = IncludeObject::parse(self.query.get("includeObject"));
                let now = jiff::Timestamp::now().as_second();
                table(
                    self.target.kind,
                    metadata,
                    std::iter::once(object),
                    include,
                    now,
                )
            }
        }
    }

    /// Carries out `verb` on the resource itself or, with `part`, on a part of it.
    pub(super) async fn run(self, verb: &str, part: Part, body: Body) -> Result<Reply> {
        let whole = part == Part::Whole;
        if verb == "watch" && whole {
            return super::watch::watch(self);
        }
        // Who cannot read the answer hears so before anything is written.
        let form = self.form()?;
        let reply = match (verb, self.path.name.is_some()) {
            ("get", true) => get::get(&self).await,
            ("list", false) if whole => list::list(&self).await,
            ("create", false) if whole => create::create(&self, body).await,
            ("update", true) => update::update(&self, part, body).await,
            ("patch", true) => patch::patch(&self, part, body).await,
            ("delete", true) if whole => delete::delete(&self, body).await,
            ("deletecollection", false) if whole => collection::delete(&self, body).await,
            _ => Err(Status::method_not_allowed()),
        };
        reply.map(|reply| document_in(form.encoding, reply))
    }
}

/// Whether the caller may change the object like that; a part of it was permitted by its path.
///
/// # Errors
/// 403 with what is not the caller's to say.
fn permitted(call: &Call, part: Part, old: &Value, new: &Value) -> Result<()> {
    match part {
        Part::Whole => {
            super::authz::escalation::check(&call.server, &call.user, call.target, Some(old), new)?;
            super::admission::node::updated(&call.user, call.target, old, new)
        }
        Part::Status | Part::Finalize | Part::Approval | Part::Own(_) | Part::Raw => Ok(()),
    }
}
