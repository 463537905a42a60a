//! Planted bugs. A simulator that catches none of them proves nothing.

use super::violation::Rule;
use crate::replica::Check;

/// A bug that the simulation plants between the parts that it joins. Each must be caught.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Canary, Notes, Options};
/// let canary = Some(Canary::TellTwice);
/// let options = Options { commits: 4, faults: 0, duration_ms: 5_000, canary, ..Options::default() };
/// let outcome = sim::run(7, &options, Box::new(Notes::new()));
/// assert!(!outcome.violations.is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Canary {
    /// The network loses every acknowledgement.
    LoseAcks,
    /// The storage calls written commits synced.
    AckBeforeSync,
    /// The network loses frames with commits, now and then.
    LoseFrames,
    /// Subscribers hear of every change twice.
    TellTwice,
    /// The storage takes commits without keeping them, now and then.
    SwallowCommits,
    /// The storage forgets the membership statements that it is sent.
    LoseStatements,
    /// Peers are told what is written as if it were on disk.
    StateUnsynced,
    /// Some commits are never sent to those who lack them, neither fed nor in a repair, which makes up for a feed.
    FeedOmits,
    /// Of an index some entities are never told.
    IndexOmits,
    /// The disk does nothing when it is told to sync.
    IgnoreFsync,
    /// A device that crashed goes on under the incarnation that it had.
    ReuseIncarnation,
    /// Peers are fed collections that they may not read.
    FeedUnblinded,
    /// Nothing is ever told to be on disk.
    DropDurable,
    /// The network damages frames, now and then.
    DamageFrames,
    /// Timers stop.
    StopTimers,
    /// Commits over several collections are taken in part.
    HalfCommits,
    /// What `sync_now` found is never reported.
    ForgetTickets,
    /// Deletions are acknowledged and not made.
    ForgetDeletes,
    /// Acknowledgements are booked to another device.
    WrongReceipts,
    /// The network delivers frames twice, now and then.
    RepeatFrames,
    /// The store takes damaged values for sound ones.
    ServeDamaged,
    /// Signatures are not verified.
    TakeForged,
    /// A device may write under any device's actor.
    TakeAnyActor,
    /// Nobody asks whether an author might make a commit.
    TakeUnauthorised,
    /// Removals reach everything that the removed device ever signs.
    ForgetCuts,
    /// Nobody notices that a device signed two commits where there can be one.
    MissClashes,
    /// What proves that is passed on to nobody.
    KeepProofs,
    /// A verdict is taken for no statement at all.
    ForgetVerdicts,
    /// The network loses what devices say of their interests.
    LoseInterests,
    /// The disk fails where nobody troubles it.
    FailDisk,
    /// Of a commit that comes with several changes the last one is not made.
    TearCommits,
    /// Nobody looks how much of a space is a member's.
    TakeTooMuch,
    /// What many contests lead to is never found out: there is always somebody who waits.
    ForgetCrowds,
    /// Who asks for an index that it may not read is told of what is there in other words than of what is not.
    HintAtHidden,
}

impl Canary {
    /// Checks against malice that are not made. They show only among rogues.
    pub const CHECKS: [Self; 10] = [
        Self::TakeForged,
        Self::TakeAnyActor,
        Self::TakeUnauthorised,
        Self::ForgetCuts,
        Self::MissClashes,
        Self::KeepProofs,
        Self::ForgetVerdicts,
        Self::TakeTooMuch,
        Self::ForgetCrowds,
        Self::HintAtHidden,
    ];

    /// All others.
    pub const ALL: [Self; 24] = [
        Self::LoseAcks,
        Self::AckBeforeSync,
        Self::LoseFrames,
        Self::TellTwice,
        Self::SwallowCommits,
        Self::LoseStatements,
        Self::StateUnsynced,
        Self::FeedOmits,
        Self::IndexOmits,
        Self::IgnoreFsync,
        Self::ReuseIncarnation,
        Self::FeedUnblinded,
        Self::DropDurable,
        Self::DamageFrames,
        Self::StopTimers,
        Self::HalfCommits,
        Self::ForgetTickets,
        Self::ForgetDeletes,
        Self::WrongReceipts,
        Self::RepeatFrames,
        Self::ServeDamaged,
        Self::LoseInterests,
        Self::FailDisk,
        Self::TearCommits,
    ];

    /// Returns the rule that finds it: in some run it is the first one that is broken.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::sim::{Canary, Rule};
    /// assert_eq!(Canary::TellTwice.rule(), Rule::Observed);
    /// ```
    #[must_use]
    pub fn rule(self) -> Rule {
        match self {
            Self::IgnoreFsync => Rule::Durable,
            Self::TearCommits => Rule::Atomic,
            Self::LoseStatements
            | Self::FeedOmits
            | Self::IndexOmits
            | Self::StopTimers
            | Self::MissClashes
            | Self::KeepProofs
            | Self::ForgetCrowds => Rule::Convergent,
            Self::TakeForged
            | Self::TakeAnyActor
            | Self::TakeUnauthorised
            | Self::ForgetCuts
            | Self::ForgetVerdicts => Rule::Authored,
            Self::FeedUnblinded | Self::HintAtHidden => Rule::Isolated,
            Self::AckBeforeSync | Self::SwallowCommits | Self::StateUnsynced | Self::HalfCommits => {
                Rule::Honest
            }
            Self::TellTwice => Rule::Observed,
            Self::TakeTooMuch => Rule::Bounded,
            Self::ReuseIncarnation => Rule::OneChange,
            Self::ServeDamaged => Rule::Rows,
            Self::DamageFrames | Self::RepeatFrames | Self::LoseInterests => Rule::NotRejected,
            Self::LoseAcks
            | Self::LoseFrames
            | Self::DropDurable
            | Self::ForgetTickets
            | Self::WrongReceipts => Rule::Answered,
            Self::FailDisk => Rule::Store,
            Self::ForgetDeletes => Rule::App,
        }
    }

    pub(super) fn check(self) -> Option<Check> {
        if self == Self::TearCommits {
            return Some(Check::Whole);
        }
        let checks = [
            Check::Signature,
            Check::Attribution,
            Check::Authorisation,
            Check::Cut,
            Check::Clash,
            Check::Proof,
            Check::Verdict,
            Check::Room,
            Check::Crowd,
        ];
        let place = Self::CHECKS.iter().position(|canary| *canary == self)?;
        checks.get(place).copied()
    }
}
