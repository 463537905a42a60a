//! Commits for a peer: those that its vectors lack, or that its clocks lack; blinded for it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use super::names::Names;
use super::room::Room;
use super::{Replica, ReplicaError, load};
use crate::access::{Action, Membership};
use crate::doc::Priority;
use crate::exchange::{Answer, CommitKey, EntityClock, Packed, Scope, Vectors, beyond};
use crate::id::{
    ActorId, CollectionName, EntityId, Missing, Origin, Oseq, PeerId, Position, SpaceId, Vector,
};
use crate::store::keyspaces::{Arrival, CommitEntry, CommitId, CommitRecord, HeadKey, Keyspaces};
use crate::store::kv::KvError;

/// Records that all runs together read ahead.
const READ_AHEAD: usize = 256;
/// Records that one run reads ahead at least.
const READ_AHEAD_MIN: usize = 4;

/// The commits of one origin in one collection that a peer lacks, in order of number.
struct Run {
    priority: Priority,
    next: CommitId,
    last: Oseq,
    page: usize,
    ready: VecDeque<(CommitId, CommitEntry)>,
}

impl Run {
    fn new(
        space: SpaceId,
        collection: &CollectionName,
        priority: Priority,
        missing: Missing,
        page: usize,
    ) -> Self {
        let Missing { origin, first, last } = missing;
        let next = CommitId { space, collection: collection.clone(), origin, oseq: first };
        Self { priority, next, last, page, ready: VecDeque::new() }
    }

    /// Returns the place of the next commit among those of all runs; `None` at the end. Held commits have no
    /// record and are skipped.
    fn place(&mut self, store: &Keyspaces) -> Result<Option<(Priority, Position)>, KvError> {
        if self.ready.is_empty() && self.next.oseq <= self.last {
            let last = CommitId { oseq: self.last, ..self.next.clone() };
            let page = store.range(&self.next, &last, self.page)?;
            let full = page.len() == self.page;
            let behind = page.last().filter(|_| full).map_or(self.last, |(id, _)| id.oseq);
            self.next.oseq = Oseq(behind.0.saturating_add(1));
            self.ready.extend(page);
        }
        Ok(self.ready.front().map(|(_, entry)| (self.priority, entry.position())))
    }
}

impl Replica {
    /// The work is in proportion to the answer and the number of runs, never to what the space holds.
    pub(super) fn feed(
        &self,
        space: SpaceId,
        to: PeerId,
        have: &Vectors,
        scope: &Scope,
        bytes_max: usize,
    ) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let nothing = Vector::new();
        let mut missing = Vec::new();
        let mut names = Names::new(&known.membership, have, |vector| vector);
        for (collection, state) in &known.collections {
            if known.membership.may(&to, Action::Read, collection) && scope.flows(collection, true) {
                let theirs = have.get(collection).unwrap_or(&nothing);
                let mut lacks = theirs.lacks_of(&state.vector);
                lacks.retain(|lack| scope.flows(collection, lack.origin.peer == self.peer));
                // Who may begin the collection there lets in the others.
                let takes = |lack: &Missing| {
                    let peer = lack.origin.peer;
                    names.takes(collection, peer, || known.is_removed(&peer)).is_ok()
                };
                if !have.contains_key(collection) && !lacks.iter().any(takes) {
                    continue;
                }
                // What the peer has no room for it would leave out again and again.
                let mut room = Room::new(&known.membership, to, Some(theirs));
                let (mut lacks, beyond): (Vec<Missing>, Vec<Missing>) =
                    lacks.into_iter().partition(|lack| room.takes(&lack.origin, || false));
                if !beyond.is_empty() {
                    let wanted = self.wanted_of(space, collection, &beyond)?;
                    let wants = |lack: &Missing| room.takes(&lack.origin, || wanted.contains(&lack.origin));
                    lacks.extend(beyond.into_iter().filter(wants));
                }
                missing.extend(lacks.into_iter().map(|missing| (collection, missing)));
            }
        }
        let page = (READ_AHEAD / missing.len().max(1)).max(READ_AHEAD_MIN);
        let mut runs: Vec<Run> = missing
            .into_iter()
            .map(|(collection, missing)| {
                Run::new(space, collection, self.priority(collection), missing, page)
            })
            .collect();
        let mut next = BinaryHeap::new();
        for (index, run) in runs.iter_mut().enumerate() {
            next.extend(run.place(&self.store)?.map(|place| Reverse((place, index))));
        }
        let mut packer = Packer::new(self, space, to, &known.membership, scope);
        while packer.bytes < bytes_max {
            let Some(Reverse((_, index))) = next.pop() else { break };
            let Some(run) = runs.get_mut(index) else { continue };
            if let Some((id, entry)) = run.ready.pop_front() {
                packer.add(id, entry)?;
            }
            next.extend(run.place(&self.store)?.map(|place| Reverse((place, index))));
        }
        self.skip_packed(&mut runs, &mut next, &packer)?;
        let commits = packer.commits.into_iter().map(|(_, packed)| packed).collect();
        Ok(Answer::Commits { commits, complete: next.is_empty() })
    }

    /// Takes away what is packed already, under another collection of the same commit.
    fn skip_packed(
        &self,
        runs: &mut [Run],
        next: &mut BinaryHeap<Reverse<((Priority, Position), usize)>>,
        packer: &Packer<'_>,
    ) -> Result<(), ReplicaError> {
        while let Some(Reverse((_, index))) = next.peek().copied() {
            let Some(run) = runs.get_mut(index) else { return Ok(()) };
            if !run.ready.front().is_some_and(|(id, entry)| packer.packed.contains(&primary_of(id, entry))) {
                return Ok(());
            }
            next.pop();
            run.ready.pop_front();
            next.extend(run.place(&self.store)?.map(|place| Reverse((place, index))));
        }
        Ok(())
    }

    /// The priority of a collection, where its type is in use.
    fn priority(&self, collection: &CollectionName) -> Priority {
        self.kinds.get(collection).map_or(Priority::Normal, |kind| kind.priority())
    }

    pub(super) fn history(
        &self,
        space: SpaceId,
        to: PeerId,
        places: &[(CollectionName, EntityId)],
        have: &Vectors,
        scope: &Scope,
        bytes_max: usize,
    ) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let mut packer = Packer::new(self, space, to, &known.membership, scope);
        let readable = |(collection, _): &&(CollectionName, EntityId)| {
            known.membership.may(&to, Action::Read, collection)
        };
        for (collection, entity) in places.iter().filter(readable) {
            let key = HeadKey { space, collection: collection.clone(), entity: *entity };
            let Some(head) = self.store.get(&key)? else { continue };
            for change in load::changes(&self.store, &key, Arrival(0), head.next_arrival)? {
                let (origin, oseq) = (change.origin, change.oseq);
                if have.get(collection).is_some_and(|vector| vector.contains(&origin, oseq)) {
                    continue;
                }
                if packer.bytes >= bytes_max {
                    return Ok(Answer::Commits { commits: packer.into_journal_order(), complete: false });
                }
                let id = CommitId { space, collection: collection.clone(), origin, oseq };
                if let Some(entry) = self.store.get(&id)? {
                    packer.add(id, entry)?;
                }
            }
        }
        Ok(Answer::Commits { commits: packer.into_journal_order(), complete: true })
    }

    pub(super) fn unheld(&self, space: SpaceId, vectors: &Vectors) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let held = vectors.keys().filter_map(|collection| known.collections.get_key_value(collection));
        let held = held.map(|(collection, state)| (collection.clone(), state.vector.clone())).collect();
        Ok(Answer::Unheld(beyond(&held, vectors)))
    }

    /// Goes over the clocks in their order and stops behind the commit that fills the page, in the middle of an
    /// entity if need be. A commit that spans entities of two pages is in both answers.
    pub(super) fn lacking(
        &self,
        (space, collection): (SpaceId, &CollectionName),
        (to, have): (PeerId, &Vectors),
        scope: &Scope,
        clocks: Vec<EntityClock>,
        bytes_max: usize,
    ) -> Result<Answer, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let mut room = Room::new(&known.membership, to, have.get(collection));
        let mut packer = Packer::new(self, space, to, &known.membership, scope);
        let mut clocks = VecDeque::from(clocks);
        if !known.membership.may(&to, Action::Read, collection) {
            clocks.clear();
        }
        while packer.bytes < bytes_max {
            let Some(clock) = clocks.pop_front() else { break };
            if let Some(rest) = self.pack_entity((&mut packer, &mut room), collection, clock, bytes_max)? {
                clocks.push_front(rest);
            }
        }
        Ok(Answer::Lacking { commits: packer.into_journal_order(), rest: clocks.into() })
    }

    /// Packs the commits of one entity that a peer with this clock lacks, in the order in which its changes
    /// arrived. Returns the clock that the peer has with them, when the page is full before the end.
    ///
    /// What the peer has no room for is left out, unless others built on it.
    fn pack_entity(
        &self,
        (packer, room): (&mut Packer<'_>, &mut Room<'_>),
        collection: &CollectionName,
        clock: EntityClock,
        bytes_max: usize,
    ) -> Result<Option<EntityClock>, ReplicaError> {
        let (space, entity) = (packer.space, clock.entity);
        let key = HeadKey { space, collection: collection.clone(), entity };
        let Some(head) = self.store.get(&key)? else { return Ok(None) };
        let mut theirs: BTreeMap<ActorId, u64> = clock.clock.into_iter().collect();
        let lacks = |theirs: &BTreeMap<ActorId, u64>, actor: &ActorId, seq: u64| {
            theirs.get(actor).is_none_or(|known| seq > *known)
        };
        if !head.clock.iter().any(|(actor, seq)| lacks(&theirs, actor, *seq)) {
            return Ok(None);
        }
        let mut wanted = None;
        for change in load::changes(&self.store, &key, Arrival(0), head.next_arrival)? {
            let actor = ActorId::derive(&space, &entity, &change.origin);
            if !lacks(&theirs, &actor, change.seq) {
                continue;
            }
            if packer.bytes >= bytes_max {
                return Ok(Some(EntityClock { entity, clock: theirs.into_iter().collect() }));
            }
            let (origin, oseq) = (change.origin, change.oseq);
            let id = CommitId { space, collection: collection.clone(), origin, oseq };
            if !room.takes(&origin, || false) {
                if wanted.is_none() {
                    wanted = Some(self.built_on(space, &(collection.clone(), entity))?);
                }
                if !room.takes(&origin, || wanted.as_ref().is_some_and(|wanted| wanted.contains(&origin))) {
                    continue;
                }
            }
            if let Some(entry) = self.store.get(&id)? {
                packer.add(id, entry)?;
            }
            theirs.insert(actor, change.seq);
        }
        Ok(None)
    }
}

/// Rebuilds commits for one peer, each once.
pub(super) struct Packer<'a> {
    store: &'a Keyspaces,
    space: SpaceId,
    to: PeerId,
    membership: &'a Membership,
    scope: &'a Scope,
    me: PeerId,
    /// Which collections the peer may read.
    readable: BTreeMap<CollectionName, bool>,
    packed: BTreeSet<CommitId>,
    commits: Vec<(Position, Packed)>,
    bytes: usize,
}

impl<'a> Packer<'a> {
    pub(super) fn new(
        replica: &'a Replica,
        space: SpaceId,
        to: PeerId,
        membership: &'a Membership,
        scope: &'a Scope,
    ) -> Self {
        Self {
            store: &replica.store,
            space,
            to,
            membership,
            scope,
            me: replica.peer,
            readable: BTreeMap::new(),
            packed: BTreeSet::new(),
            commits: Vec::new(),
            bytes: 0,
        }
    }

    /// How many bytes are packed.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn add(&mut self, id: CommitId, entry: CommitEntry) -> Result<(), ReplicaError> {
        let origin = id.origin;
        let (primary, record) = load::resolve(self.store, id, entry)?;
        if self.packed.insert(primary)
            && let Some(packed) = self.pack(origin, &record)?
        {
            self.bytes += packed.bytes.len();
            self.commits.push((record.position, packed));
        }
        Ok(())
    }

    /// Returns what was packed, in the order in which it was applied here.
    pub(super) fn into_journal_order(mut self) -> Vec<Packed> {
        self.commits.sort_by_key(|(position, _)| *position);
        self.commits.into_iter().map(|(_, packed)| packed).collect()
    }

    fn pack(&mut self, origin: Origin, record: &CommitRecord) -> Result<Option<Packed>, ReplicaError> {
        for collection in collections(record) {
            if !self.readable.contains_key(collection) {
                let may = self.membership.may(&self.to, Action::Read, collection);
                self.readable.insert(collection.clone(), may);
            }
        }
        let is_own = origin.peer == self.me;
        let readable = |collection: &CollectionName| {
            self.readable.get(collection).copied().unwrap_or(false) && self.scope.flows(collection, is_own)
        };
        let commit = load::commit(self.store, self.space, origin, record, &readable)?;
        let open = collections(record).all(readable);
        let Some(commit) = (if open { Some(commit) } else { commit.blinded(&readable) }) else {
            return Ok(None);
        };
        let key = CommitKey { origin, parts: commit.parts() };
        Ok(Some(Packed { key, bytes: Arc::from(commit.encode()) }))
    }
}

/// The key that has the record of a commit.
fn primary_of(id: &CommitId, entry: &CommitEntry) -> CommitId {
    match entry {
        CommitEntry::Record(_) => id.clone(),
        CommitEntry::Reference { collection, oseq, .. } => {
            CommitId { collection: collection.clone(), oseq: *oseq, ..id.clone() }
        }
    }
}

/// The collections of the leaves that are open here, one for each leaf.
pub(super) fn collections(record: &CommitRecord) -> impl Iterator<Item = &CollectionName> {
    record.slots.iter().filter_map(|slot| match slot {
        crate::store::keyspaces::SlotRecord::Open { collection, .. } => Some(collection),
        crate::store::keyspaces::SlotRecord::Blind(_) => None,
    })
}
