//! The oracle: remembers what was promised, and finds where a promise is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::violation::{Rule, Violation};
use crate::access::{Commit, Membership, Slot};
use crate::exchange::{CollectionState, CommitKey, Packed, Vectors};
use crate::id::{
    ActorId, ChangeHash, CollectionName, CommitHash, EntityId, Missing, Origin, Oseq, PeerId, Position, Seen,
    SpaceId, Vector,
};
use crate::replica::{Reader, RowChange};

mod clash;
mod secret;
mod settled;
mod whole;

pub(super) use clash::Equivocation;
pub(super) use settled::Final;

/// A space, and its number in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: SpaceId,
    pub(super) number: usize,
}

/// Most violations that are kept of one run.
const VIOLATIONS_MAX: usize = 8;

/// A commit that a workload made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) step: u64,
    pub(super) device: usize,
    pub(super) key: CommitKey,
    leaves: Vec<Leaf>,
}

/// One change of a commit.
#[derive(Clone, Debug)]
struct Leaf {
    collection: CollectionName,
    entity: EntityId,
    actor: ActorId,
    seq: u64,
    head: ChangeHash,
}

/// What a subscriber on a device has seen.
#[derive(Clone, Debug, Default)]
struct Observer {
    rows: BTreeMap<CollectionName, BTreeSet<EntityId>>,
    position: Position,
}

/// What the oracle knows.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) peers: BTreeMap<PeerId, usize>,
    /// Some members may not read a collection, or some devices did not want it: commits come in parts.
    pub(super) is_split: bool,
    /// Devices of which nothing is expected.
    rogues: BTreeSet<usize>,
    /// Changes that honest devices made.
    genuine: BTreeSet<ChangeHash>,
    /// Changes that rogues made where nobody may show them.
    pub(super) forbidden: BTreeSet<(EntityId, ChangeHash)>,
    /// Changes that a removed device made after its removal. Who has not heard of that may show them, for a while.
    pub(super) void: BTreeMap<(EntityId, ChangeHash), PeerId>,
    /// Rogues whose removal somebody signed. What they made and nobody counts is forgotten where it takes room.
    pub(super) removed: BTreeSet<PeerId>,
    /// Pairs of commits that rogues signed where there can be one.
    pub(super) equivocations: Vec<Equivocation>,
    /// What a founder decided: the commit that is kept, and the one that is dropped.
    pub(super) verdicts: Vec<(CommitHash, CommitHash)>,
    secrets: secret::Secrets,
    commits: Vec<Made>,
    by_part: BTreeMap<(Origin, CollectionName, Oseq), usize>,
    hashes: BTreeMap<(ActorId, u64), ChangeHash>,
    /// Steps that the simulation pretends to have made.
    pub(super) pretended: BTreeSet<u64>,
    /// What each device promised to hold after any crash.
    durable: BTreeMap<usize, Vectors>,
    /// The same, of all its lives.
    ever: BTreeMap<usize, Vectors>,
    /// Devices that went back to an older state.
    went_back: BTreeSet<usize>,
    in_sync: BTreeSet<(usize, PeerId)>,
    observers: BTreeMap<usize, Observer>,
    /// Reports that are awaited, and when at the latest.
    tickets: BTreeMap<(usize, u64), u64>,
    pub(super) violations: Vec<Violation>,
    pub(super) acknowledged: u64,
}

impl Oracle {
    pub(super) fn new(peers: BTreeMap<PeerId, usize>, is_split: bool, rogues: BTreeSet<usize>) -> Self {
        Self { peers, is_split, rogues, ..Self::default() }
    }

    /// The origins of honest devices, each with its newest number.
    pub(super) fn honest_origins(&self) -> Vec<(Origin, u64)> {
        let mut newest = BTreeMap::new();
        for made in self.commits.iter().filter(|made| !self.rogues.contains(&made.device)) {
            let number = made.key.parts.iter().map(|(_, oseq)| oseq.0).max().unwrap_or(0);
            let known = newest.entry(made.key.origin).or_insert(0);
            *known = number.max(*known);
        }
        newest.into_iter().collect()
    }

    /// The entities of a collection that anybody has changed, ascending.
    pub(super) fn entities(&self, collection: &CollectionName) -> Vec<EntityId> {
        let leaves = self.commits.iter().flat_map(|made| &made.leaves);
        let entities = leaves.filter(|leaf| leaf.collection == *collection).map(|leaf| leaf.entity);
        entities.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Which commits anybody has made in a collection.
    pub(super) fn made_in(&self, collection: &CollectionName) -> Vector {
        let mut vector = Vector::new();
        for made in &self.commits {
            for (_, oseq) in made.key.parts.iter().filter(|(name, _)| name == collection) {
                // A vector at its limit would leave something out, and the simulation never comes near it.
                let _ = vector.insert(made.key.origin, *oseq);
            }
        }
        vector
    }

    /// Whether a device is one of which nothing is expected.
    fn is_rogue(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|device| self.rogues.contains(device))
    }

    pub(super) fn violate(&mut self, rule: Rule, at_ms: u64, device: usize, text: String) {
        if self.violations.len() < VIOLATIONS_MAX && !self.rogues.contains(&device) {
            self.violations.push(Violation { rule, at_ms, device, text });
        }
    }

    /// A workload made a commit.
    pub(super) fn made(&mut self, step: u64, device: usize, space: SpaceId, packed: &Packed) {
        let Ok(commit) = Commit::decode(space, &packed.bytes) else { return };
        let index = self.commits.len();
        for (collection, oseq) in &packed.key.parts {
            self.by_part.insert((packed.key.origin, collection.clone(), *oseq), index);
        }
        let leaves = leaves(&commit);
        if !self.rogues.contains(&device) {
            leaves.iter().for_each(|leaf| self.secrets.note(leaf));
        }
        self.commits.push(Made { step, device, key: packed.key.clone(), leaves });
    }

    /// A device applied a commit: its changes are the ones that everybody knows under these numbers.
    pub(super) fn stored(
        &mut self,
        at_ms: u64,
        device: usize,
        from: Option<PeerId>,
        space: SpaceId,
        packed: &Packed,
    ) {
        let commit = match Commit::decode(space, &packed.bytes) {
            Ok(commit) => commit,
            Err(error) => {
                return self.violate(
                    Rule::Rows,
                    at_ms,
                    device,
                    format!("a stored commit is damaged: {error}"),
                );
            }
        };
        let honest = !self.is_rogue(&commit.origin.peer);
        if from.is_none() && honest {
            self.genuine.extend(leaves(&commit).into_iter().map(|leaf| leaf.head));
        }
        if let Some(text) = self.misattributed(&commit) {
            self.violate(Rule::Authored, at_ms, device, text);
        }
        // Rogues give one number twice.
        for leaf in leaves(&commit).into_iter().filter(|_| honest) {
            let known = *self.hashes.entry((leaf.actor, leaf.seq)).or_insert(leaf.head);
            if known != leaf.head {
                let (actor, seq, head) = (leaf.actor.short(), leaf.seq, leaf.head.short());
                let text =
                    format!("change {seq} of actor {actor} is {head} here and {} elsewhere", known.short());
                self.violate(Rule::OneChange, at_ms, device, text);
            }
        }
    }

    /// What of a commit was not made by who says so, or where it stands.
    fn misattributed(&self, commit: &Commit) -> Option<String> {
        let author = commit.origin.peer.short();
        let honest = !self.is_rogue(&commit.origin.peer);
        leaves(commit).into_iter().find_map(|leaf| {
            let (entity, head) = (leaf.entity.short(), leaf.head.short());
            if self.forbidden.contains(&(leaf.entity, leaf.head)) {
                return Some(format!("change {head} of {entity} is {author}'s, who might not make it"));
            }
            let made = !honest || self.genuine.contains(&leaf.head);
            (!made)
                .then(|| format!("change {head} of {entity} says that it is {author}'s, who never made it"))
        })
    }

    /// A sync returned: all of this is promised.
    /// To its peers a copy of a store is the device whose store it was.
    pub(super) fn synced(
        &mut self,
        device: usize,
        original: Option<usize>,
        collections: &BTreeMap<CollectionName, CollectionState>,
    ) {
        let durable = self.durable.entry(device).or_default();
        let ever = self.ever.entry(original.unwrap_or(device)).or_default();
        for (collection, state) in collections {
            let is_known = |of: &Vectors| of.get(collection) == Some(&state.vector);
            if is_known(durable) && is_known(ever) {
                continue;
            }
            durable.insert(collection.clone(), state.vector.clone());
            // A vector at its limit would forget here, and the simulation never comes near it.
            let _ = ever.entry(collection.clone()).or_default().merge(&state.vector);
        }
    }

    /// A commit was acknowledged to the app as synced. Damage may have taken it from the device between the write and the
    /// sync.
    pub(super) fn acknowledged(&mut self, at_ms: u64, device: usize, step: u64, damaged: bool) {
        self.acknowledged += 1;
        let key = self.commits.iter().rev().find(|made| made.step == step).map(|made| made.key.clone());
        if !damaged
            && key.is_some_and(|key| !self.durable.get(&device).is_some_and(|durable| holds(durable, &key)))
        {
            self.violate(
                Rule::Durable,
                at_ms,
                device,
                format!("step {step} was acknowledged before it was synced"),
            );
        }
    }

    /// A device noted that a peer has commits on its disk.
    pub(super) fn receipt(&mut self, at_ms: u64, device: usize, peer: &PeerId, vectors: &Vectors) {
        let Some(other) = self.peers.get(peer).copied().filter(|_| !self.is_rogue(peer)) else { return };
        let nothing = Vectors::new();
        if let Some(lie) = first_missing(self.ever.get(&other).unwrap_or(&nothing), vectors) {
            self.violate(
                Rule::Honest,
                at_ms,
                device,
                format!("stored on device {other}, it believes: {lie}"),
            );
        }
    }

    /// Without any trouble, those who may read a commit have confirmed it.
    #[expect(clippy::too_many_arguments, reason = "a commit, its readers, and where to look")]
    pub(super) fn check_confirmed(
        &mut self,
        at_ms: u64,
        device: usize,
        step: u64,
        space: &SpaceId,
        neighbours: &[PeerId],
        reads: &dyn Fn(&PeerId, &CollectionName) -> bool,
        reader: &Reader,
    ) {
        let Some(made) = self.commits.iter().rev().find(|made| made.step == step) else { return };
        let key = made.key.clone();
        let due = |peer: &&PeerId| key.parts.iter().any(|(collection, _)| reads(peer, collection));
        let stored_by = reader.stored_by(space, &key).unwrap_or_default();
        for peer in neighbours.iter().filter(due).filter(|peer| !stored_by.contains(peer)) {
            let other = self.peers.get(peer).copied().unwrap_or(device);
            let text = format!("step {step} was never confirmed by device {other}");
            self.violate(Rule::Answered, at_ms, device, text);
        }
    }

    /// A device lost something to damage and holds this: it promises no more than that.
    pub(super) fn damaged(&mut self, device: usize, held: &Vectors) {
        let nothing = Vector::new();
        for (collection, promised) in self.durable.entry(device).or_default() {
            let lost = held.get(collection).unwrap_or(&nothing).lacks_of(promised);
            for Missing { origin, first, last } in lost {
                let numbers = (first.0..=last.0).map(Oseq).collect();
                let left = promised.seen(&origin).and_then(|seen| seen.without(&numbers));
                let mut origins: BTreeMap<Origin, Seen> =
                    promised.iter().map(|(origin, seen)| (*origin, seen.clone())).collect();
                origins.remove(&origin);
                origins.extend(left.filter(|left| !left.is_empty()).map(|left| (origin, left)));
                *promised = Vector::from_origins(origins).unwrap_or_default();
            }
        }
    }

    /// A device went back to an older state, which held this.
    pub(super) fn restored(&mut self, device: usize, vectors: Vectors) {
        self.durable.insert(device, vectors);
        self.went_back.insert(device);
    }

    /// A device opened its store after whatever happened to it.
    pub(super) fn opened(
        &mut self,
        at_ms: u64,
        device: usize,
        space: &SpaceId,
        collections: &BTreeMap<CollectionName, CollectionState>,
        readable: &dyn Fn(&CollectionName) -> bool,
        reader: &Reader,
    ) {
        let held: Vectors =
            collections.iter().map(|(name, state)| (name.clone(), state.vector.clone())).collect();
        if let Some(lost) = self.durable.get(&device).and_then(|durable| self.first_lost(&held, durable)) {
            self.violate(Rule::Durable, at_ms, device, format!("synced and lost: {lost}"));
        }
        self.check_whole_commits(at_ms, device, space, readable, reader);
    }

    /// The first commit that is in `wanted` and not in `held`, but for those that may be forgotten.
    fn first_lost(&self, held: &Vectors, wanted: &Vectors) -> Option<String> {
        first_missing_of(held, wanted, &|_, missing| !self.removed.contains(&missing.origin.peer))
    }

    /// Every commit is there whole or not at all. Where a rule keeps a collection from some members, or some do not
    /// want it, others can get its part later than the rest, which came by way of those.
    fn check_whole_commits(
        &mut self,
        at_ms: u64,
        device: usize,
        space: &SpaceId,
        readable: &dyn Fn(&CollectionName) -> bool,
        reader: &Reader,
    ) {
        let mut halves = Vec::new();
        let honest = |made: &&Made| !self.rogues.contains(&made.device);
        for made in self.commits.iter().filter(honest).filter(|made| made.leaves.len() > 1) {
            let mut there: BTreeMap<Option<&CollectionName>, (bool, bool)> = BTreeMap::new();
            for leaf in made.leaves.iter().filter(|leaf| readable(&leaf.collection)) {
                let Some(applied) = is_applied(reader, space, leaf) else { continue };
                let (some, all) =
                    there.entry(self.is_split.then_some(&leaf.collection)).or_insert((false, true));
                (*some, *all) = (*some | applied, *all & applied);
            }
            if there.values().any(|(some, all)| *some && !*all) {
                halves.push(made.step);
            }
        }
        for step in halves {
            self.violate(Rule::Atomic, at_ms, device, format!("half of step {step} is there"));
        }
    }

    /// A commit that just arrived is there whole, as far as the device may read it.
    pub(super) fn check_arrived(
        &mut self,
        at_ms: u64,
        device: usize,
        space: &SpaceId,
        key: &CommitKey,
        readable: &dyn Fn(&CollectionName) -> bool,
        reader: &Reader,
    ) {
        let made = key.parts.first().and_then(|(collection, oseq)| {
            self.by_part
                .get(&(key.origin, collection.clone(), *oseq))
                .and_then(|index| self.commits.get(*index))
        });
        let honest = |made: &&Made| !self.rogues.contains(&made.device);
        let Some(made) = made.filter(|made| made.leaves.len() > 1).filter(honest) else { return };
        let came = |collection: &CollectionName| key.parts.iter().any(|(part, _)| part == collection);
        let visible = made.leaves.iter().filter(|leaf| readable(&leaf.collection) && came(&leaf.collection));
        let lost = visible.filter(|leaf| is_applied(reader, space, leaf) == Some(false)).count();
        if lost > 0 {
            let text = format!("step {} arrived, and {lost} of its changes are not there", made.step);
            self.violate(Rule::Atomic, at_ms, device, text);
        }
    }

    /// A subscriber begins with what it reads.
    pub(super) fn observe(&mut self, device: usize, rows: BTreeMap<CollectionName, BTreeSet<EntityId>>) {
        self.observers.insert(device, Observer { rows, position: Position(0) });
    }

    /// A subscriber hears of changed rows.
    pub(super) fn changed(
        &mut self,
        at_ms: u64,
        device: usize,
        position: Position,
        entities: &[(CollectionName, EntityId, RowChange)],
    ) {
        let Some(observer) = self.observers.get_mut(&device) else { return };
        let mut wrong = None;
        if position <= observer.position {
            wrong = Some(format!("position {} after {}", position.0, observer.position.0));
        }
        observer.position = position;
        for (collection, entity, change) in entities {
            // Of what no kind is known for there are no rows, and a subscriber did not begin with any.
            let Some(rows) = observer.rows.get_mut(collection) else { continue };
            let fits = match change {
                RowChange::Inserted | RowChange::Restored | RowChange::Repaired => rows.insert(*entity),
                RowChange::Updated => rows.contains(entity),
                RowChange::Deleted | RowChange::Damaged => rows.remove(entity),
            };
            if !fits {
                wrong = Some(format!("{change:?} of {} in {collection}", entity.short()));
            }
        }
        if let Some(wrong) = wrong {
            self.violate(Rule::Observed, at_ms, device, format!("a subscriber heard: {wrong}"));
        }
    }

    /// What a subscriber has seen are the rows that are there.
    pub(super) fn check_observer(
        &mut self,
        at_ms: u64,
        device: usize,
        collection: &CollectionName,
        rows: &BTreeSet<EntityId>,
    ) {
        let Some(observer) = self.observers.get(&device) else { return };
        let nothing = BTreeSet::new();
        let seen = observer.rows.get(collection).unwrap_or(&nothing);
        if let Some(entity) = seen.symmetric_difference(rows).next() {
            let text = format!("a subscriber of {collection} and the rows disagree on {}", entity.short());
            self.violate(Rule::Observed, at_ms, device, text);
        }
    }

    /// A device ends: what its engine knew is gone, and so are its subscribers.
    pub(super) fn ended(&mut self, device: usize) {
        self.in_sync.retain(|(other, _)| *other != device);
        self.tickets.retain(|(other, _), _| *other != device);
        self.observers.remove(&device);
    }

    pub(super) fn set_in_sync(&mut self, device: usize, peer: PeerId, in_sync: bool) {
        match in_sync {
            true => self.in_sync.insert((device, peer)),
            false => self.in_sync.remove(&(device, peer)),
        };
    }

    pub(super) fn is_in_sync(&self, device: usize, peer: &PeerId) -> bool {
        self.in_sync.contains(&(device, *peer))
    }

    /// A report is awaited.
    pub(super) fn drew_ticket(&mut self, device: usize, ticket: u64, latest_ms: u64) {
        self.tickets.insert((device, ticket), latest_ms);
    }

    pub(super) fn reported(&mut self, at_ms: u64, device: usize, ticket: u64) {
        if self.tickets.remove(&(device, ticket)).is_none() {
            self.violate(Rule::Answered, at_ms, device, format!("ticket {ticket} was reported twice"));
        }
    }

    /// A device slept: its deadlines wait for it.
    pub(super) fn slept(&mut self, device: usize, slept_ms: u64) {
        let drawn = self.tickets.iter_mut().filter(|((other, _), _)| *other == device);
        drawn.for_each(|(_, latest)| *latest += slept_ms);
    }

    /// No report of a device that is awake is late.
    pub(super) fn check_tickets(&mut self, at_ms: u64, asleep: &BTreeSet<usize>) {
        let late =
            self.tickets.iter().filter(|((device, _), latest)| **latest < at_ms && !asleep.contains(device));
        let late: Vec<(usize, u64)> = late.map(|(key, _)| *key).collect();
        for (device, ticket) in late {
            self.tickets.remove(&(device, ticket));
            self.violate(Rule::Answered, at_ms, device, format!("ticket {ticket} is not reported"));
        }
    }

    /// Nobody is told of a collection that it may not read.
    pub(super) fn check_named(
        &mut self,
        at_ms: u64,
        device: usize,
        to: &PeerId,
        membership: &Arc<Membership>,
        collection: &CollectionName,
    ) {
        if !membership.may(to, crate::access::Action::Read, collection) {
            let text = format!("{collection} was named to one who may not read it");
            self.violate(Rule::Isolated, at_ms, device, text);
        }
    }

    /// Nobody is sent a change that it may not read.
    pub(super) fn check_sent(
        &mut self,
        at_ms: u64,
        device: usize,
        to: &PeerId,
        membership: &Arc<Membership>,
        commit: &[u8],
    ) {
        let Ok(commit) = Commit::decode(membership.space(), commit) else { return };
        for leaf in leaves(&commit) {
            if !membership.may(to, crate::access::Action::Read, &leaf.collection) {
                let text = format!("a change in {} was sent to one who may not read it", leaf.collection);
                self.violate(Rule::Isolated, at_ms, device, text);
            }
        }
    }
}

fn leaves(commit: &Commit) -> Vec<Leaf> {
    let leaf = |slot: &Slot| match slot {
        Slot::Open { leaf, .. } => Some(Leaf {
            collection: leaf.collection.clone(),
            entity: leaf.entity,
            actor: ActorId::derive(&commit.space, &leaf.entity, &commit.origin),
            seq: leaf.seq,
            head: leaf.head,
        }),
        Slot::Blind(_) => None,
    };
    commit.slots.iter().filter_map(leaf).collect()
}

/// Whether a change is in its entity; `None` when that cannot be read, which the store tells by itself.
fn is_applied(reader: &Reader, space: &SpaceId, leaf: &Leaf) -> Option<bool> {
    let clock = reader.clock(space, &leaf.collection, &leaf.entity).ok()?;
    let seq = clock
        .and_then(|clock| clock.clock.iter().find(|(actor, _)| *actor == leaf.actor).map(|(_, seq)| *seq));
    Some(seq.is_some_and(|seq| seq >= leaf.seq))
}

fn holds(vectors: &Vectors, key: &CommitKey) -> bool {
    key.parts.iter().all(|(collection, oseq)| {
        vectors.get(collection).is_some_and(|vector| vector.contains(&key.origin, *oseq))
    })
}

/// The first commit that is in `wanted` and not in `held`, for people.
fn first_missing(held: &Vectors, wanted: &Vectors) -> Option<String> {
    first_missing_of(held, wanted, &|_, _| true)
}

fn first_missing_of(
    held: &Vectors,
    wanted: &Vectors,
    counts: &dyn Fn(&CollectionName, &Missing) -> bool,
) -> Option<String> {
    let nothing = Vector::new();
    wanted.iter().find_map(|(collection, vector)| {
        let lacks = held.get(collection).unwrap_or(&nothing).lacks_of(vector);
        let missing = lacks.into_iter().find(|missing| counts(collection, missing))?;
        let (peer, incarnation) = (missing.origin.peer.short(), missing.origin.incarnation.0);
        Some(format!("{collection}: {}..={} of {peer} in {incarnation:x}", missing.first.0, missing.last.0))
    })
}
