//! One text for one meaning: what equals in content shall be equal as JSON.
//!
//! Null members mean absence and go. So do fields that the kind does not have: whoever wanted them
//! refused has been served by then, and one that was kept would come back to its owner with the next
//! strict write. Quantities become their canonical text, whether they were written as numbers
//! (`cpu: 1`) or as text (`"0.5"`), because readers with typed structs expect text. Everything else
//! stays as it was written.

use naru_core::Quantity;
use serde_json::{Map, Value};

use super::table::{Body, Id, Scalar, Table, Type};

/// Rewrites an object of that kind; one without a schema only loses its nulls.
pub fn canonicalize(group: &str, version: &str, kind: &str, object: &mut Value) {
    match Table::get().kind(group, version, kind) {
        Some(id) => definition(id, object),
        None => drop_nulls(object),
    }
}

fn definition(id: Id, value: &mut Value) {
    let definition = Table::get().definition(id);
    if let Body::Scalar(scalar) = definition.body {
        return self::scalar(scalar, value);
    }
    let Value::Object(members) = value else {
        return;
    };
    members.retain(|name, member| {
        let field = definition.field(name).filter(|_| !member.is_null());
        field.map(|field| typed(&field.r#type, member)).is_some()
    });
}

fn typed(r#type: &Type, value: &mut Value) {
    match (r#type, value) {
        (Type::Scalar(scalar), value) => self::scalar(*scalar, value),
        (Type::Reference(id), value) => definition(*id, value),
        (Type::List(element), Value::Array(elements)) => {
            elements.iter_mut().for_each(|value| typed(element, value));
        }
        (Type::Map(member), Value::Object(members)) => {
            drop_null_members(members);
            members.values_mut().for_each(|value| typed(member, value));
        }
        _ => {}
    }
}

fn scalar(scalar: Scalar, value: &mut Value) {
    if scalar != Scalar::Quantity {
        return;
    }
    let parsed = match &*value {
        Value::String(written) => written.parse::<Quantity>(),
        Value::Number(number) => number.to_string().parse(),
        _ => return,
    };
    // What does not parse stays for validation to name.
    if let Ok(quantity) = parsed {
        *value = quantity.to_string().into();
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            drop_null_members(members);
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn drop_null_members(members: &mut Map<String, Value>) {
    members.retain(|_, value| !value.is_null());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nulls_go_and_quantities_have_one_text() {
        let mut pod = json!({
            "metadata": {"creationTimestamp": null, "labels": {"a": null, "b": "0.50"}},
            "spec": {
                "nodeName": null,
                "containers": [{"name": "a", "resources": {"limits": {"cpu": 1, "memory": "1024Mi"}}}],
                "volumes": [{"name": "v", "emptyDir": {"sizeLimit": 1000, "medium": null}}],
            },
        });
        canonicalize("", "v1", "Pod", &mut pod);
        let expected = json!({
            "metadata": {"labels": {"b": "0.50"}},
            "spec": {
                "containers": [{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}],
                "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1k"}}],
            },
        });
        assert_eq!(pod, expected);
    }

    #[test]
    fn fields_that_the_kind_does_not_have_go_at_every_depth() {
        let mut pod = json!({
            "extra": 1,
            "metadata": {"name": "a", "labels": {"any": "key"}},
            "spec": {"containers": [{"name": "a", "imagee": "b"}], "specc": {"x": null}},
        });
        canonicalize("", "v1", "Pod", &mut pod);
        let expected = json!({
            "metadata": {"name": "a", "labels": {"any": "key"}},
            "spec": {"containers": [{"name": "a"}]},
        });
        assert_eq!(pod, expected);
        let mut foreign = json!({"spec": {"anything": 1, "nothing": null}});
        canonicalize("example.com", "v1", "Foreign", &mut foreign);
        assert_eq!(foreign, json!({"spec": {"anything": 1}}));
    }

    #[test]
    fn what_is_no_quantity_is_left_to_validation() {
        let mut node = json!({"status": {"capacity": {"cpu": "many", "pods": [], "memory": 5.5}}});
        canonicalize("", "v1", "Node", &mut node);
        let capacity = json!({"cpu": "many", "pods": [], "memory": "5500m"});
        assert_eq!(node["status"]["capacity"], capacity);
    }
}
