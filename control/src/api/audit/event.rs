//! An event: the record of a request as `audit.k8s.io/v1` writes it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::header::USER_AGENT;
use http::{HeaderMap, Request, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policy::{Level, Stage, namespace_of};
use crate::api::authn::{Peer, User};
use crate::api::body::Body;
use crate::api::decode;
use crate::api::request::{RequestInfo, ResourcePath};

/// Addresses of proxies that are believed to be some.
const MAX_SOURCES: usize = 16;
/// Characters of a user agent that are kept, as in Kubernetes.
const MAX_AGENT: usize = 1024;

/// Characters of a note that are kept.
const MAX_NOTE: usize = 10 << 10;

/// What is known so far.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    kind: &'static str,
    api_version: &'static str,
    level: Level,
    #[serde(rename = "auditID")]
    id: String,
    stage: Stage,
    #[serde(rename = "requestURI")]
    uri: String,
    verb: &'static str,
    user: User,
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<User>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    sources: Vec<IpAddr>,
    #[serde(skip_serializing_if = "String::is_empty")]
    user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    object_ref: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_status: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_object: Option<Value>,
    request_received_timestamp: String,
    stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// The object that a request is about; what is not known is empty.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_group: String,
    api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    subresource: String,
}

impl Reference {
    fn new(path: &ResourcePath) -> Self {
        Self {
            resource: path.plural.clone(),
            namespace: namespace_of(path).to_owned(),
            name: path.one_name().unwrap_or_default().to_owned(),
            api_group: path.group.clone(),
            api_version: path.version.clone(),
            subresource: path.subresource.clone().unwrap_or_default(),
        }
    }
}

/// How it ended: the parts of a Status that are bounded.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    metadata: serde_json::Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(flatten)]
    words: Words,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Words {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
}

/// What every level wants of an answer.
#[derive(Deserialize)]
struct Brief {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Named,
}

#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

impl Event {
    /// The record of a request that has just arrived.
    pub(super) fn new(id: String, request: &Request<Body>) -> Self {
        let uri = request.uri();
        let uri = uri.path_and_query().map_or(uri.path(), |uri| uri.as_str());
        let agent = request.headers().get(USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok());
        Self {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            id,
            uri: uri.to_owned(),
            sources: sources(request),
            user_agent: agent.map(shortened).unwrap_or_default(),
            request_received_timestamp: now(),
            ..Self::default()
        }
    }

    /// Who asks for what, and how much of it is recorded.
    pub(super) fn about(&mut self, level: Level, user: &User, info: &RequestInfo) {
        self.level = level;
        self.verb = info.verb;
        self.user = user.clone();
        self.object_ref = info.resource.as_ref().map(Reference::new);
    }

    /// Whether the object that is made is still without a name here.
    pub(super) fn lacks_name(&self) -> bool {
        let object = self.object_ref.as_ref();
        self.verb == "create" && object.is_some_and(|object| object.name.is_empty())
    }

    /// Somebody acts as `user`.
    pub(super) fn impersonated(&mut self, user: &User) {
        self.impersonated_user = Some(user.clone());
    }

    /// Whether it was permitted.
    pub(super) fn decided(&mut self, allowed: bool) {
        let decision = if allowed { "allow" } else { "forbid" };
        self.noted("authorization.k8s.io/decision", decision);
        self.noted("authorization.k8s.io/reason", "");
    }

    /// Something to remember; what was noted first under a key stays.
    pub(super) fn noted(&mut self, key: &str, text: &str) {
        if !self.annotations.contains_key(key) {
            let text = text.chars().take(MAX_NOTE).collect();
            self.annotations.insert(key.to_owned(), text);
        }
    }

    /// The head of the answer is known.
    pub(super) fn answered(&mut self, code: StatusCode) {
        self.outcome().code = Some(code.as_u16());
    }

    /// Nothing follows; a request without an answer had nobody to give it to.
    pub(super) fn closed(&mut self) {
        if self.response_status.is_none() {
            self.outcome().words.message = Some("Connection closed early".to_owned());
        }
    }

    /// The server failed.
    pub(super) fn panicked(&mut self) {
        let outcome = self.outcome();
        outcome.code = Some(500);
        outcome.words = Words {
            status: Some("Failure".to_owned()),
            reason: Some("InternalError".to_owned()),
            message: Some("the server panicked".to_owned()),
            details: None,
        };
    }

    fn outcome(&mut self) -> &mut Outcome {
        self.response_status.get_or_insert_default()
    }

    /// The object that was sent; what cannot be read is left out.
    pub(super) fn sent(&mut self, bytes: &[u8], media_type: &str, strip: bool) {
        if bytes.is_empty() {
            return;
        }
        let object = match media_type {
            patch if patch.contains("patch+json") => serde_json::from_slice(bytes).ok(),
            patch if patch.contains("patch+yaml") => decode::object(bytes, "application/yaml").ok(),
            other => decode::object(bytes, other).ok(),
        };
        self.request_object = object.map(|object| stripped(object, strip));
    }

    /// What was answered: all of it if `whole`, otherwise what the record lacks.
    pub(super) fn said(&mut self, bytes: &[u8], whole: bool, strip: bool) {
        let Ok(brief) = serde_json::from_slice::<Brief>(bytes) else {
            return;
        };
        if brief.kind == "Status" {
            self.outcome().words = serde_json::from_slice(bytes).unwrap_or_default();
        } else if self.lacks_name()
            && let Some(object) = &mut self.object_ref
        {
            object.name = brief.metadata.name;
        }
        if whole {
            let object = serde_json::from_slice(bytes).ok();
            self.response_object = object.map(|object| stripped(object, strip));
        }
    }

    /// Its identifier.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The line for the log.
    pub(super) fn line(&mut self, stage: Stage) -> Vec<u8> {
        self.stage = stage;
        self.stage_timestamp = now();
        let mut line = serde_json::to_vec(self).expect("an event encodes");
        line.push(b'\n');
        line
    }
}

fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

fn shortened(agent: &str) -> String {
    // A header's text is ASCII.
    match agent.get(..MAX_AGENT) {
        Some(start) if agent.len() > MAX_AGENT => format!("{start}...TRUNCATED"),
        _ => agent.to_owned(),
    }
}

/// Where a request comes from: what proxies say of it, then the connection's other end.
fn sources(request: &Request<Body>) -> Vec<IpAddr> {
    let mut sources = addresses(request.headers(), "x-forwarded-for");
    for real in addresses(request.headers(), "x-real-ip") {
        if !sources.contains(&real) {
            sources.push(real);
        }
    }
    sources.truncate(MAX_SOURCES);
    if let Some(Peer(peer)) = request.extensions().get() {
        let peer = peer.ip().to_canonical();
        if sources.last() != Some(&peer) {
            sources.push(peer);
        }
    }
    sources
}

fn addresses(headers: &HeaderMap, name: &str) -> Vec<IpAddr> {
    let values = headers.get_all(name).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let addresses = values.flat_map(|value| value.split(','));
    let addresses = addresses.filter_map(|text| text.trim().parse().ok());
    addresses.take(MAX_SOURCES).collect()
}

/// An object, or a list of them, without `metadata.managedFields` if they are not wanted.
fn stripped(mut object: Value, strip: bool) -> Value {
    let remove = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    if strip {
        remove(&mut object);
        let items = object.get_mut("items").and_then(Value::as_array_mut);
        items.into_iter().flatten().for_each(remove);
    }
    object
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::api::body::empty;

    #[test]
    fn sources_are_what_proxies_say_and_then_who_is_connected() {
        let mut request = Request::builder()
            .header("x-forwarded-for", "192.0.2.7, junk")
            .header("x-forwarded-for", "2001:db8::1")
            .header("x-real-ip", "192.0.2.7")
            .body(empty())
            .unwrap();
        let peer: SocketAddr = "[::ffff:198.51.100.9]:1234".parse().unwrap();
        request.extensions_mut().insert(Peer(peer));
        let found: Vec<_> = sources(&request).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.7", "2001:db8::1", "198.51.100.9"]);
        let many = vec!["10.0.0.1"; 100].join(",");
        request
            .headers_mut()
            .insert("x-forwarded-for", many.parse().unwrap());
        assert_eq!(sources(&request).len(), MAX_SOURCES + 1);
    }

    #[test]
    fn a_long_name_of_a_client_is_cut() {
        assert_eq!(shortened("kubectl"), "kubectl");
        let cut = shortened(&"x".repeat(5000));
        assert_eq!(cut.len(), MAX_AGENT + "...TRUNCATED".len());
    }

    #[test]
    fn patches_of_every_type_are_recorded_and_rubbish_is_not() {
        let sent = |bytes: &[u8], media_type: &str| {
            let mut event = Event::default();
            event.sent(bytes, media_type, false);
            event.request_object
        };
        let patch = sent(br#"[{"op":"test"}]"#, "application/json-patch+json");
        assert_eq!(patch.unwrap()[0]["op"], "test");
        let applied = sent(b"data: {a: x}", "application/apply-patch+yaml");
        assert_eq!(applied.unwrap()["data"]["a"], "x");
        assert_eq!(sent(b"{", "application/json"), None);
        assert_eq!(sent(b"", "application/json"), None);
    }
}
