//! An object changed by a patch.

use http::StatusCode;
use parking_lot::Mutex;
use serde_json::Value;

use super::Call;
use crate::api::body::{Body, Reply};
use crate::api::managed::Trace;
use crate::api::options::WriteOptions;
use crate::api::patch::{APPLY, Patch};
use crate::api::status::{Result, Status};
use crate::api::write::Part;
use crate::api::{decode, fields, negotiate};

pub(super) async fn patch(call: &Call, part: Part, body: Body) -> Result<Reply> {
    let options = WriteOptions::parse(&call.query)?;
    let content_type = negotiate::content_type(&call.headers);
    if content_type == APPLY {
        return super::apply::apply(call, part, body, &options).await;
    }
    if options.force.is_some() {
        let why = "Forbidden: may not be specified for non-apply patch";
        return Err(Status::invalid_parameter("force", why));
    }
    let writer = call.writer(options.manager.as_deref(), part);
    let kind = call.target.kind;
    Patch::supports(kind, &content_type)?;
    let patch = Patch::parse(kind, &content_type, &decode::read(body).await?)?;
    let warnings = Mutex::new(Vec::new());
    let candidate = |old: &Value| {
        let new = patch.apply(call.target.kind, old)?;
        super::create::agrees(call, &new)?;
        super::permitted(call, part, old, &new)?;
        let mut told = fields::check(call.target, &new, &[], options.validation)?;
        told.extend(fields::in_vain(call.target, part, &new));
        *warnings.lock() = told;
        Ok(new)
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
        &request.warnings(warnings.into_inner()),
    ))
}
