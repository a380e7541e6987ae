//! The gRPC health protocol (`grpc.health.v1.Health/Check`), as much of it as a probe needs.

use std::net::IpAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;

/// `HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(string, tag = "1")]
    service: String,
}

/// `HealthCheckResponse`.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `ServingStatus.SERVING`.
const SERVING: i32 = 1;
/// Compression flag and length in front of every message.
const PREFIX: usize = 5;

/// Asks the server at `ip:port` about `service`; an empty name is about the server as a whole.
///
/// # Errors
/// A sentence: no connection, no such service, or not serving.
pub(super) async fn check(ip: IpAddr, port: u16, service: &str) -> Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect((ip, port))
        .await
        .map_err(|error| text(&error))?;
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| text(&error))?;
    let connection = tokio::spawn(connection);
    let answered = async {
        let request = request(ip, port, service)?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| text(&error))?;
        let early = grpc_status(response.headers());
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| text(&error))?;
        let late = body.trailers().and_then(grpc_status);
        verdict(early.or(late), &body.to_bytes())
    }
    .await;
    connection.abort();
    answered
}

fn request(ip: IpAddr, port: u16, service: &str) -> Result<http::Request<Full<Bytes>>, String> {
    let host = std::net::SocketAddr::new(ip, port);
    http::Request::post(format!("http://{host}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(frame(service)))
        .map_err(|error| error.to_string())
}

fn frame(service: &str) -> Bytes {
    let message = Question {
        service: service.to_owned(),
    }
    .encode_to_vec();
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    frame.freeze()
}

fn grpc_status(headers: &http::HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn verdict(status: Option<u32>, body: &[u8]) -> Result<(), String> {
    match status {
        Some(0) => {}
        Some(code) => return Err(format!("service unhealthy (grpc status {code})")),
        None => return Err("no gRPC status in the answer".to_owned()),
    }
    let message = body.get(PREFIX..).unwrap_or_default();
    match Answer::decode(message) {
        Ok(answer) if answer.status == SERVING => Ok(()),
        Ok(answer) => Err(format!(
            "service unhealthy (serving status {})",
            answer.status
        )),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_framed() {
        assert_eq!(&frame("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&frame("a")[..], [0, 0, 0, 0, 3, 10, 1, b'a']);
    }

    #[test]
    fn only_serving_is_healthy() {
        assert_eq!(verdict(Some(0), &[0, 0, 0, 0, 2, 8, 1]), Ok(()));
        assert!(verdict(Some(0), &[0, 0, 0, 0, 2, 8, 2]).is_err());
        assert!(verdict(Some(5), &[]).is_err());
        assert!(verdict(None, &[]).is_err());
    }
}
