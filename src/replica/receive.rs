//! Commits that a peer sent: read, attributed and authorised before any document is loaded.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::crowd::Pace;
use super::draft::Draft;
use super::held::HeldId;
use super::planted::Check;
use super::room::Followers;
use super::space::Space;
use super::{Replica, ReplicaError, load};
use crate::access::{AccessError, Action, Commit, Leaf, Slot};
use crate::doc::{Header, gate};
use crate::exchange::{Answer, CommitKey};
use crate::id::{
    ActorId, ChangeHash, CollectionName, CommitHash, Origin, Oseq, PeerId, Position, SpaceId, StatementHash,
};
use crate::limits::HELD_MISSING_MAX;
use crate::store::keyspaces::{CommitId, CommitRecord, HeadKey, HeldCause, HeldKey, HeldRecord, Since};
use crate::time::{Now, Timestamp};

/// A commit that may be applied if its documents let it.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) commit: Commit,
    pub(super) hash: CommitHash,
    pub(super) bytes: Arc<[u8]>,
    /// For each slot that is to be applied, its header.
    pub(super) headers: Vec<Option<Header>>,
    /// The stored record, when other leaves of the commit were applied before.
    pub(super) existing: Option<(CommitId, CommitRecord)>,
    pub(super) source: Source,
    /// The removals that bind it and do not let it stand: under each of them it needs a voucher.
    pub(super) owes: BTreeSet<StatementHash>,
    /// The commits right before it in chains in which it counts only if they do.
    pub(super) behind: Vec<CommitHash>,
    /// Of the removals that any commit of its group owes: those under which it vouches for what it follows.
    pub(super) speaks: BTreeSet<StatementHash>,
}

impl Incoming {
    /// A commit of which nothing is known yet.
    pub(super) fn new(commit: Commit, hash: CommitHash, bytes: Vec<u8>, source: Source) -> Self {
        let (owes, speaks) = (BTreeSet::new(), BTreeSet::new());
        let (headers, existing, behind) = (Vec::new(), None, Vec::new());
        Self { commit, hash, bytes: bytes.into(), headers, existing, source, owes, behind, speaks }
    }
}

/// Where a commit comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) from: PeerId,
    pub(super) arrived: Timestamp,
    /// How long it has waited. See [`super::expire`].
    pub(super) since: Since,
    /// Its place in quarantine, when it comes out of there or takes the place of what is there.
    pub(super) held: Option<HeldId>,
    /// A peer just sent it.
    pub(super) sent: bool,
}

/// Why a commit is not applied now.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) cause: HeldCause,
    pub(super) missing: Vec<ChangeHash>,
}

impl From<HeldCause> for Hold {
    fn from(cause: HeldCause) -> Self {
        Self { cause, missing: Vec::new() }
    }
}

/// Which slots of a commit are to be applied.
struct Fresh {
    /// For each slot.
    slots: Vec<bool>,
    /// The record, when some of the commit is here.
    existing: Option<(CommitId, CommitRecord)>,
    /// Another commit of the same origin has one of its numbers.
    equivocates: bool,
}

/// What inspection found.
enum Found {
    Fresh(Box<Incoming>),
    Duplicate,
    /// It is in quarantine already.
    Waiting(Origin, Vec<(CollectionName, Oseq)>),
    Held(Box<Incoming>, Hold),
    /// Its author is nobody any more. Who has not heard that counts it, and passes it on.
    LeftOut(CommitKey),
    Refused(String),
}

/// What a commit brings that is held already.
enum Again {
    /// Leaves that were closed, or the word of a peer for what damage put into quarantine: this is what is to be held,
    /// with the leaves open that are open in either. With it, since when it waits.
    Wider(Vec<u8>, Since),
    /// A part of what damage put into quarantine here. It may be applied without the rest.
    Part,
    Same,
}

/// Commits of one batch, sorted by what is to become of them.
struct Sorted {
    draft: Draft,
    fresh: Vec<Incoming>,
    hashes: BTreeSet<CommitHash>,
    /// The numbers of the fresh ones.
    numbers: BTreeSet<((CollectionName, Oseq), Origin)>,
    /// The numbers of all.
    seen: BTreeSet<((CollectionName, Oseq), Origin)>,
}

impl Sorted {
    fn new(space: SpaceId, position: Position) -> Self {
        let draft = Draft::new(space, position);
        let (numbers, seen) = (BTreeSet::new(), BTreeSet::new());
        Self { draft, fresh: Vec::new(), hashes: BTreeSet::new(), numbers, seen }
    }
}

/// What became of the commits of one question.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) applied: usize,
    pub(super) duplicate: usize,
    pub(super) held: Vec<CommitKey>,
    pub(super) left_out: Vec<CommitKey>,
    /// Those that were held in this round, some of them not for the first time.
    pub(super) newly_held: BTreeSet<CommitHash>,
    /// Those that were applied in this round though others that are held claim the same numbers.
    pub(super) disputed: Vec<Commit>,
    /// Those that were applied in this round of devices that equivocate: others may come right behind them.
    pub(super) links: Vec<CommitHash>,
    pub(super) refused: usize,
    pub(super) reason: Option<String>,
    /// Commits that came twice in one go, with other leaves open: the second is taken after the first.
    again: Vec<(Vec<u8>, Source)>,
    /// How much is judged.
    pace: Pace,
}

impl Tally {
    /// Of what nobody waits for.
    pub(super) fn at_leisure() -> Self {
        Self { pace: Pace::AtLeisure, ..Self::default() }
    }

    pub(super) fn refuse(&mut self, reason: String) {
        self.refused += 1;
        self.reason.get_or_insert(reason);
    }
}

impl Replica {
    pub(super) fn receive(
        &mut self,
        now: Now,
        space: SpaceId,
        from: PeerId,
        commits: Vec<Vec<u8>>,
    ) -> Result<Answer, ReplicaError> {
        if !self.spaces.contains_key(&space) {
            return Err(ReplicaError::NotFound { what: "space" });
        }
        self.waits.seen = now.instant;
        let since = Since::OpenMs(self.waits.open_ms());
        let source = Source { from, arrived: now.wall, since, held: None, sent: true };
        let arrived = commits.into_iter().map(|bytes| (bytes, source)).collect();
        let mut tally = Tally::default();
        self.take(space, arrived, &mut tally)?;
        self.metrics.commits_remote.add(tally.applied as u64);
        self.metrics.commits_duplicate.add(tally.duplicate as u64);
        self.metrics.commits_quarantined.add(tally.held.len() as u64);
        self.metrics.refused.add((tally.refused + tally.left_out.len()) as u64);
        let Tally { applied, duplicate, held, left_out, refused, reason, .. } = tally;
        Ok(Answer::Received { applied, duplicate, held, left_out, refused, reason, position: self.position })
    }

    /// Tries commits again that were held for one of `causes`.
    pub(super) fn retry(&mut self, space: SpaceId, causes: &[HeldCause]) -> Result<(), ReplicaError> {
        let held = self.spaces.get(&space).map(|known| known.held.held_for(causes)).unwrap_or_default();
        let arrived = self.read_held(space, &held)?;
        let mut tally = Tally::at_leisure();
        self.take(space, arrived, &mut tally)?;
        self.metrics.commits_remote.add(tally.applied as u64);
        Ok(())
    }

    /// Takes commits, and then those of the quarantine that waited for them, until nothing moves.
    pub(super) fn take(
        &mut self,
        space: SpaceId,
        arrived: Vec<(Vec<u8>, Source)>,
        tally: &mut Tally,
    ) -> Result<(), ReplicaError> {
        self.or_later(space, |replica| replica.take_all(space, arrived, tally))
    }

    fn take_all(
        &mut self,
        space: SpaceId,
        mut arrived: Vec<(Vec<u8>, Source)>,
        tally: &mut Tally,
    ) -> Result<(), ReplicaError> {
        // Those that are tried again because they may count together are not tried a second time for that.
        let mut together = BTreeSet::new();
        while !arrived.is_empty() {
            tally.newly_held.clear();
            let applied = self.take_once(space, arrived, tally)?;
            let disputed = std::mem::take(&mut tally.disputed);
            let thaws = self.heed_clashes(space, &tally.newly_held, &disputed, tally.pace)?;
            tally.newly_held.retain(|hash| !together.contains(hash));
            let judged = self.judged_together(space, &tally.newly_held);
            let Some(known) = self.spaces.get(&space) else { return Ok(()) };
            together = judged.iter().filter_map(|id| known.held.hash(id)).collect();
            let mut released = known.held.waiting_for(applied.iter());
            let links = std::mem::take(&mut tally.links);
            released.extend(links.iter().flat_map(|link| known.held.behind(link)));
            released.extend(judged);
            if thaws {
                // What hangs together is found again by what waits, or there is too much of it: then all is looked at.
                let causes: &[HeldCause] = match tally.pace {
                    Pace::AtOnce => &[HeldCause::Equivocation],
                    Pace::AtLeisure => &HeldCause::MAY_PASS,
                };
                released.extend(known.held.held_for(causes));
            }
            arrived = self.read_held(space, &released)?;
            arrived.append(&mut tally.again);
        }
        Ok(())
    }

    pub(super) fn read_held(
        &self,
        space: SpaceId,
        held: &BTreeSet<HeldId>,
    ) -> Result<Vec<(Vec<u8>, Source)>, ReplicaError> {
        let mut read = Vec::with_capacity(held.len());
        for (author, number) in held {
            if let Some(record) = self.store.get(&HeldKey { space, author: *author, number: *number })? {
                let held = Some((*author, *number));
                let HeldRecord { from, arrived, since, commit, .. } = record;
                read.push((commit, Source { from, arrived, since, held, sent: false }));
            }
        }
        Ok(read)
    }

    /// Takes commits in one batch, together with those of the quarantine that they show to be let stand by a
    /// removal. Returns the hashes of the changes that were applied.
    pub(super) fn take_once(
        &mut self,
        space: SpaceId,
        mut arrived: Vec<(Vec<u8>, Source)>,
        tally: &mut Tally,
    ) -> Result<Vec<ChangeHash>, ReplicaError> {
        let mut sorted = Sorted::new(space, self.position);
        let mut reached = BTreeSet::new();
        while !arrived.is_empty() {
            for (bytes, source) in arrived {
                self.sort(&mut sorted, bytes, source, tally)?;
            }
            let mut more = self.judge(space, &mut sorted.fresh, &BTreeSet::new())?;
            more.retain(|id| reached.insert(*id));
            arrived = self.read_held(space, &more)?;
        }
        self.apply(sorted.draft, sorted.fresh, tally)
    }

    /// Puts a commit among those that may be applied, or where else it belongs.
    fn sort(
        &mut self,
        sorted: &mut Sorted,
        bytes: Vec<u8>,
        source: Source,
        tally: &mut Tally,
    ) -> Result<(), ReplicaError> {
        let Sorted { draft, fresh, hashes, numbers, seen } = sorted;
        let (incoming, hold) = match self.inspect(draft.space, bytes, source)? {
            Found::Duplicate => {
                self.drop_held(draft, source);
                tally.duplicate += 1;
                return Ok(());
            }
            Found::Waiting(origin, parts) => return self.count_waiting(draft, origin, &parts, tally),
            Found::LeftOut(key) => {
                tally.left_out.push(key);
                return Ok(());
            }
            Found::Refused(reason) => {
                self.drop_held(draft, source);
                tally.refuse(reason);
                return Ok(());
            }
            Found::Fresh(incoming) => (incoming, None),
            Found::Held(incoming, hold) => (incoming, Some(hold)),
        };
        let origin = incoming.commit.origin;
        let parts = incoming.commit.parts();
        if !hashes.insert(incoming.hash) {
            if source.held.is_none() && parts.iter().any(|part| !seen.contains(&(part.clone(), origin))) {
                tally.again.push((incoming.bytes.to_vec(), source));
                return Ok(());
            }
            self.drop_held(draft, source);
            tally.duplicate += 1;
            return Ok(());
        }
        seen.extend(parts.iter().map(|part| (part.clone(), origin)));
        // Which of two with one number counts is judged when it is known that their device equivocates.
        let known = self.spaces.get(&draft.space);
        let clashes = |part: &(CollectionName, Oseq)| {
            known.is_some_and(|known| known.clashes.contains_key(&(part.0.clone(), origin)))
        };
        let taken = parts.iter().any(|part| numbers.contains(&(part.clone(), origin)) && !clashes(part));
        match hold {
            Some(hold) => self.hold(draft, &incoming, hold, tally),
            None if taken => self.hold(draft, &incoming, HeldCause::Equivocation.into(), tally),
            None => {
                numbers.extend(parts.into_iter().map(|part| (part, origin)));
                fresh.push(*incoming);
                Ok(())
            }
        }
    }

    /// A commit that came is in quarantine already. What damage took along does not count as received until a peer
    /// that has it sends it.
    fn count_waiting(
        &self,
        draft: &mut Draft,
        origin: Origin,
        parts: &[(CollectionName, Oseq)],
        tally: &mut Tally,
    ) -> Result<(), ReplicaError> {
        if self.has_room(draft, origin, parts, &|| false) {
            for (collection, oseq) in parts {
                self.stage_seen(draft, collection, origin, *oseq)?;
            }
        }
        tally.duplicate += 1;
        Ok(())
    }

    /// A commit that came out of quarantine and is no longer needed there.
    fn drop_held(&self, draft: &mut Draft, source: Source) {
        if let (Some(id), Some(known)) = (source.held, self.spaces.get(&draft.space)) {
            known.held.stage_remove(draft.space, id, &mut draft.held, &mut draft.batch);
        }
    }

    /// Judges a commit without its documents. Only failures of our own store are errors.
    fn inspect(&mut self, space: SpaceId, bytes: Vec<u8>, source: Source) -> Result<Found, ReplicaError> {
        let commit = match Commit::decode(space, &bytes) {
            Ok(commit) => commit,
            Err(error) => return Ok(Found::Refused(error.to_string())),
        };
        let parts = commit.parts();
        if parts.is_empty() {
            return Ok(Found::Refused("no leaf of the commit is open".to_owned()));
        }
        let hash = commit.hash();
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let again = known.held.id(&hash).filter(|_| source.held.is_none());
        if source.sent {
            self.answer_clash(space, &commit, &hash, source.from)?;
        }
        if let Some(held) = again {
            match self.again(space, &commit, held)? {
                // Leaves that were closed before are held from here on; it waits no longer for that.
                Again::Wider(bytes, since) => {
                    return self.inspect(space, bytes, Source { since, held: again, ..source });
                }
                Again::Part => {}
                Again::Same => return Ok(Found::Waiting(commit.origin, parts)),
            }
        }
        let Fresh { slots: fresh, existing, equivocates } = self.fresh_slots(&commit, hash)?;
        if !fresh.contains(&true) && !equivocates {
            return Ok(Found::Duplicate);
        }
        if let Err(error) = commit.verify()
            && !self.lacks(Check::Signature)
        {
            return Ok(Found::Refused(error.to_string()));
        }
        if commit.origin == self.origin() {
            // This store went back behind what it once sent. The next commit must not take these numbers.
            tracing::warn!("a commit of this device is not here; it takes a new incarnation");
            self.renew = true;
        }
        let headers = prescan(&commit, &fresh, self.lacks(Check::Attribution));
        let authorised = self.authorise(&commit, &parts);
        let (headers, hold) = match (headers, authorised) {
            (Err(what), _) => (Vec::new(), Some((HeldCause::Malformed, what.to_owned()))),
            (Ok(headers), Err((cause, rule))) => (headers, Some((cause, rule))),
            (Ok(headers), Ok(())) => (headers, equivocates.then(equivocation)),
        };
        let incoming = Box::new(Incoming { headers, existing, ..Incoming::new(commit, hash, bytes, source) });
        let Some((cause, reason)) = hold else { return Ok(Found::Fresh(incoming)) };
        let author = incoming.commit.origin.peer;
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        if !is_kept(known, &author, cause, source) {
            let key = CommitKey { origin: incoming.commit.origin, parts };
            return Ok(if known.enrols(&author) { Found::LeftOut(key) } else { Found::Refused(reason) });
        }
        let mut hold = Hold::from(cause);
        if cause == HeldCause::Equivocation
            && let Ok(headers) = prescan_all(&incoming.commit, self.lacks(Check::Attribution))
        {
            // It may count together with what it follows, and is found by that.
            let deps = headers.into_iter().flatten().flat_map(|header| header.deps);
            hold.missing = deps.take(HELD_MISSING_MAX).collect();
        }
        Ok(Found::Held(incoming, hold))
    }

    /// Compares a commit that came with what is held of it.
    fn again(&self, space: SpaceId, commit: &Commit, held: HeldId) -> Result<Again, ReplicaError> {
        let Some((mut held, record)) = self.held_commit(space, held)? else { return Ok(Again::Same) };
        let (mut wider, mut narrower) = (false, false);
        let mut slots = Vec::new();
        for (ours, other) in held.by_collection().zip(commit.by_collection()) {
            let is_wider = matches!((ours, other), ([Slot::Blind(_)], [Slot::Open { .. }, ..]));
            narrower |= matches!((ours, other), ([Slot::Open { .. }, ..], [Slot::Blind(_)]));
            wider |= is_wider;
            slots.extend_from_slice(if is_wider { other } else { ours });
        }
        held.slots = slots;
        // Damage holds a commit until all that it builds on is back, and of one of its collections nobody may have it.
        let by_damage = record.since == Since::Damage;
        // What a peer sends counts as received from then on.
        let since = if by_damage { Since::Ever } else { record.since };
        Ok(match (wider, narrower, by_damage) {
            (true, ..) | (false, false, true) => Again::Wider(held.encode(), since),
            (false, true, true) => Again::Part,
            (false, _, false) => Again::Same,
        })
    }

    /// Finds which slots of a commit are not here, the record of those that are, and whether another commit has
    /// one of its numbers.
    fn fresh_slots(&self, commit: &Commit, hash: CommitHash) -> Result<Fresh, ReplicaError> {
        let (space, origin) = (commit.space, commit.origin);
        let mut fresh = Fresh { slots: vec![false; commit.slots.len()], existing: None, equivocates: false };
        let mut recorded = BTreeSet::new();
        for (collection, oseq) in commit.parts() {
            // The store is asked and not the vector, which may have had no room for the number.
            let id = CommitId { space, collection: collection.clone(), origin, oseq };
            let Some((primary, record)) = load::record(&self.store, id)? else { continue };
            if record.signature != commit.signature.0
                && load::commit(&self.store, space, origin, &record, &|_| false)?.hash() != hash
            {
                fresh.equivocates = true;
                return Ok(fresh);
            }
            recorded.insert(collection);
            fresh.existing = Some((primary, record));
        }
        for (slot, fresh) in commit.slots.iter().zip(&mut fresh.slots) {
            let Slot::Open { leaf, .. } = slot else { continue };
            // A document that was lost to damage is made again of the commits that others have.
            *fresh = !recorded.contains(&leaf.collection) || !self.has_change(commit, leaf)?;
        }
        Ok(fresh)
    }

    /// Tells whether an entity has the change of a leaf.
    pub(super) fn has_change(&self, commit: &Commit, leaf: &Leaf) -> Result<bool, ReplicaError> {
        let (collection, entity) = (leaf.collection.clone(), leaf.entity);
        let head = self.store.get(&HeadKey { space: commit.space, collection, entity })?;
        let actor = ActorId::derive(&commit.space, &entity, &commit.origin);
        Ok(head.is_some_and(|head| head.seq(&actor) >= leaf.seq))
    }

    pub(super) fn authorise(
        &self,
        commit: &Commit,
        parts: &[(CollectionName, Oseq)],
    ) -> Result<(), (HeldCause, String)> {
        let Some(known) = self.spaces.get(&commit.space) else { return Ok(()) };
        let parts = if self.lacks(Check::Authorisation) { &[] } else { parts };
        for (collection, _) in parts {
            let judged = known.membership.may_at(&commit.origin.peer, Action::Write, collection, &commit.at);
            if let Err(error) = judged {
                let unknown = matches!(error, AccessError::UnknownPosition { .. });
                let cause = if unknown { HeldCause::UnknownPosition } else { HeldCause::NotAllowed };
                return Err((cause, error.to_string()));
            }
        }
        Ok(())
    }

    /// Leaves out a commit for which there was no room beside others that came with it. Where some of these turned out to
    /// take none, it is taken again. What is held of it stays held: that counts as received, and nobody sends it again.
    pub(super) fn leave_out(&self, draft: &Draft, incoming: &Incoming, tally: &mut Tally) {
        if !incoming.source.sent {
            return;
        }
        let (origin, parts) = (incoming.commit.origin, incoming.commit.parts());
        let wanted = || self.is_wanted_when_held(draft.space, incoming);
        if self.has_room(draft, origin, &parts, &wanted) {
            let source = Source { held: None, ..incoming.source };
            return tally.again.push((incoming.bytes.to_vec(), source));
        }
        tracing::debug!(author = %origin.peer.short(), "no room in the version vector");
        tally.left_out.push(CommitKey { origin, parts });
    }

    /// Tells whether others that are held built on a commit.
    fn is_wanted_when_held(&self, space: SpaceId, incoming: &Incoming) -> bool {
        let changes = incoming.commit.open().map(|(leaf, _)| leaf.head).collect();
        self.is_wanted(space, &incoming.commit.origin.peer, changes, &Followers::new())
    }

    /// Stages a commit for the quarantine. It counts as received, so that nobody sends it again. What is held of one that
    /// finds no room stays held.
    pub(super) fn hold(
        &self,
        draft: &mut Draft,
        incoming: &Incoming,
        hold: Hold,
        tally: &mut Tally,
    ) -> Result<(), ReplicaError> {
        let space = draft.space;
        let Some(known) = self.spaces.get(&space) else { return Ok(()) };
        let Commit { origin, .. } = incoming.commit;
        let parts = incoming.commit.parts();
        let again = !incoming.source.sent;
        if incoming.source.held.is_none() && known.held.id(&incoming.hash).is_some() {
            // A part of what is held.
            return self.count_waiting(draft, origin, &parts, tally);
        }
        let wanted = || self.is_wanted_when_held(space, incoming);
        // One that was held stays, though its origin was taken out of the vector since.
        if !again && !self.has_room(draft, origin, &parts, &wanted) {
            tracing::debug!(author = %origin.peer.short(), "no room in the version vector");
            tally.left_out.push(CommitKey { origin, parts });
            return Ok(());
        }
        let Source { from, arrived, since, .. } = incoming.source;
        let Hold { cause, missing } = hold;
        let record = HeldRecord { cause, arrived, from, since, missing, commit: incoming.bytes.to_vec() };
        let (held, batch) = (&mut draft.held, &mut draft.batch);
        let commit = (&incoming.commit, incoming.hash);
        if !known.held.stage_put(commit, incoming.source.held, &record, held, batch) {
            tracing::debug!(author = %origin.peer.short(), "no room in the quarantine");
            tally.left_out.push(CommitKey { origin, parts });
            return Ok(());
        }
        tally.newly_held.insert(incoming.hash);
        // One that was held before was counted then, unless damage took what it builds on: see `loss`.
        if !again {
            for (collection, oseq) in &parts {
                self.stage_seen(draft, collection, origin, *oseq)?;
            }
            tracing::debug!(author = %origin.peer.short(), ?cause, "commit held");
            tally.held.push(CommitKey { origin, parts });
        }
        Ok(())
    }
}

/// Nobody answers for a stranger's commit: only one that may yet turn out to be a member's is kept. So may what was kept
/// of a device whose enrolment does not count any more, for it may count again.
fn is_kept(known: &Space, author: &PeerId, cause: HeldCause, source: Source) -> bool {
    let belongs = cause == HeldCause::UnknownPosition || known.membership.author_of(author).is_some();
    belongs || source.held.is_some() && known.enrols(author)
}

fn equivocation() -> (HeldCause, String) {
    (HeldCause::Equivocation, "another commit has its number".to_owned())
}

/// Reads the headers of the changes in all open slots, as [`prescan`].
pub(super) fn prescan_all(commit: &Commit, any_actor: bool) -> Result<Vec<Option<Header>>, &'static str> {
    let open: Vec<bool> = commit.slots.iter().map(|slot| matches!(slot, Slot::Open { .. })).collect();
    prescan(commit, &open, any_actor)
}

/// Reads the headers of the changes in fresh slots, which must be what the leaves say.
pub(super) fn prescan(
    commit: &Commit,
    fresh: &[bool],
    any_actor: bool,
) -> Result<Vec<Option<Header>>, &'static str> {
    let mut headers = Vec::with_capacity(commit.slots.len());
    for (slot, fresh) in commit.slots.iter().zip(fresh) {
        let (Slot::Open { leaf, change }, true) = (slot, fresh) else {
            headers.push(None);
            continue;
        };
        let header = gate::prescan(change).map_err(|_| "a change does not pass the gate")?;
        let actor = ActorId::derive(&commit.space, &leaf.entity, &commit.origin);
        let named = header.hash == leaf.head && header.seq == leaf.seq && leaf.oseq.0 > 0;
        if !named || header.actor != actor && !any_actor {
            return Err("a change is not the one that its leaf names");
        }
        headers.push(Some(header));
    }
    Ok(headers)
}
