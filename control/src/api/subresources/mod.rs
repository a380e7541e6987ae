//! The subresources that are not a part of the object: one file each.

mod binding;
mod connection;
mod eviction;
mod node;
mod proxy;
mod scale;
mod token;

use http::Request;

use super::body::{Body, Reply};
use super::request::ResourcePath;
use super::status::{Result, Status};
use super::verbs::Call;
use super::write::Part;

/// Answers a request for `subresource` of the call's object. The request's body is still unread.
///
/// # Errors
/// 404 for a subresource that the kind does not have, 405 for a verb that it does not know.
pub(super) async fn run(
    call: Call,
    verb: &str,
    subresource: &str,
    request: Request<Body>,
) -> Result<Reply> {
    let kind = call.target.kind;
    if let Some(part) = kind.part(subresource) {
        return call.run(verb, Part::Own(part), request.into_body()).await;
    }
    match (kind.group, kind.plural, subresource) {
        (_, _, "status") if kind.status => call.run(verb, Part::Status, request.into_body()).await,
        (_, _, "scale") if kind.scale.is_some() => {
            scale::run(&call, verb, request.into_body()).await
        }
        ("", "namespaces", "finalize") => call.run(verb, Part::Finalize, request.into_body()).await,
        ("certificates.k8s.io", "certificatesigningrequests", "approval") => {
            call.run(verb, Part::Approval, request.into_body()).await
        }
        ("", "pods", "binding") => {
            creation(verb)?;
            binding::bind(&call, request.into_body()).await
        }
        ("", "pods", "eviction") => {
            creation(verb)?;
            eviction::evict(&call, request.into_body()).await
        }
        ("", "pods", "log" | "exec" | "attach" | "portforward") => {
            node::pod(&call, subresource, request).await
        }
        ("", "nodes" | "pods" | "services", "proxy") => proxy::run(&call, request).await,
        ("", "serviceaccounts", "token") => {
            creation(verb)?;
            token::request(&call, request.into_body()).await
        }
        _ => Err(Status::no_such_resource()),
    }
}

/// `POST /api/v1/namespaces/NS/bindings`, which names the pod in its body.
pub(super) fn is_binding(path: &ResourcePath) -> bool {
    path.group.is_empty() && path.plural == "bindings" && path.name.is_none()
}

/// Binds the pod that the body names.
///
/// # Errors
/// As for a binding of the pod itself.
pub(super) async fn bind_by_body(call: Call, verb: &str, body: Body) -> Result<Reply> {
    creation(verb)?;
    binding::bind(&call, body).await
}

fn creation(verb: &str) -> Result<()> {
    if verb == "create" {
        Ok(())
    } else {
        Err(Status::method_not_allowed())
    }
}
