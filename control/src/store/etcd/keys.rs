//! Where things are in etcd: `PREFIX/objects/RESOURCE/NAMESPACE/NAME` and `PREFIX/guards/NAME`.

use naru_etcd::prefix_end;

/// The layout of keys under a prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    objects: String,
    guards: String,
}

impl Keys {
    pub(super) fn under(prefix: &str) -> Self {
        let prefix = prefix.trim_end_matches('/');
        Self {
            objects: format!("{prefix}/objects/"),
            guards: format!("{prefix}/guards/"),
        }
    }

    /// The key of an object; `resource` is `plural` or `plural.group`.
    pub(super) fn object(&self, resource: &str, key: &str) -> String {
        format!("{}{resource}/{key}", self.objects)
    }

    /// The key that every write under a guard writes.
    pub(super) fn guard(&self, name: &str) -> String {
        format!("{}{name}", self.guards)
    }

    /// The first key of a resource and the first one behind it.
    pub(super) fn range(&self, resource: &str) -> (Vec<u8>, Vec<u8>) {
        let first = self.object(resource, "").into_bytes();
        let end = prefix_end(&first);
        (first, end)
    }

    /// The first key of all objects and the first one behind them.
    pub(super) fn all(&self) -> (Vec<u8>, Vec<u8>) {
        let first = self.objects.clone().into_bytes();
        let end = prefix_end(&first);
        (first, end)
    }

    /// Resource and key of an object; none for a key of somebody else.
    pub(super) fn parse<'a>(&self, key: &'a [u8]) -> Option<(&'a str, &'a str)> {
        let key = std::str::from_utf8(key).ok()?;
        key.strip_prefix(&self.objects)?.split_once('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_again() {
        let keys = Keys::under("/naru/");
        let key = keys.object("deployments.apps", "shop/web");
        assert_eq!(key, "/naru/objects/deployments.apps/shop/web");
        assert_eq!(
            keys.parse(key.as_bytes()),
            Some(("deployments.apps", "shop/web"))
        );
        for foreign in [&b"/naru/other"[..], b"/registry/pods/a/b", b"\xff"] {
            assert_eq!(keys.parse(foreign), None);
        }
    }

    #[test]
    fn a_range_holds_one_resource() {
        let (first, end) = Keys::under("/naru").range("pods");
        let holds = |key: &str| (&*first..&*end).contains(&key.as_bytes());
        assert!(holds("/naru/objects/pods/a/b"));
        assert!(!holds("/naru/objects/pods.metrics.k8s.io/a/b"));
        assert!(!holds("/naru/objects/podtemplates/a/b"));
    }
}
