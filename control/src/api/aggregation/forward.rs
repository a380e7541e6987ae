//! Requests for versions that other servers serve, sent on as they are: as the front proxy, with the
//! user in headers.

use http::Request;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::extension::Extension;
use crate::api::authn::{IMPERSONATION, User, extra_header};
use crate::api::body::{Body, Reply};
use crate::api::proxy;
use crate::api::server::Server;
use crate::api::status::{Result, Status};

/// What a client may not say about itself.
const CLAIMS: &str = "x-remote-";

/// Sends a request on and streams the answer back.
///
/// # Errors
/// 503 when the server does not answer.
pub(in crate::api) async fn forward(
    server: &Server,
    extension: &Extension,
    user: &User,
    request: Request<Body>,
) -> Result<Reply> {
    if !extension.available {
        return Err(Status::unavailable("service unavailable"));
    }
    let sent = send(server, extension, user, request).await;
    sent.map_err(|why| {
        tracing::debug!(group = extension.group, why, "a request is not answered");
        Status::unavailable(format!("error trying to reach service: {why}"))
    })
}

/// Sends a request on, whatever is known about the server.
///
/// # Errors
/// Why there is no answer.
pub(super) async fn send(
    server: &Server,
    extension: &Extension,
    user: &User,
    mut request: Request<Body>,
) -> std::result::Result<Reply, String> {
    let tls = extension.tls.as_ref().map_err(Clone::clone)?;
    let way = extension.place.way(server)?;
    identify(request.headers_mut(), user);
    let path = request.uri().path_and_query();
    let path = path.map_or("/", |path| path.as_str()).to_owned();
    proxy::beyond(tls, (&way.dial.0, way.dial.1), &way.host, &path, request).await
}

/// Says who asks, in place of what the client says.
fn identify(headers: &mut HeaderMap, user: &User) {
    let is_claim = |name: &str| name.starts_with(CLAIMS) || name.starts_with(IMPERSONATION);
    let claims = headers.keys().filter(|name| is_claim(name.as_str()));
    let claims: Vec<HeaderName> = claims.cloned().collect();
    claims.iter().for_each(|name| drop(headers.remove(name)));
    let mut say = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.append(name, value);
        }
    };
    say(HeaderName::from_static("x-remote-user"), &user.name);
    if !user.uid.is_empty() {
        say(HeaderName::from_static("x-remote-uid"), &user.uid);
    }
    for group in &user.groups {
        say(HeaderName::from_static("x-remote-group"), group);
    }
    for (key, values) in user.extra.iter() {
        let Some(name) = extra_header("x-remote-extra-", key) else {
            continue;
        };
        values.iter().for_each(|value| say(name.clone(), value));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn nobody_says_himself_who_he_is() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "admin"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-scopes", "all"),
            ("impersonate-user", "jane"),
            ("impersonate-extra-scopes", "all"),
            ("accept", "a/b"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let user = User {
            name: "jane".into(),
            uid: "u-1".into(),
            groups: vec!["dev".into(), "ops".into()],
            extra: Arc::new(BTreeMap::from([("a.b/c".into(), vec!["d".into()])])),
        };
        identify(&mut headers, &user);
        let all = |name: &str| {
            let values = headers.get_all(name).iter();
            values.map(|it| it.to_str().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(all("x-remote-user"), ["jane"]);
        assert_eq!(all("x-remote-group"), ["dev", "ops"]);
        assert_eq!(all("x-remote-uid"), ["u-1"]);
        assert_eq!(all("x-remote-extra-a.b%2fc"), ["d"]);
        assert_eq!(headers.len(), 6);
    }
}
