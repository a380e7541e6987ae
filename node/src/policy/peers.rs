//! Peers of a rule: which classes of addresses they mean.

use std::collections::BTreeMap;

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicyPeer};

use super::selector::matches;
use crate::ipcache::Class;

/// Labels of every namespace.
pub(super) type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// Whether a peer of a policy in `namespace` means the class.
pub(super) fn means(
    peer: &NetworkPolicyPeer,
    class: &Class,
    namespace: &str,
    namespaces: &Namespaces,
) -> bool {
    if let Some(block) = &peer.ip_block {
        return in_block(block, class);
    }
    let Class::Pod {
        namespace: pods_namespace,
        labels,
        ..
    } = class
    else {
        return false;
    };
    let namespace_fits = match &peer.namespace_selector {
        None => **pods_namespace == *namespace,
        Some(selector) => namespaces
            .get(&**pods_namespace)
            .is_some_and(|labels| matches(selector, labels)),
    };
    namespace_fits
        && peer
            .pod_selector
            .as_ref()
            .is_none_or(|selector| matches(selector, labels))
}

/// A class lies in a block as a whole or not at all: blocks are part of what makes a class.
fn in_block(block: &IPBlock, class: &Class) -> bool {
    let within = |cidr: &str| parse(cidr).is_some_and(|net| class.blocks().contains(&net));
    within(&block.cidr) && !block.except.iter().flatten().any(|except| within(except))
}

/// A CIDR, with the bits beyond its length cleared.
pub(super) fn parse(cidr: &str) -> Option<IpNet> {
    cidr.parse::<IpNet>().ok().map(|net| net.trunc())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn pod(namespace: &str, app: &str, blocks: &[&str]) -> Class {
        let labels = Arc::new(BTreeMap::from([("app".to_owned(), app.to_owned())]));
        let blocks = blocks.iter().map(|block| block.parse().unwrap()).collect();
        Class::Pod {
            namespace: namespace.into(),
            labels,
            blocks,
        }
    }

    fn check(peer: Value, class: &Class) -> bool {
        let labels = |team: &str| BTreeMap::from([("team".to_owned(), team.to_owned())]);
        let namespaces =
            Namespaces::from([("shop".into(), labels("a")), ("bank".into(), labels("b"))]);
        means(
            &serde_json::from_value(peer).unwrap(),
            class,
            "shop",
            &namespaces,
        )
    }

    #[test]
    fn selectors_stay_in_the_policys_namespace_unless_told() {
        let own = json!({"podSelector": {"matchLabels": {"app": "web"}}});
        assert!(check(own.clone(), &pod("shop", "web", &[])));
        assert!(!check(own.clone(), &pod("bank", "web", &[])));
        assert!(!check(own, &pod("shop", "api", &[])));
        let team = json!({"namespaceSelector": {"matchLabels": {"team": "b"}}});
        assert!(check(team.clone(), &pod("bank", "any", &[])));
        assert!(!check(team, &pod("shop", "any", &[])));
        let both = json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}});
        assert!(check(both.clone(), &pod("bank", "web", &[])));
        assert!(!check(both, &pod("bank", "api", &[])));
    }

    #[test]
    fn blocks_hold_pods_too_and_exceptions_take_out() {
        let peer = json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}});
        assert!(check(peer.clone(), &pod("shop", "web", &["10.0.0.0/8"])));
        assert!(!check(
            peer.clone(),
            &pod("shop", "web", &["10.0.0.0/8", "10.1.0.0/16"])
        ));
        let outside = |blocks: &[&str]| Class::Outside {
            blocks: blocks.iter().map(|b| b.parse().unwrap()).collect(),
        };
        assert!(check(peer.clone(), &outside(&["10.0.0.0/8"])));
        assert!(!check(peer.clone(), &outside(&["0.0.0.0/0"])));
        assert!(!check(peer, &Class::Host));
    }
}
