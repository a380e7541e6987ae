//! The paths of a kind with their operations: which verbs there are and which parameters they take.

use serde_json::{Map, Value, json};

use super::schemas::Dialect;
use crate::registry::kind::Kind;
use crate::schema::table::{PREFIX, Table};

/// Where the definitions of all groups are.
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
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
/// The parameters of the deletion of everything that is selected.
const DELETE_SELECTED: &[&str] = &[
    "dryRun",
    "fieldSelector",
    "gracePeriodSeconds",
    "labelSelector",
    "orphanDependents",
    "propagationPolicy",
];
/// The parameters of a patch.
const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
/// What a body that isn't a patch may be.
const BODIES: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
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
    /// What it is called in `x-kubernetes-action`.
    action: &'static str,
    /// The words before and after the group and version in the operation's id.
    id: [&'static str; 2],
    parameters: &'static [&'static str],
    /// The codes of its success.
    codes: &'static [&'static str],
}

const ON_COLLECTION: [Verb; 3] = [
    Verb {
        method: "get",
        action: "list",
        id: ["list", ""],
        parameters: LIST,
        codes: &["200"],
    },
    Verb {
        method: "post",
        action: "post",
        id: ["create", ""],
        parameters: WRITE,
        codes: &["200", "201", "202"],
    },
    Verb {
        method: "delete",
        action: "deletecollection",
        id: ["delete", "Collection"],
        parameters: DELETE_SELECTED,
        codes: &["200"],
    },
];

const ON_OBJECT: [Verb; 4] = [
    Verb {
        method: "get",
        action: "get",
        id: ["read", ""],
        parameters: &[],
        codes: &["200"],
    },
    Verb {
        method: "put",
        action: "put",
        id: ["replace", ""],
        parameters: WRITE,
        codes: &["200", "201"],
    },
    Verb {
        method: "patch",
        action: "patch",
        id: ["patch", ""],
        parameters: PATCH,
        codes: &["200", "201"],
    },
    Verb {
        method: "delete",
        action: "delete",
        id: ["delete", ""],
        parameters: DELETE,
        codes: &["200", "202"],
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
            writer.item(&ON_COLLECTION[..1], "ForAllNamespaces", false, false),
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
            "operationId": operation_id(kind, verb, suffix),
            "parameters": parameters,
            "responses": self.responses(verb),
            "x-kubernetes-action": verb.action,
            "x-kubernetes-group-version-kind":
                {"group": kind.group, "version": kind.version, "kind": kind.kind},
        });
        match verb.action {
            "patch" => {
                let strategic = self.kind.custom.is_none();
                let patches = PATCHES.iter();
                let patches = patches.filter(|it| strategic || !it.contains("strategic"));
                let any = json!({"type": "object"});
                self.accept(&mut operation, patches.copied(), &any, true);
            }
            "post" | "put" => {
                let object = self.reference(&self.definition(""));
                self.accept(&mut operation, BODIES.into_iter(), &object, true);
            }
            "delete" | "deletecollection" => {
                let options = self.reference(&format!("{META}DeleteOptions"));
                self.accept(&mut operation, BODIES.into_iter(), &options, false);
            }
            _ => {}
        }
        operation
    }

    fn parameter(&self, name: &str, place: &str) -> Value {
        let r#type = match name {
            "limit" | "timeoutSeconds" | "gracePeriodSeconds" => "integer",
            "allowWatchBookmarks"
            | "force"
            | "orphanDependents"
            | "sendInitialEvents"
            | "watch" => "boolean",
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

    /// The name of the kind's definition, or of its list's.
    fn definition(&self, suffix: &str) -> String {
        let table = Table::get();
        let (group, version) = (self.kind.group, self.kind.version);
        let id = table.kind(group, version, &format!("{}{suffix}", self.kind.kind));
        let known = id.map(|id| format!("{PREFIX}{}", table.definition(id).name));
        known.unwrap_or_else(|| format!("{}{suffix}", super::custom::name(self.kind)))
    }

    fn reference(&self, name: &str) -> Value {
        json!({"$ref": format!("{}{name}", self.dialect.place())})
    }

    /// What a success answers, by its code. What went wrong is a `Status` whatever the code.
    fn responses(&self, verb: &Verb) -> Value {
        let answered = match verb.action {
            "list" => self.definition("List"),
            "delete" if self.kind.returned => self.definition(""),
            "delete" | "deletecollection" => format!("{META}Status"),
            _ => self.definition(""),
        };
        let schema = self.reference(&answered);
        let success = match self.dialect {
            Dialect::V2 => json!({"description": "OK", "schema": schema}),
            Dialect::V3 => json!({"description": "OK",
                "content": {"application/json": {"schema": schema}}}),
        };
        let codes = verb.codes.iter();
        let mut responses: Map<String, Value> = codes
            .map(|code| ((*code).to_owned(), success.clone()))
            .collect();
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        Value::Object(responses)
    }

    /// Adds a body of one of the media types.
    fn accept(
        &self,
        operation: &mut Value,
        types: impl Iterator<Item = &'static str>,
        schema: &Value,
        required: bool,
    ) {
        match self.dialect {
            Dialect::V2 => {
                operation["consumes"] = types.collect();
                let body = json!({"in": "body", "name": "body", "required": required,
                    "schema": schema});
                let parameters = operation["parameters"].as_array_mut();
                parameters.expect("every operation has them").push(body);
            }
            Dialect::V3 => {
                let content: Map<String, Value> = types
                    .map(|media| (media.to_owned(), json!({"schema": schema})))
                    .collect();
                operation["requestBody"] = json!({"content": content, "required": required});
            }
        }
    }
}

/// Unique per operation: `patchAppsV1NamespacedDeploymentStatus`.
fn operation_id(kind: &Kind, verb: &Verb, suffix: &str) -> String {
    let custom = kind.custom.is_some();
    let group = kind.group.split('.').next().unwrap_or_default();
    let whole = kind.group.split('.').map(capital).collect::<String>();
    let group = if custom { &whole } else { group };
    let group = if group.is_empty() { "core" } else { group };
    let scope = if kind.namespaced && suffix != "ForAllNamespaces" {
        "Namespaced"
    } else {
        ""
    };
    let (group, version) = (capital(group), capital(kind.version));
    let [action, what] = verb.id;
    format!("{action}{group}{version}{what}{scope}{}{suffix}", kind.kind)
}

fn capital(word: &str) -> String {
    let (head, tail) = word.split_at(word.len().min(1));
    format!("{}{tail}", head.to_uppercase())
}
