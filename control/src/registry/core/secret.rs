//! Secret: bytes by name, with a type that says which names must be there.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::data_keys;
use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::rules::{At, Faults, immutable};
use crate::registry::value::{child, default_text, members, put, text};

/// Secret of v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    columns: &[NAME, string("Type"), integer("Data"), AGE],
    cells,
    default: set_defaults,
    validate,
    fields: &[("type", |secret| text(secret, "/type").to_owned())],
    ..Kind::PLAIN
};

fn cells(object: &Value, now: i64) -> Vec<Value> {
    let entries = members(object, "/data").count();
    vec![
        name(object),
        text(object, "/type").into(),
        entries.into(),
        age(object, now),
    ]
}

/// The type, and `stringData`, which is a way to write `data` and is never stored.
fn set_defaults(secret: &mut Value) {
    default_text(secret, "type", "Opaque");
    let encoded: Vec<_> = members(secret, "/stringData")
        .filter_map(|(key, value)| Some((key.to_owned(), BASE64_STANDARD.encode(value.as_str()?))))
        .collect();
    put(secret, "stringData", None);
    if !encoded.is_empty()
        && let Some(data) = child(secret, "data")
    {
        encoded
            .into_iter()
            .for_each(|(key, value)| put(data, &key, Some(value.into())));
    }
}

/// Keys without which a Secret of a type is of no use.
const NEEDED: [(&str, &[&str]); 5] = [
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    (
        "bootstrap.kubernetes.io/token",
        &["token-id", "token-secret"],
    ),
];

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    let data = root.get("data");
    data_keys::keys(&data, &mut faults);
    let kind = root.get("type");
    let needed = NEEDED
        .iter()
        .filter(|(name, _)| *name == kind.text())
        .flat_map(|(_, keys)| *keys);
    for key in needed {
        if !data.get(key).is_set() {
            faults.required(&data.entry(key), "");
        }
    }
    data_keys::size(&[], &[data], &mut faults);
    if let Some(old) = old {
        immutable(&kind, &At::root(old).get("type"), &mut faults);
        data_keys::immutability(new, old, &["data"], &mut faults);
    }
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn string_data_becomes_data() {
        let mut secret = json!({"data": {"a": "MQ==", "b": "Mg=="}, "stringData": {"b": "three"}});
        set_defaults(&mut secret);
        let expected = json!({"type": "Opaque", "data": {"a": "MQ==", "b": "dGhyZWU="}});
        assert_eq!(secret, expected);
    }

    #[test]
    fn types_need_their_keys_and_stay() {
        let old = json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}});
        assert_eq!(Faults::paths(&validate(&old, None)), ["data[tls.key]"]);
        let faults = validate(&json!({"type": "Opaque"}), Some(&old));
        assert_eq!(Faults::paths(&faults), ["type"]);
    }
}
