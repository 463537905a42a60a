//! The quarantine of one space in memory: what is held, for whom, and what it waits for.

use std::collections::{BTreeMap, BTreeSet};

use super::{Replica, ReplicaError};
use crate::access::Commit;
use crate::id::{ChangeHash, CollectionName, CommitHash, Origin, Oseq, PeerId, SpaceId};
use crate::limits::{
    HELD_MISSING_MAX, HELD_OVERHEAD_BYTES, QUARANTINE_AUTHOR_BYTES_MAX, QUARANTINE_SPACE_BYTES_MAX,
    QUARANTINE_WAIT_MS,
};
use crate::store::keyspaces::{Batch, HeldCause, HeldKey, HeldRecord, Key, Keyspaces, Prefix, Since};
use crate::store::kv::KvError;

/// Who made a held commit, and its number among those of that author.
pub(super) type HeldId = (PeerId, u64);

/// An index over the quarantine keyspace of one space.
///
/// Every entry is in `by_hash`, in `waiting` under each of its missing changes, in `behind` under each commit that it
/// follows, in `claims` under what it claims, and counted in `cost`; one that may count once others do is in `brings` under each of its changes.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    entries: BTreeMap<HeldId, Entry>,
    by_hash: BTreeMap<CommitHash, HeldId>,
    waiting: BTreeMap<ChangeHash, BTreeSet<HeldId>>,
    /// Of those that may count together with others: which of them brings a change.
    brings: BTreeMap<ChangeHash, HeldId>,
    /// Which come right behind a commit in the chains of their device.
    behind: BTreeMap<CommitHash, BTreeSet<HeldId>>,
    /// Which claim what one commit can have: see [`claims`].
    claims: BTreeMap<u64, BTreeSet<HeldId>>,
    /// How many are beyond the cut of a removal, or frozen.
    unvouched: usize,
    cost: BTreeMap<PeerId, usize>,
    total: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    cause: HeldCause,
    hash: CommitHash,
    /// How long the store had been open when it came; absent for one that stays.
    since: Since,
    origin: Origin,
    /// Its numbers.
    parts: Vec<(CollectionName, Oseq)>,
    missing: Vec<ChangeHash>,
    /// The commits of its device that it follows.
    follows: Vec<CommitHash>,
    /// The changes in it.
    changes: Vec<ChangeHash>,
    claims: Vec<u64>,
    /// In bytes; nothing for one that counted here before.
    cost: usize,
}

/// Changes of a quarantine that wait for the batch to be written. Nothing is both added and removed.
#[derive(Debug, Default)]
pub(super) struct HeldChanges {
    added: BTreeMap<HeldId, Entry>,
    removed: BTreeMap<HeldId, usize>,
}

impl Quarantine {
    pub(super) fn load(
        store: &Keyspaces,
        space: &SpaceId,
        damaged: &mut Vec<KvError>,
    ) -> Result<Self, ReplicaError> {
        let mut held = Self::default();
        store.each_checked(&Prefix::<HeldKey>::space(space), |key, record| {
            let Some(record) = record else {
                damaged.push(key.damaged());
                return Ok(());
            };
            // A record that does not decode cannot be tried again; it stays for people to look at.
            if let Ok(commit) = Commit::decode(*space, &record.commit) {
                held.insert((key.author, key.number), Entry::new(&record, &commit, commit.hash()));
            }
            Ok::<(), ReplicaError>(())
        })?;
        Ok(held)
    }

    /// Stages a commit for the quarantine, making room: among those of the same author, and where the space has no
    /// more, among those of whoever holds most. So a flood takes from itself, whoever signs it. What counted here before
    /// takes no room and makes none: there may be no other copy of it, and it was here before.
    ///
    /// It takes the place of `instead`. Returns false, and stages nothing, when there is no room that this author may take.
    pub(super) fn stage_put(
        &self,
        (commit, hash): (&Commit, CommitHash),
        instead: Option<HeldId>,
        record: &HeldRecord,
        changes: &mut HeldChanges,
        batch: &mut Batch,
    ) -> bool {
        debug_assert!(record.missing.len() <= HELD_MISSING_MAX, "it would not be read back");
        let (space, author) = (commit.space, commit.origin.peer);
        let entry = Entry::new(record, commit, hash);
        let Some(victims) = self.make_room(author, instead, entry.cost, changes) else { return false };
        let last = self.of_author(&author).next_back().map(|(id, _)| id.1);
        let last = last.max(changes.of_author(&author).next_back().map(|(id, _)| id.1));
        let number = last.map_or(0, |last| last.saturating_add(1));
        for victim in victims {
            self.stage_remove(space, victim, changes, batch);
        }
        batch.put(&HeldKey { space, author, number }, record);
        changes.added.insert((author, number), entry);
        true
    }

    /// Finds what has to go so that an author's commit of this cost fits `instead` of another; `None` when it may not.
    fn make_room(
        &self,
        author: PeerId,
        instead: Option<HeldId>,
        cost: usize,
        changes: &HeldChanges,
    ) -> Option<BTreeSet<HeldId>> {
        let mut victims: BTreeSet<HeldId> = instead.into_iter().collect();
        if cost == 0 {
            return Some(victims);
        }
        let (mut costs, mut total) = changes.costs(self);
        let goes = instead.filter(|id| !changes.removed.contains_key(id));
        if let Some(entry) = goes.and_then(|id| self.entries.get(&id)) {
            total -= entry.cost;
            costs.entry(author).and_modify(|of| *of -= entry.cost);
        }
        loop {
            let mine = costs.get(&author).copied().unwrap_or(0) + cost;
            let fits_author = mine <= QUARANTINE_AUTHOR_BYTES_MAX;
            if fits_author && total + cost <= QUARANTINE_SPACE_BYTES_MAX {
                return Some(victims);
            }
            let fullest = costs.iter().max_by_key(|(_, cost)| **cost).filter(|(_, most)| **most > mine);
            let from = fullest.map(|(other, _)| *other).filter(|_| fits_author).unwrap_or(author);
            let kept = self.of_author(&from).filter(|(id, _)| !changes.removed.contains_key(id));
            let all = kept.chain(changes.of_author(&from));
            let mut oldest = all.filter(|(id, entry)| entry.cost > 0 && !victims.contains(*id));
            let (id, victim) = oldest.next().map(|(id, entry)| (*id, entry.cost))?;
            victims.insert(id);
            total -= victim;
            costs.entry(from).and_modify(|of| *of -= victim);
        }
    }

    /// Stages the end of a commit's time in quarantine.
    pub(super) fn stage_remove(
        &self,
        space: SpaceId,
        id: HeldId,
        changes: &mut HeldChanges,
        batch: &mut Batch,
    ) {
        batch.remove(&HeldKey { space, author: id.0, number: id.1 });
        if changes.added.remove(&id).is_none()
            && let Some(entry) = self.entries.get(&id)
        {
            changes.removed.insert(id, entry.cost);
        }
    }

    /// Applies staged changes, after they were written.
    pub(super) fn apply(&mut self, changes: HeldChanges) {
        changes.removed.keys().for_each(|id| self.remove(id));
        changes.added.into_iter().for_each(|(id, entry)| self.insert(id, entry));
    }

    /// Returns those that wait for any of `arrived`.
    pub(super) fn waiting_for<'a>(&self, arrived: impl Iterator<Item = &'a ChangeHash>) -> BTreeSet<HeldId> {
        arrived.filter_map(|hash| self.waiting.get(hash)).flatten().copied().collect()
    }

    /// Returns those that are held for one of `causes`.
    pub(super) fn held_for(&self, causes: &[HeldCause]) -> BTreeSet<HeldId> {
        let held = self.entries.iter().filter(|(_, entry)| causes.contains(&entry.cause));
        held.map(|(id, _)| *id).collect()
    }

    /// Returns the place of a commit.
    pub(super) fn id(&self, hash: &CommitHash) -> Option<HeldId> {
        self.by_hash.get(hash).copied()
    }

    /// Returns the place of a commit, and the commits of its device that it follows.
    pub(super) fn follows(&self, hash: &CommitHash) -> Option<(HeldId, &[CommitHash])> {
        let id = self.by_hash.get(hash)?;
        Some((*id, self.entries.get(id)?.follows.as_slice()))
    }

    pub(super) fn hash(&self, id: &HeldId) -> Option<CommitHash> {
        self.entries.get(id).map(|entry| entry.hash)
    }

    /// Returns the numbers of a commit.
    pub(super) fn parts(&self, id: &HeldId) -> impl Iterator<Item = &(CollectionName, Oseq)> {
        self.entries.get(id).into_iter().flat_map(|entry| &entry.parts)
    }

    /// Returns the changes in a commit.
    pub(super) fn changes(&self, id: &HeldId) -> impl Iterator<Item = ChangeHash> {
        self.entries.get(id).into_iter().flat_map(|entry| entry.changes.iter().copied())
    }

    /// Returns those before and behind a commit in the chains of its device.
    fn in_chain(&self, id: &HeldId) -> Vec<HeldId> {
        let Some(entry) = self.entries.get(id) else { return Vec::new() };
        let before = entry.follows.iter().filter_map(|hash| self.by_hash.get(hash)).copied();
        before.chain(self.behind(&entry.hash)).filter(|other| other.0 == id.0).collect()
    }

    /// Returns those that come right behind a commit in the chains of its device, as they say.
    pub(super) fn behind(&self, hash: &CommitHash) -> impl Iterator<Item = HeldId> {
        self.behind.get(hash).into_iter().flatten().copied()
    }

    /// Tells whether any waits for a commit, or comes right behind it.
    pub(super) fn is_followed(&self, id: &HeldId) -> bool {
        let Some(entry) = self.entries.get(id) else { return false };
        let waits = entry.changes.iter().any(|change| self.waiting.contains_key(change));
        waits || self.behind.contains_key(&entry.hash)
    }

    /// Returns the commits of an author of which a part is one of these.
    pub(super) fn with_part(
        &self,
        author: &PeerId,
        is_one: impl Fn(&Origin, &CollectionName, Oseq) -> bool,
    ) -> impl Iterator<Item = HeldId> {
        let has_part = move |entry: &Entry| {
            entry.parts.iter().any(|(collection, oseq)| is_one(&entry.origin, collection, *oseq))
        };
        self.of_author(author).filter(move |(_, entry)| has_part(entry)).map(|(id, _)| *id)
    }

    /// Returns these, and others that may count together with them: those that they wait for, those that wait for
    /// them, and those in the chains of `chained`. At most `max`; tells whether there are more.
    pub(super) fn together(
        &self,
        seeds: impl Iterator<Item = HeldId>,
        chained: &BTreeSet<PeerId>,
        max: usize,
    ) -> (BTreeSet<HeldId>, bool) {
        let (mut together, mut next) = (BTreeSet::new(), seeds.collect::<Vec<HeldId>>());
        while let Some(id) = next.pop() {
            let may_count = self.entries.get(&id).is_some_and(Entry::may_count_with_others);
            if !may_count || together.contains(&id) {
                continue;
            }
            if together.len() >= max {
                return (together, true);
            }
            together.insert(id);
            next.extend(self.neighbours(&id));
            if chained.contains(&id.0) {
                next.extend(self.in_chain(&id));
            }
        }
        (together, false)
    }

    /// Tells whether a commit may change what counts of those that are held for an equivocation: it is one, or is beside
    /// one, and others follow it; or it waits for one of another device.
    pub(super) fn may_decide(&self, id: &HeldId) -> bool {
        let equivocates = |id: &HeldId| self.cause(id) == Some(HeldCause::Equivocation);
        let near = self.neighbours(id);
        let follows = near.iter().any(|other| other.0 != id.0 && equivocates(other));
        follows || self.is_followed(id) && (equivocates(id) || near.iter().any(equivocates))
    }

    pub(super) fn cause(&self, id: &HeldId) -> Option<HeldCause> {
        self.entries.get(id).map(|entry| entry.cause)
    }

    /// Returns those that have waited as long as they may, in a store that has been open for so long.
    pub(super) fn overdue(&self, open_ms: u64) -> impl Iterator<Item = HeldId> {
        let waited = move |entry: &Entry| entry.since.open_ms().map(|since| open_ms.saturating_sub(since));
        let overdue = move |entry: &Entry| waited(entry).is_some_and(|waited| waited >= QUARANTINE_WAIT_MS);
        self.entries.iter().filter(move |(_, entry)| overdue(entry)).map(|(id, _)| *id)
    }

    /// Returns the numbers of commits that no other one here in quarantine has.
    pub(super) fn numbers_of_none_but(
        &self,
        gone: &BTreeSet<HeldId>,
    ) -> BTreeMap<(CollectionName, Origin), BTreeSet<Oseq>> {
        let mut numbers: BTreeMap<(CollectionName, Origin), BTreeSet<Oseq>> = BTreeMap::new();
        for entry in gone.iter().filter_map(|id| self.entries.get(id)) {
            for (collection, oseq) in &entry.parts {
                numbers.entry((collection.clone(), entry.origin)).or_default().insert(*oseq);
            }
        }
        let authors: BTreeSet<PeerId> = gone.iter().map(|(author, _)| *author).collect();
        let left =
            authors.iter().flat_map(|author| self.of_author(author)).filter(|(id, _)| !gone.contains(id));
        for (_, entry) in left {
            for (collection, oseq) in &entry.parts {
                if let Some(numbers) = numbers.get_mut(&(collection.clone(), entry.origin)) {
                    numbers.remove(oseq);
                }
            }
        }
        numbers
    }

    /// Tells whether any is beyond the cut of a removal, or frozen.
    pub(super) fn has_unvouched(&self) -> bool {
        self.unvouched > 0
    }

    /// Returns those whose changes a commit waits for, and those that wait for its changes.
    fn neighbours(&self, id: &HeldId) -> BTreeSet<HeldId> {
        let Some(entry) = self.entries.get(id) else { return BTreeSet::new() };
        let below = entry.missing.iter().filter_map(|hash| self.brings.get(hash)).copied();
        below.chain(self.waiting_for(entry.changes.iter())).collect()
    }

    /// Returns those that seem to claim what a commit claims.
    pub(super) fn rivals(&self, commit: &Commit, hash: &CommitHash) -> BTreeSet<HeldId> {
        if self.claims.is_empty() {
            return BTreeSet::new();
        }
        let same = claims(commit).filter_map(|claim| self.claims.get(&claim)).flatten().copied();
        same.filter(|id| self.entries.get(id).is_some_and(|entry| entry.hash != *hash)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What each author and what all have here, in bytes.
    #[cfg(feature = "sim")]
    pub(super) fn costs(&self) -> (&BTreeMap<PeerId, usize>, usize) {
        (&self.cost, self.total)
    }

    fn of_author(&self, author: &PeerId) -> impl DoubleEndedIterator<Item = (&HeldId, &Entry)> {
        self.entries.range((*author, 0)..=(*author, u64::MAX))
    }

    fn insert(&mut self, id: HeldId, entry: Entry) {
        self.remove(&id);
        self.by_hash.insert(entry.hash, id);
        for hash in &entry.missing {
            self.waiting.entry(*hash).or_default().insert(id);
        }
        if entry.may_count_with_others() {
            self.brings.extend(entry.changes.iter().map(|change| (*change, id)));
        }
        for claim in &entry.claims {
            self.claims.entry(*claim).or_default().insert(id);
        }
        for before in &entry.follows {
            self.behind.entry(*before).or_default().insert(id);
        }
        self.unvouched += usize::from(entry.may_be_vouched_for());
        *self.cost.entry(id.0).or_default() += entry.cost;
        self.total += entry.cost;
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: &HeldId) {
        let Some(entry) = self.entries.remove(id) else { return };
        self.by_hash.remove(&entry.hash);
        entry.missing.iter().for_each(|hash| take_out(&mut self.waiting, hash, id));
        entry.follows.iter().for_each(|hash| take_out(&mut self.behind, hash, id));
        entry.claims.iter().for_each(|claim| take_out(&mut self.claims, claim, id));
        for change in &entry.changes {
            if self.brings.get(change) == Some(id) {
                self.brings.remove(change);
            }
        }
        self.unvouched -= usize::from(entry.may_be_vouched_for());
        self.total -= entry.cost;
        if let Some(cost) = self.cost.get_mut(&id.0) {
            *cost -= entry.cost;
            if *cost == 0 {
                self.cost.remove(&id.0);
            }
        }
    }
}

fn take_out<K: Ord>(index: &mut BTreeMap<K, BTreeSet<HeldId>>, key: &K, id: &HeldId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

impl Entry {
    fn new(record: &HeldRecord, commit: &Commit, hash: CommitHash) -> Self {
        let cost = record.since.open_ms().map_or(0, |_| record.commit.len() + HELD_OVERHEAD_BYTES);
        let changes = commit.open().map(|(leaf, _)| leaf.head).collect();
        let (cause, since, missing) = (record.cause, record.since, record.missing.clone());
        let (origin, parts, follows) = (commit.origin, commit.parts(), commit.follows());
        let claims = claims(commit).collect();
        Self { cause, hash, since, origin, parts, missing, follows, changes, claims, cost }
    }

    fn may_count_with_others(&self) -> bool {
        self.may_be_vouched_for() || self.cause == HeldCause::MissingDependency
    }

    fn may_be_vouched_for(&self) -> bool {
        matches!(self.cause, HeldCause::AfterCut | HeldCause::Equivocation)
    }
}

impl HeldChanges {
    /// What each author and what all have in quarantine, with these changes.
    fn costs(&self, held: &Quarantine) -> (BTreeMap<PeerId, usize>, usize) {
        let (mut costs, mut total) = (held.cost.clone(), held.total);
        for ((by, _), entry) in &self.added {
            total += entry.cost;
            *costs.entry(*by).or_default() += entry.cost;
        }
        for ((by, _), cost) in &self.removed {
            total -= cost;
            costs.entry(*by).and_modify(|of| *of -= cost);
        }
        (costs, total)
    }

    fn of_author(&self, author: &PeerId) -> impl DoubleEndedIterator<Item = (&HeldId, &Entry)> {
        self.added.range((*author, 0)..=(*author, u64::MAX))
    }
}

impl Replica {
    /// Reads a held commit and its record; nothing for one that does not decode.
    pub(super) fn held_commit(
        &self,
        space: SpaceId,
        (author, number): HeldId,
    ) -> Result<Option<(Commit, HeldRecord)>, ReplicaError> {
        let Some(record) = self.store.get(&HeldKey { space, author, number })? else { return Ok(None) };
        Ok(Commit::decode(space, &record.commit).ok().map(|commit| (commit, record)))
    }
}

/// What a commit claims that no other commit of its origin may: numbers of the origin, and of its actors. Hashed, so
/// that an equal one is a hint.
fn claims(commit: &Commit) -> impl Iterator<Item = u64> {
    commit.open().flat_map(|(leaf, _)| {
        let claim = |kind: u8, entity: &[u8], number: u64| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(commit.origin.peer.as_bytes()).update(&commit.origin.incarnation.0.to_le_bytes());
            hasher.update(&number.to_le_bytes()).update(&[kind]);
            hasher.update(entity).update(leaf.collection.as_str().as_bytes());
            let mut first = [0; 8];
            hasher.finalize_xof().fill(&mut first);
            u64::from_le_bytes(first)
        };
        [claim(0, &[], leaf.oseq.0), claim(1, leaf.entity.as_bytes(), leaf.seq)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Leaf, Slot};
    use crate::id::{CollectionName, EntityId, Incarnation, Origin, Oseq};
    use crate::identity::{Identity, Signature};
    use crate::limits::JUDGED_TOGETHER_MAX;
    use crate::time::Timestamp;

    const BYTES: usize = 256 * 1024;

    /// The number-th commit of an author, held as one of so many bytes.
    fn put(held: &mut Quarantine, author: u8, number: u64, bytes: usize) -> Option<CommitHash> {
        let identity = Identity::from_seed([author; 32]);
        let origin = Origin { peer: identity.peer(), incarnation: Incarnation(1) };
        let leaf = Leaf {
            collection: CollectionName::new("notes").expect("a name"),
            entity: EntityId::new([author; 16]),
            oseq: Oseq(number),
            prev: None,
            salt: None,
            of: 1,
            seq: number,
            head: ChangeHash::new([author; 32]),
        };
        let space = SpaceId::new([7; 32]);
        let slots = vec![Slot::Open { leaf, change: Vec::new() }];
        let commit = Commit { space, origin, at: Vec::new(), slots, signature: Signature([0; 64]) };
        let record = HeldRecord {
            cause: HeldCause::NotAllowed,
            arrived: Timestamp::from_unix_ms(0),
            from: identity.peer(),
            since: Since::OpenMs(0),
            missing: Vec::new(),
            commit: vec![0; bytes - HELD_OVERHEAD_BYTES],
        };
        let (hash, mut changes) = (commit.hash(), HeldChanges::default());
        let put = held.stage_put((&commit, hash), None, &record, &mut changes, &mut Batch::new());
        held.apply(changes);
        put.then_some(hash)
    }

    #[test]
    fn who_fills_the_quarantine_takes_from_nobody_and_keeps_nobody_out() {
        let mut held = Quarantine::default();
        let early = put(&mut held, 9, 1, BYTES).expect("room");
        for number in 1..=QUARANTINE_AUTHOR_BYTES_MAX / BYTES {
            for author in 1..=6 {
                assert!(put(&mut held, author, number as u64, BYTES).is_some(), "its own oldest go");
            }
        }
        assert!(held.total + BYTES > QUARANTINE_SPACE_BYTES_MAX, "it is full");

        let late: Vec<CommitHash> =
            (1..=20).map(|number| put(&mut held, 8, number, BYTES).expect("others hold more")).collect();
        for author in 1..=6 {
            for number in 100..140 {
                assert!(put(&mut held, author, number, BYTES).is_some(), "its own oldest go");
            }
        }

        let kept = |hash: &CommitHash| held.id(hash).is_some();
        assert!(kept(&early) && late.iter().all(kept), "who holds less loses nothing");
        assert!(held.total <= QUARANTINE_SPACE_BYTES_MAX);
        assert_eq!(held.total, held.cost.values().sum::<usize>());
    }

    fn change(number: u64) -> ChangeHash {
        ChangeHash::new(*blake3::hash(&number.to_be_bytes()).as_bytes())
    }

    /// Commits of which each waits for the one before it.
    fn chain(count: u64) -> Quarantine {
        let author = PeerId::new([7; 32]);
        let mut held = Quarantine::default();
        for number in 0..count {
            let entry = Entry {
                cause: HeldCause::MissingDependency,
                hash: CommitHash::new(*change(number).as_bytes()),
                since: Since::OpenMs(0),
                origin: Origin { peer: author, incarnation: Incarnation(1) },
                parts: Vec::new(),
                missing: number.checked_sub(1).map(change).into_iter().collect(),
                follows: Vec::new(),
                changes: vec![change(number)],
                claims: Vec::new(),
                cost: HELD_OVERHEAD_BYTES,
            };
            held.insert((author, number), entry);
        }
        held
    }

    /// Seen failing with four times the bound in `Quarantine::together`.
    #[test]
    fn so_many_held_commits_are_judged_together() {
        let together = |count: usize| {
            let held = chain(count as u64);
            let middle = (PeerId::new([7; 32]), count as u64 / 2);
            let (together, more) = held.together([middle].into_iter(), &BTreeSet::new(), JUDGED_TOGETHER_MAX);
            (together.len(), more)
        };

        assert_eq!(together(JUDGED_TOGETHER_MAX), (JUDGED_TOGETHER_MAX, false));
        assert_eq!(together(JUDGED_TOGETHER_MAX + 100), (JUDGED_TOGETHER_MAX, true));
    }
}
