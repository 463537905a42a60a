//! Erasing a space from this device, in pieces between which a crash may come.
//!
//! First it is noted that the space is being erased; from then on it is not here, whatever is left of it. Then
//! what it holds is removed, a piece at a time, and the note last. A node that is opened goes on where the last
//! one ended.
//!
//! The journal keeps its entries: they name entities and their collections, and hold nothing of what they are.

use super::{Replica, ReplicaError, Told};
use crate::id::SpaceId;
use crate::limits::ERASE_PIECE_KEYS;
use crate::store::keyspaces::{
    AckedKey, BaseKey, Batch, ChangeKey, ClashKey, CommitId, CopyKey, DamagedKey, HeadKey, HeldKey, IndexKey,
    Key, META_ERASING, MetaKey, Prefix, Raw, RootKey, RowKey, SnapshotKey, StatementKey, VectorKey,
    meta_interests,
};
use crate::store::kv::KvError;

impl Replica {
    /// Erases what this device holds of a space. On return the space is not here any more; what it took on disk
    /// is given back by [`Replica::housekeep`].
    ///
    /// This device comes back as a new incarnation, so it may be let in again and never repeats itself.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::NotFound`] when the space is not here, [`ReplicaError::Store`] when the store fails.
    pub(crate) fn erase(&mut self, space: SpaceId) -> Result<(), ReplicaError> {
        if !self.spaces.contains_key(&space) {
            return Err(ReplicaError::NotFound { what: "space" });
        }
        let mut batch = Batch::new();
        batch.put(&note(&space), &Raw(space.as_bytes().to_vec()));
        self.store.write(batch)?;
        self.renew = true;
        self.renew_if_due()?;
        self.spaces.remove(&space);
        self.cache.forget(&space);
        self.ledgers.forget(&space);
        self.due.snapshots.retain(|key| key.space != space);
        self.erasing.insert(space);
        self.told.push_back(Told::SpaceGone { space });
        Ok(())
    }

    /// Takes up the erasures that the last run did not end.
    pub(super) fn find_erasures(&mut self) -> Result<(), ReplicaError> {
        let erasing = &mut self.erasing;
        self.store.each(&Prefix::<MetaKey>::named(META_ERASING), |_, Raw(bytes)| {
            let space =
                bytes.try_into().map_err(|_| KvError::Corrupt { what: "a space to erase".to_owned() })?;
            erasing.insert(SpaceId::new(space));
            Ok::<_, ReplicaError>(())
        })
    }

    /// Erases all that is left of a space, before it is let in again.
    pub(super) fn end_erasure(&mut self, space: &SpaceId) -> Result<(), ReplicaError> {
        while self.erasing.contains(space) {
            self.erase_piece(*space)?;
        }
        Ok(())
    }

    /// Removes one piece of one space that is being erased, if there is one.
    pub(super) fn erase_some(&mut self) -> Result<(), ReplicaError> {
        match self.erasing.first().copied() {
            Some(space) => self.erase_piece(space),
            None => Ok(()),
        }
    }

    fn erase_piece(&mut self, space: SpaceId) -> Result<(), ReplicaError> {
        // Heads first: without one, nothing writes anything about an entity.
        let found = self.clear::<HeadKey>(&space)?
            || self.clear::<RowKey>(&space)?
            || self.clear::<SnapshotKey>(&space)?
            || self.clear::<ChangeKey>(&space)?
            || self.clear::<CommitId>(&space)?
            || self.clear::<VectorKey>(&space)?
            || self.clear::<RootKey>(&space)?
            || self.clear::<AckedKey>(&space)?
            || self.clear::<HeldKey>(&space)?
            || self.clear::<DamagedKey>(&space)?
            || self.clear::<BaseKey>(&space)?
            || self.clear::<IndexKey>(&space)?
            || self.clear::<CopyKey>(&space)?
            || self.clear::<ClashKey>(&space)?
            || self.clear::<StatementKey>(&space)?;
        if !found {
            let mut batch = Batch::new();
            batch.remove(&meta_interests(&space));
            batch.remove(&note(&space));
            batch.remove(&super::rebuild::mark(&space));
            self.store.write(batch)?;
            self.erasing.remove(&space);
        }
        Ok(())
    }

    fn clear<K: Key>(&self, space: &SpaceId) -> Result<bool, ReplicaError> {
        Ok(self.store.clear(&Prefix::<K>::space(space), ERASE_PIECE_KEYS)? > 0)
    }
}

fn note(space: &SpaceId) -> MetaKey {
    let digits: String = space.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    MetaKey(format!("{META_ERASING}{digits}"))
}
