//! Several servers on one etcd: each answers with what any of them was told, none gives away what
//! another one gave away, one runs the controllers, and each may go.

#[path = "support/etcd.rs"]
mod etcd;
mod support;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::{Control, eventually};

/// So many servers on one etcd of three members.
async fn servers(count: usize) -> Option<(etcd::Etcd, Vec<Control>)> {
    servers_with(count, &[]).await
}

/// The same with more flags.
async fn servers_with(count: usize, flags: &[&str]) -> Option<(etcd::Etcd, Vec<Control>)> {
    let etcd = etcd::Etcd::start(3)?;
    let flag = format!("--etcd-servers={}", etcd.servers().join(","));
    let flags = [&[flag.as_str()], flags].concat();
    let mut servers = vec![Control::start(&flags).await];
    for number in 2..=count {
        let beside = Control::start_beside(&servers[0], number, &flags).await;
        servers.push(beside);
    }
    Some((etcd, servers))
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "b"}})).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_acknowledged_every_other_one_shows() {
    let Some((_etcd, servers)) = servers(2).await else {
        return;
    };
    let maps = servers
        .iter()
        .map(|server| server.api::<ConfigMap>("default"));
    let maps: Vec<Api<ConfigMap>> = maps.collect();
    for index in 0..50 {
        let (here, there) = (&maps[index % 2], &maps[(index + 1) % 2]);
        let name = format!("m{index}");
        let made = here
            .create(&PostParams::default(), &config_map(&name))
            .await;
        let made = made.unwrap();
        let shown = there.get(&name).await.unwrap();
        assert_eq!(shown.resource_version(), made.resource_version());
        let mut changed = shown.clone();
        changed.labels_mut().insert("x".into(), "y".into());
        let changed = there.replace(&name, &PostParams::default(), &changed).await;
        changed.unwrap();
        let stale = here.replace(&name, &PostParams::default(), &made).await;
        assert!(matches!(stale, Err(kube::Error::Api(status)) if status.code == 409));
        let all = here
            .list(&ListParams::default().labels("x=y"))
            .await
            .unwrap();
        assert_eq!(all.items.len(), index + 1);
        let newest = all.metadata.resource_version.unwrap();
        let since = ListParams::default().labels("x=y").at(&newest);
        assert_eq!(
            there.list(&since).await.unwrap().items.len(),
            all.items.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_etcd_is_refused_as_what_is_too_large_for_the_server() {
    let Some((_etcd, servers)) = servers(1).await else {
        return;
    };
    let sets = servers[0].api::<StatefulSet>("default");
    let create = async |bytes: usize| {
        let set = json!({"metadata": {"name": "set"}, "spec": {"replicas": 0, "serviceName": "s",
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [
                {"name": "c", "image": "i", "env": [{"name": "A", "value": "x".repeat(bytes)}]}]}}}});
        let set: StatefulSet = serde_json::from_value(set).unwrap();
        sets.create(&PostParams::default(), &set).await
    };
    let told = |refused: Result<_, kube::Error>| {
        let Err(kube::Error::Api(status)) = refused.map(|_: StatefulSet| ()) else {
            panic!("not refused by the API");
        };
        assert_eq!(
            (status.code, status.reason.as_str()),
            (413, "RequestEntityTooLarge")
        );
        let mut words = status.message.split(' ');
        words.find_map(|word| word.parse::<usize>().ok()).unwrap()
    };
    let most = 3 << 19;
    let above = told(create(most).await) - most;
    assert!(above > 0);
    // Not too large by itself, but etcd counts the key and more.
    assert_eq!(told(create(most - above).await), most);
    create(most - above - 2048).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_on_every_server_and_whichever_of_them_dies() {
    let Some((_etcd, mut servers)) = servers_with(2, &["--event-ttl=3s"]).await else {
        return;
    };
    let name = "here";
    for _ in 0..2 {
        let events = servers.last().unwrap().api::<Event>("default");
        let event = json!({"metadata": {"name": name}, "reason": "Testing",
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}});
        let event: Event = serde_json::from_value(event).unwrap();
        let begun = std::time::Instant::now();
        events.create(&PostParams::default(), &event).await.unwrap();
        for server in &servers {
            let events = server.api::<Event>("default");
            eventually("the event goes", || async {
                let found = events.get_opt(name).await.unwrap();
                found.is_none().then_some(())
            })
            .await;
            assert!(begun.elapsed() >= Duration::from_secs(3));
        }
        // The first one has most likely led; what is left does it now.
        servers.remove(0).kill();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_never_give_the_same_address_or_port_away() {
    let Some((_etcd, servers)) = servers(2).await else {
        return;
    };
    let mut creations = tokio::task::JoinSet::new();
    for index in 0..60 {
        let services = servers[index % 2].api::<Service>("default");
        creations.spawn(async move {
            let service = json!({"metadata": {"name": format!("s{index}")},
                "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
            let service: Service = serde_json::from_value(service).unwrap();
            services
                .create(&PostParams::default(), &service)
                .await
                .unwrap()
        });
    }
    let made = creations.join_all().await;
    let spec = |service: &Service| service.spec.clone().unwrap();
    let ips: BTreeSet<_> = made.iter().map(|it| spec(it).cluster_ip).collect();
    let port = |it: &Service| spec(it).ports.unwrap()[0].node_port;
    let ports: BTreeSet<_> = made.iter().map(port).collect();
    assert_eq!((ips.len(), ports.len()), (60, 60));
    // What one gave away and took back, the other one may give.
    let ip = spec(&made[0]).cluster_ip.unwrap();
    let (one, other) = (
        servers[0].api::<Service>("default"),
        servers[1].api::<Service>("default"),
    );
    let again: Service = serde_json::from_value(json!({"metadata": {"name": "again"},
        "spec": {"clusterIP": ip, "ports": [{"port": 80}]}}))
    .unwrap();
    let refused = other.create(&PostParams::default(), &again).await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("already allocated")
    );
    one.delete(&made[0].name_any(), &Default::default())
        .await
        .unwrap();
    other.create(&PostParams::default(), &again).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn controllers_go_on_when_the_server_that_ran_them_ends_or_dies() {
    let Some((_etcd, mut servers)) = servers(3).await else {
        return;
    };
    for round in 0..2 {
        let leader = leader(&servers).await;
        let ending = servers.remove(leader);
        if round == 0 {
            ending.terminate().await;
        } else {
            drop(ending);
        }
        let name = format!("d{round}");
        let deployments = servers[0].api::<Deployment>("default");
        let deployment = json!({"metadata": {"name": name}, "spec": {"replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        let deployment: Deployment = serde_json::from_value(deployment).unwrap();
        deployments
            .create(&PostParams::default(), &deployment)
            .await
            .unwrap();
        let pods = servers[0].api::<Pod>("default");
        let selected = ListParams::default().labels(&format!("app={name}"));
        eventually("the pods of the deployment are made", || async {
            (pods.list(&selected).await.unwrap().items.len() == 2).then_some(())
        })
        .await;
    }
}

/// Which of the servers holds the Lease of the controllers.
async fn leader(servers: &[Control]) -> usize {
    let leases = servers[0].api::<Lease>("kube-system");
    eventually("one of the servers leads", || async {
        let spec = leases.get_opt("naru-control").await.unwrap()?.spec?;
        let leads = format!("identity=\"{}\"", spec.holder_identity?);
        servers
            .iter()
            .position(|server| server.log().contains(&leads))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kubernetes_service_leads_to_every_server() {
    let Some((_etcd, servers)) = servers(2).await else {
        return;
    };
    let slices = servers[0].api::<EndpointSlice>("default");
    eventually("both are endpoints", || async {
        let slice = slices.get_opt("kubernetes").await.unwrap()?;
        let mut all: Vec<_> = slice
            .endpoints?
            .into_iter()
            .flat_map(|it| it.addresses)
            .collect();
        all.sort();
        (all == ["192.0.2.1", "192.0.2.2"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_refused_rather_than_old_while_most_of_etcd_is_away() {
    let Some((mut etcd, servers)) = servers(1).await else {
        return;
    };
    let maps = servers[0].api::<ConfigMap>("default");
    maps.create(&PostParams::default(), &config_map("x"))
        .await
        .unwrap();
    etcd.kill(0);
    etcd.kill(1);
    let refused = tokio::time::timeout(Duration::from_secs(60), maps.get("x")).await;
    let Err(kube::Error::Api(status)) = refused.expect("it is answered") else {
        panic!("nobody can know whether it is still there");
    };
    assert_eq!(status.code, 503, "{status:?}");
    // Who takes what is there gets it.
    let cached = ListParams::default().at("0");
    let there = maps.list(&cached).await.unwrap();
    assert!(there.items.iter().any(|map| map.name_any() == "x"));
    etcd.restart(0);
    eventually("it is read again", || async { maps.get("x").await.ok() }).await;
    maps.create(&PostParams::default(), &config_map("y"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_moves_a_cluster_from_the_embedded_store_to_etcd() {
    let Some(etcd) = etcd::Etcd::start(1) else {
        return;
    };
    let old = Control::start(&[]).await;
    let maps = old.api::<ConfigMap>("default");
    for index in 0..250 {
        let map = config_map(&format!("m{index}"));
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    let request = http::Request::get("/snapshot").body(Vec::new()).unwrap();
    let file = old.dir().join("snapshot");
    let saved = old.client.request_text(request).await.unwrap();
    std::fs::write(&file, &saved).unwrap();
    let flag = format!("--etcd-servers={}", etcd.servers().join(","));
    let restore = || {
        let program = env!("CARGO_BIN_EXE_naru-control");
        let args = [Path::new("restore"), Path::new(&flag), &file];
        Command::new(program).args(args).output().unwrap()
    };
    let restored = restore();
    let said = String::from_utf8_lossy(&restored.stderr).into_owned();
    assert!(restored.status.success(), "{said}");
    let again = restore();
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("there is a store already"));
    let new = Control::start_beside(&old, 2, &[&flag]).await;
    let had = maps.list(&ListParams::default()).await.unwrap().items;
    let maps = new.api::<ConfigMap>("default");
    for map in had {
        let has = maps.get(&map.name_any()).await.unwrap();
        assert_eq!((has.uid(), &has.data), (map.uid(), &map.data));
    }
    let map = config_map("after");
    maps.create(&PostParams::default(), &map).await.unwrap();
    let nobody = new.client_as("somebody").await;
    let request = http::Request::get("/snapshot").body(Vec::new()).unwrap();
    let refused = nobody.request_text(request).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.code == 403));
}
