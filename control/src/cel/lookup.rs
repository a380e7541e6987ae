//! `value.?field` and `value[?key]`: an optional that is empty where there is no such member. The
//! evaluator's own gives an error for a value that is no optional itself.

use std::sync::Arc;

use kube_cel::cel::objects::{Key, OptionalValue};
use kube_cel::cel::{ExecutionError, Value};

/// The member of `value` under `key`, as an optional; never an error.
pub(super) fn lookup(value: Value, key: Value) -> Result<Value, ExecutionError> {
    let inner = match <&OptionalValue>::try_from(&value) {
        Ok(optional) => optional.value().cloned(),
        Err(_) => Some(value.clone()),
    };
    let found = inner.and_then(|inner| member(&inner, &key));
    let found = found.map_or_else(OptionalValue::none, OptionalValue::of);
    Ok(Value::Opaque(Arc::new(found)))
}

fn member(value: &Value, key: &Value) -> Option<Value> {
    match (value, key) {
        (Value::List(items), Value::Int(index)) => {
            items.get(usize::try_from(*index).ok()?).cloned()
        }
        (Value::Map(map), Value::String(name)) => map.get(&Key::String(name.clone())).cloned(),
        (Value::Map(map), Value::Int(number)) => map.get(&Key::Int(*number)).cloned(),
        (Value::Map(map), Value::UInt(number)) => map.get(&Key::Uint(*number)).cloned(),
        (Value::Map(map), Value::Bool(truth)) => map.get(&Key::Bool(*truth)).cloned(),
        _ => None,
    }
}
