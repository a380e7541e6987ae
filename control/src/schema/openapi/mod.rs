//! OpenAPI documents, made from the field table and the registry when somebody asks.
//!
//! Version 2 as JSON and as protobuf (the older kubectl reads nothing else), version 3 as one
//! document per group and version with an index. Nothing is kept: a document is built in a few
//! milliseconds, clients cache it, and an idle server shall stay small. What clients take from these
//! documents: field names and types (`explain`, client-side validation), merge keys (`apply`), and
//! which parameters a write supports (`--dry-run=server`, `--validate`).

mod custom;
mod describe;
mod gnostic;
mod paths;
mod protobuf;
mod schemas;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use prost::Message;
use serde_json::{Map, Value, json};

pub use self::custom::Described;
use self::schemas::{Dialect, Writer};
use super::table::{Id, Table};
use crate::registry::KINDS;
use crate::registry::kind::Kind;

/// The media type under which [`v2_protobuf`] is answered. Clients ask for it with `@` in the place
/// of the second dot; in the answer that would be a malformed media type, which they refuse.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The whole API as a Swagger 2.0 document.
pub fn v2(custom: &[Described]) -> Value {
    let writer = Writer::new(Dialect::V2);
    let table = Table::get();
    let definitions: Map<String, Value> = table
        .iter()
        .map(|(id, _)| (schemas::full_name(id), writer.definition(id)))
        .chain(
            custom
                .iter()
                .flat_map(|it| custom::definitions(it, Dialect::V2)),
        )
        .collect();
    let paths: Map<String, Value> = described()
        .chain(custom.iter().map(|it| it.kind))
        .flat_map(|kind| paths::of_kind(kind, Dialect::V2))
        .collect();
    json!({
        "swagger": "2.0",
        "info": info(),
        "paths": paths,
        "definitions": definitions,
    })
}

/// A document as of [`v2`] in the protobuf form of the gnostic project.
pub fn v2_protobuf(document: &Value) -> Vec<u8> {
    protobuf::document(document).encode_to_vec()
}

/// Where the documents of version 3 are; `hash` changes with their content.
pub fn v3_index(custom: &[Described]) -> Value {
    let hash = hash(custom);
    let entry = |(group, version): (&str, &str)| {
        let path = group_path(group, version);
        let url = format!("/openapi/v3/{path}?hash={hash}");
        (path, json!({ "serverRelativeURL": url }))
    };
    let mut groups = group_versions();
    groups.extend(custom.iter().map(|it| (it.kind.group, it.kind.version)));
    let paths: Map<String, Value> = groups.into_iter().map(entry).collect();
    json!({ "paths": paths })
}

/// The document of one group and version, none if it serves no kind.
pub fn v3_document(group: &str, version: &str, custom: &[Described]) -> Option<Value> {
    let here = |kind: &Kind| (kind.group, kind.version) == (group, version);
    let custom: Vec<_> = custom.iter().filter(|it| here(it.kind)).collect();
    let kinds = described().chain(custom.iter().map(|it| it.kind));
    let kinds = kinds.filter(|kind| here(kind));
    let paths: Map<String, Value> = kinds
        .flat_map(|kind| paths::of_kind(kind, Dialect::V3))
        .collect();
    if paths.is_empty() {
        return None;
    }
    let writer = Writer::new(Dialect::V3);
    let schemas: Map<String, Value> = reachable(group, version)
        .into_iter()
        .map(|id| (schemas::full_name(id), writer.definition(id)))
        .chain(
            custom
                .iter()
                .flat_map(|it| custom::definitions(it, Dialect::V3)),
        )
        .collect();
    Some(json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

/// The kinds that a client may write; of the others it needs no schema.
fn described() -> impl Iterator<Item = &'static Kind> {
    let kinds = KINDS.iter().copied();
    kinds.filter(|kind| kind.verbs.contains(&"create"))
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": env!("CARGO_PKG_VERSION")})
}

fn group_versions() -> BTreeSet<(&'static str, &'static str)> {
    described().map(|kind| (kind.group, kind.version)).collect()
}

/// `api/v1` or `apis/GROUP/VERSION`.
fn group_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// A fingerprint of everything the documents are made of.
fn hash(custom: &[Described]) -> String {
    let sources = [
        super::table::SOURCE,
        describe::SOURCE,
        env!("CARGO_PKG_VERSION"),
    ];
    let custom = custom
        .iter()
        .map(|it| format!("{}{}", custom::name(it.kind), it.schema));
    let name = sources.concat() + &custom.collect::<String>();
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes())
        .simple()
        .to_string()
}

/// All definitions that the kinds of a group and version lead to.
fn reachable(group: &str, version: &str) -> BTreeSet<Id> {
    let table = Table::get();
    let served = |id: &Id| {
        let kinds = &table.definition(*id).kinds;
        kinds
            .iter()
            .any(|gvk| (gvk.group, gvk.version) == (group, version))
    };
    let mut open: Vec<Id> = table.iter().map(|(id, _)| id).filter(served).collect();
    open.extend(table.kind("", "v1", "DeleteOptions"));
    open.extend(table.kind("", "v1", "Status"));
    // Custom kinds have these, and no definition here that leads to them.
    let meta =
        ["ObjectMeta", "ListMeta"].map(|name| format!("apimachinery.pkg.apis.meta.v1.{name}"));
    let is_meta = |name: &str| meta.iter().any(|meta| meta == name);
    open.extend(
        table
            .iter()
            .filter(|(_, it)| is_meta(it.name))
            .map(|(id, _)| id),
    );
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            let fields = table.definition(id).fields();
            open.extend(fields.iter().filter_map(|field| field.r#type.reference()));
        }
    }
    seen
}
