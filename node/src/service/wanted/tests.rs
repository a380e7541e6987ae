use naru_ebpf_common::TableSize;
use serde_json::{Value, json};

use super::*;
use crate::config::Algorithm;

/// The tables, and two that read them: one round after another, and anew each time.
struct World {
    services: Table<Service>,
    slices: Table<EndpointSlice>,
    kept: Wanted,
    context: Context,
}

impl World {
    fn new() -> Self {
        let world = Self {
            services: Table::new("services"),
            slices: Table::new("endpointslices"),
            kept: Wanted::default(),
            context: Context {
                node: "node1".into(),
                zone: None,
                own: vec!["10.96.0.10".parse().unwrap()],
                balancing: Balancing {
                    algorithm: Algorithm::Random,
                    table: TableSize::DEFAULT,
                },
                host_ports: Desired::new(),
            },
        };
        world.services.replace([]);
        world.slices.replace([]);
        world
    }

    fn service(&self, name: &str, spec: Value) {
        self.annotated(name, spec, json!({}));
    }

    fn annotated(&self, name: &str, spec: Value, annotations: Value) {
        let service = json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec});
        let service = serde_json::from_value(service).expect("a Service");
        self.services.apply(Key::new("shop", name), service);
    }

    fn slice(&self, name: &str, service: &str, ends: &[u8]) {
        let addresses = ends.iter().map(|end| format!("10.244.0.{end}"));
        let endpoints: Vec<_> = addresses.map(|ip| json!({"addresses": [ip]})).collect();
        let slice = json!({"metadata": {"labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 8080}]});
        let slice = serde_json::from_value(slice).expect("a slice");
        self.slices.apply(Key::new("shop", name), slice);
    }

    /// A round; what is kept is what is planned anew, and only what was touched is another.
    fn round(&mut self) -> Touched {
        let before = self.kept.entries().clone();
        let tables = Tables {
            services: &self.services,
            slices: &self.slices,
        };
        let touched = self.kept.update(tables, self.context.clone());
        let mut anew = Wanted::default();
        anew.update(tables, self.context.clone());
        assert_eq!(self.kept.entries(), anew.entries());
        assert_eq!(self.kept.fault(), anew.fault());
        if let Touched::These(keys) = &touched {
            let all = before.keys().chain(anew.entries().keys());
            for key in all.filter(|key| before.get(key) != anew.entries().get(key)) {
                assert!(keys.contains(key), "{key:?}");
            }
        }
        touched
    }

    fn touches(&mut self) -> Option<usize> {
        match self.round() {
            Touched::All => None,
            Touched::These(keys) => Some(keys.len()),
        }
    }
}

fn spec(n: u8) -> Value {
    json!({"clusterIP": format!("10.96.1.{n}"), "ports": [{"port": 80}]})
}

#[test]
fn one_change_touches_one_service() {
    let mut world = World::new();
    for n in 0..10 {
        let name = n.to_string();
        world.service(&name, spec(n));
        world.slice(&name, &name, &[n]);
    }
    assert_eq!(world.touches(), None, "the first look is at everything");
    assert_eq!(world.touches(), Some(0));
    world.slice("3", "3", &[3, 4]);
    assert_eq!(world.touches(), Some(1));
    world.slice("3", "5", &[3]);
    assert_eq!(world.touches(), Some(2), "a slice that changes hands");
    world.services.remove(&Key::new("shop", "7"));
    world.slices.remove(&Key::new("shop", "8"));
    assert_eq!(world.touches(), Some(2));
    world.service("7", spec(77));
    assert_eq!(world.touches(), Some(1));
    world.slice("none", "nobody", &[1]);
    assert_eq!(world.touches(), Some(0), "slices of no Service");
}

#[test]
fn what_bears_on_others_is_planned_with_them() {
    let mut world = World::new();
    for n in 0..3 {
        world.service(&n.to_string(), spec(n));
    }
    world.round();
    let mut shared = spec(0);
    shared["externalIPs"] = json!(["192.0.2.1"]);
    world.service("0", shared.clone());
    assert_eq!(world.touches(), Some(2));
    shared["clusterIP"] = "10.96.1.9".into();
    world.service("9", shared);
    assert_eq!(world.touches(), None, "two claim one address");
    world.slice("1", "1", &[1]);
    assert_eq!(world.touches(), None, "they still do");
    world.services.remove(&Key::new("shop", "9"));
    assert_eq!(world.touches(), None);
    world.slice("1", "1", &[2]);
    assert_eq!(world.touches(), Some(1));
    let maglev = json!({"naru.dev/load-balancer-algorithm": "maglev"});
    for annotations in [json!({"naru.dev/load-balancer-algorithm": "?"}), maglev] {
        world.annotated("2", spec(2), annotations);
        assert_eq!(world.touches(), None);
    }
    world.service("2", spec(2));
    assert_eq!(world.touches(), None, "it wished a moment ago");
    assert_eq!(world.touches(), Some(0));
}

#[test]
fn whatever_all_depend_on_concerns_all() {
    let mut world = World::new();
    world.service("0", spec(0));
    world.round();
    world.context.zone = Some("a".into());
    assert_eq!(world.touches(), None);
    let (key, entry) = world.kept.entries().iter().next().expect("an entry");
    let port = (ServiceKey { scope: 1, ..*key }, entry.clone());
    world.context.host_ports = Desired::from([port]);
    assert_eq!(world.touches(), None);
    assert_eq!(world.touches(), Some(0));
    world.kept.forget();
    assert_eq!(world.touches(), None);
}

/// Services and slices come, change and go as chance has it, and now and then two claim one address or
/// wish for a table.
#[test]
fn rounds_lead_where_planning_anew_does() {
    let mut seed = 7_u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((seed >> 33) % below) as u8
    };
    let (mut world, mut some) = (World::new(), 0);
    for _ in 0..600 {
        for _ in 0..=next(3) {
            let name = next(12).to_string();
            match next(8) {
                0 => world.services.remove(&Key::new("shop", name.as_str())),
                1 => world.slices.remove(&Key::new("shop", name.as_str())),
                2..=4 => {
                    let mut spec = spec(next(40));
                    if next(9) == 0 {
                        spec["externalIPs"] = json!(["192.0.2.1", "192.0.2.2"]);
                    }
                    let asks = match next(20) {
                        0 => json!({"naru.dev/load-balancer-algorithm": "maglev"}),
                        1 => json!({"naru.dev/maglev-table-size": "7"}),
                        _ => json!({}),
                    };
                    world.annotated(&name, spec, asks);
                }
                _ => {
                    let ends: Vec<u8> = (0..next(4)).map(|_| next(9)).collect();
                    world.slice(&name, &next(12).to_string(), &ends);
                }
            }
        }
        some += usize::from(world.touches().is_some());
    }
    assert!(some > 50, "{some} rounds went on from the one before");
}
