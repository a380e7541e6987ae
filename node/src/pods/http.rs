//! One GET request, as probes and hooks make them: no redirects to follow, no certificate to check.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// How much of an answer is read.
const MAX_BODY: usize = 10 << 10;

/// A port by number or by its name in the container; `None` when there is no such port.
pub fn port(wanted: &IntOrString, container: &Container) -> Option<u16> {
    let number = match wanted {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container
                .ports
                .iter()
                .flatten()
                .find(|p| p.name.as_ref() == Some(name));
            named.map_or_else(|| name.parse().unwrap_or(0), |port| port.container_port)
        }
    };
    u16::try_from(number).ok().filter(|port| *port > 0)
}

/// Asks and returns status code and the beginning of the body.
///
/// # Errors
/// A sentence: no such port, no connection, no answer in time.
pub async fn get(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: Option<IpAddr>,
    timeout: Duration,
) -> Result<(u16, String), String> {
    let port = port(&action.port, container).ok_or("no such port in the container")?;
    let host = match action.host.clone().filter(|host| !host.is_empty()) {
        Some(host) => host,
        None => pod_ip.ok_or("the pod has no address")?.to_string(),
    };
    let secure = action.scheme.as_deref() == Some("HTTPS");
    let path = action
        .path
        .clone()
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| "/".into());
    let path = if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    };
    let scheme = if secure { "https" } else { "http" };
    let authority = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let url = format!("{scheme}://{authority}{path}");
    let failed = |error: String| format!("Get \"{url}\": {error}");
    let work = async {
        let stream = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(|e| e.to_string())?;
        let request = request(action, &path, &authority)?;
        match secure {
            true => exchange(tls(stream, &host).await?, request).await,
            false => exchange(stream, request).await,
        }
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(answer) => answer.map_err(failed),
        Err(_) => Err(failed("context deadline exceeded".to_owned())),
    }
}

fn request(
    action: &HTTPGetAction,
    path: &str,
    authority: &str,
) -> Result<http::Request<Empty<Bytes>>, String> {
    let mut request = http::Request::get(path);
    let headers = action.http_headers.iter().flatten();
    let has = |name: &str| headers.clone().any(|h| h.name.eq_ignore_ascii_case(name));
    if !has("host") {
        request = request.header("Host", authority);
    }
    if !has("user-agent") {
        request = request.header(
            "User-Agent",
            concat!("kube-probe/naru-", env!("CARGO_PKG_VERSION")),
        );
    }
    for header in headers.clone() {
        request = request.header(&header.name, &header.value);
    }
    request
        .body(Empty::new())
        .map_err(|error| error.to_string())
}

async fn exchange<S>(
    stream: S,
    request: http::Request<Empty<Bytes>>,
) -> Result<(u16, String), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
    .await;
    connection.abort();
    answer
}

async fn tls(
    stream: TcpStream,
    host: &str,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(naru_core::trusting_anybody()));
    connector
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_by_number_and_name() {
        let container: Container = serde_json::from_value(serde_json::json!(
            {"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}))
        .unwrap();
        assert_eq!(port(&IntOrString::Int(81), &container), Some(81));
        assert_eq!(
            port(&IntOrString::String("http".into()), &container),
            Some(8080)
        );
        assert_eq!(
            port(&IntOrString::String("82".into()), &container),
            Some(82)
        );
        assert_eq!(port(&IntOrString::String("none".into()), &container), None);
        assert_eq!(port(&IntOrString::Int(70000), &container), None);
    }

    #[tokio::test]
    async fn status_and_body_come_back() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 1024];
            let length = stream.read(&mut head).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 503 x\r\nContent-Length: 4\r\n\r\nbusy")
                .await
                .unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        });
        let action = HTTPGetAction {
            port: IntOrString::Int(i32::from(port)),
            path: Some("healthz".into()),
            ..HTTPGetAction::default()
        };
        let ip = Some("127.0.0.1".parse().unwrap());
        let answer = get(&action, &Container::default(), ip, Duration::from_secs(5)).await;
        assert_eq!(answer.unwrap(), (503, "busy".to_owned()));
        assert!(server.await.unwrap().starts_with("GET /healthz HTTP/1.1"));
    }
}
