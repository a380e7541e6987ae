//! The annotation of client-side apply, as far as an apply by kubectl on the server takes it over.
//!
//! kubectl remembers there what it applied last. Whoever changes over to applying on the server under
//! kubectl's own name does not run into what kubectl itself had set before; and while the annotation
//! is there it is kept up to date, so that one may change back.

use serde_json::Value;

use super::apply::Applying;
use super::take;
use crate::api::value::{metadata, text};
use crate::schema::ownership::{FieldSet, Node, compare, fields_of};

/// The manager whose applies are taken over.
const KUBECTL: &str = "kubectl";
/// The annotation.
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The fields that kubectl had applied by itself and that are still as it left them.
pub(super) fn fields(node: Node<'_>, live: &Value, what: &Applying<'_>) -> FieldSet {
    if what.writer.manager != KUBECTL {
        return FieldSet::default();
    }
    let Some(last) = annotation(live).and_then(|text| serde_json::from_str::<Value>(text).ok())
    else {
        return FieldSet::default();
    };
    let changed = compare(node, &last, live);
    let said = fields_of(node, &last);
    said.difference(&changed.modified)
        .difference(&changed.removed)
}

/// Writes what is applied now into an annotation that is there.
pub(super) fn follow(merged: &mut Value, what: &Applying<'_>) {
    if what.writer.manager != KUBECTL || annotation(merged).is_none() {
        return;
    }
    let mut config = what.config.clone();
    take(&mut config);
    if let Some(annotations) = config.pointer_mut("/metadata/annotations")
        && let Some(annotations) = annotations.as_object_mut()
    {
        annotations.remove(ANNOTATION);
    }
    let text = format!("{config}\n");
    if let Some(annotations) = metadata(merged).get_mut("annotations") {
        annotations[ANNOTATION] = text.into();
    }
}

fn annotation(object: &Value) -> Option<&str> {
    let text = text(
        object,
        "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
    );
    Some(text).filter(|text| !text.is_empty())
}
