//! The health check ports that load balancers ask: one listener per port, opened and closed with
//! the Services.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::service::HealthCheck;

/// The open ports. They close when this is dropped.
#[derive(Debug)]
pub(super) struct HealthPorts {
    /// The address that they are open at.
    at: IpAddr,
    open: BTreeMap<u16, HealthPort>,
}

#[derive(Debug)]
struct HealthPort {
    answer: watch::Sender<HealthCheck>,
    server: JoinHandle<()>,
}

impl Drop for HealthPort {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl HealthPorts {
    /// None yet; they will be open at this address, of both families if it is unspecified and of
    /// IPv6.
    pub(super) fn at(at: IpAddr) -> Self {
        let open = BTreeMap::new();
        Self { at, open }
    }

    /// Opens, changes and closes ports until they are as `wanted`. A port that cannot be opened is
    /// named in the error, and tried again the next time; the others are served all the same.
    pub(super) async fn apply(
        &mut self,
        wanted: &BTreeMap<u16, HealthCheck>,
    ) -> Result<(), String> {
        self.open.retain(|port, _| wanted.contains_key(port));
        let mut faults = Vec::new();
        for (port, check) in wanted {
            if let Some(open) = self.open.get(port) {
                open.answer.send_replace(check.clone());
                continue;
            }
            match serve(SocketAddr::new(self.at, *port), check.clone()).await {
                Ok(open) => {
                    self.open.insert(*port, open);
                }
                Err(error) => faults.push(format!("health check port {port}: {error}")),
            }
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults.join("; "))
        }
    }
}

async fn serve(address: SocketAddr, check: HealthCheck) -> std::io::Result<HealthPort> {
    let listener = TcpListener::bind(address).await?;
    let (answer, present) = watch::channel(check);
    let router = Router::new().fallback(move || {
        let check = present.borrow().clone();
        async move { respond(&check) }
    });
    let server = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(%address, %error, "health check port closed");
        }
    });
    Ok(HealthPort { answer, server })
}

fn respond(check: &HealthCheck) -> impl IntoResponse + use<> {
    let status = StatusCode::from_u16(check.status()).unwrap_or(StatusCode::OK);
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/json".to_owned()),
        (
            header::X_CONTENT_TYPE_OPTIONS.as_str(),
            "nosniff".to_owned(),
        ),
        (
            "x-load-balancing-endpoint-weight",
            check.endpoints.to_string(),
        ),
    ];
    (status, headers, check.body())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::watches::Key;

    async fn ask(port: u16) -> std::io::Result<String> {
        ask_at(Ipv4Addr::LOCALHOST.into(), port).await
    }

    async fn ask_at(address: IpAddr, port: u16) -> std::io::Result<String> {
        let mut stream = tokio::net::TcpStream::connect((address, port)).await?;
        let request = b"GET / HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    async fn free_port() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let address = listener.and_then(|l| l.local_addr()).expect("a port");
        address.port()
    }

    #[tokio::test]
    async fn a_port_follows_its_service() {
        let port = free_port().await;
        let check = |endpoints| HealthCheck {
            service: Key::new("shop", "web"),
            endpoints,
        };
        let mut ports = HealthPorts::at(Ipv4Addr::UNSPECIFIED.into());
        ports.apply(&[(port, check(2))].into()).await.expect("open");
        let answer = ask(port).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("x-load-balancing-endpoint-weight: 2"));
        ports.apply(&[(port, check(0))].into()).await.expect("kept");
        let answer = ask(port).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        ports.apply(&BTreeMap::new()).await.expect("closed");
        while ask(port).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_port_answers_in_both_families() {
        let port = free_port().await;
        let check = HealthCheck {
            service: Key::new("shop", "web"),
            endpoints: 1,
        };
        let mut ports = HealthPorts::at(Ipv6Addr::UNSPECIFIED.into());
        if let Err(fault) = ports.apply(&[(port, check)].into()).await {
            eprintln!("SKIPPED: no IPv6 here: {fault}");
            return;
        }
        for address in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
            let answer = ask_at(address, port).await.expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await;
        let taken = taken.expect("a listener");
        let port = taken.local_addr().expect("bound").port();
        let check = HealthCheck {
            service: Key::new("shop", "web"),
            endpoints: 1,
        };
        let mut ports = HealthPorts::at(Ipv4Addr::UNSPECIFIED.into());
        let fault = ports.apply(&[(port, check)].into()).await;
        assert!(fault.expect_err("taken").contains(&port.to_string()));
    }
}
