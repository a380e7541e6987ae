//! What a node answers: logs, exec, attach and port-forward of its pods.

use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;

use super::connection;
use crate::api::admission::part;
use crate::api::authz::{self, Attributes};
use crate::api::body::{Body, Reply};
use crate::api::proxy::node_address;
use crate::api::request::{Query, percent_decode};
use crate::api::status::{Result, Status};
use crate::api::streams::{self, Purpose, Wanted};
use crate::api::value::{items, name, namespace, text};
use crate::api::verbs::Call;

/// Bytes of a refusal that are read.
const MAX_REFUSAL: usize = 16 << 10;
/// Ports of one connection: their channels have one byte for a number.
const MAX_PORTS: usize = 127;
/// How long a node may take to say no.
const REFUSAL_TIME: Duration = Duration::from_secs(10);

/// Forwards a pod's subresource under the path that a kubelet knows.
pub(super) async fn pod(call: &Call, subresource: &str, request: Request<Body>) -> Result<Reply> {
    let short = call.path.name.as_deref().unwrap_or_default();
    let pod = call
        .server
        .stored("pods", call.path.namespace.as_deref(), short);
    let pod = pod.ok_or_else(|| Status::not_found(call.target.kind, short))?;
    let node = text(&pod, "/spec/nodeName");
    if node.is_empty() {
        return Err(Status::bad_request(format!(
            "pod {short} does not have a host assigned"
        )));
    }
    let path = kubelet_path(&pod, subresource, call.query.get("container"))?;
    let query = request.uri().query().unwrap_or_default();
    let purpose = purpose(subresource, &call.query, query)?;
    let shown = connection::of_pod(subresource, &call.query, query, purpose.as_ref());
    if let Some((kind, options)) = shown {
        part::connect(call, kind, options).await?;
    }
    let path = match &purpose {
        Some(Purpose::Process(wanted)) => format!("{path}?{}", kubelet_query(query, *wanted)),
        _ if query.is_empty() => path,
        _ => format!("{path}?{query}"),
    };
    let reply = match purpose.filter(|_| streams::is_wanted(request.headers())) {
        Some(purpose) => {
            may_open(call)?;
            let address = address(call, node)?;
            streams::serve(&call.server.nodes, address, &path, purpose, request).await?
        }
        None => send(call, node, &path, request).await?,
    };
    if reply.status().is_client_error() || reply.status().is_server_error() {
        return Err(refusal(reply).await);
    }
    Ok(reply)
}

/// A node refuses in plain text; clients of the API look for a Status.
pub(super) async fn refusal(reply: Reply) -> Status {
    let code = reply.status();
    let (mut body, mut said) = (reply.into_body(), Vec::new());
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            said.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            if said.len() > MAX_REFUSAL {
                break;
            }
        }
    };
    // What has come by then is better than nothing.
    let _ = tokio::time::timeout(REFUSAL_TIME, reading).await;
    Status::of_node(code, &String::from_utf8_lossy(&said))
}

/// Who opens streams makes something happen. A WebSocket handshake is a GET, and whoever may only
/// look may send that: the right to create is asked for as well, as it is where clients POST.
fn may_open(call: &Call) -> Result<()> {
    let wish = Attributes {
        verb: "create",
        path: "",
        resource: Some(&call.path),
    };
    authz::authorize(&call.user, wish, call.server.as_ref())
}

/// What the streams of a subresource are for; none where it has no streams.
fn purpose(subresource: &str, query: &Query, text: &str) -> Result<Option<Purpose>> {
    Ok(match subresource {
        "exec" | "attach" => Some(Purpose::Process(Wanted {
            stdin: query.flag("stdin"),
            stdout: query.flag("stdout"),
            stderr: query.flag("stderr") && !query.flag("tty"),
            tty: query.flag("tty"),
        })),
        "portforward" => Some(Purpose::Ports(ports(text)?)),
        _ => None,
    })
}

/// Every value of `keys` in a query, in order.
pub(super) fn values(query: &str, keys: &[&str]) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.filter(|(name, _)| keys.contains(name));
    pairs
        .map(|(_, value)| percent_decode(&value.replace('+', " ")))
        .collect()
}

/// The ports of a query: `ports=80,81&ports=82`.
fn ports(query: &str) -> Result<Vec<u16>> {
    let values = values(query, &["ports", "port"]);
    let texts = values.iter().flat_map(|value| value.split(','));
    let ports = texts.map(|text| {
        let port = text.parse().ok().filter(|port| *port > 0);
        port.ok_or_else(|| Status::bad_request(format!("{text:?} is not a port")))
    });
    let ports: Vec<u16> = ports.collect::<Result<_>>()?;
    if ports.len() > MAX_PORTS {
        return Err(Status::bad_request(format!(
            "at most {MAX_PORTS} ports at once"
        )));
    }
    Ok(ports)
}

/// The options of a process as kubelets spell them; all else stays as it is.
fn kubelet_query(query: &str, wanted: Wanted) -> String {
    const OURS: [&str; 5] = ["stdin", "stdout", "stderr", "tty", "container"];
    let pairs = query.split('&').filter(|pair| {
        let key = pair.split('=').next().unwrap_or_default();
        !pair.is_empty() && !OURS.contains(&key)
    });
    let options = [
        (wanted.stdin, "input=1"),
        (wanted.stdout, "output=1"),
        (wanted.stderr, "error=1"),
        (wanted.tty, "tty=1"),
    ];
    let options = options.iter().filter(|(set, _)| *set);
    let all: Vec<_> = pairs.chain(options.map(|(_, option)| *option)).collect();
    all.join("&")
}

async fn send(call: &Call, node: &str, path: &str, request: Request<Body>) -> Result<Reply> {
    let address = address(call, node)?;
    call.server.nodes.forward(address, path, request).await
}

/// Where the server of `node` listens.
pub(super) fn address(call: &Call, node: &str) -> Result<SocketAddr> {
    let nodes = call
        .server
        .core("nodes")
        .ok_or_else(Status::no_such_resource)?;
    let stored = call.server.stored("nodes", None, node);
    let stored = stored.ok_or_else(|| Status::not_found(nodes.kind, node))?;
    let address = node_address(&stored);
    address.ok_or_else(|| Status::internal(format!("node {node} has no known address")))
}

fn kubelet_path(pod: &Value, subresource: &str, container: Option<&str>) -> Result<String> {
    let (place, short) = (namespace(pod), name(pod));
    let root = match subresource {
        "portforward" => return Ok(format!("/portForward/{place}/{short}")),
        "log" => "containerLogs",
        "attach" => "attach",
        _ => "exec",
    };
    Ok(format!(
        "/{root}/{place}/{short}/{}",
        container_of(pod, container)?
    ))
}

/// The named container, the pod's only one, or the one that an annotation makes the default.
fn container_of<'a>(pod: &'a Value, wanted: Option<&str>) -> Result<&'a str> {
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let all = lists
        .iter()
        .flat_map(|list| items(pod, &format!("/spec/{list}")));
    let mut all = all.map(|container| text(container, "/name"));
    let default = text(
        pod,
        "/metadata/annotations/kubectl.kubernetes.io~1default-container",
    );
    let wanted = wanted.or(Some(default).filter(|name| !name.is_empty()));
    if let Some(wanted) = wanted {
        return all.find(|name| *name == wanted).ok_or_else(|| {
            Status::bad_request(format!(
                "container {wanted} is not valid for pod {}",
                name(pod)
            ))
        });
    }
    match items(pod, "/spec/containers") {
        [only] => Ok(text(only, "/name")),
        many => {
            let names: Vec<_> = many
                .iter()
                .map(|container| text(container, "/name"))
                .collect();
            Err(Status::bad_request(format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                name(pod),
                names.join(" ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(containers: &[&str]) -> Value {
        let containers: Vec<_> = containers
            .iter()
            .map(|name| json!({"name": name}))
            .collect();
        json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"containers": containers,
            "initContainers": [{"name": "init"}]}})
    }

    #[tokio::test]
    async fn what_a_node_says_in_plain_text_becomes_a_status() {
        for (code, reason) in [
            (400, "BadRequest"),
            (404, "NotFound"),
            (500, "InternalError"),
        ] {
            let code = http::StatusCode::from_u16(code).unwrap();
            let said = "container \"a\" in pod \"p\" is waiting to start: ErrImagePull\n";
            let status = refusal(crate::api::body::text(code, said)).await;
            assert_eq!((status.code, status.reason), (code, reason));
            assert!(
                status
                    .message
                    .ends_with("is waiting to start: ErrImagePull")
            );
        }
    }

    #[test]
    fn a_process_is_asked_for_in_the_words_of_a_kubelet() {
        let text = "command=sh&command=-c&container=a&stdin=true&stdout=1&stderr=true&tty=true";
        let purpose = purpose("exec", &Query::new(text), text).unwrap();
        let Some(Purpose::Process(wanted)) = purpose else {
            panic!("{purpose:?}");
        };
        assert!(!wanted.stderr, "a terminal has one stream for both");
        let asked = kubelet_query(text, wanted);
        assert_eq!(asked, "command=sh&command=-c&input=1&output=1&tty=1");
    }

    #[test]
    fn ports_are_numbers_in_one_list_or_several() {
        assert_eq!(ports("ports=80%2C81&x=y&ports=82").unwrap(), [80, 81, 82]);
        assert!(ports("").unwrap().is_empty());
        for wrong in ["ports=0", "ports=x", "ports=70000", "ports=1,"] {
            assert_eq!(ports(wrong).unwrap_err().code, 400, "{wrong}");
        }
        let many = vec!["ports=1"; 128].join("&");
        assert_eq!(ports(&many).unwrap_err().code, 400);
    }

    #[test]
    fn the_only_container_needs_no_name() {
        let path = |pod, container| kubelet_path(&pod, "log", container);
        assert_eq!(
            path(pod(&["a"]), None).unwrap(),
            "/containerLogs/shop/web/a"
        );
        assert_eq!(
            path(pod(&["a", "b"]), Some("b")).unwrap(),
            "/containerLogs/shop/web/b"
        );
        assert_eq!(
            path(pod(&["a"]), Some("init")).unwrap(),
            "/containerLogs/shop/web/init"
        );
        assert_eq!(path(pod(&["a", "b"]), None).unwrap_err().code, 400);
        assert_eq!(path(pod(&["a"]), Some("x")).unwrap_err().code, 400);
    }
}
