//! Reading and completing JSON objects. Absent, null and wrongly typed all read as the type's zero,
//! so that columns and defaults need no error path; validation is what complains about them.

use serde_json::{Map, Value};

/// The value at a JSON pointer (RFC 6901), as [`Value::pointer`], which copies each of its steps: this
/// is asked dozens of times for every write.
pub(crate) fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.contains('~') {
        return object.pointer(pointer);
    }
    let mut steps = pointer.split('/').skip(1);
    steps.try_fold(object, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(elements) => elements.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The string at a JSON pointer, empty if there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The integer at a JSON pointer.
pub(crate) fn int(object: &Value, pointer: &str) -> Option<i64> {
    at(object, pointer).and_then(Value::as_i64)
}

/// The boolean at a JSON pointer, false if there is none.
pub(crate) fn flag(object: &Value, pointer: &str) -> bool {
    at(object, pointer)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// The elements of the list at a JSON pointer, none if there is no list.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    at(object, pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The elements of the list at a JSON pointer, for completing them in place.
pub(crate) fn list_mut<'a>(object: &'a mut Value, pointer: &str) -> &'a mut [Value] {
    object
        .pointer_mut(pointer)
        .and_then(Value::as_array_mut)
        .map_or(&mut [], Vec::as_mut_slice)
}

/// The members of the object at a JSON pointer.
pub(crate) fn members<'a>(
    object: &'a Value,
    pointer: &str,
) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let map = at(object, pointer).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
}

/// Whether there is a value other than null at a JSON pointer.
pub(crate) fn present(object: &Value, pointer: &str) -> bool {
    at(object, pointer).is_some_and(|value| !value.is_null())
}

/// Sets a member that is absent or null; does nothing to what is not an object.
pub(crate) fn default(object: &mut Value, key: &str, value: impl Into<Value>) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value.into());
    }
}

/// Sets a member that is absent, null or the empty string.
pub(crate) fn default_text(object: &mut Value, key: &str, value: &str) {
    let empty = object.get(key).and_then(Value::as_str) == Some("");
    if empty && let Some(map) = object.as_object_mut() {
        map.remove(key);
    }
    default(object, key, value);
}

/// The member object of that name, made if absent; none if `object` or the member is no object.
pub(crate) fn child<'a>(object: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    default(object, key, Map::new());
    object.get_mut(key).filter(|member| member.is_object())
}

/// Replaces a member, or removes it when there is nothing to put.
pub(crate) fn put(object: &mut Value, key: &str, value: Option<Value>) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    match value {
        Some(value) => drop(map.insert(key.to_owned(), value)),
        None => drop(map.remove(key)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pointer_leads_where_the_rfc_says() {
        let object = json!({"a": {"b/c": [1, {"~": 2}], "": 3}});
        for pointer in [
            "",
            "/a",
            "/a/b~1c/1/~0",
            "/a/b~1c/0",
            "/a/",
            "/a/b",
            "/a/b~1c/7",
            "/x/y",
        ] {
            assert_eq!(at(&object, pointer), object.pointer(pointer), "{pointer}");
        }
    }
}
