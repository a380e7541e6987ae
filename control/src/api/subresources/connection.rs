//! The options of a connection, as webhooks and policies are shown them.

use serde_json::{Map, Value, json};

use super::node::values;
use crate::api::request::Query;
use crate::api::streams::Purpose;

/// The kind of the options, and what they say.
pub(super) type Options = (&'static str, Value);

/// What a stream to a pod is asked to be; none for what is no stream.
pub(super) fn of_pod(
    subresource: &str,
    query: &Query,
    text: &str,
    purpose: Option<&Purpose>,
) -> Option<Options> {
    match purpose? {
        Purpose::Ports(ports) => Some(("PodPortForwardOptions", json!({"ports": ports}))),
        Purpose::Process(wanted) => {
            let mut options = Map::new();
            let flags = [
                ("stdin", wanted.stdin),
                ("stdout", wanted.stdout),
                ("stderr", wanted.stderr),
                ("tty", wanted.tty),
            ];
            for (flag, _) in flags.into_iter().filter(|(_, set)| *set) {
                options.insert(flag.to_owned(), true.into());
            }
            if let Some(container) = query.get("container") {
                options.insert("container".to_owned(), container.into());
            }
            if subresource == "attach" {
                return Some(("PodAttachOptions", options.into()));
            }
            options.insert("command".to_owned(), values(text, &["command"]).into());
            Some(("PodExecOptions", options.into()))
        }
    }
}

/// What a proxy is asked for.
pub(super) fn of_proxy(plural: &str, path: &str) -> Options {
    let kind = match plural {
        "nodes" => "NodeProxyOptions",
        "pods" => "PodProxyOptions",
        _ => "ServiceProxyOptions",
    };
    (kind, json!({"path": path}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::streams::Wanted;

    #[test]
    fn a_process_is_shown_with_its_command_and_streams() {
        let text = "command=sh&command=-c&command=a+b&container=c&stdin=true&tty=true";
        let wanted = Purpose::Process(Wanted {
            stdin: true,
            stdout: false,
            stderr: false,
            tty: true,
        });
        let query = Query::new(text);
        let shown = of_pod("exec", &query, text, Some(&wanted));
        let options = json!({"stdin": true, "tty": true, "container": "c",
            "command": ["sh", "-c", "a b"]});
        assert_eq!(shown, Some(("PodExecOptions", options)));
        let attached = of_pod("attach", &query, text, Some(&wanted)).unwrap();
        assert_eq!(attached.0, "PodAttachOptions");
        assert!(attached.1.get("command").is_none());
        let ports = of_pod("portforward", &query, "", Some(&Purpose::Ports(vec![80])));
        assert_eq!(ports.unwrap().1, json!({"ports": [80]}));
        assert_eq!(of_pod("log", &query, "", None), None);
    }
}
