//! Wishes of a pod spec that are valid and that nobody fulfils yet: better said than found out.

use serde_json::Value;

use super::CONTAINER_LISTS;
use crate::registry::rules::At;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// What the pod spec at `at` asks for in vain, each a sentence that begins with the field's path.
pub(in crate::registry) fn in_vain(at: &At<'_>) -> Vec<String> {
    let containers = CONTAINER_LISTS.iter();
    let containers = containers.flat_map(|list| at.get(list).each().collect::<Vec<_>>());
    let containers: Vec<_> = containers.collect();
    let mut told = placement(at);
    told.extend(confinement(at, &containers));
    told
}

fn placement(at: &At<'_>) -> Vec<String> {
    let pods = ["podAffinity", "podAntiAffinity"].map(|kind| at.dig(&["affinity", kind, REQUIRED]));
    let spread = at.get("topologySpreadConstraints");
    let hard = spread
        .each()
        .filter(|it| it.get("whenUnsatisfiable").text() == "DoNotSchedule");
    let wishes = pods.into_iter().filter(|it| !it.is_empty()).chain(hard);
    let why = "the scheduler does not see to it; it spreads the pods of one owner where it can";
    wishes.map(|wish| sentence(&wish, why)).collect()
}

fn confinement(at: &At<'_>, containers: &[At<'_>]) -> Vec<String> {
    let contexts = std::iter::once(at).chain(containers);
    let contexts = contexts.map(|it| it.get("securityContext"));
    let profiles =
        contexts.flat_map(|it| ["appArmorProfile", "seLinuxOptions"].map(|key| it.get(key)));
    let own_users = Some(at.get("hostUsers")).filter(|it| *it.value() == Value::Bool(false));
    let wishes = profiles.filter(|it| !it.is_empty()).chain(own_users);
    wishes
        .map(|wish| sentence(&wish, "nodes do not apply it"))
        .collect()
}

fn sentence(at: &At<'_>, why: &str) -> String {
    format!("{}: {why}", at.path())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn case(spec: Value, expected: &[&str]) {
        let pod = json!({"spec": spec});
        let told = in_vain(&At::root(&pod).get("spec"));
        let paths: Vec<_> = told
            .iter()
            .map(|it| it.split(": ").next().unwrap())
            .collect();
        assert_eq!(paths, expected, "{told:?}");
    }

    #[test]
    fn hard_wishes_about_other_pods_are_told_and_soft_ones_not() {
        let term = json!([{"topologyKey": "kubernetes.io/hostname"}]);
        let spread = |when: &str| json!({"whenUnsatisfiable": when});
        case(
            json!({"affinity": {"podAntiAffinity": {REQUIRED: term}, "podAffinity": {
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}},
                "topologySpreadConstraints": [spread("ScheduleAnyway"), spread("DoNotSchedule")]}),
            &[
                "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution",
                "spec.topologySpreadConstraints[1]",
            ],
        );
    }

    #[test]
    fn confinement_that_nobody_applies_is_told() {
        let profile = json!({"appArmorProfile": {"type": "RuntimeDefault"}, "runAsUser": 1});
        case(
            json!({"hostUsers": false, "containers": [{"name": "a", "securityContext": profile}]}),
            &[
                "spec.containers[0].securityContext.appArmorProfile",
                "spec.hostUsers",
            ],
        );
        case(
            json!({"hostUsers": true, "containers": [{"name": "a"}]}),
            &[],
        );
    }
}
