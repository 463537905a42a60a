//! What is about to be written: documents, heads, rows, records and journal entries, staged together.
//!
//! Nothing here changes the replica. [`Replica::finish`] writes the batch and only then takes the rest over.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::held::{HeldChanges, HeldId};
use super::hub::Content;
use super::planted::Check;
use super::room::{Begins, Taken};
use super::{Replica, ReplicaError, RowChange, Told, load};
use crate::access::{Commit, Leaf, Slot};
use crate::doc::{Conflict, Header};
use crate::exchange::{CommitKey, Packed, Stored};
use crate::id::{
    CollectionName, EntityId, Origin, Oseq, PeerId, Position, Root, RootSum, SpaceId, Vector, VectorError,
};
use crate::store::keyspaces::{
    Batch, Change, CommitEntry, CommitId, CommitRecord, DamagedKey, Head, HeadKey,
};
use crate::store::keyspaces::{
    JournalEntry, JournalKey, JournalPart, RootKey, RowKey, RowRecord, SlotRecord,
};
use crate::store::keyspaces::{SeenRecord, VectorKey};
use crate::time::Timestamp;

/// A set of writes to one space that happen together.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) space: SpaceId,
    pub(super) batch: Batch,
    pub(super) entities: BTreeMap<(CollectionName, EntityId), Touched>,
    /// Of each origin that got a commit: its part of the vector, alone.
    seen: BTreeMap<(CollectionName, Origin), Vector>,
    /// What those take of the room that all share.
    pub(super) taken: Taken,
    pub(super) held: HeldChanges,
    told: Vec<Told>,
    /// The last position that was given out.
    pub(super) position: Position,
}

/// An entity with a document that differs from the stored one.
#[derive(Debug)]
pub(super) struct Touched {
    /// The head that is stored; `None` when the entity is unknown.
    pub(super) before: Option<Head>,
    pub(super) head: Head,
    pub(super) document: Content,
    /// The row of the document as it is, where a check has made it already.
    pub(super) row: Option<Vec<u8>>,
    /// What becomes of the row, until the first commit that tells it.
    change: Option<RowChange>,
    pub(super) conflicts: Vec<Conflict>,
}

/// A commit whose changes the documents of the draft already have.
#[derive(Debug)]
pub(super) struct Applied<'a> {
    pub(super) commit: &'a Commit,
    /// The encoding.
    pub(super) bytes: Arc<[u8]>,
    /// For each slot that is applied now, its header.
    pub(super) headers: &'a [Option<Header>],
    /// The record of the same commit, of which other leaves were open.
    pub(super) existing: Option<&'a (CommitId, CommitRecord)>,
    /// The peer that sent it.
    pub(super) from: Option<PeerId>,
    /// Where it was in quarantine.
    pub(super) held: Option<HeldId>,
}

impl Touched {
    pub(super) fn new(before: Option<Head>, document: Content) -> Self {
        let head = before.clone().unwrap_or_default();
        Self { before, head, document, row: None, change: None, conflicts: Vec::new() }
    }

    /// Notes what the row turns into, once the document is final.
    pub(super) fn settle(&mut self) {
        let was_deleted = self.before.as_ref().map(|head| head.deleted);
        self.head.heads = self.document.heads();
        self.head.clock = self.document.clock();
        if self.head.has_what_it_needs() {
            self.head.need.clear();
        }
        let Some(document) = self.document.document() else { return };
        self.head.deleted = document.is_deleted();
        self.change = match (was_deleted, self.head.deleted) {
            (None, false) => Some(RowChange::Inserted),
            (Some(false), false) => Some(RowChange::Updated),
            (Some(true), false) => Some(RowChange::Restored),
            (Some(false), true) => Some(RowChange::Deleted),
            (None | Some(true), true) => None,
        };
        if self.was_damaged() {
            // What is still lost of it is not shown; when all is back, all of it shows at once.
            let shows = !self.head.is_damaged() && !self.head.deleted;
            self.change = shows.then_some(RowChange::Repaired);
        }
    }

    fn was_damaged(&self) -> bool {
        self.before.as_ref().is_some_and(Head::is_damaged)
    }

    /// As [`Touched::settle`], for a document from which changes were taken. Returns what becomes of the row.
    pub(super) fn settle_anew(&mut self) -> Option<RowChange> {
        self.settle();
        if self.document.is_empty() {
            let was_there = self.before.as_ref().is_some_and(|head| !head.deleted && !head.is_damaged());
            self.change = was_there.then_some(RowChange::Deleted);
        }
        self.change.take()
    }

    /// The first commit tells the change of the row, later ones that it was updated.
    fn take_change(&mut self) -> Option<RowChange> {
        let change = self.change?;
        self.change = (change != RowChange::Deleted).then_some(RowChange::Updated);
        Some(change)
    }
}

/// The largest time that changes name. Whatever is made again of an entity asks for it anew: devices that hold the same
/// changes are to say the same.
pub(super) fn activity<'a>(changes: impl Iterator<Item = &'a Header>) -> Timestamp {
    changes.map(|header| header.time).fold(Timestamp::default(), Timestamp::max)
}

impl Draft {
    pub(super) fn new(space: SpaceId, position: Position) -> Self {
        Self {
            space,
            batch: Batch::new(),
            entities: BTreeMap::new(),
            seen: BTreeMap::new(),
            taken: Taken::default(),
            held: HeldChanges::default(),
            told: Vec::new(),
            position,
        }
    }

    /// A draft that knows what this one has staged of the vectors, to try more.
    pub(super) fn scratch(&self) -> Self {
        let mut scratch = Self::new(self.space, self.position);
        scratch.seen.clone_from(&self.seen);
        scratch.taken.clone_from(&self.taken);
        scratch
    }

    /// Stages the change chunks of a commit, and returns its leaves as they are recorded.
    fn stage_changes(&mut self, applied: &Applied<'_>) -> Vec<SlotRecord> {
        let mut slots = Vec::with_capacity(applied.commit.slots.len());
        let mut known = applied.existing.into_iter().flat_map(|(_, record)| record.by_collection());
        let mut headers = applied.headers.iter();
        for group in applied.commit.by_collection() {
            let known = known.next().unwrap_or_default();
            let is_known = matches!(known, [SlotRecord::Open { .. }, ..]);
            for (index, slot) in group.iter().enumerate() {
                let header = headers.next().and_then(Option::as_ref);
                match (slot, known.get(index), header) {
                    (Slot::Blind(_), ..) if is_known => slots.extend_from_slice(known),
                    (Slot::Blind(hash), ..) => slots.push(SlotRecord::Blind(*hash)),
                    (Slot::Open { .. }, Some(open @ SlotRecord::Open { .. }), None) => {
                        slots.push(open.clone())
                    }
                    (Slot::Open { leaf, change }, ..) => {
                        slots.push(self.stage_change(applied.commit.origin, leaf, change, header));
                    }
                }
            }
        }
        slots
    }

    fn stage_change(
        &mut self,
        origin: Origin,
        leaf: &Leaf,
        change: &[u8],
        header: Option<&Header>,
    ) -> SlotRecord {
        let place = (leaf.collection.clone(), leaf.entity);
        let touched = self.entities.get_mut(&place).expect("every entity of an applied commit was loaded");
        let arrival = touched.head.next_arrival;
        touched.head.next_arrival = arrival.next();
        touched.head.tail_bytes += change.len() as u64;
        if let Some(header) = header {
            touched.head.activity = touched.head.activity.max(activity([header].into_iter()));
        }
        let key = HeadKey { space: self.space, collection: leaf.collection.clone(), entity: leaf.entity };
        let chunk = Change { origin, oseq: leaf.oseq, seq: leaf.seq, chunk: change.to_vec() };
        self.batch.put(&load::change_key(&key, arrival), &chunk);
        SlotRecord::Open {
            collection: leaf.collection.clone(),
            entity: leaf.entity,
            oseq: leaf.oseq,
            prev: leaf.prev,
            salt: leaf.salt,
            of: leaf.of,
            seq: leaf.seq,
            head: leaf.head,
            arrival,
        }
    }

    /// Stages the record of a commit, and references to it from its other collections.
    fn stage_record(&mut self, applied: &Applied<'_>, slots: Vec<SlotRecord>) {
        let (space, origin) = (self.space, applied.commit.origin);
        let parts = applied.commit.parts();
        let (primary, position) = match applied.existing {
            Some((primary, record)) => (primary.clone(), record.position),
            None => {
                let (collection, oseq) = parts.first().cloned().expect("a commit has an open leaf");
                (CommitId { space, collection, origin, oseq }, self.position)
            }
        };
        let (at, signature) = (applied.commit.at.clone(), applied.commit.signature.0);
        let record = CommitRecord { position, at, slots, signature };
        self.batch.put(&primary, &CommitEntry::Record(record));
        for (collection, oseq) in parts {
            let id = CommitId { space, collection, origin, oseq };
            if id != primary && (applied.existing.is_none() || fresh(applied, &id.collection)) {
                let (collection, oseq) = (primary.collection.clone(), primary.oseq);
                self.batch.put(&id, &CommitEntry::Reference { position: self.position, collection, oseq });
            }
        }
    }
}

impl Replica {
    /// Stages a commit: changes, record, journal entry, vector, and what is told of it.
    pub(super) fn stage(&self, draft: &mut Draft, applied: &Applied<'_>) -> Result<(), ReplicaError> {
        draft.position = Position(draft.position.0 + 1);
        let slots = draft.stage_changes(applied);
        draft.stage_record(applied, slots);
        let (space, origin) = (draft.space, applied.commit.origin);
        let mut parts: Vec<JournalPart> = Vec::new();
        let mut rows = Vec::new();
        for (slot, header) in applied.commit.slots.iter().zip(applied.headers) {
            let (Slot::Open { leaf, .. }, Some(_)) = (slot, header) else { continue };
            if parts.last().is_none_or(|part| part.collection != leaf.collection) {
                self.stage_seen(draft, &leaf.collection, origin, leaf.oseq)?;
                let collection = leaf.collection.clone();
                parts.push(JournalPart { collection, oseq: leaf.oseq, entities: Vec::new() });
            }
            if let Some(part) = parts.last_mut() {
                part.entities.push(leaf.entity);
            }
            let place = (leaf.collection.clone(), leaf.entity);
            if let Some(touched) = draft.entities.get_mut(&place) {
                touched.head.position = draft.position;
                if let Some(change) = touched.take_change() {
                    rows.push((place.0, place.1, change));
                }
            }
        }
        let entry = JournalEntry { space, origin, from: applied.from, parts };
        draft.batch.put(&JournalKey { position: draft.position }, &entry);
        if let Some(id) = applied.held
            && let Some(state) = self.spaces.get(&space)
        {
            state.held.stage_remove(space, id, &mut draft.held, &mut draft.batch);
        }
        let key = CommitKey { origin, parts: applied.commit.parts() };
        let commit = Packed { key, bytes: Arc::clone(&applied.bytes) };
        let stored = Stored { position: draft.position, commit };
        draft.told.push(Told::Stored { space, from: applied.from, stored });
        if !rows.is_empty() {
            let (from, position) = (applied.from, draft.position);
            draft.told.push(Told::Changed { space, from, position, entities: rows });
        }
        Ok(())
    }

    /// Stages that a commit is held, applied or not. What a vector has no room for, among too many holes, is not
    /// noted: peers offer it again, and it is known here, until the holes are filled or a peer that holds the same
    /// tells its vector.
    pub(super) fn stage_seen(
        &self,
        draft: &mut Draft,
        collection: &CollectionName,
        origin: Origin,
        oseq: Oseq,
    ) -> Result<(), ReplicaError> {
        let known = self.spaces.get(&draft.space).and_then(|space| space.collections.get(collection));
        let place = (collection.clone(), origin);
        if !draft.seen.contains_key(&place) {
            let seen = known.and_then(|state| state.vector.seen(&origin)).cloned();
            if seen.is_none() {
                let begins = if known.is_none() { Begins::Collection } else { Begins::Origin };
                draft.taken.add(collection, origin, begins);
            }
            let alone = seen.map(|seen| BTreeMap::from([(origin, seen)])).unwrap_or_default();
            draft.seen.insert(place.clone(), Vector::from_origins(alone)?);
        }
        let alone = draft.seen.get_mut(&place).expect("inserted above");
        match alone.insert(origin, oseq) {
            Err(VectorError::Holes { .. }) => return Ok(()),
            noted => noted?,
        }
        let seen = alone.seen(&origin).cloned().unwrap_or_default();
        let key = VectorKey { space: draft.space, collection: place.0, origin };
        draft.batch.put(&key, &SeenRecord(seen));
        Ok(())
    }

    /// Stages heads, rows and roots, writes everything, and only then takes it over into memory.
    pub(super) fn finish(&mut self, mut draft: Draft) -> Result<(), ReplicaError> {
        if self.lacks(Check::Whole) && draft.entities.len() > 1 {
            draft.entities.pop_last();
        }
        let roots = self.stage_entities(&mut draft)?;
        self.store.write(std::mem::take(&mut draft.batch))?;
        self.position = draft.position;
        let Some(space) = self.spaces.get_mut(&draft.space) else { return Ok(()) };
        for ((collection, _), alone) in &draft.seen {
            space.collections.entry(collection.clone()).or_default().vector.merge(alone)?;
        }
        for (collection, root) in roots {
            space.collections.entry(collection).or_default().root = root;
        }
        space.held.apply(draft.held);
        self.told.extend(draft.told);
        for ((collection, entity), touched) in draft.entities {
            for conflict in touched.conflicts {
                let (space, collection) = (draft.space, collection.clone());
                self.told.push_back(Told::Conflict { space, collection, entity, conflict });
            }
            let key = HeadKey { space: draft.space, collection, entity };
            if touched.document.is_empty() {
                self.cache.remove(&key);
                self.ledgers.remove(&key);
                continue;
            }
            self.note_snapshot_due(&key, &touched.head);
            match touched.document {
                Content::Document(document) => self.cache.put(key, document),
                Content::Ledger(ledger) => self.ledgers.put(key, ledger),
            }
        }
        Ok(())
    }

    /// The root of a collection, to be changed.
    pub(super) fn root_sum(&self, space: &SpaceId, collection: &CollectionName) -> RootSum {
        let known = self.spaces.get(space).and_then(|known| known.collections.get(collection));
        known.map_or(Root::EMPTY, |state| state.root).sum()
    }

    fn stage_entities(&self, draft: &mut Draft) -> Result<BTreeMap<CollectionName, Root>, ReplicaError> {
        let space = draft.space;
        let mut roots: BTreeMap<CollectionName, RootSum> = BTreeMap::new();
        for ((collection, entity), touched) in &mut draft.entities {
            let root = roots.entry(collection.clone()).or_insert_with(|| self.root_sum(&space, collection));
            if let Some(before) = &touched.before {
                root.remove(&space, entity, &before.heads);
            }
            if touched.was_damaged() && !touched.head.is_damaged() {
                let (collection, entity, from) = (collection.clone(), *entity, self.sender);
                draft.batch.remove(&DamagedKey { space, collection: collection.clone(), entity });
                draft.told.push(Told::Repaired { space, collection, entity, from });
                self.metrics.entities_repaired.add(1);
            }
            let key = RowKey { space, collection: collection.clone(), entity: *entity };
            if touched.document.is_empty() && !touched.head.is_damaged() {
                draft.batch.remove(&key);
                draft.batch.remove(&HeadKey { space, collection: collection.clone(), entity: *entity });
                continue;
            }
            root.add(&space, entity, &touched.head.heads);
            touched.head.row_version = None;
            match self.row_of(collection, touched)? {
                Some(row) => {
                    touched.head.row_version = (!row.is_damaged()).then_some(row.version);
                    draft.batch.put(&key, &row);
                }
                None => draft.batch.remove(&key),
            }
            let key = HeadKey { space, collection: collection.clone(), entity: *entity };
            draft.batch.put(&key, &touched.head);
        }
        let roots: BTreeMap<_, _> =
            roots.into_iter().map(|(collection, sum)| (collection, sum.root())).collect();
        for (collection, root) in &roots {
            draft.batch.put(&RootKey { space, collection: collection.clone() }, root);
        }
        Ok(roots)
    }

    /// The row of an entity: none when it is deleted, or of a type that is not registered or does not fit.
    fn row_of(
        &self,
        collection: &CollectionName,
        touched: &mut Touched,
    ) -> Result<Option<RowRecord>, ReplicaError> {
        let Some(kind) = self.kinds.get(collection) else { return Ok(None) };
        if touched.head.is_damaged() {
            return Ok(Some(RowRecord::damaged()));
        }
        if touched.head.deleted {
            return Ok(None);
        }
        let Some(document) = touched.document.document() else { return Ok(None) };
        match touched.row.take().map_or_else(|| kind.row(document), Ok) {
            Ok(bytes) => Ok(Some(RowRecord { version: kind.version(), bytes })),
            Err(error) => {
                // Commits made here were checked before; another node's may be of a type that differs.
                tracing::warn!(%collection, %error, "an entity has no row");
                Ok(None)
            }
        }
    }
}

/// Tells whether a commit's leaves of a collection are applied now.
fn fresh(applied: &Applied<'_>, collection: &CollectionName) -> bool {
    let slots = applied.commit.slots.iter().zip(applied.headers);
    slots.into_iter().any(|(slot, header)| match slot {
        Slot::Open { leaf, .. } => header.is_some() && leaf.collection == *collection,
        Slot::Blind(_) => false,
    })
}
