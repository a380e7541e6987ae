//! Wishes of a pod spec that are valid and that no node fulfils yet: better said than found out.

use serde_json::Value;

use super::CONTAINER_LISTS;
use crate::registry::rules::At;

/// What the pod spec at `at` asks for in vain.
pub(in crate::registry) fn in_vain(at: &At<'_>) -> Vec<String> {
    let on_host = *at.get("hostNetwork").value() == Value::Bool(true);
    let lists = CONTAINER_LISTS.iter().filter(|_| !on_host);
    let containers = lists.flat_map(|list| at.get(list).each().collect::<Vec<_>>());
    let ports = containers.flat_map(|it| it.get("ports").each().collect::<Vec<_>>());
    let unserved = ports.filter(|port| *port.get("protocol").value() == Value::from("SCTP"));
    let wanted = unserved.map(|port| port.get("hostPort"));
    let wanted = wanted.filter(|port| port.int().is_some_and(|number| number != 0));
    let sentence = |port: At<'_>| {
        let path = port.path();
        format!("{path}: nodes do not carry SCTP to pods; use hostNetwork")
    };
    wanted.map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_host_port_of_sctp_is_told_unless_the_pod_is_on_the_host() {
        let port = json!([{"containerPort": 80, "hostPort": 80},
            {"containerPort": 81, "hostPort": 81, "protocol": "SCTP"}]);
        let mut pod =
            json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "ports": port}]}});
        let told = in_vain(&At::root(&pod).get("spec"));
        assert_eq!(told.len(), 1);
        assert!(
            told[0].starts_with("spec.containers[1].ports[1].hostPort: "),
            "{told:?}"
        );
        pod["spec"]["hostNetwork"] = json!(true);
        assert!(in_vain(&At::root(&pod).get("spec")).is_empty());
    }
}
