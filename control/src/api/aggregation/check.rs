//! Whether the server behind an APIService answers, in the words of Kubernetes, and what it serves.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};

use super::extension::{Extension, Told};
use super::forward;
use crate::api::authn::User;
use crate::api::authz::MASTERS;
use crate::api::body::{Body, empty};
use crate::api::server::Server;
use crate::api::value::{integer, items, text};

/// A server has this long to tell what it serves.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of what it tells, at most.
const MOST: usize = 8 << 20;

/// `Available` of an APIService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Condition {
    fn not(reason: &'static str, message: String) -> Self {
        Self {
            holds: false,
            reason,
            message,
        }
    }

    /// Of versions that are served here.
    pub(super) fn local() -> Self {
        Self {
            holds: true,
            reason: "Local",
            message: "Local APIServices are always available".to_owned(),
        }
    }

    fn passed() -> Self {
        Self {
            holds: true,
            reason: "Passed",
            message: "all checks passed".to_owned(),
        }
    }

    /// The status that says so; the time stays that of the last change.
    pub(super) fn status(&self, service: &Value, now: &str) -> Value {
        let told = if self.holds { "True" } else { "False" };
        let mut before = items(service, "/status/conditions").iter();
        let before = before.find(|it| text(it, "/type") == "Available");
        let since = before.filter(|it| text(it, "/status") == told);
        let since = since.map_or(now, |it| text(it, "/lastTransitionTime"));
        json!({"conditions": [{"type": "Available", "status": told, "reason": self.reason,
            "message": self.message, "lastTransitionTime": since}]})
    }
}

/// Looks at a server and learns what it serves.
pub(super) async fn look(server: &Server, mut extension: Extension) -> (Extension, Condition) {
    let (namespace, name) = extension.service();
    let stored = |plural: &str| server.stored(plural, Some(namespace), name);
    let (service, endpoints) = (stored("services"), stored("endpoints"));
    let found = match behind(&extension, service.as_ref(), endpoints.as_ref()) {
        Ok(()) => ask(server, &extension).await,
        Err(condition) => Err(condition),
    };
    extension.available = found.is_ok();
    match found {
        Ok(resources) => {
            if resources != *extension.told.resources || extension.told.document.is_none() {
                extension.told = learn(server, &extension, resources).await;
            }
            (extension, Condition::passed())
        }
        Err(condition) => (extension, condition),
    }
}

/// Whether something is behind the Service of an APIService.
fn behind(
    extension: &Extension,
    service: Option<&Value>,
    endpoints: Option<&Value>,
) -> Result<(), Condition> {
    let ((namespace, name), port) = (extension.service(), extension.port());
    let what = format!("service/{name} in {namespace:?}");
    let Some(service) = service else {
        let why = format!("{what} is not present");
        return Err(Condition::not("ServiceNotFound", why));
    };
    if !matches!(text(service, "/spec/type"), "" | "ClusterIP") {
        return Ok(());
    }
    let mut ports = items(service, "/spec/ports").iter();
    let Some(found) = ports.find(|it| integer(it, "/port") == Some(port)) else {
        let why = format!("{what} is not listening on port {port}");
        return Err(Condition::not("ServicePortError", why));
    };
    let Some(endpoints) = endpoints else {
        let why = format!("cannot find endpoints for {what}");
        return Err(Condition::not("EndpointsNotFound", why));
    };
    let called = text(found, "/name");
    let ready = items(endpoints, "/subsets").iter().any(|subset| {
        let mut ports = items(subset, "/ports").iter();
        !items(subset, "/addresses").is_empty() && ports.any(|it| text(it, "/name") == called)
    });
    if ready {
        return Ok(());
    }
    let why = format!("endpoints for {what} have no addresses with port name {called:?}");
    Err(Condition::not("MissingEndpoints", why))
}

/// Asks a server for the resources of its version.
async fn ask(server: &Server, extension: &Extension) -> Result<Value, Condition> {
    let path = extension.path();
    let (namespace, name) = extension.service();
    let url = format!("https://{name}.{namespace}.svc:{}{path}", extension.port());
    let failed = |why: String| {
        let why = format!("failing or missing response from {url}: {why}");
        Condition::not("FailedDiscoveryCheck", why)
    };
    let answer = get(server, extension, &path, "application/json").await;
    let (code, body) = answer.map_err(|why| failed(format!("Get {url:?}: {why}")))?;
    if !(200..300).contains(&code) {
        return Err(failed(format!("bad status from {url}: {code}")));
    }
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}

/// What a server tells beside its resources; nothing of it has to be there.
async fn learn(server: &Server, extension: &Extension, resources: Value) -> Told {
    let index = document(server, extension, "/openapi/v3").await;
    let key = extension.path().trim_start_matches('/').to_owned();
    let url = text(&index["paths"][&key], "/serverRelativeURL");
    let swagger = document(server, extension, "/openapi/v2").await;
    let swagger = part_of(&swagger, &extension.path());
    Told {
        resources: Arc::new(resources),
        // An empty one says that there is none.
        document: Some(url.to_owned()),
        swagger: Arc::new(swagger),
    }
}

/// A document of a server, null where it has none.
async fn document(server: &Server, extension: &Extension, path: &str) -> Value {
    match get(server, extension, path, "application/json").await {
        Ok((200, body)) => serde_json::from_slice(&body).unwrap_or_default(),
        _ => Value::Null,
    }
}

/// The paths of a version, and all definitions, which may belong to it.
fn part_of(swagger: &Value, path: &str) -> Value {
    let members = |key: &str| swagger[key].as_object().into_iter().flatten();
    let own = |(name, _): &(&String, &Value)| {
        let rest = name.strip_prefix(path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let owned = |(name, value): (&String, &Value)| (name.clone(), value.clone());
    let paths: Map<String, Value> = members("paths").filter(own).map(owned).collect();
    if paths.is_empty() {
        return Value::Null;
    }
    let definitions: Map<String, Value> = members("definitions").map(owned).collect();
    json!({"paths": paths, "definitions": definitions})
}

async fn get(
    server: &Server,
    extension: &Extension,
    path: &str,
    accept: &'static str,
) -> Result<(u16, Bytes), String> {
    let user = User {
        name: "system:kube-aggregator".to_owned(),
        groups: vec![MASTERS.to_owned()],
        ..User::default()
    };
    let request = Request::get(path).header(header::ACCEPT, accept);
    let request = request.body(empty()).map_err(|error| error.to_string())?;
    let exchange = async {
        let reply = forward::send(server, extension, &user, request).await?;
        let code = reply.status().as_u16();
        Ok((code, gather(reply.into_body()).await?))
    };
    let late = || Err("context deadline exceeded".to_owned());
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .unwrap_or_else(|_| late())
}

/// A body, read to its end.
async fn gather(mut body: Body) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
        if bytes.len() > MOST {
            return Err(format!("the answer is longer than {MOST} bytes"));
        }
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::super::extension::sample;
    use super::*;

    #[test]
    fn what_is_missing_behind_a_service_is_named() {
        let mut extension = sample("a.b", "v1", (1, 1));
        extension.spec["service"] = json!({"namespace": "n", "name": "s", "port": 443});
        let reason = |service: Option<&Value>, endpoints: Option<&Value>| {
            behind(&extension, service, endpoints).map_err(|it| it.reason)
        };
        assert_eq!(reason(None, None), Err("ServiceNotFound"));
        let mut service =
            json!({"spec": {"type": "ClusterIP", "ports": [{"name": "x", "port": 1}]}});
        assert_eq!(reason(Some(&service), None), Err("ServicePortError"));
        service["spec"]["ports"][0]["port"] = 443.into();
        assert_eq!(reason(Some(&service), None), Err("EndpointsNotFound"));
        let mut endpoints = json!({"subsets": [{"ports": [{"name": "x", "port": 8443}],
            "notReadyAddresses": [{"ip": "10.0.0.1"}]}]});
        let both = |endpoints: &Value| reason(Some(&service), Some(endpoints));
        assert_eq!(both(&endpoints), Err("MissingEndpoints"));
        endpoints["subsets"][0]["addresses"] = json!([{"ip": "10.0.0.2"}]);
        assert_eq!(both(&endpoints), Ok(()));
        let outside = json!({"spec": {"type": "ExternalName", "externalName": "a.b"}});
        assert_eq!(reason(Some(&outside), None), Ok(()));
    }

    #[test]
    fn a_condition_keeps_the_time_of_its_last_change() {
        let first = Condition::passed().status(&json!({}), "1");
        assert_eq!(first["conditions"][0]["lastTransitionTime"], "1");
        let service = json!({"status": first});
        assert_eq!(Condition::passed().status(&service, "2"), first);
        let gone = Condition::not("ServiceNotFound", String::new()).status(&service, "2");
        assert_eq!(gone["conditions"][0]["lastTransitionTime"], "2");
        assert_eq!(gone["conditions"][0]["status"], "False");
    }

    #[test]
    fn of_a_document_the_paths_of_the_version_are_taken() {
        let document = json!({"paths": {"/apis/a.b/v1/xs": {}, "/apis/a.b/v10/xs": {}, "/version": {}},
            "definitions": {"b.a.v1.X": {}}});
        let part = part_of(&document, "/apis/a.b/v1");
        assert_eq!(part["paths"], json!({"/apis/a.b/v1/xs": {}}));
        assert_eq!(part_of(&document, "/apis/a.c/v1"), Value::Null);
    }
}
