//! Contests: which commits of devices that equivocate give way to others here.
//!
//! They are judged together, and anew, whichever of them are applied: those that are, with what follows them, and those
//! in quarantine, with what may count together with them. So what is found depends on which commits came, and not on
//! their order. No document is read but to tell whether a change is here.

use std::collections::{BTreeMap, BTreeSet};

use super::clashed::Clashes;
use super::held::HeldId;
use super::order::{Linked, Placed, in_order};
use super::planted::Check;
use super::rebuild::{Node, speaks_of};
use super::receive::{Incoming, Source, prescan_all};
use super::space::Space;
use super::{Replica, ReplicaError, load};
use crate::access::{Commit, Contestant, Fact, Slot, counting, giving_way};
use crate::id::{ChangeHash, CollectionName, CommitHash, EntityId, Origin, Oseq, SpaceId, StatementHash};
use crate::limits::JUDGED_TOGETHER_MAX;
use crate::store::keyspaces::{CommitId, CommitRecord, HeadKey};

/// What was found out of the commits of devices that equivocate.
#[derive(Debug, Default)]
pub(super) struct Contests {
    /// Those that give way to others, and where those are that were applied when that was found out.
    pub(super) beaten: BTreeMap<CommitHash, Option<CommitId>>,
    /// Those of them that cannot be beside one that a verdict picks, and that counts.
    pub(super) overruled: BTreeSet<CommitHash>,
    /// Commits that verdicts pick, and that do not count for another reason.
    pub(super) in_vain: BTreeSet<CommitHash>,
    /// How many commits and clashes were judged to find it out.
    pub(super) judged: usize,
}

impl Contests {
    /// Tells whether the same was found out, wherever the commits were then.
    fn are_as(&self, other: &Self) -> bool {
        let same = self.beaten.keys().eq(other.beaten.keys());
        same && self.overruled == other.overruled && self.in_vain == other.in_vain
    }
}

/// What one commit of an origin can have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// A number of the origin in a collection.
    Number(Origin, CollectionName, Oseq),
    /// A number of the origin's actor in an entity.
    Change(Origin, CollectionName, EntityId, u64),
}

/// A commit that takes part.
struct Entrant {
    origin: Origin,
    hash: CommitHash,
    /// Where it is applied.
    id: Option<CommitId>,
    claims: BTreeSet<Claim>,
    stands: bool,
    changes: Vec<ChangeHash>,
    /// What its changes follow.
    deps: BTreeSet<ChangeHash>,
    /// The commits right before it in chains in which it counts only if they do.
    behind: Vec<CommitHash>,
    owes: BTreeSet<StatementHash>,
    speaks: BTreeSet<StatementHash>,
}

impl Linked for Entrant {
    fn hash(&self) -> CommitHash {
        self.hash
    }

    fn brings(&self) -> impl Iterator<Item = ChangeHash> {
        self.changes.iter().copied()
    }

    fn deps(&self) -> impl Iterator<Item = ChangeHash> {
        self.deps.iter().copied()
    }

    fn behind(&self) -> &[CommitHash] {
        &self.behind
    }
}

impl Replica {
    /// Tells whether to find out which commits of a space give way takes longer than whoever sends one may make others
    /// wait. How much there is to judge is known from the last time, and from what is held.
    pub(super) fn is_much_contested(&self, space: SpaceId) -> bool {
        let Some(known) = self.spaces.get(&space) else { return false };
        known.contests.judged > self.due.contested_at_once || contested(known, JUDGED_TOGETHER_MAX).1
    }

    /// Finds out which commits of a space give way. Tells whether that is new.
    pub(super) fn settle_contests(&mut self, space: SpaceId) -> Result<bool, ReplicaError> {
        let Some(known) = self.spaces.get_mut(&space) else { return Ok(false) };
        if known.clashes.is_empty() && known.contests.beaten.is_empty() {
            return Ok(false);
        }
        // What is found must not rest on what was found before.
        let before = std::mem::take(&mut known.contests);
        let found = self.find_beaten(space);
        let Some(known) = self.spaces.get_mut(&space) else { return Ok(false) };
        match found {
            Ok(beaten) => {
                known.contests.beaten = beaten;
                let new = !known.contests.are_as(&before);
                Ok(self.forget_strays(space)? || new)
            }
            Err(error) => {
                known.contests = before;
                Err(error)
            }
        }
    }

    fn find_beaten(
        &mut self,
        space: SpaceId,
    ) -> Result<BTreeMap<CommitHash, Option<CommitId>>, ReplicaError> {
        loop {
            let held = self.held_entrants(space)?;
            let mut rivals = Vec::new();
            for commit in &held {
                rivals.extend(self.stored_rivals(&commit.commit)?);
            }
            self.find_overruled(space, &held, &rivals)?;
            if held.is_empty() {
                return Ok(BTreeMap::new());
            }
            let nodes = self.gather_frozen(space, rivals)?.nodes;
            let judged = held.len() + nodes.len();
            let entrants = self.entrants(space, nodes, held)?;
            let known = self.spaces.get_mut(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
            known.contests.judged = judged + known.clashes.len();
            let mut beaten = dropped(known, &entrants);
            let mut contestants = contestants(known, &entrants, &beaten);
            for place in giving_way(&contestants) {
                let Some(of) = contestants.get_mut(place) else { continue };
                of.fact.stands = false;
                beaten.insert(of.hash);
            }
            let facts: Vec<Fact> = contestants.iter().map(|of| of.fact.clone()).collect();
            let counts = counting(&facts);
            let in_vain = contestants.iter().zip(counts).filter(|(of, counts)| of.picked && !counts);
            let in_vain: Vec<CommitHash> = in_vain.map(|(of, _)| of.hash).collect();
            if in_vain.is_empty() {
                let beaten = entrants.into_iter().filter(|entrant| beaten.contains(&entrant.hash));
                return Ok(beaten.map(|entrant| (entrant.hash, entrant.id)).collect());
            }
            // Nobody gives way to one that does not count: it is judged again without that pick.
            known.contests.in_vain.extend(in_vain);
        }
    }

    /// Finds out which commits cannot be beside one that a verdict picks.
    fn find_overruled(
        &mut self,
        space: SpaceId,
        held: &[Incoming],
        stored: &[(CommitId, CommitRecord)],
    ) -> Result<(), ReplicaError> {
        let mut commits: Vec<Commit> = Vec::with_capacity(stored.len());
        for (id, record) in stored {
            commits.push(load::commit(&self.store, space, id.origin, record, &|_| false)?);
        }
        let Some(known) = self.spaces.get_mut(&space) else { return Ok(()) };
        let all = || commits.iter().chain(held.iter().map(|incoming| &incoming.commit));
        let mut picked: BTreeMap<Claim, CommitHash> = BTreeMap::new();
        for commit in all().filter(|commit| known.picks(&commit.origin.peer, &commit.hash())) {
            picked.extend(claims(commit).into_iter().map(|claim| (claim, commit.hash())));
        }
        let overruled = |commit: &&Commit| {
            let hash = commit.hash();
            claims(commit).iter().any(|claim| picked.get(claim).is_some_and(|by| *by != hash))
        };
        known.contests.overruled = all().filter(overruled).map(Commit::hash).collect();
        Ok(())
    }

    /// Reads the held commits of origins that equivocate, and those that may count together with them.
    fn held_entrants(&self, space: SpaceId) -> Result<Vec<Incoming>, ReplicaError> {
        let Some(known) = self.spaces.get(&space) else { return Ok(Vec::new()) };
        let mut entrants = Vec::new();
        for id in contested(known, usize::MAX).0 {
            let Some((commit, record)) = self.held_commit(space, id)? else { continue };
            let Ok(headers) = prescan_all(&commit, self.lacks(Check::Attribution)) else { continue };
            if self.authorise(&commit, &commit.parts()).is_err() {
                continue;
            }
            let (from, arrived, since) = (record.from, record.arrived, record.since);
            let source = Source { from, arrived, since, held: Some(id), sent: false };
            let hash = commit.hash();
            entrants.push(Incoming { headers, ..Incoming::new(commit, hash, record.commit, source) });
        }
        Ok(entrants)
    }

    /// Finds out what there is to know of those that are applied and of those that are held.
    fn entrants(
        &mut self,
        space: SpaceId,
        nodes: Vec<Node>,
        mut held: Vec<Incoming>,
    ) -> Result<Vec<Entrant>, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let beside = nodes.iter().flat_map(|node| node.owes(known)).collect();
        self.judge(space, &mut held, &beside)?;
        let known = self.spaces.get_mut(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        // What these show of cuts is found again when they are taken, and then releases others.
        known.chains.retain(|device, _| held.iter().all(|commit| commit.commit.origin.peer != *device));
        let suspended = known.suspended();
        let owed: BTreeSet<StatementHash> =
            held.iter().flat_map(|commit| &commit.owes).copied().chain(beside).collect();
        let held_hashes: BTreeSet<CommitHash> = held.iter().map(|commit| commit.hash).collect();
        let mut entrants = Vec::with_capacity(nodes.len() + held.len());
        for node in nodes {
            let has_ground = node.lacks.iter().all(|before| held_hashes.contains(before));
            let owes = node.owes(known);
            let speaks = speaks_of(known, &suspended, &owed, &owes, &node)?;
            entrants.push(Entrant {
                origin: node.id.origin,
                hash: node.hash,
                id: Some(node.id),
                claims: claims(&node.commit),
                stands: node.stands && has_ground,
                changes: node.changes.into_iter().map(|(_, change)| change).collect(),
                deps: node.deps,
                behind: node.behind,
                owes,
                speaks,
            });
        }
        let mut brought: BTreeSet<ChangeHash> =
            entrants.iter().flat_map(|entrant| &entrant.changes).copied().collect();
        brought
            .extend(held.iter().flat_map(|commit| commit.headers.iter().flatten()).map(|header| header.hash));
        for commit in held {
            let stands = self.has_ground(space, &commit, &brought)?;
            entrants.push(Entrant {
                origin: commit.commit.origin,
                hash: commit.hash,
                id: None,
                claims: claims(&commit.commit),
                stands,
                changes: commit.headers.iter().flatten().map(|header| header.hash).collect(),
                deps: commit
                    .headers
                    .iter()
                    .flatten()
                    .flat_map(|header| header.deps.iter().copied())
                    .collect(),
                behind: commit.behind,
                owes: commit.owes,
                speaks: commit.speaks,
            });
        }
        Ok(entrants)
    }

    /// Tells whether all that a held commit follows is here, or brought by another.
    fn has_ground(
        &mut self,
        space: SpaceId,
        commit: &Incoming,
        brought: &BTreeSet<ChangeHash>,
    ) -> Result<bool, ReplicaError> {
        for (slot, header) in commit.commit.slots.iter().zip(&commit.headers) {
            let (Slot::Open { leaf, .. }, Some(header)) = (slot, header) else { continue };
            let mut missing = header.deps.iter().filter(|dep| !brought.contains(*dep)).peekable();
            if missing.peek().is_none() {
                continue;
            }
            let key = HeadKey { space, collection: leaf.collection.clone(), entity: leaf.entity };
            let head = self.store.get(&key)?;
            let document = self.content(&key, head.as_ref())?;
            if !missing.all(|dep| document.has(dep)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The held commits of origins that equivocate, from there on, and those that may count together with them: at most so
/// many. Tells whether there are more.
fn contested(known: &Space, max: usize) -> (BTreeSet<HeldId>, bool) {
    let liars = known.clashes.liars();
    let is_behind = |origin: &Origin, collection: &CollectionName, oseq: Oseq| {
        let clashes = known.clashes.get(&(collection.clone(), *origin));
        clashes.and_then(Clashes::first).is_some_and(|first| oseq >= first)
    };
    let seeds = liars.iter().flat_map(|liar| known.held.with_part(liar, is_behind));
    known.held.together(seeds, &liars, max)
}

/// What a commit claims.
fn claims(commit: &Commit) -> BTreeSet<Claim> {
    let leaves = commit.open().map(|(leaf, _)| leaf);
    let of_leaf = leaves.flat_map(|leaf| {
        let (origin, collection) = (commit.origin, leaf.collection.clone());
        let change = Claim::Change(origin, collection.clone(), leaf.entity, leaf.seq);
        [Claim::Number(origin, collection, leaf.oseq), change]
    });
    of_leaf.collect()
}

/// The commits with rivals that verdicts drop. A verdict on others drops nothing.
fn dropped(known: &Space, entrants: &[Entrant]) -> BTreeSet<CommitHash> {
    let mut claimed: BTreeMap<&Claim, usize> = BTreeMap::new();
    entrants
        .iter()
        .flat_map(|entrant| &entrant.claims)
        .for_each(|claim| *claimed.entry(claim).or_default() += 1);
    let dropped = |entrant: &&Entrant| {
        let verdicts = known.verdicts.get(&entrant.origin.peer);
        verdicts.is_some_and(|verdicts| verdicts.drop(&entrant.hash))
            && entrant.claims.iter().any(|claim| claimed.get(claim).is_some_and(|count| *count > 1))
    };
    entrants.iter().filter(dropped).map(|entrant| entrant.hash).collect()
}

/// Those that take part, each behind those that it follows.
fn contestants(
    known: &Space,
    entrants: &[Entrant],
    dropped: &BTreeSet<CommitHash>,
) -> Vec<Contestant<Claim>> {
    let contestant = |placed: Placed| {
        let entrant = entrants.get(placed.index)?;
        let fact = Fact {
            stands: entrant.stands && !placed.in_circle && !dropped.contains(&entrant.hash),
            follows: placed.follows,
            owes: entrant.owes.clone(),
            speaks: entrant.speaks.clone(),
        };
        let picked = known.picks(&entrant.origin.peer, &entrant.hash);
        Some(Contestant { picked, hash: entrant.hash, fact, claims: entrant.claims.clone() })
    };
    in_order(entrants).into_iter().filter_map(contestant).collect()
}
