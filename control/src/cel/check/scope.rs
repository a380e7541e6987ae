//! What an expression may look at.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::types::Type;
use crate::cel::authorizer::{NAME as AUTHORIZER, OF_REQUEST};

/// The full names of what `authorizer` begins with.
const AUTHORIZER_TYPE: &str = "kubernetes.authorization.Authorizer";
const CHECK_TYPE: &str = "kubernetes.authorization.ResourceCheck";

/// The variables of an expression.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    variables: BTreeMap<String, Type>,
    messages: bool,
}

impl Scope {
    /// Variables with their types.
    pub(crate) fn of(variables: impl IntoIterator<Item = (&'static str, Type)>) -> Scope {
        let variables = variables.into_iter();
        Scope {
            variables: variables.map(|(name, it)| (name.to_owned(), it)).collect(),
            messages: false,
        }
    }

    /// What the expressions of policies and conditions see of a write whose objects are of type
    /// `object`.
    pub(crate) fn of_write(object: &Type) -> Scope {
        Scope::of([
            ("object", object.clone()),
            ("oldObject", object.clone()),
            ("request", request()),
            ("namespaceObject", namespace()),
            (AUTHORIZER, Type::Opaque(Arc::from(AUTHORIZER_TYPE))),
            (OF_REQUEST, Type::Opaque(Arc::from(CHECK_TYPE))),
        ])
    }

    /// With one more variable.
    pub(crate) fn with(mut self, name: &str, found: Type) -> Scope {
        self.variables.insert(name.to_owned(), found);
        self
    }

    /// For messages, which ask nobody.
    pub(crate) fn without_authorizer(mut self) -> Scope {
        self.variables
            .retain(|name, _| name != AUTHORIZER && name != OF_REQUEST);
        self
    }

    /// For an expression that says what a mutation changes, and makes `Object` and `JSONPatch`.
    pub(crate) fn making_messages(mut self) -> Scope {
        self.messages = true;
        self
    }

    pub(crate) fn makes_messages(&self) -> bool {
        self.messages
    }

    pub(super) fn variable(&self, name: &str) -> Option<Type> {
        self.variables.get(name).cloned()
    }

    /// The names of all variables.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.variables.keys().map(String::as_str).collect()
    }
}

fn object<const N: usize>(name: &str, fields: [(&str, Type); N]) -> Type {
    Type::object(name, fields.map(|(name, it)| (name.to_owned(), it)))
}

fn texts() -> Type {
    Type::list(Type::String)
}

/// The type of `request`.
fn request() -> Type {
    let kind = |last: &str, name: &str| {
        object(
            name,
            [
                ("group", Type::String),
                ("version", Type::String),
                (last, Type::String),
            ],
        )
    };
    let kind_type = kind("kind", "kubernetes.GroupVersionKind");
    let resource = kind("resource", "kubernetes.GroupVersionResource");
    let user = object(
        "kubernetes.UserInfo",
        [
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", texts()),
            ("extra", Type::map(Type::String, texts())),
        ],
    );
    object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind_type.clone()),
            ("resource", resource.clone()),
            ("subResource", Type::String),
            ("requestKind", kind_type),
            ("requestResource", resource),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

/// The type of `namespaceObject`.
fn namespace() -> Type {
    let condition = object(
        "kubernetes.NamespaceCondition",
        [
            ("status", Type::String),
            ("type", Type::String),
            ("lastTransitionTime", Type::Timestamp),
            ("message", Type::String),
            ("reason", Type::String),
        ],
    );
    let labels = || Type::map(Type::String, Type::String);
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        [
            ("name", Type::String),
            ("generateName", Type::String),
            ("namespace", Type::String),
            ("labels", labels()),
            ("annotations", labels()),
            ("UID", Type::String),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::String),
            ("finalizers", texts()),
        ],
    );
    let status = [
        ("conditions", Type::list(condition)),
        ("phase", Type::String),
    ];
    object(
        "kubernetes.Namespace",
        [
            ("metadata", metadata),
            (
                "spec",
                object("kubernetes.NamespaceSpec", [("finalizers", texts())]),
            ),
            ("status", object("kubernetes.NamespaceStatus", status)),
        ],
    )
}
