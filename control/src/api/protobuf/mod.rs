//! Bodies in the protobuf encoding of Kubernetes, read into JSON.
//!
//! Typed clients (`kubectl create`, most controllers) write protobuf whatever the server prefers, so
//! the server has to read it; it never answers in it. One table gives field numbers, names and types;
//! the decoder walks the wire format (protobuf.dev, "Encoding") along it. A value that a Go struct
//! holds without a pointer is written even when it is empty, and means absence then.

mod decode;
mod table;

use serde_json::Value;

use super::status::{Result, Status};

/// The media type.
pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Reads an object in its envelope.
///
/// # Errors
/// 400 for what is malformed, 415 for a kind that the table does not have.
pub(super) fn object(bytes: &[u8]) -> Result<Value> {
    let malformed =
        || Status::bad_request("the object provided is malformed: invalid protobuf encoding");
    let envelope = decode::envelope(bytes).ok_or_else(malformed)?;
    let message = table::Table::get().of_kind(&envelope.api_version, &envelope.kind);
    let message = message.ok_or_else(|| {
        Status::unsupported_media_type(format!(
            "protobuf is not supported for {} {}, use application/json",
            envelope.api_version, envelope.kind
        ))
    })?;
    let mut object = decode::message(message, envelope.raw, 0).ok_or_else(malformed)?;
    object.insert("apiVersion".into(), envelope.api_version.into());
    object.insert("kind".into(), envelope.kind.into());
    Ok(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A ConfigMap as kubectl writes it.
    const CONFIG_MAP: &[u8] = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x1b\x0a\x11\x0a\x01a\
        \x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x06\x0a\x01x\x12\x01y\x1a\0\"\0";

    #[test]
    fn what_kubectl_writes_is_read() {
        assert_eq!(
            object(CONFIG_MAP).unwrap(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "y"},
                "metadata": {"name": "a"}})
        );
    }

    #[test]
    fn no_broken_input_gets_through_or_panics() {
        for length in 0..CONFIG_MAP.len() - 8 {
            assert!(object(&CONFIG_MAP[..length]).is_err(), "{length}");
        }
        for index in 4..CONFIG_MAP.len() {
            for byte in [0, 0x7f, 0x80, 0xff] {
                let mut broken = CONFIG_MAP.to_vec();
                broken[index] = byte;
                let _ = object(&broken);
            }
        }
    }

    #[test]
    fn every_reference_of_the_table_is_there() {
        table::Table::get().assert_complete();
    }
}
