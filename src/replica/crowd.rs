//! Held commits that hang together, more than are judged whenever one of them comes.
//!
//! Whether one counts that a removal does not let stand may depend on another that comes at last, and then on all in
//! between. To judge so many takes time, and anybody who may write can add to them. So up to
//! [`JUDGED_TOGETHER_MAX`](crate::limits::JUDGED_TOGETHER_MAX) are judged at once; of more, the whole quarantine is
//! judged when nobody waits, behind the first call for which it is due, as opening the store does it, and so seldom that it
//! takes a small share of the time. What counts in the end is the same.

use super::{Replica, ReplicaError};
use crate::id::SpaceId;
use crate::limits::CROWD_PAUSE_MS_PER_COMMIT;
use crate::store::keyspaces::HeldCause;

impl Replica {
    /// Notes that too much hangs together for what just came. What is noted already is due when it was.
    pub(super) fn note_crowd(&mut self, space: SpaceId) {
        let Some(known) = self.spaces.get(&space) else { return };
        let commits = u64::try_from(known.held.len()).unwrap_or(u64::MAX);
        let pause_ms = commits.saturating_mul(CROWD_PAUSE_MS_PER_COMMIT);
        self.due.crowds.entry(space).or_insert_with(|| self.waits.seen.plus_ms(pause_ms));
    }

    /// Judges the quarantine of one space in which that is due.
    pub(super) fn judge_crowds(&mut self) -> Result<(), ReplicaError> {
        let now = self.waits.seen;
        let due = self.due.crowds.iter().find(|(_, due)| **due <= now).map(|(space, _)| *space);
        let Some(space) = due else { return Ok(()) };
        self.retry(space, &HeldCause::MAY_PASS)?;
        // Those that still do not count were held once more, and noted as if they had just come.
        self.due.crowds.remove(&space);
        Ok(())
    }
}
