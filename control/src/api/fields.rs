//! Field validation: what the schema says about a body, as refusal or as warnings.

use http::HeaderValue;
use serde_json::Value;

use super::body::Reply;
use super::kinds::Target;
use super::options::FieldValidation;
use super::status::{Result, Status};
use super::write::Part;

/// Checks a decoded body against the schema and returns the warnings for the client; `repeated`
/// are the paths of members that occurred twice in it.
///
/// # Errors
/// 400 for values of the wrong type, and for unknown or repeated fields where the client wants
/// strictness.
pub(super) fn check(
    target: Target,
    body: &Value,
    repeated: &[String],
    how: FieldValidation,
) -> Result<Vec<String>> {
    let kind = target.kind;
    let report = kind.check(body);
    if let Some(fault) = report.faults.first() {
        let message = format!(
            "{} in version {:?} cannot be handled as a {}: {}: {}",
            kind.kind, kind.version, kind.kind, fault.field, fault.message
        );
        return Err(Status::bad_request(message));
    }
    let repeated = repeated
        .iter()
        .map(|path| format!("duplicate field {path:?}"));
    let unknown = report.unknown.iter();
    let unknown = unknown.map(|path| format!("unknown field {path:?}"));
    let odd: Vec<String> = repeated.chain(unknown).collect();
    match how {
        FieldValidation::Strict if !odd.is_empty() => {
            let list = odd.join(", ");
            Err(Status::bad_request(format!(
                "strict decoding error: {list}"
            )))
        }
        FieldValidation::Warn => Ok(odd),
        _ => Ok(Vec::new()),
    }
}

/// What the writer of an object should know although it is valid.
pub(super) fn in_vain(target: Target, part: Part, object: &Value) -> Vec<String> {
    match part {
        Part::Whole => target.kind.in_vain(object),
        _ => Vec::new(),
    }
}

/// Puts warnings into the answer, as `Warning: 299 - "…"`.
pub(super) fn warn(mut reply: Reply, warnings: &[String]) -> Reply {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            reply.headers_mut().append("warning", value);
        }
    }
    reply
}
