use std::sync::Arc;

use serde_json::{Value, json};

use super::book::Book;
use super::desk::{Charge, Paid, enter};
use crate::api::Kinds;
use crate::measure;
use crate::registry::KINDS;

fn book(name: &str, hard: Value, used: Value) -> Book {
    Book {
        key: format!("shop/{name}").into(),
        revision: 1,
        quota: json!({"metadata": {"name": name}, "spec": {"hard": hard},
            "status": {"used": used}}),
        changed: false,
    }
}

fn pod(dry: bool) -> Arc<Charge> {
    let target = Kinds(KINDS).of("", "pods").unwrap();
    let object = json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "resources": {"requests": {"cpu": "500m"}}}]}});
    let usage = measure::of("", "pods", &object);
    Arc::new(Charge {
        target,
        object,
        usage,
        dry,
    })
}

#[test]
fn charges_are_taken_until_a_quota_is_full() {
    let mut books = [
        book(
            "a",
            json!({"pods": "2", "requests.cpu": "5"}),
            json!({"pods": "0", "requests.cpu": "0"}),
        ),
        book("b", json!({"secrets": "1"}), json!({"secrets": "0"})),
    ];
    let settled = enter(
        &mut books,
        &[pod(false), pod(true), pod(false), pod(false)],
        &Paid::new(),
    );
    assert!(settled[..3].iter().all(Result::is_ok), "{settled:?}");
    assert_eq!(
        settled[3].as_ref().unwrap_err(),
        "exceeded quota: a, requested: pods=1, used: pods=2, limited: pods=2"
    );
    let used = json!({"pods": "2", "requests.cpu": "1"});
    assert_eq!(books[0].quota["status"]["used"], used);
    assert!(books[0].changed && !books[1].changed);
}

#[test]
fn a_charge_is_entered_into_all_quotas_or_none() {
    let mut books = [
        book("a", json!({"pods": "9"}), json!({"pods": "0"})),
        book("b", json!({"cpu": "100m"}), json!({"cpu": "0"})),
    ];
    let settled = enter(&mut books, &[pod(false)], &Paid::new());
    let why = settled[0].as_ref().unwrap_err();
    assert!(
        why.contains("requested: cpu=500m, used: cpu=0, limited: cpu=100m"),
        "{why}"
    );
    assert!(books.iter().all(|book| !book.changed));
}

#[test]
fn what_is_paid_is_not_charged_again_and_what_is_not_counted_is_refused() {
    let paid = Paid::from([(0, "shop/a".into())]);
    let mut books = [book("a", json!({"pods": "1"}), json!({"pods": "1"}))];
    assert_eq!(enter(&mut books, &[pod(false)], &paid), [Ok(())]);
    assert!(!books[0].changed);
    let mut books = [book("a", json!({"pods": "1"}), json!({}))];
    let settled = enter(&mut books, &[pod(false)], &Paid::new());
    let expected = "status unknown for quota: a, resources: pods";
    assert_eq!(settled[0].as_ref().unwrap_err(), expected);
}
