//! Definitions as JSON schemas, in the dialects of the two versions.

use serde_json::{Map, Value, json};

use super::describe::Descriptions;
use crate::schema::table::{
    Body, Definition, Field, GroupVersionKind, Id, Ownership, PREFIX, Scalar, Table, Type,
};

/// Which version's rules apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Swagger 2.0: a reference may have siblings.
    V2,
    /// OpenAPI 3.0: a reference stands alone, and a value may be one of several types.
    V3,
}

impl Dialect {
    /// Where definitions are.
    pub(super) fn place(self) -> &'static str {
        match self {
            Dialect::V2 => "#/definitions/",
            Dialect::V3 => "#/components/schemas/",
        }
    }
}

/// The name of a definition as clients know it.
pub(super) fn full_name(id: Id) -> String {
    format!("{PREFIX}{}", Table::get().definition(id).name)
}

/// Writes schemas in one dialect.
pub(super) struct Writer {
    dialect: Dialect,
    descriptions: Descriptions,
}

impl Writer {
    pub(super) fn new(dialect: Dialect) -> Writer {
        Writer {
            dialect,
            descriptions: Descriptions::load(),
        }
    }

    /// The schema of a definition.
    pub(super) fn definition(&self, id: Id) -> Value {
        let definition = Table::get().definition(id);
        let mut schema = match &definition.body {
            Body::Scalar(scalar) => self.scalar(*scalar),
            Body::Fields(fields) => self.object(definition, fields),
        };
        if let Some(text) = self.descriptions.of_definition(definition) {
            schema.insert("description".to_owned(), text.into());
        }
        if !definition.kinds.is_empty() {
            let kinds: Vec<Value> = definition.kinds.iter().map(kind).collect();
            schema.insert("x-kubernetes-group-version-kind".to_owned(), kinds.into());
        }
        Value::Object(schema)
    }

    fn object(&self, definition: &Definition, fields: &[Field]) -> Map<String, Value> {
        let properties: Map<String, Value> = fields
            .iter()
            .map(|field| (field.name.to_owned(), self.field(definition, field)))
            .collect();
        let required: Vec<_> = fields
            .iter()
            .filter(|field| field.required)
            .map(|field| field.name)
            .collect();
        let mut schema = Map::new();
        schema.insert("type".to_owned(), "object".into());
        schema.insert("properties".to_owned(), properties.into());
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
        }
        schema
    }

    fn field(&self, definition: &Definition, field: &Field) -> Value {
        let mut schema = self.r#type(&field.r#type);
        let facts = extensions(field);
        let description = self.descriptions.of_field(definition, field.name);
        let alone = facts.is_empty() && description.is_none();
        if self.dialect == Dialect::V3 && !alone && schema.contains_key("$ref") {
            schema = object([("allOf", json!([schema]))]);
        }
        schema.extend(facts);
        schema.extend(description.map(|text| ("description".to_owned(), text.into())));
        Value::Object(schema)
    }

    fn r#type(&self, r#type: &Type) -> Map<String, Value> {
        match r#type {
            Type::Scalar(scalar) => self.scalar(*scalar),
            Type::List(element) => object([
                ("type", "array".into()),
                ("items", self.r#type(element).into()),
            ]),
            Type::Map(member) => object([
                ("type", "object".into()),
                ("additionalProperties", self.r#type(member).into()),
            ]),
            Type::Reference(id) => {
                let place = self.dialect.place();
                object([("$ref", format!("{place}{}", full_name(*id)).into())])
            }
        }
    }

    fn scalar(&self, scalar: Scalar) -> Map<String, Value> {
        let v3 = self.dialect == Dialect::V3;
        match scalar {
            Scalar::Quantity if v3 => one_of(["string", "number"]),
            Scalar::IntOrString if v3 => {
                let mut schema = one_of(["integer", "string"]);
                schema.insert("format".to_owned(), "int-or-string".into());
                schema
            }
            _ => plain(scalar),
        }
    }
}

fn plain(scalar: Scalar) -> Map<String, Value> {
    let (r#type, format) = match scalar {
        Scalar::Any => return Map::new(),
        Scalar::String | Scalar::Quantity => ("string", ""),
        Scalar::Byte => ("string", "byte"),
        Scalar::Boolean => ("boolean", ""),
        Scalar::Int32 => ("integer", "int32"),
        Scalar::Int64 => ("integer", "int64"),
        Scalar::Number => ("number", "double"),
        Scalar::Object => ("object", ""),
        Scalar::Time => ("string", "date-time"),
        Scalar::IntOrString => ("string", "int-or-string"),
    };
    let mut schema = object([("type", r#type.into())]);
    if !format.is_empty() {
        schema.insert("format".to_owned(), format.into());
    }
    schema
}

fn one_of(types: [&str; 2]) -> Map<String, Value> {
    object([(
        "oneOf",
        types.map(|name| json!({"type": name})).to_vec().into(),
    )])
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// List types, merge keys and strategies.
fn extensions(field: &Field) -> Map<String, Value> {
    let mut facts = Map::new();
    let mut add = |key: &str, value: Value| facts.insert(format!("x-kubernetes-{key}"), value);
    let ownership = match field.ownership {
        Ownership::Unsaid => "",
        Ownership::Atomic => "atomic",
        Ownership::Set => "set",
        Ownership::Map => "map",
        Ownership::Granular => "granular",
    };
    let is_map = !matches!(field.r#type, Type::List(_));
    if !ownership.is_empty() {
        add(
            if is_map { "map-type" } else { "list-type" },
            ownership.into(),
        );
    }
    if !field.keys.is_empty() {
        add(
            "list-map-keys",
            field.keys.split(',').collect::<Vec<_>>().into(),
        );
    }
    let strategies = [
        ("merge", field.patch.merge),
        ("retainKeys", field.patch.retain_keys),
    ];
    let strategies: Vec<_> = strategies
        .iter()
        .filter(|(_, applies)| *applies)
        .map(|(name, _)| *name)
        .collect();
    if !strategies.is_empty() {
        add("patch-strategy", strategies.join(",").into());
    }
    if !field.patch.key.is_empty() {
        add("patch-merge-key", field.patch.key.into());
    }
    facts
}

/// A kind as the extension writes it.
fn kind(gvk: &GroupVersionKind) -> Value {
    json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind})
}
