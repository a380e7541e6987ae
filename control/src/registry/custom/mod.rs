//! Kinds that clients bring along: what a CustomResourceDefinition says, as a [`Kind`].
//!
//! Made at run time, and from then on like any other kind to the machinery. A kind is plain static
//! data, so what is made here is never freed: some KiB for each state of a definition that is ever
//! served, plus its schema without prose.

mod columns;
mod json_path;

use serde_json::Value;

use super::kind::{Conversion, FieldError, Kind, ScalePaths};
use super::prepare;
use super::value::{list, text};
use crate::schema::structural::{self, Rules};
use columns::Columns;

/// What a custom kind has beyond plain data.
pub(crate) struct Custom {
    /// The structural schema, without prose.
    pub(crate) schema: Value,
    /// Its rules in CEL.
    rules: Rules,
    columns: Columns,
}

impl Custom {
    /// Drops unknown fields and fills in defaults.
    pub(crate) fn complete(&self, object: &mut Value) {
        structural::complete(&self.schema, object);
    }

    /// Everything that breaks a rule of the schema.
    pub(crate) fn faults(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let faults = structural::faults(&self.schema, new);
        if !faults.is_empty() {
            return faults;
        }
        self.rules.faults(&self.schema, new, old)
    }

    /// The cells of a row.
    pub(crate) fn cells(&self, object: &Value, now: i64) -> Vec<Value> {
        self.columns.cells(object, now)
    }
}

/// The kinds of a definition, one for each served version, and the one under which objects are kept.
pub(crate) fn kinds_of(definition: &Value) -> Vec<&'static Kind> {
    let versions = list(definition, "/spec/versions");
    let Some(storage) = storage(definition) else {
        return Vec::new();
    };
    let kept = kind_of(definition, storage, None);
    // Some objects may still be in another version, or be written in it until this is known.
    let stored = list(definition, "/status/storedVersions");
    let moved = stored.iter().any(|version| *version != kept.version);
    let served = versions.iter().filter(|version| version["served"] == true);
    served
        .map(|version| {
            let is_kept = text(version, "/name") == kept.version;
            if is_kept && !moved {
                return kept;
            }
            // Nothing but the version changes, which the machinery does, unless it asks a webhook.
            let other = Conversion {
                kind: kept,
                to_stored: |_| {},
                from_stored: |_| {},
            };
            kind_of(definition, version, Some(other))
        })
        .collect()
}

fn storage(definition: &Value) -> Option<&Value> {
    let mut versions = list(definition, "/spec/versions").iter();
    versions.find(|version| version["storage"] == true)
}

fn kind_of(definition: &Value, version: &Value, stored_as: Option<Conversion>) -> &'static Kind {
    let of = |pointer: &str| leak(text(definition, pointer));
    let texts = |pointer: &str| -> &'static [&'static str] {
        let texts = list(definition, pointer).iter().filter_map(Value::as_str);
        Vec::leak(texts.map(leak).collect())
    };
    let status = version.pointer("/subresources/status").is_some();
    let columns = Columns::of(version);
    let shown = columns.definitions();
    let null = Value::Null;
    let schema = version.pointer("/schema/openAPIV3Schema").unwrap_or(&null);
    let custom = Custom {
        rules: Rules::of(schema),
        schema: structural::compact(schema),
        columns,
    };
    // The store keeps those of the version in which objects are kept.
    let selectable = stored_as
        .is_none()
        .then_some(version)
        .or(storage(definition));
    let paths = selectable.map_or(&[][..], |it| list(it, "/selectableFields"));
    let paths = paths.iter();
    let paths = paths.map(|field| leak(text(field, "/jsonPath").trim_start_matches('.')));
    Box::leak(Box::new(Kind {
        group: of("/spec/group"),
        version: leak(text(version, "/name")),
        kind: of("/spec/names/kind"),
        plural: of("/spec/names/plural"),
        singular: of("/spec/names/singular"),
        short_names: texts("/spec/names/shortNames"),
        categories: texts("/spec/names/categories"),
        namespaced: text(definition, "/spec/scope") == "Namespaced",
        stored_as,
        status,
        scale: scale(version),
        columns: shown,
        prepare: if status {
            prepare::status_and_generation
        } else {
            prepare::generation
        },
        paths: Vec::leak(paths.collect()),
        custom: Some(Box::leak(Box::new(custom))),
        ..Kind::PLAIN
    }))
}

fn scale(version: &Value) -> Option<ScalePaths> {
    let scale = version.pointer("/subresources/scale")?;
    let pointer = |key: &str| leak(&text(scale, key).replace('.', "/"));
    Some(ScalePaths {
        spec_replicas: pointer("/specReplicasPath"),
        status_replicas: pointer("/statusReplicasPath"),
        selector: match pointer("/labelSelectorPath") {
            "" => "/-",
            selector => selector,
        },
    })
}

fn leak(text: &str) -> &'static str {
    String::leak(text.to_owned())
}
