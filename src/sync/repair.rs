//! Repair: when the roots differ and the vectors do not tell why, compare what the two sides hold.
//!
//! ```text
//! leader    the first CELLS of a sketch of all its (entity, heads)   the side with the smaller key leads
//! follower  CELLS_WANTED, until the cells tell the difference        four times as many each time
//! follower  APART: its clocks of what differs, and the symbols that only the leader has
//! leader    APART in answer: its clocks of the same entities; then the commits that the follower lacks
//! follower  the commits that the leader lacks
//! ```
//!
//! Where the largest sketch is too small, heads are compared range by range (`heads`).

use std::collections::{BTreeMap, BTreeSet};

use super::conn::CODE_PROTOCOL;
use super::{ConnId, Engine, Lane, Purpose, Session, digest};
use crate::exchange::{self, Answer, Ask, Packed, Vectors};
use crate::id::{Cell, CollectionName, EntityClock, EntityId, SpaceId};
use crate::limits::{BATCH_BYTES, BATCHES_UNDER_WAY_MAX, CLOCKS_BYTES, SKETCH_CELLS_FIRST, SKETCH_CELLS_MAX};
use crate::wire::{Apart, Cells, CellsWanted, Heads, Message};

/// What this side does in the repair of a space.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// The leader's cells: how many it sent, or those that the follower received.
    pub(super) sent: usize,
    pub(super) cells: Vec<Cell>,
    /// Collections that the leader has not compared by heads yet; the last one is next.
    pub(super) collections: Vec<CollectionName>,
    /// Where the leader is in the last one.
    pub(super) after: Option<EntityId>,
    /// The step whose answer from the database is awaited.
    pub(super) step: Step,
    /// The question for the next page of commits, and its step, until the peer has taken earlier ones.
    pub(super) parked: Option<(Step, Ask)>,
    /// Commits that were sent: one may differ in several entities, collections and pages.
    pub(super) sent_commits: Vectors,
    /// The follower is still sending: the leader's next page of heads.
    pub(super) next: Option<Heads>,
}

impl Repair {
    /// Forgets what is still to be compared of what the two may not both read.
    pub(super) fn forget_unreadable(&mut self, both: &impl Fn(&CollectionName) -> bool) {
        // The last one is being talked about: its end is seen where the next page would begin.
        let under_way = self.collections.pop();
        self.collections.retain(both);
        self.collections.extend(under_way);
    }

    /// Whether this side sends what the peer lacks, and the peer may go on meanwhile.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self.step, Step::SendAll { .. }) || self.parked.is_some()
    }
}

/// A question to the database under way.
#[derive(Debug, Default)]
pub(super) enum Step {
    /// None: the peer's turn.
    #[default]
    None,
    /// Leader: our sketch.
    Sketch,
    /// Follower: what the cells tell.
    CompareCells,
    /// Leader: our clocks of what the follower named; with its own clocks.
    Resolve(exchange::Clocks),
    /// Both: what the peer lacks, page by page of one collection after the other.
    SendAll { collection: CollectionName, rest: exchange::Clocks },
    /// Leader: a page of our heads.
    Page,
    /// Follower: our heads in the leader's range.
    CompareHeads(Heads),
    /// Follower: our clocks of what differs, compared up to here.
    TellClocks { collection: CollectionName, upto: Option<EntityId> },
    /// Leader: what the follower lacks; then our clocks of the same entities.
    SendPage { collection: CollectionName, entities: Vec<EntityId>, upto: Option<EntityId> },
    /// Leader: our clocks.
    AnswerClocks { collection: CollectionName, upto: Option<EntityId> },
}

impl Engine {
    /// Begins to compare, as the leader. `collections` are those with anything in them, here or there.
    pub(super) fn begin_repair(
        &mut self,
        conn: ConnId,
        space: SpaceId,
        collections: BTreeSet<CollectionName>,
    ) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        if session.repair.is_some() {
            return;
        }
        let scope = self.scope(conn, space);
        let counts = |collection: &CollectionName| scope.is_common(collection);
        let collections = collections.into_iter().rev().filter(counts).collect();
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.repair = Some(Repair { collections, ..Repair::default() });
        session.urgent = true;
        self.watch_begin(conn, space);
        self.ask_sketch(conn, space, SKETCH_CELLS_FIRST);
    }

    fn ask_sketch(&mut self, conn: ConnId, space: SpaceId, cells: usize) {
        let (Some(to), Some(key)) = (self.peer_of(conn), self.symbol_key(conn, space)) else {
            return;
        };
        let scope = self.scope(conn, space);
        self.step(conn, space, Step::Sketch, Ask::Sketch { space, to, key, scope, cells });
    }

    pub(super) fn hear_cells(&mut self, conn: ConnId, space: SpaceId, cells: Cells) {
        let key = self.symbol_key(conn, space);
        let Some((session, key)) = self.sessions.get_mut(&(conn, space)).zip(key) else {
            return;
        };
        let with = session.peer;
        if cells.first == 0 && session.repair.is_none() {
            session.repair = Some(Repair::default());
        }
        session.repairs += u64::from(cells.first == 0);
        session.repairs_in_vain += u32::from(cells.first == 0);
        // Cells that add nothing would go on for ever.
        let in_turn = |repair: &Repair| {
            repair.cells.len() == cells.first && !cells.cells.is_empty() && matches!(repair.step, Step::None)
        };
        let Some(repair) = session.repair.as_mut().filter(|repair| self.me > with && in_turn(repair)) else {
            return self.close(conn, CODE_PROTOCOL, "cells out of turn");
        };
        repair.cells.extend(cells.cells);
        let cells = repair.cells.clone();
        self.watch_begin(conn, space);
        let scope = self.scope(conn, space);
        self.step(conn, space, Step::CompareCells, Ask::Compare { space, with, key, scope, cells });
    }

    pub(super) fn hear_cells_wanted(&mut self, conn: ConnId, space: SpaceId, count: usize) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let (leads, Some(repair)) = (self.me < session.peer, session.repair.as_mut()) else {
            return self.close(conn, CODE_PROTOCOL, "a sketch was asked for out of turn");
        };
        if !leads || !matches!(repair.step, Step::None) || (count != 0 && count <= repair.sent) {
            return self.close(conn, CODE_PROTOCOL, "a sketch was asked for out of turn");
        }
        if count == 0 { self.next_page(conn, space) } else { self.ask_sketch(conn, space, count) }
    }

    pub(super) fn hear_apart(&mut self, conn: ConnId, space: SpaceId, mut apart: Apart) {
        let key = self.symbol_key(conn, space);
        let Some((session, key)) = self.sessions.get_mut(&(conn, space)).zip(key) else {
            return;
        };
        let with = session.peer;
        let (leads, Some(repair)) = (self.me < with, session.repair.as_mut()) else {
            return self.close(conn, CODE_PROTOCOL, "a difference out of turn");
        };
        if leads == apart.answer || !matches!(repair.step, Step::None) {
            return self.close(conn, CODE_PROTOCOL, "a difference out of turn");
        }
        // The peer may not have heard yet that there is less to read together.
        apart.clocks.retain(|collection, _| self.may_both(space, &with, collection));
        if leads {
            let Apart { symbols, clocks, .. } = apart;
            let scope = self.scope(conn, space);
            self.step(conn, space, Step::Resolve(clocks), Ask::Resolve { space, with, key, scope, symbols });
        } else {
            let clocks = self.or_whole(conn, space, apart.clocks);
            self.send_all(conn, space, clocks);
        }
    }

    pub(super) fn step(&mut self, conn: ConnId, space: SpaceId, step: Step, ask: Ask) {
        if let Some(repair) =
            self.sessions.get_mut(&(conn, space)).and_then(|session| session.repair.as_mut())
        {
            repair.step = step;
            self.ask(Purpose::Repair(conn, space), ask);
        }
    }

    /// Asks for a page of commits, when the peer keeps up with those before it.
    pub(super) fn step_page(&mut self, conn: ConnId, space: SpaceId, step: Step, ask: Ask) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        match session.repair.as_mut() {
            Some(repair) if session.under_way.len() >= BATCHES_UNDER_WAY_MAX => {
                repair.parked = Some((step, ask));
            }
            Some(_) | None => self.step(conn, space, step, ask),
        }
    }

    /// The peer took a batch: goes on where the repair waited for it.
    pub(super) fn resume_repair(&mut self, conn: ConnId, space: SpaceId) {
        let repair = self.sessions.get_mut(&(conn, space)).and_then(|session| session.repair.as_mut());
        if let Some((step, ask)) = repair.and_then(|repair| repair.parked.take()) {
            self.step_page(conn, space, step, ask);
        }
    }

    pub(super) fn repair_answered(&mut self, conn: ConnId, space: SpaceId, answer: Answer) {
        let Some(repair) = self.sessions.get_mut(&(conn, space)).and_then(|session| session.repair.as_mut())
        else {
            return;
        };
        match (std::mem::take(&mut repair.step), answer) {
            (Step::Sketch, Answer::Sketch(cells)) => self.tell_cells(conn, space, cells),
            (Step::CompareCells, Answer::TooFewCells) => self.want_cells(conn, space),
            (Step::CompareCells, Answer::Apart(apart)) => self.tell_apart(conn, space, apart),
            (Step::Resolve(theirs), Answer::Apart(apart)) => {
                self.answer_apart(conn, space, theirs, apart.ours)
            }
            (Step::SendAll { collection, rest }, Answer::Lacking { commits, rest: clocks }) => {
                self.send_repair(conn, space, commits);
                self.send_page(conn, space, collection, clocks, rest);
            }
            (step, answer) => self.heads_answered(conn, space, step, answer),
        }
    }

    fn tell_cells(&mut self, conn: ConnId, space: SpaceId, cells: Vec<Cell>) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let slot = session.slot;
        let Some(repair) = session.repair.as_mut() else {
            return;
        };
        let first = std::mem::replace(&mut repair.sent, cells.len());
        session.repairs += u64::from(first == 0);
        session.repairs_in_vain += u32::from(first == 0);
        let cells = cells.get(first..).unwrap_or_default().to_vec();
        self.send(conn, Lane::Bulk, &Message::Cells(Cells { slot, first, cells }));
    }

    fn want_cells(&mut self, conn: ConnId, space: SpaceId) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let slot = session.slot;
        let received = session.repair.as_ref().map_or(0, |repair| repair.cells.len());
        let count = if received < SKETCH_CELLS_MAX { (received * 4).min(SKETCH_CELLS_MAX) } else { 0 };
        if count == 0 {
            session.repair = None;
        }
        self.send(conn, Lane::Bulk, &Message::CellsWanted(CellsWanted { slot, count }));
        self.watch(conn, space);
    }

    fn tell_apart(&mut self, conn: ConnId, space: SpaceId, mut apart: exchange::Apart) {
        apart.ours.retain(|collection, _| self.common(conn, space, collection));
        let Some(session) = self.sessions.get(&(conn, space)) else {
            return;
        };
        let slot = session.slot;
        fit(apart.ours.values_mut().flatten());
        let message = Apart { slot, symbols: apart.theirs, clocks: apart.ours, answer: false };
        self.send(conn, Lane::Bulk, &Message::Apart(message));
    }

    /// The leader knows both sides' clocks: entities that one side did not name, it lacks.
    fn answer_apart(
        &mut self,
        conn: ConnId,
        space: SpaceId,
        theirs: exchange::Clocks,
        ours: exchange::Clocks,
    ) {
        let Some(session) = self.sessions.get(&(conn, space)) else {
            return;
        };
        let slot = session.slot;
        let mut clocks = completed(&ours, &theirs);
        clocks.retain(|collection, _| self.common(conn, space, collection));
        fit(clocks.values_mut().flatten());
        self.send(
            conn,
            Lane::Bulk,
            &Message::Apart(Apart { slot, symbols: Vec::new(), clocks, answer: true }),
        );
        let clocks = self.or_whole(conn, space, completed(&theirs, &ours));
        self.send_all(conn, space, clocks);
    }

    /// The clocks of a peer; empty ones when comparing did not help before, so that all is sent.
    fn or_whole(&self, conn: ConnId, space: SpaceId, mut clocks: exchange::Clocks) -> exchange::Clocks {
        clocks.values_mut().for_each(|clocks| self.make_whole(conn, space, clocks));
        clocks
    }

    pub(super) fn make_whole(&self, conn: ConnId, space: SpaceId, clocks: &mut [EntityClock]) {
        if self.sessions.get(&(conn, space)).is_some_and(Session::sends_whole) {
            clocks.iter_mut().for_each(|clock| clock.clock.clear());
        }
    }

    /// Sends what the peer lacks of the next collection, or ends the repair.
    fn send_all(&mut self, conn: ConnId, space: SpaceId, mut rest: exchange::Clocks) {
        match rest.pop_first() {
            Some((collection, clocks)) => self.send_page(conn, space, collection, clocks, rest),
            None => self.end_repair(conn, space),
        }
    }

    /// Sends what the peer lacks of one collection, a page at a time, and then of the rest.
    fn send_page(
        &mut self,
        conn: ConnId,
        space: SpaceId,
        collection: CollectionName,
        clocks: Vec<EntityClock>,
        rest: exchange::Clocks,
    ) {
        if clocks.is_empty() {
            return self.send_all(conn, space, rest);
        }
        let Some(to) = self.peer_of(conn) else {
            return;
        };
        let (scope, have) = (self.scope(conn, space), self.sent_to(conn, space));
        let step = Step::SendAll { collection: collection.clone(), rest };
        let ask = Ask::Lacking { space, collection, to, have, scope, clocks, bytes_max: BATCH_BYTES };
        self.step_page(conn, space, step, ask);
    }

    /// What a peer holds or is being sent, as far as it is known.
    pub(super) fn sent_to(&self, conn: ConnId, space: SpaceId) -> Vectors {
        self.sessions.get(&(conn, space)).and_then(|session| session.sent.clone()).unwrap_or_default()
    }

    pub(super) fn send_repair(&mut self, conn: ConnId, space: SpaceId, mut commits: Vec<Packed>) {
        let repair = self.sessions.get_mut(&(conn, space)).and_then(|session| session.repair.as_mut());
        if let Some(repair) = repair {
            commits.retain(|commit| !digest::holds(&repair.sent_commits, &commit.key));
            commits.iter().for_each(|commit| digest::note(&mut repair.sent_commits, &commit.key));
        }
        self.metrics.commits_sent_repair.add(commits.len() as u64);
        self.charge_repair(conn, commits.iter().map(|commit| commit.bytes.len()).sum());
        self.send_batches(conn, space, commits);
    }

    /// What follows is decided by the comparison that ends every sync.
    pub(super) fn end_repair(&mut self, conn: ConnId, space: SpaceId) {
        let now = self.now.instant;
        let ended = self.sessions.get_mut(&(conn, space)).and_then(|session| {
            if session.repair.is_some() && session.sends_whole() {
                session.repaired = Some(now);
            }
            session.repair.take()
        });
        self.watch(conn, space);
        self.check_soon(conn, space);
        if let Some(heads) = ended.and_then(|repair| repair.next) {
            return self.compare_heads(conn, space, heads);
        }
        self.pump(conn, space);
    }

    pub(super) fn peer_of(&self, conn: ConnId) -> Option<crate::id::PeerId> {
        self.conns.get(&conn).map(|entry| entry.peer)
    }

    /// Keys the symbols of sketches, and the heads of ranges: nobody outside the connection can choose entities that collide.
    pub(super) fn symbol_key(&self, conn: ConnId, space: SpaceId) -> Option<[u8; 32]> {
        let entry = self.conns.get(&conn)?;
        let mut hasher = blake3::Hasher::new_keyed(&entry.exporter);
        hasher.update(b"driftless/symbols/v1\0");
        hasher.update(space.as_bytes());
        Some(*hasher.finalize().as_bytes())
    }
}

/// Empties the clocks for which a message has no room, as if the entities were not here: all of them comes, which is more
/// than is lacking, and never less.
pub(super) fn fit<'a>(clocks: impl Iterator<Item = &'a mut EntityClock>) {
    let mut left = CLOCKS_BYTES;
    for EntityClock { clock, .. } in clocks {
        match left.checked_sub((16 + 10) * clock.len()) {
            Some(rest) => left = rest,
            None => clock.clear(),
        }
    }
}

/// The clocks of one side, with an empty one for every entity that only the other side named.
fn completed(side: &exchange::Clocks, other: &exchange::Clocks) -> exchange::Clocks {
    let mut all: BTreeMap<CollectionName, BTreeMap<EntityId, EntityClock>> = BTreeMap::new();
    for (collection, clocks) in other {
        let empty = clocks
            .iter()
            .map(|named| (named.entity, EntityClock { entity: named.entity, clock: Vec::new() }));
        all.entry(collection.clone()).or_default().extend(empty);
    }
    for (collection, clocks) in side {
        let own = clocks.iter().map(|clock| (clock.entity, clock.clone()));
        all.entry(collection.clone()).or_default().extend(own);
    }
    all.into_iter().map(|(collection, clocks)| (collection, clocks.into_values().collect())).collect()
}
