//! Scale: the number of replicas, whatever the kind.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::api::admission::part::is_unwatched;
use crate::api::admission::{Operation, Request};
use crate::api::body::{Body, Reply, json as json_reply};
use crate::api::managed::{Trace, Writer};
use crate::api::options::WriteOptions;
use crate::api::patch::Patch;
use crate::api::status::{Result, Status};
use crate::api::value::{integer, items, key, text};
use crate::api::verbs::Call;
use crate::api::write::Part;
use crate::api::{decode, negotiate};
use crate::registry::kind::{Kind, ScalePaths};

/// How often a Scale is shown again because somebody else was faster.
const ATTEMPTS: usize = 10;

pub(super) async fn run(call: &Call, verb: &str, body: Body) -> Result<Reply> {
    let kind = call.target.kind;
    let paths = kind.scale.as_ref().ok_or_else(Status::no_such_resource)?;
    let name = call.path.name.as_deref().unwrap_or_default();
    let key = key(call.path.namespace.as_deref(), name);
    if verb == "get" {
        let stored = call.server.store.get(call.target.resource, &key);
        let stored = stored.ok_or_else(|| Status::not_found(kind, name))?;
        let shown = call.server.shown_one(call.target, stored.value()).await?;
        return Ok(json_reply(StatusCode::OK, &scale_of(paths, &shown)));
    }
    let options = WriteOptions::parse(&call.query)?;
    let content_type = negotiate::content_type(&call.headers);
    let bytes = decode::read(body).await?;
    let change = match verb {
        "update" => Scaling::Whole(decode::object(&bytes, &content_type)?),
        "patch" => Scaling::Patch(Patch::parse(kind, &content_type, &bytes)?),
        _ => return Err(Status::method_not_allowed()),
    };
    let writer = call.writer(options.manager.as_deref(), Part::Whole);
    let writer = writer.through("scale");
    let work = Work {
        call,
        paths,
        key: &key,
        request: &call.request(options.dry_run),
        writer: &writer,
    };
    let done = if is_unwatched(&call.server) {
        work.scaled(&change).await?
    } else {
        work.admitted(&change).await?
    };
    let done: Value =
        serde_json::from_slice(&done).map_err(|error| Status::internal(error.to_string()))?;
    let done = call.server.shown_one(call.target, done).await?;
    Ok(json_reply(StatusCode::OK, &scale_of(paths, &done)))
}

/// What is to be done to which object, for whom.
struct Work<'a> {
    call: &'a Call,
    paths: &'a ScalePaths,
    key: &'a str,
    request: &'a Request<'a>,
    writer: &'a Writer,
}

impl Work<'_> {
    /// Makes of the object what the Scale asks for.
    async fn scaled(&self, change: &Scaling) -> Result<Bytes> {
        let target = self.call.target;
        let candidate = |old: &Value| change.apply(target.kind, self.paths, old);
        let trace = Trace::Update(self.writer);
        let (server, request) = (&self.call.server, self.request);
        let done = server.modify(target, self.key, Part::Whole, request, trace, &candidate);
        done.await
    }

    /// Lets webhooks and policies see the Scale first, and does what they leave of it. They see one
    /// version of the object; if somebody else is faster, and the client did not say which version it
    /// means, they see the next one.
    async fn admitted(&self, change: &Scaling) -> Result<Bytes> {
        let (target, server) = (self.call.target, &self.call.server);
        let part = self
            .call
            .part(Operation::Update, ("autoscaling", "v1", "Scale"));
        for _ in 0..ATTEMPTS {
            let stored = server.store.get(target.resource, self.key);
            let stored = stored.ok_or_else(|| Status::not_found(target.kind, part.name))?;
            let shown = server.shown_one(target, stored.value()).await?;
            let old = scale_of(self.paths, &shown);
            let mut new = change.scale(&old)?;
            let named = matches!(change, Scaling::Whole(_))
                && !text(&new, "/metadata/resourceVersion").is_empty();
            part.admit(server, self.request, &mut new, Some(&old))
                .await?;
            if !named {
                new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
            }
            match self.scaled(&Scaling::Whole(new)).await {
                Err(status) if status.code == StatusCode::CONFLICT && !named => {}
                done => return done,
            }
        }
        Err(Status::stale(target.kind, part.name))
    }
}

enum Scaling {
    Whole(Value),
    Patch(Patch),
}

impl Scaling {
    /// What the Scale becomes.
    fn scale(&self, current: &Value) -> Result<Value> {
        match self {
            Self::Whole(scale) => Ok(scale.clone()),
            Self::Patch(patch) => patch.apply_as_merge(current),
        }
    }

    /// The object with the replicas that the changed Scale asks for.
    fn apply(&self, kind: &Kind, paths: &ScalePaths, old: &Value) -> Result<Value> {
        let scale = self.scale(&scale_of(paths, old))?;
        let replicas = match scale.pointer("/spec/replicas") {
            None | Some(Value::Null) => Some(0),
            Some(number) => number
                .as_i64()
                .filter(|number| (0..=i64::from(i32::MAX)).contains(number)),
        };
        let replicas = replicas.ok_or_else(|| {
            let why = "Invalid value: must be an integer greater than or equal to 0";
            Status::invalid_parameter("spec.replicas", why)
        })?;
        let mut new = old.clone();
        for field in ["resourceVersion", "uid"] {
            let wanted = text(&scale, &format!("/metadata/{field}"));
            if !wanted.is_empty() {
                new["metadata"][field] = wanted.into();
            }
        }
        let slot = new.pointer_mut(paths.spec_replicas);
        match slot {
            Some(slot) => *slot = replicas.into(),
            None => return Err(Status::internal(format!("{} has no replicas", kind.kind))),
        }
        Ok(new)
    }
}

/// The object's `autoscaling/v1 Scale`.
fn scale_of(paths: &ScalePaths, object: &Value) -> Value {
    let replicas = |pointer| integer(object, pointer).unwrap_or(0);
    let metadata: Value = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ]
    .iter()
    .filter_map(|key| Some(((*key).to_owned(), object["metadata"].get(key)?.clone())))
    .collect::<serde_json::Map<_, _>>()
    .into();
    let selector = object
        .pointer(paths.selector)
        .map(selector_text)
        .unwrap_or_default();
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": replicas(paths.spec_replicas)},
        "status": {"replicas": replicas(paths.status_replicas), "selector": selector}})
}

/// A LabelSelector or a map of labels as text; text is one already.
fn selector_text(selector: &Value) -> String {
    if let Some(text) = selector.as_str() {
        return text.to_owned();
    }
    let parts = ["matchLabels", "matchExpressions"];
    let plain = parts.iter().all(|part| selector.get(part).is_none());
    let labels = if plain {
        Some(selector)
    } else {
        selector.get("matchLabels")
    };
    let labels = labels.and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    let labels = labels.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let expressions = items(selector, "/matchExpressions")
        .iter()
        .map(expression_text);
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

fn expression_text(expression: &Value) -> String {
    let key = text(expression, "/key");
    let values = items(expression, "/values")
        .iter()
        .filter_map(Value::as_str);
    let values = values.collect::<Vec<_>>().join(",");
    match text(expression, "/operator") {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "DoesNotExist" => format!("!{key}"),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::by_kind;

    fn deployment() -> Value {
        json!({"metadata": {"name": "web", "namespace": "shop", "resourceVersion": "7"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"},
                "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]}},
            "status": {"replicas": 2}})
    }

    #[test]
    fn a_scale_shows_replicas_and_selector() {
        let kind = by_kind("apps", "v1", "Deployment").unwrap();
        let scale = scale_of(kind.scale.as_ref().unwrap(), &deployment());
        assert_eq!(scale["spec"]["replicas"], 3);
        assert_eq!(scale["status"]["replicas"], 2);
        assert_eq!(scale["status"]["selector"], "app=web,tier in (a,b)");
    }

    #[test]
    fn scaling_changes_replicas_only_and_refuses_nonsense() {
        let kind = by_kind("apps", "v1", "Deployment").unwrap();
        let paths = kind.scale.as_ref().unwrap();
        let scaling = Scaling::Whole(json!({"spec": {"replicas": 5}}));
        let mut expected = deployment();
        expected["spec"]["replicas"] = 5.into();
        assert_eq!(scaling.apply(kind, paths, &deployment()).unwrap(), expected);
        for bad in [json!(-1), json!("3"), json!(1.5), json!(5_000_000_000_i64)] {
            let scaling = Scaling::Whole(json!({"spec": {"replicas": bad}}));
            assert_eq!(
                scaling.apply(kind, paths, &deployment()).unwrap_err().code,
                422
            );
        }
    }
}
