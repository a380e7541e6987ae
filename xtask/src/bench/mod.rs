//! `bench`: measurements on a running cluster, each against a peer in the same run, and of the data path
//! without one.
//!
//! Runs alternate, ours and the peer's, so that both see the same machine; the ratio is taken pair
//! by pair. A null case, the peer against itself, shows how far apart equals come out here: nothing
//! smaller than its spread means anything.

mod api;
mod daemon;
mod etcd;
mod idle;
mod ingress;
mod load;
mod net;
mod packet;
mod pod;
mod report;
mod scale;
mod series;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use naru_tests::support::layout::target_dir;
use naru_tests::support::{Cluster, Families, Kubectl, Layout, Routing, Spec};

use self::report::Report;
use crate::progress::step;
use crate::{compile, kubectls, packages};

/// Arguments of `cargo xtask bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// `packet`, `idle`, `pod`, `net`, `api` or `scale`; all when absent.
    name: Option<String>,
    /// Pairs of runs per case; rounds of `packet`.
    #[arg(long, default_value_t = 15)]
    pairs: usize,
    /// Length of a run of `net` and `api`, in seconds.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Only cases of `packet` and `net` whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

/// How often and how long to measure.
#[derive(Debug, Clone, Copy)]
struct Effort {
    pairs: usize,
    /// Of one run.
    seconds: f64,
}

/// Needs no cluster.
const PACKET: &str = "packet";
/// Idle first on the cluster: it wants a fresh one.
const NAMES: [&str; 6] = [PACKET, "idle", "pod", "net", "api", "scale"];

/// Measures; what needs a cluster on one of its own, which it starts and ends.
///
/// # Errors
/// When the cluster does not start or a measurement fails.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let names = chosen(args.name.as_deref())?;
    let effort = Effort {
        pairs: args.pairs,
        seconds: args.seconds,
    };
    let only = args.only.as_deref();
    let (alone, clustered): (Vec<&str>, Vec<&str>) =
        names.into_iter().partition(|name| *name == PACKET);
    if !alone.is_empty() {
        compile::packet()?;
        reported(PACKET, only, |report| {
            packet::measure(effort.pairs, only, report)
        })?;
    }
    if clustered.is_empty() {
        Ok(())
    } else {
        on_cluster(&clustered, effort, only)
    }
}

fn on_cluster(names: &[&str], effort: Effort, only: Option<&str>) -> Result<()> {
    packages::ensure_peers()?;
    compile::load()?;
    // What `up` does on a tree that is built, before it applies the example.
    compile::everything()?;
    let begin = Instant::now();
    compile::everything()?;
    step("starting the cluster \"measure\"");
    let layout = Layout::of_checkout("measure")?;
    let cluster = Cluster::up(
        layout,
        &Spec {
            nodes: 2,
            families: Families::Both,
            routing: Routing::Native,
            kubectl: kubectls::any()?,
        },
    )?;
    let up = begin.elapsed();
    let outcome = names.iter().try_for_each(|name| {
        reported(name, only, |report| {
            measure(name, &cluster, up, effort, report)
        })
    });
    cluster.down()?;
    outcome
}

fn chosen(name: Option<&str>) -> Result<Vec<&str>> {
    match name {
        None => Ok(NAMES.to_vec()),
        Some(name) if NAMES.contains(&name) => Ok(vec![name]),
        Some(other) => bail!("no benchmark is called {other:?}: {}", NAMES.join(", ")),
    }
}

fn measure(
    name: &str,
    cluster: &Cluster,
    up: Duration,
    effort: Effort,
    report: &mut Report,
) -> Result<()> {
    match name {
        "idle" => idle::measure(cluster, up, report),
        "pod" => pod::measure(cluster, effort.pairs, report),
        "net" => net::measure(cluster, effort, report),
        "api" => api::measure(cluster, effort, report),
        _ => scale::measure(cluster, report),
    }
}

/// Prints and writes the cases of a benchmark, even if it fails half-way.
fn reported(
    name: &str,
    only: Option<&str>,
    measure: impl FnOnce(&mut Report) -> Result<()>,
) -> Result<()> {
    step(&format!("measuring {name}"));
    let mut report = Report::new(only);
    let outcome = measure(&mut report);
    let dir = target_dir().join("bench");
    std::fs::create_dir_all(&dir)?;
    let file = dir.join(format!("{name}.json"));
    report.write(&file)?;
    step(&format!("written to {}", file.display()));
    outcome
}

/// A namespace for the measured pods.
struct Ground {
    kubectl: Kubectl,
}

impl Ground {
    const NAME: &str = "bench";

    fn prepare(cluster: &Cluster) -> Result<Self> {
        let kubectl = cluster.kubectl();
        kubectl.run(&["delete", "namespace", Self::NAME, "--ignore-not-found"])?;
        kubectl.run(&["create", "namespace", Self::NAME])?;
        Ok(Self { kubectl })
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        self.kubectl.run(&[&["-n", Self::NAME], args].concat())
    }

    fn apply(&self, yaml: &str) -> Result<()> {
        self.kubectl
            .pipe(&["-n", Self::NAME, "apply", "-f", "-"], yaml)
            .map(drop)
    }

    fn field(&self, object: &str, path: &str) -> Result<String> {
        self.run(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }
}

/// The number that a command printed last.
fn last_number(text: &str) -> Result<f64> {
    let word = text
        .split_whitespace()
        .last()
        .ok_or_else(|| anyhow!("it printed nothing"))?;
    Ok(word.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_benchmark_is_refused() {
        assert!(chosen(Some("nett")).is_err());
        assert_eq!(chosen(None).unwrap().len(), 6);
    }

    #[test]
    fn the_rate_is_the_last_word() {
        assert_eq!(last_number("rate 12.5\n").unwrap(), 12.5);
        assert!(last_number("").is_err());
    }
}
