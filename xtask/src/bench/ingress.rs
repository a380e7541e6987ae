//! From the API's event of a changed Ingress to the first answer by the new route.
//!
//! One kept connection asks again and again for a path that no route has yet. The clock starts when
//! a watch that was open beforehand shows the change, and stops with the first answer that is not
//! 404; an answer that is there before the watch has said so counts as no delay.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use naru_tests::support::Cluster;

use super::Ground;
use super::pod::Watch;
use super::series::{Better, Case};

const HOST: &str = "bench.localhost";
/// A change that takes longer than this is lost.
const LIMIT: Duration = Duration::from_secs(10);

/// Milliseconds from the event to the answer, `runs` times after one that is not counted.
pub(super) fn measure(cluster: &Cluster, ground: &Ground, runs: usize) -> Result<Case> {
    ground.apply(SERVER)?;
    ground.run(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    ground.apply(&ingress("/before"))?;
    let mut client = Client::connect(cluster.door().ingress)?;
    client.until_found("/before")?;
    let mut delays = Vec::new();
    for run in 0..=runs {
        let delay = change(ground, &mut client, &format!("/run-{run}"))?;
        if run > 0 {
            delays.push(delay);
        }
    }
    Ok(Case::alone(
        "ingress_change_to_live",
        "ms",
        Better::Lower,
        &delays,
    ))
}

fn change(ground: &Ground, client: &mut Client, path: &str) -> Result<f64> {
    let mut watch = ground
        .kubectl
        .command(&["-n", Ground::NAME, "get", "ingress", "web", "-w"]);
    watch.args([
        "-o",
        r#"jsonpath={.spec.rules[0].http.paths[0].path}{"\n"}"#,
    ]);
    let mut watch = Watch(watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let mut lines = BufReader::new(watch.0.stdout.take().context("stdout is piped")?).lines();
    // The first line says that the watch is open.
    lines.next().context("the watch ended")??;
    let wanted = path.to_owned();
    let watching = std::thread::spawn(move || {
        let seen = lines.map_while(Result::ok).any(|line| line == wanted);
        seen.then(Instant::now)
    });
    let applying = std::thread::scope(|scope| {
        let applying = scope.spawn(|| ground.apply(&ingress(path)));
        let found = client.until_found(path);
        let applied = applying.join().unwrap_or_else(|_| anyhow::bail!("kubectl"));
        applied.and(found)
    });
    let live = applying?;
    let event = watching.join().ok().flatten().context("the watch ended")?;
    Ok(live.saturating_duration_since(event).as_secs_f64() * 1000.0)
}

/// One kept connection through the front door.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks until the path has a route; returns when the answer was there.
    fn until_found(&mut self, path: &str) -> Result<Instant> {
        let begin = Instant::now();
        loop {
            if self.get(path)? == 200 {
                return Ok(Instant::now());
            }
            ensure!(begin.elapsed() < LIMIT, "{path} has no route");
        }
    }

    /// The status code of one request.
    fn get(&mut self, path: &str) -> Result<u16> {
        write!(
            self.0.get_mut(),
            "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
        )?;
        let (mut code, mut length) = (0, 0);
        for number in 0.. {
            let mut line = String::new();
            ensure!(
                self.0.read_line(&mut line)? > 0,
                "the connection was closed"
            );
            let line = line.trim().to_ascii_lowercase();
            match line.strip_prefix("content-length:") {
                _ if line.is_empty() => break,
                _ if number == 0 => code = line.split(' ').nth(1).unwrap_or_default().parse()?,
                Some(value) => length = value.trim().parse()?,
                None => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(code)
    }
}

const SERVER: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: naru.dev/landing:v1, args: [serve], readinessProbe: {tcpSocket: {port: 8080}}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
";

fn ingress(path: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: web}}
spec:
  rules:
  - host: {HOST}
    http: {{paths: [{{path: {path}, pathType: Exact, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}
"
    )
}
