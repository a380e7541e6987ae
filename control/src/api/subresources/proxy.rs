//! `proxy` of pods, services and nodes: HTTP to what a cluster runs, with the API's credentials at
//! the door and none behind it.
//!
//! Any method, body and upgrade goes through; path and query stay as they are. A pod is reached
//! through its node, so that the server need not be on the pods' network; what lives at a node's own
//! address, or outside, is dialled. Answers are not changed: a page with absolute links works under
//! a host name only.

use std::net::{IpAddr, SocketAddr};

use http::header::LOCATION;
use http::{HeaderValue, Method, Request, StatusCode};
use serde_json::Value;

use super::{connection, node};
use crate::api::admission::part;
use crate::api::body::{Body, Reply, empty};
use crate::api::proxy::{self, Target};
use crate::api::status::{Result, Status};
use crate::api::streams::{Dialled, dial};
use crate::api::value::{integer, items, name, namespace, text};
use crate::api::verbs::Call;
use naru_core::names::defaults::NODE_PORT;

/// `[scheme:]name[:port]`, the way in which a path names what is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place<'a> {
    https: bool,
    name: &'a str,
    /// A number or the name of a port, empty where none is given.
    port: &'a str,
}

impl<'a> Place<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => ("-", "", ""),
        };
        if !matches!(scheme, "" | "http" | "https") || name.is_empty() {
            return Err(Status::bad_request(format!(
                "{text:?} is not of the form [http:|https:]name[:port]"
            )));
        }
        Ok(Self {
            https: scheme == "https",
            name,
            port,
        })
    }

    /// The port that is named or numbered, `default` where none is.
    fn number(&self, default: u16) -> Result<u16> {
        if self.port.is_empty() {
            return Ok(default);
        }
        let port = self.port.parse().ok().filter(|port| *port > 0);
        port.ok_or_else(|| Status::bad_request(format!("{:?} is not a port", self.port)))
    }

    fn usual_port(&self) -> u16 {
        if self.https { 443 } else { 80 }
    }
}

/// Forwards a request to what the call's object stands for.
pub(super) async fn run(call: &Call, request: Request<Body>) -> Result<Reply> {
    // `api/v1/nodes/NAME/proxy`, with `namespaces/NS` before the others.
    let depth = if call.path.namespace.is_some() { 7 } else { 5 };
    let Some(rest) = rest(request.uri().path(), depth) else {
        return Err(Status::no_such_resource());
    };
    if rest.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD) {
        return redirect(&request);
    }
    let query = request.uri().query();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let path = format!("/{}{query}", rest.strip_prefix('/').unwrap_or(rest));
    let place = Place::parse(call.path.name.as_deref().unwrap_or_default())?;
    let (kind, options) = connection::of_proxy(&call.path.plural, rest);
    part::connect(call, kind, options).await?;
    match call.path.plural.as_str() {
        "nodes" => node_proxy(call, &place, &path, request).await,
        "pods" => {
            let pod = pod(call, place.name)?;
            let port = match place.port {
                "" => first_port(&pod).unwrap_or_else(|| place.usual_port()),
                _ => place.number(0)?,
            };
            to_pod(call, &pod, port, place.https, &path, request).await
        }
        _ => to_service(call, &place, &path, request).await,
    }
}

/// What follows the first `depth` parts of a path as it was sent; none when there are fewer.
fn rest(path: &str, depth: usize) -> Option<&str> {
    let mut rest = path;
    for _ in 0..depth {
        rest = rest.trim_start_matches('/');
        if rest.is_empty() {
            return None;
        }
        rest = &rest[rest.find('/').unwrap_or(rest.len())..];
    }
    Some(rest)
}

/// To the same place with a slash at the end, without which relative links lead astray.
fn redirect(request: &Request<Body>) -> Result<Reply> {
    let query = request.uri().query();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{}/{query}", request.uri().path());
    let location = HeaderValue::from_str(&location);
    let mut reply = Reply::new(empty());
    *reply.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = location.map_err(|error| Status::bad_request(error.to_string()))?;
    reply.headers_mut().insert(LOCATION, location);
    Ok(reply)
}

/// The node's own server by the server's own credentials; another port of the node without any.
async fn node_proxy(
    call: &Call,
    place: &Place<'_>,
    path: &str,
    request: Request<Body>,
) -> Result<Reply> {
    let address = node::address(call, place.name)?;
    let port = place.number(address.port())?;
    if port == address.port() || port == NODE_PORT {
        return call.server.nodes.forward(address, path, request).await;
    }
    let target = Target::new(SocketAddr::new(address.ip(), port), place.https, path);
    proxy::through(proxy::dial(target.address).await?, &target, request)
        .await
        .map_err(|why| unreachable(&target, &why))
}

fn pod(call: &Call, short: &str) -> Result<Value> {
    let pod = call
        .server
        .stored("pods", call.path.namespace.as_deref(), short);
    let pods = call
        .server
        .core("pods")
        .ok_or_else(Status::no_such_resource)?;
    pod.ok_or_else(|| Status::not_found(pods.kind, short))
}

/// The first port that a container of the pod declares.
fn first_port(pod: &Value) -> Option<u16> {
    let containers = items(pod, "/spec/containers").iter();
    let mut ports = containers.filter_map(|container| integer(container, "/ports/0/containerPort"));
    ports.next().and_then(|port| u16::try_from(port).ok())
}

async fn to_pod(
    call: &Call,
    pod: &Value,
    port: u16,
    https: bool,
    path: &str,
    request: Request<Body>,
) -> Result<Reply> {
    let ip: Option<IpAddr> = text(pod, "/status/podIP").parse().ok();
    let ip = ip.ok_or_else(|| {
        let name = name(pod);
        Status::unavailable(format!("pod {name:?} does not have an address yet"))
    })?;
    let target = Target::new(SocketAddr::new(ip, port), https, path);
    if pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
        return to_address(&target, request).await;
    }
    let node = node::address(call, text(pod, "/spec/nodeName"))?;
    let forward = format!("/portForward/{}/{}", namespace(pod), name(pod));
    match dial(&call.server.nodes, node, &forward, port).await? {
        Dialled::Refused(reply) => Err(node::refusal(reply).await),
        Dialled::Pipe(pipe, complaint) => {
            let reply = proxy::through(pipe, &target, request).await;
            reply.map_err(|why| unreachable(&target, &complaint.words().unwrap_or(why)))
        }
    }
}

async fn to_address(target: &Target, request: Request<Body>) -> Result<Reply> {
    if !is_foreign(target.address.ip()) {
        return Err(Status::bad_request("address not allowed"));
    }
    let pipe = proxy::dial(target.address).await?;
    let reply = proxy::through(pipe, target, request).await;
    reply.map_err(|why| unreachable(target, &why))
}

/// Whether an address is surely none of the machine on which the server runs, or of its link: an
/// object that anybody may write says where to go.
fn is_foreign(ip: IpAddr) -> bool {
    let local = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let ip = ip.to_canonical();
    !(local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

fn unreachable(target: &Target, why: &str) -> Status {
    Status::unavailable(format!(
        "error trying to reach service: {}: {why}",
        target.address
    ))
}

async fn to_service(
    call: &Call,
    place: &Place<'_>,
    path: &str,
    request: Request<Body>,
) -> Result<Reply> {
    let space = call.path.namespace.as_deref();
    let service = call.server.stored("services", space, place.name);
    let service = service.ok_or_else(|| Status::not_found(call.target.kind, place.name))?;
    let port = service_port(&service, place)?;
    let endpoints = call.server.stored("endpoints", space, place.name);
    let nobody = || {
        let what = place.name;
        Status::unavailable(format!("no endpoints available for service {what:?}"))
    };
    let ends = endpoints.map(|endpoints| ends(&endpoints, &port));
    let ends = ends.filter(|ends| !ends.is_empty()).ok_or_else(nobody)?;
    let choice = uuid::Uuid::new_v4().as_u128() % ends.len() as u128;
    let end = &ends[choice as usize];
    if let Some(pod) = &end.pod
        && let Ok(pod) = self::pod(call, pod)
    {
        return to_pod(call, &pod, end.address.port(), place.https, path, request).await;
    }
    to_address(&Target::new(end.address, place.https, path), request).await
}

/// The name of the service's port that is meant, empty for one without a name.
fn service_port(service: &Value, place: &Place<'_>) -> Result<String> {
    let ports = items(service, "/spec/ports");
    if let Ok(number) = place.port.parse::<i64>() {
        let found = ports
            .iter()
            .find(|port| integer(port, "/port") == Some(number));
        let found = found.map(|port| text(port, "/name").to_owned());
        return found.ok_or_else(|| {
            let what = place.name;
            Status::unavailable(format!(
                "no service port {number} found for service {what:?}"
            ))
        });
    }
    Ok(match ports {
        [only] if place.port.is_empty() => text(only, "/name").to_owned(),
        _ => place.port.to_owned(),
    })
}

/// One end of a service.
#[derive(Debug, PartialEq, Eq)]
struct End {
    address: SocketAddr,
    /// The pod behind it, where it is one.
    pod: Option<String>,
}

/// The ready ends of the port called `port`.
fn ends(endpoints: &Value, port: &str) -> Vec<End> {
    let mut ends = Vec::new();
    for subset in items(endpoints, "/subsets") {
        let ports = items(subset, "/ports").iter();
        let mut ports = ports.filter(|entry| text(entry, "/name") == port);
        let number = ports.find_map(|entry| u16::try_from(integer(entry, "/port")?).ok());
        let Some(number) = number else { continue };
        ends.extend(items(subset, "/addresses").iter().filter_map(|address| {
            let ip: IpAddr = text(address, "/ip").parse().ok()?;
            let is_pod = text(address, "/targetRef/kind") == "Pod";
            Some(End {
                address: SocketAddr::new(ip, number),
                pod: is_pod.then(|| text(address, "/targetRef/name").to_owned()),
            })
        }));
    }
    ends
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_place_has_a_scheme_and_a_port_if_it_wants() {
        let place = |text| Place::parse(text).map(|place| (place.https, place.name, place.port));
        assert_eq!(place("web").unwrap(), (false, "web", ""));
        assert_eq!(place("web:http").unwrap(), (false, "web", "http"));
        assert_eq!(place("https:web:8443").unwrap(), (true, "web", "8443"));
        assert_eq!(place("http:web:").unwrap(), (false, "web", ""));
        for wrong in ["ftp:web:21", ":80", "a:b:c:d", ""] {
            assert_eq!(place(wrong).unwrap_err().code, 400, "{wrong}");
        }
    }

    #[test]
    fn the_rest_of_a_path_is_what_was_sent() {
        let path = "/api/v1/namespaces/a/pods/b:80/proxy/x%2Fy//z/";
        assert_eq!(rest(path, 7), Some("/x%2Fy//z/"));
        assert_eq!(rest("//api/v1/nodes/n/proxy", 5), Some(""));
        assert_eq!(rest("/api/v1/nodes/n/proxy/", 5), Some("/"));
        assert_eq!(rest("/api/v1/nodes", 5), None);
    }

    #[test]
    fn a_service_is_asked_at_the_ends_of_the_port_that_is_meant() {
        let service = json!({"spec": {"ports": [{"name": "web", "port": 80},
            {"name": "admin", "port": 81}]}});
        let port = |place| service_port(&service, &Place::parse(place).unwrap());
        assert_eq!(port("s:81").unwrap(), "admin");
        assert_eq!(port("s:web").unwrap(), "web");
        assert_eq!(port("s:82").unwrap_err().code, 503);
        let endpoints = json!({"subsets": [{"ports": [{"name": "web", "port": 8080}],
            "addresses": [{"ip": "10.0.0.1", "targetRef": {"kind": "Pod", "name": "a"}},
                {"ip": "10.0.0.2"}],
            "notReadyAddresses": [{"ip": "10.0.0.3"}]}]});
        let found = ends(&endpoints, "web");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].address, "10.0.0.1:8080".parse().unwrap());
        assert_eq!(found[0].pod.as_deref(), Some("a"));
        assert!(ends(&endpoints, "admin").is_empty());
    }

    #[test]
    fn the_servers_own_machine_is_out_of_bounds() {
        for ip in [
            "127.0.0.1",
            "::1",
            "169.254.169.254",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ] {
            assert!(!is_foreign(ip.parse().unwrap()), "{ip}");
        }
        assert!(is_foreign("10.0.0.1".parse().unwrap()));
    }
}
