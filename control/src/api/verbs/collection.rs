//! Everything that a selector finds, deleted, as far as a limit allows.

use http::StatusCode;
use serde_json::json as value;

use super::Call;
use super::delete::{delete_one, read_options};
use super::list::{select, snapshot};
use crate::api::body::{Body, Reply, json};
use crate::api::options::ListOptions;
use crate::api::status::Result;

pub(super) async fn delete(call: &Call, body: Body) -> Result<Reply> {
    let options = read_options(call, body).await?;
    let list = ListOptions::parse(&call.query, call.target.kind)?;
    let (snapshot, token) = snapshot(call, &list)?;
    let limit = list.limit.unwrap_or(usize::MAX);
    let selected = select(call, &list, &snapshot, token.as_ref(), limit).selected;
    let request = call.request(options.dry_run);
    for object in &selected {
        let key = object.key();
        match delete_one(&call.server, call.target, key, &options, &request).await {
            // Somebody else was faster.
            Err(status) if status.code == StatusCode::NOT_FOUND => {}
            other => drop(other?),
        }
    }
    let kind = call.target.kind;
    let done = value!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"kind": kind.plural}});
    Ok(json(StatusCode::OK, &done))
}
