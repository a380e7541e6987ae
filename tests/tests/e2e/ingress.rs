//! The shop, as a customer outside sees it through the ingress.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};
use naru_tests::support::{addresses, layout, wait};

use crate::harness::{Case, cases};
use crate::world::{Background, PATIENCE, World};

pub(crate) const CASES: &[Case] = cases![
    the_ingress_routes_by_host_and_path,
    the_front_door_leads_to_the_shop,
    an_ingress_change_takes_effect,
    ingress_changes_break_no_kept_connection,
    the_shops_node_port_answers_outside,
];

/// Applies the shop and waits for it.
pub(crate) fn shop(world: &World) -> Result<()> {
    let shop = layout::checkout().join("examples/shop");
    world
        .kubectl
        .run(&["apply", "-f", &shop.to_string_lossy()])?;
    let wait = [
        "-n",
        "shop",
        "wait",
        "--for=condition=Available",
        "--timeout=90s",
        "deployment",
        "--all",
    ];
    world.kubectl.run(&wait).map(drop)
}

fn expect(world: &World, url: &str, host: &str, good: impl Fn(u16, &str) -> bool) -> Result<()> {
    wait::until(&format!("{url} as {host}"), PATIENCE, || {
        let (code, body) = world.get_outside(url, Some(host))?;
        ensure!(good(code, &body), "{code} {body}");
        Ok(Some(()))
    })
}

fn the_ingress_routes_by_host_and_path(world: &World) -> Result<()> {
    shop(world)?;
    for k in world.cluster.nodes() {
        let base = format!("http://{}", addresses::node(k));
        expect(
            world,
            &format!("{base}/"),
            "shop.localhost",
            |code, body| code == 200 && body.contains("hostname web-"),
        )?;
        expect(
            world,
            &format!("{base}/public/x"),
            "shop.localhost",
            |code, body| code == 200 && body.contains("path /public/x"),
        )?;
        // web asks api on the customer's behalf.
        expect(
            world,
            &format!("{base}/api/hello"),
            "shop.localhost",
            |code, body| code == 200 && body.contains("hostname api-"),
        )?;
        expect(
            world,
            &format!("{base}/env/GREETING"),
            "shop.localhost",
            |code, body| code == 200 && body == "good morning",
        )?;
        expect(
            world,
            &format!("{base}/"),
            "elsewhere.localhost",
            |code, _| code == 404,
        )?;
    }
    Ok(())
}

fn the_front_door_leads_to_the_shop(world: &World) -> Result<()> {
    shop(world)?;
    let mut stream = TcpStream::connect(("127.0.0.1", world.cluster.door().ingress))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n")?;
    let mut status = String::new();
    BufReader::new(&stream).read_line(&mut status)?;
    ensure!(status.starts_with("HTTP/1.1 200"), "{status:?}");
    Ok(())
}

fn an_ingress_change_takes_effect(world: &World) -> Result<()> {
    let space = world.namespace("route")?;
    space.landing_service("web", 1)?;
    let ingress = |kind: &str, path: &str| {
        format!(
            "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web}}
spec:
  rules:
  - host: route.localhost
    http: {{paths: [{{path: {path}, pathType: {kind}, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}
"
        )
    };
    let base = format!("http://{}", addresses::node(1));
    space.apply(&ingress("Exact", "/one"))?;
    expect(
        world,
        &format!("{base}/one"),
        "route.localhost",
        |code, _| code == 200,
    )?;
    expect(
        world,
        &format!("{base}/one/more"),
        "route.localhost",
        |code, _| code == 404,
    )?;
    space.apply(&ingress("Prefix", "/two"))?;
    expect(
        world,
        &format!("{base}/two/more"),
        "route.localhost",
        |code, _| code == 200,
    )?;
    expect(
        world,
        &format!("{base}/twofold"),
        "route.localhost",
        |code, _| code == 404,
    )?;
    expect(
        world,
        &format!("{base}/one"),
        "route.localhost",
        |code, _| code == 404,
    )?;
    space.run(&["delete", "ingress", "web"])?;
    expect(
        world,
        &format!("{base}/two"),
        "route.localhost",
        |code, _| code == 404,
    )
}

/// Requests to the ingress of node 1 as one host, on one connection or on many.
fn load(world: &World, host: &str, keep_alive: bool) -> Result<Background> {
    let mut command = world.cluster.inside("outside");
    command.args([&world.landing()?, "load", "--host", host]);
    command.args(["--target", &format!("{}:80", addresses::node(1))]);
    command.args([
        "--keep-alive",
        &keep_alive.to_string(),
        "--until-stdin-closes",
        "true",
    ]);
    Background::start(command)
}

fn ingress_changes_break_no_kept_connection(world: &World) -> Result<()> {
    let space = world.namespace("live")?;
    space.landing_service("web", 2)?;
    let rule = |host: &str| {
        format!(
            "{{host: {host}, http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}}}"
        )
    };
    let ingress = |rules: &[String]| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web}}\nspec: {{rules: [{}]}}\n",
            rules.join(", ")
        )
    };
    let url = format!("http://{}/ping", addresses::node(1));
    let mut rules = vec![rule("live.localhost")];
    space.apply(&ingress(&rules))?;
    expect(world, &url, "live.localhost", |code, _| code == 200)?;
    let loads = [
        load(world, "live.localhost", true)?,
        load(world, "live.localhost", false)?,
    ];
    for round in 1..=4 {
        let host = format!("live{round}.localhost");
        rules.push(rule(&host));
        space.apply(&ingress(&rules))?;
        expect(world, &url, &host, |code, _| code == 200)?;
    }
    rules.truncate(1);
    space.apply(&ingress(&rules))?;
    expect(world, &url, "live4.localhost", |code, _| code == 404)?;
    // Endpoints come and go behind the connection.
    for replicas in ["--replicas=4", "--replicas=1"] {
        space.run(&["scale", "deployment/web", replicas])?;
        space.rolled_out("web")?;
    }
    space.run(&["set", "image", "deployment/web", "main=naru.dev/landing:v2"])?;
    space.rolled_out("web")?;
    expect(
        world,
        &url.replace("ping", ""),
        "live.localhost",
        |code, body| code == 200 && body.contains("version v2"),
    )?;
    for load in loads {
        load.finish()?.flawless(100)?;
    }
    Ok(())
}

fn the_shops_node_port_answers_outside(world: &World) -> Result<()> {
    shop(world)?;
    for k in world.cluster.nodes() {
        let url = format!("http://{}:30080/", addresses::node(k));
        expect(world, &url, "any", |code, body| {
            code == 200 && body.contains("hostname web-")
        })?;
    }
    Ok(())
}
