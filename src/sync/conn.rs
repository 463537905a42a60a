//! Connections: the hello, and the way of every frame to its session.

use std::collections::{BTreeMap, BTreeSet};

use super::introduce::{Introductions, Then};
use super::{Action, ConnId, Engine, Lane, LastWords, Purpose, Side};
use crate::exchange::Ask;
use crate::id::{PeerId, SpaceId};
use crate::limits::{DIALS_OVERLAP_MS, HELLO_DEADLINE_MS, INBOX_BYTES_MAX};
use crate::time::Instant;
use crate::wire::{FEATURE_HUB, Farewell, Hello, Message, Opening, Slot, VERSION_MAX, VERSION_MIN};

/// The node closes, or the app asked for it.
pub(crate) const CODE_CLOSED: u32 = 0;
/// Nothing is shared with this peer, as far as this node knows.
pub(crate) const CODE_NOTHING_SHARED: u32 = 1;
/// No protocol version in common.
pub(crate) const CODE_VERSION: u32 = 2;
/// A frame that no honest peer sends.
pub(crate) const CODE_PROTOCOL: u32 = 3;
/// No hello or no answer in time.
pub(crate) const CODE_TIMEOUT: u32 = 4;
/// Another connection to the same peer stays.
pub(crate) const CODE_DUPLICATE: u32 = 5;
/// This side's store cannot answer.
pub(crate) const CODE_STORE: u32 = 6;
/// A commit or statement that no honest peer sends.
pub(crate) const CODE_REFUSED: u32 = 7;
/// The peer broke rules too often, and is heard again later.
pub(crate) const CODE_TURNED_AWAY: u32 = 10;

/// The sender rests until its next sync, and comes by itself.
pub(crate) const CODE_RESTS: u32 = 8;
/// The sender rests, and does not know how to reach the receiver.
pub(crate) const CODE_RESTS_AND_WAITS: u32 = 9;

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) peer: PeerId,
    pub(super) side: Side,
    pub(super) exporter: [u8; 32],
    phase: Phase,
    /// The peer is a hub.
    pub(super) hub: bool,
    /// When its last frame came.
    pub(super) heard_at: Instant,
    next_slot: Slot,
    /// How the peer's frames name the spaces.
    pub(super) theirs: BTreeMap<Slot, SpaceId>,
    /// The slots that the peer has opened, those that are over among them: as many as openings were heard.
    pub(super) opened: BTreeSet<Slot>,
    /// Frames of slots that the peer has yet to open, as lanes overtake each other, or of spaces that this side does
    /// not know yet.
    early: Vec<Vec<u8>>,
    early_bytes: usize,
    /// Openings of spaces that this side does not know yet. Bounded by `OPENINGS_MAX`.
    pub(super) unknown: Vec<Opening>,
    pub(super) introductions: Introductions,
}

/// How far the hello has come.
#[derive(Debug)]
enum Phase {
    /// States of these spaces are being read for our hello.
    Preparing { waiting: BTreeSet<SpaceId>, deadline: Instant },
    /// The peer's hello or its answer is awaited.
    Awaiting { deadline: Instant },
    /// Both have greeted each other.
    Open { since: Instant },
}

impl Conn {
    /// Our hello is on its way, or its answer.
    pub(super) fn awaits_answer(&self) -> bool {
        self.side == Side::Dialer && matches!(self.phase, Phase::Awaiting { .. })
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    pub(super) fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Preparing { deadline, .. } | Phase::Awaiting { deadline } => Some(deadline),
            Phase::Open { .. } => None,
        }
    }

    /// It was open before the other one can have been begun by who did not know of it.
    fn is_settled(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Open { since } if now.ms_since(since) > DIALS_OVERLAP_MS)
    }

    pub(super) fn take_slot(&mut self) -> Slot {
        self.next_slot += 1;
        self.next_slot
    }

    /// The device that began the connection.
    fn dialer(&self, me: PeerId) -> PeerId {
        match self.side {
            Side::Dialer => me,
            Side::Acceptor => self.peer,
        }
    }
}

impl Engine {
    /// A connection stands. The attempt that it came of is over when both sides have greeted each other: until then
    /// no second one begins.
    pub(super) fn connected(&mut self, conn: ConnId, peer: PeerId, side: Side, exporter: [u8; 32]) {
        let deadline = self.now.instant.plus_ms(HELLO_DEADLINE_MS);
        let phase = Phase::Awaiting { deadline };
        let conn_new = Conn {
            peer,
            side,
            exporter,
            phase,
            hub: false,
            heard_at: self.now.instant,
            next_slot: 0,
            theirs: BTreeMap::new(),
            opened: BTreeSet::new(),
            early: Vec::new(),
            early_bytes: 0,
            unknown: Vec::new(),
            introductions: Introductions::default(),
        };
        self.conns.insert(conn, conn_new);
        if self.paused {
            return self.close(conn, CODE_CLOSED, "the node is paused");
        }
        if let Some(ms) = self.turned_away_ms(&peer) {
            let seconds = ms.div_ceil(1_000);
            let reason = format!("rules were broken too often; it is heard again in {seconds} s");
            return self.close(conn, CODE_TURNED_AWAY, &reason);
        }
        match side {
            Side::Dialer if self.introduces(&peer) => {
                self.introduce(conn, self.shared_with(&peer), Then::Greet);
            }
            Side::Dialer => self.greet(conn, &peer),
            Side::Acceptor => {}
        }
    }

    fn features(&self) -> u64 {
        if self.options.hub { FEATURE_HUB } else { 0 }
    }

    /// One of the two is a hub, whose roots tell what it was sent and not what counts.
    pub(super) fn is_with_hub(&self, conn: ConnId) -> bool {
        self.options.hub || self.conns.get(&conn).is_some_and(|entry| entry.hub)
    }

    /// Prepares our hello. Who knows of no space in common says a hello without any: the peer may know better.
    pub(super) fn greet(&mut self, conn: ConnId, peer: &PeerId) {
        let shared = self.shared_with(peer);
        if !shared.is_empty() {
            return self.prepare(conn, shared);
        }
        if self.spaces.is_empty() {
            return self.close(conn, CODE_NOTHING_SHARED, "no space in common");
        }
        let (versions, openings) = ((VERSION_MIN, VERSION_MAX), Vec::new());
        let hello = Hello { versions, features: self.features(), openings };
        self.send(conn, Lane::Control, &Message::Hello(hello));
    }

    pub(super) fn disconnected(&mut self, conn: ConnId, reason: &str) {
        let Some(gone) = self.conns.remove(&conn) else {
            return;
        };
        let spaces: Vec<SpaceId> = self.sessions_of(conn);
        for space in spaces {
            self.drop_session(conn, space);
        }
        self.schedule.drop_conn(conn);
        self.hand_out();
        self.dial_disconnected(gone.peer, conn, reason);
        debug_assert!(self.sessions_of(conn).is_empty(), "a closed connection holds no session");
    }

    /// Closes at once: nothing that still arrives on the connection is heard.
    pub(super) fn close(&mut self, conn: ConnId, code: u32, reason: &str) {
        let Some(peer) = self.conns.get(&conn).map(|entry| entry.peer) else {
            return;
        };
        let text = self.judge(peer, code, reason);
        self.send(
            conn,
            Lane::Control,
            &Message::Farewell(Farewell { code: u64::from(code), text: text.clone() }),
        );
        self.actions.push_back(Action::Close { conn, last_words: LastWords::Deliver, code, reason: text });
        self.disconnected(conn, reason);
    }

    pub(super) fn expire_conns(&mut self) {
        let late = |conn: &Conn| conn.due().is_some_and(|due| due <= self.now.instant);
        let late: Vec<ConnId> = self.conns.iter().filter(|(_, conn)| late(conn)).map(|(id, _)| *id).collect();
        for conn in late {
            self.close(conn, CODE_TIMEOUT, "no hello in time");
        }
    }

    pub(super) fn send(&mut self, conn: ConnId, lane: Lane, message: &Message) {
        self.actions.push_back(Action::Send { conn, lane, frame: message.to_frame() });
    }

    /// The spaces in which both this device and `peer` are enrolled.
    pub(super) fn shared_with(&self, peer: &PeerId) -> BTreeSet<SpaceId> {
        let shared = |local: &super::Local| {
            let is_device = |device| local.membership.role(device).is_some();
            is_device(peer) && is_device(&self.me)
        };
        self.spaces.iter().filter(|(_, local)| shared(local)).map(|(space, _)| *space).collect()
    }

    /// Reads what our hello tells.
    fn prepare(&mut self, conn: ConnId, shared: BTreeSet<SpaceId>) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        let deadline = entry.due().unwrap_or(self.now.instant);
        entry.phase = Phase::Preparing { waiting: shared.clone(), deadline };
        for space in shared {
            self.add_session(conn, space);
            self.ask(Purpose::Opening(conn, space), Ask::State { space });
        }
    }

    /// One opening is ready, or cannot be made; sends the hello behind the last one.
    pub(super) fn opening_prepared(&mut self, conn: ConnId, space: SpaceId) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        let Phase::Preparing { waiting, deadline } = &mut entry.phase else {
            return self.open_late(conn, space);
        };
        waiting.remove(&space);
        if !waiting.is_empty() {
            return;
        }
        let (side, deadline) = (entry.side, *deadline);
        entry.phase = match side {
            Side::Dialer => Phase::Awaiting { deadline },
            Side::Acceptor => Phase::Open { since: self.now.instant },
        };
        let openings: Vec<Opening> =
            self.sessions_of(conn).into_iter().filter_map(|space| self.tell_opening(conn, space)).collect();
        if openings.is_empty() {
            return self.close(conn, CODE_NOTHING_SHARED, "no space in common");
        }
        let hello = Hello { versions: (VERSION_MIN, VERSION_MAX), features: self.features(), openings };
        match side {
            Side::Dialer => self.send(conn, Lane::Control, &Message::Hello(hello)),
            Side::Acceptor => {
                self.send(conn, Lane::Control, &Message::HelloAck(hello));
                self.greeted(conn);
                for space in self.sessions_of(conn) {
                    self.meet(conn, space);
                }
            }
        }
    }

    pub(super) fn hello(&mut self, conn: ConnId, hello: Hello) {
        let Some(hello) = self.after_introductions(conn, hello) else {
            return;
        };
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        if entry.side != Side::Acceptor || !matches!(entry.phase, Phase::Awaiting { .. }) {
            return self.close(conn, CODE_PROTOCOL, "a hello out of turn");
        }
        if let Err(reason) = check_versions(&hello) {
            return self.close(conn, CODE_VERSION, &reason);
        }
        entry.hub = hello.features & FEATURE_HUB != 0;
        entry.opened.extend(hello.openings.iter().map(|opening| opening.slot));
        let peer = entry.peer;
        let left = self.spaces_left(conn, &hello.openings);
        let named = self.spaces_named(conn, hello.openings);
        let mut unnamed = self.shared_with(&peer);
        unnamed.retain(|space| named.iter().all(|(other, _)| other != space));
        unnamed.extend(left);
        match (named.is_empty(), unnamed.is_empty()) {
            (true, true) => return self.close(conn, CODE_NOTHING_SHARED, "no space in common"),
            (true, false) => return self.introduce(conn, unnamed, Then::Close),
            (false, _) => self.introduce(conn, unnamed, Then::GoOn),
        }
        self.prepare(conn, named.iter().map(|(space, _)| *space).collect());
        for (space, opening) in named {
            self.hear_opening(conn, space, opening);
        }
    }

    fn hello_ack(&mut self, conn: ConnId, hello: Hello) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        if entry.side != Side::Dialer || !matches!(entry.phase, Phase::Awaiting { .. }) {
            return self.close(conn, CODE_PROTOCOL, "an answer to a hello out of turn");
        }
        entry.phase = Phase::Open { since: self.now.instant };
        let peer = entry.peer;
        entry.hub = hello.features & FEATURE_HUB != 0;
        entry.opened.extend(hello.openings.iter().map(|opening| opening.slot));
        if let Err(reason) = check_versions(&hello) {
            return self.close(conn, CODE_VERSION, &reason);
        }
        let named = self.spaces_named(conn, hello.openings);
        let kept: BTreeSet<SpaceId> = named.iter().map(|(space, _)| *space).collect();
        let told = self.sessions_of(conn);
        for space in told.iter().filter(|space| !kept.contains(space)) {
            self.drop_session(conn, *space);
        }
        self.greeted(conn);
        if !self.conns.contains_key(&conn) {
            return;
        }
        let mut unnamed = self.shared_with(&peer);
        unnamed.retain(|space| !kept.contains(space));
        // What came to be shared since our hello was in none.
        for space in unnamed.iter().filter(|space| !told.contains(space)) {
            self.open_shared(conn, *space);
        }
        self.introduce(conn, unnamed, Then::GoOn);
        for (space, opening) in named {
            self.hear_opening(conn, space, opening);
        }
        self.hear_early(conn);
    }

    /// Which of the openings name a space that is shared, as far as this node knows. What a stranger names is
    /// met with the same silence, whether it exists or not.
    fn spaces_named(&self, conn: ConnId, openings: Vec<Opening>) -> Vec<(SpaceId, Opening)> {
        let Some(entry) = self.conns.get(&conn) else {
            return Vec::new();
        };
        let tags: BTreeMap<_, _> = self
            .shared_with(&entry.peer)
            .into_iter()
            .map(|space| (super::digest::tag(&entry.exporter, entry.side.other(), &space), space))
            .collect();
        openings.into_iter().filter_map(|opening| Some((*tags.get(&opening.tag)?, opening))).collect()
    }

    /// The spaces among those that a peer names from which it was removed.
    fn spaces_left(&self, conn: ConnId, openings: &[Opening]) -> Vec<SpaceId> {
        let Some(entry) = self.conns.get(&conn) else {
            return Vec::new();
        };
        let was_removed = |local: &super::Local| {
            let all = &local.membership;
            all.role(&self.me).is_some()
                && all.role(&entry.peer).is_none()
                && all.author_of(&entry.peer).is_some()
        };
        let left = self.spaces.iter().filter(|(_, local)| was_removed(local)).map(|(space, _)| *space);
        let tag = |space: &SpaceId| super::digest::tag(&entry.exporter, entry.side.other(), space);
        left.filter(|space| openings.iter().any(|opening| opening.tag == tag(space))).collect()
    }

    /// Both have greeted each other. Of two connections to one peer, both sides keep the same one: that which
    /// the smaller key began, and of two with one dialler the newer. Who has a connection does not dial, so when
    /// one has been open for a while, its peer no longer knows of it: it was restarted, and the newer stays.
    fn greeted(&mut self, conn: ConnId) {
        let Some(entry) = self.conns.get(&conn) else {
            return;
        };
        let (peer, dialer) = (entry.peer, entry.dialer(self.me));
        let other =
            self.conns.iter().find(|(id, other)| **id != conn && other.peer == peer && other.is_open());
        if let Some((other, open)) = other {
            let keeps_new = dialer <= open.dialer(self.me) || open.is_settled(self.now.instant);
            let (other, loser) = (*other, if keeps_new { *other } else { conn });
            debug_assert_ne!(conn, other, "two connections");
            self.dial_greeted(peer, if keeps_new { conn } else { other });
            self.close(loser, CODE_DUPLICATE, "another connection to this peer stays");
            if !keeps_new {
                return;
            }
        } else {
            self.dial_greeted(peer, conn);
        }
        self.metrics.connections.add(1);
        self.actions.push_back(Action::Greeted { conn });
        self.charge_greeted(conn, peer);
        for space in self.sessions_of(conn) {
            self.tell_interests(conn, space);
        }
    }

    pub(super) fn frame(&mut self, conn: ConnId, bytes: &[u8]) {
        let now = self.now.instant;
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        entry.heard_at = now;
        let open = entry.is_open() || entry.awaits_answer();
        let message = match Message::from_frame(bytes) {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(error) => return self.close(conn, CODE_PROTOCOL, &error.to_string()),
        };
        match message {
            Message::Hello(hello) => self.hello(conn, hello),
            Message::HelloAck(hello) => self.hello_ack(conn, hello),
            Message::Farewell(farewell) => self.farewell(conn, &farewell),
            Message::Introduce(introduction) => self.hear_introduction(conn, introduction),
            message if open => self.message(conn, message, bytes),
            Message::Open(_)
            | Message::Vectors(_)
            | Message::Shorts(_)
            | Message::Statements(_)
            | Message::Live(_)
            | Message::LiveBatch(_)
            | Message::Batch(_)
            | Message::BatchTaken(_)
            | Message::Ack(_)
            | Message::Roots(_)
            | Message::Heads(_)
            | Message::Clocks(_)
            | Message::Cells(_)
            | Message::CellsWanted(_)
            | Message::Apart(_)
            | Message::Interest(_)
            | Message::Fetch(_)
            | Message::Fetched(_)
            | Message::Neighbours(_)
            | Message::IndexAsk(_)
            | Message::IndexTold(_)
            | Message::IndexTaken(_)
            | Message::Offer(_)
            | Message::Wanted(_) => self.close(conn, CODE_PROTOCOL, "a message before the hello"),
        }
    }

    /// A message of an open connection. One that names a space no longer shared is dropped: it may have been
    /// under way when this side learned of it.
    fn message(&mut self, conn: ConnId, message: Message, bytes: &[u8]) {
        if matches!(message, Message::Open(_)) {
            self.charge_message(conn, &message);
        }
        if let Message::Open(opening) = message {
            return self.hear_late_opening(conn, opening);
        }
        let Some(slot) = message.slot() else {
            return;
        };
        let Some(entry) = self.conns.get(&conn) else {
            return;
        };
        if !entry.opened.contains(&slot) || entry.unknown.iter().any(|opening| opening.slot == slot) {
            return self.keep_early(conn, bytes);
        }
        let Some(space) = entry.theirs.get(&slot).copied().filter(|space| self.is_heard(conn, *space)) else {
            return;
        };
        self.charge_message(conn, &message);
        match message {
            Message::Hello(_)
            | Message::HelloAck(_)
            | Message::Farewell(_)
            | Message::Introduce(_)
            | Message::Open(_) => {}
            Message::Vectors(told) => self.hear_vectors(conn, space, told),
            Message::Shorts(shorts) => self.hear_shorts(conn, space, shorts.shorts),
            Message::Statements(statements) => self.hear_statements(conn, space, statements.statements),
            Message::Live(live) => self.hear_commits(conn, space, vec![live.commit], None),
            Message::LiveBatch(batch) => self.hear_commits(conn, space, batch.commits, None),
            Message::Batch(batch) => self.hear_commits(conn, space, batch.commits, Some(batch.number)),
            Message::BatchTaken(taken) => self.hear_taken(conn, space, taken.number),
            Message::Ack(ack) => self.hear_ack(conn, space, &ack.vectors),
            Message::Roots(roots) => self.hear_roots(conn, space, &roots),
            Message::Heads(heads) => self.hear_heads(conn, space, heads),
            Message::Clocks(clocks) => self.hear_clocks(conn, space, clocks),
            Message::Cells(cells) => self.hear_cells(conn, space, cells),
            Message::CellsWanted(wanted) => self.hear_cells_wanted(conn, space, wanted.count),
            Message::Apart(apart) => self.hear_apart(conn, space, apart),
            Message::Interest(told) => self.hear_interests(conn, space, told),
            Message::Fetch(fetch) => self.hear_fetch(conn, space, fetch),
            Message::Fetched(fetched) => self.hear_fetched(conn, space, fetched),
            Message::IndexAsk(asked) => self.hear_index_ask(conn, space, asked),
            Message::IndexTold(told) => self.hear_index_told(conn, space, told.says),
            Message::IndexTaken(taken) => self.hear_index_taken(conn, space, taken.number),
            Message::Neighbours(neighbours) => self.hear_neighbours(conn, space, neighbours.peers),
            Message::Offer(offer) => self.hear_offer(conn, space, offer.vectors),
            Message::Wanted(wanted) => self.hear_wanted(conn, space, wanted),
        }
    }

    /// Keeps a frame until the peer's opening, which it has overtaken, arrives, or can be placed.
    fn keep_early(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        entry.early_bytes += bytes.len();
        if entry.early_bytes > INBOX_BYTES_MAX {
            return self.close(conn, CODE_TIMEOUT, "too much came before its opening");
        }
        entry.early.push(bytes.to_vec());
    }

    /// An opening arrived, or was placed: hears what waited for it.
    pub(super) fn hear_early(&mut self, conn: ConnId) {
        let Some(entry) = self.conns.get_mut(&conn) else {
            return;
        };
        entry.early_bytes = 0;
        for frame in std::mem::take(&mut entry.early) {
            self.frame(conn, &frame);
        }
    }

    fn farewell(&mut self, conn: ConnId, farewell: &Farewell) {
        let reason = format!("the peer closed: {}", farewell.text);
        self.note_rest(conn, farewell.code);
        let (last_words, code) = (LastWords::Drop, CODE_CLOSED);
        let again = self.was_turned_away(conn, farewell.code);
        self.actions.push_back(Action::Close { conn, last_words, code, reason: reason.clone() });
        self.disconnected(conn, &reason);
        if let Some(peer) = again {
            self.dial(peer);
        }
    }
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }
}

fn check_versions(hello: &Hello) -> Result<(), String> {
    let (oldest, newest) = hello.versions;
    if oldest <= VERSION_MAX && VERSION_MIN <= newest {
        return Ok(());
    }
    Err(format!("protocol versions {oldest} to {newest} there, {VERSION_MIN} to {VERSION_MAX} here"))
}
