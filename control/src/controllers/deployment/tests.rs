//! Tables for steps of roll-outs, and a model that plays whole roll-outs to their end.

use super::names::{DESIRED, HASH, MAX, REVISION, REVISION_HISTORY, wanted};
use super::plan::{Input, Plan, plan};
use super::rolling;
use super::status;
use crate::controllers::runtime::lean::Pod;
use crate::controllers::runtime::time;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use kube::ResourceExt;
use serde_json::{Value, json};
use std::sync::Arc;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn deployment(replicas: i32, image: &str, strategy: Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "d", "generation": 1,
            "annotations": {"kubernetes.io/change-cause": image}},
        "spec": {"replicas": replicas, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
            "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]}}},
    }))
    .unwrap()
}

fn rolling_update(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// The API, the ReplicaSet controller and the pods in a few lines.
struct World {
    deployment: Deployment,
    sets: Vec<Arc<ReplicaSet>>,
    clock: i64,
    /// Revisions whose pods never become available.
    broken: Option<&'static str>,
}

impl World {
    fn new(deployment: Deployment) -> Self {
        World {
            deployment,
            sets: Vec::new(),
            clock: 1000,
            broken: None,
        }
    }

    fn step(&mut self) -> Plan {
        self.clock += 1;
        let sets = self.sets.clone();
        let plan = plan(&Input {
            deployment: &self.deployment,
            sets,
            pods: self.pods(),
            now: at(self.clock),
        });
        for (before, after) in &plan.update {
            let place = self
                .sets
                .iter_mut()
                .find(|rs| rs.uid() == before.uid())
                .unwrap();
            *place = Arc::new(after.clone());
        }
        if let Some(rs) = &plan.create {
            let mut rs = rs.clone();
            rs.metadata.uid = rs.metadata.name.clone();
            rs.metadata.creation_timestamp = Some(time(at(self.clock)));
            self.sets.push(Arc::new(rs));
        }
        self.sets
            .retain(|rs| !plan.delete.iter().any(|gone| gone.uid() == rs.uid()));
        if let Some(revision) = &plan.revision {
            self.deployment
                .annotations_mut()
                .insert(REVISION.into(), revision.clone());
        }
        self.deployment.status = Some(plan.status.clone());
        plan
    }

    /// Pods follow the sizes at once; those of a broken image never become available.
    fn settle_pods(&mut self) {
        for rs in &mut self.sets {
            let size = wanted(rs);
            let works = image(rs) != self.broken.unwrap_or_default();
            let mut settled = (**rs).clone();
            let ready = if works { size } else { 0 };
            settled.status =
                serde_json::from_value(json!({"replicas": size, "readyReplicas": ready,
                "availableReplicas": ready}))
                .unwrap();
            *rs = Arc::new(settled);
        }
    }

    fn pods(&self) -> Vec<Arc<Pod>> {
        let pods = self
            .sets
            .iter()
            .flat_map(|rs| (0..super::names::actual(rs)).map(move |_| rs));
        pods.map(|rs| {
            let mut pod = Pod::default();
            pod.metadata.owner_references =
                Some(vec![crate::controllers::runtime::meta::controller_ref(
                    rs.as_ref(),
                )]);
            Arc::new(pod)
        })
        .collect()
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            let before: Vec<_> = self.sets.clone();
            let status = self.deployment.status.clone();
            self.step();
            self.settle_pods();
            if before == self.sets && status == self.deployment.status {
                return;
            }
        }
        panic!("the roll-out never settles: {:?}", self.sizes());
    }

    fn sizes(&self) -> Vec<(String, i32)> {
        self.sets
            .iter()
            .map(|rs| (image(rs).to_owned(), wanted(rs)))
            .collect()
    }

    fn set_image(&mut self, image: &str) {
        self.deployment
            .spec
            .template
            .spec
            .as_mut()
            .unwrap()
            .containers[0]
            .image = Some(image.into());
        self.deployment
            .annotations_mut()
            .insert("kubernetes.io/change-cause".into(), image.into());
    }

    fn reason(&self, kind: &str) -> String {
        let status = self.deployment.status.clone().unwrap();
        status::find(&status, kind)
            .and_then(|condition| condition.reason.clone())
            .unwrap_or_default()
    }
}

fn image(rs: &ReplicaSet) -> &str {
    let spec = rs.spec.template.as_ref().unwrap().spec.as_ref().unwrap();
    spec.containers[0].image.as_deref().unwrap()
}

#[test]
fn a_new_deployment_creates_one_replicaset_with_hash_revision_and_sizes() {
    let mut world = World::new(deployment(
        3,
        "a",
        rolling_update(json!("25%"), json!("25%")),
    ));
    let rs = world.step().create.unwrap();
    let hash = rs.labels()[HASH].clone();
    assert_eq!(rs.name_any(), format!("web-{hash}"));
    assert_eq!(rs.spec.selector.match_labels.as_ref().unwrap()[HASH], hash);
    assert_eq!(wanted(&rs), 3);
    let notes = rs.annotations();
    let read =
        [REVISION, DESIRED, MAX, "kubernetes.io/change-cause"].map(|name| notes[name].as_str());
    assert_eq!(read, ["1", "3", "4", "a"]);
    assert_eq!(world.reason("Progressing"), "NewReplicaSetCreated");
    assert_eq!(world.reason("Available"), "MinimumReplicasUnavailable");
    world.settle_pods();
    world.settle();
    assert_eq!(world.reason("Progressing"), "NewReplicaSetAvailable");
    assert_eq!(world.reason("Available"), "MinimumReplicasAvailable");
    let status = world.deployment.status.as_ref().unwrap();
    assert_eq!(
        (
            status.replicas,
            status.updated_replicas,
            status.unavailable_replicas
        ),
        (Some(3), Some(3), None)
    );
}

#[test]
fn a_settled_deployment_plans_nothing() {
    let mut world = World::new(deployment(3, "a", rolling_update(json!(1), json!(0))));
    world.settle();
    let before = world.deployment.clone();
    let plan = world.step();
    assert!(
        plan.create.is_none()
            && plan.update.is_empty()
            && plan.delete.is_empty()
            && plan.revision.is_none()
    );
    assert_eq!(before, world.deployment);
    assert_eq!(plan.again, None);
}

#[test]
fn a_roll_out_never_leaves_its_bounds() {
    for (replicas, surge, unavailable) in [
        (3, json!("25%"), json!("25%")),
        (10, json!(3), json!(2)),
        (4, json!(0), json!(1)),
        (1, json!(1), json!(0)),
    ] {
        let mut world = World::new(deployment(
            replicas,
            "a",
            rolling_update(surge, unavailable),
        ));
        world.settle();
        let bounds = super::bounds::bounds(&world.deployment);
        world.set_image("b");
        for _ in 0..60 {
            world.step();
            let total: i32 = world.sets.iter().map(|rs| wanted(rs)).sum();
            let kept: i32 = world
                .sets
                .iter()
                .map(|rs| wanted(rs).min(super::names::available(rs)))
                .sum();
            assert!(total <= replicas + bounds.surge, "{:?}", world.sizes());
            assert!(kept >= replicas - bounds.unavailable, "{:?}", world.sizes());
            world.settle_pods();
        }
        assert_eq!(world.sizes(), [("a".into(), 0), ("b".into(), replicas)]);
        assert_eq!(world.reason("Progressing"), "NewReplicaSetAvailable");
    }
}

#[test]
fn a_broken_image_stops_the_roll_out_with_the_old_pods_alive_and_exceeds_its_deadline() {
    let mut world = World::new(deployment(4, "a", rolling_update(json!(1), json!(1))));
    world.settle();
    world.broken = Some("bad");
    world.set_image("bad");
    world.settle();
    assert_eq!(world.sizes(), [("a".into(), 3), ("bad".into(), 2)]);
    assert_eq!(
        world.step().again.map(|wait| wait.as_secs() > 500),
        Some(true)
    );
    world.clock += 700;
    world.settle();
    assert_eq!(world.reason("Progressing"), "ProgressDeadlineExceeded");
    assert_eq!(world.reason("Available"), "MinimumReplicasAvailable");
}

#[test]
fn rolling_back_revives_the_old_replicaset_under_a_new_revision() {
    let mut world = World::new(deployment(2, "a", rolling_update(json!(1), json!(0))));
    world.settle();
    world.set_image("b");
    world.settle();
    world.set_image("a");
    world.settle();
    assert_eq!(world.sizes(), [("a".into(), 2), ("b".into(), 0)]);
    let notes = world.sets[0].annotations();
    assert_eq!(
        (notes[REVISION].as_str(), notes[REVISION_HISTORY].as_str()),
        ("3", "1")
    );
    assert_eq!(world.deployment.annotations()[REVISION], "3");
}

#[test]
fn history_beyond_the_limit_is_deleted_oldest_first() {
    let mut world = World::new(deployment(1, "a", rolling_update(json!(1), json!(0))));
    for image in ["a", "b", "c", "d", "e"] {
        world.set_image(image);
        world.settle();
    }
    assert_eq!(
        world.sizes(),
        [("c".into(), 0), ("d".into(), 0), ("e".into(), 1)]
    );
}

#[test]
fn recreate_starts_the_new_pods_after_the_last_old_one_is_gone() {
    let mut world = World::new(deployment(2, "a", json!({"type": "Recreate"})));
    world.settle();
    world.set_image("b");
    world.step();
    assert_eq!(world.sizes(), [("a".into(), 0)]);
    world.step();
    assert_eq!(world.sets.len(), 1, "the old pods still run");
    world.settle_pods();
    world.settle();
    assert_eq!(world.sizes(), [("a".into(), 0), ("b".into(), 2)]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new(deployment(2, "a", rolling_update(json!(1), json!(0))));
    world.settle();
    world.deployment.spec.paused = Some(true);
    world.set_image("b");
    world.settle();
    assert_eq!(world.reason("Progressing"), "DeploymentPaused");
    world.deployment.spec.replicas = Some(5);
    world.settle();
    assert_eq!(world.sizes(), [("a".into(), 5)]);
    world.deployment.spec.paused = None;
    world.settle();
    assert_eq!(world.sizes(), [("a".into(), 0), ("b".into(), 5)]);
}

#[test]
fn scaling_to_zero_and_back_keeps_the_replicaset() {
    let mut world = World::new(deployment(
        3,
        "a",
        rolling_update(json!("25%"), json!("25%")),
    ));
    world.settle();
    for replicas in [0, 3] {
        world.deployment.spec.replicas = Some(replicas);
        world.settle();
        assert_eq!(world.sizes(), [("a".into(), replicas)]);
        assert_eq!(world.sets[0].annotations()[DESIRED], replicas.to_string());
    }
}

fn sized(name: &str, size: i32, max: i32, created: i64) -> Arc<ReplicaSet> {
    let rs = json!({
        "metadata": {"name": name, "uid": name, "annotations": {MAX: max.to_string(), DESIRED: "10"}},
        "spec": {"replicas": size, "selector": {"matchLabels": {"app": "web"}}},
    });
    let mut rs: ReplicaSet = serde_json::from_value(rs).unwrap();
    rs.metadata.creation_timestamp = Some(time(at(created)));
    Arc::new(rs)
}

#[test]
fn scaling_in_the_middle_of_a_roll_out_is_proportional() {
    let mut deployment = deployment(15, "x", rolling_update(json!(3), json!(2)));
    deployment.status = Some(DeploymentStatus::default());
    let (old, new) = (sized("old", 8, 13, 1), sized("new", 5, 13, 2));
    let sizes = rolling::rescale(&deployment, Some(&new), std::slice::from_ref(&old));
    let read: Vec<_> = sizes
        .iter()
        .map(|(rs, size)| (rs.name_any(), *size))
        .collect();
    assert_eq!(read, [("old".into(), 11), ("new".into(), 7)]);
    deployment.spec.replicas = Some(5);
    let sizes = rolling::rescale(&deployment, Some(&new), &[old]);
    let read: Vec<_> = sizes
        .iter()
        .map(|(rs, size)| (rs.name_any(), *size))
        .collect();
    assert_eq!(read, [("old".into(), 5), ("new".into(), 3)]);
}
