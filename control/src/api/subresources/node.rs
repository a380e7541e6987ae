//! What a node answers: logs, exec, attach and port-forward of its pods, and anything under `proxy`.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::api::body::{Body, Reply};
use crate::api::proxy::node_address;
use crate::api::status::{Result, Status};
use crate::api::value::{items, name, namespace, text};
use crate::api::verbs::Call;

/// Bytes of a refusal that are read.
const MAX_REFUSAL: usize = 16 << 10;
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
    let query = request
        .uri()
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let reply = send(call, node, &format!("{path}{query}"), request).await?;
    if reply.status().is_client_error() || reply.status().is_server_error() {
        return Err(refusal(reply).await);
    }
    Ok(reply)
}

/// A node refuses in plain text; clients of the API look for a Status.
async fn refusal(reply: Reply) -> Status {
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

/// `nodes/NAME/proxy/PATH` becomes `/PATH` on the node.
pub(super) async fn proxy(call: &Call, request: Request<Body>) -> Result<Reply> {
    let node = call.path.name.as_deref().unwrap_or_default();
    // "", "api", "v1", "nodes", NAME, "proxy", PATH
    let rest = request
        .uri()
        .path()
        .splitn(7, '/')
        .nth(6)
        .unwrap_or_default();
    let query = request
        .uri()
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let path = format!("/{rest}{query}");
    send(call, node, &path, request).await
}

async fn send(call: &Call, node: &str, path: &str, request: Request<Body>) -> Result<Reply> {
    let nodes = call
        .server
        .core("nodes")
        .ok_or_else(Status::no_such_resource)?;
    let stored = call.server.stored("nodes", None, node);
    let stored = stored.ok_or_else(|| Status::not_found(nodes.kind, node))?;
    let address = node_address(&stored);
    let address =
        address.ok_or_else(|| Status::internal(format!("node {node} has no known address")))?;
    call.server.nodes.forward(address, path, request).await
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
