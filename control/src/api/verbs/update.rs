//! A whole object, or a part of it, replaced.

use http::StatusCode;
use serde_json::Value;

use super::Call;
use super::create::agrees;
use crate::api::body::{Body, Reply};
use crate::api::managed::Trace;
use crate::api::options::WriteOptions;
use crate::api::status::{Result, Status};
use crate::api::value::name;
use crate::api::write::Part;
use crate::api::{decode, fields, negotiate};

pub(super) async fn update(call: &Call, part: Part, body: Body) -> Result<Reply> {
    let options = WriteOptions::parse(&call.query)?;
    let bytes = decode::read(body).await?;
    let decoded = decode::decode(&bytes, &negotiate::content_type(&call.headers))?;
    let mut object = decoded.object;
    agrees(call, &object)?;
    if name(&object) != call.name() {
        let (have, want) = (name(&object), call.name());
        return Err(Status::bad_request(format!(
            "the name of the object ({have}) does not match the name on the URL ({want})"
        )));
    }
    let mut warnings = fields::check(call.target, &object, &decoded.repeated, options.validation)?;
    warnings.extend(fields::in_vain(call.target, part, &object));
    object["apiVersion"] = call.target.api_version().into();
    object["kind"] = call.target.kind.kind.into();
    let writer = call.writer(options.manager.as_deref(), part);
    let candidate = |old: &Value| {
        super::permitted(call, part, old, &object)?;
        Ok(object.clone())
    };
    let request = call.request(options.dry_run);
    let modified = call
        .server
        .modify(
            call.target,
            &call.key(),
            part,
            &request,
            Trace::Update(&writer),
            &candidate,
        )
        .await?;
    Ok(fields::warn(
        call.answer(StatusCode::OK, modified).await?,
        &request.warnings(warnings),
    ))
}
