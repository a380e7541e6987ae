//! Pairs of measurements and what they come to.

use anyhow::Result;
use serde::Serialize;

/// Least, middle and greatest of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of any numbers; zeros for none.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or(0.0);
        let last = sorted.len().saturating_sub(1);
        Self {
            min: at(0),
            median: (at(last / 2) + at(sorted.len() / 2)) / 2.0,
            max: at(last),
        }
    }
}

/// What the measured thing is compared with.
#[derive(Debug, Serialize)]
pub(crate) struct Peer {
    name: String,
    #[serde(flatten)]
    spread: Spread,
}

/// One case of a benchmark, in the format that docs and tools expect.
#[derive(Debug, Serialize)]
pub(crate) struct Case {
    case: String,
    unit: String,
    better: &'static str,
    ours: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Peer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<Spread>,
    pairs: usize,
    /// The ratio of each pair, for figures that compare cases.
    #[serde(skip)]
    ratios: Vec<f64>,
}

/// Which way is better.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Better {
    Higher,
    Lower,
}

impl Better {
    fn word(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        }
    }
}

impl Case {
    /// Runs both sides in turn, `pairs` times, after one pair that is not counted; rates.
    pub(crate) fn paired(
        case: &str,
        unit: &str,
        peer: &str,
        pairs: usize,
        mut ours: impl FnMut() -> Result<f64>,
        mut theirs: impl FnMut() -> Result<f64>,
    ) -> Result<Self> {
        let runs = alternate(pairs, &mut ours, &mut theirs)?;
        Ok(Self::against(case, unit, Better::Higher, peer, &runs))
    }

    /// Pairs of figures, ours and the peer's, that were measured in turn.
    pub(crate) fn against(
        case: &str,
        unit: &str,
        better: Better,
        peer: &str,
        runs: &[(f64, f64)],
    ) -> Self {
        Self {
            case: case.to_owned(),
            unit: unit.to_owned(),
            better: better.word(),
            ours: Spread::of(runs.iter().map(|r| r.0)),
            peer: Some(Peer {
                name: peer.to_owned(),
                spread: Spread::of(runs.iter().map(|r| r.1)),
            }),
            ratio: Some(Spread::of(ratios(runs))),
            pairs: runs.len(),
            ratios: ratios(runs).collect(),
        }
    }

    /// A series that has no peer.
    pub(crate) fn alone(case: &str, unit: &str, better: Better, numbers: &[f64]) -> Self {
        Self {
            case: case.to_owned(),
            unit: unit.to_owned(),
            better: better.word(),
            ours: Spread::of(numbers.iter().copied()),
            peer: None,
            ratio: None,
            pairs: numbers.len(),
            ratios: Vec::new(),
        }
    }

    /// The ratio of each pair; empty without a peer.
    pub(crate) fn ratios(&self) -> &[f64] {
        &self.ratios
    }

    /// The case in one line for people.
    pub(crate) fn line(&self) -> String {
        let [min, median, max] = [self.ours.min, self.ours.median, self.ours.max].map(figure);
        let own = format!(
            "{:<36} {median:>12} {} ({min} to {max})",
            self.case, self.unit
        );
        match (&self.peer, self.ratio) {
            (Some(peer), Some(ratio)) => {
                let Spread { min, median, max } = ratio;
                format!(
                    "{own}; {median:.3} of {} ({min:.3} to {max:.3}, {} pairs)",
                    peer.name, self.pairs
                )
            }
            _ => format!("{own}, {} runs", self.pairs),
        }
    }
}

/// Three decimals where one would hide what a case is about.
fn figure(number: f64) -> String {
    if number.abs() < 10.0 {
        format!("{number:.3}")
    } else {
        format!("{number:.1}")
    }
}

fn ratios(runs: &[(f64, f64)]) -> impl Iterator<Item = f64> + '_ {
    runs.iter().map(|(ours, theirs)| ours / theirs)
}

/// Pairs of figures, ours and theirs, after a pair that is not counted. Each side is first every
/// other time, so that a drift of the machine favours neither.
pub(crate) fn alternate<T>(
    pairs: usize,
    mut ours: impl FnMut() -> Result<T>,
    mut theirs: impl FnMut() -> Result<T>,
) -> Result<Vec<(T, T)>> {
    let mut runs = Vec::with_capacity(pairs);
    for pair in 0..=pairs {
        let figures = if pair % 2 == 0 {
            let first = ours()?;
            (first, theirs()?)
        } else {
            let first = theirs()?;
            (ours()?, first)
        };
        runs.push(figures);
    }
    runs.remove(0);
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn each_side_is_first_every_other_time() {
        let order = RefCell::new(String::new());
        let run = |side| {
            order.borrow_mut().push(side);
            Ok(1.0)
        };
        let runs = alternate(3, || run('o'), || run('t')).unwrap();
        assert_eq!(runs.len(), 3);
        assert_eq!(*order.borrow(), "ottootto");
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(
            Spread::of([3.0, 1.0, 2.0]),
            Spread {
                min: 1.0,
                median: 2.0,
                max: 3.0
            }
        );
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let (mut a, mut b) = ([9.0, 10.0, 20.0].into_iter(), [9.0, 5.0, 10.0].into_iter());
        let case = Case::paired(
            "x",
            "1/s",
            "y",
            2,
            || Ok(a.next().unwrap()),
            || Ok(b.next().unwrap()),
        )
        .unwrap();
        assert_eq!(
            case.ratio,
            Some(Spread {
                min: 2.0,
                median: 2.0,
                max: 2.0
            })
        );
        let json = serde_json::to_value(&case).unwrap();
        assert_eq!(json["peer"]["median"], 7.5);
        assert_eq!(json["peer"]["name"], "y");
    }
}
