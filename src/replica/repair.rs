//! What two stores compare when their fingerprints differ: short heads and clocks; and what peers acknowledged.

use std::collections::BTreeMap;

use super::sketch::symbol;
use super::{Replica, ReplicaError};
use crate::exchange::{Answer, EntityClock, Vectors, beyond};
use crate::id::{CollectionName, EntityId, PeerId, SpaceId, Vector};
use crate::limits::{BASE_ENTRIES_MAX, HEADS_PAGE_ENTITIES};
use crate::store::keyspaces::{
    AckedKey, BaseKey, BaseRecord, Batch, Head, HeadKey, JournalKey, Prefix, SeenRecord,
};

impl Replica {
    pub(super) fn heads(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        key: &[u8; 32],
        after: Option<EntityId>,
        count_max: usize,
    ) -> Result<Answer, ReplicaError> {
        let limit = count_max.clamp(1, HEADS_PAGE_ENTITIES);
        let after = after.map(|entity| HeadKey { space, collection: collection.clone(), entity });
        let page =
            self.store.page(&Prefix::<HeadKey>::collection(&space, collection), after.as_ref(), limit)?;
        let complete = page.len() < limit;
        let short = |(at, head): (HeadKey, Head)| (at.entity, symbol(key, &at, &head).0.to_le_bytes());
        Ok(Answer::Heads { entries: page.into_iter().map(short).collect(), complete })
    }

    pub(super) fn clocks(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        entities: Vec<EntityId>,
    ) -> Result<Answer, ReplicaError> {
        let mut clocks = Vec::with_capacity(entities.len());
        for entity in entities {
            let head = self.store.get(&HeadKey { space, collection: collection.clone(), entity })?;
            clocks.push(EntityClock { entity, clock: head.map(|head| head.clock).unwrap_or_default() });
        }
        Ok(Answer::Clocks(clocks))
    }

    /// Notes on which vectors a member and this node agree. When ours have moved on meanwhile, the next agreement
    /// is noted.
    pub(super) fn agreed(
        &self,
        space: SpaceId,
        peer: PeerId,
        digest: [u8; 16],
        vectors: &Vectors,
    ) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let nothing = Vector::new();
        let ours = |collection: &CollectionName| known.collections.get(collection).map(|state| &state.vector);
        let same = vectors.iter().all(|(name, vector)| ours(name).unwrap_or(&nothing) == vector);
        if same && known.membership.member_of(&peer).is_some() {
            let mut batch = Batch::new();
            batch.put(&BaseKey { space, peer }, &BaseRecord { digest, position: self.position });
            self.store.write(batch)?;
        }
        Ok(Answer::Done)
    }

    /// What the vectors were when the peer and this node last agreed: without what the journal has since. It is a
    /// hint: what cannot be read is not known, and the vectors are told whole.
    pub(super) fn base(&self, space: SpaceId, peer: PeerId, vectors: &Vectors) -> Answer {
        self.base_of(space, peer, vectors).unwrap_or_else(|error| {
            tracing::debug!(%error, "the vectors of an agreement could not be read");
            Answer::Base(None)
        })
    }

    fn base_of(&self, space: SpaceId, peer: PeerId, vectors: &Vectors) -> Result<Answer, ReplicaError> {
        let Some(BaseRecord { digest, position }) = self.store.get(&BaseKey { space, peer })? else {
            return Ok(Answer::Base(None));
        };
        let mut since = Vectors::new();
        let mut after = JournalKey { position };
        for _ in 0..BASE_ENTRIES_MAX / HEADS_PAGE_ENTITIES {
            let page = self.store.page(&Prefix::all(), Some(&after), HEADS_PAGE_ENTITIES)?;
            let complete = page.len() < HEADS_PAGE_ENTITIES;
            for (key, entry) in page {
                after = key;
                for part in entry.parts.into_iter().filter(|_| entry.space == space) {
                    since.entry(part.collection).or_default().insert(entry.origin, part.oseq)?;
                }
            }
            if complete {
                return Ok(Answer::Base(Some((digest, beyond(&since, vectors)))));
            }
        }
        Ok(Answer::Base(None))
    }

    /// Notes what a member has on its disk, of origins that are known here.
    pub(super) fn acked(
        &self,
        space: SpaceId,
        peer: PeerId,
        vectors: &Vectors,
    ) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        if known.membership.member_of(&peer).is_none() {
            return Ok(Answer::Done);
        }
        let mut batch = Batch::new();
        for (collection, vector) in vectors {
            let Some(state) = known.collections.get(collection) else { continue };
            for (origin, seen) in vector.iter().filter(|(origin, _)| state.vector.seen(origin).is_some()) {
                let (collection, origin) = (collection.clone(), *origin);
                let key = AckedKey { space, collection, origin, peer };
                let noted = self.store.get(&key)?.map(|noted| noted.0);
                let alone = |seen| Vector::from_origins(BTreeMap::from([(origin, seen)]));
                let mut merged = alone(seen.clone())?;
                if let Some(noted) = &noted {
                    merged.merge(&alone(noted.clone())?)?;
                }
                let merged = merged.seen(&origin).cloned();
                if merged != noted
                    && let Some(merged) = merged
                {
                    batch.put(&key, &SeenRecord(merged));
                }
            }
        }
        self.store.write(batch)?;
        Ok(Answer::Done)
    }
}
