//! What is counted of requests of one sort.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::page::{Labels, Page};

/// Upper bounds of the buckets in seconds; those of kube-apiserver.
const BOUNDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];

/// What requests have in common that are counted together. Every text is a name of a served kind or
/// of the server's own, never a client's: there are as many sorts as there are paths and verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Sort {
    pub(super) verb: &'static str,
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) resource: &'static str,
    pub(super) subresource: &'static str,
    pub(super) scope: &'static str,
}

impl Sort {
    pub(super) fn labels(&self) -> [(&'static str, &'static str); 7] {
        [
            ("component", "apiserver"),
            ("group", self.group),
            ("resource", self.resource),
            ("scope", self.scope),
            ("subresource", self.subresource),
            ("verb", self.verb),
            ("version", self.version),
        ]
    }
}

/// The counters of one sort. A request takes no lock that another one holds for long: the list of
/// codes is written once for each code.
#[derive(Debug, Default)]
pub(super) struct Series {
    /// Answers by their code.
    codes: RwLock<Vec<(u16, AtomicU64)>>,
    /// Durations by bucket, the last one without a bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
    /// Answers that go on.
    lasting: AtomicI64,
}

impl Series {
    pub(super) fn answered(&self, code: u16) {
        if let Some((_, count)) = self.codes.read().iter().find(|(have, _)| *have == code) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut codes = self.codes.write();
        match codes.iter().find(|(have, _)| *have == code) {
            Some((_, count)) => drop(count.fetch_add(1, Ordering::Relaxed)),
            None => codes.push((code, AtomicU64::new(1))),
        }
    }

    pub(super) fn took(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// One answer more goes on, or with -1 one less.
    pub(super) fn lasts(&self, change: i64) {
        self.lasting.fetch_add(change, Ordering::Relaxed);
    }

    pub(super) fn lasting(&self) -> i64 {
        self.lasting.load(Ordering::Relaxed)
    }

    pub(super) fn codes(&self) -> Vec<(u16, u64)> {
        let codes = self.codes.read();
        let count = |(code, count): &(u16, AtomicU64)| (*code, count.load(Ordering::Relaxed));
        let mut codes: Vec<_> = codes.iter().map(count).collect();
        codes.sort_unstable();
        codes
    }

    /// The samples of a histogram called `name`, if anything was measured.
    pub(super) fn histogram(&self, page: &mut Page, name: &str, labels: &Labels<'_>) {
        let counts = self.buckets.each_ref().map(|it| it.load(Ordering::Relaxed));
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return;
        }
        let bucket = format!("{name}_bucket");
        let mut so_far = 0;
        let bounds = BOUNDS.iter().map(f64::to_string);
        for (count, bound) in counts.iter().zip(bounds.chain(["+Inf".to_owned()])) {
            so_far += count;
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            page.sample(&bucket, &labels, so_far);
        }
        let seconds = self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9;
        page.sample(&format!("{name}_sum"), labels, seconds);
        page.sample(&format!("{name}_count"), labels, total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_all_that_is_not_slower_than_their_bound() {
        let series = Series::default();
        for milliseconds in [5, 6, 70_000] {
            series.took(Duration::from_millis(milliseconds));
        }
        let mut page = Page::default();
        series.histogram(&mut page, "d", &[("verb", "GET")]);
        let page = page.into_text();
        for line in [
            "d_bucket{verb=\"GET\",le=\"0.005\"} 1\n",
            "d_bucket{verb=\"GET\",le=\"0.025\"} 2\n",
            "d_bucket{verb=\"GET\",le=\"60\"} 2\n",
            "d_bucket{verb=\"GET\",le=\"+Inf\"} 3\n",
            "d_sum{verb=\"GET\"} 70.011\n",
            "d_count{verb=\"GET\"} 3\n",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
    }

    #[test]
    fn answers_are_counted_by_their_code() {
        let series = Series::default();
        for code in [404, 200, 200] {
            series.answered(code);
        }
        assert_eq!(series.codes(), [(200, 2), (404, 1)]);
    }
}
