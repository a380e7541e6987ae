//! One step of a path, in the form in which `FieldsV1` writes it: `f:NAME` a member, `k:{…}` the
//! element of a list with these keys, `v:VALUE` an element of a set, `i:INDEX` an element by place.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The member of that name.
pub(super) fn field(name: &str) -> Box<str> {
    ["f:", name].concat().into()
}

/// The element with these keys.
pub(super) fn keys(keys: &Map<String, Value>) -> Box<str> {
    let mut sorted: Vec<_> = keys.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    let mut text = String::from("k:{");
    for (index, (name, value)) in sorted.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{}:{value}", Value::from(name.as_str()));
    }
    text.push('}');
    text.into()
}

/// The element of a set that is that value.
pub(super) fn value(value: &Value) -> Box<str> {
    format!("v:{value}").into()
}

/// A step that somebody else wrote, in our spelling; none if it is none.
pub(super) fn normal(text: &str) -> Option<Box<str>> {
    let (sort, rest) = text.split_once(':')?;
    match sort {
        "f" => Some(text.into()),
        "k" => Some(keys(serde_json::from_str::<Value>(rest).ok()?.as_object()?)),
        "v" => Some(value(&serde_json::from_str(rest).ok()?)),
        "i" => rest.parse::<u64>().ok().map(|_| text.into()),
        _ => None,
    }
}

/// A step as messages write it.
pub(super) fn shown(step: &str) -> String {
    let (sort, rest) = step.split_once(':').unwrap_or(("f", step));
    match sort {
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let pairs: Vec<_> = keys
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            format!("[{}]", pairs.join(","))
        }
        "v" => format!("[={rest}]"),
        "i" => format!("[{rest}]"),
        _ => format!(".{rest}"),
    }
}
