//! Long answers as gzip.

use super::*;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use std::io::Read;

/// The answer to a GET as it came: its encoding and its bytes.
async fn raw(control: &Control, path: &str, encoding: &str) -> (Option<String>, Vec<u8>) {
    let request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header("accept-encoding", encoding)
        .body(Body::empty());
    let reply = control.client.send(request.unwrap()).await.unwrap();
    assert_eq!(reply.status(), 200, "{path}");
    let (head, body) = reply.into_parts();
    let encoding = head.headers.get("content-encoding");
    let encoding = encoding.map(|it| it.to_str().unwrap().to_owned());
    if encoding.is_some() {
        assert_eq!(head.headers["vary"], "Accept-Encoding");
    }
    let bytes = body.collect().await.unwrap().to_bytes();
    (encoding, bytes.to_vec())
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(bytes);
    decoder.read_to_end(&mut text).unwrap();
    text
}

/// A document without the version of a list, which others' writes change.
fn content(bytes: &[u8]) -> Value {
    let mut document: Value = serde_json::from_slice(bytes).unwrap();
    let metadata = document["metadata"].as_object_mut();
    metadata.and_then(|metadata| metadata.remove("resourceVersion"));
    document
}

#[tokio::test]
async fn long_answers_are_compressed_for_who_takes_them_so() {
    let control = Control::start(&[]).await;
    for index in 0..20 {
        let mut large = labelled(&format!("m{index}"), "large");
        large["data"]["b"] = format!("{index} ").repeat(7_000).into();
        create(&control, MAPS, &large).await;
    }
    let mut huge = map("z-huge");
    huge["data"]["b"] = "x".repeat(200_000).into();
    create(&control, MAPS, &huge).await;
    let one = format!("{MAPS}/z-huge");
    let many = format!("{MAPS}?labelSelector=app%3Dlarge");
    for path in [many.as_str(), one.as_str(), "/openapi/v3/apis/apps/v1"] {
        let (encoding, plain) = raw(&control, path, "identity").await;
        assert_eq!(encoding, None, "{path}");
        assert!(plain.len() > 128 << 10, "{path}: {}", plain.len());
        let (encoding, packed) = raw(&control, path, "deflate, gzip").await;
        assert_eq!(encoding.as_deref(), Some("gzip"), "{path}");
        assert!(packed.len() < plain.len() / 2, "{path}: {}", packed.len());
        assert!(content(&unpacked(&packed)) == content(&plain), "{path}");
    }
    // What is short is sent as it is, also if that is known only at its end.
    let short = format!("{MAPS}?limit=5");
    for path in ["/api/v1", short.as_str(), "/version"] {
        let (encoding, plain) = raw(&control, path, "gzip").await;
        assert_eq!(encoding, None, "{path}");
        serde_json::from_slice::<Value>(&plain).unwrap();
    }
}

#[tokio::test]
async fn a_watch_is_never_compressed() {
    let control = Control::start(&[]).await;
    let mut huge = map("huge");
    huge["data"]["b"] = "x".repeat(200_000).into();
    create(&control, MAPS, &huge).await;
    let path = format!("{MAPS}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dhuge");
    let (encoding, lines) = raw(&control, &path, "gzip").await;
    assert_eq!(encoding, None);
    let line = lines.split(|byte| *byte == b'\n').next().unwrap();
    let event: Value = serde_json::from_slice(line).unwrap();
    assert_eq!(event["object"]["metadata"]["name"], "huge");
}
