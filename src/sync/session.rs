//! One space over one connection: what is kept, when it is idle, when something is due.

use std::collections::{BTreeMap, VecDeque};

use super::check::Digests;
use super::index::Followed;
use super::interest::Wants;
use super::neighbours::Neighbourhood;
use super::repair::Repair;
use super::{Action, Conn, ConnId, Engine, Notice, Purpose};
use crate::exchange::{Ask, CommitKey, Packed, SpaceState, Vectors};
use crate::id::{PeerId, SpaceId};
use crate::limits::{REPAIR_ROUNDS_WHOLE, ROOT_CHECK_MS};
use crate::time::Instant;
use crate::wire::{Digest, Opening, Slot};

/// What the engine keeps of one space over one connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: PeerId,
    /// How our frames name the space.
    pub(super) slot: Slot,
    /// Our state at the opening, until both openings have met.
    pub(super) ours: Option<SpaceState>,
    /// Their opening, until both have met.
    pub(super) opened: Option<Opening>,
    pub(super) wants: Wants,
    /// What the two may read has changed since the connection was made.
    pub(super) rights_changed: bool,
    /// The space is no longer shared: what the peer still says about it is not heard.
    pub(super) parting: bool,
    /// Our opening was sent.
    pub(super) told: bool,
    /// What the peer holds or is being sent; absent until it said what it holds.
    pub(super) sent: Option<Vectors>,

    /// Commits may be lacking that were not pushed.
    pub(super) dirty: bool,
    /// Commits to send are being read.
    pub(super) feeding: bool,
    /// Batches that the peer has not taken yet, with their bytes.
    pub(super) under_way: BTreeMap<u64, usize>,
    pub(super) next_batch: u64,
    /// Commits made here that go ahead of a bulk transfer, with what the peer lacks of their entities.
    pub(super) ahead: VecDeque<Packed>,
    /// What the peer lacks of the entities of one is being read.
    pub(super) reaching: bool,
    /// Pushed commits without an acknowledgement, in the order they were sent, with their bytes.
    pub(super) unacked: VecDeque<(CommitKey, usize)>,
    pub(super) unacked_bytes: usize,
    /// Bytes of new clashes that were told since the two last agreed.
    pub(super) clashes_bytes: usize,
    /// When the store is asked again for clashes that the peer did not answer, if the two still agree then.
    pub(super) remind_due: Option<Instant>,
    /// The peer was to be told of a clash, and has not said yet what it holds.
    pub(super) clash_missed: bool,
    /// Commits to push when the peer, which is behind, acknowledges some, or when they fill a frame. While there
    /// are any, something is unacknowledged.
    pub(super) gathered: Vec<Packed>,
    pub(super) gathered_bytes: usize,

    /// Arrived commits that wait while others are being taken: live ones, which go first, and batches.
    pub(super) inbox_live: Vec<Arrived>,
    pub(super) inbox_bulk: VecDeque<Arrived>,
    pub(super) inbox_bytes: usize,
    /// Arrived commits that are being taken.
    pub(super) taking: Option<Vec<Arrived>>,

    /// What is on our disk and not yet acknowledged to the peer.
    pub(super) ack: Vectors,
    pub(super) ack_due: Option<Instant>,

    pub(super) check_due: Option<Instant>,
    pub(super) checking: bool,
    /// Compare as soon as nothing is on its way.
    pub(super) urgent: bool,
    /// The digests that the peer asked us to compare with, and whether it was busy.
    pub(super) asked: Option<(Digests, bool)>,
    /// Comparisons without agreement, in a row.
    pub(super) rounds: u32,
    /// Until when the two rest at least after too many of them, and what this side held then: they rest on while that is so.
    pub(super) rests: Option<(Instant, [Digest; 3])>,
    /// What we asked the peer to compare with.
    pub(super) shown: Option<(Digests, Vectors)>,
    /// Which statements the peer has, while ours are being read.
    pub(super) their_shorts: Option<Vec<[u8; 8]>>,
    /// Which statements were sent to the peer, and how often.
    pub(super) given: BTreeMap<[u8; 8], u8>,
    /// The digests of the two logs that were found to differ last, and how often in a row.
    pub(super) logs: Option<([Digest; 2], u32)>,
    pub(super) in_sync: bool,
    /// Equal fingerprints were seen since the last ticket was drawn.
    pub(super) verified: bool,
    /// The last comparison found the roots equal and the vectors not: each side takes over what it has records of.
    pub(super) equal: bool,
    /// The digest of the vectors that the peer told last.
    pub(super) heard: Option<Digest>,
    /// The last comparison found the vectors to differ: what was counted as sent may be wrong.
    pub(super) anew: bool,
    pub(super) repair: Option<Repair>,
    /// Steps of repairs that the leader began: sketches, and ranges of heads. Both sides count them.
    pub(super) repairs: u64,
    /// Repairs since the two last agreed. Both sides count them, whoever of them compares.
    pub(super) repairs_in_vain: u32,
    /// Our request for documents that the peer has not answered to its end, whoever waits for it.
    pub(super) fetching: Option<u64>,
    /// The peer's request for documents that is being answered.
    pub(super) serving: Option<u64>,
    /// Indexes that one side keeps of what the other has.
    pub(super) followed: Followed,
    /// When a repair came to its end in which whole histories were sent.
    pub(super) repaired: Option<Instant>,
    pub(super) neighbourhood: Neighbourhood,
    /// When to give up on what the peer owes us.
    pub(super) deadline: Option<Instant>,
}

/// Commits of one frame.
#[derive(Debug)]
pub(super) struct Arrived {
    /// The batch, when they came in one.
    pub(super) batch: Option<u64>,
    pub(super) commits: Vec<Vec<u8>>,
    pub(super) keys: Vec<CommitKey>,
}

impl Session {
    fn new(peer: PeerId, slot: Slot) -> Self {
        Self {
            peer,
            slot,
            ours: None,
            opened: None,
            wants: Wants::default(),
            rights_changed: false,
            parting: false,
            told: false,
            sent: None,
            dirty: false,
            feeding: false,
            under_way: BTreeMap::new(),
            ahead: VecDeque::new(),
            reaching: false,
            next_batch: 0,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            clashes_bytes: 0,
            remind_due: None,
            clash_missed: false,
            gathered: Vec::new(),
            gathered_bytes: 0,
            inbox_live: Vec::new(),
            inbox_bulk: VecDeque::new(),
            inbox_bytes: 0,
            taking: None,
            ack: Vectors::new(),
            ack_due: None,
            check_due: None,
            checking: false,
            urgent: false,
            asked: None,
            their_shorts: None,
            given: BTreeMap::new(),
            logs: None,
            rounds: 0,
            rests: None,
            shown: None,
            in_sync: false,
            verified: false,
            equal: false,
            heard: None,
            anew: false,
            repair: None,
            repairs: 0,
            repairs_in_vain: 0,
            fetching: None,
            serving: None,
            followed: Followed::default(),
            repaired: None,
            neighbourhood: Neighbourhood::default(),
            deadline: None,
        }
    }

    /// Counts comparisons and repairs without agreement from here.
    pub(super) fn begin_rounds(&mut self) {
        self.rounds = 0;
        self.rests = None;
        self.repairs_in_vain = 0;
    }

    /// Comparing by clocks did not help, so that whole histories are sent of what differs.
    pub(super) fn sends_whole(&self) -> bool {
        // The side that leads has counted its comparisons; the other may have made none.
        self.rounds.max(self.repairs_in_vain) >= REPAIR_ROUNDS_WHOLE
    }

    /// More than live commits is on its way to the peer.
    pub(super) fn is_bulk(&self) -> bool {
        self.dirty || self.feeding || !self.under_way.is_empty()
    }

    /// Nothing is on its way in either direction, as far as this side knows.
    pub(super) fn is_idle(&self) -> bool {
        self.sent.is_some()
            && !self.dirty
            && !self.feeding
            && self.under_way.is_empty()
            && self.unacked.is_empty()
            && self.gathered.is_empty()
            && self.ahead.is_empty()
            && !self.reaching
            && self.inbox_live.is_empty()
            && self.inbox_bulk.is_empty()
            && self.taking.is_none()
            && self.repair.is_none()
            && !self.wants.owed
    }

    /// In sync, and nothing that was asked for is open.
    pub(super) fn is_settled(&self) -> bool {
        self.in_sync && self.verified && !self.checking && self.is_idle()
    }

    /// Forgets all that was to be said: only the reason is told from here on.
    pub(super) fn part(&mut self) {
        *self = Self { in_sync: self.in_sync, parting: true, ..Self::new(self.peer, self.slot) };
    }

    /// The peer owes an answer.
    pub(super) fn is_waiting(&self) -> bool {
        self.checking
            || self.wants.owed
            || !self.under_way.is_empty()
            || !self.unacked.is_empty()
            || self.repair.is_some()
    }

    pub(super) fn due(&self) -> Option<Instant> {
        [self.ack_due, self.check_due, self.deadline, self.neighbourhood.due()].into_iter().flatten().min()
    }
}

impl Engine {
    pub(super) fn sessions_of(&self, conn: ConnId) -> Vec<SpaceId> {
        let first = (conn, SpaceId::new([0; 32]));
        let last = (conn, SpaceId::new([0xff; 32]));
        self.sessions.range(first..=last).map(|((_, space), _)| *space).collect()
    }

    /// Whether the space is open on the connection and still shared.
    pub(super) fn is_heard(&self, conn: ConnId, space: SpaceId) -> bool {
        self.sessions.get(&(conn, space)).is_some_and(|session| !session.parting)
    }

    pub(super) fn conns_of(&self, space: SpaceId) -> Vec<ConnId> {
        self.opened.get(&space).map(|conns| conns.iter().copied().collect()).unwrap_or_default()
    }

    /// Whether the peer knows, or is about to know, by which slot we name the space.
    pub(super) fn is_opened(&self, conn: ConnId, space: SpaceId) -> bool {
        self.conns.get(&conn).is_some_and(Conn::is_open)
            && self.sessions.get(&(conn, space)).is_some_and(|session| session.told)
    }

    pub(super) fn add_session(&mut self, conn: ConnId, space: SpaceId) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        let (slot, peer) = (entry.take_slot(), entry.peer);
        let wants = self.first_wants(space, &peer);
        self.sessions.insert((conn, space), Session { wants, ..Session::new(peer, slot) });
        self.opened.entry(space).or_default().insert(conn);
    }

    pub(super) fn drop_session(&mut self, conn: ConnId, space: SpaceId) {
        self.fetch_lost(conn, space);
        self.index_lost(conn, space);
        self.neighbour_gone(conn, space);
        if let Some(entry) = self.conns.get_mut(&conn) {
            entry.theirs.retain(|_, named| *named != space);
        }
        if let Some(conns) = self.opened.get_mut(&space) {
            conns.remove(&conn);
            if conns.is_empty() {
                self.opened.remove(&space);
            }
        }
        let Some(session) = self.sessions.remove(&(conn, space)) else {
            return;
        };
        self.schedule.forget(conn, space, session.under_way.values().sum());
        let peer = session.peer;
        if session.in_sync {
            self.actions.push_back(Action::Notify(Notice::InSync { space, peer, in_sync: false }));
        }
        // What the store remembers of it ends with the connection: of those that come and go there is no end.
        self.ask(Purpose::Acked, Ask::Met { space, peer, agreed: None, again: false });
    }

    pub(super) fn set_in_sync(&mut self, conn: ConnId, space: SpaceId, in_sync: bool) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.verified |= in_sync;
        let is_new = session.in_sync != in_sync;
        if is_new {
            session.in_sync = in_sync;
            let peer = session.peer;
            self.actions.push_back(Action::Notify(Notice::InSync { space, peer, in_sync }));
        }
        let now = self.now.instant;
        let again = session.remind_due.is_none_or(|due| due <= now);
        if in_sync && (again || is_new) {
            // Whatever was not told yet is told though nothing else happens: it is asked for again at the pace at which
            // two that agree confirm it. No faster, however often they come to agree: it may be too much for the peer.
            if again {
                session.remind_due = Some(now.plus_ms(ROOT_CHECK_MS));
            }
            session.clashes_bytes = 0;
            let (peer, scope) = (session.peer, self.scope(conn, space));
            self.ask(Purpose::Acked, Ask::Met { space, peer, agreed: Some(scope), again });
        }
    }

    /// Renews or lifts the deadline of what the peer owes.
    pub(super) fn watch(&mut self, conn: ConnId, space: SpaceId) {
        let deadline = self.deadline();
        if let Some(session) = self.sessions.get_mut(&(conn, space)) {
            session.deadline = session.is_waiting().then_some(deadline);
        }
    }

    pub(super) fn sessions_due(&mut self) {
        let now = self.now.instant;
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let due = self.sessions.iter().filter(|(_, session)| is_due(session.due())).map(|(key, _)| *key);
        let due: Vec<(ConnId, SpaceId)> = due.collect();
        for (conn, space) in due {
            let Some(session) = self.sessions.get(&(conn, space)) else {
                continue;
            };
            if is_due(session.deadline) {
                if self.is_held_back(&session.peer) {
                    // What the peer owes may be on its way: it is not read at the moment.
                    self.watch(conn, space);
                    continue;
                }
                self.close(conn, super::conn::CODE_TIMEOUT, "what was sent was not acknowledged in time");
                continue;
            }
            let (ack, check) = (is_due(session.ack_due), is_due(session.check_due));
            if ack {
                self.send_ack(conn, space);
            }
            if check {
                self.begin_check(conn, space);
            }
            self.neighbours_due(conn, space);
        }
    }
}
