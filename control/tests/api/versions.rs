//! Which version a get, a list, a watch or a deletion of many wants: the table of Kubernetes' API
//! concepts, over both kinds of store.

use super::*;
use etcd::Etcd;
use http::Method;

/// A server over each kind of store, and what it stands on.
async fn servers() -> Vec<(Control, Option<Etcd>)> {
    let mut servers = vec![(Control::start(&[]).await, None)];
    if let Some(etcd) = Etcd::start(1) {
        let flag = format!("--etcd-servers={}", etcd.servers().join(","));
        servers.push((Control::start(&[&flag]).await, Some(etcd)));
    }
    servers
}

/// Options of a list, and the sentence that they are refused with.
const LISTS: [(&str, &str); 8] = [
    (
        "resourceVersionMatch=Exact",
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion \
         is provided",
    ),
    (
        "resourceVersionMatch=NotOlderThan",
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion \
         is provided",
    ),
    (
        "resourceVersion=1&resourceVersionMatch=exact",
        "resourceVersionMatch: Unsupported value: \"exact\": supported values: \"Exact\", \
         \"NotOlderThan\", \"\"",
    ),
    (
        "resourceVersion=0&resourceVersionMatch=Exact",
        "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for \
         resourceVersion \"0\"",
    ),
    (
        "resourceVersion=1&resourceVersionMatch=NotOlderThan&continue=x",
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is \
         provided",
    ),
    (
        "sendInitialEvents=true",
        "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
    ),
    (
        "sendInitialEvents=false",
        "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
    ),
    (
        "resourceVersionMatch=Exact&continue=x",
        "[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless \
         resourceVersion is provided, resourceVersionMatch: Forbidden: resourceVersionMatch is \
         forbidden when continue is provided]",
    ),
];

/// Options of a watch, likewise.
const WATCHES: [(&str, &str); 4] = [
    (
        "resourceVersionMatch=NotOlderThan&resourceVersion=1",
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless \
         sendInitialEvents is provided",
    ),
    (
        "sendInitialEvents=true",
        "resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
         resourceVersionMatch to NotOlderThan",
    ),
    (
        "sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=1",
        "[resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
         resourceVersionMatch to NotOlderThan, resourceVersionMatch: Unsupported value: \
         \"Exact\": supported values: \"NotOlderThan\"]",
    ),
    (
        "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&continue=x",
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is \
         provided",
    ),
];

#[tokio::test]
async fn options_that_do_not_go_together_are_refused_in_the_words_of_kubernetes() {
    let control = Control::start(&[]).await;
    create(&control, MAPS, &map("kept")).await;
    for method in [Method::GET, Method::DELETE] {
        for (options, why) in LISTS {
            let path = format!("{MAPS}?{options}");
            let answer = control.send(method.clone(), &path, &[], "").await;
            let details = answer.body["details"].clone();
            let said = answer.refused(422, "Invalid");
            assert_eq!(
                said,
                format!("ListOptions.meta.k8s.io \"\" is invalid: {why}"),
                "{method} {options}"
            );
            assert_eq!(details["group"], "meta.k8s.io");
            assert_eq!(details["kind"], "ListOptions");
            assert!(!details["causes"].as_array().unwrap().is_empty());
        }
    }
    for (options, why) in WATCHES {
        let path = format!("{MAPS}?watch=1&{options}");
        let said = control.get(&path).await.refused(422, "Invalid");
        let expected = format!("ListOptions.meta.k8s.io \"\" is invalid: {why}");
        assert_eq!(said, expected, "{options}");
    }
    let kept = control.get(&format!("{MAPS}/kept")).await;
    kept.expect(200);
}

#[tokio::test]
async fn a_version_that_is_none_or_not_there_yet_is_refused_everywhere() {
    for (control, _etcd) in servers().await {
        create(&control, MAPS, &map("kept")).await;
        let asked = [
            (Method::GET, format!("{MAPS}/kept?")),
            (Method::GET, format!("{MAPS}/none?")),
            (Method::GET, format!("{MAPS}?")),
            (Method::GET, format!("{MAPS}?limit=1&")),
            (Method::GET, format!("{MAPS}?watch=1&")),
            (Method::DELETE, format!("{MAPS}?")),
        ];
        for (method, path) in &asked {
            for bad in ["a", "-1", "1.5", "99999999999999999999"] {
                let path = format!("{path}resourceVersion={bad}");
                let answer = control.send(method.clone(), &path, &[], "").await;
                let why = answer.refused(422, "Invalid");
                assert!(why.contains("resourceVersion: Invalid value"), "{why}");
            }
            let path = format!("{path}resourceVersion=999999999");
            let answer = control.send(method.clone(), &path, &[], "").await;
            assert_eq!(answer.headers["retry-after"], "1", "{path}");
            let details = answer.body["details"].clone();
            assert_eq!(details["retryAfterSeconds"], 1);
            assert_eq!(details["causes"][0]["reason"], "ResourceVersionTooLarge");
            let why = answer.refused(504, "Timeout");
            let begins = "Timeout: Too large resource version: 999999999, current: ";
            assert!(why.starts_with(begins), "{path}: {why}");
        }
        control.get(&format!("{MAPS}/kept")).await.expect(200);
    }
}

/// A kind that nobody but the test writes.
const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";

fn template(name: &str) -> Value {
    let spec = json!({"containers": [{"name": "c", "image": "i"}]});
    json!({"metadata": {"name": name}, "template": {"spec": spec}})
}

#[tokio::test]
async fn a_list_is_of_the_version_that_its_options_say() {
    for (control, _etcd) in servers().await {
        create(&control, TEMPLATES, &template("a")).await;
        let old = version(&create(&control, TEMPLATES, &template("b")).await);
        // What happens to other kinds makes this one no older.
        create(&control, MAPS, &map("other")).await;
        let exact = format!("{TEMPLATES}?resourceVersion={old}&resourceVersionMatch=Exact");
        let paged = format!("{TEMPLATES}?resourceVersion={old}&limit=1");
        let still = control.get(&exact).await.expect(200);
        assert_eq!(
            (version(&still), names(&still)),
            (old.clone(), vec!["a", "b"])
        );
        let still = control.get(&paged).await.expect(200);
        assert_eq!((version(&still), names(&still)), (old.clone(), vec!["a"]));
        let new = version(&create(&control, TEMPLATES, &template("c")).await);
        // The rest of the pages of that version may be asked for, and so it is still kept.
        let kept = control.get(&exact).await.expect(200);
        assert_eq!(
            (version(&kept), names(&kept)),
            (old.clone(), vec!["a", "b"])
        );
        let newest = version(&create(&control, TEMPLATES, &template("d")).await);
        for options in [
            format!("resourceVersion={new}&resourceVersionMatch=Exact"),
            format!("resourceVersion={new}&limit=1"),
        ] {
            let gone = control.get(&format!("{TEMPLATES}?{options}")).await;
            let why = gone.refused(410, "Expired");
            assert_eq!(why, "The resourceVersion for the provided list is too old.");
        }
        let newest: u64 = newest.parse().unwrap();
        for options in [
            String::new(),
            "resourceVersion=".to_owned(),
            "resourceVersion=0".to_owned(),
            "resourceVersion=0&limit=9".to_owned(),
            "resourceVersion=0&resourceVersionMatch=NotOlderThan".to_owned(),
            format!("resourceVersion={old}"),
            format!("resourceVersion={old}&resourceVersionMatch=NotOlderThan"),
            format!("resourceVersion={old}&resourceVersionMatch=NotOlderThan&limit=9"),
        ] {
            let list = control.get(&format!("{TEMPLATES}?{options}")).await;
            let list = list.expect(200);
            assert_eq!(names(&list), ["a", "b", "c", "d"], "{options}");
            assert!(
                version(&list).parse::<u64>().unwrap() >= newest,
                "{options}"
            );
        }
    }
}

#[tokio::test]
async fn a_list_that_goes_on_names_no_other_version() {
    let control = Control::start(&[]).await;
    for name in ["a", "b", "c"] {
        create(&control, MAPS, &map(name)).await;
    }
    let page = control.get(&format!("{MAPS}?limit=1")).await.expect(200);
    let token = page["metadata"]["continue"].as_str().unwrap();
    let next = format!("{MAPS}?limit=1&continue={token}");
    let why = control.get(&format!("{next}&resourceVersion=1")).await;
    let why = why.refused(400, "BadRequest");
    assert_eq!(
        why,
        "specifying resource version is not allowed when using continue"
    );
    let same = control.get(&format!("{next}&resourceVersion=0")).await;
    assert_eq!(names(&same.expect(200)).len(), 1);
}

#[tokio::test]
async fn initial_events_are_sent_as_asked_and_marked_for_those_who_take_bookmarks() {
    let control = Control::start(&[]).await;
    create(&control, TEMPLATES, &template("a")).await;
    let since = "resourceVersionMatch=NotOlderThan&timeoutSeconds=3&watch=1";
    let kinds = async |options: &str| {
        let path = format!("{TEMPLATES}?{since}&{options}");
        let mut watch = control.watch(&path, "application/json").await;
        let (mut added, mut marked) = (0, 0);
        while let Some(event) = watch.next().await {
            let annotations = &event["object"]["metadata"]["annotations"];
            added += usize::from(event["type"] == "ADDED");
            marked += usize::from(annotations["k8s.io/initial-events-end"] == "true");
        }
        (added, marked)
    };
    let (all, none, unmarked) = tokio::join!(
        kinds("sendInitialEvents=true&allowWatchBookmarks=true"),
        kinds("sendInitialEvents=false&allowWatchBookmarks=true"),
        kinds("sendInitialEvents=true"),
    );
    assert_eq!(all, (1, 1));
    assert_eq!(none, (0, 0));
    assert_eq!(unmarked, (1, 0));
}
