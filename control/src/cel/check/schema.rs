//! Types of values that a structural schema describes.

use serde_json::Value;

use super::types::Type;
use crate::cel::escape::escape;

/// Members of every object that the server itself knows.
const OWN: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The type of a schema's values; none for those that expressions do not see. `root` if they are
/// whole objects of the API, which have a kind and a name whatever the schema says.
pub(crate) fn of_schema(schema: &Value, root: bool, name: &str) -> Option<Type> {
    if schema["x-kubernetes-int-or-string"] == true {
        return Some(Type::Dyn);
    }
    let inner = |schema: &Value, name: &str| {
        let root = schema["x-kubernetes-embedded-resource"] == true;
        of_schema(schema, root, name)
    };
    match schema["type"].as_str().unwrap_or_default() {
        "array" => {
            let items = schema.get("items").filter(|it| it.is_object())?;
            Some(Type::list(inner(items, &format!("{name}.@idx"))?))
        }
        "object" => {
            let values = schema.get("additionalProperties");
            if let Some(values) = values.filter(|it| it.is_object()) {
                let values = inner(values, &format!("{name}.@elem"))?;
                return Some(Type::map(Type::String, values));
            }
            let properties = schema["properties"].as_object().into_iter().flatten();
            let properties = properties.filter_map(|(key, schema)| {
                let key = escape(key);
                let found = inner(schema, &format!("{name}.{key}"))?;
                Some((key, found))
            });
            let mut fields: Vec<_> = properties.collect();
            if root && !names_itself(schema) {
                fields.retain(|(key, _)| !OWN.contains(&key.as_str()));
                fields.extend(own(name));
            }
            Some(Type::object(name, fields))
        }
        "string" => Some(match schema["format"].as_str().unwrap_or_default() {
            "byte" => Type::Bytes,
            "duration" => Type::Duration,
            "date" | "date-time" => Type::Timestamp,
            _ => Type::String,
        }),
        "boolean" => Some(Type::Bool),
        "number" => Some(Type::Double),
        "integer" => Some(Type::Int),
        _ => None,
    }
}

/// Whether a schema says itself what every object has.
fn names_itself(schema: &Value) -> bool {
    let is = |path: &str, kind: &str| schema.pointer(path).is_some_and(|it| it["type"] == kind);
    is("/properties/kind", "string")
        && is("/properties/apiVersion", "string")
        && is("/properties/metadata", "object")
        && is("/properties/metadata/properties/name", "string")
        && is("/properties/metadata/properties/generateName", "string")
}

fn own(name: &str) -> [(String, Type); 3] {
    let names = ["name", "generateName"].map(|it| (it.to_owned(), Type::String));
    let metadata = Type::object(&format!("{name}.metadata"), names);
    OWN.map(|key| {
        let found = if key == "metadata" {
            metadata.clone()
        } else {
            Type::String
        };
        (key.to_owned(), found)
    })
}
