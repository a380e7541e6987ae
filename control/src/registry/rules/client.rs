//! How a client reaches a webhook.

use super::values::{range, required};
use super::{At, Faults};

const FORM: &str = "desired format: https://host[/path]";

/// A `clientConfig`: a URL or a Service, and nothing in either that a call could not carry.
pub(crate) fn client_config(config: &At<'_>, faults: &mut Faults) {
    let (address, service) = (config.get("url"), config.get("service"));
    if address.is_set() == service.is_set() {
        faults.required(config, "exactly one of url or service is required");
    }
    if address.is_set() {
        url(&address, faults);
    }
    if service.is_set() {
        required(&service.get("namespace"), faults);
        required(&service.get("name"), faults);
        range(&service.get("port"), 1..=65535, faults);
        let path = service.get("path");
        if !path.is_empty() && !path.text().starts_with('/') {
            faults.invalid(&path, "must start with a '/'");
        }
    }
}

fn url(at: &At<'_>, faults: &mut Faults) {
    let Some(rest) = at.text().strip_prefix("https://") else {
        let why = format!("'https' is the only allowed URL scheme; {FORM}");
        return faults.invalid(at, &why);
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    for (wrong, why) in [
        (host.is_empty(), "host must be specified"),
        (
            host.contains('@'),
            "user information is not permitted in the URL",
        ),
        (rest.contains('#'), "fragments are not permitted in the URL"),
        (
            rest.contains('?'),
            "query parameters are not permitted in the URL",
        ),
    ] {
        if wrong {
            faults.invalid(at, &format!("{why}; {FORM}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_client_goes_to_a_plain_url_or_a_service() {
        let paths = |config: Value| {
            let mut faults = Faults::default();
            client_config(&At::root(&json!({"c": config})).get("c"), &mut faults);
            Faults::paths(&faults.into_list()).join(" ")
        };
        assert_eq!(paths(json!({"url": "https://a.b:1/c"})), "");
        for bad in [
            "http://a",
            "https://",
            "https://u@a",
            "https://a#b",
            "https://a?b",
        ] {
            assert_eq!(paths(json!({"url": bad})), "c.url", "{bad}");
        }
        let service = |service: Value| paths(json!({"service": service}));
        assert_eq!(
            service(json!({"namespace": "n", "name": "s", "path": "/x"})),
            ""
        );
        assert_eq!(
            service(json!({"port": 0, "path": "x"})),
            "c.service.namespace c.service.name c.service.port c.service.path"
        );
        assert_eq!(paths(json!({})), "c");
    }
}
