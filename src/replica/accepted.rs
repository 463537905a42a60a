//! Which commits of removed devices count here: how far each cut reaches, and who is judged together.
//!
//! A commit of a device that was never removed costs one look-up in a set. What is known of the chains of one that
//! was removed is worked out when its first commit comes, from its records, and kept from then on.
//!
//! The rules are those of [`crate::access::counting`].

use std::collections::{BTreeMap, BTreeSet};

use super::clash::NOBODY;
use super::held::{HeldId, Quarantine};
use super::planted::Check;
use super::receive::Incoming;
use super::{Replica, ReplicaError, load};
use crate::access::{Cut, Membership};
use crate::id::{CollectionName, CommitHash, Origin, Oseq, PeerId, Position, SpaceId, StatementHash};
use crate::limits::{CUT_HASHES_MAX, JUDGED_TOGETHER_MAX};
use crate::store::keyspaces::{CommitEntry, CommitId, CommitRecord, HeldCause, Prefix, SlotRecord};

/// What is known here of the chains of one removed device, by removal.
#[derive(Debug, Default)]
pub(super) struct Chains {
    by_removal: BTreeMap<StatementHash, Reach>,
}

/// How far one cut reaches.
#[derive(Debug, Default)]
struct Reach {
    /// Commits that the cut reaches and that are not applied here, or not with all their parts.
    open: BTreeSet<CommitHash>,
    /// Commits that are applied here although the cut does not reach them, each with those that it follows. They
    /// are vouched for.
    beyond: BTreeMap<CommitHash, Vec<CommitHash>>,
}

/// A record of a removed device.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: CommitId,
    pub(super) record: CommitRecord,
    pub(super) follows: Vec<CommitHash>,
    /// Other parts of the commit may be elsewhere.
    pub(super) in_part: bool,
}

impl Chains {
    /// Commits that are applied here and that a cut does not reach.
    pub(super) fn beyond(&self) -> BTreeSet<CommitHash> {
        self.by_removal.values().flat_map(|reach| reach.beyond.keys().copied()).collect()
    }

    /// Tells whether a cut reaches a commit that is not applied here, or not with all its parts.
    pub(super) fn is_reached(&self, hash: &CommitHash) -> bool {
        self.by_removal.values().any(|reach| reach.open.contains(hash))
    }

    /// The removals whose cuts do not reach an applied commit.
    pub(super) fn owed(&self, hash: &CommitHash) -> BTreeSet<StatementHash> {
        let owed = self.by_removal.iter().filter(|(_, reach)| reach.beyond.contains_key(hash));
        owed.map(|(removal, _)| *removal).collect()
    }

    fn note_applied(&mut self, commit: &Incoming) {
        for (removal, reach) in &mut self.by_removal {
            if let Some(follows) = reach.beyond.get_mut(&commit.hash) {
                // Another part of one that is vouched for.
                follows.extend(commit.commit.follows());
            } else if commit.owes.contains(removal) {
                reach.beyond.insert(commit.hash, commit.commit.follows());
            } else if commit.commit.open().count() < commit.commit.slots.len() {
                reach.open.insert(commit.hash);
            } else {
                reach.open.remove(&commit.hash);
            }
        }
    }
}

impl Reach {
    /// Whether the cut reaches a commit. One of which a part is applied here, other than beyond the cut, was found to
    /// be reached by that part.
    fn reaches(&self, commit: &Incoming) -> bool {
        let applied = commit.existing.is_some() && !self.beyond.contains_key(&commit.hash);
        applied || self.open.contains(&commit.hash)
    }

    /// Notes that the cut reaches these commits, and all that they follow as far as it is here. Those in quarantine
    /// are put into `released`.
    fn extend(&mut self, from: Vec<CommitHash>, held: &Quarantine, released: &mut BTreeSet<HeldId>) {
        let mut next = from;
        while let Some(hash) = next.pop() {
            if let Some(follows) = self.beyond.remove(&hash) {
                next.extend(follows);
                // Its other parts may come later.
                self.open.insert(hash);
            } else if self.open.insert(hash)
                && let Some((id, follows)) = held.follows(&hash)
            {
                next.extend_from_slice(follows);
                released.insert(id);
            }
        }
    }
}

impl Replica {
    /// Works out, for commits that are allowed where they say that they were made, which removals do not let them
    /// stand, and for which they speak. Returns commits of the quarantine that turned out to be let stand. `beside` is
    /// what others owe that are judged with them.
    pub(super) fn judge(
        &mut self,
        space: SpaceId,
        commits: &mut [Incoming],
        beside: &BTreeSet<StatementHash>,
    ) -> Result<BTreeSet<HeldId>, ReplicaError> {
        let mut released = BTreeSet::new();
        let Some(known) = self.spaces.get(&space) else { return Ok(released) };
        let lacks = self.lacks(Check::Cut);
        let removed = |commit: &Incoming| known.removals.contains_key(&commit.commit.origin.peer);
        let watched = |commit: &Incoming| !lacks && removed(commit);
        if known.clashes.is_empty() && !commits.iter().any(watched) {
            return Ok(released);
        }
        let membership = std::sync::Arc::clone(&known.membership);
        let devices: BTreeSet<PeerId> =
            commits.iter().filter(|commit| watched(commit)).map(|commit| commit.commit.origin.peer).collect();
        for device in &devices {
            self.know_chains(space, *device)?;
        }
        let Some(known) = self.spaces.get_mut(&space) else { return Ok(released) };
        let mut binding = Vec::with_capacity(commits.len());
        for commit in commits.iter_mut() {
            let bound = if devices.contains(&commit.commit.origin.peer) {
                bound(&membership, commit)?
            } else {
                BTreeSet::new()
            };
            commit.owes.clone_from(&bound);
            binding.push(bound);
        }
        // A commit that shows that another one is reached may stand behind it in the batch.
        let mut goes_on = true;
        while goes_on {
            goes_on = false;
            for commit in commits.iter_mut().filter(|commit| !commit.owes.is_empty()) {
                let Some(chains) = known.chains.get_mut(&commit.commit.origin.peer) else { continue };
                for (removal, reach) in &mut chains.by_removal {
                    if commit.owes.contains(removal) && reach.reaches(commit) {
                        commit.owes.remove(removal);
                        reach.extend(commit.commit.follows(), &known.held, &mut released);
                        goes_on = true;
                    }
                }
            }
        }
        self.freeze(space, commits)?;
        let Some(known) = self.spaces.get(&space) else { return Ok(released) };
        let suspended = known.suspended();
        let owed = commits.iter().flat_map(|commit| &commit.owes).chain(beside);
        let owed: BTreeSet<StatementHash> = owed.copied().collect();
        if !owed.is_empty() {
            for (commit, bound) in commits.iter_mut().zip(&binding) {
                let (of, at) = (&commit.commit.origin.peer, &commit.commit.at);
                commit.speaks = speaks(&membership, &suspended, &owed, (bound, &commit.owes), (of, at))?;
            }
        }
        for commit in commits.iter_mut().filter(|commit| !commit.owes.is_empty()) {
            // A commit counts as a whole: who vouches for the part that is applied here vouches for this one.
            let chains = known.chains.get(&commit.commit.origin.peer);
            let vouched = chains.map(|chains| chains.owed(&commit.hash)).unwrap_or_default();
            commit.owes.retain(|removal| !vouched.contains(removal));
        }
        Ok(released)
    }

    /// Works out which commits are frozen because their origin equivocates.
    fn freeze(&self, space: SpaceId, commits: &mut [Incoming]) -> Result<(), ReplicaError> {
        let Some(known) = self.spaces.get(&space).filter(|known| !known.clashes.is_empty()) else {
            return Ok(());
        };
        let arriving: BTreeSet<CommitHash> = commits.iter().map(|commit| commit.hash).collect();
        for commit in commits {
            let origin = commit.commit.origin;
            commit.owes.extend(known.frozen(&commit.hash, &origin, &commit.commit.parts()));
            commit.behind.clear();
            for (place, prev) in known.chained(&commit.commit) {
                let behind = match prev {
                    Some(prev) => arriving.contains(&prev) || self.is_applied(space, origin, place, prev)?,
                    None => false,
                };
                if !behind {
                    commit.owes.insert(NOBODY);
                }
                commit.behind.extend(prev);
            }
        }
        Ok(())
    }

    /// Tells whether the commit before a number of an origin is this one.
    pub(super) fn is_applied(
        &self,
        space: SpaceId,
        origin: Origin,
        (collection, oseq): (CollectionName, Oseq),
        hash: CommitHash,
    ) -> Result<bool, ReplicaError> {
        let id = CommitId { space, collection, origin, oseq: Oseq(oseq.0.saturating_sub(1)) };
        let before = self.store.get(&id)?.map(|entry| self.hash_of(id, entry)).transpose()?;
        Ok(before.is_some_and(|(_, before, _)| before == hash))
    }

    /// Takes over what was written: commits of removed devices that are applied.
    pub(super) fn note_applied(&mut self, space: SpaceId, commit: &Incoming) {
        let Some(known) = self.spaces.get_mut(&space) else { return };
        if commit.commit.origin.peer == self.peer {
            // A part of this device's chain came back.
            known.own_last.clear();
        }
        if let Some(chains) = known.chains.get_mut(&commit.commit.origin.peer) {
            chains.note_applied(commit);
        }
    }

    /// Makes sure that the chains of a removed device are known.
    pub(super) fn know_chains(&mut self, space: SpaceId, device: PeerId) -> Result<(), ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        if known.chains.contains_key(&device) {
            return Ok(());
        }
        let records = self.records_of(space, device)?;
        let membership = std::sync::Arc::clone(&known.membership);
        let mut chains = Chains::default();
        for removal in known.removals.get(&device).into_iter().flatten() {
            let mut reach = Reach::default();
            for (hash, record) in &records {
                reach.beyond.insert(*hash, record.follows.clone());
            }
            reach.extend(membership.cut(removal).to_vec(), &known.held, &mut BTreeSet::new());
            reach.open.retain(|hash| records.get(hash).is_none_or(|known| known.in_part));
            chains.by_removal.insert(*removal, reach);
        }
        // What a removal does not bind, as of a device that came back as a new member, does not wait for it.
        for (hash, record) in &records {
            let beyond = chains.owed(hash);
            if beyond.is_empty() {
                continue;
            }
            let bound = membership.binding(&device, &collections_of(&record.record), &record.record.at)?;
            for (_, reach) in chains.by_removal.iter_mut().filter(|(removal, _)| !bound.contains(removal)) {
                reach.beyond.remove(hash);
            }
        }
        if let Some(known) = self.spaces.get_mut(&space) {
            known.chains.insert(device, chains);
        }
        Ok(())
    }

    /// Reads the records of a device, by hash. Reads no changes.
    pub(super) fn records_of(
        &self,
        space: SpaceId,
        device: PeerId,
    ) -> Result<BTreeMap<CommitHash, Known>, ReplicaError> {
        let mut records = BTreeMap::new();
        for (collection, origin, _) in self.origins_of(space, &[device]) {
            self.store.each(&Prefix::<CommitId>::origin(&space, &collection, &origin), |id, entry| {
                if let CommitEntry::Record(record) = entry {
                    let commit = load::commit(&self.store, space, origin, &record, &|_| false)?;
                    let in_part = record.slots.iter().any(|slot| matches!(slot, SlotRecord::Blind(_)));
                    let mut follows = commit.follows();
                    let hash = commit.hash();
                    let other: Option<Known> = records.remove(&hash);
                    follows.extend(other.into_iter().flat_map(|other| other.follows));
                    records.insert(hash, Known { id, record, follows, in_part });
                }
                Ok::<(), ReplicaError>(())
            })?;
        }
        Ok(records)
    }

    fn origins_of(&self, space: SpaceId, devices: &[PeerId]) -> Vec<(CollectionName, Origin, Oseq)> {
        let collections = self.spaces.get(&space).map(|known| &known.collections);
        let mut origins = Vec::new();
        for (collection, state) in collections.into_iter().flatten() {
            let of = state.vector.iter().filter(|(origin, _)| devices.contains(&origin.peer));
            origins.extend(of.map(|(origin, seen)| (collection.clone(), *origin, Oseq(seen.highest()))));
        }
        origins
    }

    /// Makes the cut of a removal: what is applied here of the devices' work.
    ///
    /// It names the last commit of every chain, the newest first if they are too many; then commits one, two, four
    /// and so on before them, and others at equal distances, as far as there is room. Those let a device that has
    /// only a part of a chain tell that the part stands.
    pub(super) fn cut_of(&self, space: SpaceId, devices: &[PeerId]) -> Result<Cut, ReplicaError> {
        let origins = self.origins_of(space, devices);
        let mut inner = BTreeSet::new();
        let mut last: Vec<(Position, CommitHash)> = Vec::new();
        for (collection, origin, _) in &origins {
            let prefix = Prefix::<CommitId>::origin(&space, collection, origin);
            if let Some((id, entry)) = self.store.page(&prefix, None, 1)?.pop() {
                inner.extend(self.hash_of(id, entry)?.2);
            }
            if let Some((id, entry)) = self.store.last(&prefix)? {
                let (position, hash, _) = self.hash_of(id, entry)?;
                last.push((position, hash));
            }
        }
        last.sort_unstable_by(|a, b| b.cmp(a));
        let ends = last.into_iter().map(|(_, hash)| hash).filter(|hash| !inner.contains(hash));
        let mut cut: BTreeSet<CommitHash> = ends.take(CUT_HASHES_MAX).collect();
        for (collection, origin, oseq) in marks(&origins) {
            if cut.len() >= CUT_HASHES_MAX {
                break;
            }
            let id = CommitId { space, collection, origin, oseq };
            if let Some(entry) = self.store.get(&id)? {
                cut.insert(self.hash_of(id, entry)?.1);
            }
        }
        Ok(Cut::new(cut)?)
    }

    /// The place, the hash and what a stored commit follows.
    fn hash_of(
        &self,
        id: CommitId,
        entry: CommitEntry,
    ) -> Result<(Position, CommitHash, Vec<CommitHash>), ReplicaError> {
        let (space, origin) = (id.space, id.origin);
        let (_, record) = load::resolve(&self.store, id, entry)?;
        let commit = load::commit(&self.store, space, origin, &record, &|_| false)?;
        Ok((record.position, commit.hash(), commit.follows()))
    }

    /// Returns commits of the quarantine that may count together with those that were just held: those that
    /// they wait for and those that wait for them, when there is one among them that may vouch for another. When they are
    /// too many, all of the quarantine is judged later: see [`super::crowd`].
    pub(super) fn judged_together(
        &mut self,
        space: SpaceId,
        seeds: &BTreeSet<CommitHash>,
    ) -> BTreeSet<HeldId> {
        let Some(known) = self.spaces.get(&space).filter(|known| known.held.has_unvouched()) else {
            return BTreeSet::new();
        };
        let liars = known.clashes.liars();
        // One that nobody follows is vouched for by none.
        let seeds = seeds.iter().filter_map(|hash| known.held.id(hash));
        let seeds = seeds.filter(|id| {
            known.held.cause(id) == Some(HeldCause::MissingDependency) || known.held.is_followed(id)
        });
        let (together, more) = known.held.together(seeds, &liars, JUDGED_TOGETHER_MAX);
        if more {
            self.note_crowd(space);
            return BTreeSet::new();
        }
        let waits = |id: &HeldId| known.held.cause(id) == Some(HeldCause::MissingDependency);
        let waiting = together.iter().filter(|id| waits(id)).count();
        if waiting > 0 && waiting < together.len() { together } else { BTreeSet::new() }
    }
}

/// The removals that bind a commit.
fn bound(membership: &Membership, commit: &Incoming) -> Result<BTreeSet<StatementHash>, ReplicaError> {
    let parts = commit.commit.parts();
    let collections: Vec<&CollectionName> = parts.iter().map(|(collection, _)| collection).collect();
    Ok(membership.binding(&commit.commit.origin.peer, &collections, &commit.commit.at)?)
}

/// What among `owed` a commit speaks under for what it follows: the removals that bind it and reach it, those of others
/// that it had not heard of, and the clashes of others. `of_it` is what binds it and what it owes; then comes its device,
/// and the position that it names.
pub(super) fn speaks(
    membership: &Membership,
    suspended: &BTreeMap<StatementHash, PeerId>,
    owed: &BTreeSet<StatementHash>,
    of_it: (&BTreeSet<StatementHash>, &BTreeSet<StatementHash>),
    (device, at): (&PeerId, &[StatementHash]),
) -> Result<BTreeSet<StatementHash>, ReplicaError> {
    let (bound, owes) = of_it;
    let (clashes, removals): (BTreeSet<StatementHash>, BTreeSet<StatementHash>) =
        owed.iter().filter(|owed| **owed != NOBODY).partition(|owed| suspended.contains_key(owed));
    let of_others: BTreeSet<StatementHash> = removals.difference(bound).copied().collect();
    let mut speaks = membership.unheard(&of_others, at)?;
    speaks.extend(removals.intersection(bound).filter(|removal| !owes.contains(removal)));
    speaks.extend(clashes.into_iter().filter(|clash| suspended.get(clash) != Some(device)));
    Ok(speaks)
}

/// The collections of the leaves of a record that are open here.
pub(super) fn collections_of(record: &CommitRecord) -> Vec<&CollectionName> {
    let mut collections: Vec<&CollectionName> = super::feed::collections(record).collect();
    collections.dedup();
    collections
}

/// The numbers of commits that a cut names besides the ends: the last of every incarnation, then those at growing
/// distances before it, nearest first, and then at equal ones.
fn marks(origins: &[(CollectionName, Origin, Oseq)]) -> Vec<(CollectionName, Origin, Oseq)> {
    let longest = origins.iter().map(|(.., last)| last.0).max().unwrap_or(0);
    let total: u64 = origins.iter().map(|(.., last)| last.0).fold(0, u64::saturating_add);
    let step = (total / CUT_HASHES_MAX as u64).max(1);
    let growing = std::iter::successors(Some(1_u64), |distance| distance.checked_mul(2));
    let growing = growing.take_while(|distance| *distance < longest);
    let equal = (1..=CUT_HASHES_MAX as u64).map(|count| count.saturating_mul(step));
    let mut marks = Vec::new();
    for distance in std::iter::once(0).chain(growing).chain(equal.take_while(|distance| *distance < longest))
    {
        let far = origins.iter().filter(|(.., last)| last.0 > distance);
        let mark = |(collection, origin, last): &(CollectionName, Origin, Oseq)| {
            (collection.clone(), *origin, Oseq(last.0 - distance))
        };
        marks.extend(far.map(mark));
    }
    marks
}
