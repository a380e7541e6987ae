//! How the cases take turns, and how their figures come to be alike.

use anyhow::Result;
use serde_json::{Value, json};

use crate::case::{Case, Effort};
use crate::cases::nothing;

/// Lets the cases take turns; a line for each.
///
/// # Errors
/// When a program does something else with a packet than the case is about.
pub(crate) fn measure(cases: &[&Case], rounds: usize, effort: Effort) -> Result<Vec<Value>> {
    let mut series = vec![Vec::with_capacity(rounds); cases.len()];
    for number in 0..=rounds {
        let figures = alike(cases, round(cases, number, effort)?);
        // The first of all is the warm-up.
        if number > 0 {
            let figures = series.iter_mut().zip(figures);
            figures.for_each(|(series, figure)| series.push(figure));
        }
    }
    let line = |(case, ns): (&&Case, _)| json!({"case": case.name, "base": case.base, "ns": ns});
    Ok(cases.iter().zip(series).map(line).collect())
}

/// The figure of each case; every other round backwards, so that a drift of the machine favours none.
fn round(cases: &[&Case], number: usize, effort: Effort) -> Result<Vec<f64>> {
    let mut figures = vec![0.0; cases.len()];
    let mut turns: Vec<_> = (0..cases.len()).collect();
    if number % 2 == 1 {
        turns.reverse();
    }
    for turn in turns {
        figures[turn] = cases[turn].round(effort)?;
    }
    Ok(figures)
}

/// Takes away from single runs what one costs more than one of many: the kernel's clock, and what a
/// system call does to the caches.
fn alike(cases: &[&Case], figures: Vec<f64>) -> Vec<f64> {
    let of = |name: &str| {
        let place = cases.iter().position(|case| case.name == name);
        place.map_or(0.0, |place| figures[place])
    };
    let alike = |(case, figure): (&&Case, &f64)| {
        let [many, single] = nothing(case.program);
        if case.is_single() && case.name != single {
            figure - (of(single) - of(many))
        } else {
            *figure
        }
    };
    cases.iter().zip(&figures).map(alike).collect()
}
