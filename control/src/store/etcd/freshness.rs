//! "Show me nothing older than what anybody has been told": one question to etcd for all who ask
//! while the one before is under way.

use std::sync::Arc;

use naru_etcd::v3::RangeRequest;
use tokio::sync::{mpsc, oneshot};

use super::arrivals::Arrivals;
use super::{failed, revision};
use crate::store::backend::BackendError;

type Answer = Result<(), Arc<naru_etcd::Error>>;
type Asker = oneshot::Sender<Answer>;

/// Takes the questions; the task behind ends with the last clone.
#[derive(Clone)]
pub(super) struct Freshness(mpsc::UnboundedSender<Asker>);

impl Freshness {
    pub(super) fn start(etcd: naru_etcd::Etcd, arrivals: Arc<Arrivals>) -> Self {
        let (asks, queue) = mpsc::unbounded_channel();
        tokio::spawn(answer(etcd, arrivals, queue));
        Self(asks)
    }

    /// Returns when memory shows what etcd had at some moment after the call.
    pub(super) async fn ask(&self) -> Result<(), BackendError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.0.send(reply);
        match answer.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(BackendError::Unreachable(error)),
            Err(_) => Err(BackendError::Behind),
        }
    }
}

async fn answer(
    etcd: naru_etcd::Etcd,
    arrivals: Arc<Arrivals>,
    mut queue: mpsc::UnboundedReceiver<Asker>,
) {
    let mut askers = Vec::new();
    while queue.recv_many(&mut askers, usize::MAX).await > 0 {
        let askers = std::mem::take(&mut askers);
        let now = current(&etcd).await;
        // The next question need not wait until this answer has arrived.
        let arrivals = arrivals.clone();
        tokio::spawn(async move {
            let answer = match now {
                Ok(revision) => {
                    arrivals.reach(revision).await;
                    Ok(())
                }
                Err(error) => Err(Arc::new(error)),
            };
            for asker in askers {
                let _ = asker.send(answer.clone());
            }
        });
    }
}

/// etcd's revision, agreed upon by a majority. The key is nobody's: only the header counts.
pub(super) async fn current(etcd: &naru_etcd::Etcd) -> Result<u64, naru_etcd::Error> {
    let nothing = RangeRequest {
        key: b"\0".to_vec().into(),
        count_only: true,
        ..RangeRequest::default()
    };
    let answer = etcd.range(nothing).await?;
    Ok(revision(answer.header.map_or(0, |header| header.revision)))
}

/// The same for whoever cannot go on without it.
pub(super) async fn needed(etcd: &naru_etcd::Etcd) -> Result<u64, BackendError> {
    current(etcd).await.map_err(failed)
}
