//! RuntimeClass: a pod that names one is refused, since nodes know one way to run containers only; one
//! that asked for a sandbox of its own must not run without. What a class would add to its pods
//! (`overhead`, `scheduling`) is therefore added to none, and none may claim it for itself.

use serde_json::Value;

use crate::api::kinds::Target;
use crate::api::server::Server;
use crate::api::status::{Result, Status};
use crate::api::value::{called, text};

const OVERHEAD: &str =
    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";

/// Checks a new pod's RuntimeClass.
///
/// # Errors
/// 403 for every pod that names one, and for one that says what a class would cost.
pub(super) fn check(server: &Server, target: Target, pod: &Value) -> Result<()> {
    let wanted = text(pod, "/spec/runtimeClassName");
    if wanted.is_empty() {
        return match pod.pointer("/spec/overhead") {
            None | Some(Value::Null) => Ok(()),
            Some(_) => Err(Status::forbidden_object(target.kind, called(pod), OVERHEAD)),
        };
    }
    let classes = server.kinds.of("node.k8s.io", "runtimeclasses");
    let known = classes.is_some_and(|it| server.store.get(it.resource, wanted).is_some());
    Err(refusal(target, pod, wanted, known))
}

fn refusal(target: Target, pod: &Value, wanted: &str, known: bool) -> Status {
    let why = if known {
        format!("pod rejected: no node can run the handler of RuntimeClass {wanted:?} yet")
    } else {
        format!("pod rejected: RuntimeClass {wanted:?} not found")
    };
    Status::forbidden_object(target.kind, called(pod), &why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Kinds;
    use crate::registry::KINDS;

    #[test]
    fn the_refusal_names_what_its_writer_wrote() {
        let target = Kinds(KINDS).of("", "pods").unwrap();
        let pod = json!({"metadata": {"generateName": "web-", "name": "web-x7k2p"}});
        let unknown = refusal(target, &pod, "kata", false);
        assert_eq!(
            unknown.message,
            "pods \"web-\" is forbidden: pod rejected: RuntimeClass \"kata\" not found"
        );
        let known = refusal(target, &pod, "gvisor", true);
        assert!(
            known.message.contains("no node can run"),
            "{}",
            known.message
        );
    }
}
