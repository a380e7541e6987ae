//! Request bodies: size limit; JSON, YAML and protobuf.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::Value;

use super::body::Body;
use super::json;
use super::protobuf;
use super::status::{Result, Status};

/// Bytes that a body may have at most, as in Kubernetes.
pub(super) const MAX_BODY: usize = 3 << 20;
/// Bytes that are read and thrown away so that the sender of too many hears the refusal: one that
/// is still writing would see a broken connection instead.
const MAX_WASTE: usize = 64 << 20;
/// How long that may take.
const WASTE_TIME: Duration = Duration::from_secs(10);

/// Reads the whole body.
///
/// # Errors
/// 413 when it is larger than [`MAX_BODY`], 400 when the connection breaks off.
pub(super) async fn read(mut body: Body) -> Result<Bytes> {
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large(body).await);
    }
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Status::bad_request(format!("cannot read the request body: {error}"))
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > MAX_BODY {
            return Err(too_large(body).await);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// The refusal of a body, once its sender is ready to hear it.
async fn too_large(mut body: Body) -> Status {
    let waste = async {
        let mut wasted = 0;
        while let Some(Ok(frame)) = body.frame().await {
            wasted += frame.data_ref().map_or(0, Bytes::len);
            if wasted > MAX_WASTE {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(WASTE_TIME, waste).await;
    Status::too_large(format!(
        "the request body is larger than the limit of {MAX_BODY} bytes"
    ))
}

/// A body as its sender wrote it.
pub(super) struct Decoded {
    /// The object.
    pub(super) object: Value,
    /// Paths of members that occur twice in it; the last one counts.
    pub(super) repeated: Vec<String>,
}

/// Decodes a JSON or YAML object.
///
/// # Errors
/// 415 for other media types, 400 for what is malformed or no object.
pub(super) fn object(bytes: &[u8], content_type: &str) -> Result<Value> {
    decode(bytes, content_type).map(|decoded| decoded.object)
}

/// Decodes a JSON or YAML object with everything that field validation wants to know.
///
/// # Errors
/// 415 for other media types, 400 for what is malformed or no object.
pub(super) fn decode(bytes: &[u8], content_type: &str) -> Result<Decoded> {
    let mut repeated = Vec::new();
    let object = match content_type {
        "application/yaml" | "text/yaml" | "application/x-yaml" => yaml(bytes)?,
        // No type that a foreign page's form could send under the certificate of its visitor.
        "" | "application/json" | "text/json" => json_or_yaml(bytes, &mut repeated)?,
        protobuf::MEDIA_TYPE => protobuf::object(bytes)?,
        other => {
            return Err(Status::unsupported_media_type(format!(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json, application/yaml; got {other}"
            )));
        }
    };
    if object.is_object() {
        Ok(Decoded { object, repeated })
    } else {
        Err(malformed("the body is no object"))
    }
}

/// Decodes the configuration of an apply: YAML, which JSON is too.
///
/// # Errors
/// 400 for what is malformed or no object.
pub(super) fn applied(bytes: &[u8]) -> Result<Decoded> {
    decode(bytes, "application/yaml")
}

/// JSON, and YAML from clients that label it as JSON.
fn json_or_yaml(bytes: &[u8], repeated: &mut Vec<String>) -> Result<Value> {
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return yaml(bytes);
    }
    let (value, twice) = json::parse(bytes).map_err(|error| malformed(&error.to_string()))?;
    *repeated = twice;
    Ok(value)
}

/// Decodes any JSON value.
///
/// # Errors
/// 400 with line and column.
pub(super) fn json(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| malformed(&error.to_string()))
}

fn yaml(bytes: &[u8]) -> Result<Value> {
    let text = std::str::from_utf8(bytes).map_err(|error| malformed(&error.to_string()))?;
    if text.trim().is_empty() {
        return Err(malformed("the body is empty"));
    }
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        budget: serde_saphyr::budget! { max_nodes: 500_000, max_events: 2_000_000, },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.to_string();
        malformed(error.lines().next().unwrap_or("invalid YAML"))
    })
}

fn malformed(why: &str) -> Status {
    Status::bad_request(format!("the object provided is malformed: {why}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_yaml_decode_to_the_same() {
        let expected = json!({"kind": "Pod", "mode": 420, "text": "yes"});
        let json = br#"{"kind":"Pod","mode":420,"text":"yes"}"#;
        assert_eq!(object(json, "application/json").unwrap(), expected);
        let yaml = b"kind: Pod\nmode: 0644\ntext: \"yes\"\n";
        assert_eq!(object(yaml, "application/yaml").unwrap(), expected);
        assert_eq!(object(yaml, "application/json").unwrap(), expected);
    }

    #[test]
    fn what_is_malformed_is_400_and_what_is_foreign_415() {
        for (bytes, content_type, code) in [
            (&b"{\"a\":"[..], "application/json", 400),
            (b"[1]", "application/json", 400),
            (b"", "application/json", 400),
            (b"a: [", "application/yaml", 400),
            (b"\xff\xfe", "application/yaml", 400),
            (b"k8s\0", "application/vnd.kubernetes.protobuf", 400),
            (b"\xa0", "application/cbor", 415),
            (b"{}", "text/plain", 415),
            (b"{}", "application/x-www-form-urlencoded", 415),
        ] {
            assert_eq!(
                object(bytes, content_type).unwrap_err().code,
                code,
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn deep_nesting_is_refused_not_fatal() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            object(deep.as_bytes(), "application/json")
                .unwrap_err()
                .code,
            400
        );
        let deep = "[".repeat(100_000);
        assert_eq!(
            object(deep.as_bytes(), "application/yaml")
                .unwrap_err()
                .code,
            400
        );
    }
}
