//! What can only be replaced as a whole.

use serde_json::Value;

use super::node::{Form, Node};

/// The paths of all objects and lists in `value` that have one owner: whoever names a part of one
/// would remove the rest of it.
pub fn atomics(node: Node<'_>, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(node, value, String::new(), &mut found);
    found
}

fn walk(node: Node<'_>, value: &Value, path: String, found: &mut Vec<String>) {
    match (node.form(value), value) {
        (Form::Leaf, Value::Object(_) | Value::Array(_)) => found.push(path),
        (Form::Members, Value::Object(members)) => {
            for (name, value) in members {
                walk(node.member(name).0, value, format!("{path}.{name}"), found);
            }
        }
        (Form::Keyed(_) | Form::Set, Value::Array(elements)) => {
            for (index, value) in elements.iter().enumerate() {
                walk(node.element(), value, format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_without_keys_and_selectors_are_replaced_as_a_whole() {
        let deployment = Node::of_kind("apps", "v1", "Deployment");
        let said = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"spec": {"tolerations": [],
                "containers": [{"name": "c", "args": ["x"], "ports": [{"containerPort": 1}]}]}}}});
        assert_eq!(
            atomics(deployment, &said),
            [
                ".spec.selector",
                ".spec.template.spec.containers[0].args",
                ".spec.template.spec.tolerations"
            ]
        );
        assert!(atomics(deployment, &json!({"spec": {"replicas": 2}})).is_empty());
    }
}
