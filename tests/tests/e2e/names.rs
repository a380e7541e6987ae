//! The cluster's DNS, asked from inside pods.

use anyhow::{Result, ensure};
use naru_tests::support::outside::{UPSTREAM_ADDRESS, UPSTREAM_NAME};
use naru_tests::support::wait;

use crate::harness::{Case, cases};
use crate::world::{PATIENCE, World, landing_pod};

pub(crate) const CASES: &[Case] = cases![
    the_resolver_configuration_of_a_pod_is_right,
    a_service_has_a_name,
    a_headless_service_names_its_pods,
    names_outside_the_cluster_are_forwarded,
    dns_answers_srv_ptr_and_nxdomain,
];

fn the_resolver_configuration_of_a_pod_is_right(world: &World) -> Result<()> {
    let space = world.namespace("resolv")?;
    space.landing_pod("client", None)?;
    let text = space.exec("client", &["cat", "/etc/resolv.conf"])?;
    let search = format!(
        "search {}.svc.cluster.local svc.cluster.local cluster.local",
        space.name
    );
    for line in ["nameserver 10.96.0.10", search.as_str(), "options ndots:5"] {
        ensure!(
            text.lines().any(|l| l.trim_end() == line),
            "no {line:?} in {text:?}"
        );
    }
    Ok(())
}

fn a_service_has_a_name(world: &World) -> Result<()> {
    let space = world.namespace("name")?;
    space.landing_service("web", 1)?;
    space.landing_pod("client", None)?;
    let address = space.field("service/web", ".spec.clusterIP")?;
    for name in [
        "web".to_owned(),
        format!("web.{}", space.name),
        format!("web.{}.svc.cluster.local", space.name),
    ] {
        let page = space.get_from("client", &format!("http://{name}/"))?;
        ensure!(page.contains("hostname web-"), "{name}: {page}");
    }
    let said = space.exec(
        "client",
        &["nslookup", &format!("web.{}.svc.cluster.local", space.name)],
    )?;
    ensure!(said.contains(&address), "{said}");
    Ok(())
}

fn a_headless_service_names_its_pods(world: &World) -> Result<()> {
    let space = world.namespace("headless")?;
    space.landing_service("web", 2)?;
    space.apply("apiVersion: v1\nkind: Service\nmetadata: {name: peers}\nspec: {clusterIP: None, selector: {app: web}, ports: [{port: 8080}]}\n")?;
    space.landing_pod("client", None)?;
    let pods = space.run(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[*].status.podIP}",
    ])?;
    let name = format!("peers.{}.svc.cluster.local", space.name);
    wait::until("both addresses", PATIENCE, || {
        let said = space.exec("client", &["nslookup", &name])?;
        ensure!(pods.split(' ').all(|ip| said.contains(ip)), "{said}");
        Ok(Some(()))
    })
}

fn names_outside_the_cluster_are_forwarded(world: &World) -> Result<()> {
    let space = world.namespace("forwarded")?;
    space.landing_pod("client", None)?;
    let said = space.exec("client", &["nslookup", UPSTREAM_NAME])?;
    ensure!(said.contains(UPSTREAM_ADDRESS), "{said}");
    Ok(())
}

fn dns_answers_srv_ptr_and_nxdomain(world: &World) -> Result<()> {
    let space = world.namespace("records")?;
    space.landing_service("web", 1)?;
    space.apply(&landing_pod("client", Some(1)))?;
    let address = space.field("service/web", ".spec.clusterIP")?;
    let dig = |args: &[&str]| {
        world.on_node(
            1,
            &[&["dig", "@10.96.0.10", "+time=2", "+tries=2"], args].concat(),
        )
    };
    let name = format!("web.{}.svc.cluster.local.", space.name);
    wait::until("the SRV record", PATIENCE, || {
        let said = dig(&["+short", "SRV", &format!("_http._tcp.{name}")])?;
        ensure!(said.contains(" 80 "), "{said}");
        Ok(Some(()))
    })?;
    let pointer = dig(&["+short", "-x", &address])?;
    ensure!(pointer.trim() == name, "{pointer}");
    let nothing = dig(&["nobody.nowhere.svc.cluster.local."])?;
    ensure!(nothing.contains("status: NXDOMAIN"), "{nothing}");
    let tcp = dig(&["+tcp", "+short", &name])?;
    ensure!(tcp.trim() == address, "{tcp}");
    Ok(())
}
