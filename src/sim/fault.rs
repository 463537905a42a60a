//! The kinds of trouble that a simulation makes, and how often it made each.

use std::collections::BTreeMap;
use std::fmt;

use super::malice::Wile;

/// A kind of trouble.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Fault, Notes, Options};
/// # let options = Options { commits: 4, faults: 8, duration_ms: 20_000, ..Options::default() };
/// let outcome = sim::run(7, &options, Box::new(Notes::new()));
/// for fault in Fault::ALL {
///     println!("{fault:?} happened {} times", outcome.faults.of(fault));
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// A frame overtook one that was sent before it on another stream.
    Reordered,
    /// A connection was lost without a word.
    ConnectionLost,
    /// One attempt to connect reached the peer twice.
    DuplicateAttempt,
    /// The devices fell into two parts that could not reach each other.
    Partition,
    /// A device could not reach another one that could reach it.
    OneWayCut,
    /// A link became slow.
    SlowLink,
    /// A device moved to another address.
    AddressChange,
    /// The power went between two writes.
    Crash,
    /// The power went at a write.
    CrashAtWrite,
    /// A crash lost batches that were written and not synced.
    TailLost,
    /// A crash lost some of the unsynced batches and kept others.
    BatchesTorn,
    /// The process was killed.
    Kill,
    /// The app was closed and opened again.
    Reopen,
    /// The disk was full.
    DiskFull,
    /// The disk refused a write or a sync.
    DiskError,
    /// A bit on the disk flipped.
    BitFlip,
    /// The disk became slow.
    SlowDisk,
    /// A device slept, and woke.
    Sleep,
    /// A clock was set, to anywhere from 1970 to 2100.
    ClockSet,
    /// A device went back to an older copy of its store.
    Restore,
    /// A device joined while the others worked.
    LateJoin,
    /// A device joined for a member that has another one.
    SecondDevice,
    /// A store was copied, and both copies ran.
    Cloned,
    /// A device or a member was removed.
    Removal,
    /// A member got another role.
    RoleChange,
    /// A device came to want more or less of a collection.
    InterestChanged,
    /// Malice: a commit in another's name, or under another's actor.
    Forged,
    /// Malice: another's commit, sent for another entity or space.
    Replayed,
    /// Malice: a commit that its author might not make.
    Overstepped,
    /// Malice: a question about what the asker may not read.
    Pried,
    /// Malice: a commit as of before its author's removal.
    BackDated,
    /// Malice: many small commits and statements.
    Flooded,
    /// Malice: as much of something as there may be.
    Filled,
    /// Malice: frames that are none.
    Babbled,
    /// Malice: commits kept back on their way.
    Withheld,
    /// Malice: fingerprints, vectors and acknowledgements that are not so.
    Lied,
    /// Malice: two commits where there can be one.
    Equivocated,
}

impl Fault {
    /// All kinds but those of malice.
    pub const ALL: [Self; 26] = [
        Self::Reordered,
        Self::ConnectionLost,
        Self::DuplicateAttempt,
        Self::Partition,
        Self::OneWayCut,
        Self::SlowLink,
        Self::AddressChange,
        Self::Crash,
        Self::CrashAtWrite,
        Self::TailLost,
        Self::BatchesTorn,
        Self::Kill,
        Self::Reopen,
        Self::DiskFull,
        Self::DiskError,
        Self::BitFlip,
        Self::SlowDisk,
        Self::Sleep,
        Self::ClockSet,
        Self::Restore,
        Self::LateJoin,
        Self::SecondDevice,
        Self::Cloned,
        Self::Removal,
        Self::RoleChange,
        Self::InterestChanged,
    ];

    /// The kinds of malice; they happen when [`Options::malice`](super::Options::malice) says so.
    pub const MALICE: [Self; 11] = [
        Self::Forged,
        Self::Replayed,
        Self::Overstepped,
        Self::Pried,
        Self::BackDated,
        Self::Flooded,
        Self::Filled,
        Self::Babbled,
        Self::Withheld,
        Self::Lied,
        Self::Equivocated,
    ];

    pub(super) fn of_wile(wile: Wile) -> Self {
        match wile {
            Wile::Forge => Self::Forged,
            Wile::Replay => Self::Replayed,
            Wile::Overstep => Self::Overstepped,
            Wile::Pry => Self::Pried,
            Wile::BackDate => Self::BackDated,
            Wile::Flood => Self::Flooded,
            Wile::Fill => Self::Filled,
            Wile::Babble => Self::Babbled,
            Wile::Withhold => Self::Withheld,
            Wile::Lie => Self::Lied,
            Wile::Equivocate => Self::Equivocated,
        }
    }
}

/// How often each kind of trouble happened.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Fault, Notes, Options};
/// # let options = Options { commits: 4, faults: 8, duration_ms: 20_000, ..Options::default() };
/// let outcome = sim::run(7, &options, Box::new(Notes::new()));
/// println!("{}", outcome.faults);
/// assert!(outcome.faults.missing().len() < Fault::ALL.len());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    counts: BTreeMap<Fault, u64>,
}

impl FaultCounts {
    /// Returns how often it happened.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::{self, Fault, Notes, Options};
    /// # let options = Options { commits: 4, faults: 8, duration_ms: 20_000, ..Options::default() };
    /// let faults = sim::run(7, &options, Box::new(Notes::new())).faults;
    /// let kinds = Fault::ALL.into_iter().filter(|fault| faults.of(*fault) > 0).count();
    /// assert!(kinds > 0);
    /// ```
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.counts.get(&fault).copied().unwrap_or(0)
    }

    /// Returns the kinds that never happened, those of malice left out where there was none at all. A run that has
    /// any proves less than it seems to.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::{self, Notes, Options};
    /// # let options = Options { commits: 4, faults: 1, duration_ms: 5_000, ..Options::default() };
    /// let faults = sim::run(7, &options, Box::new(Notes::new())).faults;
    /// for fault in faults.missing() {
    ///     println!("{fault:?} never happened");
    ///     assert_eq!(faults.of(fault), 0);
    /// }
    /// ```
    #[must_use]
    pub fn missing(&self) -> Vec<Fault> {
        let malice = Fault::MALICE.into_iter().filter(|_| self.has_malice());
        Fault::ALL.into_iter().chain(malice).filter(|fault| self.of(*fault) == 0).collect()
    }

    fn has_malice(&self) -> bool {
        Fault::MALICE.iter().any(|fault| self.of(*fault) > 0)
    }

    pub(super) fn add(&mut self, fault: Fault, count: u64) {
        *self.counts.entry(fault).or_default() += count;
    }

    pub(super) fn merge(&mut self, other: &Self) {
        other.counts.iter().for_each(|(fault, count)| self.add(*fault, *count));
    }
}

impl fmt::Display for FaultCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let malice = Fault::MALICE.into_iter().filter(|_| self.has_malice());
        for fault in Fault::ALL.into_iter().chain(malice) {
            let name = format!("{fault:?}");
            writeln!(f, "  {name:<18} {}", self.of(fault))?;
        }
        Ok(())
    }
}
