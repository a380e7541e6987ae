//! Runs cases one after the other on one cluster and prints what the standard harness would.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use naru_tests::support::{Families, Layout, Routing, down, leaks};

use crate::world::World;

/// One claim about a cluster.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// The claim, as the function's name.
    pub(crate) name: &'static str,
    /// The proof.
    pub(crate) run: fn(&World) -> Result<()>,
}

/// Makes a case of a function.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        &[$($crate::harness::Case { name: stringify!($name), run: $name }),*]
    };
}
pub(crate) use cases;

/// A cluster and the claims about it.
pub(crate) struct Stage {
    /// Its name.
    pub(crate) cluster: &'static str,
    /// Its address families.
    pub(crate) families: Families,
    /// How its nodes' pods reach each other.
    pub(crate) routing: Routing,
    /// The claim that it starts.
    pub(crate) start: &'static str,
    /// The claim that nothing of it is left.
    pub(crate) end: &'static str,
    /// The claims about it, in this order.
    pub(crate) cases: Vec<Case>,
}

/// Says that this machine can't run a test, and why.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// Runs the cases whose names contain a filter given on the command line, one cluster after the
/// other.
pub(crate) fn run(stages: &[Stage]) -> ExitCode {
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()));
    let chosen = |stage: &Stage| -> Vec<Case> {
        let cases = stage.cases.iter();
        cases.filter(|case| wanted(case.name)).copied().collect()
    };
    if std::env::args().any(|a| a == "--list") {
        let all = stages.iter().flat_map(chosen);
        all.for_each(|c| println!("{}: test", c.name));
        return ExitCode::SUCCESS;
    }
    let begin = Instant::now();
    let mut tally = Tally::default();
    let count: usize = stages.iter().map(|stage| chosen(stage).len()).sum();
    let all: usize = stages.iter().map(|stage| stage.cases.len()).sum();
    println!("\nrunning {count} tests");
    for stage in stages {
        let chosen = chosen(stage);
        if !chosen.is_empty() || wanted(stage.start) || wanted(stage.end) {
            on_a_cluster(stage, &chosen, &mut tally);
        }
    }
    let word = if tally.failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {} passed; {} failed; {} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        tally.passed,
        tally.failed,
        tally.skipped,
        all - count,
        begin.elapsed().as_secs_f64()
    );
    if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn on_a_cluster(stage: &Stage, chosen: &[Case], tally: &mut Tally) {
    let mut world = None;
    tally.judge(stage.start, None, || {
        world = Some(World::start(stage.cluster, stage.families, stage.routing)?);
        Ok(())
    });
    for case in chosen {
        match &world {
            Some(world) => tally.judge(case.name, Some(world), || (case.run)(world)),
            None => tally.judge(case.name, None, || Err(anyhow!("there is no cluster"))),
        }
    }
    if std::env::var_os("NARU_E2E_KEEP").is_some() {
        return;
    }
    drop(world);
    tally.judge(stage.end, None, || {
        let layout = Layout::of_checkout(stage.cluster)?;
        down::ensure_ours(&layout)?;
        down::down(&layout)?;
        let left = leaks::find(&layout)?;
        ensure!(left.is_empty(), "left behind: {left:#?}");
        Ok(())
    });
}

impl Tally {
    fn judge(&mut self, name: &str, world: Option<&World>, proof: impl FnOnce() -> Result<()>) {
        let begin = Instant::now();
        let outcome =
            catch_unwind(AssertUnwindSafe(proof)).unwrap_or_else(|p| Err(anyhow!(panic_text(&p))));
        let took = begin.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("test {name} ... ok <{took:.2}s>");
            }
            Err(error) if error.is::<Skip>() => {
                self.skipped += 1;
                println!("test {name} ... ignored, {error}");
            }
            Err(error) => {
                self.failed += 1;
                println!("test {name} ... FAILED <{took:.2}s>");
                println!("---- {name} stdout ----\n{error:#}");
                if let Some(world) = world {
                    println!("{}", world.evidence());
                }
            }
        }
    }
}

fn panic_text(payload: &Box<dyn std::any::Any + Send>) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
        .to_owned()
}
