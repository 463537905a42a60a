//! What damage kept from being finished is finished later.
//!
//! To take commits, or to take back what does not count any more, is several writes: what came is written, and from
//! that follows what is shown. A damaged value may end that in between, and whoever makes the call again finds what came
//! here already. So a space in which that happened is remembered, and all that may follow from what it has is done anew
//! before the next call. When the process ends first, or the disk fails, opening does the same.

use super::{Replica, ReplicaError, rebuild};
use crate::id::SpaceId;
use crate::store::keyspaces::{Batch, HeldCause, Raw};

impl Replica {
    /// Makes a step of several writes. One that fails is finished before the next call.
    pub(super) fn or_later<T>(
        &mut self,
        space: SpaceId,
        step: impl FnOnce(&mut Self) -> Result<T, ReplicaError>,
    ) -> Result<T, ReplicaError> {
        let done = step(self);
        if done.is_err() {
            self.due.unfinished.insert(space);
        }
        done
    }

    /// Finishes what failed in between. Costs nothing when nothing did, and else as much as when the store is opened.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Store`] when a value is damaged, or the disk refuses. The next call finishes the rest. Whatever else is
    /// wrong with one space is left to the next opening, so that the others go on.
    pub(super) fn resume(&mut self) -> Result<(), ReplicaError> {
        while let Some(space) = self.due.unfinished.first().copied() {
            if let Err(error) = self.resume_one(space) {
                if !error.is_of_one_space() {
                    return Err(error);
                }
                tracing::error!(space = %space.short(), %error, "what the last commits lead to is left to the next opening");
            }
            self.due.unfinished.remove(&space);
        }
        Ok(())
    }

    fn resume_one(&mut self, space: SpaceId) -> Result<(), ReplicaError> {
        if !self.spaces.contains_key(&space) {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.put(&rebuild::mark(&space), &Raw(Vec::new()));
        self.store.write(batch)?;
        self.take_back_whatever(space)?;
        self.retry(space, &HeldCause::MAY_PASS)
    }
}
