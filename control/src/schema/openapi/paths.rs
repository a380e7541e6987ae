//! The paths of a kind with their operations: which verbs there are and which parameters they take.

use serde_json::{Map, Value, json};

use super::schemas::Dialect;
use crate::registry::kind::Kind;
use crate::schema::table::{PREFIX, Table};

/// The parameters that every write takes.
const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
/// The parameters of a list.
const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
/// The parameters of a deletion.
const DELETE: &[&str] = &[
    "dryRun",
    "gracePeriodSeconds",
    "orphanDependents",
    "propagationPolicy",
];
/// What a patch may be; a strategic one needs merge keys, which custom kinds have not.
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// One operation, apart from its kind.
struct Verb {
    method: &'static str,
    action: &'static str,
    parameters: &'static [&'static str],
}

const ON_COLLECTION: [Verb; 3] = [
    Verb {
        method: "get",
        action: "list",
        parameters: LIST,
    },
    Verb {
        method: "post",
        action: "post",
        parameters: WRITE,
    },
    Verb {
        method: "delete",
        action: "deletecollection",
        parameters: DELETE,
    },
];

const ON_OBJECT: [Verb; 4] = [
    Verb {
        method: "get",
        action: "get",
        parameters: &[],
    },
    Verb {
        method: "put",
        action: "put",
        parameters: WRITE,
    },
    Verb {
        method: "patch",
        action: "patch",
        parameters: WRITE,
    },
    Verb {
        method: "delete",
        action: "delete",
        parameters: DELETE,
    },
];

/// The paths of a kind with their items.
pub(super) fn of_kind(kind: &Kind, dialect: Dialect) -> Vec<(String, Value)> {
    let writer = Writer { kind, dialect };
    let root = format!("/{}", super::group_path(kind.group, kind.version));
    let scope = if kind.namespaced {
        "/namespaces/{namespace}"
    } else {
        ""
    };
    let collection = format!("{root}{scope}/{}", kind.plural);
    let object = format!("{collection}/{{name}}");
    let mut paths = vec![
        (
            collection,
            writer.item(&ON_COLLECTION, "", kind.namespaced, false),
        ),
        (
            object.clone(),
            writer.item(&ON_OBJECT, "", kind.namespaced, true),
        ),
    ];
    if kind.namespaced {
        let everywhere = format!("{root}/{}", kind.plural);
        paths.push((
            everywhere,
            writer.item(&ON_COLLECTION[..1], "AllNamespaces", false, false),
        ));
    }
    if kind.status {
        let status = format!("{object}/status");
        paths.push((
            status,
            writer.item(&ON_OBJECT[..3], "Status", kind.namespaced, true),
        ));
    }
    paths
}

struct Writer<'a> {
    kind: &'a Kind,
    dialect: Dialect,
}

impl Writer<'_> {
    fn item(&self, verbs: &[Verb], suffix: &str, namespaced: bool, named: bool) -> Value {
        let mut item: Map<String, Value> = verbs
            .iter()
            .map(|verb| (verb.method.to_owned(), self.operation(verb, suffix)))
            .collect();
        let in_path = [("namespace", namespaced), ("name", named)];
        let in_path = in_path.iter().filter(|(_, there)| *there);
        let parameters: Vec<_> = in_path
            .map(|(name, _)| self.parameter(name, "path"))
            .collect();
        if !parameters.is_empty() {
            item.insert("parameters".to_owned(), parameters.into());
        }
        Value::Object(item)
    }

    fn operation(&self, verb: &Verb, suffix: &str) -> Value {
        let kind = self.kind;
        let parameters: Vec<_> = verb
            .parameters
            .iter()
            .map(|name| self.parameter(name, "query"))
            .collect();
        let mut operation = json!({
            "operationId": operation_id(kind, verb.action, suffix),
            "parameters": parameters,
            "responses": {"200": self.response()},
            "x-kubernetes-action": verb.action,
            "x-kubernetes-group-version-kind":
                {"group": kind.group, "version": kind.version, "kind": kind.kind},
        });
        if verb.method == "patch" {
            self.accept_patches(&mut operation);
        }
        operation
    }

    fn parameter(&self, name: &str, place: &str) -> Value {
        let r#type = match name {
            "limit" | "timeoutSeconds" | "gracePeriodSeconds" => "integer",
            "watch" | "allowWatchBookmarks" | "sendInitialEvents" | "orphanDependents" => "boolean",
            _ => "string",
        };
        let mut parameter = json!({"name": name, "in": place});
        match self.dialect {
            Dialect::V2 => parameter["type"] = r#type.into(),
            Dialect::V3 => parameter["schema"] = json!({"type": r#type}),
        }
        if place == "path" {
            parameter["required"] = true.into();
        }
        parameter
    }

    fn response(&self) -> Value {
        let table = Table::get();
        let (group, version) = (self.kind.group, self.kind.version);
        let id = table.kind(group, version, self.kind.kind);
        let known = id.map(|id| format!("{PREFIX}{}", table.definition(id).name));
        let name = known.unwrap_or_else(|| super::custom::name(self.kind));
        let reference = json!({"$ref": format!("{}{name}", self.dialect.place())});
        match self.dialect {
            Dialect::V2 => json!({"description": "OK", "schema": reference}),
            Dialect::V3 => json!({"description": "OK",
                "content": {"application/json": {"schema": reference}}}),
        }
    }

    fn accept_patches(&self, operation: &mut Value) {
        let strategic = self.kind.custom.is_none();
        let patches = PATCHES.iter();
        let patches = patches.filter(|media| strategic || !media.contains("strategic"));
        match self.dialect {
            Dialect::V2 => operation["consumes"] = patches.copied().collect(),
            Dialect::V3 => {
                let content: Map<String, Value> = patches
                    .map(|media| ((*media).to_owned(), json!({"schema": {"type": "object"}})))
                    .collect();
                operation["requestBody"] = json!({"content": content, "required": true});
            }
        }
    }
}

/// Unique per operation: `patchAppsV1NamespacedDeploymentStatus`.
fn operation_id(kind: &Kind, action: &str, suffix: &str) -> String {
    let custom = kind.custom.is_some();
    let group = kind.group.split('.').next().unwrap_or_default();
    let whole = kind.group.split('.').map(capital).collect::<String>();
    let group = if custom { &whole } else { group };
    let group = if group.is_empty() { "core" } else { group };
    let scope = if kind.namespaced && suffix != "AllNamespaces" {
        "Namespaced"
    } else {
        ""
    };
    let (group, version) = (capital(group), capital(kind.version));
    format!("{action}{group}{version}{scope}{}{suffix}", kind.kind)
}

fn capital(word: &str) -> String {
    let (head, tail) = word.split_at(word.len().min(1));
    format!("{}{tail}", head.to_uppercase())
}
