//! Lists in pages, and selectors.

use super::*;
use support::http::MERGE_PATCH;

fn token(page: &Value) -> Option<String> {
    let token = page["metadata"]["continue"].as_str()?;
    (!token.is_empty()).then(|| token.to_owned())
}

#[tokio::test]
async fn the_pages_of_a_list_are_one_moment_whatever_is_written_meanwhile() {
    let control = Control::start(&[]).await;
    for index in 0..25 {
        create(&control, MAPS, &labelled(&format!("m{index:02}"), "x")).await;
    }
    let select = "labelSelector=app%3Dx&limit=10";
    let mut page = control.get(&format!("{MAPS}?{select}")).await.expect(200);
    let revision = version(&page);
    let mut seen: Vec<String> = Vec::new();
    loop {
        seen.extend(names(&page).into_iter().map(str::to_owned));
        assert_eq!(version(&page), revision);
        let all = page["items"].as_array().unwrap();
        assert!(all.iter().all(|item| item["data"]["a"] == "1"));
        let Some(token) = token(&page) else { break };
        let next = format!("{MAPS}/m{:02}", seen.len());
        control.delete(&next, &Value::Null).await.expect(200);
        let changed = format!("{MAPS}/m{:02}", seen.len() + 1);
        let change = json!({"data": {"a": "2"}});
        let change = control.patch(&changed, MERGE_PATCH, &change).await;
        change.expect(200);
        create(
            &control,
            MAPS,
            &labelled(&format!("m{:02}x", seen.len()), "x"),
        )
        .await;
        let path = format!("{MAPS}?{select}&continue={token}");
        page = control.get(&path).await.expect(200);
    }
    let expected: Vec<_> = (0..25).map(|index| format!("m{index:02}")).collect();
    assert_eq!(seen, expected);
    let whole = control.get(&format!("{MAPS}?limit=10")).await.expect(200);
    // 25 of ours, 2 deleted, 2 new, and the cluster's own.
    assert_eq!(whole["metadata"]["remainingItemCount"], 25 + 1 - 10);
}

#[tokio::test]
async fn every_page_says_how_many_follow() {
    let control = Control::start(&[]).await;
    for index in 0..25 {
        create(&control, MAPS, &map(&format!("m{index:02}"))).await;
    }
    let mut path = format!("{MAPS}?limit=10");
    let mut left = Vec::new();
    loop {
        let page = control.get(&path).await.expect(200);
        left.push(page["metadata"]["remainingItemCount"].clone());
        let Some(token) = token(&page) else { break };
        // One that comes later is on no page, and is not counted either.
        let late = format!("z{}", left.len());
        create(&control, MAPS, &map(&late)).await;
        path = format!("{MAPS}?limit=10&continue={token}");
    }
    // With the cluster's own.
    assert_eq!(left, [json!(16), json!(6), Value::Null]);
}

#[tokio::test]
async fn a_continue_token_that_is_too_old_or_none_of_ours_says_so() {
    let mut control = Control::start(&[]).await;
    create(&control, MAPS, &map("a")).await;
    create(&control, MAPS, &map("b")).await;
    let first = control.get(&format!("{MAPS}?limit=1")).await.expect(200);
    let token = token(&first).unwrap();
    let next = format!("{MAPS}?limit=1&continue={token}");
    control.get(&next).await.expect(200);
    control.restart().await;
    let why = control.get(&next).await.refused(410, "Expired");
    assert!(why.contains("continue parameter is too old"), "{why}");
    // What comes with the refusal goes on behind the same object, from what there is by now.
    create(&control, MAPS, &map("c")).await;
    let refusal = control.get(&next).await.expect(410);
    let onward = refusal["metadata"]["continue"].as_str().expect("a token");
    let rest = control
        .get(&format!("{MAPS}?limit=1&continue={onward}"))
        .await;
    let rest = rest.expect(200);
    assert_eq!(names(&rest), ["b"]);
    assert_eq!(rest["metadata"]["remainingItemCount"], 2);
    // From there on the pages are of one moment again.
    create(&control, MAPS, &map("d")).await;
    let more = rest["metadata"]["continue"].as_str().expect("another page");
    let last = control
        .get(&format!("{MAPS}?continue={more}"))
        .await
        .expect(200);
    assert_eq!(names(&last), ["c"]);
    assert_eq!(
        last["metadata"]["resourceVersion"],
        rest["metadata"]["resourceVersion"]
    );
    let garbage = format!("{MAPS}?limit=1&continue=garbage");
    control.get(&garbage).await.refused(400, "BadRequest");
}

#[tokio::test]
async fn lists_take_label_and_field_selectors_and_refuse_nonsense() {
    let control = Control::start(&[]).await;
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "z")] {
        create(&control, MAPS, &labelled(name, app)).await;
    }
    for (selector, expected) in [
        ("labelSelector=app+in+(x,y)", vec!["a", "b"]),
        ("labelSelector=app+notin+(x,y),app", vec!["c"]),
        ("labelSelector=app!%3Dx,app", vec!["b", "c"]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        (
            "fieldSelector=metadata.name!%3Db&labelSelector=app",
            vec!["a", "c"],
        ),
    ] {
        let list = control.get(&format!("{MAPS}?{selector}")).await.expect(200);
        assert_eq!(names(&list), expected, "{selector}");
    }
    for bad in [
        "labelSelector=app+in+x",
        "fieldSelector=data.a%3D1",
        "limit=many",
    ] {
        let refused = control.get(&format!("{MAPS}?{bad}")).await;
        refused.refused(400, "BadRequest");
    }
}

#[tokio::test]
async fn what_the_server_does_not_serve_is_404() {
    let control = Control::start(&[]).await;
    let served = control.get("/").await.expect(200);
    let served = served["paths"].as_array().expect("paths");
    assert!(served.contains(&"/apis/apps/v1".into()), "{served:?}");
    for path in [
        "/api/v1/namespaces/default/unicorns",
        "/apis/apps/v2/deployments",
        "/apis/example.com/v1/things",
        "/api/v2/pods",
        "/api/v1/namespaces/default/configmaps/kube-root-ca.crt/unknown",
        "/somewhere",
    ] {
        let why = control.get(path).await.refused(404, "NotFound");
        assert!(
            why.contains("could not find the requested resource"),
            "{path}: {why}"
        );
    }
    let why = control
        .get(&format!("{MAPS}/none"))
        .await
        .refused(404, "NotFound");
    assert_eq!(why, "configmaps \"none\" not found");
    let wrong = json!({"apiVersion": "v1", "kind": "Unicorn", "metadata": {"name": "a"}});
    control.post(MAPS, &wrong).await.refused(400, "BadRequest");
    let put = control.put(MAPS, &map("a")).await;
    put.refused(405, "MethodNotAllowed");
}
