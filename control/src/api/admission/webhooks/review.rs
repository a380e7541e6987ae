//! `admission.k8s.io/v1 AdmissionReview`: the question that a hook is asked, and its answer.

use base64::Engine;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::write::Write;
use crate::api::kinds::Target;
use crate::api::status::Status;
use crate::api::value::{integer, items, text};

/// Characters of a warning that are passed on.
const MAX_WARNING: usize = 256;

/// What happens to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Operation {
    /// It is made.
    Create,
    /// It changes.
    Update,
    /// It goes.
    Delete,
    /// Somebody connects to it.
    Connect,
}

impl Operation {
    pub(in crate::api::admission) fn text(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A question to one hook.
pub(super) struct Question {
    uid: String,
    /// The AdmissionReview.
    pub(super) body: Value,
}

impl Question {
    /// A question about objects that are in `version`.
    pub(super) fn new(
        write: Write<'_>,
        version: Target,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Question {
        let uid = uuid::Uuid::new_v4().to_string();
        let show = |object: Option<&Value>| object.cloned().unwrap_or_default();
        let mut asked = facts(write, version, new.or(old).unwrap_or(&Value::Null));
        asked["uid"] = uid.as_str().into();
        asked["object"] = show(new);
        asked["oldObject"] = show(old);
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": asked});
        Question { uid, body }
    }

    /// Reads the answer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(&self, body: &[u8]) -> Result<Answer, String> {
        let review: Value = serde_json::from_slice(body)
            .map_err(|error| format!("the answer is no AdmissionReview: {error}"))?;
        let (version, kind) = (text(&review, "/apiVersion"), text(&review, "/kind"));
        if (version, kind) != ("admission.k8s.io/v1", "AdmissionReview") {
            return Err(format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got \
                 {version}, Kind={kind}"
            ));
        }
        let response = review
            .get("response")
            .filter(|response| response.is_object());
        let response = response.ok_or("webhook response was absent")?;
        let uid = text(response, "/uid");
        if uid != self.uid {
            return Err(format!("expected response.uid={:?}, got {uid:?}", self.uid));
        }
        let warnings = items(response, "/warnings").iter();
        let warnings = warnings.filter_map(Value::as_str);
        Ok(Answer {
            allowed: response["allowed"] == true,
            status: response.get("status").cloned().unwrap_or_default(),
            patch: patch(response)?,
            warnings: warnings
                .map(|warning| warning.chars().take(MAX_WARNING).collect())
                .collect(),
            notes: notes(response),
        })
    }
}

/// What is said about a write beside its objects, of which `object` is the new one or, if it goes, the
/// old.
pub(in crate::api::admission) fn facts(write: Write<'_>, version: Target, object: &Value) -> Value {
    let request = write.request;
    let kind = |target: Target| {
        let kind = target.kind;
        let own = (kind.group, kind.version, kind.kind);
        let (group, version, kind) = write.part.map_or(own, |part| part.kind);
        json!({"group": group, "version": version, "kind": kind})
    };
    let resource = |target: Target| {
        let kind = target.kind;
        json!({"group": kind.group, "version": kind.version, "resource": kind.plural})
    };
    let mut facts = json!({
        "kind": kind(version), "resource": resource(version),
        "requestKind": kind(request.target), "requestResource": resource(request.target),
        "name": write.name(object), "operation": write.operation.text(),
        "userInfo": request.user, "dryRun": request.dry,
        "options": options(write.operation, request.dry),
    });
    if write.target.kind.namespaced {
        facts["namespace"] = write.namespace(object).into();
    } else if write.target.kind.kind == "Namespace" {
        facts["namespace"] = write.name(object).into();
    }
    if !request.subresource.is_empty() {
        facts["subResource"] = request.subresource.into();
        facts["requestSubResource"] = request.subresource.into();
    }
    facts
}

fn options(operation: Operation, dry: bool) -> Value {
    let kind = match operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let mut options = json!({"apiVersion": "meta.k8s.io/v1", "kind": kind});
    if dry {
        options["dryRun"] = json!(["All"]);
    }
    options
}

fn notes(response: &Value) -> Vec<(String, String)> {
    let notes = response.get("auditAnnotations").and_then(Value::as_object);
    let notes = notes.into_iter().flatten();
    let texts = notes.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned())));
    texts.collect()
}

fn patch(response: &Value) -> Result<Option<json_patch::Patch>, String> {
    let (encoded, kind) = (text(response, "/patch"), text(response, "/patchType"));
    if encoded.is_empty() {
        return Ok(None);
    }
    if kind != "JSONPatch" {
        return Err(format!(
            "webhook response.patchType is {kind:?}, not \"JSONPatch\""
        ));
    }
    let bad = |error: &dyn std::fmt::Display| format!("webhook response.patch: {error}");
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
    let decoded = decoded.map_err(|error| bad(&error))?;
    serde_json::from_slice(&decoded).map_err(|error| bad(&error))
}

/// What a hook said.
#[derive(Debug)]
pub(super) struct Answer {
    allowed: bool,
    status: Value,
    pub(super) patch: Option<json_patch::Patch>,
    pub(super) warnings: Vec<String>,
    /// What it wants in the audit log, by its own keys.
    pub(super) notes: Vec<(String, String)>,
}

impl Answer {
    /// What the writer hears, if the hook refuses.
    pub(super) fn refusal(&self, hook: &str) -> Option<Status> {
        if self.allowed {
            return None;
        }
        let denied = format!("admission webhook {hook:?} denied the request");
        let (message, reason) = (
            text(&self.status, "/message"),
            text(&self.status, "/reason"),
        );
        let message = match (message, reason) {
            ("", "") => format!("{denied} without explanation"),
            ("", reason) => format!("{denied}: {reason}"),
            (message, _) => format!("{denied}: {message}"),
        };
        let code = integer(&self.status, "/code").and_then(|code| u16::try_from(code).ok());
        let code = code.and_then(|code| StatusCode::from_u16(code).ok());
        let refuses = |code: &StatusCode| code.is_client_error() || code.is_server_error();
        let code = code.filter(refuses).unwrap_or(StatusCode::BAD_REQUEST);
        Some(Status::refused(code, reason, message))
    }
}
