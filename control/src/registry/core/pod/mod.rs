//! Pod: containers that share a network address and volumes, on one node.

mod columns;
mod ephemeral;
mod qos;
mod resize;
mod status;
mod validate;

use serde_json::{Value, json};

use crate::registry::column::{AGE, NAME, string, wide};
use crate::registry::kind::Kind;
use crate::registry::pod_spec;
use crate::registry::prepare;
use crate::registry::rules::At;
use crate::registry::value::{default, flag, put, text};

/// Pod of v1.
pub(in crate::registry) static KIND: Kind = Kind {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    returned: true,
    status: true,
    parts: &[ephemeral::PART, resize::PART],
    columns: &[
        NAME,
        string("Ready"),
        string("Status"),
        string("Restarts"),
        AGE,
        wide("IP"),
        wide("Node"),
        wide("Nominated Node"),
        wide("Readiness Gates"),
    ],
    cells: columns::cells,
    default: pod_spec::pod_defaults,
    prepare,
    validate: validate::validate,
    warnings: |pod| pod_spec::in_vain(&At::root(pod).get("spec")),
    fields: &[
        ("spec.nodeName", |pod| {
            text(pod, "/spec/nodeName").to_owned()
        }),
        ("spec.restartPolicy", |pod| {
            text(pod, "/spec/restartPolicy").to_owned()
        }),
        ("spec.schedulerName", |pod| {
            text(pod, "/spec/schedulerName").to_owned()
        }),
        ("spec.serviceAccountName", |pod| {
            text(pod, "/spec/serviceAccountName").to_owned()
        }),
        ("spec.hostNetwork", |pod| {
            flag(pod, "/spec/hostNetwork").to_string()
        }),
        ("status.phase", |pod| text(pod, "/status/phase").to_owned()),
        ("status.podIP", |pod| text(pod, "/status/podIP").to_owned()),
        ("status.podIPs", |pod| {
            text(pod, "/status/podIPs/0/ip").to_owned()
        }),
        ("status.nominatedNodeName", |pod| {
            text(pod, "/status/nominatedNodeName").to_owned()
        }),
    ],
    ..Kind::PLAIN
};

/// A new pod is Pending; its quality of service follows from its resources once and for all.
fn prepare(new: &mut Value, old: Option<&Value>) {
    prepare::status_and_generation(new, old);
    if old.is_none() {
        let status = json!({"phase": "Pending", "qosClass": qos::class(new)});
        put(new, "status", Some(status));
    }
    if let Some(status) = new.get_mut("status") {
        default(status, "phase", "Pending");
    }
}
