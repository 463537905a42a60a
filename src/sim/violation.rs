//! What a simulation found wrong.

use std::fmt;

/// Which promise was broken.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Canary, Notes, Options, Rule};
/// # let canary = Some(Canary::TellTwice);
/// let options = Options { commits: 4, faults: 0, duration_ms: 5_000, canary, ..Options::default() };
/// let outcome = sim::run(7, &options, Box::new(Notes::new()));
/// assert_eq!(outcome.violations[0].rule, Rule::Observed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// G1: what was acknowledged as synced is there after any crash.
    Durable,
    /// G2: a commit is there whole, or not at all.
    Atomic,
    /// G3: connected members come to hold the same, soon after the trouble is over, and know it.
    Convergent,
    /// G6: nothing is shown that was not made by who says so and might do so.
    Authored,
    /// G7: nobody is sent what it may not read, nor the name of it.
    Isolated,
    /// G9: "stored on B" is said only when it is on the disk of B.
    Honest,
    /// G11: subscribers hear of every change once and in order.
    Observed,
    /// G12: queues and frames keep their limits.
    Bounded,
    /// A number of an actor belongs to one change, ever.
    OneChange,
    /// Rows are what their documents say, and fingerprints what the entities add up to.
    Rows,
    /// An honest peer is never rejected.
    NotRejected,
    /// Every wait has an end: timers are served, what was asked is answered.
    Answered,
    /// The store answers while nobody troubles it.
    Store,
    /// What the workload itself found: for the one that comes with the simulator G4 (nothing lost), G8 (deleted)
    /// and G10 (once).
    App,
}

impl Rule {
    /// All of them. For each a bug can be planted that breaks it before any other: see
    /// [`Canary::rule`](super::Canary::rule).
    pub const ALL: [Self; 14] = [
        Self::Durable,
        Self::Atomic,
        Self::Convergent,
        Self::Authored,
        Self::Isolated,
        Self::Honest,
        Self::Observed,
        Self::Bounded,
        Self::OneChange,
        Self::Rows,
        Self::NotRejected,
        Self::Answered,
        Self::Store,
        Self::App,
    ];
}

/// A broken promise.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Canary, Notes, Options};
/// # let canary = Some(Canary::TellTwice);
/// # let options = Options { commits: 4, faults: 0, duration_ms: 5_000, canary, ..Options::default() };
/// let outcome = sim::run(7, &options, Box::new(Notes::new()));
/// for violation in &outcome.violations {
///     println!("{violation}");
///     assert!(violation.at_ms <= outcome.stats.simulated_ms);
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The promise.
    pub rule: Rule,
    /// When it was found, in simulated milliseconds.
    pub at_ms: u64,
    /// The device that it was found on.
    pub device: usize,
    /// What was found.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} ms on device {}: {}", self.rule, self.at_ms, self.device, self.text)
    }
}
