//! Claiming: which objects of a namespace belong to a workload, by controller and selector.
//!
//! Expected flow: [`sort`] decides from the cache, [`apply`] writes the owner references, after it
//! has made sure that an owner who adopts is still alive.

use super::{Key, Kind, ReconcileError, Writer, meta};
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};
use std::sync::Arc;

/// The objects that concern one owner.
#[derive(Debug)]
pub struct Claim<K> {
    /// Ours already.
    pub owned: Vec<Arc<K>>,
    /// Orphans that match: to become ours.
    pub adopt: Vec<Arc<K>>,
    /// Ours, but not matching any more: to be let go.
    pub release: Vec<Arc<K>>,
}

/// Sorts `objects` from the view of `owner`. An owner that is being deleted adopts nothing, and
/// nobody adopts what is being deleted.
pub fn sort<O: Kind, K: Kind>(owner: &O, selector: &Selector, objects: Vec<Arc<K>>) -> Claim<K> {
    let uid = meta::uid(owner.meta());
    let deleting = meta::is_deleting(owner.meta());
    let mut claim = Claim {
        owned: Vec::new(),
        adopt: Vec::new(),
        release: Vec::new(),
    };
    for object in objects {
        let matches = selector.matches(object.labels());
        match meta::controller_of(object.meta()) {
            Some(controller) if controller.uid == uid && matches => claim.owned.push(object),
            Some(controller) if controller.uid == uid => claim.release.push(object),
            None if matches && !deleting && !meta::is_deleting(object.meta()) => {
                claim.adopt.push(object)
            }
            _ => {}
        }
    }
    claim
}

/// Takes in orphans and lets strays go; answers what is owned afterwards.
pub async fn apply<O: Kind, K: Kind>(
    writer: &Writer,
    owner: &O,
    claim: Claim<K>,
) -> Result<Vec<Arc<K>>, ReconcileError> {
    for stray in &claim.release {
        let mut owners = stray.owner_references().to_vec();
        owners.retain(|reference| reference.uid != meta::uid(owner.meta()));
        writer.set_owners(stray.as_ref(), &owners).await?;
    }
    let mut owned = claim.owned;
    if !claim.adopt.is_empty() {
        check_alive(writer, owner).await?;
    }
    for orphan in claim.adopt {
        let mut owners = orphan.owner_references().to_vec();
        owners.push(meta::controller_ref(owner));
        let adopted = writer.set_owners(orphan.as_ref(), &owners).await?;
        owned.push(Arc::new(adopted));
    }
    Ok(owned)
}

/// The cache may lag: only an owner that lives may adopt.
async fn check_alive<O: Kind>(writer: &Writer, owner: &O) -> Result<(), ReconcileError> {
    let key = Key::of(owner);
    match writer.live::<O>(&key).await? {
        Some(live) if live.uid() == owner.uid() && !meta::is_deleting(live.meta()) => Ok(()),
        _ => Err(ReconcileError::Pending {
            object: key.to_string(),
            what: "news of its own deletion".into(),
        }),
    }
}
