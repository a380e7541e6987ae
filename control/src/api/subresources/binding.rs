//! Binding: gives a pod its node, once.

use http::StatusCode;
use serde_json::{Value, json};

use crate::api::admission::part::Part;
use crate::api::admission::{Operation, topology};
use crate::api::body::{Body, Reply, document, json as json_reply};
use crate::api::managed::Trace;
use crate::api::options::WriteOptions;
use crate::api::status::{Result, Status};
use crate::api::value::{self, is_deleting, items, metadata, name, text};
use crate::api::verbs::Call;
use crate::api::{decode, negotiate, write};

pub(super) async fn bind(call: &Call, body: Body) -> Result<Reply> {
    let options = WriteOptions::parse(&call.query)?;
    let bytes = decode::read(body).await?;
    let mut binding = decode::object(&bytes, &negotiate::content_type(&call.headers))?;
    let pod = match call.path.name.as_deref() {
        Some(pod) => pod.to_owned(),
        None => name(&binding).to_owned(),
    };
    let request = call.request(options.dry_run).of_part("binding");
    let part = Part {
        name: &pod,
        ..call.part(Operation::Create, ("", "v1", "Binding"))
    };
    topology::complete_binding(&call.server, &mut binding);
    part.admit(&call.server, &request, &mut binding, None)
        .await?;
    let node = text(&binding, "/target/name").to_owned();
    let kind = text(&binding, "/target/kind");
    if node.is_empty() || !matches!(kind, "" | "Node") {
        return Err(Status::invalid_parameter(
            "target",
            "Required value: must name a Node",
        ));
    }
    let key = value::key(call.path.namespace.as_deref(), &pod);
    let writer = call.writer(options.manager.as_deref(), write::Part::Raw);
    let candidate = |old: &Value| bound(call, old, &binding, &node);
    call.server
        .modify(
            call.target,
            &key,
            write::Part::Raw,
            &request,
            Trace::Update(&writer),
            &candidate,
        )
        .await?;
    let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    Ok(document(json_reply(StatusCode::CREATED, &done)))
}

/// The pod on its node, with the annotations of the binding, its labels where the pod has none of that
/// key, and the condition PodScheduled.
fn bound(call: &Call, old: &Value, binding: &Value, node: &str) -> Result<Value> {
    let kind = call.target.kind;
    let wanted = text(binding, "/metadata/uid");
    if !wanted.is_empty() && wanted != text(old, "/metadata/uid") {
        return Err(Status::conflict(kind, name(old), "the pod has another uid"));
    }
    let current = text(old, "/spec/nodeName");
    if !current.is_empty() {
        let why = format!("pod {} is already assigned to node {current:?}", name(old));
        return Err(Status::conflict(kind, name(old), &why));
    }
    if is_deleting(old) {
        let why = format!(
            "pod {} is being deleted, cannot be assigned to a host",
            name(old)
        );
        return Err(Status::conflict(kind, name(old), &why));
    }
    let mut new = old.clone();
    new["spec"]["nodeName"] = node.into();
    if let Some(extra) = binding
        .pointer("/metadata/annotations")
        .and_then(Value::as_object)
    {
        let annotations = metadata(&mut new)
            .entry("annotations")
            .or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.extend(extra.clone());
        }
    }
    if let Some(labels) = binding
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
    {
        topology::add_missing(&mut new, labels);
    }
    set_scheduled(&mut new);
    Ok(new)
}

fn set_scheduled(pod: &mut Value) {
    let now = value::timestamp(jiff::Timestamp::now());
    let others = items(pod, "/status/conditions").iter();
    let others = others
        .filter(|condition| text(condition, "/type") != "PodScheduled")
        .cloned();
    let mut conditions: Vec<Value> = others.collect();
    conditions.push(
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": now}),
    );
    value::object(pod, "status").insert("conditions".into(), conditions.into());
}
