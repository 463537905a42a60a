//! Reads rows, documents and receipts beside the thread that writes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::{ReplicaError, load};
use crate::doc::Conflict;
use crate::exchange::CommitKey;
use crate::id::{ChangeHash, CollectionName, EntityId, Listed, Origin, Oseq, PeerId, SpaceId, Span, Vector};
use crate::store::keyspaces::{
    AckedKey, ChangeKey, CommitId, DamagedKey, HeadKey, HeldCause, HeldKey, IndexKey, Keyspaces, Prefix,
    RowKey,
};
use crate::store::keyspaces::{SlotRecord, VectorKey};
use crate::time::Timestamp;

/// Tries to read an entity's head and changes of one moment, before the last failure is reported.
const READ_TRIES: usize = 16;
/// Records of pending commits that are read at a time.
const PAGE: usize = 64;

/// Reads beside the thread that writes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    store: Keyspaces,
    peer: PeerId,
}

/// A commit made here that no peer has confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// The commit.
    pub(crate) key: CommitKey,
    /// What it changed.
    pub(crate) entities: Vec<(CollectionName, EntityId)>,
}

/// An entity of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexedEntity {
    /// What the index says.
    pub(crate) listed: Listed,
    /// The heads of its document here, if there is one.
    pub(crate) own: Option<Vec<ChangeHash>>,
}

/// A commit in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The device that made it.
    pub(crate) author: PeerId,
    /// When it came.
    pub(crate) arrived: Timestamp,
    /// Why it is held.
    pub(crate) reason: HeldReason,
    /// Changes that it waits for.
    #[cfg_attr(not(feature = "sim"), allow(dead_code, reason = "the simulator alone asks"))]
    pub(crate) missing: Vec<ChangeHash>,
    /// Its size.
    pub(crate) bytes: usize,
}

/// Why a commit is in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeldReason {
    /// Changes that it depends on are not here yet.
    MissingDependency,
    /// Its author might not write there.
    NotAllowed,
    /// A removal of its author does not let it stand, and nobody who had not heard of that built on it; or what shows
    /// that it stands is not here yet.
    AfterCut,
    /// Its author gave its number to two commits.
    Equivocation,
    /// A change would make a document unusable.
    Malformed,
    /// It names membership statements that are not here yet.
    UnknownPosition,
}

impl From<HeldCause> for HeldReason {
    fn from(cause: HeldCause) -> Self {
        match cause {
            HeldCause::MissingDependency => Self::MissingDependency,
            HeldCause::NotAllowed => Self::NotAllowed,
            HeldCause::Equivocation => Self::Equivocation,
            HeldCause::Malformed => Self::Malformed,
            HeldCause::UnknownPosition => Self::UnknownPosition,
            HeldCause::AfterCut => Self::AfterCut,
        }
    }
}

impl Reader {
    /// The device.
    #[cfg(feature = "sim")]
    pub(crate) fn peer(&self) -> PeerId {
        self.peer
    }

    pub(super) fn new(store: Keyspaces, peer: PeerId) -> Self {
        Self { store, peer }
    }

    /// Returns the bytes of a row; `None` when the entity is unknown or deleted, or its type is not registered.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Store`] when the store fails or the row is damaged.
    pub(crate) fn row(
        &self,
        space: &SpaceId,
        collection: &CollectionName,
        entity: &EntityId,
    ) -> Result<Option<Vec<u8>>, ReplicaError> {
        let key = RowKey { space: *space, collection: collection.clone(), entity: *entity };
        match self.store.get(&key)? {
            Some(row) if row.is_damaged() => Err(ReplicaError::Damaged { entity: *entity }),
            row => Ok(row.map(|row| row.bytes)),
        }
    }

    /// Returns at most `limit` rows of a collection in order of id, beginning behind `after`. Damaged entities are
    /// left out.
    ///
    /// # Errors
    ///
    /// As [`Reader::row`].
    pub(crate) fn rows(
        &self,
        space: &SpaceId,
        collection: &CollectionName,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<(EntityId, Vec<u8>)>, ReplicaError> {
        let mut after = after.map(|entity| RowKey { space: *space, collection: collection.clone(), entity });
        let prefix = Prefix::<RowKey>::collection(space, collection);
        let mut rows = Vec::new();
        loop {
            let wanted = limit - rows.len();
            let page = self.store.page(&prefix, after.as_ref(), wanted)?;
            let last = page.len() < wanted;
            after = page.last().map(|(key, _)| key.clone());
            let whole = page.into_iter().filter(|(_, row)| !row.is_damaged());
            rows.extend(whole.map(|(key, row)| (key.entity, row.bytes)));
            if last || rows.len() >= limit {
                return Ok(rows);
            }
        }
    }

    /// Lists at most `limit` entities of a collection in order of id, beginning behind `after`, each with the heads of
    /// its document here: those of the index that peers told, or else those that are here.
    ///
    /// # Errors
    ///
    /// As [`Reader::row`].
    pub(crate) fn index(
        &self,
        space: &SpaceId,
        collection: &CollectionName,
        told: bool,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<Vec<IndexedEntity>, ReplicaError> {
        let (space, collection) = (*space, collection.clone());
        let key = |entity| HeadKey { space, collection: collection.clone(), entity };
        let span = Span { after, upto: None };
        let mut listed = Vec::new();
        if told {
            super::index::each_in(&self.store, &space, &collection, span, |key: IndexKey, version| {
                listed.push(Listed { entity: key.entity, version });
                if listed.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        } else {
            super::index::each_in(&self.store, &space, &collection, span, |key: HeadKey, head| {
                let version = super::index::version_of(head);
                if !version.heads.is_empty() {
                    listed.push(Listed { entity: key.entity, version });
                }
                if listed.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        let with_own = |listed: Listed| {
            let own = match told {
                true => self.store.get(&key(listed.entity))?.map(|head| head.heads),
                false => Some(listed.version.heads.clone()),
            };
            Ok(IndexedEntity { listed, own: own.filter(|heads| !heads.is_empty()) })
        };
        listed.into_iter().map(with_own).collect()
    }

    /// Returns the fields of an entity that have concurrent values. Loads the document.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Store`] when the store fails or the document is damaged.
    pub(crate) fn conflicts(
        &self,
        space: &SpaceId,
        collection: &CollectionName,
        entity: &EntityId,
    ) -> Result<Vec<Conflict>, ReplicaError> {
        let key = HeadKey { space: *space, collection: collection.clone(), entity: *entity };
        let mut tries = 0;
        loop {
            let Some(head) = self.store.get(&key)? else { return Ok(Vec::new()) };
            if head.is_damaged() {
                return Err(ReplicaError::Damaged { entity: *entity });
            }
            let loaded = load::document(&self.store, &key, &head);
            tries += 1;
            // The writer may have come between the head and the changes: then the head is another one.
            match loaded {
                Ok(document) => return Ok(document.conflicts()),
                Err(error) if tries >= READ_TRIES || self.store.get(&key)? == Some(head) => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
    }

    /// Returns which changes of an entity are here; `None` when it is unknown.
    ///
    /// # Errors
    ///
    /// As [`Reader::row`].
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn clock(
        &self,
        space: &SpaceId,
        collection: &CollectionName,
        entity: &EntityId,
    ) -> Result<Option<crate::exchange::EntityClock>, ReplicaError> {
        let key = HeadKey { space: *space, collection: collection.clone(), entity: *entity };
        Ok(self
            .store
            .get(&key)?
            .map(|head| crate::exchange::EntityClock { entity: *entity, clock: head.clock }))
    }

    /// Returns the peers that confirmed a commit from their disks, as far as they may read it. The commit is
    /// pending when there are none.
    ///
    /// # Errors
    ///
    /// As [`Reader::row`].
    pub(crate) fn stored_by(&self, space: &SpaceId, key: &CommitKey) -> Result<Vec<PeerId>, ReplicaError> {
        let mut peers = BTreeSet::new();
        // A peer takes a commit whole, as far as it may read it: one part stands for all.
        for (collection, oseq) in &key.parts {
            self.store.each_checked(
                &Prefix::<AckedKey>::origin(space, collection, &key.origin),
                |acked, seen| {
                    // A damaged note confirms nothing; the peer says it again.
                    if acked.peer != self.peer && seen.is_some_and(|seen| seen.0.contains(*oseq)) {
                        peers.insert(acked.peer);
                    }
                    Ok::<(), ReplicaError>(())
                },
            )?;
        }
        Ok(peers.into_iter().collect())
    }

    /// Returns the newest commit of this device that changed an entity; `None` when this device never changed it.
    /// Reads the entity's changes.
    ///
    /// # Errors
    ///
    /// As [`Reader::row`].
    pub(crate) fn newest_own(
        &self,
        space: &SpaceId,
        collection: &CollectionName,
        entity: &EntityId,
    ) -> Result<Option<CommitKey>, ReplicaError> {
        let mut newest = None;
        self.store.each(&Prefix::<ChangeKey>::entity(space, collection, entity), |_, change| {
            if change.origin.peer == self.peer {
                newest = Some((change.origin, change.oseq));
            }
            Ok::<(), ReplicaError>(())
        })?;
        Ok(newest.map(|(origin, oseq)| CommitKey { origin, parts: vec![(collection.clone(), oseq)] }))
    }

    /// Returns at most `limit` commits made on this device that no peer has confirmed, by collection and number.
    ///
    /// # Errors
    ///
    /// As [`Reader::row`].
    pub(crate) fn pending(&self, space: &SpaceId, limit: usize) -> Result<Vec<Pending>, ReplicaError> {
        let mut own = Vec::new();
        self.store.each(&Prefix::<VectorKey>::space(space), |key, seen| {
            if key.origin.peer == self.peer {
                own.push((key.collection, key.origin, seen.0));
            }
            Ok::<(), ReplicaError>(())
        })?;
        let mut pending: BTreeMap<CommitId, Pending> = BTreeMap::new();
        for (collection, origin, seen) in own {
            let mut confirmed = Vector::new();
            self.store.each(&Prefix::<AckedKey>::origin(space, &collection, &origin), |acked, seen| {
                if acked.peer != self.peer {
                    confirmed.merge(&Vector::from_origins(BTreeMap::from([(origin, seen.0)]))?)?;
                }
                Ok::<(), ReplicaError>(())
            })?;
            let made = Vector::from_origins(BTreeMap::from([(origin, seen)]))?;
            for missing in confirmed.lacks_of(&made) {
                let first =
                    CommitId { space: *space, collection: collection.clone(), origin, oseq: missing.first };
                self.collect_pending(first, missing.last, limit, &mut pending)?;
            }
        }
        Ok(pending.into_values().collect())
    }

    /// Adds the commits from `first` to `last` of one origin in one collection.
    fn collect_pending(
        &self,
        mut first: CommitId,
        last: Oseq,
        limit: usize,
        pending: &mut BTreeMap<CommitId, Pending>,
    ) -> Result<(), ReplicaError> {
        while pending.len() < limit && first.oseq <= last {
            let upto = CommitId { oseq: last, ..first.clone() };
            let page = self.store.range(&first, &upto, PAGE)?;
            let Some((behind, _)) = page.last() else { return Ok(()) };
            first.oseq = Oseq(behind.oseq.0.saturating_add(1));
            for (id, entry) in page {
                let origin = id.origin;
                let (primary, record) = load::resolve(&self.store, id, entry)?;
                if pending.len() < limit || pending.contains_key(&primary) {
                    pending.entry(primary).or_insert_with(|| pending_of(origin, &record.slots));
                }
            }
        }
        Ok(())
    }

    /// Returns the entities that are damaged, and how many changes of each only this device is known to have had.
    ///
    /// # Errors
    ///
    /// As [`Reader::row`].
    pub(crate) fn damaged(
        &self,
        space: &SpaceId,
    ) -> Result<Vec<(CollectionName, EntityId, u64)>, ReplicaError> {
        let mut damaged = Vec::new();
        self.store.each(&Prefix::<DamagedKey>::space(space), |key, record| {
            damaged.push((key.collection, key.entity, record.only_here));
            Ok::<(), ReplicaError>(())
        })?;
        Ok(damaged)
    }

    /// Returns the commits in quarantine, by author and age.
    ///
    /// # Errors
    ///
    /// As [`Reader::row`].
    pub(crate) fn quarantine(&self, space: &SpaceId) -> Result<Vec<Held>, ReplicaError> {
        let mut held = Vec::new();
        self.store.each(&Prefix::<HeldKey>::space(space), |key, record| {
            let (arrived, reason, bytes) = (record.arrived, record.cause.into(), record.commit.len());
            held.push(Held { author: key.author, arrived, reason, missing: record.missing, bytes });
            Ok::<(), ReplicaError>(())
        })?;
        Ok(held)
    }

    /// The commits in quarantine that can be read, each with why it is there.
    #[cfg(feature = "sim")]
    pub(crate) fn held_commits(
        &self,
        space: &SpaceId,
    ) -> Result<Vec<(HeldReason, crate::access::Commit)>, ReplicaError> {
        let mut held = Vec::new();
        self.store.each(&Prefix::<HeldKey>::space(space), |_, record| {
            if let Ok(commit) = crate::access::Commit::decode(*space, &record.commit) {
                held.push((record.cause.into(), commit));
            }
            Ok::<(), ReplicaError>(())
        })?;
        Ok(held)
    }
}

fn pending_of(origin: Origin, slots: &[SlotRecord]) -> Pending {
    let mut parts: Vec<(CollectionName, Oseq)> = Vec::new();
    let mut entities = Vec::new();
    for slot in slots {
        let SlotRecord::Open { collection, entity, oseq, .. } = slot else { continue };
        if parts.last().is_none_or(|(last, _)| last != collection) {
            parts.push((collection.clone(), *oseq));
        }
        entities.push((collection.clone(), *entity));
    }
    Pending { key: CommitKey { origin, parts }, entities }
}
