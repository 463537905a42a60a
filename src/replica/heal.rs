//! Healing: what is done when a value of the store turns out to be damaged.
//!
//! | Damaged | It is made again of |
//! |---|---|
//! | row, snapshot | the document: both are caches |
//! | head | the changes |
//! | vector, root, acknowledgement | memory, or the commits and heads; an acknowledgement comes again |
//! | statement | its second copy, or memory |
//! | journal entry, incarnation | nothing: a place holder, and a new incarnation |
//! | entity of an index | peers, when the index is compared next |
//! | held commit | peers: it counts as not received |
//! | change, commit record | a loaded document or the snapshot, and else peers; see [`super::loss`] |
//!
//! A damaged value stops the call that met it; [`Replica::mending`] mends the value and makes the call again. Each
//! mending leaves one damaged value less.

use std::collections::BTreeMap;

use super::held::HeldChanges;
use super::{Replica, ReplicaError, RowChange, Told, hub, load, rebuild};
use crate::access::{Commit, Statement};
use crate::codec::Encode;
use crate::doc::Document;
use crate::id::{CollectionName, EntityId, Origin, PeerId, Position, Root, Seen, SpaceId, Vector};
use crate::limits::{MENDS_MAX, VERIFY_PAGE_VALUES};
use crate::store::keyspaces::{
    AckedKey, BaseKey, Batch, ChangeKey, ClashKey, CommitId, CopyKey, DamagedKey, DamagedRecord, Head,
    HeadKey, HeldCause, HeldKey, IndexKey, JournalEntry, JournalKey, Key, META_ERASING, META_HUB,
    META_INCARNATION, META_OPEN_MS, MetaKey, Prefix, Raw, RootKey, RowKey, RowRecord, SeenRecord, Since,
    SnapshotKey, StatementKey, VectorKey, meta_interests,
};
use crate::store::kv::RawKey;
use crate::time::Now;

/// An entity of which changes were lost to damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DamagedEntity {
    /// The collection.
    pub(crate) collection: CollectionName,
    /// The entity.
    pub(crate) entity: EntityId,
    /// How many lost changes were made here, and no other device had confirmed them.
    pub(crate) only_here: u64,
}

/// What one step of looking through the store found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    /// Where to go on; absent when all was looked at.
    pub(crate) next: Option<RawKey>,
    /// Values that were read.
    pub(crate) values: usize,
    /// Those of them that were damaged.
    pub(crate) damaged: usize,
}

/// Returns the key of a damaged value, when that is the error.
pub(crate) fn damage_of(error: &ReplicaError) -> Option<&RawKey> {
    if let ReplicaError::Store(error) = error { error.key() } else { None }
}

/// The error of a damaged value under a key.
#[cfg(test)]
pub(crate) fn damaged_value(key: &[u8]) -> ReplicaError {
    crate::store::kv::KvError::Damaged { key: RawKey(key.to_vec()) }.into()
}

impl Replica {
    /// Makes a call, and again whenever it met a damaged value, after that was mended.
    pub(crate) fn mending<T>(
        &mut self,
        now: Now,
        mut call: impl FnMut(&mut Self) -> Result<T, ReplicaError>,
    ) -> Result<T, ReplicaError> {
        let mut mends = 0;
        loop {
            let result = self.resume().and_then(|()| call(self));
            let Some(key) = result.as_ref().err().and_then(damage_of).filter(|_| mends < MENDS_MAX) else {
                return result;
            };
            mends += 1;
            self.mend(now, &key.clone())?;
        }
    }

    /// Mends one damaged value. What it takes to do so may be damaged as well, and is mended first.
    ///
    /// A lost change or commit record costs a look at every commit of its space; the others cost what they say.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Store`] when the store fails, or nothing here can stand in for the value.
    pub(crate) fn mend(&mut self, now: Now, key: &RawKey) -> Result<(), ReplicaError> {
        self.note_damage(key);
        let mut due = vec![key.clone()];
        let mut mends = 0;
        while let Some(key) = due.last().cloned() {
            mends += 1;
            let mended = self.mend_one(now, &key);
            match mended.as_ref().err().and_then(damage_of) {
                Some(other) if mends <= MENDS_MAX && !due.contains(other) => {
                    self.note_damage(other);
                    due.push(other.clone());
                }
                Some(_) | None => {
                    mended?;
                    due.pop();
                }
            }
        }
        Ok(())
    }

    /// Reads the next values of the store behind `after`, and mends those that are damaged.
    ///
    /// # Errors
    ///
    /// As [`Replica::mend`].
    pub(crate) fn verify(&mut self, now: Now, after: Option<&RawKey>) -> Result<Verified, ReplicaError> {
        let page = self.store.look(after, VERIFY_PAGE_VALUES)?;
        let next = page.last().filter(|_| page.len() == VERIFY_PAGE_VALUES).map(|(key, _)| key.clone());
        let (values, mut damaged) = (page.len(), 0);
        for (key, _) in page.into_iter().filter(|(_, sound)| !sound) {
            damaged += 1;
            self.mend(now, &key)?;
        }
        Ok(Verified { next, values, damaged })
    }

    fn note_damage(&self, key: &RawKey) {
        self.metrics.values_damaged.add(1);
        tracing::warn!(%key, "a stored value is damaged");
    }

    /// Takes what is left of a damaged entity for all of it.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::Store`] when the store fails.
    pub(crate) fn accept_loss(
        &mut self,
        now: Now,
        space: SpaceId,
        collection: &CollectionName,
        entity: EntityId,
    ) -> Result<(), ReplicaError> {
        let key = HeadKey { space, collection: collection.clone(), entity };
        self.mending(now, |replica| {
            let Some(head) = replica.store.get(&key)?.filter(Head::is_damaged) else { return Ok(()) };
            let document = replica.document(&key, &head)?;
            replica.write_accepted(&key, head, &document)
        })
    }

    fn write_accepted(
        &mut self,
        key: &HeadKey,
        mut head: Head,
        document: &Document,
    ) -> Result<(), ReplicaError> {
        let HeadKey { space, collection, entity } = key.clone();
        let position = Position(self.position.0 + 1);
        head.need.clear();
        head.position = position;
        let kind = self.kinds.get(&collection).filter(|_| !head.deleted && !head.heads.is_empty());
        let row = kind.and_then(|kind| Some((kind.version(), kind.row(document).ok()?)));
        head.row_version = row.as_ref().map(|(version, _)| *version);
        let mut batch = Batch::new();
        batch.remove(&DamagedKey { space, collection: collection.clone(), entity });
        let row_key = RowKey { space, collection: collection.clone(), entity };
        match row {
            Some((version, bytes)) => batch.put(&row_key, &RowRecord { version, bytes }),
            None => batch.remove(&row_key),
        }
        match head.heads.is_empty() {
            true => batch.remove(key),
            false => batch.put(key, &head),
        }
        batch.put(&JournalKey { position }, &self.place_holder());
        self.store.write(batch)?;
        self.position = position;
        self.cache.remove(key);
        if !head.deleted && !head.heads.is_empty() {
            let entities = vec![(collection.clone(), entity, RowChange::Repaired)];
            self.told.push_back(Told::Changed { space, from: None, position, entities });
        }
        self.told.push_back(Told::Repaired { space, collection, entity, from: None });
        Ok(())
    }

    fn mend_one(&mut self, now: Now, key: &RawKey) -> Result<(), ReplicaError> {
        let raw = &key.0;
        if let Some(key) = ChangeKey::from_key(raw) {
            self.lose_change(now, key)
        } else if let Some(id) = CommitId::from_key(raw) {
            self.lose_commit(now, id)
        } else if let Some(key) = HeadKey::from_key(raw) {
            self.lose_head(now, key)
        } else if let Some(key) = RowKey::from_key(raw) {
            self.mend_row(&key)
        } else if let Some(key) = SnapshotKey::from_key(raw) {
            self.mend_snapshot(key)
        } else if let Some(key) = VectorKey::from_key(raw) {
            self.mend_vector(&key)
        } else if let Some(RootKey { space, collection }) = RootKey::from_key(raw) {
            self.recount_root(space, &collection)
        } else if let Some(key) = HeldKey::from_key(raw) {
            self.mend_held(key)
        } else if let Some(key) = DamagedKey::from_key(raw) {
            self.mend_damaged(key)
        } else if let Some(JournalKey { position }) = JournalKey::from_key(raw) {
            let mut batch = Batch::new();
            batch.put(&JournalKey { position }, &self.place_holder());
            Ok(self.store.write(batch)?)
        } else if let Some(StatementKey { space, hash }) = StatementKey::from_key(raw) {
            self.mend_statement(space, CopyKey { space, hash })
        } else if let Some(key) = CopyKey::from_key(raw) {
            self.mend_statement(key.space, key)
        } else if let Some(key) = IndexKey::from_key(raw) {
            self.mend_index(&key)
        } else if let Some(key) = ClashKey::from_key(raw) {
            self.mend_clash(&key)
        } else {
            self.mend_other(key)
        }
    }

    /// A proof is lost: what is held for it proves it again, and members that have it answer with it when they are sent
    /// one of its commits.
    fn mend_clash(&mut self, key: &ClashKey) -> Result<(), ReplicaError> {
        let mut batch = Batch::new();
        batch.remove(key);
        self.store.write(batch)?;
        if let Some(known) = self.spaces.get_mut(&key.space) {
            known.clashes.remove(&(key.collection.clone(), key.origin), key.from);
        }
        self.retry(key.space, &[HeldCause::Equivocation])
    }

    /// Facts about the store, and hints: what peers acknowledged, and on what they last agreed with us. Those are
    /// removed, as is what is no key of ours.
    fn mend_other(&self, key: &RawKey) -> Result<(), ReplicaError> {
        let mut batch = Batch::new();
        match MetaKey::from_key(&key.0) {
            Some(MetaKey(name)) if name == META_OPEN_MS => return self.note_open_ms(),
            Some(MetaKey(name)) if name == META_INCARNATION => {
                let bytes = self.incarnation.0.to_le_bytes().to_vec();
                batch.put(&MetaKey(name), &Raw(bytes));
            }
            Some(note) => match self.note_again(&note) {
                Some(bytes) => batch.put(&note, &bytes),
                None => batch.remove(&note),
            },
            None => {
                let hint = AckedKey::from_key(&key.0).is_some() || BaseKey::from_key(&key.0).is_some();
                debug_assert!(hint, "every other class is mended by its own");
                batch.remove_raw(key);
            }
        }
        Ok(self.store.write(batch)?)
    }

    /// What a fact about the store says, of which the name alone can be read.
    fn note_again(&self, MetaKey(name): &MetaKey) -> Option<Raw> {
        if let Some(space) = name.strip_prefix(META_ERASING) {
            return Some(Raw(space.parse::<SpaceId>().ok()?.as_bytes().to_vec()));
        }
        if name == META_HUB && self.hub {
            return Some(hub::note());
        }
        for (space, known) in &self.spaces {
            if meta_interests(space).0 == *name {
                return Some(Raw(known.interests.to_bytes()));
            }
            if rebuild::mark(space).0 == *name {
                return Some(Raw(Vec::new()));
            }
        }
        None
    }

    /// A journal entry that names nothing.
    pub(super) fn place_holder(&self) -> JournalEntry {
        let (space, origin) = (SpaceId::new([0; 32]), self.origin());
        JournalEntry { space, origin, from: None, parts: Vec::new() }
    }

    fn mend_row(&mut self, key: &RowKey) -> Result<(), ReplicaError> {
        let RowKey { space, collection, entity } = key.clone();
        let head_key = HeadKey { space, collection, entity };
        let mut batch = Batch::new();
        match self.store.get(&head_key)? {
            Some(head) if head.is_damaged() => batch.put(key, &RowRecord::damaged()),
            Some(mut head) => {
                let document = self.document(&head_key, &head)?;
                let kind = self.kinds.get(&key.collection).filter(|_| !head.deleted);
                let row = kind.and_then(|kind| Some((kind.version(), kind.row(&document).ok()?)));
                head.row_version = row.as_ref().map(|(version, _)| *version);
                batch.put(&head_key, &head);
                match row {
                    Some((version, bytes)) => batch.put(key, &RowRecord { version, bytes }),
                    None => batch.remove(key),
                }
            }
            None => batch.remove(key),
        }
        Ok(self.store.write(batch)?)
    }

    fn mend_snapshot(&self, key: SnapshotKey) -> Result<(), ReplicaError> {
        let mut batch = Batch::new();
        batch.remove(&key);
        let SnapshotKey { space, collection, entity } = key;
        let head_key = HeadKey { space, collection, entity };
        if let Some(mut head) = self.store.get(&head_key)? {
            head.snapshot = None;
            batch.put(&head_key, &head);
        }
        Ok(self.store.write(batch)?)
    }

    /// Memory follows what was written, so it has the vector that was; at opening it is counted.
    fn mend_vector(&mut self, key: &VectorKey) -> Result<(), ReplicaError> {
        let state = self.spaces.get(&key.space).and_then(|known| known.collections.get(&key.collection));
        match state.and_then(|state| state.vector.seen(&key.origin)).cloned() {
            Some(seen) => {
                let mut batch = Batch::new();
                batch.put(key, &SeenRecord(seen));
                Ok(self.store.write(batch)?)
            }
            None => self.recount_vector(key.space, &key.collection, key.origin),
        }
    }

    /// Counts the commits of an origin that are here, those in quarantine among them.
    pub(super) fn recount_vector(
        &mut self,
        space: SpaceId,
        collection: &CollectionName,
        origin: Origin,
    ) -> Result<(), ReplicaError> {
        let mut alone = Vector::new();
        self.store.each_checked(&Prefix::<CommitId>::origin(&space, collection, &origin), |id, entry| {
            if entry.is_some() {
                alone.insert(origin, id.oseq)?;
            }
            Ok::<(), ReplicaError>(())
        })?;
        self.store.each_checked(&Prefix::<HeldKey>::author(&space, &origin.peer), |_, record| {
            // What damage put there does not count: see `loss`.
            let counts = record.filter(|record| record.since != Since::Damage);
            let commit = counts.and_then(|record| Commit::decode(space, &record.commit).ok());
            for (of, oseq) in commit.filter(|commit| commit.origin == origin).iter().flat_map(Commit::parts) {
                if of == *collection {
                    alone.insert(origin, oseq)?;
                }
            }
            Ok::<(), ReplicaError>(())
        })?;
        let seen = alone.seen(&origin).cloned().unwrap_or_default();
        // A number of this device that nothing here names any more must not be given out again.
        self.renew |= origin == self.origin();
        let mut batch = Batch::new();
        let numbers = BTreeMap::from([((collection.clone(), origin), seen)]);
        self.stage_vectors(space, &numbers, &mut batch);
        self.store.write(batch)?;
        self.take_vectors(space, numbers)
    }

    /// Stages what is held of origins; an origin of which nothing is held is forgotten.
    pub(super) fn stage_vectors(
        &self,
        space: SpaceId,
        numbers: &BTreeMap<(CollectionName, Origin), Seen>,
        batch: &mut Batch,
    ) {
        for ((collection, origin), seen) in numbers {
            let key = VectorKey { space, collection: collection.clone(), origin: *origin };
            match seen.is_empty() {
                true => batch.remove(&key),
                false => batch.put(&key, &SeenRecord(seen.clone())),
            }
        }
    }

    /// Takes over into memory what [`Replica::stage_vectors`] has staged.
    pub(super) fn take_vectors(
        &mut self,
        space: SpaceId,
        numbers: BTreeMap<(CollectionName, Origin), Seen>,
    ) -> Result<(), ReplicaError> {
        let Some(known) = self.spaces.get_mut(&space) else { return Ok(()) };
        for ((collection, origin), seen) in numbers {
            let state = known.collections.entry(collection).or_default();
            let mut origins: BTreeMap<Origin, Seen> =
                state.vector.iter().map(|(origin, seen)| (*origin, seen.clone())).collect();
            if seen.is_empty() {
                origins.remove(&origin)
            } else {
                origins.insert(origin, seen)
            };
            state.vector = Vector::from_origins(origins)?;
        }
        Ok(())
    }

    /// Adds up the root of a collection. Costs a look at each of its entities.
    pub(super) fn recount_root(
        &mut self,
        space: SpaceId,
        collection: &CollectionName,
    ) -> Result<(), ReplicaError> {
        let mut sum = Root::EMPTY.sum();
        self.store.each(&Prefix::<HeadKey>::collection(&space, collection), |key, head| {
            sum.add(&space, &key.entity, &head.heads);
            Ok::<(), ReplicaError>(())
        })?;
        let (root, mut batch) = (sum.root(), Batch::new());
        batch.put(&RootKey { space, collection: collection.clone() }, &root);
        self.store.write(batch)?;
        if let Some(known) = self.spaces.get_mut(&space) {
            known.collections.entry(collection.clone()).or_default().root = root;
        }
        Ok(())
    }

    /// A held commit is lost: what its author sent counts as received as far as it is here.
    fn mend_held(&mut self, key: HeldKey) -> Result<(), ReplicaError> {
        let HeldKey { space, author, number } = key;
        let (mut batch, mut changes) = (Batch::new(), HeldChanges::default());
        match self.spaces.get(&space) {
            Some(known) => known.held.stage_remove(space, (author, number), &mut changes, &mut batch),
            None => batch.remove(&key),
        }
        self.store.write(batch)?;
        if let Some(known) = self.spaces.get_mut(&space) {
            known.held.apply(changes);
        }
        for (collection, origin) in self.numbered_by(space, &author) {
            self.recount_vector(space, &collection, origin)?;
        }
        self.told.push_back(Told::Damaged { space, entities: Vec::new() });
        Ok(())
    }

    fn numbered_by(&self, space: SpaceId, author: &PeerId) -> Vec<(CollectionName, Origin)> {
        let collections = self.spaces.get(&space).into_iter().flat_map(|known| &known.collections);
        let origins = collections.flat_map(|(collection, state)| {
            state.vector.iter().map(move |(origin, _)| (collection.clone(), *origin))
        });
        origins.filter(|(_, origin)| origin.peer == *author).collect()
    }

    fn mend_damaged(&self, key: DamagedKey) -> Result<(), ReplicaError> {
        let DamagedKey { space, collection, entity } = key.clone();
        let mut batch = Batch::new();
        match self.store.get(&HeadKey { space, collection, entity })? {
            Some(head) if head.is_damaged() => {
                batch.put(&key, &DamagedRecord { only_here: 0, need: head.need });
            }
            Some(_) | None => batch.remove(&key),
        }
        Ok(self.store.write(batch)?)
    }

    /// Writes both copies of a statement again, from memory or from the sound one.
    fn mend_statement(&self, space: SpaceId, key: CopyKey) -> Result<(), ReplicaError> {
        let in_memory = self.spaces.get(&space).and_then(|known| {
            let found = known.log.statements().find(|statement| statement.hash() == key.hash);
            found.map(|statement| Raw(statement.bytes().to_vec()))
        });
        let bytes = match in_memory {
            Some(bytes) => Some(bytes),
            None => load::statement(&self.store, &key)?,
        };
        let mut batch = Batch::new();
        match bytes.filter(|_| self.spaces.contains_key(&space)) {
            Some(bytes) => stage_statement(&mut batch, &key, &bytes),
            None => {
                // A member that has it sends it again, when it misses it here.
                batch.remove(&StatementKey { space, hash: key.hash });
                batch.remove(&key);
            }
        }
        Ok(self.store.write(batch)?)
    }
}

/// Stages both copies of a statement.
pub(super) fn stage_statement(batch: &mut Batch, key: &CopyKey, bytes: &Raw) {
    batch.put(&StatementKey { space: key.space, hash: key.hash }, bytes);
    batch.put(key, bytes);
}

/// Stages both copies of statements of one space.
pub(super) fn stage_statements<'a>(
    batch: &mut Batch,
    space: SpaceId,
    statements: impl Iterator<Item = &'a Statement>,
) {
    for statement in statements {
        let key = CopyKey { space, hash: statement.hash() };
        stage_statement(batch, &key, &Raw(statement.bytes().to_vec()));
    }
}
