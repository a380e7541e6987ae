//! EndpointSlices by the Service that they belong to, kept up with their table.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::desired::service_of;
use crate::watches::Key;

/// The slices of every Service.
#[derive(Debug, Default)]
pub(super) struct Slices {
    by_service: HashMap<Key, BTreeMap<Key, Arc<EndpointSlice>>>,
    /// The Service of each slice.
    owners: HashMap<Key, Key>,
}

impl Slices {
    /// All of them.
    pub(super) fn of(all: BTreeMap<Key, Arc<EndpointSlice>>) -> Self {
        let mut slices = Self::default();
        for (key, slice) in all {
            slices.set(&key, Some(slice));
        }
        slices
    }

    /// Notes what a slice is now, or that it is gone. Returns the Services that it belongs to and
    /// belonged to.
    pub(super) fn set(&mut self, key: &Key, slice: Option<Arc<EndpointSlice>>) -> [Option<Key>; 2] {
        let before = self.owners.remove(key);
        if let Some(owner) = &before
            && let Some(slices) = self.by_service.get_mut(owner)
        {
            slices.remove(key);
            if slices.is_empty() {
                self.by_service.remove(owner);
            }
        }
        let now = slice.and_then(|slice| {
            let name = service_of(&slice)?;
            Some((Key::new(key.namespace.as_str(), name), slice))
        });
        let Some((owner, slice)) = now else {
            return [before, None];
        };
        let slices = self.by_service.entry(owner.clone()).or_default();
        slices.insert(key.clone(), slice);
        self.owners.insert(key.clone(), owner.clone());
        [before, Some(owner)]
    }

    /// Those of one Service, sorted by name.
    pub(super) fn of_service(&self, service: &Key) -> Vec<&EndpointSlice> {
        let slices = self.by_service.get(service);
        let all = slices.into_iter().flat_map(BTreeMap::values);
        all.map(Arc::as_ref).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slice(service: &str) -> Option<Arc<EndpointSlice>> {
        let slice = json!({"metadata": {"labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": []});
        Some(Arc::new(serde_json::from_value(slice).expect("a slice")))
    }

    #[test]
    fn a_slice_concerns_the_service_that_it_leaves_and_the_one_that_it_comes_to() {
        let mut slices = Slices::default();
        let (one, other) = (Key::new("a", "web"), Key::new("a", "api"));
        let key = Key::new("a", "slice");
        assert_eq!(slices.set(&key, slice("web")), [None, Some(one.clone())]);
        assert_eq!(slices.of_service(&one).len(), 1);
        let both = [Some(one.clone()), Some(other.clone())];
        assert_eq!(slices.set(&key, slice("api")), both);
        assert!(slices.of_service(&one).is_empty());
        assert_eq!(slices.set(&key, None), [Some(other.clone()), None]);
        assert!(slices.of_service(&other).is_empty());
        assert_eq!(slices.set(&key, None), [None, None]);
    }
}
