//! The proxy subresources, asked by kubectl and, for what kubectl cannot say, through `kubectl proxy`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::harness::{Case, cases};
use crate::kubectl::Running;
use crate::world::{PATIENCE, World};

pub(crate) const CASES: &[Case] = cases![
    pods_services_and_nodes_are_asked_through_the_api,
    any_method_path_and_query_goes_through_the_proxy,
];

fn pods_services_and_nodes_are_asked_through_the_api(world: &World) -> Result<()> {
    let space = world.namespace("proxy")?;
    space.landing_pod("target", Some(2))?;
    space.landing_service("web", 2)?;
    let raw = |path: &str| world.kubectl.run(&["get", "--raw", path]);
    let here = format!("/api/v1/namespaces/{}", space.name);
    for path in ["pods/target:8080", "pods/http:target:8080"] {
        let said = raw(&format!("{here}/{path}/proxy/hello"))?;
        ensure!(said.contains("target"), "{path}: {said}");
    }
    for path in ["services/web:80", "services/http:web:80", "services/web"] {
        let said = raw(&format!("{here}/{path}/proxy/"))?;
        ensure!(said.contains("web-"), "{path}: {said}");
    }
    for path in [
        "nodes/node1",
        "nodes/node2:10250",
        "nodes/https:node2:10250",
    ] {
        let said = raw(&format!("/api/v1/{path}/proxy/healthz"))?;
        ensure!(said == "ok", "{path}: {said}");
    }
    let refused = |path: &str| {
        world
            .kubectl
            .refused(&["get", "--raw", &format!("{here}/{path}/proxy/")], None)
    };
    let closed = refused("pods/target:8081")?;
    ensure!(closed.contains("refused"), "{closed}");
    for path in ["services/web:81", "services/web:admin"] {
        let said = refused(path)?;
        ensure!(said.contains("ServiceUnavailable"), "{path}: {said}");
    }
    let nobody = refused("pods/nobody")?;
    ensure!(nobody.contains("NotFound"), "{nobody}");
    Ok(())
}

fn any_method_path_and_query_goes_through_the_proxy(world: &World) -> Result<()> {
    let space = world.namespace("proxy-raw")?;
    space.landing_pod("target", None)?;
    let mut proxy = world.kubectl.command(&["proxy", "--port=0"]);
    let mut proxy = Running(proxy.stdout(Stdio::piped()).spawn()?);
    let stdout = proxy.0.stdout.take().context("stdout is piped")?;
    let first = BufReader::new(stdout).lines().next().context("no line")??;
    let address = first.rsplit(' ').next().unwrap_or_default().to_owned();
    let root = format!("/api/v1/namespaces/{}/pods/target:8080/proxy", space.name);
    for (method, path) in [
        ("GET", "/a%2Fb/c?x=1&y=%20z"),
        ("POST", "/posted"),
        ("PUT", "/put"),
        ("DELETE", "/deleted"),
    ] {
        let answer = ask(&address, method, &format!("{root}{path}"))?;
        ensure!(
            answer.starts_with("HTTP/1.1 200"),
            "{method} {path}: {answer}"
        );
        let log = space.run(&["logs", "target"])?;
        let wanted = format!("{method} {path} 200");
        ensure!(log.contains(&wanted), "{wanted} is not in {log}");
    }
    let answer = ask(&address, "GET", &root)?;
    ensure!(answer.starts_with("HTTP/1.1 301"), "{answer}");
    ensure!(answer.contains("/proxy/\r\n"), "{answer}");
    Ok(())
}

/// One request; the whole answer.
fn ask(address: &str, method: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
