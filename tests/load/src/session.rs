//! One HTTP/2 connection to the API server.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::access::Access;

/// A connection; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
}

impl Session {
    /// Connects; the connection ends with the last clone.
    ///
    /// # Errors
    /// When the server is not reached or its certificate is not the cluster's.
    pub(crate) async fn open(access: &Access) -> Result<Self> {
        let tcp = TcpStream::connect(&access.authority)
            .await
            .with_context(|| access.authority.clone())?;
        tcp.set_nodelay(true)?;
        let host = access
            .authority
            .rsplit_once(':')
            .map_or("", |(host, _)| host);
        let name = ServerName::try_from(host.to_owned())?;
        let tls = TlsConnector::from(access.tls.clone())
            .connect(name, tcp)
            .await?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await?;
        // Its end shows in the next request.
        tokio::spawn(connection);
        Ok(Self {
            sender,
            authority: access.authority.clone(),
        })
    }

    /// Connects `count` times.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub(crate) async fn many(access: &Access, count: usize) -> Result<Vec<Self>> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.push(Self::open(access).await?);
        }
        Ok(all)
    }

    /// A request whose answer is read whole; `accepted` are the statuses that are no failure besides
    /// 200 and 201.
    ///
    /// # Errors
    /// On any other status, with what the server said.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        accepted: &[StatusCode],
    ) -> Result<Bytes> {
        let (status, body) = self.send(method, path, body).await?;
        let text = body.collect().await?.to_bytes();
        let fine = status.is_success() || accepted.contains(&status);
        ensure!(fine, "{path}: {status}: {}", String::from_utf8_lossy(&text));
        Ok(text)
    }

    /// Reads an answer to its end and keeps nothing of it; how many bytes it had.
    ///
    /// # Errors
    /// When the server refuses, or breaks off.
    pub(crate) async fn drain(&mut self, path: &str) -> Result<u64> {
        let mut body = self.watch(path).await?;
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            read += frame?.data_ref().map_or(0, |data| data.len() as u64);
        }
        Ok(read)
    }

    /// A watch: the body, once the server has begun to answer.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) async fn watch(&mut self, path: &str) -> Result<Incoming> {
        let (status, body) = self.send(Method::GET, path, Bytes::new()).await?;
        ensure!(status.is_success(), "{path}: {status}");
        Ok(body)
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Incoming)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.authority))
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        Ok((answer.status(), answer.into_body()))
    }
}
