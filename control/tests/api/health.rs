//! Health, check by check, and what the server tells of itself.

use super::*;
use etcd::Etcd;
use rights::sign;
use support::eventually;

/// The text of a plain answer, which must come with `code`.
async fn text(control: &Control, path: &str, code: u16) -> String {
    let (got, text) = support::http::text(&control.client, path).await;
    assert_eq!(got, code, "{path}: {text}");
    text
}

#[tokio::test]
async fn health_is_told_as_a_whole_and_check_by_check() {
    let control = Control::start(&[]).await;
    for (path, shutdown) in [
        ("healthz", ""),
        ("livez", ""),
        ("readyz", "[+]shutdown ok\n"),
    ] {
        assert_eq!(text(&control, &format!("/{path}"), 200).await, "ok");
        assert_eq!(
            text(&control, &format!("/{path}?verbose"), 200).await,
            format!("[+]ping ok\n[+]etcd ok\n{shutdown}{path} check passed\n")
        );
        let without = format!("/{path}?verbose&exclude=etcd&exclude=moon");
        assert_eq!(
            text(&control, &without, 200).await,
            format!(
                "[+]ping ok\n[+]etcd excluded: ok\n{shutdown}warn: some health checks cannot be \
                 excluded: no matches for \"moon\"\n{path} check passed\n"
            )
        );
        for check in ["ping", "etcd"] {
            assert_eq!(text(&control, &format!("/{path}/{check}"), 200).await, "ok");
        }
        let unknown = control.get(&format!("/{path}/moon")).await;
        unknown.refused(404, "NotFound");
    }
    let unknown = control.get("/livez/shutdown").await;
    unknown.refused(404, "NotFound");
}

#[tokio::test]
async fn single_checks_and_metrics_are_for_those_who_monitor() {
    let control = Control::start(&[]).await;
    let anybody = sign(&control, "anybody", "somewhere").await;
    let monitor = sign(&control, "monitor", "system:monitoring").await;
    for path in ["/readyz/etcd", "/livez/ping", "/metrics"] {
        let refused = support::http::send(&anybody, http::Method::GET, path, &[], "").await;
        refused.refused(403, "Forbidden");
        assert_eq!(support::http::text(&monitor, path).await.0, 200, "{path}");
    }
    assert_eq!(support::http::text(&anybody, "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_a_failed_check_whose_reason_is_withheld() {
    let Some(mut etcd) = Etcd::start(1) else {
        return;
    };
    let servers = format!("--etcd-servers={}", etcd.servers().join(","));
    let control = Control::start(&[&servers]).await;
    assert_eq!(text(&control, "/readyz", 200).await, "ok");
    etcd.kill(0);
    assert_eq!(
        text(&control, "/readyz", 500).await,
        "[+]ping ok\n[-]etcd failed: reason withheld\n[+]shutdown ok\nreadyz check failed\n"
    );
    let why = text(&control, "/readyz/etcd", 500).await;
    assert!(why.starts_with("internal server error: "), "{why}");
    assert_eq!(text(&control, "/readyz?exclude=etcd", 200).await, "ok");
    etcd.restart(0);
    eventually("it is ready again", || async {
        let (code, _) = support::http::text(&control.client, "/readyz").await;
        (code == 200).then_some(())
    })
    .await;
}

/// The sum of the samples of `name` whose labels hold all of `labels`.
fn value(page: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = page.lines().filter_map(|line| {
        let (sample, value) = line.rsplit_once(' ')?;
        let (found, rest) = sample.split_once('{').unwrap_or((sample, ""));
        let fits = found == name && labels.iter().all(|label| rest.contains(label));
        fits.then(|| value.parse::<f64>().unwrap())
    });
    samples.sum()
}

#[tokio::test]
async fn requests_are_counted_by_what_they_are_and_how_they_end() {
    let control = Control::start(&[]).await;
    for name in ["a", "b"] {
        create(&control, MAPS, &map(name)).await;
    }
    control
        .post(MAPS, &map("a"))
        .await
        .refused(409, "AlreadyExists");
    for _ in 0..3 {
        control.get(&format!("{MAPS}/a")).await.expect(200);
    }
    control.get(MAPS).await.expect(200);
    control.get("/apis/x.example/v1/\"}evil").await;
    let watch = control
        .watch(&format!("{MAPS}?watch=1"), "application/json")
        .await;
    let page = text(&control, "/metrics", 200).await;
    let maps = "resource=\"configmaps\"";
    let total = |labels: &[&str]| {
        let labels = [&[maps, "scope=\"resource\""][..], labels].concat();
        value(&page, "apiserver_request_total", &labels)
    };
    let created = total(&["verb=\"POST\"", "code=\"201\""]);
    assert!(created >= 2.0, "{page}");
    assert_eq!(total(&["verb=\"POST\"", "code=\"409\""]), 1.0, "{page}");
    assert!(total(&["verb=\"GET\"", "code=\"200\""]) >= 3.0, "{page}");
    let took = |name: &str| {
        let name = format!("apiserver_request_duration_seconds_{name}");
        value(&page, &name, &[maps, "verb=\"GET\""])
    };
    assert!(took("count") >= 3.0 && took("sum") > 0.0, "{page}");
    let all = [maps, "verb=\"GET\"", "le=\"+Inf\""];
    let name = "apiserver_request_duration_seconds_bucket";
    assert_eq!(value(&page, name, &all), took("count"));
    let watching = |page: &str| {
        let labels = [maps, "verb=\"WATCH\"", "scope=\"namespace\""];
        value(page, "apiserver_longrunning_requests", &labels)
    };
    // Those of the controllers are of all namespaces.
    assert_eq!(watching(&page), 1.0, "{page}");
    for name in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "apiserver_storage_size_bytes",
        "apiserver_flowcontrol_current_limit_seats",
        "apiserver_flowcontrol_dispatched_requests_total",
    ] {
        assert!(value(&page, name, &[]) > 0.0, "{name}");
    }
    // Controllers write ConfigMaps, too, for a while.
    eventually("as many are counted as are stored", || async {
        let listed = control.get("/api/v1/configmaps").await.expect(200);
        let (_, page) = support::http::text(&control.client, "/metrics").await;
        let stored = value(&page, "apiserver_storage_objects", &[maps]);
        (stored == listed["items"].as_array().unwrap().len() as f64).then_some(())
    })
    .await;
    assert!(!page.contains("evil"), "labels are the server's own");
    drop(watch);
    eventually("the watch is over", || async {
        let (_, page) = support::http::text(&control.client, "/metrics").await;
        (watching(&page) == 0.0).then_some(())
    })
    .await;
    let posted = control.post("/metrics", &json!({})).await;
    posted.refused(405, "MethodNotAllowed");
}
