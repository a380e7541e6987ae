//! The patch types: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch.

use serde_json::Value;

use super::decode;
use super::operations::{Fault, operate};
use super::status::{Result, Status};
use crate::registry::kind::Kind;
use crate::schema;

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
/// An apply, which is no patch of this module's.
pub(super) const APPLY: &str = "application/apply-patch+yaml";

/// A decoded patch.
pub(super) enum Patch {
    /// Operations.
    Json(json_patch::Patch),
    /// An overlay.
    Merge(Value),
    /// An overlay that merges lists by their keys.
    Strategic(Value),
}

impl Patch {
    /// Whether the media type is a known patch type.
    ///
    /// # Errors
    /// 415.
    pub(super) fn supports(kind: &Kind, content_type: &str) -> Result<()> {
        let mut known = vec![JSON, MERGE];
        if kind.custom.is_none() {
            known.push(STRATEGIC);
        }
        if known.contains(&content_type) {
            return Ok(());
        }
        known.push(APPLY);
        let known = known.join(", ");
        Err(Status::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: \
             {known}; got {content_type}"
        )))
    }

    /// Decodes a patch.
    ///
    /// # Errors
    /// 400 for what is malformed, 415 for other media types.
    pub(super) fn parse(kind: &Kind, content_type: &str, bytes: &[u8]) -> Result<Self> {
        Self::supports(kind, content_type)?;
        let value = decode::json(bytes)?;
        if content_type == JSON {
            let patch = serde_json::from_value(value);
            let patch = patch.map_err(|error| Status::bad_request(error.to_string()))?;
            return Ok(Self::Json(patch));
        }
        if !value.is_object() {
            return Err(Status::bad_request("the patch must be an object"));
        }
        Ok(if content_type == MERGE {
            Self::Merge(value)
        } else {
            Self::Strategic(value)
        })
    }

    /// The patched object, for kinds without lists: a strategic patch is a merge patch then.
    ///
    /// # Errors
    /// 422 when an operation cannot be applied, 413 when there are too many.
    pub(super) fn apply_as_merge(&self, old: &Value) -> Result<Value> {
        let mut new = old.clone();
        match self {
            Self::Json(patch) => operate_on(&mut new, patch)?,
            Self::Merge(patch) | Self::Strategic(patch) => json_patch::merge(&mut new, patch),
        }
        Ok(new)
    }

    /// The patched object.
    ///
    /// # Errors
    /// 422 when an operation cannot be applied, 413 when there are too many, 400 for a malformed strategic patch.
    pub(super) fn apply(&self, kind: &Kind, old: &Value) -> Result<Value> {
        let mut new = old.clone();
        match self {
            Self::Json(patch) => operate_on(&mut new, patch)?,
            Self::Merge(patch) => json_patch::merge(&mut new, patch),
            Self::Strategic(patch) => strategic(kind, &mut new, patch)?,
        }
        if new.is_object() {
            Ok(new)
        } else {
            Err(Status::bad_request("the result is no object"))
        }
    }
}

fn operate_on(new: &mut Value, patch: &json_patch::Patch) -> Result<()> {
    operate(new, patch).map_err(|fault| match fault {
        Fault::TooMany(_) => Status::too_large(fault.to_string()),
        other => Status::invalid_parameter("patch", &other.to_string()),
    })
}

fn strategic(kind: &Kind, new: &mut Value, patch: &Value) -> Result<()> {
    schema::strategic_merge(kind.group, kind.version, kind.kind, new, patch)
        .map_err(|error| Status::bad_request(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::by_kind;

    fn apply(content_type: &str, patch: &str) -> Result<Value> {
        let old = json!({"metadata": {"name": "x"}, "data": {"a": "1", "b": "2"}});
        let kind = by_kind("", "v1", "ConfigMap").unwrap();
        Patch::parse(kind, content_type, patch.as_bytes())?.apply(kind, &old)
    }

    #[test]
    fn json_patches_apply_whole_or_not_at_all() {
        let patched = apply(JSON, r#"[{"op":"replace","path":"/data/a","value":"9"}]"#).unwrap();
        assert_eq!(patched["data"], json!({"a": "9", "b": "2"}));
        let failing =
            r#"[{"op":"remove","path":"/data/a"},{"op":"test","path":"/data/b","value":1}]"#;
        assert_eq!(apply(JSON, failing).unwrap_err().code, 422);
        assert_eq!(apply(JSON, "{}").unwrap_err().code, 400);
    }

    #[test]
    fn a_test_for_null_holds_where_there_is_nothing() {
        let absent = r#"[{"op":"test","path":"/metadata/finalizers","value":null},
            {"op":"add","path":"/metadata/finalizers","value":["x"]}]"#;
        let patched = apply(JSON, absent).unwrap();
        assert_eq!(patched["metadata"]["finalizers"], json!(["x"]));
        let test = |path: &str| {
            let test = json!([{"op": "test", "path": path, "value": null}]);
            apply(JSON, &test.to_string())
        };
        assert_eq!(test("/metadata/name").unwrap_err().code, 422);
        assert_eq!(test("/no/such").unwrap_err().code, 422);
    }

    #[test]
    fn merge_patches_remove_with_null() {
        let patched = apply(MERGE, r#"{"data":{"a":null,"c":"3"}}"#).unwrap();
        assert_eq!(patched["data"], json!({"b": "2", "c": "3"}));
        assert_eq!(apply(MERGE, "[]").unwrap_err().code, 400);
    }
}
