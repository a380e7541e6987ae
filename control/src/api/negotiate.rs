//! Media types: what a client accepts and what it sends.

use std::borrow::Cow;
use std::cmp::Reverse;

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};

use super::kinds::api_version;
use super::protobuf;
use super::status::{Result, Status};
use crate::registry::kind::Kind;

const YAML: &str = "application/yaml";

/// The shape in which objects are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The object itself.
    Object,
    /// `meta.k8s.io/v1 Table`.
    Table,
    /// `meta.k8s.io/v1 PartialObjectMetadata`, or its list.
    Metadata,
}

/// What an answer is written in. All are made as JSON; the others are written of that at the very end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// JSON.
    Json,
    /// YAML, documents only.
    Yaml,
    /// The protobuf encoding of Kubernetes.
    Protobuf,
}

/// What a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    /// What of the object.
    pub(super) shape: Shape,
    /// How it is written.
    pub(super) encoding: Encoding,
}

/// What a path offers.
#[derive(Clone, Copy)]
struct Offer {
    /// The kind has protobuf; its metadata always has.
    protobuf: bool,
    /// It is one document, no stream.
    document: bool,
    /// Objects have other shapes.
    shapes: bool,
}

/// One entry of an Accept header.
struct Accepted<'a> {
    media_type: &'a str,
    parameters: &'a str,
}

impl<'a> Accepted<'a> {
    fn parse(text: &'a str) -> Self {
        let (media_type, parameters) = text.split_once(';').unwrap_or((text, ""));
        Self {
            media_type: media_type.trim(),
            parameters,
        }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut parts = self.parameters.split(';').map(str::trim);
        let found = parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        found.map(|value| value.trim_matches('"'))
    }

    /// In thousandths.
    fn weight(&self) -> u32 {
        let weight = self.parameter("q").map(str::parse::<f32>);
        weight.map_or(1000, |weight| {
            let weight = weight.unwrap_or(0.0).clamp(0.0, 1.0);
            let thousandths = format!("{:.0}", weight * 1000.0);
            thousandths.parse().unwrap_or(0)
        })
    }

    fn is_wild(&self) -> bool {
        self.media_type.ends_with('*')
    }

    /// What this entry is answered with.
    fn form(&self, offer: Offer) -> Option<Form> {
        let encoding = match self.media_type {
            "application/json" | "application/*" | "*/*" | "*" => Encoding::Json,
            YAML if offer.document => Encoding::Yaml,
            protobuf::MEDIA_TYPE => Encoding::Protobuf,
            _ => return None,
        };
        let v1 = self.parameter("v") == Some("v1") && self.parameter("g") == Some("meta.k8s.io");
        let shape = match self.parameter("as") {
            None => Shape::Object,
            Some("Table") if v1 && offer.shapes => Shape::Table,
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if v1 && offer.shapes => {
                Shape::Metadata
            }
            Some(_) => return None,
        };
        let possible = match (encoding, shape) {
            (Encoding::Protobuf, Shape::Object) => offer.protobuf,
            (Encoding::Protobuf, Shape::Table) => false,
            _ => true,
        };
        possible.then_some(Form { shape, encoding })
    }
}

/// The Accept header as one list; absent or empty means anything.
pub(super) fn accepts(headers: &HeaderMap) -> Cow<'_, str> {
    let mut all = headers.get_all(ACCEPT).iter();
    let mut all = all.by_ref().filter_map(|value| value.to_str().ok());
    let first = all.next().unwrap_or_default();
    all.fold(Cow::Borrowed(first), |accept, next| {
        Cow::Owned(format!("{accept},{next}"))
    })
}

/// What the client likes best of what the server can answer about objects of a kind.
///
/// # Errors
/// 406 when there is nothing, so that clients which prefer another encoding fall back to JSON.
pub(super) fn form(headers: &HeaderMap, kind: &Kind) -> Result<Form> {
    of_kind(headers, kind, true)
}

/// The same for a stream of events, of which there is none in YAML.
///
/// # Errors
/// 406 when there is none.
pub(super) fn streamed(headers: &HeaderMap, kind: &Kind) -> Result<Form> {
    of_kind(headers, kind, false)
}

fn of_kind(headers: &HeaderMap, kind: &Kind, document: bool) -> Result<Form> {
    let accept = accepts(headers);
    let protobuf = || protobuf::has(&api_version(kind), kind.kind);
    let offer = Offer {
        protobuf: accept.contains(protobuf::MEDIA_TYPE) && protobuf(),
        document,
        shapes: true,
    };
    best(&accept, offer).ok_or_else(|| {
        let mut supported = String::from("application/json");
        let others = [
            (YAML, document),
            (protobuf::MEDIA_TYPE, kind.custom.is_none() && protobuf()),
        ];
        for (media_type, _) in others.into_iter().filter(|(_, offered)| *offered) {
            supported.push_str(", ");
            supported.push_str(media_type);
        }
        Status::not_acceptable(&supported)
    })
}

/// In what a document is written that has one shape, such as a refusal: what the client likes best,
/// and what comes instead if the document has no protobuf. JSON, if it likes none.
pub(super) fn plain(headers: &HeaderMap) -> (Encoding, Encoding) {
    let named = |value: &http::HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        value.contains(YAML) || value.contains(protobuf::MEDIA_TYPE)
    };
    if !headers.get_all(ACCEPT).iter().any(named) {
        return (Encoding::Json, Encoding::Json);
    }
    let accept = accepts(headers);
    let encoding = |protobuf| {
        let offer = Offer {
            protobuf,
            document: true,
            shapes: false,
        };
        best(&accept, offer).map_or(Encoding::Json, |form| form.encoding)
    };
    (encoding(true), encoding(false))
}

/// The first form that is offered: what weighs more comes first, and of the same weight what names a
/// media type.
fn best(accept: &str, offer: Offer) -> Option<Form> {
    if accept.trim().is_empty() {
        return Some(Form {
            shape: Shape::Object,
            encoding: Encoding::Json,
        });
    }
    let mut entries = accept.split(',').map(|entry| Accepted::parse(entry.trim()));
    if !accept.contains("q=") && !accept.contains('*') {
        return entries.find_map(|entry| entry.form(offer));
    }
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_key(|entry| (Reverse(entry.weight()), entry.is_wild()));
    entries.iter().find_map(|entry| entry.form(offer))
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

    const PROTOBUF: &str = protobuf::MEDIA_TYPE;
    const METADATA: &str = ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    const TABLE: &str = ";as=Table;v=v1;g=meta.k8s.io";

    fn of(accept: &str, protobuf: bool) -> Option<(Shape, Encoding)> {
        let offer = Offer {
            protobuf,
            document: true,
            shapes: true,
        };
        best(accept, offer).map(|form| (form.shape, form.encoding))
    }

    #[test]
    fn the_first_form_that_is_offered_wins() {
        use Encoding::{Json, Protobuf, Yaml};
        let json = "application/json";
        let old = format!("{json};as=Table;v=v1beta1;g=meta.k8s.io");
        for (accept, protobuf, wanted) in [
            (String::new(), true, Some((Shape::Object, Json))),
            (
                format!("{json}{TABLE},{json}"),
                true,
                Some((Shape::Table, Json)),
            ),
            (format!("{old},{json}"), true, Some((Shape::Object, Json))),
            (
                format!("{json}{METADATA}"),
                true,
                Some((Shape::Metadata, Json)),
            ),
            (
                format!("{PROTOBUF}, */*"),
                true,
                Some((Shape::Object, Protobuf)),
            ),
            (
                format!("*/*, {PROTOBUF}"),
                true,
                Some((Shape::Object, Protobuf)),
            ),
            (
                format!("{PROTOBUF}, */*"),
                false,
                Some((Shape::Object, Json)),
            ),
            (
                format!("{PROTOBUF},{YAML}"),
                false,
                Some((Shape::Object, Yaml)),
            ),
            (PROTOBUF.to_owned(), false, None),
            (
                format!("{PROTOBUF}{METADATA}"),
                false,
                Some((Shape::Metadata, Protobuf)),
            ),
            (format!("{PROTOBUF}{TABLE}"), true, None),
            (
                format!("{PROTOBUF}{TABLE},{json}{TABLE}"),
                true,
                Some((Shape::Table, Json)),
            ),
            (
                format!("{PROTOBUF};q=0.5, {json}"),
                true,
                Some((Shape::Object, Json)),
            ),
            (
                format!("{json};q=0.5, {PROTOBUF};q=0.9"),
                true,
                Some((Shape::Object, Protobuf)),
            ),
            ("application/cbor".to_owned(), true, None),
        ] {
            assert_eq!(of(&accept, protobuf), wanted, "{accept}");
        }
    }

    #[test]
    fn a_refusal_is_written_in_what_is_accepted_without_a_shape() {
        use Encoding::{Json, Protobuf, Yaml};
        for (accept, wanted) in [
            (PROTOBUF.to_owned(), (Protobuf, Json)),
            (format!("{PROTOBUF},{YAML}"), (Protobuf, Yaml)),
            (
                format!("{PROTOBUF}{METADATA},application/json"),
                (Json, Json),
            ),
            ("application/cbor".to_owned(), (Json, Json)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(plain(&headers), wanted, "{accept}");
        }
    }
}
