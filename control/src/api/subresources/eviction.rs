//! Eviction: a deletion that asks first. Disruption budgets will be asked here.

use http::StatusCode;
use serde_json::{Value, json};

use crate::api::admission::{Operation, Request};
use crate::api::body::{Body, Reply, document, json as json_reply};
use crate::api::options::DeleteOptions;
use crate::api::status::{Result, Status};
use crate::api::value::{key, name};
use crate::api::verbs::{Call, delete_one};
use crate::api::{decode, negotiate};

pub(super) async fn evict(call: &Call, body: Body) -> Result<Reply> {
    let bytes = decode::read(body).await?;
    let mut eviction = decode::object(&bytes, &negotiate::content_type(&call.headers))?;
    let pod = call.path.name.as_deref().unwrap_or_default();
    let named = name(&eviction);
    if !named.is_empty() && named != pod {
        return Err(Status::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let part = call.part(Operation::Create, ("policy", "v1", "Eviction"));
    let request = call.request(DeleteOptions::parse(&call.query, None)?.dry_run);
    part.admit(&call.server, &request, &mut eviction, None)
        .await?;
    let options = eviction
        .get("deleteOptions")
        .filter(|options| !options.is_null());
    let options = DeleteOptions::parse(&call.query, options.map(|options: &Value| options))?;
    let key = key(call.path.namespace.as_deref(), pod);
    let own = Request::own(call.target);
    delete_one(&call.server, call.target, &key, &options, &own).await?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    Ok(document(json_reply(StatusCode::CREATED, &done)))
}
