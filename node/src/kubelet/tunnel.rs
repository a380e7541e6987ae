//! Carries an upgraded connection between a caller and the runtime's streaming server.
//!
//! Neither SPDY nor WebSocket is understood here: the request goes on as it came, and once both
//! sides have switched protocols bytes are copied until one of them ends.

use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::find::Refusal;

/// Sends the caller's request on to `url` and joins the two connections.
///
/// # Errors
/// The streaming server can't be reached. Its own refusals are passed on as they are.
pub async fn forward(url: &str, mut request: Request<Body>) -> Result<Response<Body>, Refusal> {
    let wrong = |error: &dyn std::fmt::Display| {
        Refusal(
            StatusCode::BAD_GATEWAY,
            format!("the runtime's streaming server: {error}"),
        )
    };
    let uri: Uri = url.parse().map_err(|error| wrong(&error))?;
    let authority = uri
        .authority()
        .ok_or_else(|| wrong(&"no address in its answer"))?
        .clone();
    let stream = TcpStream::connect(authority.as_str())
        .await
        .map_err(|error| wrong(&error))?;
    let _ = stream.set_nodelay(true);
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| wrong(&error))?;
    tokio::spawn(connection.with_upgrades());
    let upstream = upstream_request(&request, &uri, authority.as_str());
    let mut response = sender
        .send_request(upstream)
        .await
        .map_err(|error| wrong(&error))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response.map(Body::new));
    }
    let answer = switching(response.headers());
    tokio::spawn(async move {
        let joined = tokio::try_join!(
            hyper::upgrade::on(&mut request),
            hyper::upgrade::on(&mut response)
        );
        match joined {
            Ok((caller, runtime)) => {
                let (mut caller, mut runtime) = (TokioIo::new(caller), TokioIo::new(runtime));
                let _ = tokio::io::copy_bidirectional(&mut caller, &mut runtime).await;
            }
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
    });
    Ok(answer)
}

/// The same request for another place: only what the protocols need goes along, no credentials.
fn upstream_request(request: &Request<Body>, uri: &Uri, authority: &str) -> Request<Body> {
    let mut upstream = Request::new(Body::empty());
    *upstream.method_mut() = request.method().clone();
    *upstream.uri_mut() = uri
        .path_and_query()
        .and_then(|path| Uri::try_from(path.as_str()).ok())
        .unwrap_or_else(|| Uri::from_static("/"));
    *upstream.headers_mut() = wanted(request.headers());
    if let Ok(host) = authority.parse() {
        upstream.headers_mut().insert(header::HOST, host);
    }
    upstream
}

fn wanted(headers: &HeaderMap) -> HeaderMap {
    let is_wanted = |name: &str| {
        matches!(name, "connection" | "upgrade" | "x-stream-protocol-version")
            || name.starts_with("sec-websocket-")
    };
    let wanted = headers.iter().filter(|(name, _)| is_wanted(name.as_str()));
    wanted
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn switching(headers: &HeaderMap) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = wanted(headers);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_here_and_protocol_headers_go_along() {
        let request = Request::post("https://node:10250/exec/a/b/c?command=x")
            .header("Upgrade", "SPDY/3.1")
            .header("Connection", "Upgrade")
            .header("X-Stream-Protocol-Version", "v4.channel.k8s.io")
            .header("Authorization", "Bearer secret")
            .body(Body::empty())
            .unwrap();
        let uri = "http://127.0.0.1:4000/exec/token".parse().unwrap();
        let upstream = upstream_request(&request, &uri, "127.0.0.1:4000");
        assert_eq!(upstream.uri(), "/exec/token");
        assert_eq!(upstream.method(), "POST");
        assert_eq!(upstream.headers()["upgrade"], "SPDY/3.1");
        assert_eq!(upstream.headers()["host"], "127.0.0.1:4000");
        assert!(!upstream.headers().contains_key("authorization"));
    }
}
