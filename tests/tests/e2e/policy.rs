//! Policies of both kinds: what is allowed goes through, what is not is dropped, and changes take effect.

use anyhow::{Result, ensure};
use naru_tests::support::wait;

use crate::harness::{Case, cases};
use crate::netctl::{DROPPED, netctl};
use crate::world::{PATIENCE, Space, World};

pub(crate) const CASES: &[Case] = cases![
    ingress_policy_allows_one_and_denies_another,
    egress_policy_denies_all_but_dns,
    removing_a_policy_opens_the_way_again,
    a_pods_policy_is_in_place_before_its_first_packet,
    a_cluster_policy_overrules_the_namespaces_own_and_netctl_names_its_rule,
    the_shop_lets_web_call_api_and_nobody_else,
];

/// A NetworkPolicy; `spec` in YAML's flow style.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

/// A server on node 1; a friend and a stranger on each node.
fn cast(space: &Space<'_>) -> Result<String> {
    space.landing_pod("server", Some(1))?;
    for (name, node) in [
        ("friend1", 1),
        ("friend2", 2),
        ("stranger1", 1),
        ("stranger2", 2),
    ] {
        space.apply(&crate::world::landing_pod(name, Some(node)))?;
        let role = format!("role={}", name.trim_end_matches(char::is_numeric));
        space.run(&["label", "pod", name, &role])?;
    }
    space.pods_ready(&["--all"])?;
    Ok(format!(
        "http://{}:8080/",
        space.field("pod/server", ".status.podIP")?
    ))
}

fn reaches(space: &Space<'_>, pod: &str, url: &str) -> bool {
    space.exec(pod, &["/landing", "get", "--url", url]).is_ok()
}

fn becomes(space: &Space<'_>, url: &str, pods: &[&str], wanted: bool) -> Result<()> {
    for pod in pods {
        let word = if wanted { "reaches" } else { "does not reach" };
        wait::holds(&format!("{pod} {word} {url}"), PATIENCE, || {
            reaches(space, pod, url) == wanted
        })?;
    }
    Ok(())
}

fn ingress_policy_allows_one_and_denies_another(world: &World) -> Result<()> {
    let space = world.namespace("ingress")?;
    let url = cast(&space)?;
    let all = ["friend1", "friend2", "stranger1", "stranger2"];
    becomes(&space, &url, &all, true)?;
    space.apply(&policy(
        "friends",
        "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchLabels: {role: friend}}}], ports: [{port: 8080}]}]}",
    ))?;
    becomes(&space, &url, &["stranger1", "stranger2"], false)?;
    becomes(&space, &url, &["friend1", "friend2"], true)?;
    // Traffic between a pod and its own node stays open, or probes would fail.
    space
        .field_becomes(
            "pod/server",
            ".status.conditions[?(@.type==\"Ready\")].status",
            |v| v == "True",
        )
        .map(drop)
}

fn egress_policy_denies_all_but_dns(world: &World) -> Result<()> {
    let space = world.namespace("egress")?;
    let url = cast(&space)?;
    space.apply(&policy(
        "dns-only",
        "{podSelector: {matchLabels: {role: stranger}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: \
         {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], \
         ports: [{protocol: UDP, port: 53}]}]}",
    ))?;
    becomes(&space, &url, &["stranger1", "stranger2"], false)?;
    becomes(&space, &url, &["friend1", "friend2"], true)?;
    let said = space.exec(
        "stranger2",
        &["nslookup", "kubernetes.default.svc.cluster.local"],
    )?;
    ensure!(said.contains("10.96.0.1"), "{said}");
    Ok(())
}

fn removing_a_policy_opens_the_way_again(world: &World) -> Result<()> {
    let space = world.namespace("reopen")?;
    let url = cast(&space)?;
    space.apply(&policy(
        "closed",
        "{podSelector: {matchLabels: {app: server}}, ingress: []}",
    ))?;
    becomes(&space, &url, &["friend1", "friend2"], false)?;
    space.run(&["delete", "networkpolicy", "closed"])?;
    becomes(&space, &url, &["friend1", "friend2"], true)
}

/// Pods of both nodes whose first and only act is to ask for `url`; whether each got an answer.
fn hasty(space: &Space<'_>, round: &str, url: &str) -> Result<Vec<bool>> {
    let names: Vec<_> = (0..10).map(|number| format!("{round}{number}")).collect();
    let pods = names.iter().zip([1, 2].into_iter().cycle());
    let pods: Vec<_> = pods
        .map(|(name, node)| {
            format!(
                "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{role: hasty}}}}
spec:
  nodeName: node{node}
  restartPolicy: Never
  containers:
  - {{name: main, image: naru.dev/landing:v1, args: [get, --url, '{url}']}}
"
            )
        })
        .collect();
    space.apply(&pods.join("---\n"))?;
    let ended = |name: &String| {
        let pod = format!("pod/{name}");
        let over = |phase: &str| matches!(phase, "Succeeded" | "Failed");
        Ok(space.field_becomes(&pod, ".status.phase", over)? == "Succeeded")
    };
    names.iter().map(ended).collect()
}

fn a_pods_policy_is_in_place_before_its_first_packet(world: &World) -> Result<()> {
    let space = world.namespace("first")?;
    let url = cast(&space)?;
    let open = hasty(&space, "open", &url)?;
    ensure!(
        open.iter().all(|reached| *reached),
        "without a policy: {open:?}"
    );
    let rows = [
        // Those who ask may not go out.
        (
            "out",
            "{podSelector: {matchExpressions: [{key: role, operator: In, values: [hasty, stranger]}]}, policyTypes: [Egress], egress: []}",
        ),
        // Who is asked takes everybody else: nobody passes for somebody else because he is new.
        (
            "in",
            "{podSelector: {matchLabels: {app: server}}, ingress: [{from: [{podSelector: {matchExpressions: [{key: role, operator: NotIn, values: [hasty, stranger]}]}}]}]}",
        ),
    ];
    for (round, spec) in rows {
        space.apply(&policy("first", spec))?;
        // Who was there before them tells that it is in force.
        becomes(&space, &url, &["stranger1", "stranger2"], false)?;
        becomes(&space, &url, &["friend1", "friend2"], true)?;
        let closed = hasty(&space, round, &url)?;
        ensure!(!closed.contains(&true), "{round}: {closed:?}");
    }
    Ok(())
}

fn a_cluster_policy_overrules_the_namespaces_own_and_netctl_names_its_rule(
    world: &World,
) -> Result<()> {
    let space = world.namespace("tiers")?;
    let url = cast(&space)?;
    space.apply(&policy("open", "{podSelector: {}, ingress: [{}]}"))?;
    let name = &space.name;
    let own =
        format!("namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}");
    let cluster = |tier: &str| {
        format!(
            "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\n\
             spec: {{tier: {tier}, priority: 7, subject: {{pods: {{{own}, podSelector: {{matchLabels: {{app: server}}}}}}}}, \
             ingress: [{{name: no strangers, action: Deny, from: [{{pods: {{{own}, podSelector: {{matchLabels: {{role: stranger}}}}}}}}]}}]}}\n"
        )
    };
    let strangers = ["stranger1", "stranger2"];
    space.apply(&cluster("Admin"))?;
    becomes(&space, &url, &strangers, false)?;
    becomes(&space, &url, &["friend1", "friend2"], true)?;
    let listed = world.kubectl.run(&["get", "cnp", name])?;
    ensure!(
        listed.contains("TIER") && listed.contains("Admin"),
        "{listed}"
    );
    let rule = format!("by policy ClusterNetworkPolicy/{name} ingress[0] \"no strangers\"");
    let denied = format!("> x ingress denied {rule}");
    let end = format!("the connection is dropped on node1: policy-ingress-denied {rule}");
    for stranger in strangers {
        let args = ["why", "-n", name, stranger, "pod/server:8080"];
        netctl(world, &args)?.expect(DROPPED, &[&denied, &end])?;
    }
    let rule = rule.trim_start_matches("by policy ").to_owned();
    netctl(world, &["drops", "-n", name])?.expect(0, &["policy-ingress-denied", &rule])?;
    netctl(world, &["observe", "-n", name])?.expect(0, &[&format!("by ingress policy {rule}")])?;
    // In the other tier the namespace's own policy has the last word.
    space.apply(&cluster("Baseline"))?;
    becomes(&space, &url, &strangers, true)?;
    space.run(&["delete", "networkpolicy", "open"])?;
    becomes(&space, &url, &strangers, false)?;
    world.kubectl.run(&["delete", "cnp", name])?;
    becomes(&space, &url, &strangers, true)
}

fn the_shop_lets_web_call_api_and_nobody_else(world: &World) -> Result<()> {
    let shop = |args: &[&str]| world.kubectl.run(&[&["-n", "shop"], args].concat());
    crate::ingress::shop(world)?;
    let greeting = |from: &str| {
        shop(&[
            "exec",
            from,
            "--",
            "/landing",
            "get",
            "--url",
            "http://api/",
        ])
    };
    wait::until("web to reach api", PATIENCE, || {
        greeting("deploy/web").map(Some)
    })?;
    let address = shop(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"])?;
    let back = shop(&[
        "exec",
        "deploy/api",
        "--",
        "/landing",
        "get",
        "--url",
        &format!("http://{address}/"),
    ]);
    ensure!(back.is_err(), "api reached web: {back:?}");
    let space = world.namespace("intruder")?;
    space.landing_pod("intruder", None)?;
    ensure!(
        space.get_from("intruder", "http://api.shop/").is_err(),
        "a stranger reached api"
    );
    Ok(())
}
