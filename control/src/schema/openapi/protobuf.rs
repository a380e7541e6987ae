//! From the JSON form of a Swagger document to its protobuf form.

use serde_json::Value;

use super::gnostic::{
    AdditionalProperties, Any, Document, Info, ItemsItem, NamedAny, NamedPathItem, NamedSchema,
    NamedSchemas, NonBodyParameter, Operation, Parameter, ParametersItem, PathItem, Paths, Place,
    QueryParameter, Schema, TypeItem,
};

/// The whole document.
pub(super) fn document(json: &Value) -> Document {
    let paths = members(&json["paths"]).map(|(name, item)| NamedPathItem {
        name: name.clone(),
        value: Some(path_item(item)),
    });
    Document {
        swagger: text(json, "swagger"),
        info: Some(Info {
            title: text(&json["info"], "title"),
            version: text(&json["info"], "version"),
        }),
        paths: Some(Paths {
            path: paths.collect(),
        }),
        definitions: named_schemas(&json["definitions"]),
    }
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn text(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_default().to_owned()
}

fn texts(object: &Value, key: &str) -> Vec<String> {
    let elements = object[key].as_array().into_iter().flatten();
    elements
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn named_schemas(schemas: &Value) -> Option<NamedSchemas> {
    let schemas: Vec<_> = members(schemas)
        .map(|(name, value)| NamedSchema {
            name: name.clone(),
            value: Some(schema(value)),
        })
        .collect();
    (!schemas.is_empty()).then_some(NamedSchemas { schemas })
}

fn schema(json: &Value) -> Schema {
    let nested = |key: &str| json.get(key).map(schema);
    let additional = nested("additionalProperties").map(|schema| {
        Box::new(AdditionalProperties {
            schema: Some(Box::new(schema)),
        })
    });
    Schema {
        reference: text(json, "$ref"),
        format: text(json, "format"),
        description: text(json, "description"),
        required: texts(json, "required"),
        additional_properties: additional,
        r#type: json["type"].as_str().map(|name| TypeItem {
            value: vec![name.to_owned()],
        }),
        items: nested("items").map(|schema| ItemsItem {
            schema: vec![schema],
        }),
        properties: named_schemas(&json["properties"]),
        vendor_extension: extensions(json),
    }
}

/// Extensions carry YAML; JSON is YAML.
fn extensions(json: &Value) -> Vec<NamedAny> {
    let extensions = members(json).filter(|(name, _)| name.starts_with("x-"));
    let named = |(name, value): (&String, &Value)| {
        let value = Any {
            yaml: format!("{value}\n"),
        };
        NamedAny {
            name: name.clone(),
            value: Some(value),
        }
    };
    extensions.map(named).collect()
}

fn path_item(json: &Value) -> PathItem {
    let at = |method: &str| json.get(method).map(operation);
    PathItem {
        get: at("get"),
        put: at("put"),
        post: at("post"),
        delete: at("delete"),
        patch: at("patch"),
    }
}

fn operation(json: &Value) -> Operation {
    let parameters = json["parameters"].as_array().into_iter().flatten();
    // Who reads this form looks for what may stand in a query.
    let parameters = parameters.filter(|parameter| parameter["in"] == "query");
    Operation {
        operation_id: text(json, "operationId"),
        consumes: texts(json, "consumes"),
        parameters: parameters.map(query_parameter).collect(),
        vendor_extension: extensions(json),
    }
}

fn query_parameter(json: &Value) -> ParametersItem {
    let place = Place::Query(QueryParameter {
        place: text(json, "in"),
        name: text(json, "name"),
        r#type: text(json, "type"),
    });
    let non_body = NonBodyParameter { place: Some(place) };
    ParametersItem {
        parameter: Some(Parameter {
            non_body: Some(non_body),
        }),
    }
}
