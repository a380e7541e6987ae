//! One question to a container.

use std::time::Duration;

use k8s_openapi::api::core::v1::{GRPCAction, Probe, TCPSocketAction};
use tokio::net::TcpStream;

use super::Target;
use crate::pods::http;

/// Asks once.
///
/// # Errors
/// A sentence that says what was wrong with the answer, or that none came.
pub(super) async fn ask(target: &Target, probe: &Probe, timeout: Duration) -> Result<(), String> {
    if let Some(action) = &probe.http_get {
        return match http::get(action, &target.container, target.ip, timeout).await? {
            (status, _) if (200..400).contains(&status) => Ok(()),
            (status, _) => Err(format!("HTTP probe failed with statuscode: {status}")),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        return tcp(target, action, timeout).await;
    }
    if let Some(exec) = &probe.exec {
        return command(target, exec.command.as_deref().unwrap_or_default(), timeout).await;
    }
    match &probe.grpc {
        Some(action) => grpc(target, action, timeout).await,
        None => Ok(()),
    }
}

async fn tcp(target: &Target, action: &TCPSocketAction, timeout: Duration) -> Result<(), String> {
    let port =
        http::port(&action.port, &target.container).ok_or("no such port in the container")?;
    let host = match action.host.clone().filter(|host| !host.is_empty()) {
        Some(host) => host,
        None => target.ip.ok_or("the pod has no address")?.to_string(),
    };
    let connected = tokio::time::timeout(timeout, TcpStream::connect((host.as_str(), port))).await;
    match connected {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("dial tcp {host}:{port}: {error}")),
        Err(_) => Err(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

async fn grpc(target: &Target, action: &GRPCAction, timeout: Duration) -> Result<(), String> {
    let port = u16::try_from(action.port).map_err(|_| "no such port in the container")?;
    let ip = target.ip.ok_or("the pod has no address")?;
    let asked = super::grpc::check(ip, port, action.service.as_deref().unwrap_or_default());
    match tokio::time::timeout(timeout, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("timeout: failed to connect service {ip}:{port}")),
    }
}

async fn command(target: &Target, command: &[String], timeout: Duration) -> Result<(), String> {
    match target.cri.exec_sync(&target.id, command, timeout).await {
        Ok(output) if output.exit_code == 0 => Ok(()),
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Err(String::from_utf8_lossy(&text).trim().to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}
