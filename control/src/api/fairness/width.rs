//! How many seats a request takes: one, and more for a list, by the objects that are walked for it.

use crate::api::request::{Query, RequestInfo};
use crate::api::server::Server;

/// Objects that are walked for one seat.
const PER_SEAT: usize = 100;
/// Seats of one request at most.
const MOST: u32 = 10;

/// Seats of a request, of at most `widest`.
pub(super) fn of(server: &Server, info: &RequestInfo, query: &Query, widest: u32) -> u32 {
    if !walks(info, query) {
        return 1;
    }
    let Some(path) = &info.resource else {
        return 1;
    };
    let target = server.find(&path.group, &path.version, &path.plural);
    // What another server lists is its own affair.
    let stored = target.map_or(0, |it| server.store.snapshot(it.resource).objects.len());
    seats(stored, query).min(widest).max(1)
}

/// Whether many objects are walked: for a list, and for a watch that begins with what there is.
fn walks(info: &RequestInfo, query: &Query) -> bool {
    let one = info
        .resource
        .as_ref()
        .is_none_or(|path| path.one_name().is_some());
    match info.verb {
        "list" => !one,
        "watch" => {
            let version = query.get("resourceVersion").unwrap_or("0");
            !one && (version == "0" || query.get("sendInitialEvents") == Some("true"))
        }
        _ => false,
    }
}

/// Seats for walking so many objects. A page without selectors ends when it is full; selectors are
/// asked about every object.
fn seats(stored: usize, query: &Query) -> u32 {
    let selects = ["labelSelector", "fieldSelector"];
    let selects = selects.iter().any(|key| query.get(key).is_some());
    let limit = query.get("limit").and_then(|limit| limit.parse().ok());
    let limit = limit.filter(|limit| *limit > 0 && !selects);
    let walked = limit.map_or(stored, |limit: usize| limit.min(stored));
    u32::try_from(walked.div_ceil(PER_SEAT)).map_or(MOST, |seats| seats.min(MOST))
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn query(text: &str) -> Query {
        Query::new(text)
    }

    #[test]
    fn a_list_is_as_wide_as_what_it_walks() {
        for (stored, text, width) in [
            (0, "", 0),
            (1, "", 1),
            (100, "", 1),
            (101, "", 2),
            (99_999, "", MOST),
            (99_999, "limit=500", 5),
            (99_999, "limit=500&labelSelector=a", MOST),
            (120, "limit=500", 2),
            (120, "limit=x", 2),
        ] {
            assert_eq!(seats(stored, &query(text)), width, "{stored} {text}");
        }
    }

    #[test]
    fn a_watch_walks_what_it_begins_with() {
        let walks = |uri: &str| {
            let (path, text) = uri.split_once('?').unwrap_or((uri, ""));
            let query = query(text);
            walks(&RequestInfo::new(&Method::GET, path, &query), &query)
        };
        assert!(walks("/api/v1/pods"));
        assert!(walks("/api/v1/pods?watch=1"));
        assert!(walks("/api/v1/pods?watch=1&resourceVersion=0"));
        assert!(walks(
            "/api/v1/pods?watch=1&resourceVersion=9&sendInitialEvents=true"
        ));
        assert!(!walks("/api/v1/pods?watch=1&resourceVersion=9"));
        assert!(!walks("/api/v1/namespaces/n/pods/p"));
        assert!(!walks("/api/v1/pods?fieldSelector=metadata.name%3Dp"));
        assert!(!walks("/version"));
    }
}
