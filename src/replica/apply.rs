//! Applies a group of commits: each whole or not at all, one batch of changes for each entity.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::clash::NOBODY;
use super::draft::{Applied, Draft, Touched};
use super::hub::{Content, LetIn};
use super::order::{Linked, in_order};
use super::receive::{Hold, Incoming, Tally};
use super::room::Followers;
use super::space::Space;
use super::{Replica, ReplicaError};
use crate::access::{Fact, Slot, counting};
use crate::doc::{Conflict, ConflictValue, GateError, Header};
use crate::id::{ActorId, ChangeHash, CollectionName, CommitHash, EntityId, PeerId, StatementHash};
use crate::limits::HELD_MISSING_MAX;
use crate::store::keyspaces::{Head, HeadKey, HeldCause};

type Place = (CollectionName, EntityId);

/// An entity that a group changes.
struct Work {
    before: Option<Head>,
    /// The stored document.
    base: Content,
    /// The document with the changes of all commits that still stand; the stored one while it is absent.
    document: Option<Content>,
    /// Its row, where the gate has read it.
    row: Option<Vec<u8>>,
    /// The commits with a change of it, by index.
    commits: Vec<usize>,
}

impl Work {
    fn document(&self) -> &Content {
        self.document.as_ref().unwrap_or(&self.base)
    }
}

/// Commits with their entities, and the verdict on those that cannot be applied.
struct Group {
    incoming: Vec<Incoming>,
    works: BTreeMap<Place, Work>,
    /// Which commit brings a change.
    brings: BTreeMap<ChangeHash, usize>,
    dead: BTreeMap<usize, Hold>,
    /// The commits by hash.
    places: BTreeMap<CommitHash, usize>,
    /// Those for which there is no room beside the others.
    no_room: BTreeSet<usize>,
    /// What frozen commits owe.
    suspended: Arc<BTreeMap<StatementHash, PeerId>>,
}

impl Replica {
    /// Applies commits on top of what a draft holds already, writes all of it, and returns the applied hashes.
    pub(super) fn apply(
        &mut self,
        mut draft: Draft,
        incoming: Vec<Incoming>,
        tally: &mut Tally,
    ) -> Result<Vec<ChangeHash>, ReplicaError> {
        let mut group = self.group(&draft, sorted(incoming))?;
        self.admit(&mut group);
        group.note_missing();
        let Group { incoming, works, brings, dead, no_room, .. } = group;
        for (place, work) in works {
            if !work.commits.iter().any(|index| !dead.contains_key(index)) {
                continue;
            }
            let conflicts = new_conflicts(&work, &incoming, &dead, &place);
            let mut touched = Touched::new(work.before, work.document.unwrap_or(work.base));
            touched.conflicts = conflicts;
            touched.row = work.row;
            touched.settle();
            draft.entities.insert(place, touched);
        }
        let mut applied = BTreeSet::new();
        for (index, commit) in incoming.iter().enumerate() {
            if dead.contains_key(&index) {
                continue;
            }
            self.stage(
                &mut draft,
                &Applied {
                    commit: &commit.commit,
                    bytes: Arc::clone(&commit.bytes),
                    headers: &commit.headers,
                    existing: commit.existing.as_ref(),
                    from: Some(commit.source.from),
                    held: commit.source.held,
                },
            )?;
            applied.insert(index);
        }
        // They find what room those leave that count.
        for (index, hold) in dead {
            let Some(commit) = incoming.get(index) else { continue };
            if no_room.contains(&index) {
                self.leave_out(&draft, commit, tally);
            } else {
                self.hold(&mut draft, commit, hold, tally)?;
            }
        }
        let space = draft.space;
        self.finish(draft)?;
        for index in &applied {
            let Some(commit) = incoming.get(*index) else { continue };
            self.note_applied(space, commit);
            let Some(known) = self.spaces.get(&space) else { continue };
            if !known.held.rivals(&commit.commit, &commit.hash).is_empty() {
                tally.disputed.push(commit.commit.clone());
            }
            if known.equivocates(&commit.commit.origin) {
                tally.links.push(commit.hash);
            }
        }
        tally.applied += applied.len();
        Ok(brings.into_iter().filter(|(_, index)| applied.contains(index)).map(|(hash, _)| hash).collect())
    }

    /// Loads the entities that commits change.
    fn group(&mut self, draft: &Draft, incoming: Vec<Incoming>) -> Result<Group, ReplicaError> {
        let known = self.spaces.get(&draft.space);
        let suspended = known.map(Space::suspended).unwrap_or_default();
        let places = incoming.iter().enumerate().map(|(index, commit)| (commit.hash, index)).collect();
        let (works, brings, dead) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let no_room = BTreeSet::new();
        let mut group = Group { incoming, works, brings, dead, places, no_room, suspended };
        let mut seqs: BTreeMap<(Place, ActorId, u64), ChangeHash> = BTreeMap::new();
        let mut numbers = BTreeSet::new();
        let mut scratch = draft.scratch();
        let arriving = OnceCell::new();
        for (index, commit) in group.incoming.iter().enumerate() {
            let behind_dead =
                before_in_chain(commit, &group.places).iter().any(|before| group.dead.contains_key(before));
            if commit.owes.contains(&NOBODY) || behind_dead {
                // It takes no number from one that may count.
                group.dead.insert(index, equivocation(commit));
                group.brings.extend(commit.headers.iter().flatten().map(|header| (header.hash, index)));
                continue;
            }
            let (origin, parts) = (commit.commit.origin, commit.commit.parts());
            for part in &parts {
                if !numbers.insert((part.clone(), origin)) {
                    group.dead.insert(index, equivocation(commit));
                }
            }
            // What counts of a removed device is told from what does not only below; `leave_out` looks again.
            let known = self.spaces.get(&draft.space);
            let is_removed = known.is_some_and(|known| known.is_removed(&origin.peer));
            let brings = || commit.headers.iter().flatten().map(|header| header.hash).collect();
            let wanted = || {
                let arriving = arriving.get_or_init(|| followers(&group.incoming));
                is_removed || self.is_wanted(draft.space, &origin.peer, brings(), arriving)
            };
            if self.has_room(&scratch, origin, &parts, &wanted) {
                for (collection, oseq) in &parts {
                    self.stage_seen(&mut scratch, collection, origin, *oseq)?;
                }
            } else {
                // To be held takes room in the vector too.
                group.dead.insert(index, HeldCause::Malformed.into());
                group.no_room.insert(index);
            }
            for (place, header, _) in changes(commit) {
                let work = match group.works.get_mut(&place) {
                    Some(work) => work,
                    None => {
                        let work = self.work(draft, &place)?;
                        group.works.entry(place.clone()).or_insert(work)
                    }
                };
                work.commits.push(index);
                group.brings.insert(header.hash, index);
                let known = work.before.as_ref().map_or(0, |head| head.seq(&header.actor));
                let first = *seqs.entry((place, header.actor, header.seq)).or_insert(header.hash);
                if work.base.has(&header.hash) || header.seq <= known || first != header.hash {
                    group.dead.insert(index, equivocation(commit));
                }
            }
        }
        group.bury();
        Ok(group)
    }

    fn work(&mut self, draft: &Draft, (collection, entity): &Place) -> Result<Work, ReplicaError> {
        let key = HeadKey { space: draft.space, collection: collection.clone(), entity: *entity };
        let before = self.store.get(&key)?;
        let base = self.content(&key, before.as_ref())?;
        Ok(Work { before, document: None, base, row: None, commits: Vec::new() })
    }

    /// Admits the changes of every entity, and again without those of commits that cannot be applied, until the
    /// rest stands. Each round ends at least one commit.
    fn admit(&self, group: &mut Group) {
        let mut due: BTreeSet<Place> = group.works.keys().cloned().collect();
        while !due.is_empty() {
            let mut refused = BTreeMap::new();
            for place in &due {
                refused.extend(self.admit_entity(group, place));
            }
            let standing: BTreeSet<usize> = group.standing().collect();
            for (index, hold) in refused {
                group.dead.entry(index).or_insert(hold);
            }
            group.bury();
            let fell = standing.into_iter().filter(|index| group.dead.contains_key(index));
            let fell: BTreeSet<usize> = fell.collect();
            due = group
                .works
                .iter()
                .filter(|(_, work)| work.commits.iter().any(|index| fell.contains(index)))
                .map(|(place, _)| place.clone())
                .collect();
        }
    }

    /// Admits the changes of one entity to a copy of its document, and returns which commits it refuses.
    fn admit_entity(&self, group: &mut Group, place: &Place) -> BTreeMap<usize, Hold> {
        let Group { incoming, works, brings, dead, .. } = group;
        let Some(work) = works.get_mut(place) else { return BTreeMap::new() };
        let mut batch: Vec<(Header, &[u8])> = Vec::new();
        for index in work.commits.iter().filter(|index| !dead.contains_key(index)) {
            let Some(commit) = incoming.get(*index) else { continue };
            let of_entity = changes(commit).filter(|(of, ..)| of == place);
            batch.extend(of_entity.map(|(_, header, change)| (header.clone(), change)));
        }
        (work.document, work.row) = (None, None);
        if batch.is_empty() {
            return BTreeMap::new();
        }
        let kind = self.kinds.get(&place.0).map(AsRef::as_ref);
        let LetIn { content, refused, row } = work.base.admitting(&batch, kind, &self.metrics);
        (work.document, work.row) = (content, row);
        let mut holds = BTreeMap::new();
        for (hash, error) in refused {
            let Some(index) = brings.get(&hash) else { continue };
            let hold = match error {
                GateError::Missing { mut missing } => {
                    missing.truncate(HELD_MISSING_MAX);
                    Hold { cause: HeldCause::MissingDependency, missing }
                }
                error @ (GateError::Malformed { .. }
                | GateError::TooLarge { .. }
                | GateError::Causality
                | GateError::Operation { .. }
                | GateError::Unusable { .. }) => {
                    tracing::debug!(entity = %place.1.short(), %error, "change refused");
                    HeldCause::Malformed.into()
                }
            };
            holds.insert(*index, hold);
        }
        holds
    }
}

impl Group {
    fn standing(&self) -> impl Iterator<Item = usize> {
        (0..self.incoming.len()).filter(|index| !self.dead.contains_key(index))
    }

    /// Holds what does not count with the commits that cannot be applied.
    fn bury(&mut self) {
        self.bury_dependents();
        if self.incoming.iter().all(|commit| commit.owes.is_empty()) {
            return;
        }
        let facts: Vec<Fact> = (0..self.incoming.len()).filter_map(|index| self.fact(index)).collect();
        let counts = counting(&facts);
        for (index, (commit, counts)) in self.incoming.iter().zip(counts).enumerate() {
            if !counts && !commit.owes.is_empty() {
                let deps = commit.headers.iter().flatten().flat_map(|header| &header.deps);
                let missing = deps.take(HELD_MISSING_MAX).copied().collect();
                let freezes = |owed: &StatementHash| *owed == NOBODY || self.suspended.contains_key(owed);
                let frozen = commit.owes.iter().any(freezes);
                let cause = if frozen { HeldCause::Equivocation } else { HeldCause::AfterCut };
                self.dead.entry(index).or_insert(Hold { cause, missing });
            }
        }
        self.bury_dependents();
    }

    /// Notes all that commits miss that cannot be applied, whichever of it they were found to miss first: commits
    /// that may count together are found by it.
    fn note_missing(&mut self) {
        let waiting = self.dead.iter_mut().filter(|(_, hold)| hold.cause == HeldCause::MissingDependency);
        for (index, hold) in waiting {
            let Some(commit) = self.incoming.get(*index) else { continue };
            let missing = changes(commit).flat_map(|(place, header, _)| {
                let document = self.works.get(&place).map(Work::document);
                let missing = move |dep: &&ChangeHash| document.is_none_or(|document| !document.has(dep));
                header.deps.iter().filter(missing)
            });
            let missing: BTreeSet<ChangeHash> = missing.copied().collect();
            hold.missing = missing.into_iter().take(HELD_MISSING_MAX).collect();
        }
    }

    fn fact(&self, index: usize) -> Option<Fact> {
        let commit = self.incoming.get(index)?;
        let deps = commit.headers.iter().flatten().flat_map(|header| &header.deps);
        let mut follows: BTreeSet<usize> = deps.filter_map(|hash| self.brings.get(hash)).copied().collect();
        follows.extend(before_in_chain(commit, &self.places));
        Some(Fact {
            stands: !self.dead.contains_key(&index),
            // One that stands before what it follows follows it in a circle, and can never stand.
            follows: follows.into_iter().filter(|below| *below < index).collect(),
            owes: commit.owes.clone(),
            speaks: commit.speaks.clone(),
        })
    }

    /// Holds every commit that depends on a change of a commit that cannot be applied, or that counts only with one.
    ///
    /// One pass does: the commits are in causal order.
    fn bury_dependents(&mut self) {
        for index in 0..self.incoming.len() {
            let Some(commit) = self.incoming.get(index).filter(|_| !self.dead.contains_key(&index)) else {
                continue;
            };
            if before_in_chain(commit, &self.places).iter().any(|before| self.dead.contains_key(before)) {
                self.dead.insert(index, equivocation(commit));
                continue;
            }
            let deps = commit.headers.iter().flatten().flat_map(|header| &header.deps);
            let lost = deps.filter(|hash| self.brings.get(hash).is_some_and(|by| self.dead.contains_key(by)));
            let missing: Vec<ChangeHash> = lost.take(HELD_MISSING_MAX).copied().collect();
            if !missing.is_empty() {
                self.dead.insert(index, Hold { cause: HeldCause::MissingDependency, missing });
            }
        }
    }
}

/// Holds a commit beside which another one counts. It is found by what it follows: they may count together.
fn equivocation(commit: &Incoming) -> Hold {
    let deps = commit.headers.iter().flatten().flat_map(|header| &header.deps);
    Hold { cause: HeldCause::Equivocation, missing: deps.take(HELD_MISSING_MAX).copied().collect() }
}

/// The changes of a commit that are to be applied.
fn changes(commit: &Incoming) -> impl Iterator<Item = (Place, &Header, &[u8])> {
    commit.commit.slots.iter().zip(&commit.headers).filter_map(|(slot, header)| match (slot, header) {
        (Slot::Open { leaf, change }, Some(header)) => {
            Some(((leaf.collection.clone(), leaf.entity), header, change.as_slice()))
        }
        (Slot::Open { .. }, None) | (Slot::Blind(_), _) => None,
    })
}

/// The commits of a group by what they follow.
fn followers(incoming: &[Incoming]) -> Followers {
    let mut followers = Followers::new();
    for commit in incoming {
        let brings: Vec<ChangeHash> = commit.headers.iter().flatten().map(|header| header.hash).collect();
        for dep in commit.headers.iter().flatten().flat_map(|header| &header.deps) {
            followers.entry(*dep).or_default().push((commit.commit.origin.peer, brings.clone()));
        }
    }
    followers
}

impl Linked for Incoming {
    fn hash(&self) -> CommitHash {
        self.hash
    }

    fn brings(&self) -> impl Iterator<Item = ChangeHash> {
        self.headers.iter().flatten().map(|header| header.hash)
    }

    fn deps(&self) -> impl Iterator<Item = ChangeHash> {
        self.headers.iter().flatten().flat_map(|header| header.deps.iter().copied())
    }

    fn behind(&self) -> &[CommitHash] {
        &self.behind
    }
}

/// Sorts commits so that each follows those of the group that it depends on, and else as they came.
fn sorted(incoming: Vec<Incoming>) -> Vec<Incoming> {
    let order = in_order(&incoming);
    let mut slots: Vec<Option<Incoming>> = incoming.into_iter().map(Some).collect();
    order.into_iter().filter_map(|placed| slots.get_mut(placed.index).and_then(Option::take)).collect()
}

/// The commits of the group that one comes right behind in its chains, where it counts only with them.
fn before_in_chain(commit: &Incoming, places: &BTreeMap<CommitHash, usize>) -> Vec<usize> {
    commit.behind.iter().filter_map(|hash| places.get(hash)).copied().collect()
}

/// Fields that have concurrent values with a group, where not all of these were concurrent before. A change leaves one
/// value at a field, so its hash tells the value from others.
///
/// Changes that each follow the heads before them are concurrent to nothing, so the documents are not read then. But
/// a change says itself which values it replaces, and may leave some that its maker saw: where it writes at a field
/// with several values, they are.
fn new_conflicts(
    work: &Work,
    incoming: &[Incoming],
    dead: &BTreeMap<usize, Hold>,
    place: &Place,
) -> Vec<Conflict> {
    let mut heads = work.base.heads();
    let standing = work.commits.iter().filter(|index| !dead.contains_key(index));
    let commits = standing.filter_map(|index| incoming.get(*index));
    let of_entity = commits.flat_map(changes).filter(|(of, ..)| of == place);
    let of_entity: Vec<(&Header, &[u8])> = of_entity.map(|(_, header, change)| (header, change)).collect();
    let linear = of_entity.iter().all(|(header, _)| {
        let mut deps = header.deps.clone();
        deps.sort_unstable();
        let follows = deps == heads;
        heads = vec![header.hash];
        follows
    });
    if linear && !work.document().is_contended(&work.base, &of_entity) {
        return Vec::new();
    }
    let before: BTreeMap<Vec<String>, Vec<ConflictValue>> =
        work.base.conflicts().into_iter().map(|known| (known.path, known.values)).collect();
    let is_known = |path: &[String], value: &ConflictValue| {
        before.get(path).into_iter().flatten().any(|known| known.change == value.change)
    };
    let now = work.document().conflicts().into_iter();
    now.filter(|Conflict { path, values }| values.iter().any(|value| !is_known(path, value))).collect()
}
