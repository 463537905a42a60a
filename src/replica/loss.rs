//! Lost changes and commit records: what of the store still stands without them, and what becomes of the rest.
//!
//! A commit is here whole or not at all, and a change only with all that it depends on. So a change that cannot be
//! read takes its commit along, and every commit that builds on it. What is left is a store that holds less, and
//! says so: its vectors do not name those commits, its fingerprints do not count their changes, and any peer that
//! has them sends them again by the ordinary ways. Commits that can be read and only build on lost ones wait in
//! quarantine for what they depend on, and are applied when it comes. When a peer sends a part of one, of other
//! collections, that part is applied alone: of the rest, nobody may have what it depends on.
//!
//! An entity of which something is lost is served to nobody until all of it is back.

use std::collections::{BTreeMap, BTreeSet};

use super::draft::activity;
use super::heal::DamagedEntity;
use super::held::HeldChanges;
use super::hub::{Content, Ledger};
use super::{Replica, ReplicaError, RowChange, Told, load};
use crate::access::Commit;
use crate::doc::{Document, Header, gate};
use crate::id::{ActorId, ChangeHash, CollectionName, EntityId, Origin, Oseq, Position, RootSum};
use crate::id::{Seen, SpaceId, Vector};
use crate::limits::HELD_MISSING_MAX;
use crate::store::keyspaces::{
    AckedKey, Arrival, Batch, Change, ChangeKey, CommitEntry, CommitId, CommitRecord, DamagedKey,
    DamagedRecord, Head, HeadKey, HeldCause, HeldRecord, JournalKey, Keyspaces, Prefix, RootKey, RowKey,
    RowRecord, Since, SlotRecord, SnapshotKey,
};
use crate::store::kv::KvError;
use crate::time::Now;

type Place = (CollectionName, EntityId);

/// What is being worked out. Nothing is written before all of it is known.
struct Loss {
    space: SpaceId,
    /// Changes that cannot be read.
    changes: BTreeSet<(Place, Arrival)>,
    /// Commits whose record, or the reference to it, cannot be read.
    ids: BTreeSet<CommitId>,
    /// Commits that cannot stay, by the key of their record.
    out: BTreeMap<CommitId, Out>,
    /// Entities that are looked at whatever becomes of commits.
    seeds: BTreeSet<Place>,
    entities: BTreeMap<Place, Rest>,
    /// More damage was met than the commits were looked up for.
    stale: bool,
}

/// A commit that cannot stay.
#[derive(Default)]
struct Out {
    /// Its record, if that can be read.
    record: Option<CommitRecord>,
    /// Its number in each of its collections.
    numbers: BTreeSet<(CollectionName, Oseq)>,
    entities: BTreeSet<Place>,
}

/// What can be read of an entity.
struct Rest {
    before: Option<Head>,
    /// Whether the head was there and damaged.
    headless: bool,
    /// Whether readers saw a row.
    showed: bool,
    changes: BTreeMap<Arrival, (Change, Header)>,
    unreadable: BTreeSet<Arrival>,
    kept: BTreeSet<Arrival>,
}

impl Out {
    fn of(id: &CommitId, record: Option<CommitRecord>) -> Self {
        let mut out = Self { numbers: BTreeSet::from([(id.collection.clone(), id.oseq)]), ..Self::default() };
        for slot in record.iter().flat_map(|record| &record.slots) {
            if let SlotRecord::Open { collection, entity, oseq, .. } = slot {
                out.numbers.insert((collection.clone(), *oseq));
                out.entities.insert((collection.clone(), *entity));
            }
        }
        out.record = record;
        out
    }
}

impl Rest {
    fn kept(&self) -> impl Iterator<Item = &(Change, Header)> {
        self.changes.iter().filter(|(arrival, _)| self.kept.contains(arrival)).map(|(_, kept)| kept)
    }

    fn dropped(&self) -> impl Iterator<Item = &(Change, Header)> {
        self.changes.iter().filter(|(arrival, _)| !self.kept.contains(arrival)).map(|(_, dropped)| dropped)
    }

    /// Keeps what stands without these commits: changes arrive behind all that they depend on.
    fn keep(&mut self, collection: &CollectionName, out: &BTreeSet<(CollectionName, Origin, Oseq)>) {
        let mut hashes: BTreeSet<ChangeHash> = BTreeSet::new();
        self.kept.clear();
        for (arrival, (change, header)) in &self.changes {
            let stays = !out.contains(&(collection.clone(), change.origin, change.oseq));
            if stays && header.deps.iter().all(|dep| hashes.contains(dep)) {
                hashes.insert(header.hash);
                self.kept.insert(*arrival);
            }
        }
    }
}

impl Replica {
    /// A change cannot be read.
    pub(super) fn lose_change(&mut self, now: Now, key: ChangeKey) -> Result<(), ReplicaError> {
        let mut loss = Loss::new(key.space);
        loss.changes.insert(((key.collection, key.entity), key.arrival));
        self.lose(now, loss)
    }

    /// The record of a commit, or the reference to it, cannot be read.
    pub(super) fn lose_commit(&mut self, now: Now, id: CommitId) -> Result<(), ReplicaError> {
        let mut loss = Loss::new(id.space);
        loss.ids.insert(id);
        self.lose(now, loss)
    }

    /// A head cannot be read, or is not what its changes lead to.
    pub(super) fn lose_head(&mut self, now: Now, key: HeadKey) -> Result<(), ReplicaError> {
        let mut loss = Loss::new(key.space);
        loss.seeds.insert((key.collection, key.entity));
        self.lose(now, loss)
    }

    fn lose(&mut self, now: Now, mut loss: Loss) -> Result<(), ReplicaError> {
        loop {
            loss.stale = false;
            loss.entities.clear();
            if !loss.changes.is_empty() || !loss.ids.is_empty() {
                self.look_up(&mut loss)?;
            }
            loss.spread(&self.store)?;
            if !loss.stale {
                // Everything may have been found elsewhere.
                return if loss.entities.is_empty() && loss.out.is_empty() {
                    Ok(())
                } else {
                    self.write_loss(now, loss)
                };
            }
        }
    }

    /// Finds the commits of what is damaged, and mends what can be mended without a peer.
    fn look_up(&mut self, loss: &mut Loss) -> Result<(), ReplicaError> {
        loop {
            loss.stale = false;
            loss.out.clear();
            let references = loss.find_records(&self.store)?;
            let mut batch = Batch::new();
            let counted = self.seen_with(loss.space, references.keys());
            self.stage_vectors(loss.space, &counted, &mut batch);
            for (id, (position, primary)) in references {
                let (collection, oseq) = (primary.collection, primary.oseq);
                batch.put(&id, &CommitEntry::Reference { position, collection, oseq });
                loss.ids.remove(&id);
            }
            self.salvage(loss, &mut batch)?;
            self.store.write(batch)?;
            self.take_vectors(loss.space, counted)?;
            loss.find_lost_records(&self.store)?;
            if !loss.stale {
                return Ok(());
            }
        }
    }

    /// Takes lost changes from where else they are: a document in memory, or the snapshot.
    fn salvage(&mut self, loss: &mut Loss, batch: &mut Batch) -> Result<(), ReplicaError> {
        let space = loss.space;
        let mut found = BTreeSet::new();
        for (id, out) in &loss.out {
            for slot in out.record.iter().flat_map(|record| &record.slots) {
                let SlotRecord::Open { collection, entity, oseq, seq, head, arrival, .. } = slot else {
                    continue;
                };
                let place = ((collection.clone(), *entity), *arrival);
                if !loss.changes.contains(&place) {
                    continue;
                }
                let key = HeadKey { space, collection: collection.clone(), entity: *entity };
                if let Some(chunk) = self.elsewhere(&key, head) {
                    let change = Change { origin: id.origin, oseq: *oseq, seq: *seq, chunk };
                    batch.put(&load::change_key(&key, *arrival), &change);
                    found.insert(place);
                }
            }
        }
        loss.changes.retain(|place| !found.contains(place));
        let lacks = |out: &Out| match &out.record {
            None => true,
            Some(record) => {
                record.slots.iter().any(|slot| loss.changes.iter().any(|place| is_at(slot, place)))
            }
        };
        loss.out.retain(|_, out| lacks(out));
        Ok(())
    }

    fn elsewhere(&mut self, key: &HeadKey, hash: &ChangeHash) -> Option<Vec<u8>> {
        let cached = self.cache.get(key).and_then(|document| document.chunk(hash));
        let chunk = cached.or_else(|| {
            let HeadKey { space, collection, entity } = key.clone();
            let snapshot = self.store.get(&SnapshotKey { space, collection, entity }).ok()??;
            Document::load(Some(&snapshot.document), &[]).ok()?.chunk(hash)
        })?;
        let same = gate::prescan(&chunk).is_ok_and(|header| header.hash == *hash);
        same.then_some(chunk)
    }

    fn write_loss(&mut self, now: Now, loss: Loss) -> Result<(), ReplicaError> {
        let space = loss.space;
        let mut batch = Batch::new();
        let (mut changes, mut told) = (HeldChanges::default(), Vec::new());
        let (mut damaged, mut uncounted) = (Vec::new(), BTreeSet::new());
        let mut roots: BTreeMap<CollectionName, RootSum> = BTreeMap::new();
        let only_here = self.stage_out(now, &loss, &mut batch, &mut changes)?;
        let position = Position(self.position.0 + 1);
        for (place, rest) in &loss.entities {
            let lost = only_here.get(place).copied().unwrap_or(0);
            let head = self.stage_rest(&loss, place, rest, position, lost, &mut batch)?;
            let (collection, entity) = place.clone();
            if rest.headless {
                uncounted.insert(collection.clone());
            } else {
                let root =
                    roots.entry(collection.clone()).or_insert_with(|| self.root_sum(&space, &collection));
                let heads = rest.before.as_ref().map(|head| head.heads.as_slice()).unwrap_or_default();
                root.remove(&space, &entity, heads);
                root.add(&space, &entity, &head.heads);
            }
            let shows = !head.is_damaged() && !head.deleted && !head.heads.is_empty();
            // Without a head and a type, nothing tells whether anybody saw it.
            let known = !rest.headless || self.kinds.contains_key(&collection);
            match (rest.showed, shows) {
                _ if !known => {}
                (true, false) => told.push((collection.clone(), entity, RowChange::Damaged)),
                (false, true) => told.push((collection.clone(), entity, RowChange::Repaired)),
                (true, true) | (false, false) => {}
            }
            if head.is_damaged() && !rest.before.as_ref().is_some_and(Head::is_damaged) {
                damaged.push(DamagedEntity { collection, entity, only_here: lost });
            }
        }
        let roots: Vec<_> = roots.into_iter().map(|(collection, sum)| (collection, sum.root())).collect();
        for (collection, root) in &roots {
            batch.put(&RootKey { space, collection: collection.clone() }, root);
        }
        let seen = self.seen_without(&loss);
        self.stage_vectors(space, &seen, &mut batch);
        batch.put(&JournalKey { position }, &self.place_holder());
        self.store.write(batch)?;
        self.position = position;
        self.renew |= loss.out.keys().any(|id| id.origin == self.origin());
        for (collection, entity) in loss.entities.into_keys() {
            let key = HeadKey { space, collection, entity };
            self.cache.remove(&key);
            self.ledgers.remove(&key);
            self.due.snapshots.remove(&key);
        }
        if let Some(known) = self.spaces.get_mut(&space) {
            known.held.apply(changes);
            known.own_last.clear();
            known.chains.clear();
            for (collection, root) in roots {
                known.collections.entry(collection).or_default().root = root;
            }
        }
        self.take_vectors(space, seen)?;
        for collection in uncounted {
            self.recount_root(space, &collection)?;
        }
        self.metrics.entities_damaged.add(damaged.len() as u64);
        if !told.is_empty() {
            self.told.push_back(Told::Changed { space, from: None, position, entities: told });
        }
        self.told.push_back(Told::Damaged { space, entities: damaged });
        Ok(())
    }

    /// Takes commits out: those that can be read wait in quarantine for what they build on. Returns how many changes
    /// of each entity are lost that no other device has confirmed.
    fn stage_out(
        &self,
        now: Now,
        loss: &Loss,
        batch: &mut Batch,
        changes: &mut HeldChanges,
    ) -> Result<BTreeMap<Place, u64>, ReplicaError> {
        let space = loss.space;
        let mut only_here: BTreeMap<Place, u64> = BTreeMap::new();
        for (id, out) in &loss.out {
            for (collection, oseq) in &out.numbers {
                let origin = id.origin;
                batch.remove(&CommitId { space, collection: collection.clone(), origin, oseq: *oseq });
            }
            let whole = match &out.record {
                Some(record) => match load::commit(&self.store, space, id.origin, record, &|_| true) {
                    Ok(commit) => Some(commit),
                    Err(ReplicaError::Store(KvError::Damaged { .. })) => None,
                    Err(error) => return Err(error),
                },
                None => None,
            };
            if let Some(commit) = whole
                && self.stage_held(now, loss, &commit, batch, changes)
            {
                continue;
            }
            if id.origin.peer == self.peer && !self.is_confirmed(id)? {
                for place in &out.entities {
                    *only_here.entry(place.clone()).or_default() += 1;
                }
            }
        }
        Ok(only_here)
    }

    /// Holds a commit until what it builds on is here again. It does not count as received: a peer that has it may
    /// have to send it, because the quarantine is bounded.
    fn stage_held(
        &self,
        now: Now,
        loss: &Loss,
        commit: &Commit,
        batch: &mut Batch,
        changes: &mut HeldChanges,
    ) -> bool {
        let Some(known) = self.spaces.get(&loss.space) else { return false };
        let mut missing: BTreeSet<ChangeHash> = BTreeSet::new();
        for (leaf, _) in commit.open() {
            let Some(rest) = loss.entities.get(&(leaf.collection.clone(), leaf.entity)) else { continue };
            let kept: BTreeSet<ChangeHash> = rest.kept().map(|(_, header)| header.hash).collect();
            let own = rest.dropped().filter(|(_, header)| header.hash == leaf.head);
            missing.extend(own.flat_map(|(_, header)| &header.deps).filter(|dep| !kept.contains(*dep)));
        }
        let missing: Vec<ChangeHash> = missing.into_iter().take(HELD_MISSING_MAX).collect();
        if missing.is_empty() {
            return false;
        }
        let (cause, arrived, from) = (HeldCause::MissingDependency, now.wall, self.peer);
        let record =
            HeldRecord { cause, arrived, from, since: Since::Damage, missing, commit: commit.encode() };
        known.held.stage_put((commit, commit.hash()), None, &record, changes, batch)
    }

    fn is_confirmed(&self, id: &CommitId) -> Result<bool, ReplicaError> {
        let mut confirmed = false;
        let prefix = Prefix::<AckedKey>::origin(&id.space, &id.collection, &id.origin);
        self.store.each_checked(&prefix, |key, seen| {
            confirmed |= key.peer != self.peer && seen.is_some_and(|seen| seen.0.contains(id.oseq));
            Ok::<(), ReplicaError>(())
        })?;
        Ok(confirmed)
    }

    /// Stages what is left of an entity, and returns its head.
    fn stage_rest(
        &self,
        loss: &Loss,
        place: &Place,
        rest: &Rest,
        position: Position,
        only_here: u64,
        batch: &mut Batch,
    ) -> Result<Head, ReplicaError> {
        let (space, (collection, entity)) = (loss.space, place.clone());
        let key = HeadKey { space, collection: collection.clone(), entity };
        let chunks: Vec<&[u8]> = rest.kept().map(|(change, _)| change.chunk.as_slice()).collect();
        let content = match self.hub {
            true => Content::Ledger(Ledger::of(rest.kept().map(|(_, header)| header))),
            false => Content::of(Document::load(None, &chunks)?),
        };
        let last = rest.changes.keys().chain(&rest.unreadable).max().map(|last| last.next());
        let before = rest.before.clone().unwrap_or_default();
        let mut head = Head {
            heads: content.heads(),
            clock: content.clock(),
            deleted: content.document().map_or(before.deleted, Document::is_deleted),
            next_arrival: before.next_arrival.max(last.unwrap_or_default()),
            tail_bytes: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            position,
            activity: activity(rest.kept().map(|(_, header)| header)),
            ..Head::default()
        };
        let lost = self.need(loss, place, rest).into_iter().filter(|(actor, seq)| head.seq(actor) < *seq);
        head.need = lost.collect();
        let gone = rest.changes.keys().filter(|arrival| !rest.kept.contains(arrival)).chain(&rest.unreadable);
        gone.for_each(|arrival| batch.remove(&load::change_key(&key, *arrival)));
        batch.remove(&SnapshotKey { space, collection: collection.clone(), entity });
        let damaged = DamagedKey { space, collection: collection.clone(), entity };
        let row = RowKey { space, collection, entity };
        if head.is_damaged() {
            batch.put(&damaged, &DamagedRecord { only_here, need: head.need.clone() });
            if !self.hub {
                batch.put(&row, &RowRecord::damaged());
            }
        } else {
            batch.remove(&damaged);
            let kind = self.kinds.get(&row.collection).filter(|_| !head.deleted && !head.heads.is_empty());
            let document = content.document();
            match kind.and_then(|kind| Some((kind.version(), kind.row(document?).ok()?))) {
                Some((version, bytes)) => {
                    head.row_version = Some(version);
                    batch.put(&row, &RowRecord { version, bytes });
                }
                None => batch.remove(&row),
            }
        }
        match head.heads.is_empty() && !head.is_damaged() {
            true => batch.remove(&key),
            false => batch.put(&key, &head),
        }
        Ok(head)
    }

    /// How far each actor was held of an entity, as far as anything tells.
    fn need(&self, loss: &Loss, place: &Place, rest: &Rest) -> BTreeMap<ActorId, u64> {
        let (space, (collection, entity)) = (loss.space, place.clone());
        let mut need: BTreeMap<ActorId, u64> = BTreeMap::new();
        let mut note = |actor: ActorId, seq: u64| {
            let known: &mut u64 = need.entry(actor).or_default();
            *known = seq.max(*known);
        };
        if let Some(head) = &rest.before {
            head.clock.iter().chain(&head.need).for_each(|(actor, seq)| note(*actor, *seq));
        } else if let Ok(Some(record)) = self.store.get(&DamagedKey { space, collection, entity }) {
            record.need.iter().for_each(|(actor, seq)| note(*actor, *seq));
        }
        rest.dropped().for_each(|(_, header)| note(header.actor, header.seq));
        for (id, out) in &loss.out {
            for slot in out.record.iter().flat_map(|record| &record.slots) {
                if let SlotRecord::Open { collection, entity, seq, .. } = slot
                    && (collection, entity) == (&place.0, &place.1)
                {
                    note(ActorId::derive(&space, entity, &id.origin), *seq);
                }
            }
        }
        need
    }

    /// What is held of each origin with these commits: who counted them while they could not be read left them out.
    fn seen_with<'a>(
        &self,
        space: SpaceId,
        ids: impl Iterator<Item = &'a CommitId>,
    ) -> BTreeMap<(CollectionName, Origin), Seen> {
        let mut counted = BTreeMap::new();
        let Some(known) = self.spaces.get(&space) else { return counted };
        let mut vectors: BTreeMap<&CollectionName, Vector> = BTreeMap::new();
        for CommitId { collection, origin, oseq, .. } in ids {
            let held = known.collections.get(collection).map(|state| &state.vector);
            let vector = vectors.entry(collection).or_insert_with(|| held.cloned().unwrap_or_default());
            // With too many holes the number stays out: the fingerprints tell the difference then.
            if !vector.contains(origin, *oseq)
                && vector.insert(*origin, *oseq).is_ok()
                && let Some(seen) = vector.seen(origin)
            {
                counted.insert((collection.clone(), *origin), seen.clone());
            }
        }
        counted
    }

    /// What is held of each origin without the commits that are out.
    fn seen_without(&self, loss: &Loss) -> BTreeMap<(CollectionName, Origin), Seen> {
        let mut lost: BTreeMap<(CollectionName, Origin), BTreeSet<Oseq>> = BTreeMap::new();
        for (id, out) in &loss.out {
            for (collection, oseq) in &out.numbers {
                lost.entry((collection.clone(), id.origin)).or_default().insert(*oseq);
            }
        }
        let known = self.spaces.get(&loss.space);
        let left = lost.into_iter().filter_map(|((collection, origin), numbers)| {
            let seen = known?.collections.get(&collection)?.vector.seen(&origin)?;
            // With too many holes the number stays: the fingerprints tell the difference then.
            Some(((collection, origin), seen.without(&numbers)?))
        });
        left.collect()
    }
}

impl Loss {
    fn new(space: SpaceId) -> Self {
        Self {
            space,
            changes: BTreeSet::new(),
            ids: BTreeSet::new(),
            out: BTreeMap::new(),
            seeds: BTreeSet::new(),
            entities: BTreeMap::new(),
            stale: false,
        }
    }

    /// Looks at every commit of the space: which have a damaged change, which cannot be read themselves, and which
    /// of those are references, that can be written again.
    fn find_records(
        &mut self,
        store: &Keyspaces,
    ) -> Result<BTreeMap<CommitId, (Position, CommitId)>, ReplicaError> {
        let mut references = BTreeMap::new();
        store.each_checked(&Prefix::<CommitId>::space(&self.space), |id, entry| {
            let record = match entry {
                None => {
                    self.stale |= self.ids.insert(id);
                    return Ok(());
                }
                Some(CommitEntry::Reference { .. }) => return Ok(()),
                Some(CommitEntry::Record(record)) => record,
            };
            let mut lacks = false;
            for slot in &record.slots {
                let SlotRecord::Open { collection, entity, oseq, arrival, .. } = slot else { continue };
                lacks |= self.changes.contains(&((collection.clone(), *entity), *arrival));
                let part = CommitId { collection: collection.clone(), oseq: *oseq, ..id.clone() };
                if part != id && self.ids.contains(&part) {
                    references.insert(part, (record.position, id.clone()));
                }
            }
            if lacks {
                let out = Out::of(&id, Some(record));
                self.out.insert(id, out);
            }
            Ok::<(), ReplicaError>(())
        })?;
        Ok(references)
    }

    /// Finds what is left of commits whose record is lost.
    fn find_lost_records(&mut self, store: &Keyspaces) -> Result<(), ReplicaError> {
        if self.ids.is_empty() {
            return Ok(());
        }
        for id in &self.ids {
            self.out.insert(id.clone(), Out::of(id, None));
        }
        store.each_checked(&Prefix::<CommitId>::space(&self.space), |id, entry| {
            if let Some(CommitEntry::Reference { collection, oseq, .. }) = entry {
                let primary = CommitId { collection, oseq, ..id.clone() };
                if let Some(out) = self.out.get_mut(&primary).filter(|out| out.record.is_none()) {
                    out.numbers.insert((id.collection, id.oseq));
                }
            }
            Ok::<(), ReplicaError>(())
        })?;
        let mut numbers: BTreeMap<(CollectionName, Origin, Oseq), CommitId> = BTreeMap::new();
        for (id, out) in self.out.iter().filter(|(_, out)| out.record.is_none()) {
            let parts = out.numbers.iter();
            numbers.extend(parts.map(|(name, oseq)| ((name.clone(), id.origin, *oseq), id.clone())));
        }
        let collections: BTreeSet<CollectionName> = numbers.keys().map(|(name, ..)| name.clone()).collect();
        for collection in collections {
            store.each_checked(
                &Prefix::<ChangeKey>::collection(&self.space, &collection),
                |key, change| {
                    let place = (key.collection, key.entity);
                    let Some(change) = change else {
                        self.stale |= self.changes.insert((place, key.arrival));
                        return Ok(());
                    };
                    let id = numbers.get(&(place.0.clone(), change.origin, change.oseq));
                    if let Some(out) = id.and_then(|id| self.out.get_mut(id)) {
                        out.entities.insert(place);
                    }
                    Ok::<(), ReplicaError>(())
                },
            )?;
        }
        Ok(())
    }

    /// Takes out every commit that builds on one that is out, until the rest stands.
    fn spread(&mut self, store: &Keyspaces) -> Result<(), ReplicaError> {
        loop {
            let places: BTreeSet<Place> = self.out.values().flat_map(|out| out.entities.clone()).collect();
            let changed = self.changes.iter().map(|(place, _)| place.clone());
            let due: BTreeSet<Place> = places.into_iter().chain(changed).chain(self.seeds.clone()).collect();
            for place in due {
                if !self.entities.contains_key(&place) {
                    let rest = self.rest(store, place.clone())?;
                    self.entities.insert(place, rest);
                }
            }
            let mut numbers: BTreeSet<(CollectionName, Origin, Oseq)> = BTreeSet::new();
            for (id, out) in &self.out {
                let parts = out.numbers.iter();
                numbers.extend(parts.map(|(collection, oseq)| (collection.clone(), id.origin, *oseq)));
            }
            let mut more = BTreeSet::new();
            for ((collection, _), rest) in &mut self.entities {
                rest.keep(collection, &numbers);
                for (change, _) in rest.dropped() {
                    let number = (collection.clone(), change.origin, change.oseq);
                    if !numbers.contains(&number) {
                        more.insert(number);
                    }
                }
            }
            if more.is_empty() || self.stale {
                return Ok(());
            }
            for (collection, origin, oseq) in more {
                self.take_out(store, CommitId { space: self.space, collection, origin, oseq })?;
            }
        }
    }

    fn take_out(&mut self, store: &Keyspaces, id: CommitId) -> Result<(), ReplicaError> {
        match load::record(store, id.clone()) {
            Ok(Some((primary, record))) => {
                let out = Out::of(&primary, Some(record));
                self.out.entry(primary).or_insert(out);
            }
            Ok(None) | Err(ReplicaError::Store(KvError::Damaged { .. })) => {
                self.stale |= self.ids.insert(id.clone());
                self.out.entry(id.clone()).or_insert_with(|| Out::of(&id, None));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads what can be read of an entity.
    fn rest(&mut self, store: &Keyspaces, place: Place) -> Result<Rest, ReplicaError> {
        let (space, (collection, entity)) = (self.space, place.clone());
        let (before, headless) = match store.get(&HeadKey { space, collection: collection.clone(), entity }) {
            Ok(head) => (head, false),
            Err(KvError::Damaged { .. }) => (None, true),
            Err(error) => return Err(error.into()),
        };
        let row = store.get(&RowKey { space, collection: collection.clone(), entity });
        let showed = match &before {
            Some(head) => !head.is_damaged() && !head.deleted && !head.heads.is_empty(),
            None => !matches!(row, Ok(None)) && !row.is_ok_and(|row| row.is_some_and(|row| row.is_damaged())),
        };
        let (mut changes, mut unreadable) = (BTreeMap::new(), BTreeSet::new());
        store.each_checked(&Prefix::<ChangeKey>::entity(&space, &collection, &entity), |key, change| {
            let read = change.and_then(|change| {
                let header = gate::prescan(&change.chunk).ok()?;
                Some((change, header))
            });
            match read {
                Some(read) => drop(changes.insert(key.arrival, read)),
                None => drop(unreadable.insert(key.arrival)),
            }
            Ok::<(), ReplicaError>(())
        })?;
        for arrival in &unreadable {
            self.stale |= self.changes.insert((place.clone(), *arrival));
        }
        Ok(Rest { before, headless, showed, changes, unreadable, kept: BTreeSet::new() })
    }
}

fn is_at(slot: &SlotRecord, (place, at): &(Place, Arrival)) -> bool {
    match slot {
        SlotRecord::Open { collection, entity, arrival, .. } => {
            (collection, entity, arrival) == (&place.0, &place.1, at)
        }
        SlotRecord::Blind(_) => false,
    }
}
