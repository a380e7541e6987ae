//! Removes bootstrap tokens that are over.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::read;
use crate::controllers::Context;
use crate::controllers::runtime::{After, Key, Queue, Reconcile, ReconcileError};

/// The reconciler of tokens.
pub struct Cleaner {
    context: Arc<Context>,
    queue: Queue<Key>,
}

impl Cleaner {
    /// Subscribes to tokens.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let this = Arc::new(Self {
            context,
            queue: Queue::default(),
        });
        let weak = Arc::downgrade(&this);
        this.context.caches.tokens.subscribe(move |change| {
            if let (Some(this), Some(token)) = (weak.upgrade(), &change.new) {
                this.queue.add(Key::of(token.as_ref()));
            }
        });
        this
    }
}

impl Reconcile for Cleaner {
    type Key = Key;
    const NAME: &'static str = "token-cleaner";
    const WORKERS: usize = 1;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    fn keys(&self) -> Vec<Key> {
        self.context.caches.tokens.keys()
    }

    async fn reconcile(&self, key: &Key) -> Result<After, ReconcileError> {
        let Some(secret) = self.context.caches.tokens.at(key) else {
            return Ok(After::Settled);
        };
        let (token, now) = (read(&secret), Timestamp::now());
        if token.has_expired(now) {
            self.context.writer.delete(secret.as_ref()).await?;
            tracing::info!(secret = secret.name_any(), "an expired token is removed");
            return Ok(After::Settled);
        }
        let left = token.end().map(|end| end.duration_since(now));
        let left = left.and_then(|left| Duration::try_from(left).ok());
        Ok(left.map_or(After::Settled, After::Again))
    }
}
