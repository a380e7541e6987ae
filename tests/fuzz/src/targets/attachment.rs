//! Network configurations, as a container runtime hands them to the CNI plugin.

use naru_node_api::cni::NetworkConfig;

use super::answer;
use crate::Target;

pub(super) struct Attachments;

impl Target for Attachments {
    fn examples(&self) -> Vec<Vec<u8>> {
        [
            r#"{"cniVersion":"1.1.0","name":"naru","type":"naru-cni","socket":"/run/naru/cni.sock"}"#,
            r#"{"cniVersion":"0.4.0","name":"n","type":"t","prevResult":{"cniVersion":"0.4.0",
                "ips":[{"version":"4","address":"10.244.1.2/32"}],"interfaces":[]}}"#,
            r#"{"cniVersion":"1.1.0","name":"n","type":"t",
                "cni.dev/valid-attachments":[{"containerID":"a","ifname":"eth0"}]}"#,
        ]
        .map(|text| text.as_bytes().to_vec())
        .into()
    }

    fn words(&self) -> &[&str] {
        &[
            "null", "ipam", "ipMasq", "1.0.0", "../", "[]", "{}", "socket",
        ]
    }

    fn read(&self, input: &[u8]) -> Result<u64, String> {
        match NetworkConfig::parse(input) {
            Ok(config) if !config.socket.is_absolute() => Err(format!(
                "socket {} is not absolute",
                config.socket.display()
            )),
            Ok(config) => Ok(answer((
                config.version.as_str(),
                config.previous.is_some(),
                config.valid_attachments.map(|all| all.len().min(3)),
            ))),
            Err(error) if error.msg.is_empty() => Err("a refusal that says nothing".to_owned()),
            Err(error) => Ok(answer(error.code)),
        }
    }
}
