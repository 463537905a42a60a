//! Snapshots: saved documents, so that loading an entity does not apply all of its changes.

use super::{Replica, ReplicaError, damage_of};
use crate::doc::Document;
use crate::store::keyspaces::{Arrival, Batch, Head, HeadKey, Snapshot, SnapshotKey, SnapshotMark};
use crate::time::Now;

/// Changes behind a snapshot that are not worth another one.
const TAIL_CHANGES_MIN: u64 = 16;

/// Tells whether an entity has so many changes behind its snapshot, or so large ones, that another is worth it.
pub(super) fn is_due(head: &Head) -> bool {
    let covered = head.snapshot.map_or(0, |mark| mark.upto.0);
    let tail = head.next_arrival.0.saturating_sub(covered);
    let bytes = head.snapshot.is_some_and(|mark| head.tail_bytes > mark.bytes) && tail > 1;
    tail > TAIL_CHANGES_MIN.max(covered / 4) || bytes
}

impl Replica {
    /// Does one piece of work that nobody waits for: at most one snapshot, or a piece of a space to erase; and, when an
    /// hour has passed, a look at what has waited too long in quarantine; and a look at all of a quarantine in which too
    /// much hangs together to be judged at once, when that is due.
    /// Returns whether more is due. Where more is damaged than one call mends, the rest is mended in the next ones.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Store`] when the store fails or the document cannot be read.
    pub(crate) fn housekeep(&mut self, now: Now) -> Result<bool, ReplicaError> {
        self.waits.seen = now.instant;
        match self.tidy(now) {
            Err(error) if damage_of(&error).is_some() => {
                tracing::warn!(%error, "more is damaged than was mended at once");
                Ok(false)
            }
            tidied => tidied,
        }
    }

    fn tidy(&mut self, now: Now) -> Result<bool, ReplicaError> {
        match self.due.snapshots.pop_first() {
            Some(key) => self.mending(now, |replica| replica.take_snapshot(&key))?,
            None => self.erase_some()?,
        }
        self.mending(now, Self::expire_some)?;
        self.mending(now, Self::judge_crowds)?;
        Ok(!self.due.snapshots.is_empty() || !self.erasing.is_empty() || self.waits.overdue)
    }

    /// Saves a document if that is due. The changes stay: they are the truth.
    fn take_snapshot(&mut self, key: &HeadKey) -> Result<(), ReplicaError> {
        let Some(mut head) = self.store.get(key)? else { return Ok(()) };
        if !is_due(&head) || head.is_damaged() {
            return Ok(());
        }
        let document = self.document(key, &head)?.save();
        let loads = Document::load(Some(&document), &[]).is_ok_and(|loaded| loaded.heads() == head.heads);
        if !loads {
            tracing::error!(entity = %key.entity.short(), "a saved document does not load to its heads");
            return Ok(());
        }
        let (upto, bytes): (Arrival, u64) = (head.next_arrival, document.len() as u64);
        head.snapshot = Some(SnapshotMark { upto, bytes });
        head.tail_bytes = 0;
        let HeadKey { space, collection, entity } = key.clone();
        let mut batch = Batch::new();
        batch.put(&SnapshotKey { space, collection, entity }, &Snapshot { upto, document });
        batch.put(key, &head);
        Ok(self.store.write(batch)?)
    }
}
