//! A new object.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::Call;
use crate::api::body::{Body, Reply};
use crate::api::managed::Trace;
use crate::api::options::WriteOptions;
use crate::api::status::{Result, Status};
use crate::api::value::{name, namespace, text};
use crate::api::write::Part;
use crate::api::{admission, decode, fields, meta, negotiate};

/// Attempts to find a free name for generateName.
const ATTEMPTS: usize = 8;

pub(super) async fn create(call: &Call, body: Body) -> Result<Reply> {
    let options = WriteOptions::parse(&call.query)?;
    let bytes = decode::read(body).await?;
    let decoded = decode::decode(&bytes, &negotiate::content_type(&call.headers))?;
    let object = decoded.object;
    agrees(call, &object)?;
    let mut warnings = fields::check(call.target, &object, &decoded.repeated, options.validation)?;
    warnings.extend(fields::in_vain(call.target, Part::Whole, &object));
    admission::node::created(&call.user, call.target, &object)?;
    call.may_grant(&object)?;
    let writer = call.writer(options.manager.as_deref(), Part::Whole);
    let request = call.request(options.dry_run);
    let generated = name(&object).is_empty();
    let mut attempt = 1;
    let mut next = Some(object);
    let json = loop {
        let mut object = next.take().expect("left by the attempt before");
        if generated {
            next = Some(object.clone());
        }
        object["apiVersion"] = call.target.api_version().into();
        object["kind"] = call.target.kind.kind.into();
        meta::stamp(
            &mut object,
            call.path.namespace.as_deref(),
            Timestamp::now(),
        );
        match call
            .server
            .insert(call.target, object, &request, Trace::Update(&writer))
            .await
        {
            Err(status) if generated && status.code == 409 && attempt < ATTEMPTS => attempt += 1,
            other => break other?,
        }
    };
    Ok(fields::warn(
        call.answer(StatusCode::CREATED, json).await?,
        &request.warnings(warnings),
    ))
}

/// Whether the body is what the path says.
pub(super) fn agrees(call: &Call, object: &Value) -> Result<()> {
    let (have_version, have_kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    let (version, kind) = (call.target.api_version(), call.target.kind.kind);
    if (!have_version.is_empty() && have_version != version)
        || (!have_kind.is_empty() && have_kind != kind)
    {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized: {have_version:?} {have_kind:?} does not match \
             the expected {version:?} {kind:?}"
        )));
    }
    let place = call.path.namespace.as_deref().unwrap_or_default();
    let have = namespace(object);
    if call.target.kind.namespaced && !have.is_empty() && have != place {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if !object
        .get("metadata")
        .is_none_or(|metadata| metadata.is_object() || metadata.is_null())
    {
        return Err(Status::bad_request("metadata must be an object"));
    }
    Ok(())
}
