//! PodTemplate: a pod to be made from, kept by itself.

use serde_json::Value;

use crate::registry::column::{NAME, name, string};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::pod_spec::{container_cells, template_defaults, validate_template};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults};
use crate::registry::selector::map_text;
use crate::registry::value::child;

/// PodTemplate of v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    inert: true,
    returned: true,
    columns: &[
        NAME,
        string("Containers"),
        string("Images"),
        string("Pod Labels"),
    ],
    cells: |object, _| {
        let [containers, images] = container_cells(object, "/template/spec/containers");
        let labels = map_text(object.pointer("/template/metadata/labels"));
        vec![name(object), containers, images, labels.into()]
    },
    default: |object| {
        if let Some(template) = child(object, "template") {
            template_defaults(template);
        }
    },
    prepare: prepare::generation,
    validate,
    ..Kind::PLAIN
};

fn validate(new: &Value, _old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let template = At::root(new).get("template");
    let policies = &["Always", "OnFailure", "Never"];
    validate_template(&template, &At::root(&Value::Null), policies, &mut faults);
    faults.into_list()
}
