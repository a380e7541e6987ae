use serde_json::json;

use super::table::{Field, Label, Other, Type};
use super::*;

/// A ConfigMap as kubectl writes it.
const CONFIG_MAP: &[u8] = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x1b\x0a\x11\x0a\x01a\
    \x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x06\x0a\x01x\x12\x01y\x1a\0\"\0";

/// What fills an object: how deep, and where values vary.
struct Filling {
    depth: usize,
    seed: u64,
    /// Whether values behind pointers are empty.
    empty: bool,
}

impl Filling {
    /// The next of a sequence without luck.
    fn next(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005);
        self.seed = self.seed.wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn object(&mut self, message: &Message, depth: usize) -> Map<String, Value> {
        let mut object = Map::new();
        for (_, field) in message.fields().filter(|(_, it)| it.value != Type::Skip) {
            match field.name {
                Some(name) => {
                    if let Some(value) = self.field(field, depth) {
                        object.insert(name.to_owned(), value);
                    }
                }
                None => {
                    if let Type::Message(inner) = field.value {
                        let inner = Table::get().message(inner).unwrap();
                        object.extend(self.object(inner, depth));
                    }
                }
            }
        }
        object
    }

    fn field(&mut self, field: Field, depth: usize) -> Option<Value> {
        let deep = matches!(field.value, Type::Message(_) | Type::SchemaOr(_));
        if deep && depth >= self.depth {
            return None;
        }
        match field.label {
            Label::Plain | Label::Optional => {
                let empty = self.empty && field.label == Label::Optional;
                let value = self.value(field.value, depth + 1, empty);
                // Empty ones mean absence.
                let absent = value == json!({}) && field.label == Label::Plain;
                (!absent).then_some(value)
            }
            Label::List => {
                let count = 1 + self.next(3);
                let items = (0..count).map(|_| self.value(field.value, depth + 1, false));
                Some(items.collect::<Vec<_>>().into())
            }
            Label::Map => {
                let count = 1 + self.next(3);
                let members = (0..count).map(|_| {
                    let key = format!("k{}", self.next(1000));
                    (key, self.value(field.value, depth + 1, false))
                });
                Some(members.collect::<Map<_, _>>().into())
            }
        }
    }

    fn value(&mut self, kind: Type, depth: usize, empty: bool) -> Value {
        const NUMBERS: [i64; 8] = [1, 127, 128, 300, -1, i32::MIN as i64, i64::MAX, i64::MIN];
        let long = 1 + usize::try_from(self.next(300)).unwrap();
        let pick = usize::try_from(self.next(8)).unwrap();
        match kind {
            Type::Text if empty => json!(""),
            Type::Text => "ä".repeat(long).into(),
            Type::Integer if empty => json!(0),
            Type::Integer => NUMBERS[pick].into(),
            Type::Truth => json!(!empty),
            Type::Bytes => json!("AAH/"),
            Type::Double if empty => json!(0.0),
            Type::Double => json!(-1.5),
            Type::Time if pick % 2 == 0 => json!("2026-01-02T03:04:05Z"),
            Type::Time => json!("2026-01-02T03:04:05.000678Z"),
            Type::Quantity => json!("100m"),
            Type::IntOrString if empty => json!(0),
            Type::IntOrString if pick % 2 == 0 => json!("25%"),
            Type::IntOrString => json!(8080),
            Type::Raw => json!({"a": [1, null, "x"], "b": {}}),
            Type::Texts => json!(["a", ""]),
            Type::SchemaOr(Other::Truth) if empty => json!(false),
            Type::SchemaOr(Other::Truth) if pick % 2 == 0 => json!(true),
            Type::SchemaOr(Other::List) if pick % 2 == 0 => json!([{"type": "string"}]),
            Type::SchemaOr(Other::Texts) if pick % 2 == 0 => json!(["a", "b"]),
            Type::SchemaOr(_) => json!({"type": "object"}),
            Type::Message(_) if empty => json!({}),
            Type::Message(name) => {
                let message = Table::get().message(name).unwrap();
                self.object(message, depth).into()
            }
            Type::Skip => Value::Null,
        }
    }
}

#[test]
fn what_kubectl_writes_is_read_and_written_again_byte_for_byte() {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "y"},
        "metadata": {"name": "a"}});
    assert_eq!(object(CONFIG_MAP).unwrap(), map);
    assert_eq!(encoded(&map).unwrap().unwrap(), CONFIG_MAP);
}

#[test]
fn every_kind_with_every_field_is_read_as_it_was_written() {
    for seed in 0..40 {
        for (name, message) in Table::get().all_kinds() {
            let mut filling = Filling {
                depth: 4 + usize::try_from(seed % 3).unwrap(),
                seed,
                empty: seed % 4 == 3,
            };
            let mut filled = filling.object(message, 0);
            let (version, kind) = name.rsplit_once('/').unwrap();
            filled.insert("apiVersion".into(), version.into());
            filled.insert("kind".into(), kind.into());
            let filled = Value::Object(filled);
            let bytes = encoded(&filled).unwrap().unwrap();
            let read = object(&bytes).unwrap();
            assert!(read == filled, "{name}, {seed}:\n{filled}\n{read}");
        }
    }
}

#[test]
fn what_is_there_but_empty_is_written_where_go_has_a_pointer() {
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "spec": {"replicas": 0, "selector": {}, "revisionHistoryLimit": 0,
            "strategy": {"rollingUpdate": {"maxSurge": 0}}}});
    let bytes = encoded(&deployment).unwrap().unwrap();
    assert_eq!(object(&bytes).unwrap(), deployment);
    let without = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"paused": false}});
    let bytes = encoded(&without).unwrap().unwrap();
    let read = object(&bytes).unwrap();
    assert_eq!(read.pointer("/spec/replicas"), None);
    assert_eq!(read.pointer("/spec/selector"), None);
}

#[test]
fn a_list_has_its_metadata_and_its_items() {
    let list = json!({"kind": "ConfigMapList", "apiVersion": "v1",
        "metadata": {"resourceVersion": "7"}, "items": [{"data": {"x": "y"}}, {}]});
    let bytes = encoded(&list).unwrap().unwrap();
    let envelope = decode::envelope(&bytes).unwrap();
    assert_eq!(
        (envelope.api_version.as_str(), envelope.kind.as_str()),
        ("v1", "ConfigMapList")
    );
    let expected = b"\x0a\x07\x0a\x00\x12\x017\x1a\x00\x12";
    assert!(envelope.raw.starts_with(expected), "{:?}", envelope.raw);
}

#[test]
fn an_event_is_a_message_behind_its_length() {
    let map = object(CONFIG_MAP).unwrap();
    let frame = event("ADDED", &map).unwrap();
    let length = u32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(frame.len(), 4 + length as usize);
    let object = u8::try_from(CONFIG_MAP.len()).unwrap();
    let head = [b"\x0a\x05ADDED\x12".as_slice(), &[object + 2, 0x0a, object]].concat();
    assert_eq!(frame[4..], [head.as_slice(), CONFIG_MAP].concat());
}

#[test]
fn what_has_no_protobuf_has_none_and_a_misfit_is_named() {
    let custom = json!({"apiVersion": "example.com/v1", "kind": "Thing"});
    assert!(encoded(&custom).unwrap().is_none());
    let table = json!({"apiVersion": "meta.k8s.io/v1", "kind": "Table"});
    assert!(encoded(&table).unwrap().is_none());
    let odd = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": 1}});
    assert!(
        encoded(&odd)
            .unwrap_err()
            .message
            .contains("data is not of its type")
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
    Table::get().assert_complete();
}
