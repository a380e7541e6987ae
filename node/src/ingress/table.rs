//! The route table: which backend serves a host and a path. Immutable; lookups are pure.
//!
//! Hosts come first, paths second: a request for a host that has routes never falls through to
//! another host's, only to a default backend. An exact host beats a wildcard, which stands for
//! one label. Among paths the longest wins, and an exact one beats a prefix of the same length.

use std::sync::Arc;

use foldhash::HashMap;

use super::backend::Backend;

/// How a path is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathKind {
    /// The whole path, byte for byte.
    Exact,
    /// Leading elements, split at `/`; a final slash of the rule does not count.
    Prefix,
}

/// One path of one host.
#[derive(Debug, Clone)]
pub struct PathRoute {
    /// How `path` is compared.
    pub kind: PathKind,
    /// The path; for a prefix without a final slash (so `/` is empty).
    pub path: Box<str>,
    /// Where it leads.
    pub backend: Arc<Backend>,
}

impl PathRoute {
    /// A route as an Ingress writes it.
    pub fn new(kind: PathKind, path: &str, backend: Arc<Backend>) -> Self {
        let path = match kind {
            PathKind::Exact => path,
            PathKind::Prefix => path.trim_end_matches('/'),
        };
        Self {
            kind,
            path: path.into(),
            backend,
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self.kind {
            PathKind::Exact => *self.path == *path,
            PathKind::Prefix => path
                .strip_prefix(&*self.path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}

/// The routes of one host.
#[derive(Debug, Clone, Default)]
pub struct HostRoutes {
    /// Sorted: the first match wins.
    paths: Vec<PathRoute>,
    /// For paths that match nothing.
    fallback: Option<Arc<Backend>>,
}

impl HostRoutes {
    /// Adds a route. Of two with the same path and kind the first one stays.
    pub fn add(&mut self, route: PathRoute) {
        let order = |known: &PathRoute| (std::cmp::Reverse(known.path.len()), known.kind);
        let same = |known: &PathRoute| known.kind == route.kind && known.path == route.path;
        if !self.paths.iter().any(same) {
            let at = self
                .paths
                .partition_point(|known| order(known) <= order(&route));
            self.paths.insert(at, route);
        }
    }

    /// Sets what serves paths without a route, unless something does already.
    pub fn add_fallback(&mut self, backend: Arc<Backend>) {
        self.fallback.get_or_insert(backend);
    }

    fn find(&self, path: &str) -> Option<&Arc<Backend>> {
        let route = self.paths.iter().find(|route| route.matches(path));
        route.map(|route| &route.backend).or(self.fallback.as_ref())
    }
}

/// All routes of this node's proxy.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    exact: HashMap<Box<str>, HostRoutes>,
    /// By what follows the `*` of the host: `.example.com`.
    wildcard: HashMap<Box<str>, HostRoutes>,
    any: HostRoutes,
}

impl RouteTable {
    /// The routes of a host as an Ingress writes it: a name, `*.name`, or empty for every host.
    pub fn host_mut(&mut self, host: &str) -> &mut HostRoutes {
        let host = host.to_ascii_lowercase();
        match host.strip_prefix('*') {
            _ if host.is_empty() => &mut self.any,
            Some(suffix) => self.wildcard.entry(suffix.into()).or_default(),
            None => self.exact.entry(host.into()).or_default(),
        }
    }

    /// The backend for a request. `host` is lower case, without port; empty when the client named
    /// none.
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Backend>> {
        let routes = self.exact.get(host).or_else(|| self.find_wildcard(host));
        let found = routes.and_then(|routes| routes.find(path));
        match routes {
            Some(_) => found.or(self.any.fallback.as_ref()),
            None => self.any.find(path),
        }
    }

    fn find_wildcard(&self, host: &str) -> Option<&HostRoutes> {
        let label = host.find('.').filter(|length| *length > 0)?;
        self.wildcard.get(&host[label..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Arc<Backend> {
        Arc::new(Backend::new(name, Vec::new()))
    }

    fn table(routes: &[(&str, PathKind, &str)]) -> RouteTable {
        let mut table = RouteTable::default();
        for (host, kind, path) in routes {
            let backend = named(&format!("{host}{path}"));
            table
                .host_mut(host)
                .add(PathRoute::new(*kind, path, backend));
        }
        table
    }

    fn find<'t>(table: &'t RouteTable, host: &str, path: &str) -> Option<&'t str> {
        table.find(host, path).map(|backend| backend.name())
    }

    use PathKind::{Exact, Prefix};

    #[test]
    fn prefixes_match_whole_elements() {
        // The examples of the Ingress documentation.
        let cases = [
            (Prefix, "/", "/all/paths", true),
            (Exact, "/foo", "/foo", true),
            (Exact, "/foo", "/bar", false),
            (Exact, "/foo", "/foo/", false),
            (Exact, "/foo/", "/foo", false),
            (Prefix, "/foo", "/foo", true),
            (Prefix, "/foo", "/foo/", true),
            (Prefix, "/foo/", "/foo", true),
            (Prefix, "/foo/", "/foo/", true),
            (Prefix, "/aaa/bb", "/aaa/bbb", false),
            (Prefix, "/aaa/bbb", "/aaa/bbb", true),
            (Prefix, "/aaa/bbb/", "/aaa/bbb", true),
            (Prefix, "/aaa/bbb", "/aaa/bbb/", true),
            (Prefix, "/aaa/bbb", "/aaa/bbb/ccc", true),
            (Prefix, "/aaa/bbb", "/aaa/bbbxyz", false),
            (Prefix, "/Foo", "/foo", false),
        ];
        for (kind, rule, path, matches) in cases {
            let table = table(&[("", kind, rule)]);
            assert_eq!(
                table.find("x", path).is_some(),
                matches,
                "{kind:?} {rule} {path}"
            );
        }
    }

    #[test]
    fn the_longest_path_wins_and_exact_beats_prefix() {
        let table = table(&[
            ("", Prefix, "/"),
            ("", Prefix, "/aaa"),
            ("", Prefix, "/aaa/bbb"),
            ("a", Prefix, "/foo"),
            ("a", Exact, "/foo"),
        ]);
        assert_eq!(find(&table, "x", "/aaa/bbb/c"), Some("/aaa/bbb"));
        assert_eq!(find(&table, "x", "/aaa/c"), Some("/aaa"));
        assert_eq!(find(&table, "x", "/ccc"), Some("/"));
        let kind = |path| {
            let routes = &table.exact["a"].paths;
            routes
                .iter()
                .find(|route| route.matches(path))
                .map(|route| route.kind)
        };
        assert_eq!((kind("/foo"), kind("/foo/x")), (Some(Exact), Some(Prefix)));
    }

    #[test]
    fn a_host_of_its_own_beats_a_wildcard_and_that_beats_none() {
        let table = table(&[
            ("shop.example.com", Prefix, "/a"),
            ("*.Example.com", Prefix, "/"),
            ("", Prefix, "/"),
        ]);
        assert_eq!(
            find(&table, "shop.example.com", "/a"),
            Some("shop.example.com/a")
        );
        assert_eq!(find(&table, "shop.example.com", "/b"), None);
        assert_eq!(
            find(&table, "other.example.com", "/b"),
            Some("*.Example.com/")
        );
        assert_eq!(find(&table, "a.b.example.com", "/"), Some("/"));
        assert_eq!(find(&table, ".example.com", "/"), Some("/"));
        assert_eq!(find(&table, "", "/"), Some("/"));
    }

    #[test]
    fn a_default_backend_takes_what_is_left() {
        let mut table = table(&[("a", Prefix, "/x")]);
        assert!(table.find("a", "/y").is_none());
        table.host_mut("").add_fallback(named("default"));
        assert_eq!(find(&table, "a", "/y"), Some("default"));
        assert_eq!(find(&table, "other", "/"), Some("default"));
        table.host_mut("a").add_fallback(named("own"));
        assert_eq!(find(&table, "a", "/y"), Some("own"));
    }

    #[test]
    fn of_two_equal_rules_the_first_stays() {
        let mut table = table(&[("a", Prefix, "/x")]);
        table
            .host_mut("a")
            .add(PathRoute::new(Prefix, "/x/", named("late")));
        assert_eq!(find(&table, "a", "/x"), Some("a/x"));
    }
}
