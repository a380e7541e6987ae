//! Every stable operation of the Kubernetes API, called once: how many does the server answer?
//!
//! `operations.table` lists them; `examples.json` has an object of each kind. An operation counts
//! when its answer is a success, or, where a node would have to answer, anything but "there is no
//! such thing".

use super::*;
use http::{Method, Request};
use kube::client::Body;
use std::collections::BTreeMap;
use support::http::MERGE_PATCH;

const TABLE: &str = include_str!("operations.table");
const EXAMPLES: &str = include_str!("examples.json");
/// The share that README.md tells, as answered and of how many; whoever changes it changes both.
const SHARE: (usize, usize) = (812, 818);
/// Subresources behind which a node or a pod answers.
const BEYOND: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];
const NAMESPACE: &str = "walk";

/// One line of the table, taken apart.
struct Operation {
    method: Method,
    template: &'static str,
}

fn operations() -> Vec<Operation> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let all = lines.flat_map(|line| {
        let (template, methods) = line.split_once(' ').expect("a path and its methods");
        methods.split(',').map(|method| Operation {
            method: method.parse().unwrap(),
            template,
        })
    });
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(Operation::turn);
    all
}

impl Operation {
    /// What comes first: objects are made, then used, then removed one by one, then all together.
    fn turn(&self) -> u8 {
        match self.method {
            Method::POST if self.template.ends_with("/bindings") => 1,
            Method::POST if !self.template.contains("{name}") => 0,
            Method::DELETE if self.template.ends_with("{name}") => 3,
            Method::DELETE if self.subresource().is_none() => 4,
            // A bound pod cannot be bound again, and an evicted one is gone.
            Method::POST if self.template.ends_with("/eviction") => 2,
            _ => 1,
        }
    }

    /// `group/plural` of the path.
    fn resource(&self) -> String {
        let parts: Vec<_> = self.template.trim_matches('/').split('/').collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, version, rest @ ..] if *version != "v1" => {
                return format!("{group}.{version}/{}", rest.last_named());
            }
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => return String::new(),
        };
        format!("{group}/{}", rest.last_named())
    }

    fn subresource(&self) -> Option<&'static str> {
        let (_, rest) = self.template.split_once("{name}/")?;
        rest.split('/').next()
    }
}

/// The plural name in what follows group and version.
trait Named {
    fn last_named(&self) -> String;
}

impl Named for [&str] {
    fn last_named(&self) -> String {
        let rest = match self {
            ["watch", rest @ ..] => rest,
            rest => rest,
        };
        let rest = match rest {
            ["namespaces", "{namespace}", rest @ ..] => rest,
            rest => rest,
        };
        rest.first().copied().unwrap_or_default().to_owned()
    }
}

/// Calls the operation; answers the code.
async fn call(control: &Control, operation: &Operation, examples: &BTreeMap<String, Value>) -> u16 {
    let resource = operation.resource();
    let example = examples.get(&resource).cloned().unwrap_or_default();
    let name = example["metadata"]["name"].as_str().unwrap_or("walk");
    let path = operation.template.replace("{namespace}", NAMESPACE);
    let path = path.replace("{name}", name).replace("{path}", "a");
    let path = path.replace("{logpath}", "a");
    let sub = operation.subresource();
    match operation.method {
        Method::POST if resource == "/bindings" => {
            let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
            control.post(&pods, &pod("bound")).await.expect(201);
            control.post(&path, &example).await.code
        }
        Method::POST if sub.is_none() => control.post(&path, &example).await.code,
        Method::POST => {
            let body = examples.get(&format!("{resource}/{}", sub.unwrap_or_default()));
            let body = body.cloned().unwrap_or_default();
            control.post(&path, &body).await.code
        }
        Method::PUT => {
            // What is there is written again.
            let there = if sub == Some("finalize") {
                path.trim_end_matches("/finalize")
            } else {
                path.as_str()
            };
            let object = control.get(there).await.body;
            control.put(&path, &object).await.code
        }
        Method::PATCH => {
            let patch = json!({"metadata": {"annotations": {"walk": "on"}}});
            control.patch(&path, MERGE_PATCH, &patch).await.code
        }
        Method::DELETE => {
            if operation.turn() == 4 {
                control.post(&path, &example).await;
            }
            control
                .delete(&path, &json!({"gracePeriodSeconds": 0}))
                .await
                .code
        }
        _ => head(control, operation.method.clone(), &path).await,
    }
}

/// The code alone: the body of a watch has no end.
async fn head(control: &Control, method: Method, path: &str) -> u16 {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::empty()).unwrap();
    control
        .client
        .send(request)
        .await
        .unwrap()
        .status()
        .as_u16()
}

fn answered(operation: &Operation, code: u16) -> bool {
    let beyond = operation
        .subresource()
        .is_some_and(|sub| BEYOND.contains(&sub));
    (200..300).contains(&code) || (beyond && (matches!(code, 301 | 400) || code >= 500))
}

#[tokio::test]
async fn the_stable_operations_of_the_api_are_answered() {
    let control = Control::start(&[]).await;
    control.namespace(NAMESPACE).await;
    let examples: BTreeMap<String, Value> = serde_json::from_str(EXAMPLES).unwrap();
    let all = operations();
    let mut unanswered = Vec::new();
    for operation in &all {
        let code = call(&control, operation, &examples).await;
        if !answered(operation, code) {
            unanswered.push(format!(
                "{code} {} {}",
                operation.method, operation.template
            ));
        }
    }
    let share = (all.len() - unanswered.len(), all.len());
    println!(
        "{} of {} stable operations answered; not:",
        share.0, share.1
    );
    unanswered.iter().for_each(|line| println!("  {line}"));
    assert_eq!(share, SHARE, "README.md tells another share");
}
