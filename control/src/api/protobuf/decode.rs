//! The wire format: varints, lengths, and what they mean along the table.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::encode::MAGIC;
use super::table::{Field, Label, Message, Other, SCHEMA, Table, Type};

/// Messages in messages, at most.
const MAX_DEPTH: u32 = 64;

/// What surrounds every object.
pub(super) struct Envelope<'a> {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) raw: &'a [u8],
}

pub(super) fn envelope(bytes: &[u8]) -> Option<Envelope<'_>> {
    let mut envelope = Envelope {
        api_version: String::new(),
        kind: String::new(),
        raw: &[],
    };
    let mut complete = false;
    let mut outer = Wire(bytes.strip_prefix(MAGIC)?);
    while let Some((number, item)) = outer.next()? {
        match (number, item) {
            (1, Item::Bytes(meta)) => {
                let mut meta = Wire(meta);
                while let Some((number, item)) = meta.next()? {
                    match number {
                        1 => envelope.api_version = item.text()?,
                        2 => envelope.kind = item.text()?,
                        _ => {}
                    }
                }
            }
            (2, Item::Bytes(raw)) => {
                envelope.raw = raw;
                complete = true;
            }
            _ => {}
        }
    }
    (complete && !envelope.kind.is_empty()).then_some(envelope)
}

/// The fields of a message; unknown numbers are passed over. `None` for what is malformed.
pub(super) fn message(message: &Message, bytes: &[u8], depth: u32) -> Option<Map<String, Value>> {
    let mut object = Map::new();
    let mut wire = Wire(bytes);
    if depth > MAX_DEPTH {
        return None;
    }
    while let Some((number, item)) = wire.next()? {
        if let Some(field) = message
            .field(number)
            .filter(|field| field.value != Type::Skip)
        {
            put(&mut object, field, item, depth)?;
        }
    }
    Some(object)
}

fn put(object: &mut Map<String, Value>, field: Field, item: Item<'_>, depth: u32) -> Option<()> {
    let Some(name) = field.name else {
        let Value::Object(inner) = value(field.value, item, depth)? else {
            return None;
        };
        object.extend(inner);
        return Some(());
    };
    match field.label {
        Label::Plain => {
            let value = value(field.value, item, depth)?;
            if !is_empty(&value) {
                object.insert(name.into(), value);
            }
        }
        Label::Optional => {
            object.insert(name.into(), value(field.value, item, depth)?);
        }
        Label::List => {
            let value = value(field.value, item, depth)?;
            object
                .entry(name)
                .or_insert_with(|| json!([]))
                .as_array_mut()?
                .push(value);
        }
        Label::Map => {
            let (key, value) = pair(field.value, item, depth)?;
            object
                .entry(name)
                .or_insert_with(|| json!({}))
                .as_object_mut()?
                .insert(key, value);
        }
    }
    Some(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

fn pair(kind: Type, item: Item<'_>, depth: u32) -> Option<(String, Value)> {
    let (mut key, mut found) = (String::new(), None);
    let mut wire = Wire(item.bytes()?);
    while let Some((number, item)) = wire.next()? {
        match number {
            1 => key = item.text()?,
            2 => found = Some(value(kind, item, depth)?),
            _ => {}
        }
    }
    Some((key, found.unwrap_or_else(|| json!(""))))
}

fn value(kind: Type, item: Item<'_>, depth: u32) -> Option<Value> {
    Some(match kind {
        Type::Text => item.text()?.into(),
        Type::Integer => item.integer()?.into(),
        Type::Truth => (item.integer()? != 0).into(),
        Type::Bytes => STANDARD.encode(item.bytes()?).into(),
        Type::Double => item.double()?.into(),
        Type::Time => time(item.bytes()?)?,
        Type::Quantity => quantity(item.bytes()?)?,
        Type::IntOrString => int_or_string(item.bytes()?)?,
        Type::Raw => raw(item.bytes()?)?,
        Type::Texts => repeated_texts(1, item.bytes()?)?.into(),
        Type::SchemaOr(Other::Truth) => schema_or_truth(item.bytes()?, depth)?,
        Type::SchemaOr(Other::List) => schema_or_list(item.bytes()?, depth)?,
        Type::SchemaOr(Other::Texts) => schema_or_texts(item.bytes()?, depth)?,
        Type::Skip => Value::Null,
        Type::Message(name) => {
            message(Table::get().message(name)?, item.bytes()?, depth + 1)?.into()
        }
    })
}

/// Null for the zero time, which stands for absence.
fn time(bytes: &[u8]) -> Option<Value> {
    let (mut seconds, mut nanoseconds) = (0, 0);
    let mut wire = Wire(bytes);
    while let Some((number, item)) = wire.next()? {
        match number {
            1 => seconds = item.integer()?,
            2 => nanoseconds = i32::try_from(item.integer()?).ok()?,
            _ => {}
        }
    }
    if bytes.is_empty() {
        return Some(Value::Null);
    }
    let time = Timestamp::new(seconds, nanoseconds).ok()?;
    Some(if nanoseconds == 0 {
        crate::api::value::timestamp(time).into()
    } else {
        time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into()
    })
}

fn quantity(bytes: &[u8]) -> Option<Value> {
    let mut wire = Wire(bytes);
    let mut text = String::from("0");
    while let Some((number, item)) = wire.next()? {
        if number == 1 {
            text = item.text()?;
        }
    }
    Some(text.into())
}

fn int_or_string(bytes: &[u8]) -> Option<Value> {
    let (mut is_text, mut integer, mut text) = (false, 0, String::new());
    let mut wire = Wire(bytes);
    while let Some((number, item)) = wire.next()? {
        match number {
            1 => is_text = item.integer()? == 1,
            2 => integer = item.integer()?,
            3 => text = item.text()?,
            _ => {}
        }
    }
    Some(if is_text { text.into() } else { integer.into() })
}

fn raw(bytes: &[u8]) -> Option<Value> {
    let mut wire = Wire(bytes);
    let mut found = Value::Null;
    while let Some((number, item)) = wire.next()? {
        if number == 1 {
            found = serde_json::from_slice(item.bytes()?).ok()?;
        }
    }
    Some(found)
}

fn repeated_texts(wanted: u32, bytes: &[u8]) -> Option<Vec<Value>> {
    let mut texts = Vec::new();
    let mut wire = Wire(bytes);
    while let Some((number, item)) = wire.next()? {
        if number == wanted {
            texts.push(item.text()?.into());
        }
    }
    Some(texts)
}

fn schema(bytes: &[u8], depth: u32) -> Option<Value> {
    let schema = Table::get().message(SCHEMA)?;
    Some(message(schema, bytes, depth + 1)?.into())
}

/// The schema that stands in field `wanted`, if there is one.
#[allow(clippy::option_option, reason = "none there is not malformed")]
fn schema_in(wanted: u32, bytes: &[u8], depth: u32) -> Option<Option<Value>> {
    let mut found = None;
    let mut wire = Wire(bytes);
    while let Some((number, item)) = wire.next()? {
        if number == wanted {
            found = Some(schema(item.bytes()?, depth)?);
        }
    }
    Some(found)
}

fn schema_or_truth(bytes: &[u8], depth: u32) -> Option<Value> {
    if let Some(schema) = schema_in(2, bytes, depth)? {
        return Some(schema);
    }
    let mut allows = false;
    let mut wire = Wire(bytes);
    while let Some((number, item)) = wire.next()? {
        if number == 1 {
            allows = item.integer()? != 0;
        }
    }
    Some(allows.into())
}

fn schema_or_list(bytes: &[u8], depth: u32) -> Option<Value> {
    if let Some(schema) = schema_in(1, bytes, depth)? {
        return Some(schema);
    }
    let mut schemas = Vec::new();
    let mut wire = Wire(bytes);
    while let Some((number, item)) = wire.next()? {
        if number == 2 {
            schemas.push(schema(item.bytes()?, depth)?);
        }
    }
    Some(schemas.into())
}

fn schema_or_texts(bytes: &[u8], depth: u32) -> Option<Value> {
    match schema_in(1, bytes, depth)? {
        Some(schema) => Some(schema),
        None => Some(repeated_texts(2, bytes)?.into()),
    }
}

/// One value as the wire carries it.
enum Item<'a> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Item<'a> {
    fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn text(self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    /// Negative numbers are sign-extended to 64 bits.
    fn integer(self) -> Option<i64> {
        match self {
            Self::Varint(number) => Some(number.cast_signed()),
            _ => None,
        }
    }

    fn double(self) -> Option<f64> {
        match self {
            Self::Fixed(bits) => Some(f64::from_bits(bits)),
            _ => None,
        }
    }
}

/// What is left to read.
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    /// The next field: `Some(None)` at the end, `None` for what is malformed.
    #[allow(clippy::option_option, reason = "the end is not an error")]
    fn next(&mut self) -> Option<Option<(u32, Item<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0)?;
        let item = match tag & 7 {
            0 => Item::Varint(self.varint()?),
            1 => Item::Fixed(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Item::Bytes(self.take(length)?)
            }
            5 => Item::Fixed(u32::from_le_bytes(self.take(4)?.try_into().ok()?).into()),
            _ => return None,
        };
        Some(Some((number, item)))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Seven bits a byte, least significant first, at most ten bytes.
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}
