//! CronJob: jobs by the clock.

use serde_json::{Value, json};

use super::job::job_spec;
use super::schedule;
use crate::registry::age::{age, since};
use crate::registry::column::{AGE, NAME, boolean, integer, name, or_none, string, wide};
use crate::registry::kind::{FieldError, Kind};
use crate::registry::pod_spec::{container_cells, template_defaults};
use crate::registry::prepare;
use crate::registry::rules::{At, Faults, non_negative, one_of, required};
use crate::registry::selector::selector_text;
use crate::registry::value::{child, default, default_text, flag, list, put, text};

/// The longest name: jobs append a time to it.
const MAX_NAME: usize = 52;

/// CronJob of batch/v1.
pub(in crate::registry) static KIND: Kind = Kind {
    group: "batch",
    kind: "CronJob",
    plural: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    status: true,
    inert: true,
    columns: &[
        NAME,
        string("Schedule"),
        string("Timezone"),
        boolean("Suspend"),
        integer("Active"),
        string("Last Schedule"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells,
    default: set_defaults,
    prepare: |new, old| {
        prepare::status_and_generation(new, old);
        if old.is_none() {
            put(new, "status", Some(json!({})));
        }
    },
    validate,
    ..Kind::PLAIN
};

fn cells(job: &Value, now: i64) -> Vec<Value> {
    let last = match text(job, "/status/lastScheduleTime") {
        "" => String::new(),
        last => since(last, now),
    };
    let containers = "/spec/jobTemplate/spec/template/spec/containers";
    let [containers, images] = container_cells(job, containers);
    let suspend = if flag(job, "/spec/suspend") {
        "True"
    } else {
        "False"
    };
    vec![
        name(job),
        text(job, "/spec/schedule").into(),
        or_none(text(job, "/spec/timeZone")),
        suspend.into(),
        list(job, "/status/active").len().into(),
        or_none(last),
        age(job, now),
        containers,
        images,
        selector_text(job.pointer("/spec/jobTemplate/spec/selector")).into(),
    ]
}

fn set_defaults(job: &mut Value) {
    let Some(spec) = child(job, "spec") else {
        return;
    };
    default_text(spec, "concurrencyPolicy", "Allow");
    default(spec, "suspend", false);
    default(spec, "successfulJobsHistoryLimit", 3);
    default(spec, "failedJobsHistoryLimit", 1);
    if let Some(template) = child(spec, "jobTemplate")
        && let Some(spec) = child(template, "spec")
        && let Some(template) = child(spec, "template")
    {
        template_defaults(template);
    }
}

fn validate(new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut faults = Faults::default();
    let root = At::root(new);
    let name = root.dig(&["metadata", "name"]);
    if old.is_none() && name.text().len() > MAX_NAME {
        faults.invalid(&name, "must be no more than 52 characters");
    }
    let spec = root.get("spec");
    let when = spec.get("schedule");
    if required(&when, &mut faults) {
        if when.text().contains("TZ") {
            faults.invalid(
                &when,
                "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            );
        } else if let Some(fault) = schedule::fault(when.text()) {
            faults.invalid(&when, &fault);
        }
    }
    let zone = spec.get("timeZone");
    if zone.is_set() && jiff::tz::TimeZone::get(zone.text()).is_err() {
        faults.invalid(&zone, "unknown time zone");
    }
    let policies = &["Allow", "Forbid", "Replace"];
    one_of(&spec.get("concurrencyPolicy"), policies, &mut faults);
    for count in [
        "startingDeadlineSeconds",
        "successfulJobsHistoryLimit",
        "failedJobsHistoryLimit",
    ] {
        non_negative(&spec.get(count), &mut faults);
    }
    let job = spec.dig(&["jobTemplate", "spec"]);
    job_spec(&job, &At::root(&Value::Null), &mut faults);
    for key in ["selector", "manualSelector"] {
        if !job.get(key).is_empty() && *job.get(key).value() != false {
            faults.invalid(&job.get(key), "`selector` will be auto-generated");
        }
    }
    faults.into_list()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cron_job_needs_a_schedule_and_pods_that_end() {
        let mut job = json!({"metadata": {"name": "x".repeat(53)}, "spec": {
            "schedule": "61 * * * *", "timeZone": "Nowhere/None",
            "jobTemplate": {"spec": {"template": {"spec": {
                "containers": [{"name": "c", "image": "i"}]}}}}}});
        set_defaults(&mut job);
        assert_eq!(
            Faults::paths(&validate(&job, None)),
            [
                "metadata.name",
                "spec.schedule",
                "spec.timeZone",
                "spec.jobTemplate.spec.template.spec.restartPolicy"
            ]
        );
    }
}
