//! `/openapi/v2` and `/openapi/v3`: made on request by `schema`, cached by clients.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use super::body::{Reply, full, json, reply};
use super::custom::written_schema;
use super::negotiate::accepts;
use super::server::Server;
use super::status::{Result, Status};
use crate::schema::openapi::{self, Described};

/// The media type as an answer names it: with the `@` of the request it would be no media type.
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Whether the path is one of these.
pub(super) fn owns(path: &str) -> bool {
    path == "/openapi/v2" || path == "/openapi/v3" || path.starts_with("/openapi/v3/")
}

/// Answers a path under `/openapi`.
///
/// # Errors
/// 404 for a group that is not served, 405 for other methods than GET.
pub(super) fn answer(
    server: &Server,
    path: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Reply> {
    if method != Method::GET && method != Method::HEAD {
        return Err(Status::method_not_allowed());
    }
    let custom = custom(server);
    if path == "/openapi/v2" {
        let mut document = openapi::v2(&custom);
        server.extensions.load().describe(&mut document);
        return Ok(v2(headers, &document));
    }
    let rest = path.trim_start_matches("/openapi/v3").trim_matches('/');
    let document = match rest.split('/').collect::<Vec<_>>().as_slice() {
        [""] => {
            let mut index = openapi::v3_index(&custom);
            server.extensions.load().index(&mut index);
            Some(index)
        }
        ["api", version] => openapi::v3_document("", version, &custom),
        ["apis", group, version] => openapi::v3_document(group, version, &custom),
        _ => None,
    };
    let document = document.ok_or_else(Status::no_such_resource)?;
    let mut reply = json(StatusCode::OK, &document);
    // The URL carries a hash of the content: whoever has it may keep it.
    let keep = HeaderValue::from_static("public, immutable, max-age=31536000");
    if !rest.is_empty() {
        reply.headers_mut().insert(header::CACHE_CONTROL, keep);
    }
    Ok(reply)
}

/// The custom kinds with what their writers said about them.
fn custom(server: &Server) -> Vec<Described> {
    let custom = server.custom.load();
    let described = custom.definitions().filter_map(|(kind, definition)| {
        let schema = written_schema(server, definition, kind.version)?;
        Some(Described { kind, schema })
    });
    described.collect()
}

/// Older clients accept protobuf only.
fn v2(headers: &HeaderMap, document: &Value) -> Reply {
    let accept = accepts(headers);
    let mut wanted = accept
        .split(',')
        .map(|entry| entry.split(';').next().unwrap_or("").trim());
    let protobuf = wanted.find_map(|entry| match entry {
        "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        | "application/com.github.proto-openapi.spec.v2.v1.0+protobuf" => Some(true),
        "application/json" | "*/*" | "application/*" => Some(false),
        _ => None,
    });
    if protobuf == Some(true) {
        reply(
            StatusCode::OK,
            V2_PROTOBUF,
            full(openapi::v2_protobuf(document)),
        )
    } else {
        json(StatusCode::OK, document)
    }
}
