//! The server side of the CNI plugin: a Unix socket, one request per connection.
//!
//! It answers only when the network stands: ADD returns after address, link, endpoint, identity
//! and policy are in place, so that a pod's first packet already meets its policy. While the
//! network is not open yet, every verb but DEL of something unknown is told to try again.

mod answer;
pub mod install;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use naru_node_api::cni::{CniError, Reply, Request, code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::{PartResult, Shared};

/// Far above any real configuration.
const LONGEST_REQUEST: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(55);

/// Serves `cni.sock` until `shutdown`.
///
/// # Errors
/// When the socket cannot be made.
pub async fn run(shared: Shared, shutdown: CancellationToken) -> PartResult {
    let path = shared.config.run_dir.join("cni.sock");
    let listener = listen(&path)?;
    tracing::info!(socket = %path.display(), "listening");
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { tokio::spawn(serve(shared.clone(), stream)); }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    Ok(())
}

/// Replaces the socket of an earlier daemon. Only root may call.
fn listen(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn serve(shared: Shared, mut stream: UnixStream) {
    let exchange = async {
        let mut bytes = Vec::new();
        (&mut stream)
            .take(LONGEST_REQUEST)
            .read_to_end(&mut bytes)
            .await?;
        let reply = reply(&shared, &bytes).await;
        stream.write_all(&serde_json::to_vec(&reply)?).await?;
        stream.shutdown().await
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "CNI connection broke"),
        Err(_) => tracing::warn!("CNI request took too long"),
    }
}

async fn reply(shared: &Shared, bytes: &[u8]) -> Reply {
    let request: Request = match serde_json::from_slice(bytes) {
        Ok(request) => request,
        Err(error) => {
            let msg = "plugin and daemon are of different releases";
            return Reply::Failed(
                CniError::new(code::DECODING_FAILURE, msg).with_details(error.to_string()),
            );
        }
    };
    let (command, sandbox) = (request.command, request.invocation.container_id.clone());
    let started = std::time::Instant::now();
    let reply = answer::answer(shared, request).await;
    match &reply {
        Reply::Failed(error) => {
            tracing::warn!(
                ?command,
                sandbox,
                code = error.code,
                error = error.msg,
                details = error.details,
                "CNI"
            );
        }
        _ => tracing::info!(?command, sandbox, took = ?started.elapsed(), "CNI"),
    }
    reply
}
