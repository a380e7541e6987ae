//! JSON in one pass: the value, and the members that occur twice in it.
//!
//! RFC 8259 leaves open what a repeated member means. Here the last one wins, as everywhere in
//! Kubernetes, and field validation tells the client.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Decodes a document; the second part holds the paths of repeated members, such as
/// `spec.containers[0].image`.
///
/// # Errors
/// What is no JSON, with line and column.
pub(super) fn parse(bytes: &[u8]) -> serde_json::Result<(Value, Vec<String>)> {
    let mut repeated = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Seed(&mut repeated).deserialize(&mut deserializer)?;
    deserializer.end()?;
    let trim = |path: String| path.trim_start_matches('.').to_owned();
    Ok((value, repeated.into_iter().map(trim).collect()))
}

/// Builds a value and notes what is repeated below it, relative to it.
struct Seed<'a>(&'a mut Vec<String>);

impl Seed<'_> {
    /// Puts `step` in front of what was noted since `length`.
    fn prefix(&mut self, length: usize, step: impl Fn() -> String) {
        for path in &mut self.0[length..] {
            path.insert_str(0, &step());
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        Ok(number.map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let mut length = self.0.len();
        while let Some(item) = access.next_element_seed(Seed(self.0))? {
            let index = items.len();
            self.prefix(length, || format!("[{index}]"));
            length = self.0.len();
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let length = self.0.len();
            let value = access.next_value_seed(Seed(self.0))?;
            if members.contains_key(&key) {
                self.0.push(String::new());
            }
            self.prefix(length, || format!(".{key}"));
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_repeated_members_wins_and_all_are_named() {
        let text = br#"{"a": 1, "b": [{"x": 1}, {"x": 1, "y": {"z": 0, "z": null}, "x": -2.5}], "a": "2"}"#;
        let (value, repeated) = parse(text).unwrap();
        let expected =
            serde_json::json!({"a": "2", "b": [{"x": 1}, {"x": -2.5, "y": {"z": null}}]});
        assert_eq!(value, expected);
        assert_eq!(repeated, ["b[1].y.z", "b[1].x", "a"]);
    }

    #[test]
    fn it_reads_what_the_library_reads() {
        for text in [
            "null",
            "[1, 18446744073709551615, -9, 1e3]",
            "{\"\\u00e4\": [true, {}]}",
        ] {
            let (value, repeated) = parse(text.as_bytes()).unwrap();
            assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
            assert!(repeated.is_empty());
        }
        for text in ["", "{} {}", "{\"a\":}", "[1,]"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
