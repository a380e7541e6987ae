//! StatefulSet: pods with names and storage that stay theirs.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, name, string, wide};
use crate::registry::core::persistent_volume_claim::{claim_spec, spec_defaults};
use crate::registry::kind::{FieldError, Kind, ScalePaths};
use crate::registry::pod_spec::{
    container_cells, in_vain, template_defaults, template_selector, validate_template,
};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, non_negative, one_of, required_one_of};
use crate::registry::value::{child, default, default_text, int, list_mut, put, text};

/// StatefulSet of apps/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "apps",
    kind: "StatefulSet",
    plural: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    status: true,
    scale: Some(ScalePaths {
        spec_replicas: "/spec/replicas",
        status_replicas: "/status/replicas",
        selector: "/spec/selector",
    }),
    inert: true,
    columns: &[
        NAME,
        string("Ready"),
        AGE,
        wide("Containers"),
        wide("Images"),
    ],
    cells: |set, now| {
        let count = |pointer: &str| int(set, pointer).unwrap_or(0);
        let ready = (count("/status/readyReplicas"), count("/spec/replicas"));
        let [containers, images] = container_cells(set, "/spec/template/spec/containers");
        let ready = format!("{}/{}", ready.0, ready.1).into();
        vec![name(set), ready, age(set, now), containers, images]
    },
    default: set_defaults,
    prepare: |new, old| {
        prepare::status_and_generation(new, old);
        if old.is_none() {
            let counts = json!({"replicas": 0, "availableReplicas": 0});
            put(new, "status", Some(counts));
        }
    },
    validate,
    warnings: |object| in_vain(&At::root(object).dig(&["spec", "template", "spec"])),
    ..Kind::PLAIN
};

fn set_defaults(set: &mut Value) {
    let Some(spec) = child(set, "spec") else {
        return;
    };
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default_text(spec, "podManagementPolicy", "OrderedReady");
    default(spec, "serviceName", "");
    if let Some(template) = child(spec, "template") {
        template_defaults(template);
    }
    for claim in list_mut(spec, "/volumeClaimTemplates") {
        default(claim, "apiVersion", "v1");
        default(claim, "kind", "PersistentVolumeClaim");
        if let Some(spec) = child(claim, "spec") {
            spec_defaults(spec);
        }
        default(claim, "status", json!({"phase": "Pending"}));
    }
    if let Some(policy) = child(spec, "persistentVolumeClaimRetentionPolicy") {
        default_text(policy, "whenDeleted", "Retain");
        default_text(policy, "whenScaled", "Retain");
    }
    let Some(strategy) = child(spec, "updateStrategy") else {
        return;
    };
    default_text(strategy, "type", "RollingUpdate");
    if text(strategy, "/type") == "RollingUpdate"
        && let Some(rolling) = child(strategy, "rollingUpdate")
    {
        default(rolling, "partition", 0);
    }
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    let policies = &["OrderedReady", "Parallel"];
    required_one_of(&spec.get("podManagementPolicy"), policies, &mut faults);
    let strategy = spec.get("updateStrategy");
    required_one_of(
        &strategy.get("type"),
        &["OnDelete", "RollingUpdate"],
        &mut faults,
    );
    let rolling = strategy.get("rollingUpdate");
    if strategy.get("type").text() == "OnDelete" && rolling.is_set() {
        faults.invalid(&rolling, "only allowed for updateStrategy 'RollingUpdate'");
    }
    non_negative(&rolling.get("partition"), &mut faults);
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    for when in ["whenDeleted", "whenScaled"] {
        one_of(&retention.get(when), &["Delete", "Retain"], &mut faults);
    }
    for count in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        non_negative(&spec.get(count), &mut faults);
    }
    non_negative(&spec.dig(&["ordinals", "start"]), &mut faults);
    let selector = spec.get("selector");
    template_selector(&selector, &mut faults);
    validate_template(&spec.get("template"), &selector, &["Always"], &mut faults);
    for claim in spec.get("volumeClaimTemplates").each() {
        claim_spec(&claim.get("spec"), &mut faults);
    }
    if let Some(old) = old {
        kept(&spec, &At::root(old).get("spec"), &mut faults);
    }
    faults.into_list()
}

/// Members of the spec that may change.
const CHANGEABLE: &[&str] = &[
    "minReadySeconds",
    "ordinals",
    "persistentVolumeClaimRetentionPolicy",
    "replicas",
    "revisionHistoryLimit",
    "template",
    "updateStrategy",
];

fn kept(new: &At<'_>, old: &At<'_>, faults: &mut Faults) {
    let keys = [
        "selector",
        "serviceName",
        "podManagementPolicy",
        "volumeClaimTemplates",
    ];
    if keys
        .iter()
        .any(|key| new.get(key).value() != old.get(key).value())
    {
        let list: Vec<_> = CHANGEABLE.iter().map(|key| format!("'{key}'")).collect();
        let why = format!(
            "updates to statefulset spec for fields other than {} are forbidden",
            list.join(", ")
        );
        faults.forbidden(new, &why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_of_the_pods_cannot_change() {
        let mut set = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "a",
            "template": {"metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        set_defaults(&mut set);
        assert_eq!(validate(&set, None), []);
        let mut other = set.clone();
        other["spec"]["serviceName"] = "b".into();
        assert_eq!(Faults::paths(&validate(&other, Some(&set))), ["spec"]);
        other = set.clone();
        other["spec"]["replicas"] = 3.into();
        assert_eq!(validate(&other, Some(&set)), []);
    }
}
