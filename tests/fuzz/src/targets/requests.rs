//! Requests as text, so that a change reaches every part of them: a line with method, path and
//! content type, a line for each header, an empty line, the body.

use http::{Method, Request};

use super::examples;

/// Where objects of the custom kind are made.
pub(super) const BOATS: &str = "/apis/example.org/v1/namespaces/default/boats";

/// What one target asks.
pub(super) struct Theme {
    name: &'static str,
    /// As whom.
    pub(super) asker: Asker,
    /// Requests that are right.
    pub(super) examples: fn() -> Vec<Vec<u8>>,
    /// Words that mean something here.
    pub(super) words: &'static [&'static str],
}

/// As whom the server is asked.
pub(super) enum Asker {
    /// Somebody who may do everything.
    Administrator,
    /// Somebody who shows what is in the headers.
    Stranger,
}

/// A request.
pub(super) struct Asked {
    pub(super) head: Request<()>,
    pub(super) body: Vec<u8>,
}

/// The theme of that name.
pub(super) fn theme(name: &str) -> Option<&'static Theme> {
    THEMES.iter().find(|theme| theme.name == name)
}

static THEMES: [Theme; 7] = [
    Theme {
        name: "objects",
        asker: Asker::Administrator,
        examples: examples::objects,
        words: &[
            "null",
            "{}",
            "[]",
            "true",
            "-1",
            "1e9",
            "\"\"",
            "\\u0000",
            "\\ud800",
            "metadata",
            "\"name\":",
            "generateName",
            "ownerReferences",
            "finalizers",
            "managedFields",
            "application/yaml",
            "application/json",
            "application/vnd.kubernetes.protobuf",
            "&a [*a,*a]",
            "!!binary ",
            "? ",
            "- ",
            ": ",
            "k8s\u{0}",
            "\n",
        ],
    },
    Theme {
        name: "patches",
        asker: Asker::Administrator,
        examples: examples::patches,
        words: &[
            "null",
            "$patch",
            "replace",
            "delete",
            "merge",
            "$retainKeys",
            "$setElementOrder/",
            "$deleteFromPrimitiveList/",
            "/-",
            "~1",
            "~0",
            "/spec",
            "\"op\"",
            "move",
            "copy",
            "test",
            "f:",
            "k:{",
            "v:",
            "force=true",
            "fieldManager=a",
            "resourceVersion",
        ],
    },
    Theme {
        name: "queries",
        asker: Asker::Administrator,
        examples: examples::queries,
        words: &[
            "labelSelector=",
            "fieldSelector=",
            "limit=",
            "continue=",
            "resourceVersion=",
            "resourceVersionMatch=Exact",
            "watch=1",
            "timeoutSeconds=",
            "sendInitialEvents=true",
            "allowWatchBookmarks=true",
            "%2C",
            "%00",
            "%",
            "..",
            "//",
            " in (",
            " notin (",
            "!",
            "==",
            "!=",
            "metadata.name",
            "status.phase",
            "/status",
            "/scale",
            "/log",
            "apis/apps",
        ],
    },
    Theme {
        name: "expressions",
        asker: Asker::Administrator,
        examples: examples::expressions,
        words: &[
            "object",
            "oldObject",
            "has(",
            ")",
            "[",
            "]",
            ".all(x, ",
            ".map(x, ",
            ".exists(x, ",
            "?",
            ":",
            "==",
            "&&",
            "||",
            "!",
            "in",
            "size(",
            "matches(",
            "'",
            "\\\"",
            "1u",
            "1.0",
            "b'",
            "r'",
            "quantity('",
            "ip('",
            "cidr('",
            "url('",
            "optional.of(",
            "duration('",
            "timestamp('",
            ".format([",
            "regex",
            "sets.contains(",
            "lists.range(",
        ],
    },
    Theme {
        name: "definitions",
        asker: Asker::Administrator,
        examples: examples::definitions,
        words: &[
            "null",
            "{}",
            "[]",
            "x-kubernetes-",
            "int-or-string",
            "preserve-unknown-fields",
            "embedded-resource",
            "list-type",
            "list-map-keys",
            "validations",
            "default",
            "pattern",
            "enum",
            "oneOf",
            "not",
            "nullable",
            "additionalProperties",
            "\"items\":",
            "maxItems",
            "properties",
            "storage",
            "served",
            "scale",
            "selectableFields",
            "jsonPath",
            ".spec[*]",
        ],
    },
    Theme {
        name: "headers",
        asker: Asker::Administrator,
        examples: examples::headers,
        words: &[
            "impersonate-user: ",
            "impersonate-group: ",
            "impersonate-uid: ",
            "impersonate-extra-",
            "system:masters",
            "system:anonymous",
            "system:serviceaccount:default:default",
            "accept: ",
            "as=Table;",
            "as=PartialObjectMetadata;",
            "application/json",
            "*/*",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
            "g=meta.k8s.io",
            "v=v1",
            "q=0",
            "gzip",
            "content-type: ",
            "accept-encoding: ",
            "user-agent: ",
            ";",
            ",",
            "upgrade: websocket",
            "connection: upgrade",
            "stream=watch",
        ],
    },
    Theme {
        name: "strangers",
        asker: Asker::Stranger,
        examples: examples::strangers,
        words: &[
            "authorization: ",
            "Bearer ",
            "Basic ",
            "eyJ",
            ".",
            "=",
            "-",
            "_",
            "alg",
            "none",
            "x-remote-user: ",
            "x-remote-group: ",
            "impersonate-user: ",
            "/version",
            "/livez",
        ],
    },
];

/// Reads a request; none when HTTP has no such one.
pub(super) fn parse(input: &[u8]) -> Option<Asked> {
    let end = input.windows(2).position(|two| two == b"\n\n");
    let (head, body) = match end {
        Some(at) => (&input[..at], &input[at + 2..]),
        None => (input, &b""[..]),
    };
    let mut lines = std::str::from_utf8(head).ok()?.lines();
    let mut first = lines.next()?.split(' ');
    let method = Method::from_bytes(first.next()?.as_bytes()).ok()?;
    let mut request = Request::builder().method(method).uri(dry(first.next()?));
    if let Some(content_type) = first.next() {
        request = request.header("content-type", content_type);
    }
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        request = request.header(name, value);
    }
    Some(Asked {
        head: request.body(()).ok()?,
        body: body.to_vec(),
    })
}

/// The same path, and nothing is kept. The first of repeated parameters counts.
fn dry(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    format!("{path}?dryRun=All&{query}")
}
