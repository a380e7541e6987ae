//! Job: pods that run until enough of them have succeeded.

use serde_json::{Map, Value, json};

use crate::registry::age::{age, duration, seconds};
use crate::registry::column::{AGE, NAME, name, string, wide};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::pod_spec::{in_vain, template_defaults, validate_template, wide_cells};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, non_negative, one_of, range, selector};
use crate::registry::value::{child, default, default_text, flag, int, list, put, text};

/// Job of batch/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "batch",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    categories: &["all"],
    status: true,
    inert: true,
    columns: &[
        NAME,
        string("Status"),
        string("Completions"),
        string("Duration"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells,
    default: set_defaults,
    prepare: prepare_job,
    validate,
    warnings: |object| in_vain(&At::root(object).dig(&["spec", "template", "spec"])),
    fields: &[("status.successful", |job| {
        int(job, "/status/succeeded").unwrap_or(0).to_string()
    })],
    ..Kind::PLAIN
};

/// Labels by which a job's own pods are found; the older ones without the prefix stay for clients.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

fn cells(job: &Value, now: i64) -> Vec<Value> {
    let count = |pointer: &str| int(job, pointer);
    let done = count("/status/succeeded").unwrap_or(0);
    let completions = match (count("/spec/completions"), count("/spec/parallelism")) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, Some(parallel)) if parallel > 1 => format!("{done}/1 of {parallel}"),
        _ => format!("{done}/1"),
    };
    let start = seconds(text(job, "/status/startTime"));
    let end = seconds(text(job, "/status/completionTime")).unwrap_or(now);
    let took = start.map(|start| duration(end - start)).unwrap_or_default();
    let mut cells = vec![
        name(job),
        phase(job).into(),
        completions.into(),
        took.into(),
        age(job, now),
    ];
    cells.extend(wide_cells(job));
    cells
}

fn phase(job: &Value) -> &'static str {
    let is = |condition: &str| {
        let conditions = list(job, "/status/conditions").iter();
        let mut found = conditions.filter(|have| text(have, "/type") == condition);
        found.any(|have| text(have, "/status") == "True")
    };
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if job.pointer("/metadata/deletionTimestamp").is_some() => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn set_defaults(job: &mut Value) {
    let Some(spec) = child(job, "spec") else {
        return;
    };
    let set = |spec: &Value, key: &str| spec.get(key).is_some_and(|value| !value.is_null());
    if !set(spec, "completions") && !set(spec, "parallelism") {
        default(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    let indexed = set(spec, "backoffLimitPerIndex");
    default(
        spec,
        "backoffLimit",
        if indexed { i64::from(i32::MAX) } else { 6 },
    );
    default_text(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    let replacement = if set(spec, "podFailurePolicy") {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    default_text(spec, "podReplacementPolicy", replacement);
    if let Some(template) = child(spec, "template") {
        template_defaults(template);
    }
}

/// A job finds its pods by its own uid, unless its writer chose a selector.
fn prepare_job(new: &mut Value, old: Option<&Value>) {
    prepare::status_and_generation(new, old);
    if old.is_some() || flag(new, "/spec/manualSelector") {
        return;
    }
    let uid = text(new, "/metadata/uid").to_owned();
    let job = text(new, "/metadata/name").to_owned();
    if uid.is_empty() {
        return;
    }
    let Some(spec) = child(new, "spec") else {
        return;
    };
    default(spec, "selector", Map::new());
    let [uid_label, _] = UID_LABELS;
    if spec["selector"].as_object().is_some_and(Map::is_empty) {
        spec["selector"] = json!({"matchLabels": {uid_label: uid}});
    }
    if let Some(template) = child(spec, "template")
        && let Some(metadata) = child(template, "metadata")
        && let Some(labels) = child(metadata, "labels")
    {
        UID_LABELS
            .iter()
            .for_each(|label| put(labels, label, Some(uid.clone().into())));
        NAME_LABELS
            .iter()
            .for_each(|label| put(labels, label, Some(job.clone().into())));
    }
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let spec = At::root(new).get("spec");
    job_spec(&spec, &spec.get("selector"), &mut faults);
    if !spec.get("selector").is_set() {
        faults.required(&spec.get("selector"), "");
    }
    if let Some(old) = old {
        let before = At::root(old).get("spec");
        for key in [
            "completionMode",
            "podFailurePolicy",
            "selector",
            "backoffLimitPerIndex",
        ] {
            if spec.get(key).value() != before.get(key).value() {
                faults.invalid(&spec.get(key), "field is immutable");
            }
        }
        let suspended = flag(old, "/spec/suspend");
        let (template, had) = (spec.get("template"), before.get("template"));
        if !suspended && template.value() != had.value() {
            faults.invalid(&template, "field is immutable");
        }
    }
    faults.into_list()
}

/// A job's spec, also in templates.
pub(super) fn job_spec(spec: &At<'_>, selected_by: &At<'_>, faults: &mut Faults) {
    for count in [
        "parallelism",
        "completions",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        non_negative(&spec.get(count), faults);
    }
    range(&spec.get("activeDeadlineSeconds"), 0..=i64::MAX, faults);
    let mode = spec.get("completionMode");
    one_of(&mode, &["Indexed", "NonIndexed"], faults);
    if mode.text() == "Indexed" && !spec.get("completions").is_set() {
        faults.required(&spec.get("completions"), "when completion mode is Indexed");
    }
    let policies = &["Failed", "TerminatingOrFailed"];
    one_of(&spec.get("podReplacementPolicy"), policies, faults);
    selector(&spec.get("selector"), faults);
    let policies = &["Never", "OnFailure"];
    validate_template(&spec.get("template"), selected_by, policies, faults);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Value {
        json!({"metadata": {"name": "pi", "uid": "u"}, "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}})
    }

    #[test]
    fn a_job_finds_its_pods_by_its_uid() {
        let mut job = job();
        set_defaults(&mut job);
        prepare_job(&mut job, None);
        assert_eq!(validate(&job, None), []);
        assert_eq!(job["spec"]["completions"], 1);
        let labels = &job["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels["job-name"], "pi");
        assert_eq!(labels["batch.kubernetes.io/controller-uid"], "u");
        let mut other = job.clone();
        other["spec"]["template"]["spec"]["containers"][0]["image"] = "j".into();
        assert_eq!(
            Faults::paths(&validate(&other, Some(&job))),
            ["spec.template"]
        );
    }

    #[test]
    fn pods_of_a_job_end() {
        let mut job = job();
        job["spec"]["template"]["spec"]["restartPolicy"] = "Always".into();
        set_defaults(&mut job);
        prepare_job(&mut job, None);
        let faults = validate(&job, None);
        assert_eq!(Faults::paths(&faults), ["spec.template.spec.restartPolicy"]);
    }

    #[test]
    fn the_row_tells_how_far_it_is() {
        let mut job = job();
        job["status"] = json!({"succeeded": 1, "startTime": "1970-01-01T00:00:00Z",
            "completionTime": "1970-01-01T00:01:00Z",
            "conditions": [{"type": "Complete", "status": "True"}]});
        job["spec"]["completions"] = 1.into();
        let cells = cells(&job, 90);
        assert_eq!(cells[1..4], [json!("Complete"), json!("1/1"), json!("60s")]);
    }
}
