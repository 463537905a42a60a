//! Checks that the simulator takes away, to see that it notices. Nothing else can.

use super::Replica;

/// Something that a commit must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Its signature.
    Signature,
    /// Its changes are its device's.
    Attribution,
    /// Its author might make it.
    Authorisation,
    /// The removal of its author reaches it.
    Cut,
    /// No other commit has its number.
    Clash,
    /// What proves that one has is passed on.
    Proof,
    /// No verdict drops it.
    Verdict,
    /// There is room for what its author begins.
    Room,
    /// All of its changes are made.
    Whole,
    /// What many contests lead to is found out when nobody waits.
    Crowd,
}

impl Replica {
    /// Takes a check away.
    #[cfg(feature = "sim")]
    pub(crate) fn lack(&mut self, check: Check) {
        self.lacking = Some(check);
    }

    /// Sets how many commits of contests are judged at once.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn judge_at_once(&mut self, contested: usize) {
        self.due.contested_at_once = contested;
    }

    /// Notes that a space is to be judged when nobody waits.
    #[cfg(test)]
    pub(crate) fn note_due(&mut self, space: crate::id::SpaceId) {
        self.note_crowd(space);
    }

    /// Whether a check was taken away.
    #[cfg(feature = "sim")]
    pub(super) fn lacks(&self, check: Check) -> bool {
        self.lacking == Some(check)
    }

    /// Without the simulator nothing is.
    #[cfg(not(feature = "sim"))]
    #[expect(clippy::unused_self, reason = "as the simulator has it")]
    pub(super) fn lacks(&self, _: Check) -> bool {
        false
    }
}
