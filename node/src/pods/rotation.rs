//! Container logs: rotated at 10 MiB, five files kept.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use naru_cri::{Cri, v1};
use tokio_util::sync::CancellationToken;

use super::names::{CONTAINER_NAME, Dirs, POD_UID};

/// Size at which a log is rotated, in bytes.
pub const MAX_SIZE: u64 = 10 << 20;
/// Files of one container that are kept, the present one included.
pub const MAX_FILES: usize = 5;
const PERIOD: Duration = Duration::from_secs(10);

/// Looks at all logs every ten seconds until `shutdown`.
pub async fn run(cri: Cri, dirs: Dirs, shutdown: CancellationToken) {
    while tokio::time::timeout(PERIOD, shutdown.cancelled())
        .await
        .is_err()
    {
        for log in oversized(&dirs.all_logs(), MAX_SIZE) {
            if let Err(error) = rotate(&cri, &log).await {
                tracing::warn!(log = %log.display(), %error, "log not rotated");
            }
        }
    }
}

/// Present logs (`POD/CONTAINER/N.log`) of at least `limit` bytes.
fn oversized(logs: &Path, limit: u64) -> Vec<PathBuf> {
    let children = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
    let containers = children(logs).flat_map(|pod| children(&pod.path()));
    containers
        .flat_map(|container| children(&container.path()))
        .filter(|file| {
            file.path()
                .extension()
                .is_some_and(|extension| extension == "log")
        })
        .filter(|file| file.metadata().is_ok_and(|meta| meta.len() >= limit))
        .map(|file| file.path())
        .collect()
}

/// Why a log could not be rotated.
#[derive(Debug, thiserror::Error)]
enum RotationError {
    /// The file system refused.
    #[error("rename")]
    Rename(#[source] io::Error),
    /// The runtime still writes to the old file.
    #[error("{0}")]
    Reopen(#[from] naru_cri::Error),
}

async fn rotate(cri: &Cri, log: &Path) -> Result<(), RotationError> {
    let rotated = PathBuf::from(format!(
        "{}.{}",
        log.display(),
        Timestamp::now().strftime("%Y%m%d-%H%M%S")
    ));
    let Some(id) = writer(cri, log).await? else {
        return Ok(());
    };
    fs::rename(log, &rotated).map_err(RotationError::Rename)?;
    let request = v1::ReopenContainerLogRequest { container_id: id };
    if let Err(error) = cri.reopen_container_log(request).await {
        // Undone, so that the next attempt finds the log where readers look for it.
        fs::rename(&rotated, log).map_err(RotationError::Rename)?;
        return Err(error.into());
    }
    for old in surplus(rotations(log)) {
        let _ = fs::remove_file(old);
    }
    Ok(())
}

/// The running container that writes to this log; `None` for a container that has ended.
async fn writer(cri: &Cri, log: &Path) -> Result<Option<String>, naru_cri::Error> {
    let Some((uid, container)) = owner(log) else {
        return Ok(None);
    };
    let labels = [
        (POD_UID.to_owned(), uid),
        (CONTAINER_NAME.to_owned(), container),
    ];
    let filter = v1::ContainerFilter {
        state: Some(v1::ContainerStateValue {
            state: v1::ContainerState::ContainerRunning as i32,
        }),
        label_selector: HashMap::from(labels),
        ..v1::ContainerFilter::default()
    };
    let found = cri
        .list_containers(v1::ListContainersRequest {
            filter: Some(filter),
        })
        .await?;
    Ok(found
        .containers
        .into_iter()
        .next()
        .map(|container| container.id))
}

/// UID and container from `NS_NAME_UID/CONTAINER/N.log`.
fn owner(log: &Path) -> Option<(String, String)> {
    let container = log.parent()?;
    let pod = container.parent()?.file_name()?.to_str()?;
    let uid = pod.rsplit_once('_')?.1;
    Some((uid.to_owned(), container.file_name()?.to_str()?.to_owned()))
}

/// Rotated files of a log, oldest first.
pub fn rotations(log: &Path) -> Vec<PathBuf> {
    let (Some(parent), Some(name)) = (log.parent(), log.file_name().and_then(|n| n.to_str()))
    else {
        return Vec::new();
    };
    let prefix = format!("{name}.");
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn surplus(rotations: Vec<PathBuf>) -> Vec<PathBuf> {
    let keep = MAX_FILES - 1;
    let count = rotations.len().saturating_sub(keep);
    rotations.into_iter().take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_read_from_the_path() {
        let path = Path::new("/s/logs/shop_web-0_1234/nginx/0.log");
        assert_eq!(owner(path), Some(("1234".into(), "nginx".into())));
    }

    #[test]
    fn only_the_oldest_beyond_the_limit_go() {
        let files: Vec<_> = (0..6).map(|n| PathBuf::from(format!("{n}"))).collect();
        assert_eq!(surplus(files.clone()), files[..2]);
        assert!(surplus(files[..4].to_vec()).is_empty());
    }
}
