//! Media types: what a client accepts and what it sends.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use super::status::{Result, Status};

const YAML: &str = "application/yaml";

/// The shape in which objects are answered, made as JSON; YAML is written of that at the very end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The object itself.
    Object,
    /// `meta.k8s.io/v1 Table`.
    Table,
    /// `meta.k8s.io/v1 PartialObjectMetadata`, or its list.
    Metadata,
}

/// One entry of an Accept header.
struct Accepted<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Accepted<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let parameters = parts.filter_map(|part| part.split_once('=')).collect();
        Self {
            media_type,
            parameters,
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.trim_matches('"'))
    }

    fn shape(&self) -> Option<Shape> {
        if !matches!(
            self.media_type,
            "application/json" | YAML | "application/*" | "*/*"
        ) {
            return None;
        }
        let v1 = self.parameter("v") == Some("v1") && self.parameter("g") == Some("meta.k8s.io");
        match self.parameter("as") {
            None => Some(Shape::Object),
            Some("Table") if v1 => Some(Shape::Table),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if v1 => {
                Some(Shape::Metadata)
            }
            Some(_) => None,
        }
    }
}

/// The Accept header as one list; absent or empty means anything.
pub(super) fn accepts(headers: &HeaderMap) -> String {
    let all: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    all.join(",")
}

/// The first shape that the client accepts and the server can produce.
///
/// # Errors
/// 406 when there is none, so that clients which prefer protobuf fall back to JSON.
pub(super) fn shape(headers: &HeaderMap) -> Result<Shape> {
    let chosen = chosen(&accepts(headers), |_| true);
    let chosen = chosen.ok_or_else(|| Status::not_acceptable("application/json, application/yaml"));
    chosen.map(|(shape, _)| shape)
}

/// The same for a stream of events, of which there is none in YAML.
///
/// # Errors
/// 406 when there is none.
pub(super) fn streamed_shape(headers: &HeaderMap) -> Result<Shape> {
    let chosen = chosen(&accepts(headers), |media_type| media_type != YAML);
    let chosen = chosen.ok_or_else(|| Status::not_acceptable("application/json"));
    chosen.map(|(shape, _)| shape)
}

/// Whether YAML is the first that the client accepts.
pub(super) fn wants_yaml(headers: &HeaderMap) -> bool {
    let named = |value: &http::HeaderValue| value.to_str().is_ok_and(|it| it.contains(YAML));
    headers.get_all(ACCEPT).iter().any(named)
        && chosen(&accepts(headers), |_| true).is_some_and(|(_, yaml)| yaml)
}

/// The first shape that is accepted among the media types that `may` be answered, and whether it is
/// wanted in YAML.
fn chosen(accept: &str, may: impl Fn(&str) -> bool) -> Option<(Shape, bool)> {
    if accept.trim().is_empty() {
        return Some((Shape::Object, false));
    }
    let entries = accept.split(',').map(|entry| Accepted::parse(entry.trim()));
    let mut entries = entries.filter(|entry| may(entry.media_type));
    entries.find_map(|entry| Some((entry.shape()?, entry.media_type == YAML)))
}

/// The media type of the body, without parameters, in lower case.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let value = value.unwrap_or_default();
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Option<Shape> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        shape(&headers).ok()
    }

    #[test]
    fn the_first_shape_that_is_known_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(of(&format!("{table},application/json")), Some(Shape::Table));
        let old = "application/json;as=Table;v=v1beta1;g=meta.k8s.io";
        assert_eq!(of(&format!("{old},application/json")), Some(Shape::Object));
        assert_eq!(
            of("application/vnd.kubernetes.protobuf, */*"),
            Some(Shape::Object)
        );
        assert_eq!(of("application/vnd.kubernetes.protobuf"), None);
        let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(of(partial), Some(Shape::Metadata));
        assert_eq!(shape(&HeaderMap::new()).unwrap(), Shape::Object);
    }
}
