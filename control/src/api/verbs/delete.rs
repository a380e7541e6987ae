//! One object deleted: at once, after its grace period, or once its finalizers are gone.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::Value;

use super::Call;
use crate::api::admission::{self, Request};
use crate::api::body::{Body, Reply, json};
use crate::api::kinds::Target;
use crate::api::meta::{mark_deleted, set_finalizer};
use crate::api::options::{DeleteOptions, Propagation};
use crate::api::server::Server;
use crate::api::status::{Result, Status, deleted};
use crate::api::value::{integer, is_deleting, name, text};
use crate::api::write::may_go;
use crate::api::{decode, fields, negotiate};
use crate::store::{Change, WriteError};

/// Attempts of a deletion against concurrent writers.
const ATTEMPTS: usize = 32;

/// What became of the object; each carries its last state.
pub(in crate::api) enum Outcome {
    /// It is gone.
    Gone(Value),
    /// It is marked and waits for its grace period or finalizers.
    Marked(Value),
}

pub(super) async fn delete(call: &Call, body: Body) -> Result<Reply> {
    let options = read_options(call, body).await?;
    let (target, key) = (call.target, call.key());
    let request = call.request(options.dry_run);
    let outcome = delete_one(&call.server, target, &key, &options, &request).await?;
    let reply = match outcome {
        Outcome::Gone(last) if target.kind.returned => {
            call.answer(StatusCode::OK, last.to_string().into()).await?
        }
        Outcome::Gone(last) => {
            let gone = deleted(target.kind, name(&last), text(&last, "/metadata/uid"));
            json(StatusCode::OK, &gone)
        }
        Outcome::Marked(object) => {
            let foreground = options.propagation == Some(Propagation::Foreground);
            let code = if foreground {
                StatusCode::ACCEPTED
            } else {
                StatusCode::OK
            };
            call.answer(code, object.to_string().into()).await?
        }
    };
    Ok(fields::warn(reply, &request.warnings(Vec::new())))
}

/// The options in query and body.
pub(super) async fn read_options(call: &Call, body: Body) -> Result<DeleteOptions> {
    let bytes = decode::read(body).await?;
    let body = if bytes.is_empty() {
        None
    } else {
        Some(decode::object(
            &bytes,
            &negotiate::content_type(&call.headers),
        )?)
    };
    DeleteOptions::parse(&call.query, body.as_ref())
}

/// Deletes the object under `key` as far as it can be deleted now.
pub(in crate::api) async fn delete_one(
    server: &Server,
    target: Target,
    key: &str,
    options: &DeleteOptions,
    request: &Request<'_>,
) -> Result<Outcome> {
    let short = key.split_once('/').map_or(key, |(_, name)| name);
    admission::delete(target, short)?;
    for _ in 0..ATTEMPTS {
        let stored = server.store.get(target.resource, key);
        let stored = stored.ok_or_else(|| Status::not_found(target.kind, short))?;
        let old = stored.value();
        check_preconditions(target, &old, options)?;
        admission::before_deletion(server, request, target, &old).await?;
        let new = plan(target, old.clone(), options, Timestamp::now());
        let gone = may_go(&new);
        if options.dry_run || (!gone && new == old) {
            return Ok(if gone {
                Outcome::Gone(new)
            } else {
                Outcome::Marked(new)
            });
        }
        let written = if gone {
            server.remove(target, key, &stored, &new).await
        } else {
            let draft = server.store.draft(target.resource, &new);
            let change = Change::Update(draft, stored.revision);
            server
                .store
                .write(target.resource, key.into(), change)
                .await
                .map(|new| new.json())
        };
        match written {
            Ok(json) => {
                let last = serde_json::from_slice(&json).unwrap_or(new);
                return Ok(if gone {
                    Outcome::Gone(last)
                } else {
                    Outcome::Marked(last)
                });
            }
            Err(WriteError::Conflict { .. }) => {}
            Err(error) => return Err(Status::of_write(error, target.kind, short)),
        }
    }
    Err(Status::stale(target.kind, short))
}

/// Whether the object is the one that the deletion means.
///
/// # Errors
/// 409 where it has another uid or version.
pub(in crate::api) fn check_preconditions(
    target: Target,
    old: &Value,
    options: &DeleteOptions,
) -> Result<()> {
    let checks = [
        ("UID", "/metadata/uid", &options.uid),
        (
            "ResourceVersion",
            "/metadata/resourceVersion",
            &options.resource_version,
        ),
    ];
    for (what, pointer, wanted) in checks {
        let have = text(old, pointer);
        if let Some(want) = wanted.as_deref().filter(|want| *want != have) {
            let why = format!(
                "Precondition failed: {what} in precondition: {want}, {what} in object meta: {have}"
            );
            return Err(Status::conflict(target.kind, name(old), &why));
        }
    }
    Ok(())
}

/// The object as the deletion leaves it: marked, with its grace period and finalizers. It may go
/// at once when nothing holds it back (see [`may_go`]).
fn plan(target: Target, mut object: Value, options: &DeleteOptions, now: Timestamp) -> Value {
    let kind = (target.kind.group, target.kind.plural);
    let grace = if kind == ("", "pods") {
        grace_of_pod(&object, options.grace)
    } else {
        0
    };
    propagate(&mut object, options.propagation);
    if is_deleting(&object) {
        shorten(&mut object, grace, now);
    } else {
        mark_deleted(&mut object, now, grace);
        if kind == ("", "namespaces") {
            object["status"]["phase"] = "Terminating".into();
        }
    }
    object
}

/// Seconds that a pod gets: none where nothing runs.
fn grace_of_pod(pod: &Value, wanted: Option<i64>) -> i64 {
    let idle = text(pod, "/spec/nodeName").is_empty()
        || matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    if idle {
        return 0;
    }
    let default = integer(pod, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
    match wanted.unwrap_or(default) {
        negative if negative < 0 => 1,
        seconds => seconds,
    }
}

/// A second deletion may only bring the end nearer.
fn shorten(object: &mut Value, grace: i64, now: Timestamp) {
    let current = integer(object, "/metadata/deletionGracePeriodSeconds").unwrap_or(0);
    if grace < current {
        let generation = object.pointer("/metadata/generation").cloned();
        mark_deleted(object, now, grace);
        if let Some(generation) = generation {
            object["metadata"]["generation"] = generation;
        }
    }
}

fn propagate(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else {
        return;
    };
    let (orphan, foreground) = (
        propagation == Propagation::Orphan,
        propagation == Propagation::Foreground,
    );
    set_finalizer(object, "orphan", orphan);
    set_finalizer(object, "foregroundDeletion", foreground);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Kinds;
    use crate::registry::KINDS;

    fn plan_of(plural: &str, object: Value, options: &DeleteOptions) -> Value {
        let target = Kinds(KINDS).of("", plural).unwrap();
        plan(target, object, options, Timestamp::UNIX_EPOCH)
    }

    fn pod() -> Value {
        json!({"metadata": {"name": "p", "generation": 1}, "spec": {"nodeName": "n1"}})
    }

    #[test]
    fn a_running_pod_gets_its_grace_period() {
        let marked = plan_of("pods", pod(), &DeleteOptions::default());
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
        assert_eq!(
            marked["metadata"]["deletionTimestamp"],
            "1970-01-01T00:00:30Z"
        );
        assert!(!may_go(&marked));
    }

    #[test]
    fn an_unscheduled_or_finished_pod_goes_at_once() {
        let mut unscheduled = pod();
        unscheduled["spec"] = json!({});
        assert!(may_go(&plan_of(
            "pods",
            unscheduled,
            &DeleteOptions::default()
        )));
        let mut finished = pod();
        finished["status"] = json!({"phase": "Failed"});
        assert!(may_go(&plan_of(
            "pods",
            finished,
            &DeleteOptions::default()
        )));
    }

    #[test]
    fn the_nodes_last_word_removes_the_pod_and_nothing_lengthens_the_wait() {
        let marked = plan_of("pods", pod(), &DeleteOptions::default());
        let longer = DeleteOptions {
            grace: Some(90),
            ..DeleteOptions::default()
        };
        assert_eq!(plan_of("pods", marked.clone(), &longer), marked);
        let last = DeleteOptions {
            grace: Some(0),
            ..DeleteOptions::default()
        };
        assert!(may_go(&plan_of("pods", marked, &last)));
    }

    #[test]
    fn finalizers_and_propagation_hold_the_object() {
        let foreground = DeleteOptions {
            propagation: Some(Propagation::Foreground),
            ..DeleteOptions::default()
        };
        let object = json!({"metadata": {"name": "c"}});
        let marked = plan_of("configmaps", object.clone(), &foreground);
        assert_eq!(
            marked["metadata"]["finalizers"],
            json!(["foregroundDeletion"])
        );
        assert!(!may_go(&marked));
        let background = DeleteOptions {
            propagation: Some(Propagation::Background),
            ..DeleteOptions::default()
        };
        assert!(may_go(&plan_of("configmaps", object, &background)));
    }

    #[test]
    fn a_namespace_terminates_first() {
        let namespace = json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"}});
        let marked = plan_of("namespaces", namespace, &DeleteOptions::default());
        assert_eq!(marked["status"]["phase"], "Terminating");
        assert!(!may_go(&marked));
    }
}
