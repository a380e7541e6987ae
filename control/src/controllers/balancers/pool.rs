//! AddressPool as the controller reads it.

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::{Selector, SelectorExt};
use kube::{Api, Client, Resource, ResourceExt};
use naru_core::AddressRange;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::IpAddr;

use super::super::runtime::Kind;

const GROUP: &str = "naru.dev";
const VERSION: &str = "v1alpha1";
const KIND: &str = "AddressPool";
const PLURAL: &str = "addresspools";

/// Addresses for load balancers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressPool {
    /// `naru.dev/v1alpha1`.
    #[serde(default)]
    pub api_version: String,
    /// `AddressPool`.
    #[serde(default)]
    pub kind: String,
    /// Metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: AddressPoolSpec,
    /// What was observed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<AddressPoolStatus>,
}

/// What users say about a pool.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressPoolSpec {
    /// Ranges as `AddressRange` reads them.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Whether Services get an address that ask for none in particular; absent means yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_assign: Option<bool>,
    /// Which Services may have an address; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_selector: Option<LabelSelector>,
    /// The Services of which namespaces may have an address; of all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
}

/// How full a pool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressPoolStatus {
    /// How many addresses there are, at most `i64::MAX`.
    #[serde(default)]
    pub total: i64,
    /// How many of them Services have.
    #[serde(default)]
    pub assigned: i64,
}

impl Resource for AddressPool {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }
    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }
    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        PLURAL.into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Kind for AddressPool {
    fn api(client: &Client, _namespace: &str) -> Api<Self> {
        Api::all(client.clone())
    }
}

/// A pool, ready to be asked.
#[derive(Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its addresses, in the order of the manifest.
    pub ranges: Vec<AddressRange>,
    /// Whether it gives addresses to Services that ask for none in particular.
    pub auto: bool,
    services: Option<Selector>,
    namespaces: Option<Selector>,
}

/// Labels of an object.
pub type Labels = std::collections::BTreeMap<String, String>;

impl Pool {
    /// Reads an object. What the API server would not have stored is left out.
    pub fn read(pool: &AddressPool) -> Self {
        let selector = |given: &Option<LabelSelector>| {
            given
                .clone()
                .and_then(|given| Selector::try_from(given).ok())
        };
        let ranges = pool.spec.addresses.iter();
        Pool {
            name: pool.name_any(),
            ranges: ranges.filter_map(|text| text.parse().ok()).collect(),
            auto: pool.spec.auto_assign.unwrap_or(true),
            services: selector(&pool.spec.service_selector),
            namespaces: selector(&pool.spec.namespace_selector),
        }
    }

    /// Whether a Service with these labels, in a namespace with those, may have its addresses.
    pub fn admits(&self, service: &Labels, namespace: &Labels) -> bool {
        let matches = |selector: &Option<Selector>, labels| {
            selector
                .as_ref()
                .is_none_or(|selector| selector.matches(labels))
        };
        matches(&self.services, service) && matches(&self.namespaces, namespace)
    }

    /// Whether the address is one of its own.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    /// How many addresses it has and how many of them are in `used`. Ranges that overlap count twice.
    pub fn status<'a>(&self, used: impl Iterator<Item = &'a IpAddr>) -> AddressPoolStatus {
        let total = self.ranges.iter().map(AddressRange::size);
        let total = total.fold(0_u128, u128::saturating_add);
        let assigned = used.filter(|address| self.contains(**address)).count();
        AddressPoolStatus {
            total: i64::try_from(total).unwrap_or(i64::MAX),
            assigned: i64::try_from(assigned).unwrap_or(i64::MAX),
        }
    }
}
