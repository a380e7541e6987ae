//! Answers in YAML.

use super::*;
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;

const YAML: &str = "application/yaml";

/// Sends a request that wants YAML back: code, media type and text of the answer.
async fn ask(control: &Control, method: Method, path: &str, body: &str) -> (u16, String, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("accept", YAML)
        .header("content-type", YAML)
        .body(Body::from(body.as_bytes().to_vec()));
    let reply = control.client.send(request.unwrap()).await.unwrap();
    let (head, body) = reply.into_parts();
    let media_type = head.headers["content-type"].to_str().unwrap().to_owned();
    let text = body.collect().await.unwrap().to_bytes().to_vec();
    let text = String::from_utf8(text).unwrap();
    (head.status.as_u16(), media_type, text)
}

fn read(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

#[tokio::test]
async fn objects_lists_and_refusals_are_written_in_yaml_for_who_prefers_it() {
    let control = Control::start(&[]).await;
    let text = "metadata:\n  name: a\ndata:\n  x: \"1\"\n  y: |\n    two\n    lines\n";
    let (code, media_type, made) = ask(&control, Method::POST, MAPS, text).await;
    assert_eq!((code, media_type.as_str()), (201, YAML), "{made}");
    assert!(made.starts_with("apiVersion: v1\n"), "{made}");
    let path = format!("{MAPS}/a");
    let stored = control.get(&path).await.expect(200);
    assert_eq!(read(&made), stored);
    assert_eq!(stored["data"], json!({"x": "1", "y": "two\nlines\n"}));

    let (code, _, one) = ask(&control, Method::GET, &path, "").await;
    assert_eq!((code, read(&one)), (200, stored));
    let only = format!("{MAPS}?fieldSelector=metadata.name%3Da");
    let (code, _, all) = ask(&control, Method::GET, &only, "").await;
    let list = control.get(&only).await.expect(200);
    assert_eq!((code, &read(&all)["items"]), (200, &list["items"]));
    assert_eq!(read(&all)["kind"], "ConfigMapList");
    assert!(all.contains("\nitems:\n- "), "{all}");
    let none = format!("{MAPS}/none");
    let (code, media_type, why) = ask(&control, Method::GET, &none, "").await;
    assert_eq!((code, media_type.as_str()), (404, YAML));
    assert_eq!(read(&why)["reason"], "NotFound");
    let (code, _, groups) = ask(&control, Method::GET, "/apis/apps/v1", "").await;
    assert_eq!(
        (code, &read(&groups)["kind"]),
        (200, &json!("APIResourceList"))
    );
}

#[tokio::test]
async fn a_watch_is_not_to_be_had_in_yaml_and_json_comes_first_for_who_names_it_first() {
    let control = Control::start(&[]).await;
    let watch = format!("{MAPS}?watch=1");
    let (code, media_type, why) = ask(&control, Method::GET, &watch, "").await;
    assert_eq!((code, media_type.as_str()), (406, YAML));
    assert_eq!(read(&why)["reason"], "NotAcceptable");
    let both = [("accept", "application/json, application/yaml")];
    let list = control.send(Method::GET, MAPS, &both, "").await;
    assert_eq!(list.expect(200)["kind"], "ConfigMapList");
}

#[tokio::test]
async fn a_long_list_is_yaml_as_well() {
    let control = Control::start(&[]).await;
    for index in 0..6 {
        let mut large = labelled(&format!("m{index}"), "large");
        large["data"]["b"] = "x: [".repeat(240_000).into();
        create(&control, MAPS, &large).await;
    }
    let path = format!("{MAPS}?labelSelector=app%3Dlarge");
    let (code, media_type, text) = ask(&control, Method::GET, &path, "").await;
    assert_eq!((code, media_type.as_str()), (200, YAML));
    assert!(text.len() > 4 << 20, "{}", text.len());
    let list = control.get(&path).await.expect(200);
    assert!(read(&text)["items"] == list["items"]);
}
