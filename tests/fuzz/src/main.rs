//! `naru-fuzz`: hunts from the command line, behind `cargo xtask fuzz`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use naru_fuzz::{Hunt, NAMES, hunt, open};
use naru_tests::support::layout::target_dir;

#[derive(Debug, Parser)]
#[command(name = "naru-fuzz", about = "Feeds parsers with wrong bytes")]
struct Line {
    /// What to hunt; everything, one after another, if nothing is named.
    targets: Vec<String>,
    /// Inputs for each target.
    #[arg(long, default_value_t = 200_000)]
    runs: u64,
    /// Where chance begins; the same seed gives the same inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Reads this one input instead.
    #[arg(long)]
    input: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let line = Line::parse();
    let targets = match line.targets.is_empty() {
        true => NAMES.map(str::to_owned).to_vec(),
        false => line.targets.clone(),
    };
    let dir = target_dir().join("fuzz");
    std::fs::create_dir_all(&dir)?;
    let mut code = ExitCode::SUCCESS;
    for name in &targets {
        let target = open(name)?;
        if let Some(path) = &line.input {
            let [_] = targets.as_slice() else {
                bail!("one input is for one target");
            };
            let input = std::fs::read(path).with_context(|| path.display().to_string())?;
            match target.read(&input) {
                Ok(answer) => println!("{name}: answer {answer:016x}"),
                Err(why) => bail!("{name}: {why}"),
            }
            continue;
        }
        let how = Hunt {
            name,
            runs: line.runs,
            seed: line.seed,
            dir: &dir,
        };
        match hunt(target.as_ref(), &how) {
            Ok(found) => println!("{name}: {} inputs, {} answers", found.inputs, found.answers),
            Err(why) => {
                println!("{why}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
