//! TokenRequest: a signed token of a service account.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::api::admission::Operation;
use crate::api::body::{Body, Reply, document, json as json_reply};
use crate::api::status::{Result, Status};
use crate::api::tokens::{Account, Bound, ISSUER};
use crate::api::value::{integer, items, name, namespace, text, timestamp};
use crate::api::verbs::Call;
use crate::api::{admission, decode, negotiate};

/// Seconds that a token is valid at least, as in Kubernetes.
const SHORTEST: i64 = 600;
/// Seconds that a token is valid at most.
const LONGEST: i64 = 1 << 32;
/// Seconds that a token is valid unless the request says otherwise.
const DEFAULT: i64 = 3600;

pub(super) async fn request(call: &Call, body: Body) -> Result<Reply> {
    let bytes = decode::read(body).await?;
    let mut request = decode::object(&bytes, &negotiate::content_type(&call.headers))?;
    let name = call.path.name.as_deref().unwrap_or_default();
    let namespace = call.path.namespace.as_deref().unwrap_or_default();
    let stored = call.server.stored("serviceaccounts", Some(namespace), name);
    let stored = stored.ok_or_else(|| Status::not_found(call.target.kind, name))?;
    let part = call.part(
        Operation::Create,
        ("authentication.k8s.io", "v1", "TokenRequest"),
    );
    let asked = call.request(false);
    part.admit(&call.server, &asked, &mut request, None).await?;
    let seconds = integer(&request, "/spec/expirationSeconds").unwrap_or(DEFAULT);
    if !(SHORTEST..=LONGEST).contains(&seconds) {
        let why =
            format!("Invalid value: {seconds}: must be between {SHORTEST} and {LONGEST} seconds");
        return Err(Status::invalid_parameter("spec.expirationSeconds", &why));
    }
    let audiences = items(&request, "/spec/audiences")
        .iter()
        .filter_map(Value::as_str);
    let mut audiences: Vec<String> = audiences.map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    let now = Timestamp::now();
    let pod = pod_of(call, &request, name)?;
    admission::node::token(&call.user, call.target, &request, pod.as_ref())?;
    let account = Account {
        namespace: namespace.to_owned(),
        serviceaccount: bound(&stored),
        node: pod.as_ref().and_then(|pod| node_of(call, pod)),
        pod: pod.as_ref().map(bound),
    };
    let token = call
        .server
        .tokens
        .sign(account, audiences.clone(), now.as_second(), seconds);
    let token = token.map_err(|error| Status::internal(error.to_string()))?;
    request["apiVersion"] = "authentication.k8s.io/v1".into();
    request["kind"] = "TokenRequest".into();
    request["metadata"] = json!({"name": name, "namespace": namespace,
        "creationTimestamp": timestamp(now)});
    request["spec"]["audiences"] = json!(audiences);
    request["spec"]["expirationSeconds"] = seconds.into();
    let end = timestamp(now + SignedDuration::from_secs(seconds));
    request["status"] = json!({"token": token, "expirationTimestamp": end});
    Ok(document(json_reply(StatusCode::CREATED, &request)))
}

fn bound(object: &Value) -> Bound {
    Bound {
        name: name(object).to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
    }
}

/// The node that the pod is bound to, without a uid if there is no such Node.
fn node_of(call: &Call, pod: &Value) -> Option<Bound> {
    let name = Some(text(pod, "/spec/nodeName")).filter(|name| !name.is_empty())?;
    let node = call.server.stored("nodes", None, name);
    Some(node.as_ref().map(bound).unwrap_or_else(|| Bound {
        name: name.to_owned(),
        uid: String::new(),
    }))
}

/// The pod that the token shall die with; it must run as this account.
fn pod_of(call: &Call, request: &Value, account: &str) -> Result<Option<Value>> {
    let reference = match request.pointer("/spec/boundObjectRef") {
        None | Some(Value::Null) => return Ok(None),
        Some(reference) => reference,
    };
    let refuse = |why: &str| Err(Status::invalid_parameter("spec.boundObjectRef", why));
    if text(reference, "/kind") != "Pod" {
        return refuse("Unsupported value: only Pod is supported");
    }
    let wanted = text(reference, "/name");
    let place = call.path.namespace.as_deref();
    let pods = call
        .server
        .core("pods")
        .ok_or_else(Status::no_such_resource)?;
    let pod = call.server.stored("pods", place, wanted);
    let pod = pod.ok_or_else(|| Status::not_found(pods.kind, wanted))?;
    let uid = text(reference, "/uid");
    if !uid.is_empty() && uid != text(&pod, "/metadata/uid") {
        return Err(Status::conflict(
            pods.kind,
            wanted,
            "the pod has another uid",
        ));
    }
    if text(&pod, "/spec/serviceAccountName") != account {
        return refuse("Invalid value: the pod runs as another service account");
    }
    debug_assert_eq!(namespace(&pod), place.unwrap_or_default());
    Ok(Some(pod))
}
