//! What a request asks for: the verb and the resource, read from method and path alone.

use http::Method;
use std::collections::HashMap;

use super::selectors::FieldSelector;

/// The attributes that authorization and dispatch look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RequestInfo {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or the
    /// method in lower case for paths that are no resource.
    pub verb: &'static str,
    /// The path, decoded.
    pub path: String,
    /// What lies under a resource path.
    pub resource: Option<ResourcePath>,
}

/// A path under `/api/v1` or `/apis/GROUP/VERSION` that names a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ResourcePath {
    /// Group, empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace, where the path has one.
    pub namespace: Option<String>,
    /// Plural name.
    pub plural: String,
    /// Name of the object, where the path has one.
    pub name: Option<String>,
    /// The one name that the field selector of a list or watch leaves.
    pub selected: Option<String>,
    /// Subresource, where the path has one.
    pub subresource: Option<String>,
    /// What follows the subresource, such as the path behind `proxy`.
    pub rest: Vec<String>,
    /// Whether the path asks for a watch, as `/api/v1/watch/…` does.
    pub watch: bool,
}

impl ResourcePath {
    /// The resource with its subresource, as rules name it: `pods/status`.
    pub(super) fn resource(&self) -> String {
        match &self.subresource {
            Some(subresource) => format!("{}/{subresource}", self.plural),
            None => self.plural.clone(),
        }
    }

    /// The name of the one object that the request is about, if it is about one only.
    pub(super) fn one_name(&self) -> Option<&str> {
        self.name.as_deref().or(self.selected.as_deref())
    }
}

impl RequestInfo {
    /// Reads method, path and query.
    pub(super) fn new(method: &Method, path: &str, query: &Query) -> Self {
        let parts: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(percent_decode)
            .collect();
        let mut resource = resource_path(&parts);
        if let Some(resource) = resource.as_mut().filter(|path| path.name.is_none()) {
            resource.selected = selected_name(query);
        }
        let verb = verb(method, resource.as_ref(), query);
        Self {
            verb,
            path: path.to_owned(),
            resource,
        }
    }

    /// Whether the answer goes on until somebody ends it.
    pub(super) fn goes_on(&self) -> bool {
        let streams = ["exec", "attach", "portforward", "proxy", "log"];
        let path = self.resource.as_ref();
        let subresource = path.and_then(|path| path.subresource.as_deref());
        self.verb == "watch" || subresource.is_some_and(|name| streams.contains(&name))
    }
}

/// The name that a field selector requires, as `list` and `watch` understand it.
fn selected_name(query: &Query) -> Option<String> {
    let selector = FieldSelector::parse(query.get("fieldSelector")?, &[]).ok()?;
    selector.name().map(str::to_owned)
}

fn resource_path(parts: &[String]) -> Option<ResourcePath> {
    let text: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (group, version, rest) = match text.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let mut path = ResourcePath {
        group: group.to_owned(),
        version: version.to_owned(),
        ..ResourcePath::default()
    };
    let owned = |text: &&str| (*text).to_owned();
    let rest = match rest {
        ["watch", rest @ ..] => {
            path.watch = true;
            rest
        }
        rest => rest,
    };
    let rest = match rest {
        [] => return None,
        // `namespaces/NAME/status` and `/finalize` belong to the Namespace itself.
        ["namespaces", _, "status" | "finalize"] | ["namespaces"] | ["namespaces", _] => rest,
        ["namespaces", namespace, rest @ ..] => {
            path.namespace = Some(owned(namespace));
            rest
        }
        rest => rest,
    };
    path.plural = rest.first().map(owned)?;
    path.name = rest.get(1).map(owned);
    path.subresource = rest.get(2).map(owned);
    path.rest = rest.iter().skip(3).map(owned).collect();
    Some(path)
}

fn verb(method: &Method, resource: Option<&ResourcePath>, query: &Query) -> &'static str {
    let named = resource.is_some_and(|resource| resource.name.is_some());
    match (method.as_str(), resource.is_some()) {
        ("GET" | "HEAD", false) => "get",
        ("GET" | "HEAD", true)
            if query.flag("watch") || resource.is_some_and(|resource| resource.watch) =>
        {
            "watch"
        }
        ("GET" | "HEAD", true) if named => "get",
        ("GET" | "HEAD", true) => "list",
        ("POST", true) => "create",
        ("PUT", true) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) if named => "delete",
        ("DELETE", true) => "deletecollection",
        ("POST", false) => "post",
        ("PUT", false) => "put",
        ("DELETE", false) => "delete",
        _ => "other",
    }
}

/// The decoded query string.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(HashMap<String, String>);

impl Query {
    /// Decodes `a=b&c=d`; the first of repeated keys wins.
    pub(super) fn new(text: &str) -> Self {
        let mut map = HashMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            map.entry(query_decode(key))
                .or_insert_with(|| query_decode(value));
        }
        Self(map)
    }

    /// The value of `key`, if there is one that is not empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Whether `key` is set, and to anything but `0` or `false`, as Kubernetes reads it.
    pub(super) fn flag(&self, key: &str) -> bool {
        let value = self.0.get(key);
        value.is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }
}

fn query_decode(text: &str) -> String {
    percent_decode(&text.replace('+', " "))
}

/// Undoes `%XX`; what is no such escape stays as it is.
pub(super) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escape = bytes
            .get(index + 1..index + 3)
            .filter(|_| bytes[index] == b'%');
        let escape = escape.and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                index += 3;
            }
            None => {
                out.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: Method, uri: &str) -> RequestInfo {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        RequestInfo::new(&method, path, &Query::new(query))
    }

    #[test]
    fn paths_name_resources() {
        let info = info(
            Method::GET,
            "/apis/apps/v1/namespaces/shop/deployments/web/scale",
        );
        let resource = info.resource.unwrap();
        assert_eq!(info.verb, "get");
        assert_eq!(resource.group, "apps");
        assert_eq!(resource.namespace.as_deref(), Some("shop"));
        assert_eq!(resource.plural, "deployments");
        assert_eq!(resource.name.as_deref(), Some("web"));
        assert_eq!(resource.subresource.as_deref(), Some("scale"));
    }

    #[test]
    fn a_namespace_is_a_resource_and_a_place() {
        let of = |uri| info(Method::GET, uri).resource.unwrap();
        assert_eq!(of("/api/v1/namespaces/shop").plural, "namespaces");
        assert_eq!(
            of("/api/v1/namespaces/shop/finalize").subresource.unwrap(),
            "finalize"
        );
        assert_eq!(of("/api/v1/namespaces/shop/pods").plural, "pods");
        assert_eq!(
            of("/api/v1/namespaces/shop/pods").namespace.unwrap(),
            "shop"
        );
    }

    #[test]
    fn verbs_follow_method_name_and_query() {
        assert_eq!(info(Method::GET, "/api/v1/pods").verb, "list");
        assert_eq!(info(Method::GET, "/api/v1/pods?watch=1").verb, "watch");
        for (flag, verb) in [
            ("0", "list"),
            ("False", "list"),
            ("", "watch"),
            ("yes", "watch"),
        ] {
            let uri = format!("/api/v1/pods?watch={flag}");
            assert_eq!(info(Method::GET, &uri).verb, verb, "{flag}");
        }
        assert_eq!(
            info(Method::DELETE, "/api/v1/pods").verb,
            "deletecollection"
        );
        assert_eq!(info(Method::GET, "/version").verb, "get");
        let old = info(Method::GET, "/api/v1/watch/namespaces/shop/pods/web");
        let path = old.resource.unwrap();
        assert_eq!(old.verb, "watch");
        assert_eq!(
            (path.plural.as_str(), path.name.as_deref()),
            ("pods", Some("web"))
        );
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::new("labelSelector=app%3Dweb%2Cx+in+%28a%29&limit=5&empty=");
        assert_eq!(query.get("labelSelector"), Some("app=web,x in (a)"));
        assert_eq!(query.get("empty"), None);
    }
}
