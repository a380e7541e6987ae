//! `meta/v1 Status`: the one shape in which the API says no.

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::{Value, json};

use super::body::{Reply, document, json as json_reply};
use crate::registry::kind::{FieldError, FieldErrorReason, Kind};
use crate::store::WriteError;

/// A refusal. Every constructor names one case of the API conventions.
#[derive(Debug, Clone)]
pub(super) struct Status {
    /// HTTP status code.
    pub code: StatusCode,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// One sentence for people.
    pub message: String,
    /// `details`, if there are any.
    pub details: Option<Box<Value>>,
    /// The `continue` of a list that can go on in spite of this.
    pub resume: Option<Box<str>>,
}

/// Reasons that others may refuse with, and the code of each.
const REASONS: [(&str, u16); 12] = [
    ("BadRequest", 400),
    ("Unauthorized", 401),
    ("Forbidden", 403),
    ("NotFound", 404),
    ("MethodNotAllowed", 405),
    ("AlreadyExists", 409),
    ("Conflict", 409),
    ("RequestEntityTooLarge", 413),
    ("Invalid", 422),
    ("TooManyRequests", 429),
    ("InternalError", 500),
    ("ServiceUnavailable", 503),
];

/// What a handler returns.
pub(super) type Result<T> = std::result::Result<T, Status>;

impl Status {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            resume: None,
        }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.details = Some(Box::new(details(kind, kind.plural, name)));
        self
    }

    fn with_causes(mut self, causes: Vec<Value>) -> Self {
        let details = self.details.get_or_insert_with(|| Box::new(json!({})));
        details["causes"] = causes.into();
        self
    }

    /// 400: the request itself is malformed.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// What a node said instead of an answer, in the words of the API.
    pub(super) fn of_node(code: StatusCode, said: &str) -> Self {
        let said = said.trim();
        match code {
            StatusCode::BAD_REQUEST => Self::bad_request(said),
            StatusCode::NOT_FOUND => Self::new(code, "NotFound", said),
            StatusCode::FORBIDDEN => Self::forbidden(said),
            StatusCode::INTERNAL_SERVER_ERROR => Self::internal(said),
            other => Self::new(
                other,
                "Unknown",
                format!("the node answered {other}: {said}"),
            ),
        }
    }

    /// 401: nobody may do this without saying who they are.
    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// 403: this user may not do it.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// 403: an admission rule refuses this object.
    pub(super) fn forbidden_object(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} {name:?} is forbidden: {why}", qualified(kind));
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).about(kind, name)
    }

    /// 403: the namespace is going away; clients tell this from other refusals by its cause.
    pub(super) fn terminating(kind: &Kind, name: &str, namespace: &str, why: &str) -> Self {
        let message = format!("namespace {namespace} is being terminated");
        Self::forbidden_object(kind, name, why).with_causes(vec![json!({
            "reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"})])
    }

    /// What a webhook or a policy refuses with; its reason, if Kubernetes knows it, or that of the
    /// code.
    pub(super) fn refused(code: StatusCode, reason: &str, message: String) -> Self {
        let by_code = |known: &(&str, u16)| known.1 == code.as_u16();
        let named = REASONS.iter().find(|(known, _)| *known == reason);
        let reason = named.or_else(|| REASONS.iter().find(|known| by_code(known)));
        Self::new(code, reason.map_or("", |(reason, _)| *reason), message)
    }

    /// 404: no such path or kind.
    pub(super) fn no_such_resource() -> Self {
        let message = "the server could not find the requested resource";
        let mut status = Self::new(StatusCode::NOT_FOUND, "NotFound", message);
        status.details = Some(Box::new(json!({})));
        status
    }

    /// 404: no such object.
    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} not found", qualified(kind));
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(kind, name)
    }

    /// 405: the path does not know this method.
    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// 406: none of the accepted media types can be produced.
    pub(super) fn not_acceptable(supported: &str) -> Self {
        let message = format!("only the following media types are accepted: {supported}");
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// 409: the name is taken.
    pub(super) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", qualified(kind));
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(kind, name)
    }

    /// 409: the object is not as the writer thinks.
    pub(super) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let what = qualified(kind);
        let message = format!("Operation cannot be fulfilled on {what} {name:?}: {why}");
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(kind, name)
    }

    /// 409: an apply would change what others own; `causes` are type, message and field of each.
    pub(super) fn apply_conflict(
        message: String,
        causes: impl Iterator<Item = (&'static str, String, String)>,
    ) -> Self {
        let causes = causes.map(|(reason, message, field)| {
            json!({"reason": reason, "message": message, "field": field})
        });
        Self::new(StatusCode::CONFLICT, "Conflict", message).with_causes(causes.collect())
    }

    /// 409: the object has changed since the writer read it.
    pub(super) fn stale(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        Self::conflict(kind, name, why)
    }

    /// 410: the wanted history is gone.
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 410: the list that was begun is not kept any more. With the token `resume` it goes on from the
    /// newest state.
    pub(super) fn inconsistent(resume: &str) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list \
            result. You must start a new list without the continue parameter, or use the continue \
            token of this answer, which shows the rest as it is now and not as it was when the list \
            began.";
        Self {
            resume: Some(resume.into()),
            ..Self::expired(message)
        }
    }

    /// 413: there is more of something than is taken.
    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            message,
        )
    }

    /// 415: the body's media type is not understood.
    pub(super) fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            message,
        )
    }

    /// 422: the object has faults; all of them are named.
    pub(super) fn invalid(kind: &Kind, name: &str, faults: &[FieldError]) -> Self {
        let list = listed(faults);
        let what = if kind.group.is_empty() {
            kind.kind.to_owned()
        } else {
            format!("{}.{}", kind.kind, kind.group)
        };
        let message = format!("{what} {name:?} is invalid: {list}");
        let mut status = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        status.details = Some(Box::new(details(kind, kind.kind, name)));
        status.with_causes(faults.iter().map(cause).collect())
    }

    /// 422: the options of a request, of that kind, do not go together.
    pub(super) fn invalid_options(kind: &str, faults: &[FieldError]) -> Self {
        let list = listed(faults);
        let message = format!("{kind}.meta.k8s.io \"\" is invalid: {list}");
        let mut status = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        status.details = Some(Box::new(json!({"group": "meta.k8s.io", "kind": kind})));
        status.with_causes(faults.iter().map(cause).collect())
    }

    /// 422 of a request's parameter.
    pub(super) fn invalid_parameter(field: &str, why: &str) -> Self {
        let message = format!("{field}: {why}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message.clone()).with_causes(vec![
            json!({"reason": "FieldValueInvalid", "message": why, "field": field}),
        ])
    }

    /// 429: others are served first; another attempt makes sense after so many seconds.
    pub(super) fn too_many_requests(seconds: u64) -> Self {
        let message = "Too many requests, please try again later.";
        let mut status = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
        status.details = Some(Box::new(json!({"retryAfterSeconds": seconds})));
        status
    }

    /// 429: an eviction would violate a disruption budget, for this cause; another attempt makes
    /// sense after so many seconds, if that can be said.
    pub(super) fn disrupting(cause: String, seconds: Option<u64>) -> Self {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        let mut status = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
        let details = seconds.map(|seconds| Box::new(json!({"retryAfterSeconds": seconds})));
        status.details = details;
        status.with_causes(vec![
            json!({"reason": "DisruptionBudget", "message": cause}),
        ])
    }

    /// 504: it could not be done in time; another attempt makes sense after so many seconds.
    pub(super) fn timeout(message: impl Into<String>, seconds: u64) -> Self {
        let mut status = Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message);
        status.details = Some(Box::new(json!({"retryAfterSeconds": seconds})));
        status
    }

    /// 504: the request has used up its time.
    pub(super) fn late() -> Self {
        let message = "Timeout: request did not complete within the allotted timeout";
        let mut status = Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message);
        status.details = Some(Box::new(json!({})));
        status
    }

    /// 500.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        let message = format!("Internal error occurred: {}", message.into());
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// 500 without a reason: somebody whom the request needs has failed, in these words.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    /// 503: a part that the request needs is not there.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            message,
        )
    }

    /// 504: the wanted version lies in the future.
    pub(super) fn future_version(wanted: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        let mut status = Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message);
        status.details = Some(Box::new(json!({"retryAfterSeconds": 1})));
        let cause = "Too large resource version";
        status.with_causes(vec![
            json!({"reason": "ResourceVersionTooLarge", "message": cause}),
        ])
    }

    /// What a failed write means to its client.
    pub(super) fn of_write(error: WriteError, kind: &Kind, name: &str) -> Self {
        match error {
            WriteError::Exists => Self::already_exists(kind, name),
            WriteError::Missing => Self::not_found(kind, name),
            WriteError::Conflict { .. } => Self::stale(kind, name),
            too_large @ WriteError::TooLarge { .. } => Self::too_large(format!(
                "{} {name:?} is too large: {too_large}",
                qualified(kind)
            )),
            WriteError::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "InsufficientStorage",
                "the disk under the store is full; nothing was written",
            ),
            WriteError::Overtaken => Self::unavailable(
                "other servers keep taking what this write needs; nothing was written",
            ),
            WriteError::Closed => Self::unavailable("the server is shutting down"),
            WriteError::Backend(why) => Self::internal(why),
            // As kube-apiserver answers when etcd's "request timed out" leaves the outcome open.
            WriteError::Unanswered(why) => Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", why),
        }
    }

    /// The Status as JSON.
    pub(super) fn to_value(&self) -> Value {
        let mut value = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code.as_u16(),
        });
        if let Some(resume) = &self.resume {
            value["metadata"]["continue"] = (**resume).into();
        }
        if let Some(details) = &self.details {
            value["details"] = (**details).clone();
        }
        value
    }

    /// The Status as an answer, which says in its header, too, when to ask again.
    pub(super) fn into_reply(self) -> Reply {
        let mut reply = document(json_reply(self.code, &self.to_value()));
        let after = self
            .details
            .as_ref()
            .and_then(|it| it.get("retryAfterSeconds")?.as_u64());
        if let Some(seconds) = after.filter(|seconds| *seconds > 0) {
            reply.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        reply
    }
}

/// `deployments.apps`, or `pods` in the core group.
pub(super) fn qualified(kind: &Kind) -> String {
    if kind.group.is_empty() {
        kind.plural.to_owned()
    } else {
        format!("{}.{}", kind.plural, kind.group)
    }
}

/// Which object a Status is about; `what` is its kind or resource.
fn details(kind: &Kind, what: &str, name: &str) -> Value {
    let mut details = json!({"name": name, "kind": what});
    if !kind.group.is_empty() {
        details["group"] = kind.group.into();
    }
    details
}

/// The answer to a deletion that left nothing behind.
pub(super) fn deleted(kind: &Kind, name: &str, uid: &str) -> Value {
    let mut details = details(kind, kind.plural, name);
    details["uid"] = uid.into();
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details,
    })
}

/// The faults as one sentence.
fn listed(faults: &[FieldError]) -> String {
    let list: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.field, sentence(fault)))
        .collect();
    match list.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

fn sentence(fault: &FieldError) -> String {
    let prefix = match fault.reason {
        FieldErrorReason::Required => "Required value",
        FieldErrorReason::Invalid => "Invalid value",
        FieldErrorReason::NotSupported => "Unsupported value",
        FieldErrorReason::Duplicate => "Duplicate value",
        FieldErrorReason::NotFound => "Not found",
        FieldErrorReason::Forbidden => "Forbidden",
    };
    if fault.message.is_empty() {
        prefix.to_owned()
    } else {
        format!("{prefix}: {}", fault.message)
    }
}

fn cause(fault: &FieldError) -> Value {
    let reason = match fault.reason {
        FieldErrorReason::Required => "FieldValueRequired",
        FieldErrorReason::Invalid => "FieldValueInvalid",
        FieldErrorReason::NotSupported => "FieldValueNotSupported",
        FieldErrorReason::Duplicate => "FieldValueDuplicate",
        FieldErrorReason::NotFound => "FieldValueNotFound",
        FieldErrorReason::Forbidden => "FieldValueForbidden",
    };
    json!({"reason": reason, "message": sentence(fault), "field": fault.field})
}
