//! `pods/resize`: the processor time and memory of a pod's containers, changed while it runs.

use serde_json::Value;

use super::ephemeral::MIRROR;
use super::qos;
use super::validate::without_empty;
use crate::registry::kind::{FieldError, OwnPart};
use crate::registry::pod_spec::{pod_defaults, resize_policies, validate_spec};
use crate::registry::rules::{At, Faults};
use crate::registry::value::{child, list, list_mut, present, put, text};

/// The lists whose containers can be resized.
const LISTS: [&str; 2] = ["initContainers", "containers"];
/// What this path takes of a container.
const TAKEN: [&str; 2] = ["resources", "resizePolicy"];
/// The resources that can change.
const CHANGEABLE: [&str; 2] = ["cpu", "memory"];

/// The subresource.
pub(super) const PART: OwnPart = OwnPart {
    name: "resize",
    select,
    merge,
    validate,
};

fn select(spec: &mut Value) {
    if let Some(members) = spec.as_object_mut() {
        members.retain(|field, _| LISTS.contains(&field.as_str()));
    }
    for which in LISTS {
        for container in list_mut(spec, &format!("/{which}")) {
            if let Some(members) = container.as_object_mut() {
                members.retain(|field, _| field == "name" || TAKEN.contains(&field.as_str()));
            }
        }
    }
}

fn merge(old: &Value, written: &Value) -> Value {
    let mut new = old.clone();
    for which in LISTS {
        let at = format!("/spec/{which}");
        let wanted = list(written, &at);
        let names = |list: &[Value]| -> Vec<String> {
            list.iter().map(|it| text(it, "/name").to_owned()).collect()
        };
        if names(wanted) == names(list(old, &at)) {
            for (container, wanted) in list_mut(&mut new, &at).iter_mut().zip(wanted) {
                for field in TAKEN {
                    put(container, field, wanted.get(field).cloned());
                }
            }
        } else if let Some(spec) = child(&mut new, "spec") {
            // That is not for this path to do, as the validation will say.
            put(spec, which, written.pointer(&at).cloned());
        }
    }
    new
}

fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut faults = Faults::default();
    if present(old, MIRROR) {
        faults.forbidden(&At::root(&Value::Null), "static pods cannot be resized");
        return faults.into_list();
    }
    let mut before = old.clone();
    pod_defaults(&mut before);
    let (spec, had) = (At::root(new).get("spec"), At::root(&before).get("spec"));
    validate_spec(&spec, &mut faults);
    let class = qos::class(old);
    if qos::class(new) != class {
        let rule = "Pod QOS Class may not change as a result of resizing";
        faults.invalid_value(&spec, &class.into(), rule);
    }
    if !is_supported(old) {
        faults.forbidden(&spec, "Pod running on node without support for resize");
    }
    let comparable =
        LISTS.map(|which| are_same(&spec.get(which), &had.get(which), which, &mut faults));
    if comparable.contains(&false) {
        return faults.into_list();
    }
    for which in LISTS {
        for (now, had) in spec.get(which).each().zip(had.get(which).each()) {
            let resized = Resized {
                now: &now,
                had: &had,
            };
            resized.keeps_what_it_named(&mut faults);
            match which {
                "containers" => resized.main(&spec, &mut faults),
                _ => resized.init(&mut faults),
            }
        }
    }
    faults.into_list()
}

/// A node that resizes says of every running container what it has.
fn is_supported(pod: &Value) -> bool {
    let mut running = list(pod, "/status/containerStatuses")
        .iter()
        .filter(|status| present(status, "/state/running"));
    running.all(|status| present(status, "/resources"))
}

fn are_same(new: &At<'_>, old: &At<'_>, which: &str, faults: &mut Faults) -> bool {
    if new.len() != old.len() {
        faults.forbidden(
            new,
            &format!("{which} may not be added or removed on resize"),
        );
        return false;
    }
    let mut same = true;
    for (new, old) in new.each().zip(old.each()) {
        let name = new.get("name");
        if name.text() != old.get("name").text() {
            let why = format!("{which} may not be renamed or reordered on resize");
            faults.forbidden(&name, &why);
            same = false;
        }
    }
    same
}

/// One container before and after.
struct Resized<'a> {
    now: &'a At<'a>,
    had: &'a At<'a>,
}

impl Resized<'_> {
    fn keeps_what_it_named(&self, faults: &mut Faults) {
        for (what, why) in [
            ("requests", "resource requests cannot be removed"),
            ("limits", "resource limits cannot be removed"),
        ] {
            let path = ["resources", what];
            let (now, had) = (self.now.dig(&path), self.had.dig(&path));
            if had.entries().any(|(name, _)| !now.get(name).is_set()) {
                faults.forbidden(&now, why);
            }
        }
    }

    fn main(&self, spec: &At<'_>, faults: &mut Faults) {
        if self.changes_more() {
            faults.forbidden(spec, "only cpu and memory resources are mutable");
        }
    }

    fn init(&self, faults: &mut Faults) {
        if self.changes_more() {
            faults.forbidden(
                self.now,
                "only cpu and memory resources for init or sidecar containers are mutable",
            );
        }
        let restarts = |policy: At<'_>| policy.get("restartPolicy").text() == "RestartContainer";
        let sidecar = self.now.get("restartPolicy").text() == "Always";
        let changed = self.now.value() != self.had.value();
        if changed && !sidecar && self.now.get("resizePolicy").each().any(restarts) {
            faults.forbidden(
                self.now,
                "non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
            );
        }
    }

    /// Whether it differs in more than processor time and memory, and the policies that come with
    /// those by default.
    fn changes_more(&self) -> bool {
        let mut allowed = self.had.value().clone();
        put(
            &mut allowed,
            "resources",
            self.now.value().get("resources").cloned(),
        );
        resize_policies(&mut allowed);
        let others = |at: &At<'_>| {
            let mut resources = at.get("resources").value().clone();
            for what in ["requests", "limits"] {
                if let Some(amounts) = resources.get_mut(what) {
                    CHANGEABLE.iter().for_each(|name| put(amounts, name, None));
                }
            }
            without_empty(resources)
        };
        without_empty(allowed) != without_empty(self.now.value().clone())
            || others(self.now) != others(self.had)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(resources: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"name": "a", "image": "i", "resources": resources},
                {"name": "b", "image": "i"}]}});
        pod_defaults(&mut pod);
        pod
    }

    fn burstable(cpu: &str, memory: &str) -> Value {
        json!({"requests": {"cpu": cpu, "memory": memory}})
    }

    #[track_caller]
    fn case(old: &Value, change: impl FnOnce(&mut Value), expected: &[&str]) {
        let mut written = old.clone();
        change(&mut written);
        let mut new = merge(old, &written);
        pod_defaults(&mut new);
        let faults = validate(&new, old);
        let said: Vec<_> = faults
            .iter()
            .map(|fault| format!("{}: {}", fault.field, fault.message))
            .collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn processor_time_and_memory_can_change() {
        let old = pod(burstable("100m", "1Mi"));
        case(
            &old,
            |pod| pod["spec"]["containers"][0]["resources"] = burstable("2", "512Ki"),
            &[],
        );
        // What comes with a resource that was not named before is no change of its own.
        let limits =
            json!({"limits": {"memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "1Mi"}});
        case(
            &old,
            |pod| pod["spec"]["containers"][1]["resources"] = limits,
            &[],
        );
    }

    #[test]
    fn the_quality_of_service_stays() {
        case(
            &pod(json!({})),
            |pod| pod["spec"]["containers"][0]["resources"] = burstable("1", "1Mi"),
            &["spec: \"BestEffort\": Pod QOS Class may not change as a result of resizing"],
        );
    }

    #[test]
    fn nothing_that_was_named_goes() {
        let old = pod(json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1", "memory": "1Mi"}}));
        case(
            &old,
            |pod| pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}}),
            &[
                "spec.containers[0].resources.requests: resource requests cannot be removed",
                "spec.containers[0].resources.limits: resource limits cannot be removed",
            ],
        );
    }

    #[test]
    fn nothing_else_changes() {
        let old = pod(burstable("1", "1Mi"));
        let more = "spec: only cpu and memory resources are mutable";
        case(
            &old,
            |pod| {
                pod["spec"]["containers"][0]["resources"]["requests"]["ephemeral-storage"] =
                    json!("1Gi");
            },
            &[more],
        );
        case(
            &old,
            |pod| {
                pod["spec"]["containers"][0]["resizePolicy"] =
                    json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
            },
            &[more],
        );
        // What this path does not take is not looked at.
        case(
            &old,
            |pod| pod["spec"]["containers"][0]["image"] = json!("other"),
            &[],
        );
    }

    #[test]
    fn containers_keep_their_places() {
        let old = pod(burstable("1", "1Mi"));
        case(
            &old,
            |pod| pod["spec"]["containers"].as_array_mut().unwrap().swap(0, 1),
            &[
                "spec.containers[0].name: containers may not be renamed or reordered on resize",
                "spec.containers[1].name: containers may not be renamed or reordered on resize",
            ],
        );
        case(
            &old,
            |pod| drop(pod["spec"]["containers"].as_array_mut().unwrap().pop()),
            &["spec.containers: containers may not be added or removed on resize"],
        );
    }

    #[test]
    fn a_node_has_to_know_how_and_a_static_pod_is_left_alone() {
        let mut old = pod(burstable("1", "1Mi"));
        old["status"] = json!({"containerStatuses": [{"name": "a", "state": {"running": {}}}]});
        let grow =
            |pod: &mut Value| pod["spec"]["containers"][0]["resources"] = burstable("2", "1Mi");
        case(
            &old,
            grow,
            &["spec: Pod running on node without support for resize"],
        );
        old["status"]["containerStatuses"][0]["resources"] = json!({});
        case(&old, grow, &[]);
        old["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "hash"});
        case(&old, grow, &[": static pods cannot be resized"]);
    }

    #[test]
    fn an_apply_is_about_resources_alone() {
        let mut spec = json!({"nodeName": "n", "containers": [{"name": "a", "image": "i",
            "resources": {"requests": {"cpu": "1"}}}]});
        select(&mut spec);
        let left = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]});
        assert_eq!(spec, left);
    }
}
