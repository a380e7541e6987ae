//! Standing in for the reference plugin `loopback`.
//!
//! A runtime calls a plugin of that name for every sandbox before the network's own. The daemon sets
//! `lo` up itself when it attaches the pod, so that all there is to do here is to answer in the
//! shape of the asked version. A node needs no package of reference plugins for one link.

use serde_json::{Value, json};

use naru_node_api::cni::{Command, Version};

/// Whether the configuration on standard input is for the plugin `loopback`.
pub(crate) fn is_asked(input: &[u8]) -> bool {
    serde_json::from_slice::<Value>(input).is_ok_and(|config| config["type"] == "loopback")
}

/// The answer: a result without addresses for ADD, nothing for the rest.
pub(crate) fn answer(command: Command, version: Version) -> Option<Value> {
    if command != Command::Add {
        return None;
    }
    let mut result = json!({"cniVersion": version.as_str(), "dns": {}});
    // Before 0.3.0 a result had no lists.
    if version >= Version::V0_3_0 {
        result["interfaces"] = json!([]);
        result["ips"] = json!([]);
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_configuration_decides() {
        assert!(is_asked(
            br#"{"cniVersion":"0.3.1","name":"cni-loopback","type":"loopback"}"#
        ));
        assert!(!is_asked(
            br#"{"cniVersion":"1.0.0","name":"naru","type":"naru-cni"}"#
        ));
    }

    #[test]
    fn add_answers_in_the_asked_version_and_del_with_nothing() {
        let result = answer(Command::Add, Version::V0_4_0).unwrap();
        assert_eq!(result["cniVersion"], "0.4.0");
        assert!(answer(Command::Del, Version::V0_4_0).is_none());
    }
}
