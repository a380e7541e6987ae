//! Deployment: replicas of a pod, replaced step by step when the template changes.

use serde_json::{Value, json};

use crate::registry::age::age;
use crate::registry::column::{AGE, NAME, integer, name, string, wide};
use crate::registry::kind::{FieldError, Kind, ScalePaths};
use crate::registry::pod_spec::{
    in_vain, template_defaults, template_selector, validate_template, wide_cells,
};
use crate::registry::prepare;
use crate::registry::rules::{
    At, Faults, fraction_or_count, immutable, non_negative, required_one_of,
};
use crate::registry::value::{child, default, default_text, int, text};

/// Deployment of apps/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    status: true,
    scale: Some(ScalePaths {
        spec_replicas: "/spec/replicas",
        status_replicas: "/status/replicas",
        selector: "/spec/selector",
    }),
    columns: &[
        NAME,
        string("Ready"),
        integer("Up-to-date"),
        integer("Available"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells,
    default: set_defaults,
    prepare: prepare::status_and_generation,
    validate,
    warnings: |object| in_vain(&At::root(object).dig(&["spec", "template", "spec"])),
    ..Kind::PLAIN
};

fn cells(deployment: &Value, now: i64) -> Vec<Value> {
    let count = |pointer: &str| int(deployment, pointer).unwrap_or(0);
    let ready = format!(
        "{}/{}",
        count("/status/readyReplicas"),
        count("/spec/replicas")
    );
    let mut cells = vec![
        name(deployment),
        ready.into(),
        count("/status/updatedReplicas").into(),
        count("/status/availableReplicas").into(),
        age(deployment, now),
    ];
    cells.extend(wide_cells(deployment));
    cells
}

fn set_defaults(deployment: &mut Value) {
    let Some(spec) = child(deployment, "spec") else {
        return;
    };
    if let Some(template) = child(spec, "template") {
        template_defaults(template);
    }
    default(spec, "replicas", 1);
    default(spec, "revisionHistoryLimit", 10);
    default(spec, "progressDeadlineSeconds", 600);
    let Some(strategy) = child(spec, "strategy") else {
        return;
    };
    default_text(strategy, "type", "RollingUpdate");
    if text(strategy, "/type") == "RollingUpdate"
        && let Some(rolling) = child(strategy, "rollingUpdate")
    {
        default(rolling, "maxUnavailable", json!("25%"));
        default(rolling, "maxSurge", json!("25%"));
    }
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    for count in [
        "replicas",
        "minReadySeconds",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
    ] {
        non_negative(&spec.get(count), &mut faults);
    }
    let selector = spec.get("selector");
    template_selector(&selector, &mut faults);
    validate_template(&spec.get("template"), &selector, &["Always"], &mut faults);
    strategy(&spec.get("strategy"), &mut faults);
    deadline(&spec, &mut faults);
    if let Some(old) = old {
        immutable(
            &selector,
            &At::root(old).dig(&["spec", "selector"]),
            &mut faults,
        );
    }
    faults.into_list()
}

fn strategy(strategy: &At<'_>, faults: &mut Faults) {
    required_one_of(
        &strategy.get("type"),
        &["Recreate", "RollingUpdate"],
        faults,
    );
    let rolling = strategy.get("rollingUpdate");
    if strategy.get("type").text() == "Recreate" && rolling.is_set() {
        faults.forbidden(
            &rolling,
            "may not be specified when strategy `type` is 'Recreate'",
        );
    }
    let (surge, unavailable) = (rolling.get("maxSurge"), rolling.get("maxUnavailable"));
    fraction_or_count(&surge, faults);
    fraction_or_count(&unavailable, faults);
    let zero = |at: &At<'_>| *at.value() == 0 || at.text().trim_start_matches('0') == "%";
    if zero(&surge) && zero(&unavailable) {
        faults.invalid(&unavailable, "may not be 0 when `maxSurge` is 0");
    }
}

/// Pods have to become available before the rollout counts as stuck.
fn deadline(spec: &At<'_>, faults: &mut Faults) {
    let deadline = spec.get("progressDeadlineSeconds");
    let ready = spec.get("minReadySeconds").int().unwrap_or(0);
    if deadline.int().is_some_and(|deadline| deadline <= ready) {
        faults.invalid(&deadline, "must be greater than minReadySeconds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Value {
        let mut deployment = json!({"spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "a", "image": "b"}]}}}});
        set_defaults(&mut deployment);
        deployment
    }

    #[track_caller]
    fn case(change: impl FnOnce(&mut Value), expected: &[&str]) {
        let mut new = deployment();
        change(&mut new["spec"]);
        set_defaults(&mut new);
        let faults = validate(&new, None);
        assert_eq!(Faults::paths(&faults), expected, "{faults:#?}");
    }

    #[test]
    fn defaults_are_those_users_know() {
        let spec = &deployment()["spec"];
        assert_eq!(spec["replicas"], 1);
        assert_eq!(spec["revisionHistoryLimit"], 10);
        assert_eq!(spec["progressDeadlineSeconds"], 600);
        let rolling = json!({"maxSurge": "25%", "maxUnavailable": "25%"});
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": rolling})
        );
        assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
        assert_eq!(spec["template"]["spec"].get("enableServiceLinks"), None);
    }

    #[test]
    fn faults_are_named() {
        case(|_| {}, &[]);
        case(|spec| spec["replicas"] = json!(-1), &["spec.replicas"]);
        case(|spec| spec["selector"] = json!(null), &["spec.selector"]);
        case(|spec| spec["selector"] = json!({}), &["spec.selector"]);
        case(
            |spec| spec["template"]["metadata"] = json!({}),
            &["spec.template.metadata.labels"],
        );
        case(
            |spec| {
                spec["strategy"]["rollingUpdate"] = json!({"maxSurge": 0, "maxUnavailable": "0%"})
            },
            &["spec.strategy.rollingUpdate.maxUnavailable"],
        );
        case(
            |spec| spec["strategy"] = json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
            &["spec.strategy.rollingUpdate"],
        );
        case(
            |spec| spec["minReadySeconds"] = json!(600),
            &["spec.progressDeadlineSeconds"],
        );
        case(
            |spec| spec["template"]["spec"]["containers"][0]["image"] = json!(""),
            &["spec.template.spec.containers[0].image"],
        );
    }

    #[test]
    fn the_selector_is_immutable() {
        let old = deployment();
        let mut new = old.clone();
        new["spec"]["selector"]["matchLabels"]["tier"] = json!("x");
        new["spec"]["template"]["metadata"]["labels"]["tier"] = json!("x");
        assert_eq!(
            Faults::paths(&validate(&new, Some(&old))),
            ["spec.selector"]
        );
    }
}
