//! Starts every part of the daemon as a supervised task and ends them together.
//!
//! A part that fails is started again with growing delay while the others go on: a broken DNS
//! port must not stop pods, and nothing stops the data path, which lives in the kernel.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{PartResult, Shared};

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// Runs the whole daemon until `shutdown`.
pub async fn run(shared: Shared, shutdown: CancellationToken) {
    let mut parts = Parts {
        tasks: JoinSet::new(),
        shutdown: shutdown.clone(),
    };
    {
        let shared = shared.clone();
        let node_name = shared.config.node_name.clone();
        parts.start("watches", move |shutdown| {
            let (watches, client) = (Arc::clone(&shared.watches), shared.client.clone());
            let node_name = node_name.clone();
            async move {
                watches.run(client, node_name, shutdown).await;
                PartResult::Ok(())
            }
        });
    }
    // One line per part: `parts.start("name", with(&shared, part::run));`
    parts.start("network", with(&shared, crate::network::run));
    parts.start("announce", with(&shared, crate::announce::run));
    parts.start("cni", with(&shared, crate::cni::run));
    parts.start("cluster-dns", with(&shared, crate::cluster_dns::run));
    parts.start("cni-install", with(&shared, crate::cni::install::run));
    if !shared.config.network_only {
        parts.start("ingress", with(&shared, crate::ingress::run));
        parts.start("pods", with(&shared, crate::pods::run));
        parts.start("kubelet", with(&shared, crate::kubelet::serve));
        parts.start("status", with(&shared, crate::status::run));
    }
    parts.tasks.join_all().await;
}

/// Binds the shared state to a part's `run(shared, shutdown)`.
pub fn with<F, E>(
    shared: &Shared,
    run: fn(Shared, CancellationToken) -> F,
) -> impl Fn(CancellationToken) -> F + Send + 'static
where
    F: Future<Output = Result<(), E>> + 'static,
    E: 'static,
{
    let shared = shared.clone();
    move |shutdown| run(shared.clone(), shutdown)
}

struct Parts {
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
}

impl Parts {
    fn start<S, F, E>(&mut self, name: &'static str, run: S)
    where
        S: Fn(CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let span = tracing::info_span!("part", name);
        self.tasks
            .spawn(supervise(name, run, self.shutdown.clone()).instrument(span));
    }
}

/// Runs one part until it ends at shutdown; a failure is logged and the part started again.
async fn supervise<S, F, E>(name: &'static str, run: S, shutdown: CancellationToken)
where
    S: Fn(CancellationToken) -> F,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let mut delay = FIRST_DELAY;
    while !shutdown.is_cancelled() {
        // A task of its own, so that a panic of one part ends that part alone.
        let outcome = tokio::spawn(run(shutdown.clone()).in_current_span()).await;
        if shutdown.is_cancelled() {
            return;
        }
        match outcome {
            Ok(Ok(())) => tracing::error!(part = name, "ended before shutdown"),
            Ok(Err(error)) => {
                let error = crate::network::chain(error.into().as_ref());
                tracing::error!(part = name, error, "failed");
            }
            Err(panic) => tracing::error!(part = name, error = %panic, "panicked"),
        }
        let _ = tokio::time::timeout(delay, shutdown.cancelled()).await;
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_failing_part_is_started_again() {
        let shutdown = CancellationToken::new();
        let starts = Arc::new(AtomicU32::new(0));
        let part = {
            let (starts, stop) = (Arc::clone(&starts), shutdown.clone());
            move |_| {
                let (starts, stop) = (Arc::clone(&starts), stop.clone());
                async move {
                    if starts.fetch_add(1, Ordering::SeqCst) == 2 {
                        stop.cancel();
                    }
                    Err("broken")
                }
            }
        };
        supervise("test", part, shutdown).await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
    }
}
