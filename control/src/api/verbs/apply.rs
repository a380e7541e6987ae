//! Server-side apply: an object made or changed to what its writer says about it.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Call;
use super::create::agrees;
use crate::api::admission::Request;
use crate::api::authz::{self, Attributes};
use crate::api::body::{Body, Reply};
use crate::api::kinds::Target;
use crate::api::managed::{self, Applying, Trace, Writer};
use crate::api::options::WriteOptions;
use crate::api::status::{Result, Status};
use crate::api::value::{metadata, name, object, text, timestamp};
use crate::api::write::Part;
use crate::api::{admission, decode, fields, meta};

pub(super) async fn apply(
    call: &Call,
    part: Part,
    body: Body,
    options: &WriteOptions,
) -> Result<Reply> {
    let writer = call.writer(Some(options.named_manager()?), part);
    let decoded = decode::applied(&decode::read(body).await?)?;
    let mut config = decoded.object;
    complete_head(call, &mut config)?;
    let mut warnings = fields::check(call.target, &config, &decoded.repeated, options.validation)?;
    warnings.extend(fields::in_vain(call.target, part, &config));
    // A webhook converts whole objects, not opinions about them.
    let target = match call.server.converter(call.target) {
        Some(_) => call.target,
        None => call.target.stored(),
    };
    let config = merged_form(call, target, part, config);
    let job = Job {
        call,
        target,
        part,
        config,
        writer,
        options,
        request: call.request(options.dry_run),
    };
    let (code, json) = job.run().await?;
    let warnings = job.request.warnings(warnings);
    Ok(fields::warn(call.answer(code, json).await?, &warnings))
}

/// Checks what the configuration says about itself.
fn complete_head(call: &Call, config: &mut Value) -> Result<()> {
    for key in ["apiVersion", "kind"] {
        if text(config, &format!("/{key}")).is_empty() {
            return Err(Status::bad_request(format!(
                "{key} must be set in an apply patch"
            )));
        }
    }
    agrees(call, config)?;
    if managed::take(config).is_some_and(|list| list != json!([]) && !list.is_null()) {
        let why = "metadata.managedFields must be nil";
        return Err(Status::bad_request(why));
    }
    let said = name(config);
    if !said.is_empty() && said != call.name() {
        let why = "the name of the object does not match the name on the URL";
        return Err(Status::bad_request(why));
    }
    let name = call.name().to_owned();
    metadata(config).insert("name".into(), name.into());
    if let Some(namespace) = &call.path.namespace {
        metadata(config).insert("namespace".into(), namespace.as_str().into());
    }
    Ok(())
}

/// The configuration without what it may not say, in the version of `target`.
fn merged_form(call: &Call, target: Target, part: Part, mut config: Value) -> Value {
    let kind = call.target.kind;
    if kind.custom.is_none() {
        crate::schema::canonicalize(kind.group, kind.version, kind.kind, &mut config);
    }
    if !std::ptr::eq(target.kind, call.target.kind) {
        call.target.to_stored(&mut config);
    }
    if let Some(members) = config.as_object_mut() {
        match part {
            Part::Status => {
                members.retain(|key, _| {
                    ["apiVersion", "kind", "metadata", "status"].contains(&key.as_str())
                });
            }
            _ if kind.status => drop(members.remove("status")),
            _ => {}
        }
    }
    if let (Part::Own(own), Some(spec)) = (part, config.get_mut("spec")) {
        (own.select)(spec);
    }
    if matches!(part, Part::Status | Part::Own(_)) {
        let kept = ["name", "namespace", "uid", "resourceVersion"];
        object(&mut config, "metadata").retain(|key, _| kept.contains(&key.as_str()));
    }
    config
}

/// One apply, until it is settled.
struct Job<'a> {
    call: &'a Call,
    /// The version in which it is merged.
    target: Target,
    part: Part,
    config: Value,
    writer: Writer,
    options: &'a WriteOptions,
    request: Request<'a>,
}

impl Job<'_> {
    async fn run(&self) -> Result<(StatusCode, bytes::Bytes)> {
        loop {
            match self.change().await {
                Err(status) if status.code == StatusCode::NOT_FOUND && self.part == Part::Whole => {
                }
                other => return other.map(|json| (StatusCode::OK, json)),
            }
            match self.create().await {
                // Somebody else was faster.
                Err(status) if status.reason == "AlreadyExists" => {}
                other => return other.map(|json| (StatusCode::CREATED, json)),
            }
        }
    }

    async fn change(&self) -> Result<bytes::Bytes> {
        let call = self.call;
        let candidate = |old: &Value| {
            let new = self.applied(old)?;
            super::permitted(call, self.part, old, &new)?;
            Ok(new)
        };
        let (target, key, trace) = (self.target, call.key(), self.trace());
        let (server, request) = (&call.server, &self.request);
        server
            .modify(target, &key, self.part, request, trace, &candidate)
            .await
    }

    async fn create(&self) -> Result<bytes::Bytes> {
        let call = self.call;
        let wish = Attributes {
            verb: "create",
            path: "",
            resource: Some(&call.path),
        };
        authz::authorize(&call.user, wish, call.server.as_ref())?;
        if !text(&self.config, "/metadata/uid").is_empty() {
            let why = "uid mismatch: the provided object specified a uid, and no object was found";
            return Err(Status::conflict(call.target.kind, call.name(), why));
        }
        let target = self.target;
        let mut new = self.applied(&Value::Null)?;
        admission::node::created(&call.user, target, &new)?;
        call.may_grant(&new)?;
        let list = managed::take(&mut new);
        meta::stamp(&mut new, call.path.namespace.as_deref(), Timestamp::now());
        managed::put(&mut new, list);
        let request = &self.request;
        call.server.insert(target, new, request, self.trace()).await
    }

    fn trace(&self) -> Trace<'static> {
        let force = self.options.force == Some(true);
        Trace::Applied { force }
    }

    fn applied(&self, old: &Value) -> Result<Value> {
        let target = self.target;
        let applying = Applying {
            config: &self.config,
            writer: &self.writer,
            version: &target.api_version(),
            apart: self.call.server.converter(target).is_some(),
            force: self.options.force == Some(true),
            has_status: target.kind.status,
            time: &timestamp(Timestamp::now()),
        };
        managed::apply(managed::node(target), old, &applying)
    }
}
