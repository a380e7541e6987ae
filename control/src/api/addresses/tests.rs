//! What is given, kept and given back.

use super::*;

fn addresses() -> Addresses {
    Addresses::new(AddressPlan::parse(&["10.96.0.0/28"], "30000-30001").unwrap())
}

fn service(name: &str, kind: &str, ip: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"type": kind, "clusterIP": ip,
        "ports": [{"port": 80, "protocol": "TCP"}]}})
}

#[test]
fn a_failed_write_gives_its_addresses_back() {
    let addresses = addresses();
    let mut first = service("a", "ClusterIP", "10.96.0.5");
    drop(addresses.reserve(&mut first, None).ok().unwrap());
    addresses.reserve(&mut first, None).ok().unwrap().keep();
    let faults = addresses
        .reserve(&mut service("b", "ClusterIP", "10.96.0.5"), None)
        .err();
    assert_eq!(faults.unwrap()[0].field, "spec.clusterIP");
    addresses.release("n/a", &first, None);
    assert!(
        addresses
            .reserve(&mut service("b", "ClusterIP", "10.96.0.5"), None)
            .is_ok()
    );
}

#[test]
fn no_address_is_given_twice_and_exhaustion_is_said() {
    let addresses = addresses();
    let mut given = Vec::new();
    loop {
        let mut new = service(&format!("s{}", given.len()), "ClusterIP", "");
        match addresses.reserve(&mut new, None) {
            Ok(reservation) => reservation.keep(),
            Err(faults) => {
                assert!(faults[0].message.contains("no address is left"));
                break;
            }
        }
        given.push(text(&new, "/spec/clusterIP").to_owned());
    }
    assert_eq!(given.len(), 14);
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 14);
}

#[test]
fn node_ports_are_unique_per_protocol_and_in_range() {
    let addresses = addresses();
    let mut first = service("a", "NodePort", "");
    addresses.reserve(&mut first, None).ok().unwrap().keep();
    assert_eq!(first["spec"]["ports"][0]["nodePort"], 30000);
    let mut same = service("b", "NodePort", "");
    same["spec"]["ports"][0]["nodePort"] = 30000.into();
    let faults = addresses.reserve(&mut same, None).err().unwrap();
    assert_eq!(faults[0].field, "spec.ports[0].nodePort");
    same["spec"]["ports"][0]["protocol"] = "UDP".into();
    assert!(addresses.reserve(&mut same, None).is_ok());
    same["spec"]["ports"][0]["nodePort"] = 29999.into();
    assert!(addresses.reserve(&mut same, None).is_err());
}

#[test]
fn a_balanced_service_with_a_local_policy_gets_a_health_port() {
    let plan = AddressPlan::parse(&["10.96.0.0/28"], "30000-30003");
    let addresses = Addresses::new(plan.unwrap());
    let mut local = service("a", "LoadBalancer", "");
    local["spec"]["externalTrafficPolicy"] = "Local".into();
    addresses.reserve(&mut local, None).ok().unwrap().keep();
    assert_eq!(local["spec"]["ports"][0]["nodePort"], 30000);
    assert_eq!(local["spec"]["healthCheckNodePort"], 30001);
    let before = local.clone();
    addresses
        .reserve(&mut local, Some(&before))
        .ok()
        .unwrap()
        .keep();
    assert_eq!(local, before);
    let mut other = service("b", "NodePort", "");
    other["spec"]["ports"][0]["nodePort"] = 30001.into();
    assert!(addresses.reserve(&mut other, None).is_err());
    addresses.release("n/a", &local, None);
    assert!(addresses.reserve(&mut other, None).is_ok());
}

#[test]
fn an_update_keeps_what_it_has() {
    let addresses = addresses();
    let mut first = service("a", "NodePort", "");
    addresses.reserve(&mut first, None).ok().unwrap().keep();
    let before = first.clone();
    addresses
        .reserve(&mut first, Some(&before))
        .ok()
        .unwrap()
        .keep();
    assert_eq!(first, before);
    assert!(
        addresses
            .reserve(
                &mut service("b", "ClusterIP", text(&first, "/spec/clusterIP")),
                None
            )
            .is_err()
    );
}

fn dual() -> Addresses {
    let ranges = ["10.96.0.0/28", "fd00:96::/124"];
    Addresses::new(AddressPlan::parse(&ranges, "30000-30001").unwrap())
}

fn addresses_of(service: &Value) -> Vec<&str> {
    let all = items(service, "/spec/clusterIPs").iter();
    all.filter_map(Value::as_str).collect()
}

#[test]
fn a_second_family_comes_and_goes_with_the_policy() {
    let addresses = dual();
    let mut web = service("a", "ClusterIP", "");
    addresses.reserve(&mut web, None).ok().unwrap().keep();
    assert_eq!(addresses_of(&web), ["10.96.0.1"]);
    let single = web.clone();
    web["spec"]["ipFamilyPolicy"] = "PreferDualStack".into();
    addresses
        .reserve(&mut web, Some(&single))
        .ok()
        .unwrap()
        .keep();
    assert_eq!(addresses_of(&web), ["10.96.0.1", "fd00:96::1"]);
    assert_eq!(web["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    let mut other = service("b", "ClusterIP", "fd00:96::1");
    other["spec"]["ipFamilies"] = json!(["IPv6"]);
    assert!(addresses.reserve(&mut other, None).is_err());
    addresses.release("n/a", &web, Some(&single));
    addresses.reserve(&mut other, None).ok().unwrap().keep();
    assert_eq!(addresses_of(&other), ["fd00:96::1"]);
}

#[test]
fn a_fault_in_the_second_family_takes_nothing_of_the_first() {
    let addresses = dual();
    let mut web = service("a", "ClusterIP", "10.96.0.5");
    web["spec"]["clusterIPs"] = json!(["10.96.0.5", "fd00:97::1"]);
    web["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
    web["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
    let faults = addresses.reserve(&mut web, None).err().unwrap();
    assert_eq!(faults[0].field, "spec.clusterIPs[1]");
    let mut other = service("b", "ClusterIP", "10.96.0.5");
    assert!(addresses.reserve(&mut other, None).is_ok());
}
