//! Extra facts of a user in headers: the key is the end of the header's name, which knows neither
//! case nor most characters, so that keys are lower-cased and what no name may hold is written `%XX`.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::Extra;
use crate::api::request::percent_decode;

/// The facts that the headers under `prefix`, in lower case, say.
pub(super) fn read(headers: &HeaderMap, prefix: &str) -> Extra {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(prefix) else {
            continue;
        };
        let values = extra.entry(percent_decode(key)).or_default();
        values.extend(value.to_str().map(str::to_owned));
    }
    Arc::new(extra)
}

/// The header under `prefix` that says something about `key`; none for a key without end or sense.
pub(in crate::api) fn header(prefix: &str, key: &str) -> Option<HeaderName> {
    let mut name = prefix.to_owned();
    for byte in key.bytes() {
        if byte != b'%' && is_token(byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    HeaderName::from_bytes(name.as_bytes()).ok()
}

/// Whether a header's name may hold it (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_pass_through_headers_and_back() {
        let keys = ["scopes", "example.org/project", "100%", "grün", "a b"];
        let mut headers = HeaderMap::new();
        for key in keys {
            let name = header("x-remote-extra-", key).unwrap();
            headers.append(name.clone(), "one".parse().unwrap());
            headers.append(name, "two".parse().unwrap());
        }
        headers.insert("x-remote-user", "jane".parse().unwrap());
        let extra = read(&headers, "x-remote-extra-");
        let mut wanted = keys.map(str::to_owned);
        wanted.sort_unstable();
        assert!(extra.keys().eq(wanted.iter()), "{extra:?}");
        assert!(extra.values().all(|values| values == &["one", "two"]));
    }

    #[test]
    fn case_is_lost_but_where_it_is_escaped() {
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_bytes(b"Impersonate-Extra-Acme.COM%2FProject").unwrap();
        headers.insert(name, "x".parse().unwrap());
        let extra = read(&headers, "impersonate-extra-");
        assert!(extra.contains_key("acme.com/project"), "{extra:?}");
    }
}
