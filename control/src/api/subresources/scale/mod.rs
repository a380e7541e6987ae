//! Scale: the number of replicas, whatever the kind.
//!
//! `form` is what a Scale looks like, `scaling` what is asked of it and what comes of that.

mod form;
mod scaling;

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use self::form::scale_of;
use self::scaling::Scaling;

use crate::api::admission::part::is_unwatched;
use crate::api::admission::{Operation, Request};
use crate::api::body::{Body, Reply, document, json as json_reply};
use crate::api::managed::{self, Applying, Trace, Writer};
use crate::api::options::WriteOptions;
use crate::api::patch::{APPLY, Patch};
use crate::api::status::{Result, Status};
use crate::api::value::{key, text, timestamp};
use crate::api::verbs::Call;
use crate::api::write::Part;
use crate::api::{decode, negotiate};
use crate::registry::kind::ScalePaths;

/// How often a Scale is shown again because somebody else was faster.
const ATTEMPTS: usize = 10;

pub(super) async fn run(call: &Call, verb: &str, body: Body) -> Result<Reply> {
    let kind = call.target.kind;
    let paths = kind.scale.as_ref().ok_or_else(Status::no_such_resource)?;
    let name = call.path.name.as_deref().unwrap_or_default();
    let key = key(call.path.namespace.as_deref(), name);
    if verb == "get" {
        let stored = call.server.store.get(call.target.resource, &key);
        let stored = stored.ok_or_else(|| Status::not_found(kind, name))?;
        let shown = call.server.shown_one(call.target, stored.value()).await?;
        return Ok(document(json_reply(
            StatusCode::OK,
            &scale_of(paths, &shown),
        )));
    }
    let options = WriteOptions::parse(&call.query)?;
    let content_type = negotiate::content_type(&call.headers);
    let bytes = decode::read(body).await?;
    let change = match verb {
        "update" => Scaling::Whole(decode::object(&bytes, &content_type)?),
        "patch" if content_type == APPLY => {
            options.named_manager()?;
            Scaling::applied(&bytes, name)?
        }
        "patch" => Scaling::Patch(Patch::parse(kind, &content_type, &bytes)?),
        _ => return Err(Status::method_not_allowed()),
    };
    let writer = call.writer(options.manager.as_deref(), Part::Whole);
    let work = Work {
        call,
        paths,
        key: &key,
        request: &call.request(options.dry_run),
        writer: &writer.through("scale"),
        force: options.force == Some(true),
    };
    let done = if is_unwatched(&call.server) {
        work.scaled(&change).await?
    } else {
        work.admitted(&change).await?
    };
    let done: Value =
        serde_json::from_slice(&done).map_err(|error| Status::internal(error.to_string()))?;
    let done = call.server.shown_one(call.target, done).await?;
    Ok(document(json_reply(
        StatusCode::OK,
        &scale_of(paths, &done),
    )))
}

/// What is to be done to which object, for whom.
struct Work<'a> {
    call: &'a Call,
    paths: &'a ScalePaths,
    key: &'a str,
    request: &'a Request<'a>,
    writer: &'a Writer,
    /// Whether an apply takes what others own.
    force: bool,
}

impl Work<'_> {
    /// Makes of the object what the Scale asks for.
    async fn scaled(&self, change: &Scaling) -> Result<Bytes> {
        let target = self.call.target;
        let config = change.configuration(target, self.paths).transpose()?;
        let candidate = |old: &Value| match &config {
            Some(config) => self.applied(config, old),
            None => change.apply(target.kind, self.paths, old),
        };
        let trace = match &config {
            Some(_) => Trace::Applied { force: self.force },
            None => Trace::Update(self.writer),
        };
        let (server, request) = (&self.call.server, self.request);
        let done = server.modify(target, self.key, Part::Whole, request, trace, &candidate);
        done.await
    }

    fn applied(&self, config: &Value, old: &Value) -> Result<Value> {
        let target = self.call.target;
        let applying = Applying {
            config,
            writer: self.writer,
            version: &target.api_version(),
            apart: self.call.server.converter(target).is_some(),
            force: self.force,
            has_status: target.kind.status,
            time: &timestamp(Timestamp::now()),
        };
        managed::apply(managed::node(target), old, &applying)
    }

    /// Lets webhooks and policies see the Scale first, and does what they leave of it. They see one
    /// version of the object; if somebody else is faster, and the client did not say which version it
    /// means, they see the next one.
    async fn admitted(&self, change: &Scaling) -> Result<Bytes> {
        let (target, server) = (self.call.target, &self.call.server);
        let part = self
            .call
            .part(Operation::Update, ("autoscaling", "v1", "Scale"));
        for _ in 0..ATTEMPTS {
            let stored = server.store.get(target.resource, self.key);
            let stored = stored.ok_or_else(|| Status::not_found(target.kind, part.name))?;
            let shown = server.shown_one(target, stored.value()).await?;
            let old = scale_of(self.paths, &shown);
            let mut new = change.scale(&old)?;
            let named = match change {
                Scaling::Whole(scale) => !text(scale, "/metadata/resourceVersion").is_empty(),
                Scaling::Patch(_) => false,
                // It says what it wants, whatever is there.
                Scaling::Applied(_) => true,
            };
            part.admit(server, self.request, &mut new, Some(&old))
                .await?;
            if !named {
                new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
            }
            match self.scaled(&change.settled(new)).await {
                Err(status) if status.code == StatusCode::CONFLICT && !named => {}
                done => return done,
            }
        }
        Err(Status::stale(target.kind, part.name))
    }
}
