use super::plan::{Claimant, Outcome, Refusal, Taken, plan};
use super::pool::{AddressPool, Labels, Pool};
use super::service;
use crate::controllers::runtime::Key;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use std::net::IpAddr;

fn pool(name: &str, spec: Value) -> Pool {
    let object = json!({"apiVersion": "naru.dev/v1alpha1", "kind": "AddressPool",
        "metadata": {"name": name}, "spec": spec});
    Pool::read(&serde_json::from_value::<AddressPool>(object).expect("a pool"))
}

fn claimant(name: &str) -> Claimant {
    Claimant {
        key: Key::new("shop", name),
        labels: Labels::new(),
        namespace: Labels::new(),
        families: vec![false],
        all_families: false,
        asked: Vec::new(),
        pool: None,
        held: Vec::new(),
        leaving: false,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect(text)
}

fn asking(name: &str, asked: &str) -> Claimant {
    Claimant {
        asked: vec![asked.to_owned()],
        ..claimant(name)
    }
}

fn holding(name: &str, held: &str) -> Claimant {
    Claimant {
        held: vec![ip(held)],
        ..claimant(name)
    }
}

/// `name=addresses` or `name=addresses!Reason` of every claimant, in order.
fn planned(claimants: &[Claimant], pools: &[Pool]) -> Vec<String> {
    let outcomes = plan(claimants, pools, &Taken::new());
    let text = |claimant: &Claimant| {
        let Outcome { addresses, refused } = &outcomes[&claimant.key];
        let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
        let refused = refused
            .as_ref()
            .map(|refusal| format!("!{}", refusal.reason()));
        let name = &claimant.key.name;
        format!(
            "{name}={}{}",
            addresses.join(","),
            refused.unwrap_or_default()
        )
    };
    claimants.iter().map(text).collect()
}

fn small() -> Vec<Pool> {
    vec![pool("small", json!({"addresses": ["192.0.2.1-192.0.2.2"]}))]
}

#[test]
fn the_oldest_get_the_first_addresses_and_the_last_hears_that_none_is_left() {
    let planned = planned(&[claimant("a"), claimant("b"), claimant("c")], &small());
    assert_eq!(planned, ["a=192.0.2.1", "b=192.0.2.2", "c=!PoolExhausted"]);
}

#[test]
fn what_is_held_is_kept_and_never_given_twice() {
    let planned = planned(
        &[
            claimant("a"),
            holding("b", "192.0.2.1"),
            holding("c", "192.0.2.1"),
        ],
        &small(),
    );
    assert_eq!(planned, ["a=192.0.2.2", "b=192.0.2.1", "c=!PoolExhausted"]);
}

#[test]
fn what_is_asked_for_is_given_if_it_is_free() {
    let both = [claimant("a"), asking("b", "192.0.2.1")];
    assert_eq!(planned(&both, &small()), ["a=192.0.2.2", "b=192.0.2.1"]);
    let taken = [holding("a", "192.0.2.1"), asking("b", "192.0.2.1")];
    assert_eq!(
        planned(&taken, &small()),
        ["a=192.0.2.1", "b=!AddressTaken"]
    );
    for (asked, said) in [
        ("198.51.100.1", "a=!AddressNotInPool"),
        ("ten", "a=!AddressMalformed"),
        ("fd00::1", "a=!AddressFamily"),
    ] {
        assert_eq!(planned(&[asking("a", asked)], &small()), [said]);
    }
}

#[test]
fn who_asks_in_vain_keeps_what_it_had() {
    let stubborn = Claimant {
        held: vec![ip("192.0.2.2")],
        ..asking("b", "192.0.2.1")
    };
    let both = [holding("a", "192.0.2.1"), stubborn.clone()];
    assert_eq!(planned(&both, &small())[1], "b=192.0.2.2!AddressTaken");
    assert_eq!(planned(&[stubborn], &small()), ["b=192.0.2.1"]);
}

#[test]
fn an_address_that_left_its_pool_is_replaced_and_that_of_a_leaving_service_stays() {
    let moved = planned(&[holding("a", "198.51.100.9")], &small());
    assert_eq!(moved, ["a=192.0.2.1"]);
    let leaving = Claimant {
        leaving: true,
        ..holding("a", "198.51.100.9")
    };
    assert_eq!(planned(&[leaving], &small()), ["a=198.51.100.9"]);
}

#[test]
fn pools_choose_their_services() {
    let pools = [
        pool(
            "a-manual",
            json!({"addresses": ["192.0.2.1"], "autoAssign": false}),
        ),
        pool(
            "b-gold",
            json!({"addresses": ["192.0.2.2"],
            "serviceSelector": {"matchLabels": {"tier": "gold"}}}),
        ),
        pool(
            "c-team",
            json!({"addresses": ["192.0.2.3"],
            "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}),
        ),
    ];
    let label = |key: &str, value: &str| Labels::from([(key.to_owned(), value.to_owned())]);
    let gold = Claimant {
        labels: label("tier", "gold"),
        ..claimant("gold")
    };
    let team = Claimant {
        namespace: label("team", "x"),
        ..claimant("team")
    };
    let named = Claimant {
        pool: Some("a-manual".to_owned()),
        ..claimant("named")
    };
    let elsewhere = Claimant {
        pool: Some("b-gold".to_owned()),
        ..claimant("elsewhere")
    };
    let all = [claimant("plain"), gold, team, named, elsewhere];
    assert_eq!(
        planned(&all, &pools),
        [
            "plain=!NoPool",
            "gold=192.0.2.2",
            "team=192.0.2.3",
            "named=192.0.2.1",
            "elsewhere=!NoSuchPool"
        ]
    );
}

#[test]
fn addresses_that_look_like_networks_are_given_on_request_only() {
    let pools = [pool("net", json!({"addresses": ["192.0.2.255-192.0.3.1"]}))];
    let all = [claimant("a"), claimant("b"), asking("c", "192.0.3.0")];
    assert_eq!(
        planned(&all, &pools),
        ["a=192.0.3.1", "b=!PoolExhausted", "c=192.0.3.0"]
    );
}

#[test]
fn a_dual_service_that_prefers_both_is_content_with_one() {
    let dual = |all_families| Claimant {
        families: vec![false, true],
        all_families,
        ..claimant("a")
    };
    assert_eq!(planned(&[dual(false)], &small()), ["a=192.0.2.1"]);
    assert_eq!(planned(&[dual(true)], &small()), ["a=192.0.2.1!NoPool"]);
    let both = [pool(
        "both",
        json!({"addresses": ["fd00::/64", "192.0.2.7"]}),
    )];
    assert_eq!(planned(&[dual(true)], &both), ["a=192.0.2.7,fd00::"]);
}

#[test]
fn what_others_have_is_not_given_away() {
    let taken = Taken::from([(ip("192.0.2.1"), "node one".to_owned())]);
    let outcomes = plan(&[claimant("a"), asking("b", "192.0.2.1")], &small(), &taken);
    assert_eq!(
        outcomes[&Key::new("shop", "a")].addresses,
        [ip("192.0.2.2")]
    );
    let refused = outcomes[&Key::new("shop", "b")].refused.clone();
    assert_eq!(
        refused,
        Some(Refusal::Taken(ip("192.0.2.1"), "node one".to_owned()))
    );
}

fn service(spec: Value, status: Value) -> Service {
    let object =
        json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec, "status": status});
    serde_json::from_value(object).expect("a Service")
}

#[test]
fn services_of_others_are_left_alone() {
    let balanced = |class: Value, status| {
        service(
            json!({"type": "LoadBalancer", "loadBalancerClass": class}),
            status,
        )
    };
    let given = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    assert!(service::is_ours(&balanced(json!(null), json!({}))));
    assert!(service::is_ours(&balanced(
        json!("naru.dev/address-pool"),
        json!({})
    )));
    assert!(!service::is_ours(&balanced(
        json!("example.com/lb"),
        json!({})
    )));
    assert!(!service::is_ours(&balanced(json!(null), given)));
    assert!(!service::is_ours(&service(
        json!({"type": "NodePort"}),
        json!({})
    )));
}

#[test]
fn what_is_written_is_read_back_and_can_be_taken_away() {
    let fresh = service(json!({"type": "LoadBalancer"}), json!({}));
    let outcome = Outcome {
        addresses: vec![ip("192.0.2.1")],
        refused: None,
    };
    let written = service::with(&fresh, &outcome);
    assert_eq!(service::held(&written), [ip("192.0.2.1")]);
    assert!(service::is_ours(&written));
    let condition = service::condition(&written).expect("a condition");
    assert_eq!(
        (condition.status.as_str(), condition.message.as_str()),
        ("True", "assigned 192.0.2.1")
    );
    assert_eq!(
        service::with(&written, &outcome),
        written,
        "no second write"
    );
    let cleared = service::without(&written);
    assert!(service::held(&cleared).is_empty() && service::condition(&cleared).is_none());
}
