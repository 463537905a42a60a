//! Who sends what, where everybody is connected to everybody: each commit once to each, from one of them.
//!
//! ```text
//! all         NEIGHBOURS: with whom else the sender has the space open
//! A commits   A pushes to B and C; B knows that C is A's neighbour and withholds the commit from C
//! C has it    seen when B and C next find each other equal: nothing more is said of the commit
//! else        OFFER from B, within a second, or at once when A is gone;
//!             C answers WANTED with what it lacks, of each commit to one peer only
//! ```
//!
//! What is withheld does not count as sent. A peer that names neighbours to which it sends nothing delays them by
//! that second and cannot do more: the comparison of fingerprints, which looks at what is held and at nothing
//! else, is not touched by any of it.

use std::collections::BTreeSet;

use super::{ConnId, Engine, Lane, Purpose, digest, rights};
use crate::exchange::{Ask, CommitKey, Vectors, beyond};
use crate::id::{CollectionName, PeerId, SpaceId};
use crate::limits::{NEIGHBOURS_DELAY_MS, NEIGHBOURS_MAX, WITHHELD_MS};
use crate::time::Instant;
use crate::wire::{Message, Neighbour, Neighbours, Offer, Wanted};

/// What a session keeps about neighbours.
#[derive(Debug, Default)]
pub(super) struct Neighbourhood {
    /// Both openings have met: what is made here goes to the peer.
    met: bool,
    /// With whom else the peer has the space open. Bounded by `NEIGHBOURS_MAX`.
    theirs: BTreeSet<Neighbour>,
    /// What the peer was told of ours.
    told: Vec<Neighbour>,
    tell_due: Option<Instant>,
    /// Commits that another is to send to the peer, those that may still be on their way.
    withheld: Vectors,
    /// And those that have had the time to arrive.
    overdue: Vectors,
    withheld_due: Option<Instant>,
    /// Those of them that the peer was asked about.
    offered: Vectors,
    /// Commits that the peer was asked to send, and until when no other is asked for them.
    wanted: Option<(Vectors, Instant)>,
}

impl Neighbourhood {
    pub(super) fn due(&self) -> Option<Instant> {
        [self.tell_due, self.withheld_due].into_iter().flatten().min()
    }

    /// Whether another is to send this commit to the peer.
    pub(super) fn withholds(&self, key: &CommitKey) -> bool {
        [&self.withheld, &self.overdue, &self.offered].iter().any(|left| digest::holds(left, key))
    }

    /// What the peer holds is known: nothing is left to others of what it lacks.
    pub(super) fn forget_withheld(&mut self) {
        self.withheld.clear();
        self.overdue.clear();
        self.offered.clear();
        self.withheld_due = None;
    }

    /// Forgets what the two may not both read.
    pub(super) fn forget_unreadable(&mut self, both: &impl Fn(&CollectionName) -> bool) {
        for left in [&mut self.withheld, &mut self.overdue, &mut self.offered] {
            rights::retain(left, both);
        }
    }

    /// Adds what is left to others to what the peer holds or is being sent.
    pub(super) fn add_withheld(&self, have: &mut Vectors) {
        [&self.withheld, &self.overdue, &self.offered].iter().for_each(|left| digest::merge(have, left));
    }

    /// Leaves a commit to another. False when there is no room to remember it.
    pub(super) fn withhold(&mut self, key: &CommitKey, due: Instant) -> bool {
        let noted = key.parts.iter().all(|(collection, oseq)| {
            self.withheld.entry(collection.clone()).or_default().insert(key.origin, *oseq).is_ok()
        });
        self.withheld_due.get_or_insert(due);
        noted
    }
}

impl Engine {
    /// Both openings of a session have met.
    pub(super) fn neighbour_met(&mut self, conn: ConnId, space: SpaceId) {
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            session.neighbourhood.met = true;
            self.neighbours_changed(space);
        }
    }

    /// A session is over: nothing more comes from its peer, to nobody.
    pub(super) fn neighbour_gone(&mut self, conn: ConnId, space: SpaceId) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        if std::mem::take(&mut session.neighbourhood).met {
            self.offer_at_once(space);
            self.neighbours_changed(space);
        }
    }

    fn neighbours_changed(&mut self, space: SpaceId) {
        let due = self.now.instant.plus_ms(NEIGHBOURS_DELAY_MS);
        for (_, session) in self.sessions.iter_mut().filter(|((_, other), _)| *other == space) {
            session.neighbourhood.tell_due.get_or_insert(due);
        }
    }

    /// Does what is due for a session.
    pub(super) fn neighbours_due(&mut self, conn: ConnId, space: SpaceId) {
        let now = self.now.instant;
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let is_due = |due: &mut Option<Instant>| due.take_if(|due| *due <= now).is_some();
        let tell = is_due(&mut session.neighbourhood.tell_due);
        let offer = is_due(&mut session.neighbourhood.withheld_due);
        if tell {
            self.tell_neighbours(conn, space);
        }
        if offer {
            self.offer(conn, space);
        }
    }

    /// Says with whom else the space is open, unless the peer knows.
    fn tell_neighbours(&mut self, conn: ConnId, space: SpaceId) {
        let Some(peer) = self.peer_of(conn).filter(|_| self.is_opened(conn, space)) else {
            return;
        };
        let others = self.sessions.iter().filter(|((_, other), session)| {
            *other == space && session.neighbourhood.met && session.peer != peer
        });
        let others: BTreeSet<Neighbour> =
            others.map(|(_, session)| Neighbour::of(&session.peer)).take(NEIGHBOURS_MAX).collect();
        let peers: Vec<Neighbour> = others.into_iter().collect();
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        if session.neighbourhood.told != peers {
            session.neighbourhood.told.clone_from(&peers);
            let slot = session.slot;
            self.send(conn, Lane::Control, &Message::Neighbours(Neighbours { slot, peers }));
        }
    }

    pub(super) fn hear_neighbours(&mut self, conn: ConnId, space: SpaceId, peers: Vec<Neighbour>) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let theirs: BTreeSet<Neighbour> = peers.into_iter().collect();
        let before = std::mem::replace(&mut session.neighbourhood.theirs, theirs);
        if !before.is_subset(&session.neighbourhood.theirs) {
            self.offer_at_once(space);
        }
    }

    /// Whoever was to send what is withheld may have gone.
    fn offer_at_once(&mut self, space: SpaceId) {
        let now = self.now.instant;
        for (_, session) in self.sessions.iter_mut().filter(|((_, other), _)| *other == space) {
            let neighbourhood = &mut session.neighbourhood;
            if let Some(due) = &mut neighbourhood.withheld_due {
                *due = now;
                let withheld = std::mem::take(&mut neighbourhood.withheld);
                digest::merge(&mut neighbourhood.overdue, &withheld);
            }
        }
    }

    /// To whom a peer sends what it sent to this node.
    pub(super) fn neighbours_of(&self, space: SpaceId, peer: PeerId) -> BTreeSet<Neighbour> {
        let conns = self.opened.get(&space).into_iter().flatten();
        let sessions = conns.filter_map(|conn| self.sessions.get(&(*conn, space)));
        let of_peer = sessions.filter(|session| session.peer == peer);
        of_peer.flat_map(|session| &session.neighbourhood.theirs).copied().collect()
    }

    /// Asks the peer whether what was left to others has come.
    fn offer(&mut self, conn: ConnId, space: SpaceId) {
        let again = self.now.instant.plus_ms(WITHHELD_MS);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let (slot, neighbourhood) = (session.slot, &mut session.neighbourhood);
        if !neighbourhood.offered.is_empty() {
            neighbourhood.withheld_due = Some(again);
            return;
        }
        let left = std::mem::take(&mut neighbourhood.withheld);
        let left = std::mem::replace(&mut neighbourhood.overdue, left);
        neighbourhood.withheld_due = (!neighbourhood.overdue.is_empty()).then_some(again);
        let vectors = beyond(session.sent.as_ref().unwrap_or(&Vectors::new()), &left);
        if !vectors.is_empty() {
            neighbourhood.offered.clone_from(&vectors);
            self.send(conn, Lane::Control, &Message::Offer(Offer { slot, vectors }));
        }
    }

    pub(super) fn hear_offer(&mut self, conn: ConnId, space: SpaceId, mut vectors: Vectors) {
        vectors.retain(|collection, _| self.common(conn, space, collection));
        self.ask(Purpose::Offered(conn, space), Ask::Unheld { space, vectors });
    }

    /// What is not here of what was offered: asked for, unless another has been asked for it or has brought it.
    pub(super) fn want(&mut self, conn: ConnId, space: SpaceId, mut unheld: Vectors) {
        unheld.retain(|collection, _| self.common(conn, space, collection));
        let now = self.now.instant;
        let mut coming = Vectors::new();
        for ((of, _), session) in self.sessions.iter().filter(|((_, other), _)| *other == space) {
            let waiting = session.inbox_live.iter().chain(&session.inbox_bulk);
            let arrived = waiting.chain(session.taking.iter().flatten());
            arrived.flat_map(|arrived| &arrived.keys).for_each(|key| digest::note(&mut coming, key));
            if let Some((wanted, until)) = &session.neighbourhood.wanted
                && *until > now
                && *of != conn
            {
                digest::merge(&mut coming, wanted);
            }
        }
        let wanted = beyond(&coming, &unheld);
        let later = beyond(&wanted, &unheld);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let slot = session.slot;
        session.neighbourhood.wanted =
            (!wanted.is_empty()).then(|| (wanted.clone(), now.plus_ms(WITHHELD_MS)));
        self.send(conn, Lane::Control, &Message::Wanted(Wanted { slot, wanted, later }));
    }

    pub(super) fn hear_wanted(&mut self, conn: ConnId, space: SpaceId, answer: Wanted) {
        let again = self.now.instant.plus_ms(WITHHELD_MS);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let offered = std::mem::take(&mut session.neighbourhood.offered);
        let Wanted { wanted, later, .. } = answer;
        let not_wanted = beyond(&wanted, &offered);
        let held = beyond(&later, &not_wanted);
        let later = beyond(&held, &not_wanted);
        if !later.is_empty() {
            digest::merge(&mut session.neighbourhood.withheld, &later);
            session.neighbourhood.withheld_due.get_or_insert(again);
        }
        if let Some(sent) = session.sent.as_mut() {
            digest::merge(sent, &held);
        }
        session.dirty |= not_wanted != offered;
        self.pump(conn, space);
    }
}
