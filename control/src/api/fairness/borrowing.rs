//! How seats are divided anew, every now and then, by what levels have wanted. Pure.
//!
//! What a level wants is smoothed: it rises at once and falls by half in five minutes. Each level gets
//! the same part of what it wants, but no less than it keeps for itself or used lately up to its
//! nominal seats, and no more than it may borrow.

use super::demand::Observed;
use super::spec::Bounds;

/// Part of a smoothed demand that is left after a round of ten seconds.
const KEPT: f64 = 0.977;
/// What a level wants at least, so that nobody is divided by nothing.
const LITTLE: f64 = 0.001;

/// What a level wanted lately, smoothed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish {
    smoothed: f64,
    peak: u64,
}

impl Wish {
    /// Takes the last round into account.
    pub(super) fn update(&mut self, seen: Observed) {
        self.peak = seen.peak;
        if let Some(average) = seen.average {
            let now = average + seen.deviation;
            self.smoothed = now.max(KEPT * self.smoothed + (1.0 - KEPT) * now);
        }
    }
}

/// A level, as far as dividing is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) exempt: bool,
    pub(super) bounds: Bounds,
    pub(super) wish: Wish,
}

impl Claim {
    /// What it gets in any case, as long as there is enough.
    fn floor(&self) -> u64 {
        let Bounds { nominal, least, .. } = self.bounds;
        if self.exempt {
            least.max(self.wish.peak)
        } else {
            least.max(nominal.min(self.wish.peak))
        }
    }

    fn ends(&self) -> (f64, f64, f64) {
        let floor = self.floor() as f64;
        let target = self.wish.smoothed.max(floor).max(LITTLE);
        (floor, target, self.bounds.most as f64)
    }
}

/// The seats of each level, in their order.
pub(super) fn divide(claims: &[Claim]) -> Vec<u64> {
    let limited = || claims.iter().filter(|claim| !claim.exempt);
    let nominal: u64 = claims.iter().map(|claim| claim.bounds.nominal).sum();
    let exempt = claims.iter().filter(|claim| claim.exempt);
    let left = nominal.saturating_sub(exempt.map(Claim::floor).sum());
    let least: u64 = limited().map(|claim| claim.bounds.least).sum();
    let floors: u64 = limited().map(Claim::floor).sum();
    let part = if left <= least {
        Part::Least
    } else if left <= floors {
        Part::Between(ratio(left - least, floors - least))
    } else {
        Part::Fair(fair(&limited().map(Claim::ends).collect::<Vec<_>>(), left))
    };
    claims.iter().map(|claim| part.of(claim)).collect()
}

/// How much of what it would like a level gets.
enum Part {
    /// What it keeps for itself.
    Least,
    /// So much of what lies between that and its floor.
    Between(f64),
    /// So many times what it wants, within its bounds.
    Fair(f64),
}

impl Part {
    fn of(&self, claim: &Claim) -> u64 {
        let Bounds { least, .. } = claim.bounds;
        match self {
            _ if claim.exempt => claim.floor(),
            Self::Least => least,
            Self::Between(part) => {
                let more = (claim.floor() - least) as f64 * part;
                least + more.round() as u64
            }
            Self::Fair(times) => {
                let (low, target, high) = claim.ends();
                (target * times).min(high).max(low).round() as u64
            }
        }
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// By how much every target is to be multiplied so that what comes out, within the bounds, is `sum`.
/// It grows with the factor, so that halving the doubt finds it.
fn fair(ends: &[(f64, f64, f64)], sum: u64) -> f64 {
    let sum = sum as f64;
    let got = |times: f64| -> f64 {
        let each = |(low, target, high): &(f64, f64, f64)| (target * times).min(*high).max(*low);
        ends.iter().map(each).sum()
    };
    let (mut low, mut high) = (0.0, 1.0);
    while got(high) < sum && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if got(middle) < sum {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(nominal: u64, lent: u64, borrowed: u64, wanted: u64) -> Claim {
        let smoothed = wanted as f64;
        Claim {
            exempt: false,
            bounds: Bounds {
                nominal,
                least: nominal - lent,
                most: nominal + borrowed,
            },
            wish: Wish {
                smoothed,
                peak: wanted,
            },
        }
    }

    #[test]
    fn who_needs_much_gets_what_others_lend() {
        assert_eq!(
            divide(&[claim(10, 5, 30, 100), claim(20, 10, 30, 0)]),
            [20, 10]
        );
        assert_eq!(
            divide(&[claim(10, 5, 3, 100), claim(20, 10, 30, 1)]),
            [13, 17]
        );
        assert_eq!(
            divide(&[claim(10, 5, 30, 100), claim(20, 10, 30, 20)]),
            [10, 20]
        );
    }

    #[test]
    fn what_lends_and_borrows_nothing_keeps_what_it_has() {
        assert_eq!(divide(&[claim(4, 0, 0, 0), claim(6, 6, 9, 50)]), [4, 6]);
        assert_eq!(divide(&[claim(4, 0, 0, 99), claim(6, 6, 9, 0)]), [4, 6]);
    }

    #[test]
    fn what_is_exempt_takes_from_what_is_lent() {
        let mut exempt = claim(0, 0, 9, 8);
        exempt.exempt = true;
        assert_eq!(divide(&[exempt, claim(10, 5, 9, 10)]), [8, 5]);
        exempt.wish.peak = 2;
        assert_eq!(divide(&[exempt, claim(10, 5, 9, 10)]), [2, 8]);
    }

    #[test]
    fn a_wish_rises_at_once_and_falls_slowly() {
        let seen = |average| Observed {
            average: Some(average),
            deviation: 0.0,
            peak: 0,
        };
        let mut wish = Wish::default();
        wish.update(seen(100.0));
        assert!((wish.smoothed - 100.0).abs() < 1e-9);
        for _ in 0..30 {
            wish.update(seen(0.0));
        }
        assert!((45.0..55.0).contains(&wish.smoothed), "{}", wish.smoothed);
    }

    proptest! {
        #[test]
        fn bounds_are_kept_and_nothing_is_made_of_nothing(
            levels in prop::collection::vec((0..200_u64, 0..=100_u64, 0..400_u64, 0..500_u64), 1..9),
        ) {
            let claims: Vec<Claim> = levels
                .iter()
                .map(|(nominal, lent, more, wanted)| claim(*nominal, nominal * lent / 100, *more, *wanted))
                .collect();
            let seats = divide(&claims);
            let nominal: u64 = claims.iter().map(|claim| claim.bounds.nominal).sum();
            for (seats, claim) in seats.iter().zip(&claims) {
                prop_assert!((claim.bounds.least..=claim.bounds.most).contains(seats));
            }
            // Rounding may add half a seat for each.
            prop_assert!(seats.iter().sum::<u64>() <= nominal + claims.len() as u64);
            prop_assert!(seats.iter().sum::<u64>() + claims.len() as u64 >= nominal);
        }
    }
}
