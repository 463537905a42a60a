//! Which collections count on a connection: those that both sides may read, and want.
//!
//! ```text
//! opening     each side tells its interests, and by which of the other's it made its digests
//! later       INTEREST when they change, then VECTORS both ways: what is held where something begins to flow
//! ```
//!
//! Where both want a collection live it is compared and sent both ways. Where one side alone does, the other sends
//! what it made itself. Two digests in the openings tell whether the first holds all of that; if not, it tells what
//! it holds, and is fed. Messages whose interests have been overtaken by newer ones are recognised by their
//! revisions.

use std::sync::Arc;

use super::check::Say;
use super::conn::CODE_PROTOCOL;
use super::{ConnId, Engine, Lane, Purpose, digest};
use crate::exchange::{Ask, Scope, SpaceState, Vectors};
use crate::id::{CollectionName, Interests, PeerId, SpaceId, Vector};
use crate::limits::HELLO_BYTES_MAX;
use crate::wire::{Digest, InterestTold, Message, Reach, Revisions};

/// What both sides of a session want.
#[derive(Debug, Default)]
pub(super) struct Wants {
    /// What this side wants, as the peer was told.
    pub(super) ours: Arc<Interests>,
    /// What the peer wants, as it said; until then as it was the last time.
    pub(super) theirs: Arc<Interests>,
    /// What `theirs` was when our opening was made.
    assumed: Arc<Interests>,
    pub(super) heard: bool,
    /// Ours did not fit into the opening.
    untold: bool,
    pub(super) revisions: Revisions,
    /// What the peer holds of what flows to it is being told.
    pub(super) owed: bool,
    /// The peer said what it holds of our own commits in collections that it alone wants.
    pub(super) own_known: bool,
}

/// Which interests a message was made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    Current,
    /// Newer ones have been told since. When the peer did not know of ours, it still waits for an answer.
    Older,
    /// The peer's own were never told, though they go ahead of what is made by them.
    Unheard,
}

impl Wants {
    /// Both want every collection.
    pub(super) fn is_everything(&self) -> bool {
        self.ours.is_all_live() && self.theirs.is_all_live()
    }

    pub(super) fn judge(&self, revisions: Revisions) -> Basis {
        let theirs = revisions.mirrored();
        if theirs == self.revisions {
            Basis::Current
        } else if theirs.yours > self.revisions.yours || theirs.mine > self.revisions.mine {
            Basis::Unheard
        } else {
            Basis::Older
        }
    }
}

impl Engine {
    /// The collections of a space that this node and a peer both may read.
    pub(super) fn may_both(&self, space: SpaceId, peer: &PeerId, collection: &CollectionName) -> bool {
        self.spaces.get(&space).is_some_and(|local| local.may_both(&self.me, peer, collection))
    }

    /// The collections that both may read and want live.
    pub(super) fn common(&self, conn: ConnId, space: SpaceId, collection: &CollectionName) -> bool {
        let Some(session) = self.sessions.get(&(conn, space)) else { return false };
        session.wants.ours.is_live(collection)
            && session.wants.theirs.is_live(collection)
            && self.may_both(space, &session.peer, collection)
    }

    pub(super) fn scope(&self, conn: ConnId, space: SpaceId) -> Scope {
        let wants = self.sessions.get(&(conn, space)).map(|session| &session.wants);
        wants.map_or_else(Scope::default, |wants| Scope {
            ours: Arc::clone(&wants.ours),
            theirs: Arc::clone(&wants.theirs),
            own_known: wants.own_known,
        })
    }

    pub(super) fn revisions(&self, conn: ConnId, space: SpaceId) -> Revisions {
        self.sessions.get(&(conn, space)).map(|session| session.wants.revisions).unwrap_or_default()
    }

    /// What a peer is told: nothing of collections that it may not read.
    fn interests_for(&self, space: SpaceId, peer: &PeerId) -> Interests {
        let Some(local) = self.spaces.get(&space) else { return Interests::default() };
        local.interests.told(|collection| self.may_both(space, peer, collection))
    }

    /// The interests that a session begins with.
    pub(super) fn first_wants(&self, space: SpaceId, peer: &PeerId) -> Wants {
        let ours = Arc::new(self.interests_for(space, peer));
        let theirs = self.interests.get(&(*peer, space)).cloned().unwrap_or_default();
        Wants { ours, theirs, ..Wants::default() }
    }

    /// The part of our opening that says which collections it covers.
    pub(super) fn tell_reach(&mut self, conn: ConnId, space: SpaceId) -> Option<Reach> {
        let bytes_max = self.opening_bytes_max(conn);
        let peer = self.sessions.get(&(conn, space))?.peer;
        let ours = Arc::new(self.interests_for(space, &peer));
        let session = self.sessions.get_mut(&(conn, space))?;
        let untold = ours.named.keys().map(|name| name.as_str().len() + 2).sum::<usize>() > bytes_max;
        let wants = &mut session.wants;
        (wants.assumed, wants.ours, wants.untold) = (Arc::clone(&wants.theirs), ours, untold);
        let (ours, theirs) = (Arc::clone(&wants.ours), Arc::clone(&wants.theirs));
        let state = self.sessions.get(&(conn, space))?.ours.as_ref()?;
        Some(Reach {
            wants: (!untold).then(|| Interests::clone(&ours)),
            assumes: (*theirs != Interests::default()).then(|| digest::of_interests(&theirs)),
            made: self.digest_unwanted(state, &peer, &ours, &self.me),
            held: self.digest_unwanted(state, &peer, &theirs, &peer),
        })
    }

    /// The digest of what `maker` made in the collections that it does not want live; absent when that is nothing.
    fn digest_unwanted(
        &self,
        state: &SpaceState,
        peer: &PeerId,
        interests: &Interests,
        maker: &PeerId,
    ) -> Option<Digest> {
        let unwanted = |collection: &CollectionName| {
            !interests.is_live(collection) && self.may_both(state.space, peer, collection)
        };
        let made = made_by(maker, state, unwanted);
        (!made.is_empty()).then(|| digest::of_vectors(&made))
    }

    /// How many bytes one opening may take for what can be told later as well.
    pub(super) fn opening_bytes_max(&self, conn: ConnId) -> usize {
        HELLO_BYTES_MAX / 2 / self.sessions_of(conn).len().max(1)
    }

    /// Takes the peer's interests out of its opening.
    pub(super) fn hear_reach(&mut self, conn: ConnId, space: SpaceId, reach: &Reach) {
        if let Some(wants) = &reach.wants {
            self.note_interests(conn, space, wants.clone());
        }
    }

    fn note_interests(&mut self, conn: ConnId, space: SpaceId, wants: Interests) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else { return };
        let (peer, wants) = (session.peer, Arc::new(wants));
        session.wants.heard = true;
        session.wants.theirs = Arc::clone(&wants);
        match wants.is_all_live() {
            true => self.interests.remove(&(peer, space)),
            false => self.interests.insert((peer, space), wants),
        };
    }

    /// Whether the peer made its opening by what this side really wants.
    pub(super) fn is_trusted(&self, conn: ConnId, space: SpaceId, reach: &Reach) -> bool {
        let Some(session) = self.sessions.get(&(conn, space)) else { return false };
        let ours = &session.wants.ours;
        let unchanged = session.wants.revisions == Revisions::default();
        unchanged && reach.assumes == (**ours != Interests::default()).then(|| digest::of_interests(ours))
    }

    /// What follows from the openings for the collections that one side alone wants live.
    pub(super) fn meet_one_way(&mut self, conn: ConnId, space: SpaceId, reach: &Reach, ours: &SpaceState) {
        let trusted = self.is_trusted(conn, space, reach);
        let Some(session) = self.sessions.get(&(conn, space)) else { return };
        let (peer, wants) = (session.peer, &session.wants);
        let (mine, assumed, theirs) = (&wants.ours, &wants.assumed, &wants.theirs);
        let made = self.digest_unwanted(ours, &peer, mine, &self.me);
        let held = self.digest_unwanted(ours, &peer, theirs, &peer);
        let holds_ours = trusted && made == reach.held;
        let unchanged = wants.revisions == Revisions::default();
        let hold_theirs = unchanged && assumed == theirs && held == reach.made;
        let tells = !hold_theirs && !theirs.is_all_live();
        let flows = |collection: &CollectionName| {
            theirs.is_live(collection) && !mine.is_live(collection) && self.may_both(space, &peer, collection)
        };
        let own = if holds_ours { made_by(&self.me, ours, flows) } else { Vectors::new() };
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            session.wants.own_known = holds_ours;
            session.sent.get_or_insert_default().extend(own);
        }
        if tells {
            self.tell_part(conn, space, ours);
        }
    }

    /// Our vectors where the peer sends only what it made itself: what is held here of that.
    pub(super) fn part_of(&self, conn: ConnId, state: &SpaceState) -> Vectors {
        let Some(session) = self.sessions.get(&(conn, state.space)) else { return Vectors::new() };
        let (peer, wants) = (session.peer, &session.wants);
        made_by(&peer, state, |collection| {
            wants.ours.is_live(collection)
                && !wants.theirs.is_live(collection)
                && self.may_both(state.space, &peer, collection)
        })
    }

    /// This side's interests, or what the peer may hear of them, may have changed.
    pub(super) fn tell_interests(&mut self, conn: ConnId, space: SpaceId) {
        if !self.is_opened(conn, space) {
            return;
        }
        let Some(session) = self.sessions.get(&(conn, space)).filter(|session| !session.parting) else {
            return;
        };
        let wants = self.interests_for(space, &session.peer);
        let slot = session.slot;
        let changed = wants != *session.wants.ours;
        let Some(session) = self.sessions.get_mut(&(conn, space)) else { return };
        if std::mem::take(&mut session.wants.untold) {
            let first = Interests::clone(&session.wants.ours);
            self.send_interests(conn, InterestTold { slot, revision: 0, wants: first });
        }
        if !changed {
            return;
        }
        let Some(session) = self.sessions.get_mut(&(conn, space)) else { return };
        session.wants.ours = Arc::new(wants.clone());
        session.wants.revisions.mine += 1;
        let revision = session.wants.revisions.mine;
        self.send_interests(conn, InterestTold { slot, revision, wants });
        self.restart(conn, space);
        // Before the openings have met, what is held is told there.
        if self.sessions.get(&(conn, space)).is_some_and(|session| session.sent.is_some()) {
            self.ask(Purpose::Vectors(conn, space, Say::Ask), Ask::State { space });
        }
    }

    fn send_interests(&mut self, conn: ConnId, told: InterestTold) {
        // In the lane of the vectors that follow them.
        self.send(conn, Lane::Bulk, &Message::Interest(told));
    }

    /// Something else counts than before: nothing is sent or compared until the peer said what it holds.
    fn restart(&mut self, conn: ConnId, space: SpaceId) {
        self.set_in_sync(conn, space, false);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else { return };
        session.wants.owed = session.sent.is_some();
        session.equal = false;
        session.heard = None;
        session.urgent = true;
        session.begin_rounds();
        if session.wants.owed {
            self.watch_begin(conn, space);
        }
    }

    pub(super) fn hear_interests(&mut self, conn: ConnId, space: SpaceId, told: InterestTold) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else { return };
        let wants = &mut session.wants;
        if told.revision == 0 && !wants.heard {
            self.note_interests(conn, space, told.wants);
            return self.meet(conn, space);
        }
        if !wants.heard || told.revision != wants.revisions.yours + 1 {
            return self.close(conn, CODE_PROTOCOL, "interests out of turn");
        }
        wants.revisions.yours = told.revision;
        let unmet = session.sent.is_none();
        self.note_interests(conn, space, told.wants);
        self.restart(conn, space);
        if unmet {
            // The opening was made by other interests; `meet` finds that out.
            self.meet(conn, space);
        }
        self.offer_indexes(conn, space);
    }
}

/// What a device made, of the collections that `counts` picks.
fn made_by(maker: &PeerId, state: &SpaceState, counts: impl Fn(&CollectionName) -> bool) -> Vectors {
    let mut made = Vectors::new();
    for (collection, state) in state.collections.iter().filter(|(collection, _)| counts(collection)) {
        let own = state.vector.iter().filter(|(origin, _)| origin.peer == *maker);
        let own = own.map(|(origin, seen)| (*origin, seen.clone())).collect();
        if let Ok(vector) = Vector::from_origins(own)
            && !vector.is_empty()
        {
            made.insert(collection.clone(), vector);
        }
    }
    made
}
