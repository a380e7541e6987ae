//! Requests as a client without any library's help would send them: method, path, headers, bytes.

use super::Control;
use futures_util::StreamExt;
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The media types of patches.
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";

pub(crate) const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// One answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    /// The body; null where it is no JSON.
    pub(crate) body: Value,
}

impl Answer {
    /// The body, which must come with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{:#}", self.body);
        self.body
    }

    /// A refusal with `code` and `reason`; answers its message.
    #[track_caller]
    pub(crate) fn refused(self, code: u16, reason: &str) -> String {
        assert_eq!(
            (self.code, self.body["reason"].as_str()),
            (code, Some(reason)),
            "{:#}",
            self.body
        );
        assert_eq!(self.body["kind"], "Status");
        assert_eq!(self.body["code"], code);
        self.body["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Every warning of the answer.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let all = self.headers.get_all("warning").iter();
        all.map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }
}

impl Control {
    /// An administrator's connection, for HTTP/1.1 by hand.
    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        let file = Kubeconfig::read_from(self.dir().join("admin.kubeconfig")).unwrap();
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(file, &options).await;
        let tls = config.unwrap().rustls_client_config().unwrap();
        let stream = TcpStream::connect(("127.0.0.1", self.port())).await;
        let name = "localhost".try_into().unwrap();
        let connector = TlsConnector::from(Arc::new(tls));
        connector.connect(name, stream.unwrap()).await.unwrap()
    }

    /// Sends a request as administrator.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        send(&self.client, method, path, headers, body).await
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    /// POST of JSON.
    pub(crate) async fn post(&self, path: &str, object: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.send(Method::POST, path, &json, object.to_string())
            .await
    }

    /// PUT of JSON.
    pub(crate) async fn put(&self, path: &str, object: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        self.send(Method::PUT, path, &json, object.to_string())
            .await
    }

    /// PATCH of the given type.
    pub(crate) async fn patch(&self, path: &str, media_type: &str, patch: &Value) -> Answer {
        let headers = [("content-type", media_type)];
        self.send(Method::PATCH, path, &headers, patch.to_string())
            .await
    }

    /// DELETE with options, which may be null.
    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Answer {
        let json = [("content-type", "application/json")];
        let body = if options.is_null() {
            String::new()
        } else {
            options.to_string()
        };
        self.send(Method::DELETE, path, &json, body).await
    }

    /// A watch that goes on; `path` says what of.
    pub(crate) async fn watch(&self, path: &str, accept: &str) -> Watch {
        let request = Request::get(path)
            .header("accept", accept)
            .body(Body::empty());
        let reply = self.client.send(request.unwrap()).await.unwrap();
        assert_eq!(reply.status(), 200);
        let pieces = reply.into_body().into_data_stream();
        Watch {
            pieces: pieces.boxed(),
            rest: Vec::new(),
        }
    }
}

/// GET of what is no JSON: the code and the text.
pub(crate) async fn text(client: &kube::Client, path: &str) -> (u16, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let (head, body) = client.send(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (head.status.as_u16(), text)
}

/// Sends a request as the user of `client`.
pub(crate) async fn send(
    client: &kube::Client,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Answer {
    let answer = try_send(client, method, path, headers, body).await;
    answer.unwrap()
}

/// The same to a server that may die; none if no whole answer came.
pub(crate) async fn try_send(
    client: &kube::Client,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Result<Answer, kube::Error> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.into())).unwrap();
    let (head, body) = client.send(request).await?.into_parts();
    let bytes = body.collect().await?.to_bytes();
    Ok(Answer {
        code: head.status.as_u16(),
        headers: head.headers,
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    })
}

/// The events of a watch, one JSON value a line.
pub(crate) struct Watch {
    pieces: futures_util::stream::BoxStream<'static, Result<bytes::Bytes, kube::Error>>,
    rest: Vec<u8>,
}

impl Watch {
    /// The next event; none when the server has ended the stream in order.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        let next = tokio::time::timeout(super::PATIENCE, self.next_of_all());
        next.await.expect("an event in time")
    }

    /// Every event that arrives whole, until the server dies.
    pub(crate) async fn until_death(mut self) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            match self.take_line() {
                Some(event) => events.push(event),
                None => match self.pieces.next().await {
                    Some(Ok(piece)) => self.rest.extend_from_slice(&piece),
                    Some(Err(_)) | None => return events,
                },
            }
        }
    }

    async fn next_of_all(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.take_line() {
                return Some(event);
            }
            let piece = self.pieces.next().await?;
            self.rest.extend_from_slice(&piece.unwrap());
        }
    }

    fn take_line(&mut self) -> Option<Value> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.rest.drain(..=end).collect();
        Some(serde_json::from_slice(&line).unwrap())
    }

    /// Type and name of the next event.
    pub(crate) async fn brief(&mut self) -> (String, String) {
        let event = self.next().await.expect("another event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (
            text(&event["type"]),
            text(&event["object"]["metadata"]["name"]),
        )
    }
}
