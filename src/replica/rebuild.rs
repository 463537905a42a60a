//! Takes back what does not count any more: documents are made again of the changes that are left.
//!
//! A removal that comes late finds commits applied that its cut does not let stand, and with them fall those that
//! follow them and vouch for nothing. One batch takes their changes, records and rows out, puts the commits into
//! quarantine with their reason, and notes one journal entry. The vectors go on counting them as received.
//!
//! Which commits fall depends on those that fall alone, on what follows them, and on what is vouched for; so
//! nothing else is read. Change chunks are the truth: no snapshot of an affected entity survives.

use std::collections::{BTreeMap, BTreeSet};

use super::accepted::{collections_of, speaks};
use super::clash::NOBODY;
use super::draft::{Draft, Touched, activity};
use super::hub::{Content, Ledger};
use super::order::{Linked, in_order};
use super::space::Space;
use super::{Replica, ReplicaError, RowChange, Told, load};
use crate::access::{Action, Commit, Fact, counting};
use crate::doc::{Document, Header, gate};
use crate::id::{
    ChangeHash, CollectionName, CommitHash, EntityId, Oseq, PeerId, Position, SpaceId, StatementHash,
};
use crate::limits::HELD_MISSING_MAX;
use crate::store::keyspaces::{
    Arrival, Batch, Change, ChangeKey, CommitEntry, CommitId, CommitRecord, HeadKey, HeldCause, HeldRecord,
    JournalEntry, JournalKey, JournalPart, MetaKey, Prefix, Since, SlotRecord, SnapshotKey,
};
use crate::store::kv::KvError;

type Place = (CollectionName, EntityId);

/// What a change of the membership means for what is applied here.
#[derive(Clone, Debug, Default)]
pub(super) struct Shift {
    /// Devices that were removed, or of which a removal does not count any more.
    pub(super) devices: BTreeSet<PeerId>,
    /// A statement that counted does not any more, or the other way round: what was allowed may not be.
    pub(super) rights: bool,
    /// A device equivocates, others built on what it wrote, or a verdict picks.
    pub(super) clashes: bool,
}

impl Shift {
    pub(super) fn is_empty(&self) -> bool {
        self.devices.is_empty() && !self.rights && !self.clashes
    }
}

/// A stored commit that may fall.
pub(super) struct Node {
    pub(super) id: CommitId,
    pub(super) record: CommitRecord,
    /// The commit, without its changes.
    pub(super) commit: Commit,
    pub(super) hash: CommitHash,
    /// The commits right before it in chains in which it counts only if they do.
    pub(super) behind: Vec<CommitHash>,
    /// Those of them that are not applied.
    pub(super) lacks: Vec<CommitHash>,
    pub(super) stands: bool,
    /// Its changes.
    pub(super) changes: Vec<(Place, ChangeHash)>,
    /// What they follow.
    pub(super) deps: BTreeSet<ChangeHash>,
}

impl Node {
    /// What it owes: clashes, and removals that do not reach it.
    pub(super) fn owes(&self, known: &Space) -> BTreeSet<StatementHash> {
        let origin = self.id.origin;
        let chains = known.chains.get(&origin.peer);
        let mut owes = known.frozen(&self.hash, &origin, &self.commit.parts());
        owes.extend(chains.map(|chains| chains.owed(&self.hash)).unwrap_or_default());
        owes
    }
}

impl Linked for Node {
    fn hash(&self) -> CommitHash {
        self.hash
    }

    fn brings(&self) -> impl Iterator<Item = ChangeHash> {
        self.changes.iter().map(|(_, change)| *change)
    }

    fn deps(&self) -> impl Iterator<Item = ChangeHash> {
        self.deps.iter().copied()
    }

    fn behind(&self) -> &[CommitHash] {
        &self.behind
    }
}

/// The changes of one entity.
pub(super) struct Changes {
    pub(super) all: Vec<(Arrival, Change, Header)>,
    /// For each change, the commits with a change that follows it directly.
    pub(super) followers: BTreeMap<ChangeHash, BTreeSet<CommitId>>,
}

/// Commits that may fall, all that follow them, and the entities that they change.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) nodes: Vec<Node>,
    known: BTreeSet<CommitId>,
    entities: BTreeMap<Place, Changes>,
}

/// A commit that falls.
struct Fallen {
    node: Node,
    cause: HeldCause,
    missing: Vec<ChangeHash>,
}

/// The name under which a store notes that it has not taken back yet what a statement ended.
pub(super) fn mark(space: &SpaceId) -> MetaKey {
    MetaKey(format!("shifted/{space}"))
}

impl Replica {
    /// Takes back what does not count any more after a change of the membership.
    pub(super) fn take_back(&mut self, space: SpaceId, shift: Shift) -> Result<(), ReplicaError> {
        self.or_later(space, |replica| replica.take_back_all(space, shift))
    }

    fn take_back_all(&mut self, space: SpaceId, shift: Shift) -> Result<(), ReplicaError> {
        let Shift { mut devices, mut rights, clashes: _ } = shift;
        if let Some(known) = self.spaces.get_mut(&space) {
            devices.iter().for_each(|device| drop(known.chains.remove(device)));
        }
        loop {
            self.settle_contests(space)?;
            let gathered = self.gather(space, &devices, rights)?;
            let fallen = self.fallen(space, gathered.nodes)?;
            if fallen.is_empty() {
                break;
            }
            self.fell(space, fallen, gathered.entities)?;
            // What fell may have vouched for others.
            let known = self.spaces.get(&space);
            devices = known.into_iter().flat_map(|known| known.removals.keys().copied()).collect();
            rights = false;
        }
        self.free_room(space)?;
        let mut batch = Batch::new();
        batch.remove(&mark(&space));
        self.store.write(batch)?;
        if let Some(known) = self.spaces.get_mut(&space) {
            known.unchained.clear();
        }
        Ok(())
    }

    /// Finishes what was begun before the process died.
    pub(super) fn take_back_again(&mut self) -> Result<(), ReplicaError> {
        let spaces: Vec<SpaceId> = self.spaces.keys().copied().collect();
        for space in spaces {
            self.settle_contests(space)?;
            let beaten = self.spaces.get(&space).is_some_and(|known| !known.contests.beaten.is_empty());
            if beaten || self.store.get(&mark(&space))?.is_some() {
                self.take_back_whatever(space)?;
            }
        }
        Ok(())
    }

    /// Takes back what does not count, of all that is here.
    pub(super) fn take_back_whatever(&mut self, space: SpaceId) -> Result<(), ReplicaError> {
        let Some(known) = self.spaces.get_mut(&space) else { return Ok(()) };
        known.unchained = known.clashes.keys().cloned().collect();
        let devices = known.removals.keys().copied().collect();
        self.take_back(space, Shift { devices, rights: true, clashes: true })
    }

    /// Finds the commits that may fall: those that no cut reaches, those that were not allowed, and what follows.
    fn gather(
        &mut self,
        space: SpaceId,
        devices: &BTreeSet<PeerId>,
        rights: bool,
    ) -> Result<Gathered, ReplicaError> {
        let mut gathered = Gathered::default();
        for device in devices {
            self.know_chains(space, *device)?;
            let chains = self.spaces.get(&space).and_then(|known| known.chains.get(device));
            let beyond = chains.map(super::accepted::Chains::beyond).unwrap_or_default();
            if beyond.is_empty() {
                continue;
            }
            for (hash, known) in self.records_of(space, *device)? {
                if beyond.contains(&hash) {
                    self.add(&mut gathered, known.id, known.record, true)?;
                }
            }
        }
        if rights {
            self.add_forbidden(space, &mut gathered)?;
        }
        self.add_frozen(space, &mut gathered)?;
        self.add_followers(space, &mut gathered)?;
        Ok(gathered)
    }

    /// Gathers commits that equivocate, and some of their rivals.
    pub(super) fn gather_frozen(
        &self,
        space: SpaceId,
        rivals: Vec<(CommitId, CommitRecord)>,
    ) -> Result<Gathered, ReplicaError> {
        let mut gathered = Gathered::default();
        self.add_frozen(space, &mut gathered)?;
        for (id, record) in rivals {
            self.add(&mut gathered, id, record, true)?;
        }
        self.add_followers(space, &mut gathered)?;
        Ok(gathered)
    }

    /// Adds all that follow the commits, and what each follows.
    fn add_followers(&self, space: SpaceId, gathered: &mut Gathered) -> Result<(), ReplicaError> {
        let mut next = 0;
        while let Some(node) = gathered.nodes.get(next) {
            next += 1;
            let behind = self.behind_in_chains(space, &node.commit);
            for (place, change) in node.changes.clone() {
                if !gathered.entities.contains_key(&place) {
                    let changes = self.changes_of(space, &place)?;
                    gathered.entities.insert(place.clone(), changes);
                }
                let of_entity = gathered.entities.get(&place);
                let followers = of_entity.and_then(|changes| changes.followers.get(&change)).cloned();
                for id in followers.unwrap_or_default() {
                    if let Some((id, record)) = load::record(&self.store, id)? {
                        self.add(gathered, id, record, true)?;
                    }
                }
            }
            for id in behind {
                if let Some((id, record)) = load::record(&self.store, id)? {
                    self.add(gathered, id, record, true)?;
                }
            }
        }
        for node in &mut gathered.nodes {
            for (place, change) in &node.changes {
                let of_entity = gathered.entities.get(place).into_iter().flat_map(|changes| &changes.all);
                let own = of_entity.filter(|(.., header)| header.hash == *change);
                node.deps.extend(own.flat_map(|(.., header)| header.deps.iter().copied()));
            }
        }
        Ok(())
    }

    /// The places right behind a commit in chains in which others count only if it does.
    fn behind_in_chains(&self, space: SpaceId, commit: &Commit) -> Vec<CommitId> {
        let Some(known) = self.spaces.get(&space) else { return Vec::new() };
        let origin = commit.origin;
        let parts = commit.parts().into_iter();
        let chained =
            parts.filter(|(collection, _)| known.clashes.contains_key(&(collection.clone(), origin)));
        let next = |(collection, oseq): (CollectionName, Oseq)| CommitId {
            space,
            collection,
            origin,
            oseq: Oseq(oseq.0.saturating_add(1)),
        };
        chained.map(next).collect()
    }

    /// Adds the stored commits of origins that equivocate, from there on, and those that give way to others.
    fn add_frozen(&self, space: SpaceId, gathered: &mut Gathered) -> Result<(), ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let mut frozen = Vec::new();
        for (place @ (collection, origin), clashes) in &known.clashes {
            let chained = clashes.first().filter(|_| known.unchained.contains(place));
            let Some(from) = chained.or_else(|| known.frozen_from(place)) else { continue };
            let of_origin = Prefix::<CommitId>::origin(&space, collection, origin);
            let (collection, origin) = (collection.clone(), *origin);
            let before =
                from.0.checked_sub(1).map(|oseq| CommitId { space, collection, origin, oseq: Oseq(oseq) });
            self.store.each_behind(&of_origin, before.as_ref(), |id, entry| {
                frozen.push(load::resolve(&self.store, id, entry)?);
                Ok::<(), ReplicaError>(())
            })?;
        }
        for (hash, id) in &known.contests.beaten {
            let Some(id) = id.clone() else { continue };
            let Some((id, record)) = load::record(&self.store, id)? else { continue };
            if load::commit(&self.store, space, id.origin, &record, &|_| false)?.hash() == *hash {
                frozen.push((id, record));
            }
        }
        frozen.into_iter().try_for_each(|(id, record)| self.add(gathered, id, record, true))
    }

    /// Adds the stored commits that were not allowed where they say that they were made.
    fn add_forbidden(&self, space: SpaceId, gathered: &mut Gathered) -> Result<(), ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let mut judged: BTreeMap<(PeerId, CollectionName, Vec<StatementHash>), bool> = BTreeMap::new();
        let mut forbidden = Vec::new();
        self.store.each(&Prefix::<CommitId>::space(&space), |id, entry| {
            let CommitEntry::Record(record) = entry else { return Ok(()) };
            let device = id.origin.peer;
            let allowed = collections_of(&record).into_iter().all(|collection| {
                *judged.entry((device, collection.clone(), record.at.clone())).or_insert_with(|| {
                    known.membership.may_at(&device, Action::Write, collection, &record.at).is_ok()
                })
            });
            if !allowed {
                forbidden.push((id, record));
            }
            Ok::<(), ReplicaError>(())
        })?;
        forbidden.into_iter().try_for_each(|(id, record)| self.add(gathered, id, record, false))
    }

    fn add(
        &self,
        gathered: &mut Gathered,
        id: CommitId,
        record: CommitRecord,
        stands: bool,
    ) -> Result<(), ReplicaError> {
        if !gathered.known.insert(id.clone()) {
            let of_id = gathered.nodes.iter_mut().filter(|node| node.id == id && !stands);
            of_id.for_each(|node| node.stands = false);
            return Ok(());
        }
        let commit = load::commit(&self.store, id.space, id.origin, &record, &|_| false)?;
        let known = self.spaces.get(&id.space);
        let (hash, mut behind, mut lacks) = (commit.hash(), Vec::new(), Vec::new());
        for (place, prev) in known.map(|known| known.chained(&commit)).unwrap_or_default() {
            // Nothing but the first number has nothing before it.
            let prev = prev.unwrap_or(CommitHash::new([0; 32]));
            if !self.is_applied(id.space, id.origin, place, prev)? {
                lacks.push(prev);
            }
            behind.push(prev);
        }
        let changes = record.slots.iter().filter_map(|slot| match slot {
            SlotRecord::Open { collection, entity, head, .. } => Some(((collection.clone(), *entity), *head)),
            SlotRecord::Blind(_) => None,
        });
        let changes = changes.collect();
        gathered.nodes.push(Node {
            id,
            record,
            commit,
            hash,
            behind,
            lacks,
            stands,
            changes,
            deps: BTreeSet::new(),
        });
        Ok(())
    }

    pub(super) fn changes_of(
        &self,
        space: SpaceId,
        (collection, entity): &Place,
    ) -> Result<Changes, ReplicaError> {
        let mut changes = Changes { all: Vec::new(), followers: BTreeMap::new() };
        self.store.each(&Prefix::<ChangeKey>::entity(&space, collection, entity), |key, change| {
            let damaged = |_| KvError::Corrupt { what: format!("a change of entity {entity}") };
            let header = gate::prescan(&change.chunk).map_err(damaged)?;
            let (origin, oseq) = (change.origin, change.oseq);
            for dep in &header.deps {
                let id = CommitId { space, collection: collection.clone(), origin, oseq };
                changes.followers.entry(*dep).or_default().insert(id);
            }
            changes.all.push((key.arrival, change, header));
            Ok::<(), ReplicaError>(())
        })?;
        Ok(changes)
    }

    /// Judges commits together, and returns those that do not count.
    fn fallen(&self, space: SpaceId, nodes: Vec<Node>) -> Result<Vec<Fallen>, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let suspended = known.suspended();
        let owed: BTreeSet<StatementHash> = nodes.iter().flat_map(|node| node.owes(known)).collect();
        let order = in_order(&nodes);
        let mut facts = Vec::with_capacity(nodes.len());
        for placed in &order {
            let Some(node) = nodes.get(placed.index) else { continue };
            let mut owes = node.owes(known);
            let speaks = speaks_of(known, &suspended, &owed, &owes, node)?;
            if !node.lacks.is_empty() || placed.in_circle {
                owes.insert(NOBODY);
            }
            facts.push(Fact { stands: node.stands, follows: placed.follows.clone(), owes, speaks });
        }
        let counts = counting(&facts);
        let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
        let mut fallen = Vec::new();
        let mut lost: BTreeSet<ChangeHash> = BTreeSet::new();
        for ((placed, fact), _) in order.iter().zip(&facts).zip(counts).filter(|(_, counts)| !counts) {
            let Some(node) = nodes.get_mut(placed.index).and_then(Option::take) else { continue };
            let frozen = fact.owes.iter().any(|owed| *owed == NOBODY || suspended.contains_key(owed));
            let cause = match (fact.stands, frozen, fact.owes.is_empty()) {
                (false, ..) => HeldCause::NotAllowed,
                (true, true, _) => HeldCause::Equivocation,
                (true, false, false) => HeldCause::AfterCut,
                (true, false, true) => HeldCause::MissingDependency,
            };
            // One beyond the cut waits for whatever it follows, for that may bring somebody who vouches for it.
            let waits = |dep: &&ChangeHash| cause != HeldCause::MissingDependency || lost.contains(*dep);
            let missing = node.deps.iter().filter(waits).take(HELD_MISSING_MAX).copied().collect();
            lost.extend(node.changes.iter().map(|(_, change)| *change));
            fallen.push(Fallen { node, cause, missing });
        }
        Ok(fallen)
    }

    /// Takes commits out, and makes their entities again, in one batch.
    fn fell(
        &mut self,
        space: SpaceId,
        fallen: Vec<Fallen>,
        mut entities: BTreeMap<Place, Changes>,
    ) -> Result<(), ReplicaError> {
        let mut draft = Draft::new(space, Position(self.position.0 + 1));
        let mut lost: BTreeMap<Place, BTreeSet<ChangeHash>> = BTreeMap::new();
        let mut told: BTreeMap<(PeerId, u8), (HeldCause, usize)> = BTreeMap::new();
        for Fallen { node, cause, missing } in fallen {
            let origin = node.id.origin;
            if origin == self.origin() {
                // The numbers of what was taken back are not given again.
                self.renew = true;
            }
            told.entry((origin.peer, cause as u8)).or_insert((cause, 0)).1 += 1;
            self.stage_fall(&mut draft, &node, cause, missing)?;
            for (place, change) in node.changes {
                lost.entry(place).or_default().insert(change);
            }
        }
        let mut rows = Vec::new();
        let mut parts: Vec<JournalPart> = Vec::new();
        for (place, lost) in lost {
            let Some(changes) = entities.remove(&place) else { continue };
            let (collection, entity) = place.clone();
            if parts.last().is_none_or(|part| part.collection != collection) {
                parts.push(JournalPart {
                    collection: collection.clone(),
                    oseq: Oseq(0),
                    entities: Vec::new(),
                });
            }
            parts.last_mut().into_iter().for_each(|part| part.entities.push(entity));
            let change = self.stage_rebuild(&mut draft, place, &changes, &lost)?;
            rows.extend(change.map(|change| (collection, entity, change)));
        }
        let entry = JournalEntry { space, origin: self.origin(), from: None, parts };
        draft.batch.put(&JournalKey { position: draft.position }, &entry);
        let position = draft.position;
        self.finish(draft)?;
        if let Some(known) = self.spaces.get_mut(&space) {
            known.own_last.clear();
            known.chains.clear();
        }
        if !rows.is_empty() {
            self.told.push_back(Told::Changed { space, from: None, position, entities: rows });
        }
        for ((author, _), (cause, commits)) in told {
            self.metrics.commits_quarantined.add(commits as u64);
            tracing::info!(author = %author.short(), commits, ?cause, "commits taken back");
            self.told.push_back(Told::TakenBack { space, author, commits, reason: cause.into() });
        }
        Ok(())
    }

    /// Stages that a commit goes into quarantine, and that its record is gone.
    fn stage_fall(
        &self,
        draft: &mut Draft,
        node: &Node,
        cause: HeldCause,
        missing: Vec<ChangeHash>,
    ) -> Result<(), ReplicaError> {
        let (space, origin) = (draft.space, node.id.origin);
        let commit: Commit = load::commit(&self.store, space, origin, &node.record, &|_| true)?;
        let entry = self.store.get(&JournalKey { position: node.record.position })?;
        let from = entry.and_then(|entry| entry.from).unwrap_or(self.peer);
        let arrived = self.wall;
        let record =
            HeldRecord { cause, arrived, from, since: Since::Ever, missing, commit: commit.encode() };
        if let Some(known) = self.spaces.get(&space)
            && !known.held.stage_put((&commit, node.hash), None, &record, &mut draft.held, &mut draft.batch)
        {
            tracing::warn!(author = %origin.peer.short(), "the quarantine is full; a commit is forgotten");
        }
        draft.batch.remove(&node.id);
        for (collection, oseq) in commit.parts() {
            draft.batch.remove(&CommitId { space, collection, origin, oseq });
        }
        Ok(())
    }

    /// Stages an entity without some of its changes, and returns what becomes of its row.
    fn stage_rebuild(
        &self,
        draft: &mut Draft,
        place: Place,
        changes: &Changes,
        lost: &BTreeSet<ChangeHash>,
    ) -> Result<Option<RowChange>, ReplicaError> {
        let (collection, entity) = place.clone();
        let key = HeadKey { space: draft.space, collection: collection.clone(), entity };
        let Some(before) = self.store.get(&key)? else { return Ok(None) };
        let is_lost = |header: &Header| lost.contains(&header.hash);
        for (arrival, ..) in changes.all.iter().filter(|(.., header)| is_lost(header)) {
            draft.batch.remove(&load::change_key(&key, *arrival));
        }
        let left = || changes.all.iter().filter(|(.., header)| !is_lost(header));
        let chunks: Vec<&[u8]> = left().map(|(_, change, _)| change.chunk.as_slice()).collect();
        let document = match (self.hub, chunks.is_empty()) {
            (true, _) => Content::Ledger(Ledger::of(left().map(|(.., header)| header))),
            (false, true) => Content::of(Document::new()),
            (false, false) => Content::of(Document::load(None, &chunks)?),
        };
        let mut touched = Touched::new(Some(before), document);
        if touched.head.snapshot.take().is_some() {
            draft.batch.remove(&SnapshotKey { space: draft.space, collection, entity });
        }
        touched.head.tail_bytes = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        touched.head.position = draft.position;
        touched.head.activity = activity(left().map(|(.., header)| header));
        let change = touched.settle_anew();
        draft.entities.insert(place, touched);
        Ok(change)
    }
}

/// What a stored commit speaks under; see [`speaks`].
pub(super) fn speaks_of(
    known: &Space,
    suspended: &BTreeMap<StatementHash, PeerId>,
    owed: &BTreeSet<StatementHash>,
    owes: &BTreeSet<StatementHash>,
    node: &Node,
) -> Result<BTreeSet<StatementHash>, ReplicaError> {
    if owed.is_empty() {
        return Ok(BTreeSet::new());
    }
    let (device, at) = (&node.id.origin.peer, &node.record.at);
    let bound = known.membership.binding(device, &collections_of(&node.record), at)?;
    speaks(&known.membership, suspended, owed, (&bound, owes), (device, at))
}
