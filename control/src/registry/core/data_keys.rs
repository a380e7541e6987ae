//! What ConfigMap and Secret share: keys, size, immutability.

use serde_json::Value;

use crate::registry::rules::{At, Faults};

/// Bytes that the values of one object may have together.
const MAX_SIZE: usize = 1 << 20;
const KEY: &str = "a key consists of at most 253 letters, digits, '-', '_' and '.', is not '.' and does not begin with '..'";

/// Keys of one map of entries.
pub(super) fn keys(entries: &At<'_>, faults: &mut Faults) {
    for (key, at) in entries.entries() {
        if !is_key(key) {
            faults.invalid_value(&at, &Value::from(key), KEY);
        }
    }
}

fn is_key(key: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=253).contains(&key.len())
        && key.chars().all(allowed)
        && key != "."
        && !key.starts_with("..")
}

/// The size of all entries; base64 counts as what it decodes to.
pub(super) fn size(text: &[At<'_>], base64: &[At<'_>], faults: &mut Faults) {
    let total = |maps: &[At<'_>]| -> usize {
        maps.iter()
            .flat_map(At::entries)
            .map(|(_, value)| value.text().len())
            .sum()
    };
    if total(text) + total(base64) / 4 * 3 > MAX_SIZE
        && let Some(first) = text.iter().chain(base64).next()
    {
        faults.invalid_value(
            first,
            &"...".into(),
            &format!("must have at most {MAX_SIZE} bytes"),
        );
    }
}

/// Once immutable, an object stays so, with the entries it has.
pub(super) fn immutability(new: &Value, old: &Value, entries: &[&str], faults: &mut Faults) {
    let (new, old) = (At::root(new), At::root(old));
    if *old.get("immutable").value() != true {
        return;
    }
    let flag = new.get("immutable");
    if *flag.value() != true {
        faults.forbidden(&flag, "field is immutable when `immutable` is set");
    }
    for field in entries {
        let (new, old) = (new.get(field), old.get(field));
        if new.value() != old.value() && !(new.is_empty() && old.is_empty()) {
            faults.forbidden(&new, "field is immutable when `immutable` is set");
        }
    }
}
