//! One step of a Deployment, from what is to what should be.
//!
//! Expected flow: name the new ReplicaSet (create it when it is missing), then either scale, or
//! roll, or clean up; never two of these in one step, since each is judged by the pods that the
//! one before brought about.

use super::bounds::{bounds, recreates};
use super::hash::template_hash;
use super::names::{self, DESIRED, HASH, MAX, REVISION, REVISION_HISTORY, replicas, wanted};
use super::rolling::{self, Resize};
use super::status::{self, Verdict};
use crate::controllers::runtime::lean::Pod;
use crate::controllers::runtime::{meta, pod};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a step is planned from.
pub struct Input<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// The ReplicaSets that it controls.
    pub sets: Vec<Arc<ReplicaSet>>,
    /// The pods of these, terminating ones included; `Recreate` waits for them.
    pub pods: Vec<Arc<Pod>>,
    /// The time, in whole seconds.
    pub now: Timestamp,
}

/// What a step does.
#[derive(Debug, Default)]
pub struct Plan {
    /// A ReplicaSet to create.
    pub create: Option<ReplicaSet>,
    /// ReplicaSets to change, before and after.
    pub update: Vec<(Arc<ReplicaSet>, ReplicaSet)>,
    /// ReplicaSets to delete.
    pub delete: Vec<Arc<ReplicaSet>>,
    /// The Deployment's own revision annotation, when it must change.
    pub revision: Option<String>,
    /// The status to write.
    pub status: DeploymentStatus,
    /// When to look again even if nothing happens.
    pub again: Option<Duration>,
}

/// Plans one step.
pub fn plan(input: &Input<'_>) -> Plan {
    let step = Step::new(input);
    if meta::is_deleting(&input.deployment.metadata) {
        return step.finish(Moves::default(), false);
    }
    let moves = step.moves();
    let rolling = input.deployment.spec.paused != Some(true) && !moves.scaling;
    step.finish(moves, rolling)
}

/// What a step moves, before it is written as objects.
#[derive(Default)]
struct Moves {
    create: bool,
    resize: Vec<Resize>,
    delete: Vec<Arc<ReplicaSet>>,
    scaling: bool,
}

struct Step<'a> {
    input: &'a Input<'a>,
    deployment: &'a Deployment,
    new: Option<Arc<ReplicaSet>>,
    old: Vec<Arc<ReplicaSet>>,
    /// Status with the conditions that precede the counts.
    base: DeploymentStatus,
}

impl<'a> Step<'a> {
    fn new(input: &'a Input<'a>) -> Self {
        let deployment = input.deployment;
        let new = find_new(deployment, &input.sets);
        let is_new = |rs: &Arc<ReplicaSet>| new.as_ref().is_some_and(|new| new.uid() == rs.uid());
        let old = input
            .sets
            .iter()
            .filter(|rs| !is_new(rs))
            .cloned()
            .collect();
        let mut base = deployment.status.clone().unwrap_or_default();
        status::note_pause(deployment, &mut base, input.now);
        Step {
            input,
            deployment,
            new,
            old,
            base,
        }
    }

    fn moves(&self) -> Moves {
        if self.deployment.spec.paused == Some(true) {
            let resize = rolling::rescale(self.deployment, self.new.as_ref(), &self.old);
            return Moves {
                resize,
                delete: rolling::expired(self.deployment, &self.old),
                ..Moves::default()
            };
        }
        if rolling::is_scaling(self.deployment, &self.input.sets) {
            let resize = rolling::rescale(self.deployment, self.new.as_ref(), &self.old);
            return Moves {
                resize,
                scaling: true,
                ..Moves::default()
            };
        }
        if recreates(self.deployment) {
            self.recreate()
        } else {
            self.roll()
        }
    }

    fn recreate(&self) -> Moves {
        let old: Vec<_> = self
            .old
            .iter()
            .filter(|rs| wanted(rs) > 0)
            .map(|rs| (rs.clone(), 0))
            .collect();
        if !old.is_empty() {
            return Moves {
                resize: old,
                ..Moves::default()
            };
        }
        if self.old_pods_run() {
            return Moves::default();
        }
        match &self.new {
            None => Moves {
                create: true,
                ..Moves::default()
            },
            Some(new) if wanted(new) != replicas(self.deployment) => Moves {
                resize: vec![(new.clone(), replicas(self.deployment))],
                ..Moves::default()
            },
            Some(_) => self.clean(),
        }
    }

    fn old_pods_run(&self) -> bool {
        let new = self.new.as_ref().map(|new| meta::uid(&new.metadata));
        let owner = |pod: &Pod| meta::controller_of(&pod.metadata).map(|owner| owner.uid.clone());
        let mut alive = self.input.pods.iter().filter(|pod| !pod::is_finished(pod));
        alive.any(|pod| owner(pod).as_deref() != new)
    }

    fn roll(&self) -> Moves {
        let Some(new) = &self.new else {
            return Moves {
                create: true,
                ..Moves::default()
            };
        };
        if let Some(step) = rolling::grow_new(self.deployment, &self.input.sets, new) {
            return Moves {
                resize: vec![step],
                ..Moves::default()
            };
        }
        let resize = rolling::shrink_old(self.deployment, &self.input.sets, &self.old, new);
        if resize.is_empty() {
            self.clean()
        } else {
            Moves {
                resize,
                ..Moves::default()
            }
        }
    }

    fn clean(&self) -> Moves {
        let status = self.deployment.status.clone().unwrap_or_default();
        let delete = match status::is_complete(self.deployment, &status) {
            true => rolling::expired(self.deployment, &self.old),
            false => Vec::new(),
        };
        Moves {
            delete,
            ..Moves::default()
        }
    }

    fn finish(mut self, moves: Moves, rolling: bool) -> Plan {
        let create = moves.create.then(|| self.new_set());
        self.note_progress(create.as_ref());
        let update = self.updates(moves.resize);
        let all = self.resized(&update, create.as_ref());
        let new = self
            .new
            .as_ref()
            .and_then(|new| all.iter().find(|rs| rs.uid() == new.uid()));
        let new = new.map(AsRef::as_ref).or(create.as_ref());
        let now = self.input.now;
        let mut status = status::count(self.deployment, &self.base, &all, new, now);
        if rolling {
            status::judge(self.deployment, &mut status, &all, new, now);
        }
        let again = status::next_deadline(self.deployment, &status, now);
        let revision = new.and_then(|new| new.annotations().get(REVISION).cloned());
        let revision =
            revision.filter(|text| self.deployment.annotations().get(REVISION) != Some(text));
        Plan {
            create,
            update,
            delete: moves.delete,
            revision,
            status,
            again,
        }
    }

    /// Says that there is a new ReplicaSet, before the first pod shows progress.
    fn note_progress(&mut self, created: Option<&ReplicaSet>) {
        if !status::has_deadline(self.deployment) || meta::is_deleting(&self.deployment.metadata) {
            return;
        }
        let known = status::find(&self.base, "Progressing").is_some();
        let verdict = match (created, &self.new) {
            (Some(rs), _) => {
                let message = format!("Created new replica set \"{}\"", rs.name_any());
                Verdict::progressing("True", "NewReplicaSetCreated", message)
            }
            (None, Some(rs)) if !known => {
                let message = format!("Found new replica set \"{}\"", rs.name_any());
                Verdict::progressing("True", "FoundNewReplicaSet", message)
            }
            _ => return,
        };
        status::set(&mut self.base, verdict, self.input.now);
    }

    /// All ReplicaSets as they will be after the step.
    fn resized(
        &self,
        update: &[(Arc<ReplicaSet>, ReplicaSet)],
        create: Option<&ReplicaSet>,
    ) -> Vec<Arc<ReplicaSet>> {
        let after = |rs: &Arc<ReplicaSet>| {
            let changed = update.iter().find(|(old, _)| old.uid() == rs.uid());
            changed.map_or_else(|| rs.clone(), |(_, new)| Arc::new(new.clone()))
        };
        self.input
            .sets
            .iter()
            .map(after)
            .chain(create.cloned().map(Arc::new))
            .collect()
    }

    /// Sizes, and the annotations of the new ReplicaSet, as objects.
    fn updates(&self, resize: Vec<Resize>) -> Vec<(Arc<ReplicaSet>, ReplicaSet)> {
        let mut updates: Vec<(Arc<ReplicaSet>, ReplicaSet)> = Vec::new();
        for (rs, size) in resize {
            let mut sized = (*rs).clone();
            sized.spec.replicas = Some(size);
            self.note_sizes(&mut sized);
            updates.push((rs, sized));
        }
        if let Some(new) = self
            .new
            .as_ref()
            .filter(|_| !meta::is_deleting(&self.deployment.metadata))
        {
            match updates.iter_mut().find(|(rs, _)| rs.uid() == new.uid()) {
                Some((_, sized)) => self.follow_deployment(sized),
                None => {
                    let mut noted = (**new).clone();
                    self.follow_deployment(&mut noted);
                    updates.push((new.clone(), noted));
                }
            }
        }
        updates.retain(|(before, after)| before.as_ref() != after);
        updates
    }

    fn note_sizes(&self, rs: &mut ReplicaSet) {
        let goal = replicas(self.deployment);
        let notes = rs.annotations_mut();
        notes.insert(DESIRED.into(), goal.to_string());
        notes.insert(
            MAX.into(),
            (goal + bounds(self.deployment).surge).to_string(),
        );
    }

    /// What the new ReplicaSet takes over from the Deployment on every step.
    fn follow_deployment(&self, rs: &mut ReplicaSet) {
        let next = 1 + self
            .old
            .iter()
            .map(|rs| names::revision(&rs.metadata))
            .max()
            .unwrap_or(0);
        let before = names::revision(&rs.metadata);
        let notes = rs.annotations_mut();
        notes.extend(names::inherited(self.deployment));
        if before < next {
            if before > 0 {
                remember_revision(notes, before);
            }
            notes.insert(REVISION.into(), next.to_string());
        }
        if rs.spec.min_ready_seconds.unwrap_or(0)
            != self.deployment.spec.min_ready_seconds.unwrap_or(0)
        {
            rs.spec.min_ready_seconds = self.deployment.spec.min_ready_seconds;
        }
    }

    /// The ReplicaSet of the current template.
    fn new_set(&self) -> ReplicaSet {
        let deployment = self.deployment;
        let hash = template_hash(
            &deployment.spec.template,
            self.base.collision_count.unwrap_or(0),
        );
        let mut template = deployment.spec.template.clone();
        let labels = template
            .metadata
            .get_or_insert_default()
            .labels
            .get_or_insert_default();
        labels.insert(HASH.into(), hash.clone());
        let labels = labels.clone();
        let mut selector = deployment.spec.selector.clone();
        selector
            .match_labels
            .get_or_insert_default()
            .insert(HASH.into(), hash.clone());
        let spec = ReplicaSetSpec {
            replicas: Some(rolling::new_size(deployment, &self.input.sets, 0)),
            min_ready_seconds: deployment.spec.min_ready_seconds,
            selector,
            template: Some(template),
        };
        let metadata = ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels: Some(labels),
            owner_references: Some(vec![meta::controller_ref(deployment)]),
            ..ObjectMeta::default()
        };
        let mut rs = ReplicaSet {
            metadata,
            spec,
            status: None,
        };
        self.follow_deployment(&mut rs);
        self.note_sizes(&mut rs);
        rs
    }
}

fn remember_revision(notes: &mut BTreeMap<String, String>, revision: i64) {
    let history = notes.entry(REVISION_HISTORY.into()).or_default();
    if !history.is_empty() {
        history.push(',');
    }
    history.push_str(&revision.to_string());
}

/// The oldest ReplicaSet whose template is the Deployment's.
fn find_new(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Option<Arc<ReplicaSet>> {
    let same = sets.iter().filter(|rs| {
        rs.spec
            .template
            .as_ref()
            .is_some_and(|t| same_template(&deployment.spec.template, t))
    });
    same.min_by_key(|rs| (rs.metadata.creation_timestamp.clone(), rs.name_any()))
        .cloned()
}

/// Whether two templates differ in nothing but the hash label.
pub fn same_template(one: &PodTemplateSpec, other: &PodTemplateSpec) -> bool {
    one.spec == other.spec && unhashed(one) == unhashed(other)
}

fn unhashed(template: &PodTemplateSpec) -> Option<ObjectMeta> {
    let mut meta = template.metadata.clone().unwrap_or_default();
    if let Some(labels) = meta.labels.as_mut() {
        labels.remove(HASH);
    }
    meta.labels = meta.labels.filter(|labels| !labels.is_empty());
    meta.annotations = meta.annotations.filter(|notes| !notes.is_empty());
    meta.creation_timestamp = None;
    Some(meta)
}
