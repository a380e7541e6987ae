//! The wire format, written: what `decode` reads, byte for byte as Go writes it.
//!
//! Fields stand in the order of their numbers and maps in that of their keys. A value that a Go struct
//! holds without a pointer is written even when it is empty; one behind a pointer is written when the
//! object has it, be it empty or not. Members that the table does not know are left out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::table::{Field, Label, Message, Other, SCHEMA, Table, Type};

/// Every object starts with this.
pub(super) const MAGIC: &[u8] = b"k8s\0";

const VARINT: u64 = 0;
const FIXED: u64 = 1;
const BYTES: u64 = 2;

/// A member whose value is not of its field's type, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misfit(pub(super) &'static str);

type Result<T> = std::result::Result<T, Misfit>;

/// An envelope around what is still to come: `raw` bytes of a message, and then [`TAIL`].
pub(super) fn head(api_version: &str, kind: &str, raw: usize) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let mut meta = Vec::new();
    bytes(1, api_version.as_bytes(), &mut meta);
    bytes(2, kind.as_bytes(), &mut meta);
    bytes(1, &meta, &mut out);
    tag(2, BYTES, &mut out);
    varint(raw as u64, &mut out);
    out
}

/// The end of every envelope: its content has no encoding and no type but its own.
pub(super) const TAIL: &[u8] = b"\x1a\0\"\0";

/// Appends the fields of a message.
pub(super) fn message(
    message: &Message,
    object: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<()> {
    for (number, field) in message.fields() {
        match field.name {
            Some(name) => put(number, field, name, object.get(name), out)?,
            // Its members stand in this object.
            None => {
                if let Some(inner) = inner(field.value) {
                    delimited(number, out, |out| self::message(inner, object, out))?;
                }
            }
        }
    }
    Ok(())
}

/// Appends a field of type message or bytes.
pub(super) fn delimited(
    number: u32,
    out: &mut Vec<u8>,
    content: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    tag(number, BYTES, out);
    // Most are short: room for one byte of length, and more made where that is not enough.
    let start = out.len() + 1;
    out.push(0);
    content(out)?;
    let length = out.len() - start;
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out[start - 1] = short,
        _ => {
            let mut long = Vec::with_capacity(10);
            varint(length as u64, &mut long);
            out.splice(start - 1..start, long);
        }
    }
    Ok(())
}

/// Appends a field of bytes.
pub(super) fn bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    tag(number, BYTES, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put(
    number: u32,
    field: Field,
    name: &'static str,
    found: Option<&Value>,
    out: &mut Vec<u8>,
) -> Result<()> {
    let found = found.filter(|found| !found.is_null());
    let Some(found) = found else {
        return match field.label {
            Label::Plain => nothing(number, field.value, out),
            Label::Optional | Label::List | Label::Map => Ok(()),
        };
    };
    match field.label {
        Label::Plain | Label::Optional => value(number, field.value, name, found, out),
        Label::List => {
            let items = found.as_array().ok_or(Misfit(name))?;
            let mut items = items.iter();
            items.try_for_each(|item| element(number, field.value, name, item, out))
        }
        Label::Map => {
            let members = found.as_object().ok_or(Misfit(name))?;
            let mut members = members.iter();
            members.try_for_each(|(key, member)| {
                delimited(number, out, |out| {
                    bytes(1, key.as_bytes(), out);
                    element(2, field.value, name, member, out)
                })
            })
        }
    }
}

/// An element of a list or map, which stands there even if it is nothing.
fn element(
    number: u32,
    kind: Type,
    name: &'static str,
    item: &Value,
    out: &mut Vec<u8>,
) -> Result<()> {
    match item {
        Value::Null => nothing(number, kind, out),
        item => value(number, kind, name, item, out),
    }
}

/// What Go writes where there is nothing.
fn nothing(number: u32, kind: Type, out: &mut Vec<u8>) -> Result<()> {
    match kind {
        Type::Text | Type::Time | Type::Raw => bytes(number, b"", out),
        Type::Integer | Type::Truth => {
            tag(number, VARINT, out);
            varint(0, out);
        }
        Type::Double => {
            tag(number, FIXED, out);
            out.extend(0_f64.to_le_bytes());
        }
        Type::IntOrString => bytes(number, b"\x08\0\x10\0\x1a\0", out),
        Type::Message(_) => {
            if let Some(inner) = inner(kind) {
                return delimited(number, out, |out| message(inner, &Map::new(), out));
            }
        }
        Type::Bytes | Type::Quantity | Type::Texts | Type::SchemaOr(_) | Type::Skip => {}
    }
    Ok(())
}

fn value(
    number: u32,
    kind: Type,
    name: &'static str,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<()> {
    let misfit = Misfit(name);
    match kind {
        Type::Text => bytes(number, value.as_str().ok_or(misfit)?.as_bytes(), out),
        Type::Integer => {
            tag(number, VARINT, out);
            varint(integer(value).ok_or(misfit)?.cast_unsigned(), out);
        }
        Type::Truth => {
            tag(number, VARINT, out);
            varint(value.as_bool().ok_or(misfit)?.into(), out);
        }
        Type::Bytes => bytes(number, &decoded(value).ok_or(misfit)?, out),
        Type::Double => {
            tag(number, FIXED, out);
            out.extend(value.as_f64().ok_or(misfit)?.to_le_bytes());
        }
        Type::Time => bytes(number, &time(value).ok_or(misfit)?, out),
        Type::Quantity => delimited(number, out, |out| {
            match value {
                Value::String(text) => bytes(1, text.as_bytes(), out),
                Value::Number(amount) => bytes(1, amount.to_string().as_bytes(), out),
                _ => return Err(misfit),
            }
            Ok(())
        })?,
        Type::IntOrString => bytes(number, &int_or_string(value).ok_or(misfit)?, out),
        Type::Raw => delimited(number, out, |out| {
            bytes(1, value.to_string().as_bytes(), out);
            Ok(())
        })?,
        Type::Texts => delimited(number, out, |out| texts(1, value, misfit, out))?,
        Type::SchemaOr(Other::Truth) => {
            delimited(number, out, |out| schema_or_truth(value, misfit, out))?;
        }
        Type::SchemaOr(Other::List | Other::Texts) => {
            delimited(number, out, |out| schema_or_list(value, misfit, out))?;
        }
        Type::Message(_) => {
            let object = value.as_object().ok_or(misfit)?;
            let inner = inner(kind).ok_or(misfit)?;
            delimited(number, out, |out| message(inner, object, out))?;
        }
        Type::Skip => {}
    }
    Ok(())
}

fn inner(kind: Type) -> Option<&'static Message> {
    match kind {
        Type::Message(name) => Table::get().message(name),
        _ => None,
    }
}

/// A whole number, however it is written.
#[allow(
    clippy::cast_possible_truncation,
    reason = "a fraction is none, and what is larger than the type is refused"
)]
fn integer(value: &Value) -> Option<i64> {
    let exact = |number: &f64| number.fract() == 0.0 && number.abs() < 9e15;
    let written = || value.as_f64().filter(exact).map(|number| number as i64);
    value.as_i64().or_else(written)
}

fn decoded(value: &Value) -> Option<Vec<u8>> {
    let text = value.as_str()?;
    // As in Go, ends of lines mean nothing.
    let clean = || text.replace(['\r', '\n'], "");
    let decoded = STANDARD.decode(text);
    decoded.or_else(|_| STANDARD.decode(clean())).ok()
}

/// Seconds and nanoseconds, of which JSON has microseconds.
fn time(value: &Value) -> Option<Vec<u8>> {
    let time: Timestamp = value.as_str()?.parse().ok()?;
    let nanoseconds = i64::from(time.subsec_nanosecond());
    let mut out = Vec::new();
    tag(1, VARINT, &mut out);
    varint(time.as_second().cast_unsigned(), &mut out);
    tag(2, VARINT, &mut out);
    let whole = nanoseconds - nanoseconds % 1000;
    varint(whole.cast_unsigned(), &mut out);
    Some(out)
}

fn int_or_string(value: &Value) -> Option<Vec<u8>> {
    let (is_text, number, text) = match value {
        Value::String(text) => (1, 0, text.as_str()),
        other => (0, integer(other)?, ""),
    };
    let mut out = Vec::new();
    tag(1, VARINT, &mut out);
    varint(is_text, &mut out);
    tag(2, VARINT, &mut out);
    varint(number.cast_unsigned(), &mut out);
    bytes(3, text.as_bytes(), &mut out);
    Some(out)
}

fn texts(number: u32, value: &Value, misfit: Misfit, out: &mut Vec<u8>) -> Result<()> {
    for text in value.as_array().ok_or(misfit)? {
        bytes(number, text.as_str().ok_or(misfit)?.as_bytes(), out);
    }
    Ok(())
}

/// A schema, or several, or texts.
fn schema_or_list(value: &Value, misfit: Misfit, out: &mut Vec<u8>) -> Result<()> {
    let schema = Table::get().message(SCHEMA).ok_or(misfit)?;
    match value {
        Value::Object(object) => delimited(1, out, |out| message(schema, object, out)),
        Value::Array(items) => {
            let mut items = items.iter();
            items.try_for_each(|item| match item {
                Value::String(text) => {
                    bytes(2, text.as_bytes(), out);
                    Ok(())
                }
                Value::Object(object) => delimited(2, out, |out| message(schema, object, out)),
                _ => Err(misfit),
            })
        }
        _ => Err(misfit),
    }
}

/// A schema, or whether there may be anything.
fn schema_or_truth(value: &Value, misfit: Misfit, out: &mut Vec<u8>) -> Result<()> {
    let schema = Table::get().message(SCHEMA).ok_or(misfit)?;
    tag(1, VARINT, out);
    match value {
        Value::Bool(truth) => {
            varint((*truth).into(), out);
            Ok(())
        }
        Value::Object(object) => {
            varint(1, out);
            delimited(2, out, |out| message(schema, object, out))
        }
        _ => Err(misfit),
    }
}

fn tag(number: u32, wire: u64, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | wire, out);
}

/// Seven bits a byte, least significant first.
pub(super) fn varint(mut number: u64, out: &mut Vec<u8>) {
    while let Ok(low) = u8::try_from(number & 0x7f) {
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}
