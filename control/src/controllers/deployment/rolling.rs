//! How many replicas each ReplicaSet should have: one step of a roll-out or of a scaling.
//!
//! Every function answers the sizes to set and leaves out what stays; an empty answer means that
//! nothing moves until pods become available.

use super::bounds::{Bounds, bounds, recreates};
use super::names::{DESIRED, MAX, actual, available, number, replicas, total, wanted};
use crate::controllers::runtime::meta;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use std::cmp::Reverse;
use std::sync::Arc;

/// Sets a ReplicaSet's size.
pub type Resize = (Arc<ReplicaSet>, i32);

/// The size of the new ReplicaSet, which has `current` replicas, next to all sets `all`
/// (itself included once it exists).
pub fn new_size(deployment: &Deployment, all: &[Arc<ReplicaSet>], current: i32) -> i32 {
    let goal = replicas(deployment);
    if recreates(deployment) {
        return goal;
    }
    let ceiling = goal + bounds(deployment).surge;
    let room = (ceiling - total(all.iter().map(AsRef::as_ref), wanted)).max(0);
    current + room.min(goal - current)
}

/// The step of the new ReplicaSet.
pub fn grow_new(
    deployment: &Deployment,
    all: &[Arc<ReplicaSet>],
    new: &Arc<ReplicaSet>,
) -> Option<Resize> {
    let current = wanted(new);
    let goal = replicas(deployment);
    let size = if current > goal {
        goal
    } else {
        new_size(deployment, all, current)
    };
    (size != current).then(|| (new.clone(), size))
}

/// The step of the old ReplicaSets: first what is broken anyway, then what availability permits.
pub fn shrink_old(
    deployment: &Deployment,
    all: &[Arc<ReplicaSet>],
    old: &[Arc<ReplicaSet>],
    new: &Arc<ReplicaSet>,
) -> Vec<Resize> {
    let floor = replicas(deployment) - bounds(deployment).unavailable;
    let coming = wanted(new) - available(new);
    let removable = total(all.iter().map(AsRef::as_ref), wanted) - floor - coming;
    if removable <= 0 {
        return Vec::new();
    }
    let mut sizes: Vec<Resize> = by_age(old)
        .into_iter()
        .map(|rs| (rs.clone(), wanted(&rs)))
        .collect();
    take_broken(&mut sizes, removable);
    take_available(
        &mut sizes,
        total(all.iter().map(AsRef::as_ref), available) - floor,
    );
    changed(sizes)
}

fn by_age(sets: &[Arc<ReplicaSet>]) -> Vec<Arc<ReplicaSet>> {
    let mut sets = sets.to_vec();
    sets.sort_by_key(age_key);
    sets
}

fn age_key(rs: &Arc<ReplicaSet>) -> (Timestamp, String) {
    let created = rs
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::MIN, |at| at.0);
    (created, rs.metadata.name.clone().unwrap_or_default())
}

fn take_broken(sizes: &mut [Resize], mut budget: i32) {
    for (rs, size) in sizes.iter_mut() {
        let broken = (*size - available(rs)).clamp(0, budget.max(0));
        *size -= broken;
        budget -= broken;
    }
}

fn take_available(sizes: &mut [Resize], mut budget: i32) {
    for (_, size) in sizes.iter_mut() {
        let taken = (*size).min(budget.max(0));
        *size -= taken;
        budget -= taken;
    }
}

fn changed(sizes: Vec<Resize>) -> Vec<Resize> {
    sizes
        .into_iter()
        .filter(|(rs, size)| wanted(rs) != *size)
        .collect()
}

/// Whether the wanted number changed since some active ReplicaSet was last sized.
pub fn is_scaling(deployment: &Deployment, all: &[Arc<ReplicaSet>]) -> bool {
    let goal = i64::from(replicas(deployment));
    let mut active = all.iter().filter(|rs| wanted(rs) > 0);
    active.any(|rs| number(&rs.metadata, DESIRED).is_some_and(|desired| desired != goal))
}

/// Spreads a changed number over the ReplicaSets in proportion to their sizes, so that a scaling in
/// the middle of a roll-out keeps its risk.
pub fn rescale(
    deployment: &Deployment,
    new: Option<&Arc<ReplicaSet>>,
    old: &[Arc<ReplicaSet>],
) -> Vec<Resize> {
    let goal = replicas(deployment);
    if let Some(only) = active_or_latest(new, old) {
        return changed(vec![(only, goal)]);
    }
    if new.is_some_and(|new| saturated(deployment, new)) {
        return changed(old.iter().map(|rs| (rs.clone(), 0)).collect());
    }
    if recreates(deployment) {
        return Vec::new();
    }
    let active = old
        .iter()
        .chain(new)
        .filter(|rs| wanted(rs) > 0)
        .cloned()
        .collect();
    proportional(deployment, bounds(deployment), active)
}

/// The one active ReplicaSet, or the newest one when none is active.
fn active_or_latest(
    new: Option<&Arc<ReplicaSet>>,
    old: &[Arc<ReplicaSet>],
) -> Option<Arc<ReplicaSet>> {
    let active: Vec<_> = old.iter().chain(new).filter(|rs| wanted(rs) > 0).collect();
    match active.as_slice() {
        [] => new.cloned().or_else(|| by_age(old).pop()),
        [only] => Some((*only).clone()),
        _ => None,
    }
}

fn saturated(deployment: &Deployment, new: &ReplicaSet) -> bool {
    let goal = replicas(deployment);
    let desired = number(&new.metadata, DESIRED) == Some(i64::from(goal));
    desired && wanted(new) == goal && available(new) == goal
}

/// Sizes for all of `active`, unchanged ones included: their annotations must follow.
fn proportional(
    deployment: &Deployment,
    bounds: Bounds,
    mut active: Vec<Arc<ReplicaSet>>,
) -> Vec<Resize> {
    let goal = replicas(deployment);
    let allowed = if goal > 0 { goal + bounds.surge } else { 0 };
    let to_add = allowed - total(active.iter().map(AsRef::as_ref), wanted);
    active.sort_by_key(|rs| (Reverse(wanted(rs)), age_key(rs)));
    if to_add > 0 {
        active.sort_by_key(|rs| (Reverse(wanted(rs)), Reverse(age_key(rs))));
    }
    let mut added = 0;
    let mut sizes: Vec<Resize> = Vec::new();
    for rs in active {
        let share = share(deployment, allowed, &rs, to_add, added);
        added += share;
        let size = wanted(&rs) + share;
        sizes.push((rs, size));
    }
    if let Some((_, largest)) = sizes.first_mut() {
        *largest = (*largest + to_add - added).max(0);
    }
    sizes
}

fn share(deployment: &Deployment, allowed: i32, rs: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    let left = to_add - added;
    if wanted(rs) == 0 || to_add == 0 || left == 0 {
        return 0;
    }
    let fraction = fraction(deployment, allowed, rs);
    if to_add > 0 {
        fraction.min(left)
    } else {
        fraction.max(left)
    }
}

/// By how much `rs` changes when its part of the whole stays the same, rounded to nearest.
fn fraction(deployment: &Deployment, allowed: i32, rs: &ReplicaSet) -> i32 {
    if replicas(deployment) == 0 {
        return -wanted(rs);
    }
    let before = number(&rs.metadata, MAX).filter(|max| *max > 0);
    let reported = deployment
        .status
        .as_ref()
        .and_then(|status| status.replicas)
        .unwrap_or(0);
    let before = before.unwrap_or_else(|| i64::from(reported)).max(1);
    let scaled = i64::from(wanted(rs)) * i64::from(allowed);
    let rounded = (2 * scaled + before) / (2 * before);
    i32::try_from(rounded).unwrap_or(i32::MAX) - wanted(rs)
}

/// The old ReplicaSets beyond `revisionHistoryLimit` that are finished and empty, oldest first.
pub fn expired(deployment: &Deployment, old: &[Arc<ReplicaSet>]) -> Vec<Arc<ReplicaSet>> {
    let limit = usize::try_from(deployment.spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let mut alive: Vec<_> = old
        .iter()
        .filter(|rs| !meta::is_deleting(&rs.metadata))
        .cloned()
        .collect();
    let excess = alive.len().saturating_sub(limit);
    alive.sort_by_key(|rs| (super::names::revision(&rs.metadata), age_key(rs)));
    alive.truncate(excess);
    alive.retain(|rs| wanted(rs) == 0 && actual(rs) == 0 && observed(rs));
    alive
}

fn observed(rs: &ReplicaSet) -> bool {
    let seen = rs
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    rs.metadata.generation.unwrap_or(0) <= seen.unwrap_or(0)
}
