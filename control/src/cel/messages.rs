//! What a mutation's expression makes: `Object{...}`, of which a part is named by its path
//! (`Object.spec.template{...}`), and `JSONPatch{...}`.
//!
//! The evaluator knows no messages; they are maps here, with their fields' own names. What a field
//! that is written out holds is compared with the path of the field, as the reference implementation
//! does, so that a part does not end up in the wrong place.

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{
    EntryExpr, Expr, IdedEntryExpr, LiteralValue, MapEntryExpr, MapExpr, StructExpr,
};

use super::escape::unescape;

const OBJECT: &str = "Object";
const PATCH: &str = "JSONPatch";
/// What a patch may say (RFC 6902).
const PATCH_FIELDS: &[&str] = &["op", "path", "from", "value"];

/// The map that stands for a message.
///
/// # Errors
/// When there is no such message, or a field of it is filled with another.
pub(super) fn as_map(message: StructExpr) -> Result<Expr, String> {
    let name = message.type_name.trim_start_matches('.').to_owned();
    if name != PATCH && !is_object(&name) {
        return Err(format!("undeclared reference to '{name}'"));
    }
    let entries = message.entries.into_iter().map(|entry| {
        let EntryExpr::StructField(field) = entry.expr else {
            return Err("the expression is incomplete".to_owned());
        };
        let key = unescape(&field.field);
        if name == PATCH && !PATCH_FIELDS.contains(&key.as_str()) {
            return Err(format!("undefined field '{key}'"));
        }
        if is_object(&name) {
            compare(&field.value.expr, &format!("{name}.{key}"))?;
        }
        Ok(IdedEntryExpr {
            id: entry.id,
            expr: EntryExpr::MapEntry(MapEntryExpr {
                key: IdedExpr {
                    id: entry.id,
                    expr: Expr::Literal(LiteralValue::String(key.into())),
                },
                value: field.value,
                optional: field.optional,
            }),
        })
    });
    let entries = entries.collect::<Result<_, _>>()?;
    Ok(Expr::Map(MapExpr { entries }))
}

fn is_object(name: &str) -> bool {
    let rest = name.strip_prefix(OBJECT);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Compares the names of messages that fill a field with the field's `path`.
fn compare(value: &Expr, path: &str) -> Result<(), String> {
    match value {
        Expr::Struct(message) if message.type_name != path => Err(format!(
            "type mismatch: unexpected type name {:?}, expected {path:?}, which matches field name \
             path from root Object type",
            message.type_name
        )),
        Expr::List(list) => {
            let mut elements = list.elements.iter();
            elements.try_for_each(|element| compare(&element.expr, path))
        }
        _ => Ok(()),
    }
}
