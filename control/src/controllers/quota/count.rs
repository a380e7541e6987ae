//! What there is in a namespace, in the terms of its quotas.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::Client;
use kube::api::ListParams;
use naru_core::Quantity;
use naru_core::quantity::Form;
use parking_lot::Mutex;
use serde_json::Value;

use crate::controllers::runtime::discovery::{Offered, offered};
use crate::controllers::runtime::{ApiError, Key};
use crate::measure::{self, Amounts, amounts};
use crate::registry::value::present;

/// The kinds that the server offers, by group and plural name, as far as somebody has asked.
pub(super) type Kinds = HashMap<(String, String), Offered>;

/// Kinds whose objects are looked at one by one.
const MEASURED: [&str; 3] = ["pods", "services", "persistentvolumeclaims"];
/// Kinds that a quota names without `count/`.
const NAMED: [&str; 4] = [
    "configmaps",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
];

/// A count for one quota.
pub(super) struct Counted<'a> {
    pub(super) client: &'a Client,
    pub(super) kinds: &'a Mutex<Kinds>,
    pub(super) key: &'a Key,
}

/// Group and plural name of the kind that a bounded name is about.
fn subject(name: &str) -> (&str, &str) {
    if let Some(counted) = name.strip_prefix("count/") {
        let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
        return (group, plural);
    }
    if NAMED.contains(&name) {
        return ("", name);
    }
    if name.starts_with("services") {
        return ("", "services");
    }
    let of_claims = name == "requests.storage"
        || name.ends_with("persistentvolumeclaims")
        || name.contains(".storageclass.storage.k8s.io/");
    (
        "",
        if of_claims {
            "persistentvolumeclaims"
        } else {
            "pods"
        },
    )
}

impl Counted<'_> {
    /// What the quota's namespace uses of everything that it bounds.
    pub(super) async fn of(&self, quota: &ResourceQuota) -> Result<Amounts, ApiError> {
        let quota = serde_json::to_value(quota).unwrap_or_default();
        let hard = amounts::read(quota.pointer("/spec/hard"));
        let mut used = Amounts::new();
        let subjects: BTreeSet<(&str, &str)> = hard.keys().map(|name| subject(name)).collect();
        for (group, plural) in subjects {
            let found = self.of_kind(&quota, group, plural).await?;
            amounts::add(&mut used, &found);
        }
        let of_name = |name: &String| (name.clone(), used.get(name).copied().unwrap_or_default());
        Ok(hard.keys().map(of_name).collect())
    }

    async fn of_kind(&self, quota: &Value, group: &str, plural: &str) -> Result<Amounts, ApiError> {
        let Some(kind) = self.kind(group, plural).await? else {
            return Ok(Amounts::new());
        };
        if !(group.is_empty() && MEASURED.contains(&plural)) {
            return self.number(quota, &kind, group, plural).await;
        }
        let objects = kind.api(self.client, &self.key.namespace);
        let objects = objects.list(&ListParams::default()).await;
        let mut used = Amounts::new();
        for object in objects.map_err(kind.failed("list", self.key))? {
            let object = serde_json::to_value(object).unwrap_or_default();
            if measure::applies(quota, group, plural, &object) {
                amounts::add(&mut used, &measure::of(group, plural, &object));
            }
        }
        Ok(used)
    }

    /// Of most kinds only the number matters, which a page of one object tells.
    async fn number(
        &self,
        quota: &Value,
        kind: &Offered,
        group: &str,
        plural: &str,
    ) -> Result<Amounts, ApiError> {
        if present(quota, "/spec/scopes") || present(quota, "/spec/scopeSelector") {
            return Ok(Amounts::new());
        }
        let page = kind.api(self.client, &self.key.namespace);
        let page = page.list(&ListParams::default().limit(1)).await;
        let page = page.map_err(kind.failed("list", self.key))?;
        let rest = page.metadata.remaining_item_count.unwrap_or(0);
        let number = i64::try_from(page.items.len()).unwrap_or(i64::MAX) + rest;
        let one = measure::of(group, plural, &Value::Null);
        let number = Quantity::whole(number, Form::DecimalSi);
        Ok(one.into_keys().map(|name| (name, number)).collect())
    }

    /// The kind as the server offers it; one that is not known is asked for anew each time.
    async fn kind(&self, group: &str, plural: &str) -> Result<Option<Offered>, ApiError> {
        let name = (group.to_owned(), plural.to_owned());
        if let Some(known) = self.kinds.lock().get(&name).cloned() {
            return Ok(Some(known));
        }
        let all = offered(self.client).await?;
        let all = all.into_iter().filter(|kind| kind.namespaced);
        let by_name = |kind: Offered| {
            let name = (kind.resource.group.clone(), kind.resource.plural.clone());
            (name, kind)
        };
        let mut kinds = self.kinds.lock();
        *kinds = all.map(by_name).collect();
        Ok(kinds.get(&name).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bounded_name_is_about_one_kind() {
        for (name, kind) in [
            ("count/deployments.apps", ("apps", "deployments")),
            ("count/pods", ("", "pods")),
            ("count/boats.naru.test", ("naru.test", "boats")),
            ("secrets", ("", "secrets")),
            ("services.nodeports", ("", "services")),
            ("requests.storage", ("", "persistentvolumeclaims")),
            (
                "a.b.storageclass.storage.k8s.io/requests.storage",
                ("", "persistentvolumeclaims"),
            ),
            ("limits.cpu", ("", "pods")),
            ("requests.nvidia.com/gpu", ("", "pods")),
        ] {
            assert_eq!(subject(name), kind, "{name}");
        }
    }
}
