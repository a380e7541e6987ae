//! Controllers and scheduler against the real API server, through its socket.

mod support;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, Namespace, Node, Pod, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use support::{Control, Machine, deployment, eventually};

/// All objects of a kind.
async fn listed<K>(api: &Api<K>) -> Vec<K>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.list(&ListParams::default()).await.unwrap().items
}

async fn pods(control: &Control, namespace: &str) -> Vec<Pod> {
    listed(&control.api(namespace)).await
}

/// Waits until there is no object of that name.
async fn gone<K>(api: &Api<K>, name: &str)
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    eventually("the object is gone", || async {
        api.get_opt(name).await.unwrap().is_none().then_some(())
    })
    .await;
}

/// A Deployment `web` of `replicas` pods, rolled out.
async fn web(control: &Control, namespace: &str, replicas: i32) -> Api<Deployment> {
    let deployments = control.api::<Deployment>(namespace);
    let object = deployment("web", replicas, "web:1");
    control.create(&deployments, object).await;
    rolled_out(&deployments, "web").await;
    deployments
}

async fn merge<K>(api: &Api<K>, name: &str, patch: Value)
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .unwrap();
}

/// Waits until the Deployment is what `kubectl rollout status` calls rolled out.
async fn rolled_out(api: &Api<Deployment>, name: &str) -> Deployment {
    eventually("the Deployment rolls out", || async {
        let deployment = api.get(name).await.ok()?;
        let (wanted, status) = (deployment.spec.replicas?, deployment.status.clone()?);
        let counts = [
            status.updated_replicas,
            status.replicas,
            status.available_replicas,
        ];
        let seen = status.observed_generation >= deployment.metadata.generation;
        (seen && counts.iter().all(|count| count.unwrap_or(0) == wanted)).then_some(deployment)
    })
    .await
}

fn ready_addresses(slices: &[EndpointSlice]) -> Vec<String> {
    let endpoints = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten());
    let ready = endpoints.filter(|endpoint| {
        endpoint
            .conditions
            .as_ref()
            .is_some_and(|c| c.ready == Some(true))
    });
    ready
        .flat_map(|endpoint| endpoint.addresses.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_pod_is_tried_again_at_leisure_and_reported_once() {
    let control = Control::start(&[]).await;
    let mut object = deployment("web", 2, "web:1");
    object["spec"]["template"]["spec"]["runtimeClassName"] = "none".into();
    control
        .create(&control.api::<Deployment>("default"), object)
        .await;
    let sets: Api<ReplicaSet> = control.api("default");
    let failed = || async {
        let set = listed(&sets).await.pop()?;
        let conditions = set.status.as_ref()?.conditions.clone()?;
        conditions
            .iter()
            .any(|it| it.reason.as_deref() == Some("FailedCreate"))
            .then_some(set)
    };
    let first = eventually("the failure is reported", failed).await;
    let events: Api<Event> = control.api("default");
    eventually("the same refusal is met again", || async {
        let events = listed(&events).await;
        let repeated =
            |it: &Event| it.count >= Some(4) && it.reason.as_deref() == Some("FailedCreate");
        events.iter().any(repeated).then_some(())
    })
    .await;
    let later = failed().await.expect("still refused");
    assert_eq!(later.resource_version(), first.resource_version());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_runs_rolls_back_scales_and_goes_with_everything_it_owns() {
    let control = Control::start(&[]).await;
    let _machines = [
        Machine::start(&control, "n1").await,
        Machine::start(&control, "n2").await,
    ];
    control.namespace("shop").await;
    let deployments = web(&control, "shop", 3).await;

    let placed = pods(&control, "shop").await;
    let on = |node: &str| {
        placed
            .iter()
            .filter(|pod| pod.spec.as_ref().unwrap().node_name.as_deref() == Some(node))
            .count()
    };
    assert_eq!(
        (placed.len(), on("n1").abs_diff(on("n2"))),
        (3, 1),
        "three pods spread over two nodes"
    );

    let image = |image: &str| {
        json!({"spec": {"template": {"spec": {"containers": [
        {"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]}}}})
    };
    merge(&deployments, "web", image("web:2")).await;
    rolled_out(&deployments, "web").await;
    merge(&deployments, "web", image("web:1")).await;
    let rolled_back = rolled_out(&deployments, "web").await;
    assert_eq!(
        rolled_back.annotations()["deployment.kubernetes.io/revision"],
        "3"
    );
    let sets = listed(&control.api::<ReplicaSet>("shop")).await;
    assert_eq!(sets.len(), 2, "rolling back revives the first ReplicaSet");

    for replicas in [0, 5] {
        merge(&deployments, "web", json!({"spec": {"replicas": replicas}})).await;
        rolled_out(&deployments, "web").await;
    }
    let victim = pods(&control, "shop").await[0].name_any();
    control
        .api::<Pod>("shop")
        .delete(&victim, &DeleteParams::default())
        .await
        .unwrap();
    eventually("the deleted pod is replaced", || async {
        let names: Vec<_> = pods(&control, "shop")
            .await
            .iter()
            .map(ResourceExt::name_any)
            .collect();
        (names.len() == 5 && !names.contains(&victim)).then_some(())
    })
    .await;

    deployments
        .delete("web", &DeleteParams::default())
        .await
        .unwrap();
    eventually("ReplicaSets and pods are collected", || async {
        let sets = listed(&control.api::<ReplicaSet>("shop")).await;
        (sets.is_empty() && pods(&control, "shop").await.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_follow_pods_and_a_change_is_seen_within_the_budget() {
    let control = Control::start(&[]).await;
    let mut machine = Machine::start(&control, "n1").await;
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}});
    control
        .create(&control.api::<Service>("default"), service)
        .await;
    web(&control, "default", 3).await;
    let slices = || async {
        let of_web = ListParams::default().labels("kubernetes.io/service-name=web");
        control
            .api::<EndpointSlice>("default")
            .list(&of_web)
            .await
            .unwrap()
            .items
    };
    eventually("three ready endpoints", || async {
        (ready_addresses(&slices().await).len() == 3).then_some(())
    })
    .await;
    // They are written beside the slices, not with them.
    let subset = eventually("the same in Endpoints", || async {
        let legacy = control.api::<Endpoints>("default").get("web").await;
        let subset = legacy.ok()?.subsets?.into_iter().next()?;
        (subset.addresses.as_ref()?.len() == 3).then_some(subset)
    })
    .await;
    assert_eq!(subset.ports.as_ref().unwrap()[0].port, 8080);

    let gone = pods(&control, "default").await[0].clone();
    let address = gone.status.as_ref().unwrap().pod_ip.clone().unwrap();
    machine.kill().await;
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let api = control.api::<Pod>("default");
    api.patch_status(
        &gone.name_any(),
        &PatchParams::default(),
        &Patch::Merge(&unready),
    )
    .await
    .unwrap();
    eventually("the slice drops the pod", || async {
        (!ready_addresses(&slices().await).contains(&address)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fits_nowhere_says_why_and_is_bound_when_room_appears() {
    let control = Control::start(&[]).await;
    let _small = Machine::start(&control, "n1").await;
    let pod = json!({"metadata": {"name": "big"}, "spec": {"nodeSelector": {"kubernetes.io/hostname": "n2"},
        "containers": [{"name": "c", "image": "i"}]}});
    let api = control.api::<Pod>("default");
    control.create(&api, pod).await;
    eventually("the condition explains", || async {
        let status = api.get("big").await.unwrap().status?;
        let condition = status
            .conditions?
            .into_iter()
            .find(|condition| condition.type_ == "PodScheduled")?;
        let message = condition.message?;
        (condition.reason.as_deref() == Some("Unschedulable")
            && message
                == "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.")
            .then_some(())
    })
    .await;
    let _large = Machine::start(&control, "n2").await;
    eventually("the pod is bound", || async {
        (api.get("big").await.unwrap().spec?.node_name? == "n2").then_some(())
    })
    .await;
    eventually("events tell the story", || async {
        let about = ListParams::default().fields("involvedObject.name=big");
        let events = control
            .api::<Event>("default")
            .list(&about)
            .await
            .unwrap()
            .items;
        let reasons: Vec<_> = events
            .iter()
            .filter_map(|event| event.reason.clone())
            .collect();
        ["FailedScheduling", "Scheduled"]
            .iter()
            .all(|wanted| reasons.iter().any(|r| r == wanted))
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_a_silent_node_are_unready_then_replaced_and_the_node_recovers() {
    let control = Control::start(&["--node-grace-seconds", "1"]).await;
    let mut lost = Machine::start(&control, "n1").await;
    let _other = Machine::start(&control, "n2").await;
    let mut web = deployment("web", 2, "web:1");
    web["spec"]["template"]["spec"]["tolerations"] = json!([
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1},
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}]);
    let deployments = control.api::<Deployment>("default");
    control.create(&deployments, web).await;
    rolled_out(&deployments, "web").await;
    let nodes: Api<Node> = Api::all(control.client.clone());
    let taints = |node: &Node| {
        node.spec
            .as_ref()
            .and_then(|spec| spec.taints.clone())
            .unwrap_or_default()
    };
    let ranges: Vec<_> = nodes
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .iter()
        .filter_map(|node| node.spec.as_ref()?.pod_cidr.clone())
        .collect();
    assert!(
        ranges.contains(&"10.244.0.0/24".into()) && ranges.contains(&"10.244.1.0/24".into()),
        "{ranges:?}"
    );

    lost.kill().await;
    eventually("the node is tainted", || async {
        let node = nodes.get("n1").await.unwrap();
        let effects: Vec<_> = taints(&node)
            .iter()
            .filter(|taint| taint.key == "node.kubernetes.io/unreachable")
            .map(|taint| taint.effect.clone())
            .collect();
        (effects.len() == 2).then_some(())
    })
    .await;
    eventually("two ready pods on the other node", || async {
        let ready = |pod: &&Pod| {
            pod.status.as_ref().is_some_and(|s| {
                s.conditions
                    .iter()
                    .flatten()
                    .any(|c| c.type_ == "Ready" && c.status == "True")
            })
        };
        let pods = pods(&control, "default").await;
        let there = pods
            .iter()
            .filter(ready)
            .filter(|pod| pod.spec.as_ref().unwrap().node_name.as_deref() == Some("n2"));
        (there.count() == 2).then_some(())
    })
    .await;
    lost.revive().await;
    eventually("the taints go", || async {
        taints(&nodes.get("n1").await.unwrap())
            .is_empty()
            .then_some(())
    })
    .await;

    lost.kill().await;
    nodes.delete("n1", &DeleteParams::default()).await.unwrap();
    eventually("no pod is left on the deleted node", || async {
        let left = pods(&control, "default").await;
        left.iter()
            .all(|pod| pod.spec.as_ref().unwrap().node_name.as_deref() != Some("n1"))
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_furnished_and_leaves_nothing_behind() {
    let control = Control::start(&[]).await;
    let _machine = Machine::start(&control, "n1").await;
    control.namespace("tmp").await;
    eventually("account and CA appear", || async {
        control
            .api::<ServiceAccount>("tmp")
            .get("default")
            .await
            .ok()?;
        let ca = control
            .api::<ConfigMap>("tmp")
            .get("kube-root-ca.crt")
            .await
            .ok()?;
        ca.data?
            .get("ca.crt")?
            .contains("BEGIN CERTIFICATE")
            .then_some(())
    })
    .await;
    web(&control, "tmp", 2).await;
    let namespaces: Api<Namespace> = Api::all(control.client.clone());
    namespaces
        .delete("tmp", &DeleteParams::default())
        .await
        .unwrap();
    gone(&namespaces, "tmp").await;
    assert!(pods(&control, "tmp").await.is_empty());
    let log = control.log();
    let complaints: Vec<_> = log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .collect();
    assert!(
        complaints.is_empty(),
        "a deletion is no fault: {complaints:#?}"
    );
    assert!(listed(&control.api::<ConfigMap>("tmp")).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreground_waits_for_dependents_and_orphaning_spares_them() {
    let control = Control::start(&[]).await;
    let _machine = Machine::start(&control, "n1").await;
    let deployments = control.api::<Deployment>("default");
    let sets = control.api::<ReplicaSet>("default");
    control
        .create(&deployments, deployment("web", 1, "web:1"))
        .await;
    rolled_out(&deployments, "web").await;
    deployments
        .delete("web", &DeleteParams::orphan())
        .await
        .unwrap();
    gone(&deployments, "web").await;
    let orphan = listed(&sets).await.remove(0);
    assert!(
        orphan.owner_references().is_empty(),
        "the ReplicaSet lives without owner"
    );

    control
        .create(&deployments, deployment("web", 1, "web:1"))
        .await;
    eventually("the orphan is adopted", || async {
        (!sets
            .get(&orphan.name_any())
            .await
            .unwrap()
            .owner_references()
            .is_empty())
        .then_some(())
    })
    .await;
    deployments
        .delete("web", &DeleteParams::foreground())
        .await
        .unwrap();
    eventually("all are gone", || async {
        let gone = deployments.get_opt("web").await.unwrap().is_none();
        if gone {
            let left = listed(&sets).await.len() + pods(&control, "default").await.len();
            assert_eq!(left, 0, "the owner went before its dependents");
        }
        gone.then_some(())
    })
    .await;
}
