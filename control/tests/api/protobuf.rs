//! Answers in protobuf: who gets them, and that they say what JSON says.

use super::*;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use std::io::Read;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const JSON: &str = "application/json";
const METADATA: &str = ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const TABLE: &str = ";as=Table;g=meta.k8s.io;v=v1";
/// A custom kind that every cluster has.
const POLICIES: &str = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies";

/// An answer as it came: code, media type, encoding and bytes.
struct Raw {
    code: u16,
    media_type: String,
    encoding: Option<String>,
    bytes: Vec<u8>,
}

impl Raw {
    fn has(&self, part: &[u8]) -> bool {
        self.bytes.windows(part.len()).any(|window| window == part)
    }

    /// Whether it is a protobuf document of a kind.
    fn is(&self, version: &str, kind: &str) -> bool {
        let inner = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
        let head = [b"k8s\0".to_vec(), field(1, &inner)].concat();
        self.media_type == PROTOBUF
            && self.bytes.starts_with(&head)
            && self.bytes.ends_with(b"\x1a\0\"\0")
    }
}

/// A short field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    [&[number << 3 | 2, length], bytes].concat()
}

async fn ask(
    control: &Control,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Raw {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.into())).unwrap();
    let reply = control.client.send(request).await.unwrap();
    let (head, body) = reply.into_parts();
    let header = |name: &str| Some(head.headers.get(name)?.to_str().unwrap().to_owned());
    Raw {
        code: head.status.as_u16(),
        media_type: header("content-type").unwrap_or_default(),
        encoding: header("content-encoding"),
        bytes: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}

async fn get(control: &Control, path: &str, accept: &str) -> Raw {
    ask(control, Method::GET, path, &[("accept", accept)], "").await
}

#[tokio::test]
async fn what_is_answered_in_protobuf_is_what_may_be_sent_back() {
    let control = Control::start(&[]).await;
    let both = [("accept", PROTOBUF), ("content-type", JSON)];
    let body = pod("a").to_string();
    let pods = "/api/v1/namespaces/default/pods";
    let made = ask(&control, Method::POST, pods, &both, body).await;
    assert_eq!(made.code, 201);
    assert!(made.is("v1", "Pod"));
    let path = format!("{MAPS}/m");
    create(&control, MAPS, &map("m")).await;
    let stored = control.get(&path).await.expect(200);
    let read = get(&control, &path, PROTOBUF).await;
    assert!(read.code == 200 && read.is("v1", "ConfigMap"));
    let back = [("accept", JSON), ("content-type", PROTOBUF)];
    let same = ask(&control, Method::PUT, &path, &back, read.bytes).await;
    let same: Value = serde_json::from_slice(&same.bytes).unwrap();
    assert_eq!(
        same, stored,
        "nothing was lost on the way, managed fields included"
    );
    let merge = [
        ("accept", PROTOBUF),
        ("content-type", "application/merge-patch+json"),
    ];
    let patch = r#"{"data":{"b":"2"}}"#;
    let patched = ask(&control, Method::PATCH, &path, &merge, patch).await;
    assert!(patched.code == 200 && patched.is("v1", "ConfigMap"));
    assert!(patched.has(b"\x12\x06\x0a\x01a\x12\x011\x12\x06\x0a\x01b\x12\x012"));
    let gone = ask(&control, Method::DELETE, &path, &both[..1], "").await;
    assert!(gone.code == 200 && gone.is("v1", "Status") && gone.has(b"\x12\x07Success"));
    let all = ask(&control, Method::DELETE, MAPS, &both[..1], "").await;
    assert!(all.code == 200 && all.is("v1", "Status"));
}

#[tokio::test]
async fn subresources_reviews_discovery_and_refusals_are_written_in_protobuf() {
    let control = Control::start(&[]).await;
    let missing = get(&control, &format!("{MAPS}/none"), PROTOBUF).await;
    assert!(missing.code == 404 && missing.is("v1", "Status"));
    assert!(missing.has(b"\x22\x08NotFound"));
    let accepts = [("accept", PROTOBUF), ("content-type", JSON)];
    let token = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let account = || async {
        let found = control.get(token.trim_end_matches("/token")).await;
        (found.code == 200).then_some(())
    };
    support::eventually("the account", account).await;
    let given = ask(&control, Method::POST, token, &accepts, "{}").await;
    assert_eq!(given.code, 201);
    assert!(given.is("authentication.k8s.io/v1", "TokenRequest"));
    let review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let who = ask(&control, Method::POST, review, &accepts, "{}").await;
    assert!(who.code == 201 && who.is("authentication.k8s.io/v1", "SelfSubjectReview"));
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 0,
        "selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    create(&control, deployments, &deployment).await;
    let scale = get(&control, &format!("{deployments}/d/scale"), PROTOBUF).await;
    assert!(scale.is("autoscaling/v1", "Scale"));
    for (path, kind) in [
        ("/api", "APIVersions"),
        ("/apis", "APIGroupList"),
        ("/apis/apps", "APIGroup"),
        ("/apis/apps/v1", "APIResourceList"),
    ] {
        assert!(get(&control, path, PROTOBUF).await.is("v1", kind), "{path}");
    }
    assert_eq!(get(&control, "/version", PROTOBUF).await.media_type, JSON);
}

#[tokio::test]
async fn what_has_no_protobuf_is_the_next_that_is_accepted_or_406() {
    let control = Control::start(&[]).await;
    let next = format!("{PROTOBUF},{JSON}");
    let list = get(&control, POLICIES, &next).await;
    assert_eq!((list.code, list.media_type.as_str()), (200, JSON));
    let refused = get(&control, POLICIES, PROTOBUF).await;
    assert!(refused.code == 406 && refused.is("v1", "Status"));
    let watch = format!("{POLICIES}?watch=1&timeoutSeconds=1");
    assert_eq!(get(&control, &watch, PROTOBUF).await.code, 406);
    let partial = get(&control, POLICIES, &format!("{PROTOBUF}{METADATA}")).await;
    assert!(partial.is("meta.k8s.io/v1", "PartialObjectMetadataList"));
    let table = get(&control, MAPS, &format!("{PROTOBUF}{TABLE}")).await;
    assert_eq!(table.code, 406);
    let both = format!("{PROTOBUF}{TABLE},{JSON}{TABLE}");
    let table = get(&control, MAPS, &both).await;
    let table: Value = serde_json::from_slice(&table.bytes).unwrap();
    assert_eq!(table["kind"], "Table");
    let weighed = get(&control, MAPS, &format!("{PROTOBUF};q=0.1,{JSON}")).await;
    assert_eq!(weighed.media_type, JSON);
    // Nothing is written for who cannot read the answer.
    let headers = [("accept", "application/cbor"), ("content-type", JSON)];
    let body = map("unread").to_string();
    let refused = ask(&control, Method::POST, MAPS, &headers, body).await;
    assert_eq!(refused.code, 406);
    assert_eq!(control.get(&format!("{MAPS}/unread")).await.code, 404);
}

#[tokio::test]
async fn lists_come_whole_in_pages_and_long() {
    let control = Control::start(&[]).await;
    for index in 0..6 {
        let mut large = labelled(&format!("m{index}"), "large");
        large["data"]["b"] = format!("{index} ").repeat(450_000).into();
        create(&control, MAPS, &large).await;
    }
    let path = format!("{MAPS}?labelSelector=app%3Dlarge");
    // More than is held: the end is written while it is sent.
    let all = get(&control, &path, PROTOBUF).await;
    assert!(all.code == 200 && all.is("v1", "ConfigMapList"));
    assert!(all.bytes.len() > 5 << 20, "{}", all.bytes.len());
    let meta = field(1, &[field(1, b"v1"), field(2, b"ConfigMapList")].concat());
    let raw = &all.bytes[4 + meta.len()..];
    let (tag, length, start) = (raw[0], varint(&raw[1..]), 1 + width(&raw[1..]));
    assert_eq!(
        (tag, raw.len()),
        (0x12, start + length + 4),
        "the length is right"
    );
    let mut items = 0;
    let mut rest = &raw[start..start + length];
    while !rest.is_empty() {
        items += usize::from(rest[0] == 0x12);
        rest = &rest[1 + width(&rest[1..]) + varint(&rest[1..])..];
    }
    assert_eq!(items, 6);
    let headers = [("accept", PROTOBUF), ("accept-encoding", "gzip")];
    let packed = ask(&control, Method::GET, &path, &headers, "").await;
    assert_eq!(packed.encoding.as_deref(), Some("gzip"));
    let mut unpacked = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(packed.bytes.as_slice());
    decoder.read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked.len(), all.bytes.len());
    let page = get(&control, &format!("{path}&limit=2"), PROTOBUF).await;
    assert!(page.is("v1", "ConfigMapList") && page.has(b"m1") && !page.has(b"m2"));
    let none = get(
        &control,
        &format!("{MAPS}?labelSelector=no%3Dthing"),
        PROTOBUF,
    )
    .await;
    assert!(none.is("v1", "ConfigMapList") && none.bytes.len() < 80);
}

fn width(bytes: &[u8]) -> usize {
    1 + bytes.iter().take_while(|byte| **byte & 0x80 != 0).count()
}

fn varint(bytes: &[u8]) -> usize {
    let bytes = bytes[..width(bytes)].iter().rev();
    bytes.fold(0, |number, byte| number << 7 | usize::from(byte & 0x7f))
}

/// The frames of a watch: the type of each event, and its object's envelope.
fn events(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut events = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (frame, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        bytes = rest;
        assert_eq!(frame[0], 0x0a, "the event itself has no envelope");
        let (name, object) = frame[2..].split_at(frame[1].into());
        let start = 1 + width(&object[1..]);
        let extension = &object[start..];
        let envelope = &extension[1 + width(&extension[1..])..];
        assert!(envelope.starts_with(b"k8s\0"));
        events.push((String::from_utf8(name.to_vec()).unwrap(), envelope.to_vec()));
    }
    events
}

#[tokio::test]
async fn a_watch_is_a_sequence_of_frames() {
    let control = Control::start(&[]).await;
    create(&control, MAPS, &labelled("w", "watched")).await;
    let query = "labelSelector=app%3Dwatched&watch=1&timeoutSeconds=1&allowWatchBookmarks=1\
                 &sendInitialEvents=1&resourceVersionMatch=NotOlderThan";
    let path = format!("{MAPS}?{query}");
    let watch = get(&control, &path, PROTOBUF).await;
    let stream = format!("{PROTOBUF};stream=watch");
    assert_eq!((watch.code, &watch.media_type), (200, &stream));
    let seen = events(&watch.bytes);
    let kind = field(1, &[field(1, b"v1"), field(2, b"ConfigMap")].concat());
    assert!(seen.len() >= 2, "{seen:?}");
    for ((name, envelope), wanted) in seen.iter().zip(["ADDED", "BOOKMARK"]) {
        assert_eq!(name, wanted);
        assert!(envelope[4..].starts_with(&kind));
    }
    let end = b"k8s.io/initial-events-end";
    assert!(seen[1].1.windows(end.len()).any(|window| window == end));
    let partial = get(&control, &path, &format!("{stream}{METADATA}")).await;
    let kind = b"PartialObjectMetadata";
    for (name, envelope) in events(&partial.bytes) {
        assert!(envelope.windows(kind.len()).any(|it| it == kind), "{name}");
    }
    let old = format!("{MAPS}?watch=1&resourceVersion=1&timeoutSeconds=1");
    let expired = get(&control, &old, PROTOBUF).await;
    for (name, envelope) in events(&expired.bytes) {
        assert!(matches!(name.as_str(), "ADDED" | "ERROR"), "{name}");
        assert!(envelope.starts_with(b"k8s\0"));
    }
}
