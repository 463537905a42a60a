//! What this device wants of the collections of a space, kept on its disk.

use std::sync::Arc;

use super::{Replica, ReplicaError, Told};
use crate::codec::{Decode, Encode};
use crate::id::{CollectionName, Interest, Interests, SpaceId};
use crate::limits::INTERESTS_PER_SPACE_MAX;
use crate::store::keyspaces::{Batch, Keyspaces, Raw, meta_interests};
use crate::store::kv::KvError;

/// Reads the interests in a space; all collections live when none were set.
pub(super) fn load(store: &Keyspaces, space: &SpaceId) -> Result<Interests, ReplicaError> {
    let stored = match store.get(&meta_interests(space)) {
        // Rather more than was wanted than less.
        Err(KvError::Damaged { .. }) => None,
        stored => stored?,
    };
    let Some(Raw(bytes)) = stored else { return Ok(Interests::default()) };
    let damaged = |error| KvError::Corrupt { what: format!("the interests in space {space}: {error}") };
    Ok(Interests::from_bytes(&bytes).map_err(damaged)?)
}

impl Replica {
    /// Sets the interest in one collection, or in all that have none of their own. *Written* on return.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::NotFound`] when the space is not here, [`ReplicaError::TooMany`] when too many collections
    /// have an interest of their own, [`ReplicaError::Store`] when the store fails.
    pub(crate) fn set_interest(
        &mut self,
        space: SpaceId,
        collection: Option<CollectionName>,
        interest: Interest,
    ) -> Result<(), ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let mut interests = Interests::clone(&known.interests);
        match collection {
            Some(collection) => drop(interests.named.insert(collection, interest)),
            None => interests.others = interest,
        }
        let (count, max) = (interests.named.len(), INTERESTS_PER_SPACE_MAX);
        if count > max {
            return Err(ReplicaError::TooMany { what: "interests", count, max });
        }
        if interests == *known.interests {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.put(&meta_interests(&space), &Raw(interests.to_bytes()));
        self.store.write(batch)?;
        if let Some(known) = self.spaces.get_mut(&space) {
            known.interests = Arc::new(interests);
            self.told.push_back(Told::InterestChanged(known.state()));
        }
        Ok(())
    }

    /// Returns what this device wants of a space; `None` when it is not here.
    #[must_use]
    pub(crate) fn interests(&self, space: &SpaceId) -> Option<Arc<Interests>> {
        self.spaces.get(space).map(|known| Arc::clone(&known.interests))
    }
}
