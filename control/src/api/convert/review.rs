//! `apiextensions.k8s.io ConversionReview`: what a converting webhook is asked, and its answer. Pure.

use serde_json::{Map, Value, json};

use crate::api::value::{items, name, namespace, text};
use crate::registry::rules::{At, Faults, label_map, qualified_name};

/// A question about objects of one kind.
pub(super) struct Question<'a> {
    /// `v1` or `v1beta1`, whichever the webhook speaks.
    pub(super) review: &'a str,
    pub(super) uid: &'a str,
    /// The `apiVersion` that is wanted.
    pub(super) desired: &'a str,
    pub(super) kind: &'a str,
}

impl Question<'_> {
    /// The review of `objects`.
    pub(super) fn body(&self, objects: &[&Value]) -> String {
        let version = format!("apiextensions.k8s.io/{}", self.review);
        json!({"kind": "ConversionReview", "apiVersion": version, "request": {
            "uid": self.uid, "desiredAPIVersion": self.desired, "objects": objects}})
        .to_string()
    }

    /// The objects of an answer, which have to be those that were sent but for their version.
    ///
    /// # Errors
    /// What is wrong with it, to be read after the name of the webhook's kind.
    pub(super) fn read(&self, sent: &[&Value], answer: &[u8]) -> Result<Vec<Value>, String> {
        let objects = self
            .objects(answer)
            .map_err(|why| format!("failed: {why}"))?;
        if objects.len() != sent.len() {
            let (got, expected) = (objects.len(), sent.len());
            return Err(format!("returned {got} objects, expected {expected}"));
        }
        let pairs = sent.iter().zip(objects).enumerate();
        let read = pairs.map(|(index, (sent, mut got))| {
            self.same(sent, &got).map_err(|why| {
                format!("returned invalid converted object at index {index}: {why}")
            })?;
            restore(sent, &mut got).map_err(|why| {
                format!("returned invalid metadata in object at index {index}: {why}")
            })?;
            Ok(got)
        });
        read.collect()
    }

    fn objects(&self, answer: &[u8]) -> Result<Vec<Value>, String> {
        let mut review: Value = serde_json::from_slice(answer)
            .map_err(|error| format!("the answer is no ConversionReview: {error}"))?;
        let wanted = format!("apiextensions.k8s.io/{}", self.review);
        let (version, kind) = (text(&review, "/apiVersion"), text(&review, "/kind"));
        if (version, kind) != (&wanted, "ConversionReview") {
            return Err(format!(
                "expected webhook response of {wanted}, Kind=ConversionReview, got {version}, Kind={kind}"
            ));
        }
        if !review["response"].is_object() {
            return Err("no response provided".to_owned());
        }
        let uid = text(&review, "/response/uid");
        if uid != self.uid {
            return Err(format!("expected response.uid={:?}, got {uid:?}", self.uid));
        }
        let status = text(&review, "/response/result/status");
        if status != "Success" {
            return Err(match text(&review, "/response/result/message") {
                "" => format!("response.result.status was '{status}', not 'Success'"),
                message => message.to_owned(),
            });
        }
        match review["response"]["convertedObjects"].take() {
            Value::Array(objects) => Ok(objects),
            _ => Ok(Vec::new()),
        }
    }

    /// Whether an object is the one that was sent, in the version that was wanted.
    fn same(&self, sent: &Value, got: &Value) -> Result<(), String> {
        let version = text(got, "/apiVersion");
        if version != self.desired {
            let desired = self.desired;
            return Err(format!(
                "invalid groupVersion (expected {desired}, received {version})"
            ));
        }
        let kind = text(got, "/kind");
        if kind != self.kind {
            let expected = self.kind;
            return Err(format!(
                "invalid kind (expected {expected}, received {kind})"
            ));
        }
        let uid = |object| text(object, "/metadata/uid");
        for (what, one, other) in [
            ("name", name(sent), name(got)),
            ("namespace", namespace(sent), namespace(got)),
            ("UID", uid(sent), uid(got)),
        ] {
            if one != other {
                return Err(format!("must have the same {what}: {one} != {other}"));
            }
        }
        Ok(())
    }
}

/// Gives a converted object its metadata back, of which labels and annotations alone may change.
fn restore(sent: &Value, got: &mut Value) -> Result<(), String> {
    let said = got["metadata"].take();
    let Value::Object(mut said) = said else {
        return Err("missing metadata in converted object".to_owned());
    };
    let mut metadata = sent.get("metadata").and_then(Value::as_object).cloned();
    let metadata = metadata.get_or_insert_with(Map::new);
    for field in ["labels", "annotations"] {
        match said.remove(field) {
            None | Some(Value::Null) => drop(metadata.remove(field)),
            Some(map) => {
                if metadata.get(field) != Some(&map) {
                    fits(field, &map)?;
                }
                metadata.insert(field.to_owned(), map);
            }
        }
    }
    got["metadata"] = Value::Object(std::mem::take(metadata));
    Ok(())
}

/// Whether labels or annotations may be like that.
fn fits(field: &str, map: &Value) -> Result<(), String> {
    let Some(members) = map.as_object() else {
        return Err(format!("invalid metadata.{field} in converted object"));
    };
    if let Some((key, _)) = members.iter().find(|(_, value)| !value.is_string()) {
        return Err(format!(
            "metadata.{field}[{key}] must be a string in converted object"
        ));
    }
    let object = json!({"metadata": {field: map}});
    let at = At::root(&object).dig(&["metadata", field]);
    let mut faults = Faults::default();
    if field == "labels" {
        label_map(&at, &mut faults);
    } else {
        let keys = members.keys();
        keys.for_each(|key| qualified_name(&at, &key.to_lowercase(), &mut faults));
    }
    let faults = faults.into_list();
    let faults: Vec<_> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.field, fault.message))
        .collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(faults.join(", "))
}

/// The first of `offered` that is a version of reviews.
pub(super) fn spoken(conversion: &Value) -> Option<&'static str> {
    let offered = items(conversion, "/webhook/conversionReviewVersions").iter();
    let mut known = offered.filter_map(|version| match version.as_str() {
        Some("v1") => Some("v1"),
        Some("v1beta1") => Some("v1beta1"),
        _ => None,
    });
    known.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: Question<'static> = Question {
        review: "v1",
        uid: "u1",
        desired: "a.b/v2",
        kind: "Boat",
    };

    fn sent() -> Value {
        json!({"apiVersion": "a.b/v1", "kind": "Boat", "spec": {"x": 1}, "metadata": {
            "name": "n", "namespace": "s", "uid": "u", "generation": 4, "labels": {"a": "1"}}})
    }

    fn got() -> Value {
        let mut got = sent();
        got["apiVersion"] = "a.b/v2".into();
        got
    }

    fn read(response: Value) -> Result<Vec<Value>, String> {
        let review = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
            "response": response});
        QUESTION.read(&[&sent()], review.to_string().as_bytes())
    }

    fn converted(object: &Value) -> Result<Vec<Value>, String> {
        read(json!({"uid": "u1", "result": {"status": "Success"}, "convertedObjects": [object]}))
    }

    #[test]
    fn a_review_names_the_version_and_holds_the_objects() {
        let body: Value = serde_json::from_str(&QUESTION.body(&[&sent()])).unwrap();
        assert_eq!(body["apiVersion"], "apiextensions.k8s.io/v1");
        assert_eq!(body["request"]["desiredAPIVersion"], "a.b/v2");
        assert_eq!(body["request"]["objects"], json!([sent()]));
        let versions = |list: Value| json!({"webhook": {"conversionReviewVersions": list}});
        assert_eq!(
            spoken(&versions(json!(["v9", "v1beta1", "v1"]))),
            Some("v1beta1")
        );
        assert_eq!(spoken(&versions(json!(["v9"]))), None);
    }

    #[test]
    fn of_the_metadata_only_labels_and_annotations_change() {
        let mut object = got();
        object["metadata"]["labels"] = json!({"b": "2"});
        object["metadata"]["annotations"] = json!({"a.b/c": "d"});
        object["metadata"]["generation"] = 9.into();
        object["metadata"]["finalizers"] = json!(["x/y"]);
        let read = converted(&object).unwrap().remove(0);
        let expected = json!({"name": "n", "namespace": "s", "uid": "u", "generation": 4,
            "labels": {"b": "2"}, "annotations": {"a.b/c": "d"}});
        assert_eq!(read["metadata"], expected);
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_said() {
        let cases = [
            (json!(null), "failed: no response provided"),
            (
                json!({"uid": "x"}),
                "failed: expected response.uid=\"u1\", got \"x\"",
            ),
            (
                json!({"uid": "u1", "result": {"status": "Failure", "message": "no way"}}),
                "failed: no way",
            ),
            (
                json!({"uid": "u1"}),
                "failed: response.result.status was '', not 'Success'",
            ),
            (
                json!({"uid": "u1", "result": {"status": "Success"}}),
                "returned 0 objects, expected 1",
            ),
        ];
        for (response, expected) in cases {
            assert_eq!(read(response).unwrap_err(), expected);
        }
        let invalid = "returned invalid converted object at index 0: ";
        for (pointer, value, why) in [
            (
                "/apiVersion",
                "a.b/v3",
                "invalid groupVersion (expected a.b/v2, received a.b/v3)",
            ),
            (
                "/kind",
                "Ship",
                "invalid kind (expected Boat, received Ship)",
            ),
            ("/metadata/name", "m", "must have the same name: n != m"),
            ("/metadata/uid", "w", "must have the same UID: u != w"),
        ] {
            let mut object = got();
            *object.pointer_mut(pointer).unwrap() = value.into();
            assert_eq!(converted(&object).unwrap_err(), format!("{invalid}{why}"));
        }
        let mut object = got();
        object["metadata"]["labels"] = json!({"b": 2});
        let why = converted(&object).unwrap_err();
        assert!(why.contains("metadata.labels[b] must be a string"), "{why}");
        object["metadata"]["labels"] = json!({"-": "2"});
        assert!(converted(&object).unwrap_err().contains("metadata.labels"));
    }
}
