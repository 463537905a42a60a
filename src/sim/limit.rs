//! The limits that members who keep to no rule fill, and how often each was really full.

use std::collections::BTreeMap;
use std::fmt;

/// A limit that somebody may fill.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Limit, Notes, Options};
/// # let options = Options { commits: 4, faults: 0, malice: 2, duration_ms: 5_000, ..Options::default() };
/// let outcome = sim::run(7, &options, Box::new(Notes::new()));
/// for limit in Limit::ALL {
///     println!("{limit:?} was full on {} devices", outcome.limits.of(limit));
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// The bytes that one author has in quarantine.
    Quarantine,
    /// The collections that one member alone writes to.
    Collections,
    /// The origins of one member in one version vector.
    Origins,
    /// The statements of one log that wait for others.
    Waiting,
    /// The statements of one member that others follow.
    Followed,
    /// The work that a peer may make in a time: it is held back.
    Work,
    /// The offences of a peer in a row: it is turned away.
    Patience,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Quarantine,
        Self::Collections,
        Self::Origins,
        Self::Waiting,
        Self::Followed,
        Self::Work,
        Self::Patience,
    ];
}

/// On how many devices each limit was full, each space by itself.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Notes, Options};
/// # let options = Options { commits: 4, faults: 0, duration_ms: 5_000, ..Options::default() };
/// let limits = sim::run(7, &options, Box::new(Notes::new())).limits;
/// println!("{limits}");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitCounts {
    counts: BTreeMap<Limit, u64>,
}

impl LimitCounts {
    /// Returns on how many devices it was full.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::{self, Limit, Notes, Options};
    /// # let options = Options { commits: 4, faults: 0, duration_ms: 5_000, ..Options::default() };
    /// let limits = sim::run(7, &options, Box::new(Notes::new())).limits;
    /// assert_eq!(limits.of(Limit::Quarantine), 0, "nobody fills it where all keep to the rules");
    /// ```
    #[must_use]
    pub fn of(&self, limit: Limit) -> u64 {
        self.counts.get(&limit).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, limit: Limit, count: u64) {
        *self.counts.entry(limit).or_default() += count;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        other.counts.iter().for_each(|(limit, count)| self.add(*limit, *count));
    }
}

impl fmt::Display for LimitCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for limit in Limit::ALL {
            let name = format!("{limit:?}");
            writeln!(f, "  {name:<18} {}", self.of(limit))?;
        }
        Ok(())
    }
}
