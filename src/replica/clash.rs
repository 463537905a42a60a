//! Two commits of one origin that cannot both be: with one number, or with two changes for one number of an actor.
//!
//! Together they prove that their device equivocates, to whoever may read the collection: they are kept as they are,
//! and passed on. From the smaller of their numbers on, the origin's commits in the collection are *frozen*. A frozen
//! commit counts only while somebody else built on it, or on one that follows it, and if the one before it in the
//! chain counts; and of the two themselves, when others built on both, the one with the smaller hash. That depends on
//! what the commits are alone, and what others built on is passed on as any commit, so all come to the same.
//!
//! A verdict of somebody senior ends it: the commit that it drops never counts, and nothing is frozen any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::held::HeldId;
use super::planted::Check;
use super::rebuild::{self, Shift};
use super::space::Space;
use super::{Replica, ReplicaError, Told, load};
use crate::access::{Commit, Leaf};
use crate::exchange::{Answer, CommitKey, Packed};
use crate::id::{
    ChangeHash, CollectionName, CommitHash, EntityId, Origin, Oseq, PeerId, SpaceId, StatementHash,
};
use crate::limits::JUDGED_TOGETHER_MAX;
use crate::store::keyspaces::{Batch, ClashKey, ClashRecord, CommitId, HeldCause, HeldKey, Key, Prefix, Raw};

/// Whom nobody can vouch for owes it to this one.
pub(super) const NOBODY: StatementHash = StatementHash::new([0; 32]);

/// Where a clash is: at most one is kept of each.
pub(super) type ClashPlace = (CollectionName, Origin);

/// What is known of a clash.
#[derive(Clone, Debug)]
pub(super) struct Clash {
    /// The smaller of the two numbers.
    pub(super) from: Oseq,
    /// The two commits, ascending.
    pub(super) hashes: [CommitHash; 2],
    /// What a frozen commit owes.
    id: StatementHash,
    /// Somebody else built on the first of the two, which ends the second.
    first_claimed: bool,
    /// Peers that hold both, as far as is known.
    told: BTreeSet<PeerId>,
}

impl Clash {
    fn new(from: Oseq, mut hashes: [CommitHash; 2]) -> Self {
        hashes.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"driftless/clash/v1\0");
        for hash in &hashes {
            hasher.update(hash.as_bytes());
        }
        let id = StatementHash::new(*hasher.finalize().as_bytes());
        Self { from, hashes, id, first_claimed: false, told: BTreeSet::new() }
    }
}

impl Space {
    /// Reads the clashes of a space. What others built on is found out later.
    pub(super) fn load_clashes(
        &mut self,
        store: &crate::store::keyspaces::Keyspaces,
        space: &SpaceId,
        damaged: &mut Vec<crate::store::kv::KvError>,
    ) -> Result<(), ReplicaError> {
        store.each_checked(&Prefix::<ClashKey>::space(space), |key, record| {
            let Some(record) = record else {
                damaged.push(key.damaged());
                return Ok(());
            };
            let hash = |bytes: &[u8]| Commit::decode(*space, bytes).map(|commit| commit.hash());
            // One that does not decode proves nothing.
            if let (Ok(one), Ok(other)) = (hash(&record.one), hash(&record.other)) {
                self.clashes.insert((key.collection, key.origin), Clash::new(record.from, [one, other]));
            }
            Ok::<(), ReplicaError>(())
        })
    }

    /// What a commit owes because of clashes; nothing for almost every one.
    pub(super) fn frozen(
        &self,
        hash: &CommitHash,
        origin: &Origin,
        parts: &[(CollectionName, Oseq)],
    ) -> BTreeSet<StatementHash> {
        let mut owes = BTreeSet::new();
        for (collection, oseq) in parts {
            let Some(clash) = self.clashes.get(&(collection.clone(), *origin)) else { continue };
            if clash.hashes.contains(hash) && self.dropped.contains(hash) {
                owes.insert(NOBODY);
            }
            if *oseq < clash.from || clash.hashes.iter().any(|hash| self.dropped.contains(hash)) {
                continue;
            }
            owes.insert(clash.id);
            if clash.first_claimed && clash.hashes.last() == Some(hash) {
                owes.insert(NOBODY);
            }
        }
        owes
    }

    /// Tells whether a commit counts only if the one before it in the chain does.
    pub(super) fn is_chained(&self, origin: &Origin, parts: &[(CollectionName, Oseq)]) -> bool {
        let behind = |(collection, oseq): &(CollectionName, Oseq)| {
            self.clashes.get(&(collection.clone(), *origin)).is_some_and(|clash| *oseq > clash.from)
        };
        parts.iter().any(behind)
    }

    /// The devices that equivocated, by what their frozen commits owe.
    pub(super) fn suspended(&self) -> BTreeMap<StatementHash, PeerId> {
        self.clashes.iter().map(|((_, origin), clash)| (clash.id, origin.peer)).collect()
    }
}

/// A commit whose followers are looked for.
struct Claim {
    hash: CommitHash,
    changes: Vec<(Option<(CollectionName, EntityId)>, ChangeHash)>,
    /// Its number, where it is applied.
    applied: Option<Oseq>,
}

/// A clash that no verdict has ended, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenClash {
    /// The device that signed both.
    pub(crate) device: PeerId,
    /// The collection.
    pub(crate) collection: CollectionName,
    /// The two commits, each with the entities that it changes there.
    pub(crate) sides: Vec<(CommitHash, Vec<EntityId>)>,
}

impl Replica {
    /// Returns the clashes of a space that no verdict has ended.
    ///
    /// # Errors
    ///
    /// [`ReplicaError::NotFound`] when the space is not here, [`ReplicaError::Store`] when the store fails.
    pub(crate) fn clashes(&self, space: SpaceId) -> Result<Vec<OpenClash>, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let mut open = Vec::new();
        for ((collection, origin), clash) in &known.clashes {
            if clash.hashes.iter().any(|hash| known.dropped.contains(hash)) {
                continue;
            }
            let key = ClashKey { space, collection: collection.clone(), origin: *origin };
            let Some(record) = self.store.get(&key)? else { continue };
            let mut sides = Vec::new();
            for bytes in [&record.one, &record.other] {
                let commit = Commit::decode(space, bytes)?;
                sides.push((commit.hash(), commit.open().map(|(leaf, _)| leaf.entity).collect()));
            }
            open.push(OpenClash { device: origin.peer, collection: collection.clone(), sides });
        }
        Ok(open)
    }

    /// Returns the devices that are proven to equivocate, each with the two commits, whether a verdict settled it or not.
    #[cfg(feature = "sim")]
    pub(crate) fn proofs(&self, space: SpaceId) -> Vec<(PeerId, [CommitHash; 2])> {
        let clashes = self.spaces.get(&space).into_iter().flat_map(|known| &known.clashes);
        clashes.map(|((_, origin), clash)| (origin.peer, clash.hashes)).collect()
    }

    /// Looks at commits that were held, and at those that were applied beside held ones, and notes what two that cannot
    /// both be prove, whatever either is held for: what is known of a clash depends on which commits came, not on their
    /// order. Tells whether that is new: then what was taken back may leave room for another.
    pub(super) fn note_clashes(
        &mut self,
        space: SpaceId,
        held: &BTreeSet<CommitHash>,
        applied: &[Commit],
    ) -> Result<bool, ReplicaError> {
        let Some(known) = self.spaces.get(&space).filter(|_| !self.lacks(Check::Clash)) else {
            return Ok(false);
        };
        let suspect = |hash: &CommitHash| {
            let id = known.held.id(hash)?;
            Some((id, known.held.cause(&id).filter(|cause| may_count(*cause))?))
        };
        let suspects: Vec<(HeldId, HeldCause)> = held.iter().filter_map(suspect).collect();
        let mut new = false;
        for (id, cause) in suspects {
            let Some((commit, from)) = self.held_commit(space, id)? else { continue };
            if cause == HeldCause::Equivocation {
                for (collection, oseq) in commit.parts() {
                    if let Some((number, other)) = self.rival(&commit, &collection, oseq)? {
                        new |= self.note_clash(&collection, [&commit, &other], oseq.min(number), from)?;
                    }
                }
            }
            new |= self.note_held_rivals(&commit)?;
        }
        for commit in applied {
            new |= self.note_held_rivals(commit)?;
        }
        if new {
            self.take_back(space, Shift { clashes: true, ..Shift::default() })?;
        }
        Ok(new)
    }

    fn held_commit(
        &self,
        space: SpaceId,
        (author, number): HeldId,
    ) -> Result<Option<(Commit, PeerId)>, ReplicaError> {
        let record = self.store.get(&HeldKey { space, author, number })?;
        let read = record.map(|record| (Commit::decode(space, &record.commit), record.from));
        Ok(read.and_then(|(commit, from)| Some((commit.ok()?, from))))
    }

    /// Notes the clashes of a commit with others that are held.
    fn note_held_rivals(&mut self, commit: &Commit) -> Result<bool, ReplicaError> {
        let (space, hash) = (commit.space, commit.hash());
        let known = self.spaces.get(&space);
        let rivals = known.map(|known| known.held.rivals(commit, &hash)).unwrap_or_default();
        let mut new = false;
        for id in rivals {
            let Some((other, from)) = self.held_commit(space, id)? else { continue };
            for (collection, number) in disputed(commit, &other) {
                new |= self.note_clash(&collection, [commit, &other], number, from)?;
            }
        }
        Ok(new)
    }

    /// The applied commit that cannot be beside another one of its origin, and its number.
    fn rival(
        &self,
        commit: &Commit,
        collection: &CollectionName,
        oseq: Oseq,
    ) -> Result<Option<(Oseq, Commit)>, ReplicaError> {
        let (space, origin) = (commit.space, commit.origin);
        let mut numbers = vec![oseq];
        for (leaf, _) in commit.open().filter(|(leaf, _)| leaf.collection == *collection) {
            let changes = self.changes_of(space, &(collection.clone(), leaf.entity))?;
            let same = changes.all.iter().filter(|(_, change, header)| {
                change.origin == origin && change.seq == leaf.seq && header.hash != leaf.head
            });
            numbers.extend(same.map(|(_, change, _)| change.oseq));
        }
        for number in numbers {
            let id = CommitId { space, collection: collection.clone(), origin, oseq: number };
            let Some((_, record)) = load::record(&self.store, id)? else { continue };
            let other = load::commit(&self.store, space, origin, &record, &|_| true)?;
            if other.hash() != commit.hash() {
                return Ok(Some((number, other)));
            }
        }
        Ok(None)
    }

    fn note_clash(
        &mut self,
        collection: &CollectionName,
        commits: [&Commit; 2],
        from: Oseq,
        teller: PeerId,
    ) -> Result<bool, ReplicaError> {
        let [one, other] = commits;
        let (space, origin) = (one.space, one.origin);
        let place = (collection.clone(), origin);
        let known = self.spaces.get(&space).and_then(|known| known.clashes.get(&place));
        if known.is_some_and(|clash| clash.from <= from) {
            return Ok(false);
        }
        let only = |name: &CollectionName| name == collection;
        let (Some(shown), Some(other_shown)) = (one.blinded(&only), other.blinded(&only)) else {
            return Ok(false);
        };
        let record = ClashRecord { from, one: shown.encode(), other: other_shown.encode() };
        let mut batch = Batch::new();
        batch.put(&ClashKey { space, collection: collection.clone(), origin }, &record);
        batch.put(&rebuild::mark(&space), &Raw(Vec::new()));
        self.store.write(batch)?;
        tracing::warn!(device = %origin.peer.short(), %collection, "a device equivocates; its commits are frozen");
        let mut clash = Clash::new(from, [one.hash(), other.hash()]);
        clash.first_claimed = self.is_claimed(&place, &clash, [one, other])?;
        // Whoever told does not have to be told of what it told, but perhaps of the other.
        clash.told.remove(&teller);
        if let Some(known) = self.spaces.get_mut(&space) {
            known.clashes.insert(place, clash);
        }
        let commits = vec![packed(&shown), packed(&other_shown)];
        if !self.lacks(Check::Proof) {
            self.told.push_back(Told::Clash { space, commits, to: None });
        }
        Ok(true)
    }

    /// Answers who sends one side of a clash with both, once.
    pub(super) fn answer_clash(
        &mut self,
        space: SpaceId,
        commit: &Commit,
        hash: &CommitHash,
        from: PeerId,
    ) -> Result<(), ReplicaError> {
        let lacks = self.lacks(Check::Proof);
        let Some(known) = self.spaces.get_mut(&space).filter(|_| !lacks) else { return Ok(()) };
        for (collection, _) in commit.parts() {
            let Some(clash) = known.clashes.get_mut(&(collection.clone(), commit.origin)) else { continue };
            if !clash.hashes.contains(hash) || !clash.told.insert(from) {
                continue;
            }
            let key = ClashKey { space, collection, origin: commit.origin };
            let Some(record) = self.store.get(&key)? else { continue };
            let read = |bytes: &[u8]| Commit::decode(space, bytes).map(|commit| packed(&commit));
            let commits = [read(&record.one)?, read(&record.other)?].into();
            self.told.push_back(Told::Clash { space, commits, to: Some(from) });
        }
        Ok(())
    }

    /// Tells a peer with which this node agrees of the clashes that it may not have heard of. It answers what it knows,
    /// and then it is not told again on that connection: while the two do not agree yet, only what the peer itself sends
    /// can show that it has forgotten what it was told on another, see `answer_clash`.
    pub(super) fn remind_of_clashes(
        &mut self,
        space: SpaceId,
        peer: PeerId,
        agreed: bool,
    ) -> Result<Answer, ReplicaError> {
        let lacks = self.lacks(Check::Proof);
        let Some(known) = self.spaces.get_mut(&space).filter(|_| !lacks) else { return Ok(Answer::Done) };
        if !agreed {
            for clash in known.clashes.values_mut() {
                clash.told.remove(&peer);
            }
            return Ok(Answer::Done);
        }
        let untold = known.clashes.iter().filter(|((_, origin), clash)| {
            let open = clash.hashes.iter().all(|hash| !known.dropped.contains(hash));
            open && !clash.told.contains(&peer) && known.membership.role(&origin.peer).is_some()
        });
        let places: Vec<ClashPlace> = untold.map(|(place, _)| place.clone()).collect();
        for (collection, origin) in places {
            let Some(record) = self.store.get(&ClashKey { space, collection, origin })? else { continue };
            let read = |bytes: &[u8]| Commit::decode(space, bytes).map(|commit| packed(&commit));
            let commits = [read(&record.one)?, read(&record.other)?].into();
            self.told.push_back(Told::Clash { space, commits, to: Some(peer) });
        }
        Ok(Answer::Done)
    }

    /// Finds out again on which commits others built, when one was held that follows a frozen one. What that ends is
    /// taken back. Tells whether anything did.
    pub(super) fn heed_claims(
        &mut self,
        space: SpaceId,
        held: &BTreeSet<CommitHash>,
    ) -> Result<bool, ReplicaError> {
        let Some(known) = self.spaces.get(&space).filter(|known| !known.clashes.is_empty()) else {
            return Ok(false);
        };
        let concerns = |hash: &CommitHash| {
            let Some(id) = known.held.id(hash) else { return false };
            let mut near = known.held.neighbours(&id);
            near.insert(id);
            near.iter().any(|id| known.held.cause(id) == Some(HeldCause::Equivocation))
        };
        let new = held.iter().any(concerns) && self.find_claims(space)?;
        if new {
            self.take_back(space, Shift { clashes: true, ..Shift::default() })?;
        }
        Ok(new)
    }

    /// Finds out on which commits of clashes others built, and tells whether that is new.
    pub(super) fn find_claims(&mut self, space: SpaceId) -> Result<bool, ReplicaError> {
        let known = self.spaces.get(&space);
        let clashes: Vec<(ClashPlace, Clash)> =
            known.into_iter().flat_map(|known| known.clashes.clone()).collect();
        let mut new = false;
        for (place, clash) in clashes.into_iter().filter(|(_, clash)| !clash.first_claimed) {
            let key = ClashKey { space, collection: place.0.clone(), origin: place.1 };
            let Some(record) = self.store.get(&key)? else { continue };
            let (one, other) = (Commit::decode(space, &record.one)?, Commit::decode(space, &record.other)?);
            if self.is_claimed(&place, &clash, [&one, &other])?
                && let Some(clash) =
                    self.spaces.get_mut(&space).and_then(|known| known.clashes.get_mut(&place))
            {
                clash.first_claimed = true;
                new = true;
            }
        }
        Ok(new)
    }

    /// Tells whether another device built on the first commit of a clash, or on one that follows it.
    fn is_claimed(
        &self,
        (collection, origin): &ClashPlace,
        clash: &Clash,
        commits: [&Commit; 2],
    ) -> Result<bool, ReplicaError> {
        let first = commits.into_iter().find(|commit| clash.hashes.first() == Some(&commit.hash()));
        let Some(first) = first else { return Ok(false) };
        let space = first.space;
        let Some(known) = self.spaces.get(&space) else { return Ok(false) };
        let open = first.open().filter(|(leaf, _)| leaf.collection == *collection);
        let changes =
            open.map(|(leaf, _)| (Some((leaf.collection.clone(), leaf.entity)), leaf.head)).collect();
        let numbers = first.parts().into_iter().filter(|(name, _)| name == collection).map(|(_, oseq)| oseq);
        let mut next = vec![Claim { hash: first.hash(), changes, applied: numbers.last() }];
        let mut seen = BTreeSet::from([first.hash()]);
        while let Some(Claim { hash, changes, applied }) = next.pop() {
            for (place, change) in &changes {
                let Some(place) = place else { continue };
                let followers = self.changes_of(space, place)?.followers.remove(change).unwrap_or_default();
                for id in followers {
                    if id.origin.peer != origin.peer {
                        return Ok(true);
                    }
                    next.extend(self.applied_claim(id)?.filter(|claim| seen.insert(claim.hash)));
                }
            }
            if let Some(oseq) = applied {
                let id = CommitId {
                    space,
                    collection: collection.clone(),
                    origin: *origin,
                    oseq: Oseq(oseq.0 + 1),
                };
                let behind = load::record(&self.store, id.clone())?.is_some_and(|(_, record)| {
                    let of =
                        |slot: &crate::store::keyspaces::SlotRecord| slot.follows(collection) == Some(hash);
                    record.slots.iter().any(of)
                });
                if behind {
                    next.extend(self.applied_claim(id)?.filter(|claim| seen.insert(claim.hash)));
                }
            }
            let waiting = known.held.waiting_for(changes.iter().map(|(_, change)| change));
            for id in waiting.into_iter().chain(known.held.behind(&origin.peer, &hash)) {
                let Some(cause) = known.held.cause(&id) else { continue };
                let (Some(hash), true) = (known.held.hash(&id), may_count(cause)) else { continue };
                if id.0 != origin.peer {
                    return Ok(true);
                }
                if seen.len() < JUDGED_TOGETHER_MAX && seen.insert(hash) {
                    let changes = known.held.changes(&id).map(|change| (None, change)).collect();
                    next.push(Claim { hash, changes, applied: None });
                }
            }
        }
        Ok(false)
    }

    fn applied_claim(&self, id: CommitId) -> Result<Option<Claim>, ReplicaError> {
        let (space, origin, oseq) = (id.space, id.origin, id.oseq);
        let Some((_, record)) = load::record(&self.store, id)? else { return Ok(None) };
        let commit = load::commit(&self.store, space, origin, &record, &|_| false)?;
        let changes =
            commit.open().map(|(leaf, _)| (Some((leaf.collection.clone(), leaf.entity)), leaf.head));
        Ok(Some(Claim { hash: commit.hash(), changes: changes.collect(), applied: Some(oseq) }))
    }
}

fn may_count(cause: HeldCause) -> bool {
    matches!(cause, HeldCause::MissingDependency | HeldCause::AfterCut | HeldCause::Equivocation)
}

/// The collections in which two commits cannot both be, each with the smaller of their numbers there.
fn disputed(one: &Commit, other: &Commit) -> BTreeMap<CollectionName, Oseq> {
    let mut disputed = BTreeMap::new();
    if one.origin != other.origin || one.hash() == other.hash() {
        return disputed;
    }
    for (leaf, _) in one.open() {
        let cannot_both_be = |rival: &&Leaf| {
            let same = rival.entity == leaf.entity && rival.seq == leaf.seq && rival.head != leaf.head;
            rival.collection == leaf.collection && (rival.oseq == leaf.oseq || same)
        };
        for rival in other.open().map(|(rival, _)| rival).filter(cannot_both_be) {
            let from = leaf.oseq.min(rival.oseq);
            let known = disputed.entry(leaf.collection.clone()).or_insert(from);
            *known = from.min(*known);
        }
    }
    disputed
}

fn packed(commit: &Commit) -> Packed {
    let key = CommitKey { origin: commit.origin, parts: commit.parts() };
    Packed { key, bytes: Arc::from(commit.encode()) }
}
