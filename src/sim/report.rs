//! What came of runs, and how a failing one becomes small.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::world::Sample;
use super::{FaultCounts, LimitCounts, Options, Violation, Workload, run};

/// Runs that are made to find a smaller timeline.
const SHRINK_RUNS_MAX: usize = 80;

/// Counts of a run.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Notes, Options};
/// # let options = Options { commits: 4, faults: 1, duration_ms: 5_000, ..Options::default() };
/// let outcome = sim::run(7, &options, Box::new(Notes::new()));
/// assert!(outcome.stats.commits > 0);
/// assert!(outcome.stats.simulated_ms >= options.duration_ms);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
    /// Things that happened: frames, timers, disk jobs, steps.
    pub happenings: u64,
    /// Commits that the app made.
    pub commits: u64,
    /// Of those, how many were acknowledged as synced.
    pub acknowledged: u64,
    /// Commits that the database refused.
    pub refused: u64,
    /// Jobs that storages did.
    pub jobs: u64,
    /// Frames sent.
    pub frames: u64,
    /// Bytes of those frames.
    pub frame_bytes: u64,
    /// Concurrent values that subscribers were told of.
    pub conflicts: u64,
    /// Times that damage made a store hold less, or less to be true of it.
    pub damage_met: u64,
    /// Entities that were damaged.
    pub entities_damaged: u64,
    /// Of those, how many were whole again.
    pub entities_repaired: u64,
    /// Of those, how many nobody could repair, so that the loss was accepted.
    pub losses_accepted: u64,
    /// Questions of rogues about what they may not read that were answered as their twins about what is not there
    /// were.
    pub twins_compared: u64,
}

impl Stats {
    fn merge(&mut self, other: &Self) {
        self.simulated_ms += other.simulated_ms;
        self.happenings += other.happenings;
        self.commits += other.commits;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.jobs += other.jobs;
        self.frames += other.frames;
        self.frame_bytes += other.frame_bytes;
        self.conflicts += other.conflicts;
        self.damage_met += other.damage_met;
        self.entities_damaged += other.entities_damaged;
        self.entities_repaired += other.entities_repaired;
        self.losses_accepted += other.losses_accepted;
        self.twins_compared += other.twins_compared;
    }
}

/// What came of one run.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Notes, Options};
/// # let options = Options { commits: 4, faults: 1, duration_ms: 5_000, ..Options::default() };
/// let outcome = sim::run(7, &options, Box::new(Notes::new()));
/// assert_eq!((outcome.seed, outcome.violations.len()), (7, 0));
/// for (step, what) in &outcome.timeline {
///     println!("{step}: {what}");
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was wrong; empty when nothing was.
    pub violations: Vec<Violation>,
    /// The hash of the whole log. Runs of one seed have the same.
    pub hash: [u8; 32],
    /// The last lines of the log, or all of it when the options said so.
    pub log: Vec<String>,
    /// The trouble that there was.
    pub faults: FaultCounts,
    /// The limits that were full.
    pub limits: LimitCounts,
    /// Counts.
    pub stats: Stats,
    /// The steps of the plan that were kept, by number, as people read them.
    pub timeline: Vec<(u64, String)>,
    /// What everybody held, hour by hour.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test of a whole day alone looks at it"))]
    pub(super) samples: Vec<Sample>,
}

/// A seed that failed, made small.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Canary, Notes, Options};
/// # let canary = Some(Canary::TellTwice);
/// # let options = Options { commits: 4, faults: 0, duration_ms: 5_000, canary, ..Options::default() };
/// let report = sim::run_seeds(7..8, &options, &|| Box::new(Notes::new()));
/// assert_eq!(report.failures.len(), 1);
/// for failure in &report.failures {
///     println!("{failure}");
///     assert!(!failure.outcome.violations.is_empty());
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The run with the fewest steps that still failed by the same rule.
    pub outcome: Outcome,
    /// The steps that it needs.
    pub keep: BTreeSet<u64>,
    /// The options that replay it, those steps among them.
    pub options: Options,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.outcome.seed)?;
        self.outcome.violations.iter().try_for_each(|violation| writeln!(f, "  {violation}"))?;
        writeln!(f, "timeline:")?;
        self.outcome.timeline.iter().try_for_each(|(_, step)| writeln!(f, "  {step}"))?;
        writeln!(f, "replay with: {}", self.replay())
    }
}

impl Failure {
    /// Returns the words that make the program `driftless sim` replay it: the seed, the steps to keep, and the
    /// options that are not the usual ones. A program of your own gives the seed and [`Failure::options`] to
    /// [`run`].
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::{self, Canary, Notes, Options, Workload};
    /// # let canary = Some(Canary::TellTwice);
    /// # let options = Options { commits: 4, faults: 0, duration_ms: 5_000, canary, ..Options::default() };
    /// # let workload = || Box::new(Notes::new()) as Box<dyn Workload>;
    /// let outcome = sim::run(7, &options, workload());
    /// let failure = sim::shrink(outcome, &options, &workload);
    /// assert!(failure.replay().starts_with("--seed 7 --commits 4 "));
    /// ```
    #[must_use]
    pub fn replay(&self) -> String {
        format!("--seed {}{}", self.outcome.seed, self.options.words())
    }
}

/// What came of many runs.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Notes, Options};
/// # let options = Options { commits: 4, faults: 1, duration_ms: 5_000, ..Options::default() };
/// let report = sim::run_seeds(0..2, &options, &|| Box::new(Notes::new()));
/// assert_eq!(report.seeds, 2);
/// assert!(report.failures.is_empty(), "{report}");
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// How many seeds ran.
    pub seeds: u64,
    /// Counts over all of them.
    pub stats: Stats,
    /// Trouble over all of them.
    pub faults: FaultCounts,
    /// Limits that were full, over all of them.
    pub limits: LimitCounts,
    /// The hashes of all runs, mixed: the same seeds give the same, in whatever order they ran.
    pub hash: [u8; 32],
    /// The seeds that failed.
    pub failures: Vec<Failure>,
}

impl Report {
    /// Adds a run that did not fail.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::{self, Notes, Options, Report};
    /// # let options = Options { commits: 4, faults: 1, duration_ms: 5_000, ..Options::default() };
    /// let mut report = Report::default();
    /// report.add(&sim::run(7, &options, Box::new(Notes::new())));
    /// assert_eq!(report.seeds, 1);
    /// ```
    pub fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        let mixed = blake3::keyed_hash(&outcome.hash, &outcome.seed.to_le_bytes());
        self.mix(mixed.as_bytes());
        self.stats.merge(&outcome.stats);
        self.faults.merge(&outcome.faults);
        self.limits.merge(&outcome.limits);
    }

    /// Adds another report.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::{self, Notes, Options, Report};
    /// # let options = Options { commits: 4, faults: 1, duration_ms: 5_000, ..Options::default() };
    /// let mut report = Report::default();
    /// for seed in 0..2 {
    ///     report.merge(sim::run_seeds(seed..seed + 1, &options, &|| Box::new(Notes::new())));
    /// }
    /// assert_eq!(report.seeds, 2);
    /// ```
    pub fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.mix(&other.hash);
        self.stats.merge(&other.stats);
        self.faults.merge(&other.faults);
        self.limits.merge(&other.limits);
        self.failures.extend(other.failures);
    }

    fn mix(&mut self, hash: &[u8; 32]) {
        self.hash.iter_mut().zip(hash).for_each(|(ours, theirs)| *ours ^= theirs);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { simulated_ms, happenings, commits, acknowledged, refused, frames, .. } = self.stats;
        let hours = simulated_ms as f64 / 3_600_000.0;
        writeln!(f, "{} seeds, {hours:.1} simulated hours, {happenings} happenings", self.seeds)?;
        writeln!(f, "{commits} commits, {acknowledged} acknowledged, {refused} refused, {frames} frames")?;
        let Stats { conflicts, damage_met, entities_damaged, .. } = self.stats;
        let Stats { entities_repaired, losses_accepted, .. } = self.stats;
        writeln!(f, "{conflicts} conflicts told, damage met {damage_met} times")?;
        writeln!(
            f,
            "{entities_damaged} entities damaged, {entities_repaired} whole again, {losses_accepted} losses accepted"
        )?;
        write!(f, "trouble:\n{}", self.faults)?;
        if self.limits != LimitCounts::default() {
            write!(f, "devices on which a limit was full:\n{}", self.limits)?;
        }
        if self.stats.twins_compared > 0 {
            writeln!(f, "{} answers to who may not read compared", self.stats.twins_compared)?;
        }
        let missing = self.faults.missing();
        if !missing.is_empty() {
            writeln!(f, "never happened: {missing:?}")?;
        }
        writeln!(f, "{} violations", self.failures.len())?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n{failure}"))
    }
}

/// Runs every seed of a range, each with a workload of its own, and makes the failing ones small.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Notes, Options};
/// let options = Options { commits: 4, faults: 1, duration_ms: 5_000, ..Options::default() };
/// let report = sim::run_seeds(0..2, &options, &|| Box::new(Notes::new()));
/// assert!(report.failures.is_empty(), "{report}");
/// ```
#[must_use]
pub fn run_seeds(
    seeds: Range<u64>,
    options: &Options,
    workload: &(dyn Fn() -> Box<dyn Workload> + Sync),
) -> Report {
    run_seeds_on(1, seeds, options, workload, &|_| true)
}

/// Runs seeds as [`run_seeds`] does, on several threads. What comes of a seed is the same on any.
///
/// `watch` sees every outcome as it comes; no seed is begun after it said `false`.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Notes, Options, Workload};
/// let options = Options { commits: 4, faults: 1, duration_ms: 5_000, ..Options::default() };
/// let workload = || Box::new(Notes::new()) as Box<dyn Workload>;
/// let report = sim::run_seeds_on(2, 0..4, &options, &workload, &|outcome| outcome.violations.is_empty());
/// assert_eq!(report.hash, sim::run_seeds(0..4, &options, &workload).hash);
/// ```
#[must_use]
pub fn run_seeds_on(
    threads: usize,
    seeds: Range<u64>,
    options: &Options,
    workload: &(dyn Fn() -> Box<dyn Workload> + Sync),
    watch: &(dyn Fn(&Outcome) -> bool + Sync),
) -> Report {
    let (next, stopped) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let all = Mutex::new(Report::default());
    let work = || {
        while !stopped.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let outcome = run(seed, options, workload());
            if !watch(&outcome) {
                stopped.store(true, Ordering::Relaxed);
            }
            let mut report = Report::default();
            report.add(&outcome);
            if !outcome.violations.is_empty() {
                report.failures.push(shrink(outcome, options, workload));
            }
            all.lock().unwrap_or_else(PoisonError::into_inner).merge(report);
        }
    };
    std::thread::scope(|scope| {
        (1..threads).for_each(|_| drop(scope.spawn(work)));
        work();
    });
    let mut report = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failures.sort_by_key(|failure| failure.outcome.seed);
    report
}

/// Leaves out as many steps of a failing run as can be left out while it fails by the same rule.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Canary, Notes, Options, Workload};
/// # let canary = Some(Canary::TellTwice);
/// # let options = Options { commits: 4, faults: 0, duration_ms: 5_000, canary, ..Options::default() };
/// let workload = || Box::new(Notes::new()) as Box<dyn Workload>;
/// let outcome = sim::run(7, &options, workload());
/// let steps = outcome.timeline.len();
/// let failure = sim::shrink(outcome, &options, &workload);
/// assert!(failure.keep.len() < steps);
/// ```
#[must_use]
pub fn shrink(
    outcome: Outcome,
    options: &Options,
    workload: &(dyn Fn() -> Box<dyn Workload> + Sync),
) -> Failure {
    let failure = |outcome, keep: Vec<u64>| {
        let keep: BTreeSet<u64> = keep.into_iter().collect();
        let options = Options { keep: Some(keep.clone()), full_trace: false, ..options.clone() };
        Failure { outcome, keep, options }
    };
    let mut keep: Vec<u64> = outcome.timeline.iter().map(|(step, _)| *step).collect();
    let Some(rule) = outcome.violations.first().map(|violation| violation.rule) else {
        return failure(outcome, keep);
    };
    let mut smallest = outcome;
    let mut runs = 0;
    let mut chunk = keep.len().div_ceil(2).max(1);
    loop {
        let mut from = 0;
        while from < keep.len() && runs < SHRINK_RUNS_MAX {
            let without = keep.iter().enumerate().filter(|(index, _)| !(from..from + chunk).contains(index));
            let without: Vec<u64> = without.map(|(_, step)| *step).collect();
            let options = Options { keep: Some(without.iter().copied().collect()), ..options.clone() };
            let smaller = run(smallest.seed, &options, workload());
            runs += 1;
            if smaller.violations.first().is_some_and(|violation| violation.rule == rule) {
                keep = without;
                smallest = smaller;
            } else {
                from += chunk;
            }
        }
        if chunk == 1 || runs >= SHRINK_RUNS_MAX {
            return failure(smallest, keep);
        }
        chunk = chunk.div_ceil(2);
    }
}
