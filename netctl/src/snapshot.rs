//! `netctl snapshot`: everything that the API server keeps, as a file, and a store made of one.
//!
//! Saving is a request. Restoring is not: it makes the store that a server then starts on, so it is
//! `naru-control`'s work, which is started here.

use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use futures_util::{AsyncBufRead, AsyncBufReadExt as _};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

use crate::cli::{Access, SnapshotCommand};
use crate::cluster::Cluster;

/// Where the server has it.
const PATH: &str = "/snapshot";
/// What makes a store of a snapshot.
const CONTROL: &str = "naru-control";

/// The last line of the file.
#[derive(Deserialize)]
struct Trailer {
    objects: u64,
    #[serde(rename = "crc32")]
    _crc32: u32,
}

pub(crate) async fn run(access: &Access, command: &SnapshotCommand) -> anyhow::Result<u8> {
    match command {
        SnapshotCommand::Save { file } => {
            let cluster = Cluster::connect(access).await?;
            let objects = save(&cluster, file).await?;
            println!("{objects} objects saved in {}", file.display());
            Ok(0)
        }
        SnapshotCommand::Restore { file, args } => restore(file, args),
    }
}

/// Writes the file beside its place and moves it there when it is whole.
async fn save(cluster: &Cluster, file: &Path) -> anyhow::Result<u64> {
    let request = http::Request::get(PATH).body(Vec::new())?;
    let answer = cluster.api.request_stream(request).await;
    let answer = answer.context("the API server refuses a snapshot")?;
    let partial = file.with_added_extension("partial");
    let saved = write(answer, &partial).await;
    let moved = match saved {
        Ok(objects) => tokio::fs::rename(&partial, file)
            .await
            .map(|()| objects)
            .with_context(|| format!("cannot write {}", file.display())),
        Err(error) => Err(error),
    };
    if moved.is_err() {
        let _ = tokio::fs::remove_file(&partial).await;
    }
    moved
}

/// Copies lines until the last one, which says how many there were.
async fn write(answer: impl AsyncBufRead, path: &Path) -> anyhow::Result<u64> {
    let failed = || format!("cannot write {}", path.display());
    // Secrets are in it.
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(failed)?;
    let mut file = tokio::io::BufWriter::new(tokio::fs::File::from_std(file));
    let mut answer = std::pin::pin!(answer);
    let (mut lines, mut line) = (0_u64, Vec::new());
    loop {
        line.clear();
        let read = answer.read_until(b'\n', &mut line).await;
        if read.context("the answer broke off")? == 0 {
            bail!("the answer ended after {lines} lines without the last one; nothing was saved");
        }
        file.write_all(&line).await.with_context(failed)?;
        if let Ok(Trailer { objects, .. }) = serde_json::from_slice(&line) {
            // Before the last line: one for each object, and the first.
            ensure!(
                lines == objects + 1,
                "{lines} lines came, not {}",
                objects + 1
            );
            file.flush().await.with_context(failed)?;
            file.into_inner().sync_all().await.with_context(failed)?;
            return Ok(objects);
        }
        lines += 1;
    }
}

/// Becomes `naru-control restore`.
fn restore(file: &Path, args: &[String]) -> anyhow::Result<u8> {
    let program = beside().unwrap_or_else(|| PathBuf::from(CONTROL));
    let error = Command::new(&program)
        .arg("restore")
        .args(args)
        .arg(file)
        .exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// The one that was installed with this netctl.
fn beside() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let program = own.parent()?.join(CONTROL);
    program.is_file().then_some(program)
}
