//! What the proxy reads from and writes into message heads (RFC 9110, 7.6; RFC 9112). Pure.
//!
//! The proxy is the edge: what a client says about forwarding is replaced, not extended, so that
//! an application may believe it.

use std::net::SocketAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Why a request is refused with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// HTTP/1.1 wants exactly one Host.
    #[error("the request needs exactly one Host header")]
    Host,
    /// The host is not a name or an address.
    #[error("the Host header is malformed")]
    MalformedHost,
    /// The path climbs, and what routes it might not be what serves it.
    #[error("the path contains a `..` element")]
    Climbing,
    /// CONNECT makes a tunnel to anywhere, which this proxy is not.
    #[error("CONNECT is not supported")]
    Connect,
}

/// The host that a request is for: lower case, without port and final dot; empty when an HTTP/1.0
/// client named none.
///
/// # Errors
/// When the request does not say clearly which host and path it wants.
pub fn host(head: &Parts) -> Result<String, BadRequest> {
    if head.method == http::Method::CONNECT {
        return Err(BadRequest::Connect);
    }
    if climbs(head.uri.path()) {
        return Err(BadRequest::Climbing);
    }
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let authority = match (head.uri.authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => return Err(BadRequest::Host),
        (Some(authority), ..) => authority.clone(),
        (None, Some(host), None) => {
            let text = host.to_str().map_err(|_| BadRequest::MalformedHost)?;
            text.parse().map_err(|_| BadRequest::MalformedHost)?
        }
        (None, None, None) if head.version < http::Version::HTTP_11 => return Ok(String::new()),
        (None, None, None) => return Err(BadRequest::Host),
    };
    if authority.as_str().contains('@') {
        return Err(BadRequest::MalformedHost);
    }
    let host = authority.host();
    Ok(host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase())
}

/// Whether a path has a `..` element, plain or percent-encoded.
fn climbs(path: &str) -> bool {
    path.split('/').any(|element| match element.len() {
        2 => element == "..",
        4 | 6 => element.to_ascii_lowercase().replace("%2e", ".") == "..",
        _ => false,
    })
}

/// The protocol that a message wants to change to, if it is one that can be tunnelled. HTTP/2
/// cannot: its requests would pass by the routes.
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_upgrade = tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(header::UPGRADE).filter(|_| is_upgrade)?;
    let text = protocol.to_str().ok()?;
    let is_http = |token: &str| token.trim().to_ascii_lowercase().starts_with("h2");
    (!text.split(',').any(is_http)).then(|| protocol.clone())
}

/// Removes what concerns one connection only, and puts the agreed upgrade back.
pub fn strip(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    let named: Vec<HeaderName> = tokens(headers)
        .filter_map(|token| token.parse().ok())
        .filter(is_removable)
        .collect();
    for name in named
        .iter()
        .chain(&HOP_BY_HOP)
        .chain([&KEEP_ALIVE, &PROXY_CONNECTION])
    {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
}

/// A client must not make the proxy drop what frames or routes the message.
fn is_removable(name: &HeaderName) -> bool {
    ![
        header::HOST,
        header::CONTENT_LENGTH,
        FORWARDED_FOR,
        FORWARDED_HOST,
        FORWARDED_PROTO,
    ]
    .contains(name)
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CONNECTION).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

/// Prepares a request's head for an endpoint. `host` is what the client asked for, as it wrote it.
pub fn forward(headers: &mut HeaderMap, client: SocketAddr, host: Option<HeaderValue>) {
    let upgrade = upgrade(headers);
    strip(headers, upgrade.as_ref());
    // The proxy has said `100 Continue` itself by the time the body flows.
    headers.remove(header::EXPECT);
    headers.remove(header::FORWARDED);
    let address = client.ip().to_canonical().to_string();
    if let Ok(address) = HeaderValue::from_str(&address) {
        headers.insert(FORWARDED_FOR, address.clone());
        headers.insert(REAL_IP, address);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.remove(FORWARDED_HOST);
    if let Some(host) = host {
        headers.insert(FORWARDED_HOST, host.clone());
        headers.insert(header::HOST, host);
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, Request, Version};

    use super::*;

    fn head(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_host_is_read_without_port_case_and_dot() {
        let of = |uri: &str, host: &str| super::host(&head(uri, &[("host", host)]));
        assert_eq!(
            of("/", "Shop.Example.COM:8080"),
            Ok("shop.example.com".into())
        );
        assert_eq!(of("/", "shop.example.com."), Ok("shop.example.com".into()));
        assert_eq!(of("/", "[::1]:80"), Ok("[::1]".into()));
        assert_eq!(of("http://other/", "shop"), Ok("other".into()));
        assert_eq!(of("/", "a b"), Err(BadRequest::MalformedHost));
        assert_eq!(of("/", "user@shop"), Err(BadRequest::MalformedHost));
    }

    #[test]
    fn a_request_with_no_host_or_two_is_refused() {
        assert_eq!(host(&head("/", &[])), Err(BadRequest::Host));
        assert_eq!(
            host(&head("/", &[("host", "a"), ("host", "b")])),
            Err(BadRequest::Host)
        );
        let mut old = head("/", &[]);
        old.version = Version::HTTP_10;
        assert_eq!(host(&old), Ok(String::new()));
    }

    #[test]
    fn climbing_paths_and_connect_are_refused() {
        for path in ["/a/../b", "/..", "/a/%2e%2E/b", "/a/.%2e"] {
            assert_eq!(
                host(&head(path, &[("host", "a")])),
                Err(BadRequest::Climbing),
                "{path}"
            );
        }
        for path in ["/a..b", "/...", "/a/.hidden", "/?x=../y"] {
            assert!(host(&head(path, &[("host", "a")])).is_ok(), "{path}");
        }
        let mut connect = head("/", &[("host", "a")]);
        connect.method = Method::CONNECT;
        assert_eq!(host(&connect), Err(BadRequest::Connect));
    }

    #[test]
    fn hop_by_hop_headers_go_and_framing_stays() {
        let mut headers = head(
            "/",
            &[
                ("connection", "close, X-Mine, content-length, host"),
                ("x-mine", "1"),
                ("content-length", "3"),
                ("host", "a"),
                ("te", "trailers"),
                ("keep-alive", "5"),
                ("proxy-authorization", "x"),
                ("upgrade", "websocket"),
                ("accept", "*/*"),
            ],
        )
        .headers;
        strip(&mut headers, None);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }

    #[test]
    fn an_upgrade_is_kept_unless_it_is_to_http() {
        let mut headers = head(
            "/",
            &[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket"),
            ],
        )
        .headers;
        forward(&mut headers, "192.0.2.1:5".parse().unwrap(), None);
        assert_eq!(headers["connection"], "upgrade");
        assert_eq!(headers["upgrade"], "websocket");
        let smuggled = head("/", &[("connection", "upgrade"), ("upgrade", "h2c")]).headers;
        assert_eq!(upgrade(&smuggled), None);
        let unasked = head("/", &[("upgrade", "websocket")]).headers;
        assert_eq!(upgrade(&unasked), None);
    }

    #[test]
    fn forwarding_headers_are_the_proxys_own() {
        let mut headers = head(
            "/",
            &[
                ("x-forwarded-for", "forged"),
                ("x-forwarded-host", "forged"),
                ("x-forwarded-proto", "https"),
                ("forwarded", "for=forged"),
                ("expect", "100-continue"),
            ],
        )
        .headers;
        let host = HeaderValue::from_static("shop:80");
        forward(
            &mut headers,
            "[::ffff:192.0.2.1]:5".parse().unwrap(),
            Some(host),
        );
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(headers["x-real-ip"], "192.0.2.1");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "shop:80");
        assert_eq!(headers["host"], "shop:80");
        assert!(!headers.contains_key("forwarded") && !headers.contains_key("expect"));
    }
}
