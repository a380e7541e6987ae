//! What the data path costs a packet: `naru-packet` (tests/packet) times the programs, and its rounds
//! become cases.
//!
//! A figure is what the kernel says that a run of a program took on a frame that is in memory already.
//! There is no network card in it, no driver that makes an skb, and nothing that the kernel does with the
//! packet after the verdict; what all of that takes together, `net` measures. `known` flows of the quick
//! way run on one frame again and again, so that all they need is in the caches. The others have a run
//! for each frame, less what a single run costs more than one of many (`no_packet_once` less
//! `no_packet`). Ratios are taken round by round.

use std::process::Command;

use anyhow::{Context, Result};
use naru_tests::support::layout::target_dir;
use naru_tests::support::run;
use serde::Deserialize;

use super::report::Report;
use super::series::{Better, Case};

const UNIT: &str = "ns";

/// A line of `naru-packet`.
#[derive(Debug, Deserialize)]
struct Series {
    case: String,
    base: Option<String>,
    ns: Vec<f64>,
}

/// Times every case in so many rounds, or those whose name contains `only`.
///
/// # Errors
/// When it cannot be run here, or a packet goes another way than its case is about.
pub(super) fn measure(rounds: usize, only: Option<&str>, report: &mut Report) -> Result<()> {
    let mut command = Command::new(target_dir().join("release/naru-packet"));
    command.args(["--rounds", &rounds.to_string()]);
    if let Some(only) = only {
        command.args(["--only", only]);
    }
    let printed = run::checked(&mut command)?;
    for case in cases(&printed)? {
        report.add(case);
    }
    Ok(())
}

/// A case for each line; those with a base are set against it, round by round.
fn cases(printed: &str) -> Result<Vec<Case>> {
    let lines = printed.lines().map(serde_json::from_str);
    let all: Vec<Series> = lines.collect::<Result<_, _>>().context("naru-packet")?;
    let find = |name: &str| all.iter().find(|series| series.case == name);
    let case = |series: &Series| match series.base.as_deref() {
        None => Ok(Case::alone(&series.case, UNIT, Better::Lower, &series.ns)),
        Some(base) => {
            let theirs = find(base).with_context(|| format!("{base} was not measured"))?;
            let runs: Vec<_> = series
                .ns
                .iter()
                .copied()
                .zip(theirs.ns.iter().copied())
                .collect();
            Ok(Case::against(
                &series.case,
                UNIT,
                Better::Lower,
                base,
                &runs,
            ))
        }
    };
    all.iter().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_set_against_its_base_round_by_round() {
        let printed = "{\"case\":\"one\",\"base\":null,\"ns\":[100.0,200.0]}
{\"case\":\"many\",\"base\":\"one\",\"ns\":[150.0,220.0]}\n";
        let cases = cases(printed).unwrap();
        assert!(cases[0].ratios().is_empty());
        assert_eq!(cases[1].ratios(), [1.5, 1.1]);
        assert!(super::cases("{\"case\":\"a\",\"base\":\"b\",\"ns\":[1.0]}").is_err());
        assert!(super::cases("a word").is_err());
    }
}
