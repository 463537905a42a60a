//! Held commits that hang together, more than are judged whenever one of them comes.
//!
//! Whether one counts that a removal does not let stand may depend on another that comes at last, and then on all in
//! between; and which commits give way, of devices that equivocate, depends on all of theirs. To judge so many takes time,
//! and anybody who may write can add to them. So up to [`JUDGED_TOGETHER_MAX`](crate::limits::JUDGED_TOGETHER_MAX) are
//! judged at once, and of contests [`CONTESTED_AT_ONCE_MAX`](crate::limits::CONTESTED_AT_ONCE_MAX). Of more, all that the
//! space holds is judged when nobody waits, as opening the store does it, and so seldom that it takes a small share of the
//! time. What counts in the end is the same.

use super::planted::Check;
use super::rebuild::Shift;
use super::{Replica, ReplicaError};
use crate::id::SpaceId;
use crate::limits::CROWD_PAUSE_MS_PER_COMMIT;
use crate::store::keyspaces::HeldCause;
use crate::time::Instant;

/// How much is judged of what hangs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// What takes no time that anybody notices; the rest is noted.
    #[default]
    AtOnce,
    /// All: nobody waits.
    AtLeisure,
}

impl Replica {
    /// Notes that too much hangs together for what just came. What is noted already is due when it was.
    pub(super) fn note_crowd(&mut self, space: SpaceId) {
        let Some(known) = self.spaces.get(&space) else { return };
        let commits = u64::try_from(known.held.len() + known.contests.judged).unwrap_or(u64::MAX);
        let pause_ms = commits.saturating_mul(CROWD_PAUSE_MS_PER_COMMIT);
        self.due.crowds.entry(space).or_insert_with(|| self.waits.seen.plus_ms(pause_ms));
    }

    /// When there is anything to do that nobody waits for, and that cannot be done before.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.crowds.values().min().copied()
    }

    /// Judges one space in which that is due: what is applied, and what is held. What damage keeps from being finished is
    /// finished before the next call, and whatever else is wrong with one space ends nothing of the others: see
    /// [`super::resume`].
    pub(super) fn judge_crowds(&mut self) -> Result<(), ReplicaError> {
        let now = self.waits.seen;
        let due = self.due.crowds.iter().find(|(_, due)| **due <= now).map(|(space, _)| *space);
        let Some(space) = due else { return Ok(()) };
        let judged = if self.spaces.contains_key(&space) && !self.lacks(Check::Crowd) {
            self.or_later(space, |replica| replica.judge_crowd(space))
        } else {
            Ok(())
        };
        // Those that still do not count were held once more, and noted as if they had just come.
        self.due.crowds.remove(&space);
        match judged {
            Err(error) if error.is_of_one_space() => {
                tracing::error!(space = %space.short(), %error, "what hangs together could not be judged");
                Ok(())
            }
            judged => judged,
        }
    }

    fn judge_crowd(&mut self, space: SpaceId) -> Result<(), ReplicaError> {
        self.take_back(space, Shift { clashes: true, ..Shift::default() })?;
        self.retry(space, &HeldCause::MAY_PASS)
    }
}
