//! What selectors need of an object, without decoding the rest of it.
//!
//! Selectors look at scalars a few levels down, and of lists at the first item. An [`Outline`] holds
//! exactly that: what stands deeper, and the other items, are passed over without being built. This
//! is what makes a start with many objects quick.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Levels below the object itself that the selectors of built-in kinds look at, as
/// `status.podIPs.0.ip`.
pub(super) const LEVELS: usize = 4;

/// An object to its first levels, and where its metadata stands in the text.
pub(super) struct Outline {
    /// The object; lists have one item at most, and null stands for what is too deep.
    pub value: Value,
    /// The metadata's bytes in the text; empty without metadata.
    pub metadata: Range<usize>,
}

impl Outline {
    /// Reads the first `levels` levels of a JSON object.
    pub(super) fn read(json: &[u8], levels: usize) -> Result<Self, serde_json::Error> {
        let mut decoder = serde_json::Deserializer::from_slice(json);
        let (value, metadata) = decoder.deserialize_map(Object { levels })?;
        decoder.end()?;
        let start = metadata.map_or(0, |text| text.as_ptr() as usize - json.as_ptr() as usize);
        Ok(Self {
            value,
            metadata: start..start + metadata.map_or(0, str::len),
        })
    }
}

/// The object itself, whose metadata is found in the text on the way.
struct Object {
    levels: usize,
}

impl<'de> Visitor<'de> for Object {
    type Value = (Value, Option<&'de str>);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let below = Levels(self.levels.saturating_sub(1));
        let (mut object, mut metadata) = (Map::new(), None);
        while let Some(key) = members.next_key::<String>()? {
            let value = if key == "metadata" {
                let text = members.next_value::<&'de RawValue>()?.get();
                metadata = Some(text);
                let mut decoder = serde_json::Deserializer::from_str(text);
                below.deserialize(&mut decoder).map_err(A::Error::custom)?
            } else {
                members.next_value_seed(below)?
            };
            object.insert(key, value);
        }
        Ok((Value::Object(object), metadata))
    }
}

/// A value of which so many levels more are wanted.
#[derive(Clone, Copy)]
struct Levels(usize);

impl Levels {
    fn below(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl<'de> DeserializeSeed<'de> for Levels {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<Value, D::Error> {
        decoder.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Levels {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        if self.0 == 0 {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let mut object = Map::new();
        while let Some(key) = members.next_key()? {
            object.insert(key, members.next_value_seed(self.below())?);
        }
        Ok(Value::Object(object))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let first = match self.0 {
            0 => None,
            _ => items.next_element_seed(self.below())?,
        };
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first.map_or(Value::Null, |first| Value::Array(vec![first])))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_outline_has_the_first_levels_and_first_items() {
        let object = json!({"metadata": {"labels": {"a": "b"}},
            "spec": {"on": true, "list": [{"deep": {"deeper": 1}, "ip": "x"}, {"ip": "y"}], "none": []},
            "status": {"count": 3, "share": 0.5, "below": -1, "null": null}});
        let text = object.to_string();
        let outline = Outline::read(text.as_bytes(), LEVELS).unwrap();
        let list = json!([{"deep": null, "ip": "x"}]);
        let mut wanted = object.clone();
        wanted["spec"]["list"] = list;
        wanted["spec"]["none"] = Value::Null;
        assert_eq!(outline.value, wanted);
        assert_eq!(&text[outline.metadata], r#"{"labels":{"a":"b"}}"#);
    }

    #[test]
    fn what_is_no_object_is_refused_wherever_it_breaks() {
        for text in [
            "",
            "[]",
            "7",
            "{",
            r#"{"a":{"b":{"c":{"d":{"e":]}}}}}"#,
            "{} x",
        ] {
            assert!(Outline::read(text.as_bytes(), LEVELS).is_err(), "{text}");
        }
        let bare = Outline::read(br#"{"kind":"X"}"#, LEVELS).unwrap();
        assert!(bare.metadata.is_empty());
    }
}
