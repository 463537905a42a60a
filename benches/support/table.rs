//! Times of many repetitions, and the table that shows them.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::time::Duration;

/// Times of one kind of work.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The time that `share` of a hundred stay within.
    pub(crate) fn percentile(&self, share: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * share).div_ceil(100).saturating_sub(1);
        sorted.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn middle(&self) -> Duration {
        self.percentile(50)
    }

    pub(crate) fn total(&self) -> Duration {
        self.0.iter().sum()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Rows of work, figure, floor and target, printed as they come so that a run that is cut short shows what
/// it has.
#[derive(Debug)]
pub(crate) struct Table;

impl Table {
    pub(crate) fn begin(title: &str) -> Self {
        println!("\n# {title}");
        println!("{:<52} {:>9} {:>26} {:>26} {:>22}", "work", "n", "figure", "floor", "target");
        Self
    }

    /// Prints one row. The floor is measured in the same run.
    pub(crate) fn row(&self, work: &str, n: usize, figure: &str, floor: &str, target: &str) {
        println!("{work:<52} {n:>9} {figure:>26} {floor:>26} {target:>22}");
    }

    /// Prints a row of a distribution.
    pub(crate) fn times(&self, work: &str, n: usize, times: &Times, floor: &str, target: &str) {
        let (middle, tail) = (ms(times.middle()), ms(times.percentile(99)));
        self.row(work, n, &format!("{middle} / {tail} ms"), floor, target);
    }
}

pub(crate) fn note(line: &str) {
    println!("{line}");
}

/// Milliseconds, with as many digits as the clock is worth.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1_000.0)
}

/// Bytes for each of `count`.
pub(crate) fn each(bytes: u64, count: usize) -> String {
    format!("{:.1}", bytes as f64 / count.max(1) as f64)
}
