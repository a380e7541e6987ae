//! How packets from outside choose among the endpoints of a Service: by chance, or by a lookup table
//! that is the same on every node (Maglev).
//!
//! The node's command line says what Services get that do not ask; their annotations ask. A wish
//! that makes no sense counts for nothing and is named. Tables take memory: those that have no room
//! are left out, the same ones on every node, and their Services choose by chance.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use naru_core::names::annotations::{LOAD_BALANCER_ALGORITHM, MAGLEV_TABLE_SIZE};
use naru_ebpf_common::names::MAGLEV_SIZE;
use naru_ebpf_common::service::TABLE;
use naru_ebpf_common::{ServiceKey, TableSize};

use super::desired::Desired;
use crate::config::Algorithm;
use crate::watches::Key;

/// What a Service is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balancing {
    /// How a backend is chosen.
    pub algorithm: Algorithm,
    /// Slots of a lookup table, where the algorithm wants one.
    pub table: TableSize,
}

impl Balancing {
    /// What a Service gets where this is what those get that do not ask.
    pub(super) fn of(self, service: &Service) -> Self {
        let wish = Wish::of(service);
        Self {
            algorithm: wish.algorithm.ok().flatten().unwrap_or(self.algorithm),
            table: wish.table.ok().flatten().unwrap_or(self.table),
        }
    }

    /// The bits of `Service::flags` for packets from outside. One backend is found without a table.
    pub(super) fn flags(self, backends: usize) -> u32 {
        match self.algorithm {
            Algorithm::Maglev if backends > 1 => self.table.flags(),
            _ => 0,
        }
    }
}

/// Whether a Service asks for anything.
pub(super) fn has_wishes(service: &Service) -> bool {
    let annotations = service.metadata.annotations.as_ref();
    let has = |name| annotations.is_some_and(|annotations| annotations.contains_key(name));
    has(LOAD_BALANCER_ALGORITHM) || has(MAGLEV_TABLE_SIZE)
}

/// What a Service asks for, or what is wrong with that.
struct Wish {
    algorithm: Result<Option<Algorithm>, String>,
    table: Result<Option<TableSize>, String>,
}

impl Wish {
    fn of(service: &Service) -> Self {
        let annotations = service.metadata.annotations.as_ref();
        let text = |name| Some(annotations?.get(name)?.as_str());
        Self {
            algorithm: wish(text(LOAD_BALANCER_ALGORITHM), |text| match text {
                "random" => Ok(Algorithm::Random),
                "maglev" => Ok(Algorithm::Maglev),
                _ => Err("supported values: \"maglev\", \"random\""),
            }),
            table: wish(text(MAGLEV_TABLE_SIZE), str::parse),
        }
    }
}

/// `text` as it is read; what cannot be read with the reason, in Kubernetes' words.
fn wish<'a, T, E: ToString>(
    text: Option<&'a str>,
    read: impl FnOnce(&'a str) -> Result<T, E>,
) -> Result<Option<T>, String> {
    let unsupported = |text, why: E| format!("Unsupported value: {text:?}: {}", why.to_string());
    text.map(|text| read(text).map_err(|why| unsupported(text, why)))
        .transpose()
}

/// What Services ask for and do not get, in one line: wishes that make no sense, and tables that were
/// left out ([`limit_tables`]).
#[must_use]
pub(super) fn unmet_wishes(
    services: &BTreeMap<Key, Arc<Service>>,
    left_out: usize,
) -> Option<String> {
    let mut faults = senseless_wishes(services);
    if left_out > 0 {
        faults.push(format!(
            "no room for {left_out} lookup tables: packets to these addresses choose by chance; \
             smaller tables take less"
        ));
    }
    (!faults.is_empty()).then(|| faults.join("; "))
}

fn senseless_wishes(services: &BTreeMap<Key, Arc<Service>>) -> Vec<String> {
    let faults = services.iter().flat_map(|(key, service)| {
        let Wish { algorithm, table } = Wish::of(service);
        let faults = [
            (LOAD_BALANCER_ALGORITHM, algorithm.err()),
            (MAGLEV_TABLE_SIZE, table.err()),
        ];
        faults.map(|(name, fault)| {
            let (namespace, service) = (&key.namespace, &key.name);
            fault.map(|why| {
                format!("Service {namespace}/{service}: metadata.annotations[{name}]: {why}")
            })
        })
    });
    faults.flatten().collect()
}

/// Takes away the tables that have no room, the last by name; returns how many. What is left fills
/// half of the map, so that all may change at once.
pub(super) fn limit_tables(desired: &mut Desired) -> usize {
    limit(desired, MAGLEV_SIZE / 2)
}

fn limit(desired: &mut Desired, room: u32) -> usize {
    let blocks = |flags| TableSize::of(flags).map_or(0, TableSize::blocks);
    let wanted = desired.values().map(|entry| blocks(entry.flags));
    if wanted.sum::<u32>() <= room {
        return 0;
    }
    let mut entries: Vec<_> = desired.iter_mut().collect();
    entries.retain(|(_, entry)| entry.flags & TABLE != 0);
    entries.sort_by_cached_key(|(key, entry)| {
        let ServiceKey { addr, port, .. } = key;
        (entry.name.clone(), addr.bytes(), port.get())
    });
    let mut used = 0;
    let mut left_out = 0;
    for (_, entry) in entries {
        used += blocks(entry.flags);
        if used > room {
            entry.flags &= !TABLE;
            left_out += 1;
        }
    }
    left_out
}

#[cfg(test)]
mod tests {
    use naru_ebpf_common::{Addr, Backend, Port};
    use serde_json::{Value, json};

    use super::super::desired::{DesiredService, ServicePortName};
    use super::*;

    const RANDOM: Balancing = Balancing {
        algorithm: Algorithm::Random,
        table: TableSize::DEFAULT,
    };

    fn service(annotations: Value) -> Service {
        let object = json!({"metadata": {"name": "web", "annotations": annotations}});
        serde_json::from_value(object).expect("a Service")
    }

    #[test]
    fn a_service_gets_what_it_asks_for_and_else_what_the_node_gives() {
        let small: TableSize = "251".parse().unwrap();
        let maglev = Balancing {
            algorithm: Algorithm::Maglev,
            table: small,
        };
        assert_eq!(RANDOM.of(&service(json!({}))), RANDOM);
        assert_eq!(maglev.of(&service(json!({}))), maglev);
        let asks = json!({LOAD_BALANCER_ALGORITHM: "maglev", MAGLEV_TABLE_SIZE: "251"});
        assert_eq!(RANDOM.of(&service(asks)), maglev);
        let asks = json!({LOAD_BALANCER_ALGORITHM: "random"});
        assert_eq!(maglev.of(&service(asks)).algorithm, Algorithm::Random);
    }

    #[test]
    fn a_table_is_for_those_who_have_a_choice() {
        let maglev = Balancing {
            algorithm: Algorithm::Maglev,
            ..RANDOM
        };
        assert_eq!(maglev.flags(2), TableSize::DEFAULT.flags());
        assert_eq!(
            (maglev.flags(1), maglev.flags(0), RANDOM.flags(2)),
            (0, 0, 0)
        );
    }

    #[test]
    fn a_senseless_wish_is_named_and_counts_for_nothing() {
        let asks = json!({LOAD_BALANCER_ALGORITHM: "rendezvous", MAGLEV_TABLE_SIZE: "16384"});
        let service = service(asks);
        assert_eq!(RANDOM.of(&service), RANDOM);
        let services = BTreeMap::from([(Key::new("shop", "web"), Arc::new(service))]);
        let fault = unmet_wishes(&services, 0).expect("a fault");
        let sentences = [
            "Service shop/web: metadata.annotations[naru.dev/load-balancer-algorithm]: \
             Unsupported value: \"rendezvous\": supported values: \"maglev\", \"random\"; Service",
            "[naru.dev/maglev-table-size]: Unsupported value: \"16384\": supported values: \"251\", ",
        ];
        assert!(
            sentences.iter().all(|sentence| fault.contains(sentence)),
            "{fault}"
        );
        assert_eq!(unmet_wishes(&BTreeMap::new(), 0), None);
        let fault = unmet_wishes(&BTreeMap::new(), 3).expect("a fault");
        assert!(fault.starts_with("no room for 3 lookup tables"), "{fault}");
    }

    /// Services 0 to 9 of a port each, with tables of a block.
    fn tabled() -> Desired {
        let entry = |n: u8| {
            let key = ServiceKey {
                addr: Addr::v4([192, 0, 2, n]),
                port: Port::new(80),
                protocol: 6,
                scope: 1,
            };
            let name = ServicePortName {
                namespace: "shop".into(),
                name: n.to_string(),
                port: String::new(),
            };
            let service = DesiredService {
                name,
                flags: 1 | "251".parse::<TableSize>().unwrap().flags(),
                backends: vec![Backend::default(); 2],
                ranges: Vec::new(),
            };
            (key, service)
        };
        (0..10).map(entry).collect()
    }

    #[test]
    fn tables_without_room_are_left_out_the_last_by_name() {
        let mut desired = tabled();
        assert_eq!(limit(&mut desired, 10), 0);
        assert_eq!(limit(&mut desired, 7), 3);
        let with: fn(&DesiredService) -> bool = |entry| entry.flags & TABLE != 0;
        let mut names: Vec<_> = desired.values().filter(|e| with(e)).collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        let names: Vec<_> = names.iter().map(|e| e.name.name.as_str()).collect();
        assert_eq!(names, ["0", "1", "2", "3", "4", "5", "6"]);
        assert!(desired.values().all(|entry| entry.flags & 1 == 1));
    }
}
