//! Lifecycle hooks: what runs right after a container's start and right before its end.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use naru_cri::Cri;

use super::http;

/// Runs a hook to its end.
///
/// # Errors
/// A sentence: the command's exit code and output, or why the request failed.
pub async fn run(
    cri: &Cri,
    hook: &LifecycleHandler,
    container: &Container,
    id: &str,
    pod_ip: Option<IpAddr>,
    timeout: Duration,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let output = cri
            .exec_sync(id, &command, timeout)
            .await
            .map_err(|e| e.to_string())?;
        return match output.exit_code {
            0 => Ok(()),
            code => Err(format!(
                "command '{}' exited with {code}: {}",
                command.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        };
    }
    if let Some(sleep) = &hook.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds).min(timeout)).await;
        return Ok(());
    }
    let Some(action) = &hook.http_get else {
        return Ok(());
    };
    match http::get(action, container, pod_ip, timeout).await? {
        (status, _) if status < 400 => Ok(()),
        (status, body) => Err(format!("HTTP hook answered {status}: {body}")),
    }
}
