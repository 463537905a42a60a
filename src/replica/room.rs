//! Who may take how much of the room in a version vector.
//!
//! A vector names every origin whose commits came, and has an end. So what a commit of an origin that it does not name
//! finds there depends on whose it is. A member's share is that of all its devices together: it enrols as many as it
//! likes.
//!
//! | Whose | Is let in while |
//! |---|---|
//! | this device's own | there is room at all; the last [`ORIGINS_KEPT`] places are its alone |
//! | a member's | it has fewer than [`ORIGINS_KEPT`] |
//! | a member's | it has fewer than [`ORIGINS_PER_MEMBER_MAX`], and the vector fewer than [`ORIGINS_SHARED_MAX`] |
//! | a member's, and others built on it | the vector has fewer than [`ORIGINS_WANTED_MAX`] |
//! | a removed device's | its member has fewer than [`ORIGINS_KEPT`], or it counts, by a cut or by who vouches for it |
//! | nobody's that is known | the vector has fewer than [`ORIGINS_OF_STRANGERS_MAX`] |
//!
//! Which of a member's excess is let in depends on the order in which it comes, so two devices that were shown different
//! lives of a liar hold different ones. What others built on is let in at both all the same, and so is what counts
//! of a device that was removed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::draft::Draft;
use super::names::{Begun, Names, Shares};
use super::planted::Check;
use super::rebuild::Changes;
use super::space::Space;
use super::{Replica, ReplicaError, load};
use crate::access::{Member, Membership};
use crate::id::{
    ChangeHash, CollectionName, EntityId, Incarnation, Missing, Origin, Oseq, PeerId, Root, Seen, SpaceId,
    Vector,
};
use crate::limits::{
    COLLECTIONS_KEPT, JUDGED_TOGETHER_MAX, ORIGINS_KEPT, ORIGINS_OF_STRANGERS_MAX, ORIGINS_PER_MEMBER_MAX,
    ORIGINS_SHARED_MAX, ORIGINS_WANTED_MAX, VECTOR_ORIGINS_MAX,
};
use crate::store::keyspaces::{Batch, CommitId, HeadKey, Prefix, RootKey, SlotRecord};

/// Commits that are looked at to find those that others built on, of all that a peer has no room for.
const WANTED_COMMITS: usize = 4_096;
/// And of one origin.
const WANTED_COMMITS_OF_ORIGIN: usize = 16;
/// Documents that are read for it.
const WANTED_ENTITIES: usize = 64;

/// The room in one version vector, of this device or of a peer.
#[derive(Debug)]
pub(super) struct Room<'a> {
    membership: &'a Membership,
    /// Whose vector it is.
    holder: PeerId,
    vector: Option<&'a Vector>,
    /// Origins that it does not name and that are let in already.
    new: Cow<'a, BTreeSet<Origin>>,
}

/// What a draft takes of the room, beside what is taken in the space.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    names: Begun,
    /// By collection, the origins that its vector does not name.
    origins: BTreeMap<CollectionName, BTreeSet<Origin>>,
    shares: Shares,
}

impl Taken {
    /// Notes an origin that the vector of a collection does not name.
    pub(super) fn add(&mut self, collection: &CollectionName, origin: Origin, begins: Begins) {
        if begins == Begins::Collection {
            self.names.entry(collection.clone()).or_default().insert(origin.peer);
        }
        self.origins.entry(collection.clone()).or_default().insert(origin);
    }
}

/// What a commit of a new origin begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// A collection that is not in the space.
    Collection,
    /// Only its own part of a vector.
    Origin,
}

/// Changes that arrive together: by what they follow, their authors and what else these bring.
pub(super) type Followers = BTreeMap<ChangeHash, Vec<(PeerId, Vec<ChangeHash>)>>;

impl<'a> Room<'a> {
    pub(super) fn new(membership: &'a Membership, holder: PeerId, vector: Option<&'a Vector>) -> Self {
        Self { membership, holder, vector, new: Cow::default() }
    }

    /// The same with origins that are let in already, none of which it names.
    fn beside(self, new: &'a BTreeSet<Origin>) -> Self {
        Self { new: Cow::Borrowed(new), ..self }
    }

    /// Lets in an origin, whether there is room or not.
    pub(super) fn take(&mut self, origin: Origin) {
        if !self.names(&origin) {
            self.new.to_mut().insert(origin);
        }
    }

    /// As [`Room::lets_in`], and takes the place.
    pub(super) fn takes(&mut self, origin: &Origin, wanted: impl FnOnce() -> bool) -> bool {
        let is_let_in = self.lets_in(origin, wanted);
        if is_let_in {
            self.take(*origin);
        }
        is_let_in
    }

    /// Tells whether an origin is let in. `wanted` tells whether others built on it, and is asked only when that counts.
    pub(super) fn lets_in(&self, origin: &Origin, wanted: impl FnOnce() -> bool) -> bool {
        if self.names(origin) {
            return true;
        }
        let taken = self.vector.map_or(0, Vector::len) + self.new.len();
        if origin.peer == self.holder {
            return taken < VECTOR_ORIGINS_MAX;
        }
        if taken < ORIGINS_KEPT {
            return true;
        }
        if taken >= VECTOR_ORIGINS_MAX - ORIGINS_KEPT {
            return false;
        }
        let Some(member) = self.membership.author_of(&origin.peer) else {
            return taken < ORIGINS_OF_STRANGERS_MAX;
        };
        let is_removed = self.membership.role(&origin.peer).is_none();
        let is_shared = !is_removed && taken < ORIGINS_SHARED_MAX;
        let share = if is_shared { ORIGINS_PER_MEMBER_MAX } else { ORIGINS_KEPT };
        taken < share || self.of(member) < share || taken < ORIGINS_WANTED_MAX && wanted()
    }

    fn names(&self, origin: &Origin) -> bool {
        self.vector.is_some_and(|vector| vector.seen(origin).is_some()) || self.new.contains(origin)
    }

    /// How many origins it has of a member's devices, those removed among them.
    fn of(&self, member: &Member) -> usize {
        let of_device = |peer: PeerId| {
            let lives = |life| Origin { peer, incarnation: Incarnation(life) };
            self.vector.map_or(0, |vector| vector.lives_of(&peer))
                + self.new.range(lives(0)..=lives(u64::MAX)).count()
        };
        member.devices.iter().map(|device| of_device(device.peer)).sum()
    }
}

impl Space {
    /// Tells whether a device was in the space and is not any more.
    pub(super) fn is_removed(&self, device: &PeerId) -> bool {
        self.removals.contains_key(device) && self.membership.role(device).is_none()
    }
}

impl Replica {
    /// Tells whether the vectors have room for the origin of a commit, with all that is staged. `wanted` tells whether
    /// others built on the commit, or it counts though its device was removed. Whose the known names are is counted once for a
    /// draft: a liar sends batches of names for which there is no room, each of which has to be judged.
    pub(super) fn has_room(
        &self,
        draft: &Draft,
        origin: Origin,
        parts: &[(CollectionName, Oseq)],
        wanted: &dyn Fn() -> bool,
    ) -> bool {
        let Some(space) = self.spaces.get(&draft.space) else { return false };
        if self.lacks(Check::Room) {
            return true;
        }
        if parts.iter().any(|(collection, _)| !space.collections.contains_key(collection)) {
            let names = Names::new(&space.membership, &space.collections, |state| &state.vector);
            let mut names = names.beside(&draft.taken.names, &draft.taken.shares);
            let Some(((last, _), others)) = parts.split_last() else { return true };
            if others.iter().any(|(collection, _)| names.takes(collection, origin.peer, wanted).is_err())
                || names.lets_in(last, origin.peer, wanted).is_err()
            {
                return false;
            }
        }
        parts.iter().all(|(collection, _)| {
            let vector = space.collections.get(collection).map(|state| &state.vector);
            if vector.is_some_and(|vector| vector.seen(&origin).is_some()) {
                return true;
            }
            let room = Room::new(&space.membership, self.peer, vector);
            match draft.taken.origins.get(collection) {
                Some(new) => room.beside(new).lets_in(&origin, wanted),
                None => room.lets_in(&origin, wanted),
            }
        })
    }

    /// Tells whether a commit of another member waits for one of these changes of a device, in quarantine or among those
    /// that arrive, or for what waits for it.
    pub(super) fn is_wanted(
        &self,
        space: SpaceId,
        author: &PeerId,
        changes: Vec<ChangeHash>,
        arriving: &Followers,
    ) -> bool {
        let Some(known) = self.spaces.get(&space) else { return false };
        let membership = &known.membership;
        let (mut next, mut seen) = (changes, BTreeSet::new());
        while let Some(change) = next.pop() {
            if seen.len() >= JUDGED_TOGETHER_MAX || !seen.insert(change) {
                continue;
            }
            for (by, brings) in arriving.get(&change).into_iter().flatten() {
                if is_another(membership, by, author) {
                    return true;
                }
                next.extend(brings);
            }
            for id in known.held.waiting_for([change].iter()) {
                if is_another(membership, &id.0, author) {
                    return true;
                }
                next.extend(known.held.changes(&id));
            }
        }
        false
    }

    /// Of commits that a peer lacks, the origins that other members built on, and those that count though their device was
    /// removed. Only so many commits and documents are looked at: the rest comes to light when the two compare entity by
    /// entity.
    pub(super) fn wanted_of(
        &self,
        space: SpaceId,
        collection: &CollectionName,
        lacks: &[Missing],
    ) -> Result<BTreeSet<Origin>, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let (mut wanted, mut entities) = (BTreeSet::new(), BTreeMap::new());
        let mut left = WANTED_COMMITS;
        for Missing { origin, first, last } in lacks {
            if known.is_removed(&origin.peer) {
                wanted.insert(*origin);
                continue;
            }
            let id = |oseq| CommitId { space, collection: collection.clone(), origin: *origin, oseq };
            let page = self.store.range(&id(*first), &id(*last), WANTED_COMMITS_OF_ORIGIN.min(left))?;
            left -= page.len();
            for (id, entry) in page {
                let (_, record) = load::resolve(&self.store, id, entry)?;
                for slot in &record.slots {
                    let SlotRecord::Open { collection: of, entity, head, .. } = slot else { continue };
                    let key = HeadKey { space, collection: collection.clone(), entity: *entity };
                    if of != collection
                        || self.store.get(&key)?.is_none_or(|known| known.heads.contains(head))
                    {
                        continue;
                    }
                    if !entities.contains_key(entity) && entities.len() < WANTED_ENTITIES {
                        entities.insert(*entity, self.built_on(space, &(collection.clone(), *entity))?);
                    }
                    if entities.get(entity).is_some_and(|built_on| built_on.contains(origin)) {
                        wanted.insert(*origin);
                    }
                }
            }
        }
        Ok(wanted)
    }

    /// The origins of changes of an entity that another member built on, or on what follows them; and those that count
    /// though their device was removed.
    pub(super) fn built_on(
        &self,
        space: SpaceId,
        place: &(CollectionName, EntityId),
    ) -> Result<BTreeSet<Origin>, ReplicaError> {
        let known = self.spaces.get(&space).ok_or(ReplicaError::NotFound { what: "space" })?;
        let Changes { all, .. } = self.changes_of(space, place)?;
        // Whose changes follow a change. Each came behind those that it follows.
        let mut behind: BTreeMap<ChangeHash, BTreeSet<PeerId>> = BTreeMap::new();
        let mut built_on = BTreeSet::new();
        for (_, change, header) in all.iter().rev() {
            let mut authors = behind.remove(&header.hash).unwrap_or_default();
            let peer = change.origin.peer;
            let by_another = authors.iter().any(|by| is_another(&known.membership, by, &peer));
            if by_another || known.is_removed(&peer) {
                built_on.insert(change.origin);
            }
            authors.insert(peer);
            for dep in &header.deps {
                behind.entry(*dep).or_default().extend(&authors);
            }
        }
        Ok(built_on)
    }

    /// Takes origins of removed devices out of the vectors of which nothing counts here, where their members have more
    /// than the share that each may have, or alone wrote to a collection. What is held of them stays in
    /// quarantine; nobody who has heard of the removal counts it and sends it.
    pub(super) fn free_room(&mut self, space: SpaceId) -> Result<(), ReplicaError> {
        let Some(known) = self.spaces.get(&space) else { return Ok(()) };
        let mut free: BTreeMap<(CollectionName, Origin), Seen> = BTreeMap::new();
        for (collection, state) in &known.collections {
            let room = Room::new(&known.membership, self.peer, Some(&state.vector));
            let of_author = |peer| known.membership.author_of(peer).map_or(0, |member| room.of(member));
            let is_gone = |peer: &PeerId| known.is_removed(peer) && *peer != self.peer;
            let is_free =
                known.collections.len() > COLLECTIONS_KEPT && state.vector.peers().all(|peer| is_gone(&peer));
            for (origin, _) in state.vector.iter().filter(|_| is_free || state.vector.len() > ORIGINS_KEPT) {
                let is_removed = is_gone(&origin.peer) && (is_free || of_author(&origin.peer) > ORIGINS_KEPT);
                let of_origin = Prefix::<CommitId>::origin(&space, collection, origin);
                if is_removed && self.store.page(&of_origin, None, 1)?.is_empty() {
                    free.insert((collection.clone(), *origin), Seen::default());
                }
            }
        }
        if !free.is_empty() {
            let mut batch = Batch::new();
            self.stage_vectors(space, &free, &mut batch);
            self.store.write(batch)?;
            self.take_vectors(space, free)?;
        }
        self.free_names(space)
    }

    /// Forgets collections to which nobody writes any more.
    fn free_names(&mut self, space: SpaceId) -> Result<(), ReplicaError> {
        let Some(known) = self.spaces.get(&space) else { return Ok(()) };
        let nobodys = known.collections.iter().filter(|(_, state)| state.vector.is_empty());
        let free = nobodys.filter(|(_, state)| state.root == Root::EMPTY);
        let free: Vec<CollectionName> = free.map(|(collection, _)| collection.clone()).collect();
        if free.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        free.iter().for_each(|name| batch.remove(&RootKey { space, collection: name.clone() }));
        self.store.write(batch)?;
        if let Some(known) = self.spaces.get_mut(&space) {
            free.iter().for_each(|name| drop(known.collections.remove(name)));
        }
        Ok(())
    }
}

/// Tells whether a device is one of a member who is in the space and is not the author.
fn is_another(membership: &Membership, device: &PeerId, author: &PeerId) -> bool {
    let of = |peer| membership.author_of(peer).map(|member| member.id);
    membership.role(device).is_some() && of(device) != of(author)
}
