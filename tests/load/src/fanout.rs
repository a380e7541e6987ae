//! One write, many watchers: how long until the last has it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;

use crate::access::Access;
use crate::requests::{collection, create, prepare, unique};
use crate::session::Session;

/// Watches that share a connection; below every server's limit of streams.
const PER_CONNECTION: usize = 50;

/// Namespace of the watched objects, which nobody else writes to.
const WATCHED: &str = "load-fanout";

const LIMIT: Duration = Duration::from_secs(30);

/// Arguments of `fanout`.
#[derive(Debug, Args)]
pub(crate) struct FanoutArgs {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long, default_value_t = 1000)]
    watchers: usize,
    /// Writes, one after the other; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// The median of the rounds, in milliseconds.
///
/// # Errors
/// When a watch ends or a watcher does not get a write within 30 seconds.
pub(crate) async fn run(args: &FanoutArgs) -> Result<f64> {
    let access = Access::of(&args.kubeconfig)?;
    prepare(&access, WATCHED).await?;
    let mut writer = Session::open(&access).await?;
    let (tell, mut told) = mpsc::channel(args.watchers.max(1));
    open_watches(&access, &mut writer, args.watchers, &tell).await?;
    drop(tell);
    let run = unique();
    let mut took = Vec::with_capacity(args.rounds);
    for round in 0..args.rounds.max(1) {
        let begin = Instant::now();
        create(&mut writer, WATCHED, &format!("w-{run}-{round}")).await?;
        timeout(LIMIT, all(&mut told, args.watchers))
            .await
            .context("not every watcher got the write")??;
        took.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    Ok(took[took.len() / 2])
}

async fn open_watches(
    access: &Access,
    lister: &mut Session,
    watchers: usize,
    tell: &Sender<()>,
) -> Result<()> {
    let path = format!(
        "{}?watch=true&resourceVersion={}",
        collection(WATCHED),
        version(lister).await?
    );
    let mut session = Session::open(access).await?;
    for number in 0..watchers {
        if number > 0 && number % PER_CONNECTION == 0 {
            session = Session::open(access).await?;
        }
        let body = session.watch(&path).await?;
        // The clone keeps the connection open as long as its watches.
        tokio::spawn(listen(body, session.clone(), tell.clone()));
    }
    Ok(())
}

async fn version(session: &mut Session) -> Result<String> {
    let path = collection(WATCHED);
    let text = session.call(Method::GET, &path, Bytes::new(), &[]).await?;
    let list: Value = serde_json::from_slice(&text)?;
    let version = list["metadata"]["resourceVersion"].as_str();
    Ok(version.context("a list without version")?.to_owned())
}

/// Tells of every event until the watch or the run ends.
async fn listen(mut body: Incoming, _connection: Session, tell: Sender<()>) {
    let mut rest = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else {
            continue;
        };
        rest.extend_from_slice(data);
        for _ in 0..added(&mut rest) {
            if tell.send(()).await.is_err() {
                return;
            }
        }
    }
}

/// Takes the whole lines and counts the objects added.
fn added(text: &mut Vec<u8>) -> usize {
    let end = text
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    let lines: Vec<u8> = text.drain(..end).collect();
    let lines = lines.split(|b| *b == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|event| event["type"] == "ADDED" && event["object"]["kind"] == "ConfigMap")
        .filter(|event| {
            let name = event["object"]["metadata"]["name"].as_str();
            name.is_some_and(|n| n.starts_with("w-"))
        })
        .count()
}

async fn all(told: &mut Receiver<()>, watchers: usize) -> Result<()> {
    for _ in 0..watchers {
        ensure!(told.recv().await.is_some(), "every watch has ended");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_counts_once_it_is_whole() {
        let line = br#"{"type":"ADDED","object":{"kind":"ConfigMap","metadata":{"name":"w-1"}}}"#;
        let mut text = line.to_vec();
        assert_eq!(added(&mut text), 0);
        text.push(b'\n');
        assert_eq!(added(&mut text), 1);
        assert!(text.is_empty());
    }

    #[test]
    fn bookmarks_do_not_count() {
        let mut text = b"{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"ConfigMap\"}}\n".to_vec();
        assert_eq!(added(&mut text), 0);
    }
}
