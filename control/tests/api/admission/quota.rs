//! ResourceQuota.

use super::*;
use futures_util::future::join_all;
use std::time::Duration;
use support::eventually;
use support::http::MERGE_PATCH;
use tokio::time::timeout;

const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn quota(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

/// Waits until the quota says that this is used.
async fn uses(control: &Control, name: &str, used: Value) {
    let what = format!("{name} uses {used}");
    eventually(&what, || async {
        let quota = control.get(&format!("{QUOTAS}/{name}")).await.expect(200);
        (quota["status"]["used"] == used).then_some(())
    })
    .await;
}

#[tokio::test]
async fn creations_at_the_same_time_never_exceed_a_quota() {
    let control = Control::start(&[]).await;
    let made = control
        .post(
            QUOTAS,
            &quota("q", json!({"hard": {"count/configmaps": "24"}})),
        )
        .await;
    assert!(made.warnings().is_empty(), "{:?}", made.warnings());
    // The certificate of the cluster is in every namespace.
    uses(&control, "q", json!({"count/configmaps": "1"})).await;
    let control = &control;
    let attempts = (0..64).map(|number| async move {
        let object = map(&format!("m{number}"));
        control.post(MAPS, &object).await
    });
    let answers = join_all(attempts).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|it| it.code == 201);
    assert_eq!(made.len(), 23);
    let why = refused
        .into_iter()
        .next()
        .unwrap()
        .refused(403, "Forbidden");
    assert!(
        why.ends_with(
            "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=24, \
             limited: count/configmaps=24"
        ),
        "{why}"
    );
    let list = control.get(MAPS).await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 24);
    let first = &names(&list)[0];
    let gone = control
        .delete(&format!("{MAPS}/{first}"), &Value::Null)
        .await;
    gone.expect(200);
    uses(control, "q", json!({"count/configmaps": "23"})).await;
    create(control, MAPS, &map("again")).await;
    let dry = format!("{MAPS}?dryRun=All");
    control
        .post(&dry, &map("dry"))
        .await
        .refused(403, "Forbidden");
}

#[tokio::test]
async fn creations_whose_clients_go_away_harm_no_others() {
    let control = Control::start(&[]).await;
    let hard = json!({"hard": {"count/configmaps": "5000"}});
    create(&control, QUOTAS, &quota("q", hard)).await;
    uses(&control, "q", json!({"count/configmaps": "1"})).await;
    let control = &control;
    for round in 0..20 {
        let attempts = (0..64_u64).map(|number| async move {
            let object = map(&format!("m{round}-{number}"));
            let answer = control.post(MAPS, &object);
            match number % 2 {
                0 => Some(answer.await),
                _ => timeout(Duration::from_micros(200 * number), answer)
                    .await
                    .ok(),
            }
        });
        for answer in join_all(attempts).await.into_iter().flatten() {
            answer.expect(201);
        }
    }
}

#[tokio::test]
async fn pods_say_what_they_need_and_are_charged_for_it() {
    let control = Control::start(&[]).await;
    let hard = json!({"hard": {"requests.cpu": "1", "limits.memory": "1Gi", "pods": "5"}});
    create(&control, QUOTAS, &quota("q", hard)).await;
    let none = json!({"requests.cpu": "0", "limits.memory": "0", "pods": "0"});
    uses(&control, "q", none.clone()).await;
    let why = control
        .post(PODS, &pod("silent"))
        .await
        .refused(403, "Forbidden");
    assert_eq!(
        why,
        "pods \"silent\" is forbidden: failed quota: q: must specify limits.memory for: c; \
         requests.cpu for: c"
    );
    let asking = |name: &str| {
        let mut pod = pod(name);
        pod["spec"]["containers"][0]["resources"] =
            json!({"requests": {"cpu": "600m"}, "limits": {"memory": "512Mi"}});
        pod
    };
    create(&control, PODS, &asking("a")).await;
    let charged = json!({"requests.cpu": "600m", "limits.memory": "512Mi", "pods": "1"});
    uses(&control, "q", charged.clone()).await;
    let why = control
        .post(PODS, &asking("b"))
        .await
        .refused(403, "Forbidden");
    assert!(
        why.contains(
            "requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1"
        ),
        "{why}"
    );
    let twice = control.post(PODS, &asking("a")).await;
    twice.refused(403, "Forbidden");
    let more = json!({"spec": {"hard": {"requests.cpu": "2"}}});
    let path = format!("{QUOTAS}/q");
    control.patch(&path, MERGE_PATCH, &more).await.expect(200);
    let twice = control.post(PODS, &asking("a")).await;
    twice.refused(409, "AlreadyExists");
    // What was charged for nothing is found out.
    uses(&control, "q", charged).await;
    control
        .delete(&format!("{PODS}/a"), &Value::Null)
        .await
        .expect(200);
    uses(&control, "q", none).await;
}

#[tokio::test]
async fn a_quota_with_scopes_charges_what_fits_them() {
    let control = Control::start(&[]).await;
    let spec = json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [
        {"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}]}});
    create(&control, QUOTAS, &quota("critical", spec)).await;
    uses(&control, "critical", json!({"pods": "0"})).await;
    let critical = |name: &str| {
        let mut pod = pod(name);
        pod["spec"]["priorityClassName"] = "system-node-critical".into();
        pod
    };
    create(&control, PODS, &pod("plain")).await;
    create(&control, PODS, &critical("one")).await;
    let why = control
        .post(PODS, &critical("two"))
        .await
        .refused(403, "Forbidden");
    assert!(why.contains("exceeded quota: critical"), "{why}");
    create(&control, PODS, &pod("another")).await;
}
