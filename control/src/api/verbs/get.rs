//! One object.

use http::StatusCode;

use super::Call;
use crate::api::body::Reply;
use crate::api::options::version;
use crate::api::status::{Result, Status};

pub(super) async fn get(call: &Call) -> Result<Reply> {
    let wanted = version(&call.query)?;
    let current = call.server.store.revision();
    if let Some(wanted) = wanted.filter(|wanted| *wanted > current) {
        return Err(Status::future_version(wanted, current));
    }
    let object = call.server.store.get(call.target.resource, &call.key());
    let object = object.ok_or_else(|| Status::not_found(call.target.kind, call.name()))?;
    call.answer(StatusCode::OK, object.json()).await
}
