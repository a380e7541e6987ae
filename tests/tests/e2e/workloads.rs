//! Deployments and what stands behind them.

use anyhow::{Result, ensure};
use naru_tests::support::wait;

use crate::harness::{Case, cases};
use crate::world::{Background, PATIENCE, World};

pub(crate) const CASES: &[Case] = cases![
    a_deleted_pod_is_replaced,
    a_deployment_scales_to_zero_and_back,
    a_rolling_update_fails_no_request,
    a_rollout_can_be_undone,
    deleting_a_deployment_deletes_its_pods,
    deleting_a_namespace_empties_it,
    configuration_reaches_a_pod_as_env_and_files,
    init_containers_run_first_and_in_order,
    a_drained_node_gets_no_pods,
];

fn a_deleted_pod_is_replaced(world: &World) -> Result<()> {
    let space = world.namespace("replace")?;
    space.landing_service("web", 2)?;
    let names = || space.run(&["get", "pods", "-l", "app=web", "-o", "name"]);
    let before = names()?;
    let victim = before.lines().next().unwrap_or_default().to_owned();
    space.run(&["delete", &victim, "--wait=false"])?;
    wait::holds("a replacement", PATIENCE, || {
        names().is_ok_and(|now| now.lines().count() == 2 && !now.contains(&victim))
    })?;
    space.rolled_out("web")
}

fn a_deployment_scales_to_zero_and_back(world: &World) -> Result<()> {
    let space = world.namespace("scale")?;
    space.landing_service("web", 2)?;
    space.run(&["scale", "deployment/web", "--replicas=0"])?;
    wait::holds("no pods", PATIENCE, || {
        space
            .run(&["get", "pods", "-o", "name"])
            .is_ok_and(|text| text.is_empty())
    })?;
    space.run(&["scale", "deployment/web", "--replicas=3"])?;
    space.rolled_out("web")?;
    space
        .field_becomes("deployment/web", ".status.readyReplicas", |v| v == "3")
        .map(drop)
}

fn a_rolling_update_fails_no_request(world: &World) -> Result<()> {
    let space = world.namespace("rolling")?;
    space.landing_service("web", 3)?;
    space.landing_pod("client", None)?;
    let load = space.background(
        "client",
        &[
            "/landing",
            "load",
            "--target",
            "web:80",
            "--until-stdin-closes",
            "true",
        ],
    )?;
    for image in ["naru.dev/landing:v2", "naru.dev/landing:v1"] {
        space.run(&["set", "image", "deployment/web", &format!("main={image}")])?;
        space.rolled_out("web")?;
    }
    load.finish()?.flawless(100)
}

fn a_rollout_can_be_undone(world: &World) -> Result<()> {
    world.with_both("undo", |kubectl, space| {
        let run = |args: &[&str]| kubectl.run(&[&["-n", space.name.as_str()], args].concat());
        let image = ".spec.template.spec.containers[0].image";
        space.landing_service("web", 1)?;
        run(&["set", "image", "deployment/web", "main=naru.dev/landing:v2"])?;
        space.rolled_out("web")?;
        let history = run(&["rollout", "history", "deployment/web"])?;
        ensure!(
            history
                .lines()
                .filter(|l| l.starts_with(['1', '2']))
                .count()
                == 2,
            "{history}"
        );
        run(&["rollout", "undo", "deployment/web"])?;
        space.rolled_out("web")?;
        ensure!(space.field("deployment/web", image)? == "naru.dev/landing:v1");
        run(&["rollout", "restart", "deployment/web"])?;
        space.rolled_out("web")
    })
}

fn deleting_a_deployment_deletes_its_pods(world: &World) -> Result<()> {
    let space = world.namespace("cascade")?;
    space.landing_service("web", 2)?;
    space.run(&[
        "delete",
        "deployment",
        "web",
        "--cascade=foreground",
        "--timeout=60s",
    ])?;
    let left = space.run(&["get", "replicasets,pods", "-o", "name"])?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

fn deleting_a_namespace_empties_it(world: &World) -> Result<()> {
    let space = world.namespace("empty")?;
    space.landing_service("web", 1)?;
    world
        .kubectl
        .run(&["delete", "namespace", &space.name, "--timeout=60s"])?;
    let left = world.kubectl.run(&[
        "get",
        "pods,services,deployments",
        "-n",
        &space.name,
        "-o",
        "name",
    ])?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

fn configuration_reaches_a_pod_as_env_and_files(world: &World) -> Result<()> {
    let space = world.namespace("config")?;
    space.apply(
        "apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue, menu.txt: soup}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {token: open-sesame}
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: naru.dev/landing:v1
    args: [serve]
    env:
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    envFrom:
    - secretRef: {name: keys}
    volumeMounts:
    - {name: settings, mountPath: /etc/settings}
    - {name: keys, mountPath: /etc/keys}
    - {name: scratch, mountPath: /scratch}
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: keys, secret: {secretName: keys, defaultMode: 256}}
  - {name: scratch, emptyDir: {}}
",
    )?;
    space.pods_ready(&["reader"])?;
    let address = space.field("pod/reader", ".status.podIP")?;
    let node = space.field("pod/reader", ".spec.nodeName")?;
    let script = "echo $COLOUR $token $NODE $ADDRESS; cat /etc/settings/menu.txt; echo; cat /etc/keys/token; echo; \
                  stat -L -c %a /etc/keys/token; touch /scratch/x && echo written; \
                  ls /var/run/secrets/kubernetes.io/serviceaccount | tr '\\n' ' '";
    let said = space.exec("reader", &["sh", "-c", script])?;
    let wanted = format!(
        "blue open-sesame {node} {address}\nsoup\nopen-sesame\n400\nwritten\nca.crt namespace token "
    );
    ensure!(said == wanted, "{said:?} instead of {wanted:?}");
    Ok(())
}

fn init_containers_run_first_and_in_order(world: &World) -> Result<()> {
    let space = world.namespace("init")?;
    space.apply(
        "apiVersion: v1
kind: Pod
metadata: {name: steps}
spec:
  restartPolicy: Never
  volumes: [{name: notes, emptyDir: {}}]
  initContainers:
  - {name: one, image: naru.dev/busybox:dev, args: [-c, echo one >> /notes/log], volumeMounts: [{name: notes, mountPath: /notes}]}
  - {name: two, image: naru.dev/busybox:dev, args: [-c, echo two >> /notes/log], volumeMounts: [{name: notes, mountPath: /notes}]}
  containers:
  - {name: main, image: naru.dev/busybox:dev, args: [-c, cat /notes/log], volumeMounts: [{name: notes, mountPath: /notes}]}
",
    )?;
    space.field_becomes("pod/steps", ".status.phase", |v| v == "Succeeded")?;
    let said = space.run(&["logs", "steps"])?;
    ensure!(said == "one\ntwo\n", "{said:?}");
    Ok(())
}

fn a_drained_node_gets_no_pods(world: &World) -> Result<()> {
    let space = world.namespace("drain")?;
    space.landing_service("web", 2)?;
    let guard = Cordon { world };
    world.kubectl.run(&[
        "drain",
        "node1",
        "--ignore-daemonsets",
        "--force",
        "--delete-emptydir-data",
        "--pod-selector=app=web",
        "--timeout=60s",
    ])?;
    space.rolled_out("web")?;
    let nodes = space.run(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[*].spec.nodeName}",
    ])?;
    drop(guard);
    ensure!(nodes.split(' ').all(|n| n == "node2"), "{nodes}");
    Ok(())
}

/// Lets node 1 take pods again, however the test ends.
struct Cordon<'a> {
    world: &'a World,
}

impl Drop for Cordon<'_> {
    fn drop(&mut self) {
        self.world.kubectl.run(&["uncordon", "node1"]).ok();
    }
}

/// Starts a load from outside the cluster.
pub(crate) fn load_from_outside(world: &World, target: &str) -> Result<Background> {
    let mut command = world.cluster.inside("outside");
    command.args([
        &world.landing()?,
        "load",
        "--target",
        target,
        "--until-stdin-closes",
        "true",
    ]);
    Background::start(command)
}
