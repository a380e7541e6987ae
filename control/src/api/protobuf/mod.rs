//! The protobuf encoding of Kubernetes: bodies in it are read into JSON, and answers are written in it.
//!
//! Typed clients (`kubectl create`, most controllers) write protobuf whatever the server prefers, and
//! many would rather read it. One table gives field numbers, names and types; `decode` and `encode`
//! walk the wire format (protobuf.dev, "Encoding") along it. A value that a Go struct holds without a
//! pointer is written even when it is empty, and means absence then. Objects are kept as JSON: each
//! answer in protobuf is made of that (`answer`). Custom kinds, kinds of our own and tables have no
//! protobuf; a client that accepts nothing else hears 406.

mod answer;
mod decode;
mod encode;
mod table;

use serde_json::{Map, Value};

pub(super) use answer::{Items, List, written};

use super::status::{Result, Status};
use encode::Misfit;
use table::{Message, Table};

/// The media type.
pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The media type of a stream of events: each is a message behind its length in four bytes, most
/// significant first.
pub(super) const STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// Whether objects of a kind have this encoding.
pub(super) fn has(api_version: &str, kind: &str) -> bool {
    Table::get().of_kind(api_version, kind).is_some()
}

/// Reads an object in its envelope.
///
/// # Errors
/// 400 for what is malformed, 415 for a kind that the table does not have.
pub(super) fn object(bytes: &[u8]) -> Result<Value> {
    let malformed =
        || Status::bad_request("the object provided is malformed: invalid protobuf encoding");
    let envelope = decode::envelope(bytes).ok_or_else(malformed)?;
    let message = Table::get().of_kind(&envelope.api_version, &envelope.kind);
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

/// Reads an object that was answered in protobuf, for tools that judge answers; none for lists and what
/// is malformed.
pub fn read_protobuf(bytes: &[u8]) -> Option<Value> {
    object(bytes).ok()
}

/// Writes an object or a list in its envelope; none if its kind has no protobuf.
///
/// # Errors
/// 500 for a value that is not of its field's type.
pub(super) fn encoded(object: &Value) -> Result<Option<Vec<u8>>> {
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    // Of all documents, the list of the core group's versions alone does not say its own.
    let (version, kind) = (text("apiVersion").unwrap_or("v1"), text("kind"));
    let (Some(kind), Some(members)) = (kind, object.as_object()) else {
        return Ok(None);
    };
    let mut raw = Vec::new();
    let table = Table::get();
    let written = match (table.of_kind(version, kind), kind.strip_suffix("List")) {
        (Some(message), _) => encode::message(message, members, &mut raw),
        (None, Some(one)) => match table.of_kind(version, one) {
            Some(message) => list(message, members, &mut raw),
            None => return Ok(None),
        },
        (None, None) => return Ok(None),
    };
    written.map_err(|misfit| refusal(kind, misfit))?;
    let mut out = encode::head(version, kind, raw.len());
    out.extend_from_slice(&raw);
    out.extend_from_slice(encode::TAIL);
    Ok(Some(out))
}

/// Appends the two fields that all lists have.
fn list(
    message: &Message,
    members: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> std::result::Result<(), Misfit> {
    list_metadata(members.get("metadata"), out)?;
    let items = members.get("items").and_then(Value::as_array);
    for item in items.into_iter().flatten() {
        list_item(message, item, out)?;
    }
    Ok(())
}

fn list_metadata(metadata: Option<&Value>, out: &mut Vec<u8>) -> std::result::Result<(), Misfit> {
    let misfit = Misfit("metadata");
    let message = Table::get().message("meta.ListMeta").ok_or(misfit)?;
    let nothing = Map::new();
    let members = metadata.and_then(Value::as_object).unwrap_or(&nothing);
    encode::delimited(1, out, |out| encode::message(message, members, out))
}

fn list_item(
    message: &Message,
    item: &Value,
    out: &mut Vec<u8>,
) -> std::result::Result<(), Misfit> {
    let members = item.as_object().ok_or(Misfit("items"))?;
    encode::delimited(2, out, |out| encode::message(message, members, out))
}

/// Writes an event of a watch as a frame.
///
/// # Errors
/// 500 for an object that has no protobuf.
pub(super) fn event(event: &str, object: &Value) -> Result<Vec<u8>> {
    let object = encoded(object)?
        .ok_or_else(|| Status::internal("an event's object has no protobuf".to_owned()))?;
    // Room for the length.
    let mut frame = vec![0; 4];
    encode::bytes(1, event.as_bytes(), &mut frame);
    let extension = |out: &mut Vec<u8>| {
        encode::bytes(1, &object, out);
        Ok(())
    };
    encode::delimited(2, &mut frame, extension).map_err(|misfit| refusal(event, misfit))?;
    let length = u32::try_from(frame.len() - 4).map_err(|_| refusal(event, Misfit("object")))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

fn refusal(kind: &str, Misfit(name): Misfit) -> Status {
    Status::internal(format!(
        "{kind} cannot be written in protobuf: {name} is not of its type, use application/json"
    ))
}

#[cfg(test)]
mod tests;
