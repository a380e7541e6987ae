//! What a request may rely on having been written before it.
//!
//! Over the embedded store there is nothing to wait for. Where several servers share a store, memory
//! of this one may be behind what another one has told a client.

use std::time::Duration;

use super::request::Query;
use super::status::{Result, Status};
use crate::store::Store;

/// How long a version that somebody else told of may take to arrive here; as kube-apiserver waits.
const ARRIVAL: Duration = Duration::from_secs(3);

/// Waits until objects are as new as the request may expect them: whatever was acknowledged before it,
/// or the version that it names; `resourceVersion=0` takes what is there, and a list that is continued
/// is of a moment that has passed.
///
/// # Errors
/// 503 when the store cannot tell what is the newest.
pub(super) async fn settle(store: &Store, query: &Query) -> Result<()> {
    if query.get("continue").is_some_and(|token| !token.is_empty()) {
        return Ok(());
    }
    let version = query.get("resourceVersion").unwrap_or_default();
    match version.parse::<u64>() {
        Ok(0) => Ok(()),
        Ok(version) => {
            store.reach(version, ARRIVAL).await;
            Ok(())
        }
        Err(_) => store.fresh().await.map_err(|error| {
            tracing::warn!(%error, "a request is refused");
            Status::unavailable(format!("the store: {error}"))
        }),
    }
}
