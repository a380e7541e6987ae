//! The latest events, and a feed of the coming ones.

use std::collections::VecDeque;
use std::sync::Arc;

use naru_node_api::flows::Flow;
use parking_lot::Mutex;
use tokio::sync::broadcast;

/// Events that are kept, and events that a watcher may lag behind.
const KEPT: usize = 1024;

/// A bounded log.
#[derive(Debug)]
pub struct FlowLog {
    kept: Mutex<VecDeque<Arc<Flow>>>,
    feed: broadcast::Sender<Arc<Flow>>,
}

impl Default for FlowLog {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            feed: broadcast::Sender::new(KEPT),
        }
    }
}

impl FlowLog {
    /// Adds an event; the oldest one goes when there is no room.
    pub fn push(&self, flow: Flow) {
        let flow = Arc::new(flow);
        let mut kept = self.kept.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&flow));
        // Under the lock, so that a new watcher sees each event once. No watcher is no error.
        let _ = self.feed.send(flow);
    }

    /// The kept events, oldest first, and the feed of those that follow them.
    pub fn watch(&self) -> (Vec<Arc<Flow>>, broadcast::Receiver<Arc<Flow>>) {
        let kept = self.kept.lock();
        (kept.iter().cloned().collect(), self.feed.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::RecvError;

    use super::*;

    #[tokio::test]
    async fn the_oldest_go_and_a_slow_watcher_is_told_how_many_it_lost() {
        let log = FlowLog::default();
        let (kept, mut feed) = log.watch();
        assert!(kept.is_empty());
        for time_ns in 0..KEPT as u64 + 10 {
            log.push(Flow {
                time_ns,
                ..Flow::default()
            });
        }
        assert!(matches!(feed.recv().await, Err(RecvError::Lagged(10))));
        assert_eq!(feed.recv().await.unwrap().time_ns, 10);
        let (kept, _) = log.watch();
        assert_eq!((kept.len(), kept[0].time_ns), (KEPT, 10));
    }
}
