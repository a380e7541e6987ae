//! Admission: what the server adds to objects before they are checked, and whom it turns away after.
//!
//! One file or folder per plugin, named as in Kubernetes and asked in its order. A write is shown to
//! all of them twice: [`mutate`] completes the object before it is prepared and validated,
//! [`validate`] sees what would be stored. Writes of the server itself ([`Request::own`]) are not
//! shown to them; those of a status are shown to webhooks that ask for it, and so is what has an
//! object of its own beside the one that it belongs to ([`part`]). A plugin that has nothing
//! to do costs a comparison of the kind, or a look at an empty list.

mod asked;
mod asking;
mod certificates;
mod claim_resize;
mod conditions;
mod default_class;
mod in_use;
mod limit_ranger;
mod matching;
mod namespace;
pub(super) mod node;
mod node_taint;
pub(super) mod part;
mod pod_security;
mod policies;
mod priority;
mod quota;
mod request;
mod runtime_class;
mod service_account;
mod tolerations;
pub(super) mod topology;
mod webhooks;
mod write;

pub use pod_security::Exemptions;
pub(super) use policies::Policies;
pub(super) use priority::PRIORITIES;
pub(super) use quota::Desks;
pub(super) use request::Request;
pub(super) use webhooks::{Hooks, Operation};

use serde_json::Value;

use self::write::Write;
use super::kinds::Target;
use super::server::Server;
use super::status::Result;

/// Completes an object that is to be created, or with `old` updated.
///
/// # Errors
/// 404 when its namespace does not exist, 403 when that is being deleted or when a pod asks for a
/// class that there is not, and what webhooks refuse with.
pub(super) async fn mutate(
    server: &Server,
    request: &Request<'_>,
    target: Target,
    new: &mut Value,
    old: Option<&Value>,
) -> Result<()> {
    let Some(user) = request.user else {
        return Ok(());
    };
    if old.is_none() {
        namespace::admit(server, target, new)?;
    }
    complete(server, request, target, new, old)?;
    let never = server.policies.never_mutate(server) && server.hooks.never_mutate(server);
    if !never && is_shown(request, target) {
        let write = Write::of(server, request, target, old);
        let policies = server.policies.mutate(write, new, old).await?;
        let hooks = server.hooks.mutate(write, new, old).await?;
        complete(server, request, target, new, old)?;
        server.policies.again(write, policies, new, old).await?;
        server.hooks.again(write, hooks, new, old).await?;
    }
    if old.is_none() {
        certificates::stamp(user, target, new);
    }
    Ok(())
}

/// Whether webhooks and policies are asked about a write.
fn is_shown(request: &Request<'_>, target: Target) -> bool {
    let part = matches!(request.subresource, "" | "status" | "approval" | "finalize");
    let own = target.kind.part(request.subresource).is_some();
    (part || own) && request.user.is_some() && target.kind.group != "admissionregistration.k8s.io"
}

/// What the plugins of the server itself fill in; nothing more the second time.
fn complete(
    server: &Server,
    request: &Request<'_>,
    target: Target,
    new: &mut Value,
    old: Option<&Value>,
) -> Result<()> {
    let kind = (target.kind.group, target.kind.plural);
    match (kind, old) {
        (("", "pods"), None) => {
            limit_ranger::complete(server, new);
            service_account::complete(server, new);
            priority::complete(server, target, new)?;
            tolerations::complete(new);
            topology::complete_pod(server, new);
        }
        (("", "nodes"), None) => node_taint::complete(new),
        (("", "pods"), Some(old)) if request.subresource.is_empty() => priority::keep(new, old),
        (("", "persistentvolumeclaims"), None) => {
            default_class::complete_claim(server, new);
            in_use::protect_claim(new);
        }
        (("", "persistentvolumes"), None) => in_use::protect_volume(new),
        (("networking.k8s.io", "ingresses"), None) => {
            default_class::complete_ingress(server, new);
        }
        _ => {}
    }
    Ok(())
}

/// Checks an object that is to be stored.
///
/// # Errors
/// 403 or 422 with what a plugin has against it, and what webhooks refuse with.
pub(super) async fn validate(
    server: &Server,
    request: &Request<'_>,
    target: Target,
    new: &Value,
    old: Option<&Value>,
) -> Result<()> {
    if request.user.is_none() {
        return Ok(());
    }
    let whole = request.subresource.is_empty();
    certificates::check(server, request, target, new, old)?;
    if whole {
        check(server, request, target, new, old)?;
    } else {
        check_part(server, request, target, new, old)?;
    }
    if is_shown(request, target) {
        let write = Write::of(server, request, target, old);
        if !server.policies.never_check(server) {
            server.policies.check(write, Some(new), old).await?;
        }
        if !server.hooks.never_refuse(server) {
            server.hooks.validate(write, Some(new), old).await?;
        }
    }
    let resized = request.subresource == "resize";
    if whole || resized {
        quota::charge(server, request, target, new, old).await?;
    }
    Ok(())
}

/// What the plugins of the server itself have against an object.
fn check(
    server: &Server,
    request: &Request<'_>,
    target: Target,
    new: &Value,
    old: Option<&Value>,
) -> Result<()> {
    match (target.kind.group, target.kind.plural) {
        ("", "pods") => {
            if old.is_none() {
                limit_ranger::check_pod(server, target, new)?;
            }
            pod_security::check_pod(server, request, target, new, old)?;
            if old.is_none() {
                runtime_class::check(server, target, new)?;
            }
        }
        ("", "persistentvolumeclaims") => {
            limit_ranger::check_claim(server, target, new)?;
            if let Some(old) = old {
                claim_resize::check(server, target, new, old)?;
            }
        }
        ("", "namespaces") => {
            pod_security::check_namespace(server, request, target, new, old)?;
        }
        ("scheduling.k8s.io", "priorityclasses") => priority::check_class(server, target, new)?,
        (group, plural) => {
            if let Some(pointer) = pod_security::template(group, plural) {
                pod_security::warn_of_template(server, request, new, pointer);
            }
        }
    }
    Ok(())
}

/// What they have against an object of which one part was written.
fn check_part(
    server: &Server,
    request: &Request<'_>,
    target: Target,
    new: &Value,
    old: Option<&Value>,
) -> Result<()> {
    let kind = target.kind;
    match (kind.group, kind.plural, request.subresource) {
        ("", "pods", "ephemeralcontainers") => {
            pod_security::check_pod(server, request, target, new, old)
        }
        ("", "pods", "resize") => limit_ranger::check_pod(server, target, new),
        _ => Ok(()),
    }
}

/// Admits the deletion of the object called `name`, whatever it is.
///
/// # Errors
/// 403 for what a cluster cannot be without.
pub(super) fn delete(target: Target, name: &str) -> Result<()> {
    namespace::delete(target, name)
}

/// Admits the deletion of this very object.
///
/// # Errors
/// What webhooks refuse with.
pub(super) async fn before_deletion(
    server: &Server,
    request: &Request<'_>,
    target: Target,
    old: &Value,
) -> Result<()> {
    if !is_shown(request, target) {
        return Ok(());
    }
    let write = Write {
        server,
        request,
        target: target.stored(),
        operation: Operation::Delete,
        part: None,
    };
    if !server.hooks.never_mutate(server) {
        server.hooks.before_deletion(write, old).await?;
    }
    if !server.policies.never_check(server) {
        server.policies.check(write, None, Some(old)).await?;
    }
    if !server.hooks.never_refuse(server) {
        server.hooks.validate(write, None, Some(old)).await?;
    }
    Ok(())
}
