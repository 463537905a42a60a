//! How a space opens on a connection: each side tells its state, and what follows from the two.

use super::conn::{CODE_CLOSED, CODE_PROTOCOL};
use super::digest::{self, Base};
use super::interest::Basis;
use super::{Action, ConnId, Engine, Lane, Local, Notice, Purpose};
use crate::codec::Encode;
use crate::exchange::{Ask, SpaceState, Vectors};
use crate::id::{PeerId, SpaceId};
use crate::limits::OPENINGS_MAX;
use crate::wire::{Digest, Message, Opening, Revisions, Told, VectorsTold};

/// Vectors up to this size are told in the opening, in bytes: it saves half a round trip when they differ, and
/// costs as much when they do not.
const TOLD_BYTES_MAX: usize = 4 * 1024;

impl Engine {
    /// A space came, or its membership changed.
    pub(super) fn space_changed(&mut self, state: SpaceState) {
        let space = state.space;
        let local = Local { membership: state.membership, log: state.log, interests: state.interests };
        let before = self.spaces.insert(space, local);
        let open: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.is_open()).map(|(conn, _)| *conn).collect();
        for conn in open {
            let Some(peer) = self.conns.get(&conn).map(|entry| entry.peer) else {
                continue;
            };
            let shared = self.is_shared(space, &peer);
            match (self.sessions.contains_key(&(conn, space)), shared) {
                (true, false) => self.part(conn, space),
                (false, true) => self.open_shared(conn, space),
                (true, true) => {
                    self.forget_unreadable(conn, space);
                    self.tell_interests(conn, space);
                    self.offer_indexes(conn, space);
                }
                (false, false) => {}
            }
        }
        if before.is_none_or(|before| before.log != state.log) {
            self.log_changed(space);
        }
    }

    /// Opens a space that came to be shared behind the hellos, or while they were on their way.
    pub(super) fn open_shared(&mut self, conn: ConnId, space: SpaceId) {
        let open = self.conns.get(&conn).is_some_and(super::Conn::is_open);
        if open && !self.sessions.contains_key(&(conn, space)) {
            self.add_session(conn, space);
            self.ask(Purpose::Opening(conn, space), Ask::State { space });
            self.hear_kept_opening(conn, space);
        }
    }

    /// Nothing more is said of a space that is not here.
    pub(super) fn space_gone(&mut self, space: SpaceId) {
        self.spaces.remove(&space);
        self.bases.retain(|(_, other), _| *other != space);
        self.interests.retain(|(_, other), _| *other != space);
        for conn in self.conns_of(space) {
            self.end_session(conn, space);
        }
    }

    pub(super) fn is_shared(&self, space: SpaceId, peer: &PeerId) -> bool {
        self.spaces.get(&space).is_some_and(|local| {
            local.membership.role(peer).is_some() && local.membership.role(&self.me).is_some()
        })
    }

    /// The database told the state that our opening is made of.
    pub(super) fn opening_ready(&mut self, conn: ConnId, space: SpaceId, state: Option<SpaceState>) {
        match (state, self.sessions.get_mut(&(conn, space))) {
            (Some(state), Some(session)) => session.ours = Some(state),
            (None, Some(_)) => self.drop_session(conn, space),
            (_, None) => {}
        }
        match self.unknown_base(conn, space) {
            Some(ask) => self.ask(Purpose::Base(conn, space), ask),
            None => self.opening_prepared(conn, space),
        }
    }

    /// The question for the vectors on which the two last agreed, when that was before this node was started, and
    /// ours are too large to be told whole.
    fn unknown_base(&self, conn: ConnId, space: SpaceId) -> Option<Ask> {
        let session = self.sessions.get(&(conn, space))?;
        let (peer, state) = (session.peer, session.ours.as_ref()?);
        if self.bases.contains_key(&(peer, space)) {
            return None;
        }
        let vectors = self.vectors_of(conn, state);
        (size(&vectors) > TOLD_BYTES_MAX).then_some(Ask::Base { space, peer, vectors })
    }

    pub(super) fn base_ready(&mut self, conn: ConnId, space: SpaceId, base: Option<(Digest, Vectors)>) {
        if let Some((digest, vectors)) = base
            && digest::of_vectors(&vectors) == digest
            && let Some(peer) = self.peer_of(conn)
        {
            self.bases.entry((peer, space)).or_insert(Base { digest, vectors });
        }
        self.opening_prepared(conn, space);
    }

    /// The opening of a space that came to be shared after the hello.
    pub(super) fn open_late(&mut self, conn: ConnId, space: SpaceId) {
        if !self.conns.get(&conn).is_some_and(super::Conn::is_open) {
            return;
        }
        if let Some(opening) = self.tell_opening(conn, space) {
            self.send(conn, Lane::Control, &Message::Open(opening));
            // Those that did not fit into it.
            self.tell_interests(conn, space);
            self.meet(conn, space);
        }
    }

    pub(super) fn hear_late_opening(&mut self, conn: ConnId, opening: Opening) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        entry.opened.insert(opening.slot);
        // As many again as a hello may hold: no honest peer comes near that.
        let too_many = entry.opened.len() > 2 * OPENINGS_MAX;
        let (said_by, exporter, peer) = (entry.side.other(), entry.exporter, entry.peer);
        if too_many {
            return self.close(conn, CODE_PROTOCOL, "too many openings");
        }
        let named = self.spaces.keys().find(|space| digest::tag(&exporter, said_by, space) == opening.tag);
        let Some(space) = named.copied().filter(|space| self.is_shared(*space, &peer)) else {
            return self.keep_opening(conn, opening);
        };
        let begun = |session: &super::Session| session.opened.is_some() || session.sent.is_some();
        match self.sessions.get(&(conn, space)) {
            // For the peer the space was over and is shared again, by changes of the membership that this side
            // has not seen one by one. The two sides have to begin together.
            Some(session) if begun(session) => {
                return self.close(conn, CODE_CLOSED, "a space was opened anew");
            }
            Some(_) => {}
            None => {
                self.add_session(conn, space);
                self.ask(Purpose::Opening(conn, space), Ask::State { space });
            }
        }
        self.hear_opening(conn, space, opening);
        self.hear_early(conn);
    }

    /// This side has not heard of the space yet, or not that the peer belongs to it: the opening counts when it
    /// has, and what follows it waits. The peer says it once, and once more where the space is over for it and
    /// begins anew.
    fn keep_opening(&mut self, conn: ConnId, opening: Opening) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        entry.unknown.retain(|kept| kept.tag != opening.tag);
        if entry.unknown.len() >= OPENINGS_MAX {
            return self.close(conn, CODE_PROTOCOL, "too many spaces that are not known here");
        }
        entry.unknown.push(opening);
    }

    /// The space is shared from here on: hears the opening that came before this side knew.
    fn hear_kept_opening(&mut self, conn: ConnId, space: SpaceId) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        let tag = digest::tag(&entry.exporter, entry.side.other(), &space);
        if let Some(index) = entry.unknown.iter().position(|opening| opening.tag == tag) {
            let opening = entry.unknown.remove(index);
            self.hear_opening(conn, space, opening);
            self.hear_early(conn);
        }
    }

    /// Makes our opening; the session remembers the state that it tells.
    pub(super) fn tell_opening(&mut self, conn: ConnId, space: SpaceId) -> Option<Opening> {
        let entry = self.conns.get(&conn)?;
        let tag = digest::tag(&entry.exporter, entry.side, &space);
        let peer = entry.peer;
        let reach = self.tell_reach(conn, space)?;
        let state = self.sessions.get(&(conn, space))?.ours.as_ref()?;
        let vectors = self.vectors_of(conn, state);
        let digests = self.digests_of(conn, state, &vectors);
        let told = match is_lost(&vectors, state) {
            true => Told::Lost,
            false => self.tell(conn, &peer, space, vectors),
        };
        let session = self.sessions.get_mut(&(conn, space))?;
        session.told = true;
        let data = digest::of_data(&digests.vectors, &digests.roots);
        Some(Opening { slot: session.slot, tag, log: digests.log, data, told, reach })
    }

    fn tell(&self, conn: ConnId, peer: &PeerId, space: SpaceId, vectors: Vectors) -> Told {
        if let Some(base) = self.bases.get(&(*peer, space))
            && let Some(added) = digest::added(&base.vectors, &vectors)
        {
            return Told::Since { base: base.digest, added };
        }
        if size(&vectors) <= TOLD_BYTES_MAX.min(self.opening_bytes_max(conn)) {
            Told::Whole(vectors)
        } else {
            Told::Later
        }
    }

    pub(super) fn hear_opening(&mut self, conn: ConnId, space: SpaceId, opening: Opening) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        if session.opened.is_some() || session.sent.is_some() {
            return self.close(conn, CODE_PROTOCOL, "a space opened twice");
        }
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.theirs.insert(opening.slot, space);
        }
        self.hear_reach(conn, space, &opening.reach);
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            session.opened = Some(opening);
        }
        self.meet(conn, space);
    }

    /// Both openings are known: decide how the two sides come to agree.
    pub(super) fn meet(&mut self, conn: ConnId, space: SpaceId) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        if !session.told || session.opened.is_none() || !session.wants.heard {
            return;
        }
        let (Some(ours), Some(theirs)) = (session.ours.take(), session.opened.take()) else {
            return;
        };
        let peer = session.peer;
        self.ask(Purpose::Acked, Ask::Met { space, peer, agreed: None, again: false });
        self.neighbour_met(conn, space);
        self.tell_indexes(conn, space, &ours);
        self.look_at_listed(conn, space);
        let vectors = self.vectors_of(conn, &ours);
        let digests = self.digests_of(conn, &ours, &vectors);
        let trusted = self.is_trusted(conn, space, &theirs.reach);
        if digests.log != theirs.log {
            self.ask_shorts(conn, space);
        }
        if trusted && digest::of_data(&digests.vectors, &digests.roots) == theirs.data {
            self.note_held(conn, space, &vectors, &vectors);
            self.meet_one_way(conn, space, &theirs.reach, &ours);
            if digests.log == theirs.log {
                self.metrics.roots_equal.add(1);
                self.agreed(conn, space, vectors);
            }
            return self.pump(conn, space);
        }
        // What was made by other interests than there are says nothing.
        let told = if trusted { theirs.told } else { Told::Later };
        if told == Told::Lost || is_lost(&vectors, &ours) {
            if self.revisions(conn, space) != Revisions::default() {
                // The peer may wait for what is held by the interests that changed since the openings.
                self.tell_vectors(conn, space, super::check::Say::Ask, &ours);
            }
            self.repair_lost(conn, space, vectors);
            return self.meet_one_way(conn, space, &theirs.reach, &ours);
        }
        match told {
            Told::Lost => {}
            Told::Whole(held) => self.hear_whole(conn, space, &held),
            Told::Since { base, added } => match self.based_on(&peer, space, base, &added) {
                Some(held) => self.hear_whole(conn, space, &held),
                None => self.tell_vectors(conn, space, super::check::Say::Ask, &ours),
            },
            Told::Later => self.tell_vectors(conn, space, super::check::Say::Ask, &ours),
        }
        if self.sessions.get(&(conn, space)).is_some_and(|session| session.sent.is_some()) {
            self.meet_one_way(conn, space, &theirs.reach, &ours);
        }
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            session.dirty = true;
        }
        self.pump(conn, space);
    }

    /// One side cannot say what it holds: the two are compared entity by entity, and the vectors adopted when
    /// they are found equal. Until then nothing counts as lacking.
    fn repair_lost(&mut self, conn: ConnId, space: SpaceId, vectors: Vectors) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let collections = vectors.keys().cloned().collect();
        session.sent = Some(vectors);
        session.urgent = true;
        let leads = self.me < session.peer;
        self.forget_told(conn, space);
        if leads {
            self.begin_repair(conn, space, collections);
        }
    }

    fn based_on(&self, peer: &PeerId, space: SpaceId, base: [u8; 16], added: &Vectors) -> Option<Vectors> {
        let Base { vectors, .. } = self.bases.get(&(*peer, space)).filter(|known| known.digest == base)?;
        let mut held = vectors.clone();
        digest::merge(&mut held, added);
        Some(held)
    }

    /// The peer's opening says what it holds.
    fn hear_whole(&mut self, conn: ConnId, space: SpaceId, held: &Vectors) {
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            session.heard = Some(digest::of_vectors(held));
        }
        self.note_held(conn, space, held, held);
    }

    /// The peer said what it holds on its disk; beyond that it may have been sent more.
    fn note_held(&mut self, conn: ConnId, space: SpaceId, sent_to: &Vectors, held: &Vectors) {
        // What was gathered fares as what was sent: nothing that is still to come would make it leave.
        self.push_gathered(conn, space);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let mut sent = session.sent.take().unwrap_or_default();
        let scope = self.scope(conn, space);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        // Where only the peer wants a collection, it says apart what it holds.
        sent.retain(|collection, _| !scope.is_common(collection));
        sent.extend(sent_to.clone());
        session.sent = Some(sent);
        session.neighbourhood.forget_withheld();
        session.unacked.retain(|(key, _)| digest::holds(sent_to, key) && !digest::holds(held, key));
        session.unacked_bytes = session.unacked.iter().map(|(_, bytes)| *bytes).sum();
        let peer = session.peer;
        self.note_acked(space, peer, held.clone());
        self.forget_told(conn, space);
    }

    /// Of clashes with which the peer was to be answered before it said what it holds it was not told.
    fn forget_told(&mut self, conn: ConnId, space: SpaceId) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        if std::mem::take(&mut session.clash_missed) {
            let peer = session.peer;
            self.ask(Purpose::Acked, Ask::Met { space, peer, agreed: None, again: false });
        }
    }

    pub(super) fn note_acked(&mut self, space: SpaceId, peer: PeerId, vectors: Vectors) {
        if vectors.values().all(crate::id::Vector::is_empty) {
            return;
        }
        self.ask(Purpose::Acked, Ask::Acked { space, peer, vectors });
        self.actions.push_back(Action::Notify(Notice::Stored { space, peer }));
    }

    pub(super) fn tell_vectors(
        &mut self,
        conn: ConnId,
        space: SpaceId,
        say: super::check::Say,
        state: &SpaceState,
    ) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let (slot, revisions) = (session.slot, session.wants.revisions);
        let (answer, equal) = (say == super::check::Say::Ask, session.equal);
        let anew = std::mem::take(&mut session.anew);
        let mut vectors = self.vectors_of(conn, state);
        vectors.extend(self.part_of(conn, state));
        let told = VectorsTold { slot, vectors, answer, equal, anew, part: false, revisions };
        self.send(conn, Lane::Bulk, &Message::Vectors(told));
    }

    /// Tells what is held here of the peer's own commits in collections that this side alone wants.
    pub(super) fn tell_part(&mut self, conn: ConnId, space: SpaceId, state: &SpaceState) {
        let Some(session) = self.sessions.get(&(conn, space)) else {
            return;
        };
        let (slot, revisions) = (session.slot, session.wants.revisions);
        let vectors = self.part_of(conn, state);
        let told =
            VectorsTold { slot, vectors, answer: false, equal: false, anew: false, part: true, revisions };
        self.send(conn, Lane::Bulk, &Message::Vectors(told));
    }

    pub(super) fn hear_vectors(&mut self, conn: ConnId, space: SpaceId, told: VectorsTold) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        if !session.wants.heard {
            // Who tells vectors has told its interests before them and in the same lane: in its opening, or right
            // behind it. Whatever has changed since, the first are never taken back.
            return self.close(conn, CODE_PROTOCOL, "vectors before the first interests");
        }
        match session.wants.judge(told.revisions) {
            Basis::Current => {}
            Basis::Older if told.answer => {
                return self.ask(Purpose::Vectors(conn, space, super::check::Say::Ask), Ask::State { space });
            }
            Basis::Older => return,
            Basis::Unheard => {
                return self.close(conn, CODE_PROTOCOL, "vectors by interests that were not told");
            }
        }
        session.wants.own_known = true;
        if told.part {
            session.dirty = true;
            session.urgent = true;
            if let Some(sent) = session.sent.as_mut() {
                sent.extend(told.vectors.clone());
            }
            let peer = session.peer;
            self.note_acked(space, peer, told.vectors);
            return self.pump(conn, space);
        }
        session.equal = told.equal;
        session.anew = told.anew && told.answer;
        session.wants.owed = false;
        let mut held = told.vectors.clone();
        if !told.anew
            && let Some(sent) = &session.sent
        {
            // Commits that are on their way count as held.
            digest::merge(&mut held, sent);
        }
        let mut common = told.vectors.clone();
        common.retain(|collection, _| self.common(conn, space, collection));
        let digest = digest::of_vectors(&common);
        if told.equal {
            self.ask(Purpose::Adopted, Ask::Adopt { space, vectors: common });
        }
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        if told.equal && !told.answer {
            // What this side told is from before it found which of these numbers it has records of.
            (session.equal, session.anew) = (false, true);
        }
        if told.equal || told.answer {
            self.ask(Purpose::Vectors(conn, space, super::check::Say::Answer), Ask::State { space });
        }
        if told.equal && told.answer {
            // What the peer lacks is known when it has done the same, and says so.
            return self.watch(conn, space);
        }
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.dirty = true;
        session.urgent = true;
        session.heard = Some(digest);
        self.note_held(conn, space, &held, &told.vectors);
        self.watch(conn, space);
        self.pump(conn, space);
    }

    /// Our vectors of the collections that both may read and want.
    pub(super) fn vectors_of(&self, conn: ConnId, state: &SpaceState) -> Vectors {
        let common = |collection: &_| self.common(conn, state.space, collection);
        let vectors = state.collections.iter().filter(|(collection, _)| common(collection));
        vectors.map(|(collection, state)| (collection.clone(), state.vector.clone())).collect()
    }
}

/// Bytes that vectors take in a frame, but for the names of their collections.
fn size(vectors: &Vectors) -> usize {
    vectors.values().map(|vector| vector.to_bytes().len()).sum()
}

/// The store holds entities of a collection and not one number of a commit.
fn is_lost(vectors: &Vectors, state: &SpaceState) -> bool {
    vectors.iter().any(|(collection, vector)| {
        let root = state.collections.get(collection).map(|state| state.root);
        vector.is_empty() && root.is_some_and(|root| root != crate::id::Root::EMPTY)
    })
}
