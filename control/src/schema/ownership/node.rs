//! What the schema says about ownership at one place of an object.
//!
//! Two sources are read alike: the field table for the kinds of the API, and the OpenAPI schema of a
//! custom kind. Where neither says anything (an object of any shape) maps are taken apart and lists
//! are not.

use serde_json::{Map, Value};

use super::step;
use crate::schema::table::{Body, Definition, Field, Id, Ownership, Scalar, Table, Type};

/// Definitions whose objects have one owner, although they have members.
const ATOMIC: &[&str] = &[
    "api.admissionregistration.v1.MatchResources",
    "api.admissionregistration.v1.NamedRuleWithOperations",
    "api.admissionregistration.v1.ParamKind",
    "api.admissionregistration.v1.ParamRef",
    "api.autoscaling.v1.CrossVersionObjectReference",
    "api.core.v1.ConfigMapKeySelector",
    "api.core.v1.EndpointAddress",
    "api.core.v1.EndpointPort",
    "api.core.v1.FileKeySelector",
    "api.core.v1.LocalObjectReference",
    "api.core.v1.NodeSelector",
    "api.core.v1.NodeSelectorTerm",
    "api.core.v1.ObjectFieldSelector",
    "api.core.v1.ObjectReference",
    "api.core.v1.ResourceFieldSelector",
    "api.core.v1.ScopeSelector",
    "api.core.v1.ScopedResourceSelectorRequirement",
    "api.core.v1.SecretKeySelector",
    "api.core.v1.SecretReference",
    "api.core.v1.TopologySelectorTerm",
    "api.core.v1.TypedLocalObjectReference",
    "api.discovery.v1.EndpointPort",
    "api.networking.v1.HTTPIngressRuleValue",
    "api.networking.v1.ServiceBackendPort",
    "api.rbac.v1.RoleRef",
    "api.rbac.v1.Subject",
    "apimachinery.pkg.apis.meta.v1.LabelSelector",
    "apimachinery.pkg.apis.meta.v1.OwnerReference",
];

/// The schema of a value.
#[derive(Clone, Copy)]
pub struct Node<'s>(Place<'s>);

/// Where in which schema.
#[derive(Clone, Copy)]
enum Place<'s> {
    /// An object of a custom kind.
    Root(&'s Value),
    /// A value in such an object.
    Custom(&'s Value),
    /// A definition of the table.
    Definition(Id),
    /// A field of the table.
    Field(&'static Field),
    /// A member or element of such a field.
    Type(&'static Type),
    /// Nothing is known.
    Any,
}

/// How a value is owned.
pub(super) enum Form<'s> {
    /// As one thing.
    Leaf,
    /// Member by member.
    Members,
    /// Element by element, known by the values of these keys.
    Keyed(Vec<&'s str>),
    /// Element by element, known by themselves.
    Set,
}

impl<'s> Node<'s> {
    /// The schema of objects of that kind.
    pub fn of_kind(group: &str, version: &str, kind: &str) -> Node<'static> {
        let id = Table::get().kind(group, version, kind);
        Node(id.map_or(Place::Any, Place::Definition))
    }

    /// The schema of objects of a custom kind, by its OpenAPI schema.
    pub fn custom(schema: &'s Value) -> Node<'s> {
        Node(Place::Root(schema))
    }

    /// How `value` is owned.
    pub(super) fn form(&self, value: &Value) -> Form<'s> {
        match value {
            Value::Object(_) if self.takes_members() => Form::Members,
            Value::Array(_) => self.list_form(),
            _ => Form::Leaf,
        }
    }

    fn takes_members(&self) -> bool {
        match self.0 {
            Place::Root(_) | Place::Any => true,
            Place::Custom(schema) => schema["x-kubernetes-map-type"] != "atomic",
            Place::Definition(id) => takes_members(Table::get().definition(id)),
            Place::Type(r#type) => type_takes_members(r#type),
            Place::Field(field) => match field.ownership {
                Ownership::Atomic => false,
                Ownership::Granular => true,
                _ => type_takes_members(&field.r#type),
            },
        }
    }

    fn list_form(&self) -> Form<'s> {
        match self.0 {
            Place::Field(field) => match field.ownership {
                Ownership::Map => Form::Keyed(field.keys.split(',').collect()),
                Ownership::Set => Form::Set,
                _ => Form::Leaf,
            },
            Place::Custom(schema) => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array();
                match schema["x-kubernetes-list-type"].as_str() {
                    Some("set") => Form::Set,
                    Some("map") => Form::Keyed(
                        keys.into_iter()
                            .flatten()
                            .filter_map(Value::as_str)
                            .collect(),
                    ),
                    _ => Form::Leaf,
                }
            }
            _ => Form::Leaf,
        }
    }

    /// The schema of a member, and whether the schema names it.
    pub(super) fn member(&self, name: &str) -> (Node<'s>, bool) {
        match self.0 {
            Place::Root(_) if name == "metadata" => {
                let pod = Node::of_kind("", "v1", "Pod");
                (pod.member("metadata").0, true)
            }
            Place::Root(schema) | Place::Custom(schema) => custom_member(schema, name),
            Place::Definition(id) => definition_member(id, name),
            Place::Field(field) => type_member(&field.r#type, name),
            Place::Type(r#type) => type_member(r#type, name),
            Place::Any => (Node(Place::Any), false),
        }
    }

    /// The schema of an element.
    pub(super) fn element(&self) -> Node<'s> {
        match self.0 {
            Place::Field(Field {
                r#type: Type::List(element),
                ..
            })
            | Place::Type(Type::List(element)) => Node(Place::Type(element)),
            Place::Custom(schema) => Node(schema.get("items").map_or(Place::Any, Place::Custom)),
            _ => Node(Place::Any),
        }
    }

    /// The step to an element of a list with keys; none if it lacks one.
    pub(super) fn step(&self, keys: &[&str], element: &Value) -> Option<Box<str>> {
        let mut found = Map::new();
        for key in keys {
            let value = element.get(key).filter(|value| !value.is_null()).cloned();
            let value = value.or_else(|| self.key_default(key))?;
            found.insert((*key).to_owned(), value);
        }
        Some(step::keys(&found))
    }

    /// What a key is when an element does not say.
    fn key_default(&self, key: &str) -> Option<Value> {
        match self.0 {
            Place::Custom(schema) => schema["items"]["properties"][key].get("default").cloned(),
            // The one key in the API that has a default.
            _ => (key == "protocol").then(|| "TCP".into()),
        }
    }
}

fn takes_members(definition: &Definition) -> bool {
    let body = match definition.body {
        Body::Fields(_) => true,
        Body::Scalar(scalar) => matches!(scalar, Scalar::Object | Scalar::Any),
    };
    body && !ATOMIC.contains(&definition.name)
}

fn type_takes_members(r#type: &Type) -> bool {
    match r#type {
        Type::Reference(id) => takes_members(Table::get().definition(*id)),
        Type::Map(_) => true,
        Type::Scalar(scalar) => matches!(scalar, Scalar::Object | Scalar::Any),
        Type::List(_) => false,
    }
}

fn definition_member(id: Id, name: &str) -> (Node<'static>, bool) {
    match Table::get().definition(id).field(name) {
        Some(field) => (Node(Place::Field(field)), true),
        None => (Node(Place::Any), false),
    }
}

fn type_member(r#type: &'static Type, name: &str) -> (Node<'static>, bool) {
    match r#type {
        Type::Reference(id) => definition_member(*id, name),
        Type::Map(member) => (Node(Place::Type(member)), false),
        _ => (Node(Place::Any), false),
    }
}

fn custom_member<'s>(schema: &'s Value, name: &str) -> (Node<'s>, bool) {
    if let Some(member) = schema.get("properties").and_then(|all| all.get(name)) {
        return (Node(Place::Custom(member)), true);
    }
    match schema.get("additionalProperties") {
        Some(member) if member.is_object() => (Node(Place::Custom(member)), false),
        _ => (Node(Place::Any), false),
    }
}
