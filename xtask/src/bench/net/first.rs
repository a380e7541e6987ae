//! The first packet of a flow to a ClusterIP, by the number of services: what connect(2) takes, against
//! the pod itself, and against rule sets with as many services in the same run.
//!
//! The service that is asked is the last one that was made: the worst case of whoever walks a list.
//! Half and 99 of 100 of some thousand connects one after another are told apart; the tail is where a
//! rule set that is walked, or a table that does not fit a cache, shows.

use anyhow::{Context, Result};

use super::Bed;
use super::rules::{self, Kind};
use crate::bench::report::Report;
use crate::bench::series::{Better, Case, alternate};

/// Prefix of the cases.
pub(super) const FIRST: &str = "first_packet";

/// Microseconds that half and 99 of 100 connects took at most.
pub(super) type Times = [f64; 2];

/// Reads what `landing measure --mode first` prints.
///
/// # Errors
/// When it is something else.
pub(super) fn read(printed: &str) -> Result<Times> {
    let mut numbers = printed.split_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    let times = next().zip(next());
    let (half, most) = times.with_context(|| format!("two times in {printed:?}"))?;
    Ok([half, most])
}

/// Measures with `count` services, of which `service` is the last.
///
/// # Errors
/// When a connect fails.
pub(super) fn measure(
    bed: &Bed<'_>,
    count: usize,
    service: &str,
    report: &mut Report,
) -> Result<()> {
    let pod = bed.pod("server")?;
    let ours = || bed.first(service);
    let runs = alternate(bed.effort.pairs, ours, || bed.first(&pod))?;
    tell(count, "direct pod", &runs, report);
    let (client, target) = (bed.plain.client(), rules::last(count));
    for kind in Kind::ALL {
        if !kind.load(&bed.plain, count)? {
            println!("{FIRST}: {}", kind.too_slow(count));
            continue;
        }
        let theirs = || client.first(&target, bed.effort.seconds);
        let runs = alternate(bed.effort.pairs, ours, theirs);
        kind.unload(&bed.plain)?;
        tell(count, kind.name(), &runs?, report);
    }
    Ok(())
}

fn tell(count: usize, peer: &str, runs: &[(Times, Times)], report: &mut Report) {
    for (place, share) in ["p50", "p99"].into_iter().enumerate() {
        let name = peer.replace(' ', "_");
        let case = format!("{FIRST}_{share}_{count}_services_{name}");
        let runs: Vec<_> = runs
            .iter()
            .map(|(ours, theirs)| (ours[place], theirs[place]))
            .collect();
        report.add(Case::against(&case, "us", Better::Lower, peer, &runs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_times_are_read_and_nothing_else() {
        assert_eq!(read("12.5 80\n").unwrap(), [12.5, 80.0]);
        assert!(read("12.5\n").is_err() && read("").is_err());
    }
}
