//! One object.

use http::StatusCode;

use super::Call;
use crate::api::body::Reply;
use crate::api::status::{Result, Status};

pub(super) async fn get(call: &Call) -> Result<Reply> {
    let object = call.server.store.get(call.target.resource, &call.key());
    let object = object.ok_or_else(|| Status::not_found(call.target.kind, call.name()))?;
    let wanted = call
        .query
        .get("resourceVersion")
        .and_then(|text| text.parse::<u64>().ok());
    let current = call.server.store.revision();
    if let Some(wanted) = wanted.filter(|wanted| *wanted > current) {
        return Err(Status::future_version(wanted, current));
    }
    call.answer(StatusCode::OK, object.json()).await
}
