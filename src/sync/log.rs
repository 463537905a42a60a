//! The membership log on its way: who lacks which statements, and the end of what is no longer shared.

use std::collections::BTreeSet;

use super::conn::{CODE_NOTHING_SHARED, CODE_REFUSED};
use super::{ConnId, Engine, Lane, Purpose, Session};
use crate::exchange::{Ask, ShortsKey};
use crate::id::{SpaceId, StatementHash};
use crate::limits::{LOG_ROUNDS_MAX, STATEMENT_SENT_MAX, STATEMENTS_PAGE_BYTES};
use crate::wire::{Digest, Message, Shorts, Statements};

/// What follows when the statements were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The session goes on.
    GoOn,
    /// The peer may learn why, and nothing else.
    Part,
}

impl Engine {
    /// Our log has more statements than before: say so to everyone who shares the space. What kept two from coming to
    /// agree may have ended by it, so they compare as often as if they never had.
    pub(super) fn log_changed(&mut self, space: SpaceId) {
        for conn in self.conns_of(space) {
            self.sessions.get_mut(&(conn, space)).into_iter().for_each(Session::begin_rounds);
            self.set_in_sync(conn, space, false);
            self.check_soon(conn, space);
            // What is not open yet will tell the digest of the log.
            if self.is_opened(conn, space) {
                self.ask_shorts(conn, space);
            }
        }
    }

    /// Reads which statements we have, to tell the peer.
    pub(super) fn ask_shorts(&mut self, conn: ConnId, space: SpaceId) {
        let Some(key) = self.shorts_key(conn, space) else {
            return;
        };
        self.ask(Purpose::Shorts(conn, space), Ask::StatementShorts { space, key });
    }

    /// The logs differ: exchange what is not the same, a few times. When that changes neither, one has no room for what
    /// the other has, and they are exchanged ever more seldom.
    pub(super) fn logs_differ(&mut self, conn: ConnId, space: SpaceId, digests: [Digest; 2]) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let before = session.logs.filter(|(of, _)| *of == digests).map_or(0, |(_, rounds)| rounds);
        let rounds = before.saturating_add(1);
        session.logs = Some((digests, rounds));
        if rounds <= LOG_ROUNDS_MAX || rounds.is_power_of_two() {
            self.ask_shorts(conn, space);
        }
    }

    /// Keys the short hashes of statements by what both ends have of the connection and nobody else.
    fn shorts_key(&self, conn: ConnId, space: SpaceId) -> Option<ShortsKey> {
        let mut hasher = blake3::Hasher::new_keyed(&self.conns.get(&conn)?.exporter);
        hasher.update(b"driftless/shorts/v1\0");
        hasher.update(space.as_bytes());
        Some(ShortsKey(*hasher.finalize().as_bytes()))
    }

    pub(super) fn tell_shorts(&mut self, conn: ConnId, space: SpaceId, shorts: Vec<[u8; 8]>) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let slot = session.slot;
        if let Some(theirs) = session.their_shorts.take() {
            let ours: BTreeSet<&[u8; 8]> = shorts.iter().collect();
            if theirs.iter().all(|short| ours.contains(short)) {
                return;
            }
        }
        self.send(conn, Lane::Control, &Message::Shorts(Shorts { slot, shorts }));
    }

    /// The peer said what it has: send what it lacks, and ask back for what is new here.
    pub(super) fn hear_shorts(&mut self, conn: ConnId, space: SpaceId, shorts: Vec<[u8; 8]>) {
        let Some(key) = self.shorts_key(conn, space) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.their_shorts = Some(shorts.clone());
        let given = session.given.iter().filter(|(_, times)| **times >= STATEMENT_SENT_MAX);
        let given = given.map(|(short, _)| *short).collect();
        let ask = Ask::Statements { space, key, given, known: shorts };
        self.ask(Purpose::Statements(conn, space, After::GoOn), ask);
        self.ask_shorts(conn, space);
    }

    pub(super) fn send_statements(
        &mut self,
        conn: ConnId,
        space: SpaceId,
        statements: Vec<Vec<u8>>,
        after: After,
    ) {
        let key = self.shorts_key(conn, space).unwrap_or_default();
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let slot = session.slot;
        let sent = statements.iter().map(Vec::len).sum();
        for statement in &statements {
            let short = key.short(&StatementHash::new(*blake3::hash(statement).as_bytes()));
            let times = session.given.entry(short).or_default();
            *times = times.saturating_add(1);
        }
        let mut page = Vec::new();
        let mut bytes = 0;
        for statement in statements {
            bytes += statement.len();
            page.push(statement);
            if bytes >= STATEMENTS_PAGE_BYTES {
                let statements = std::mem::take(&mut page);
                self.send(conn, Lane::Control, &Message::Statements(Statements { slot, statements }));
                bytes = 0;
            }
        }
        if !page.is_empty() {
            self.send(conn, Lane::Control, &Message::Statements(Statements { slot, statements: page }));
        }
        match after {
            After::GoOn => self.charge_repair(conn, sent),
            After::Part => self.end_session(conn, space),
        }
    }

    pub(super) fn hear_statements(&mut self, conn: ConnId, space: SpaceId, statements: Vec<Vec<u8>>) {
        let Some(session) = self.sessions.get(&(conn, space)) else {
            return;
        };
        let from = session.peer;
        self.ask(Purpose::Learn(conn, space), Ask::Learn { space, from, statements });
    }

    /// The store has looked at what a peer sent. Every node verifies a statement before it passes it on, so who sends one
    /// that does not verify has not done what every program does.
    pub(super) fn learned(&mut self, conn: ConnId, statements: usize, offence: Option<String>) {
        tracing::trace!(statements, "log learned");
        if let Some(offence) = offence {
            self.close(conn, CODE_REFUSED, &format!("a statement was refused: {offence}"));
        }
    }

    /// The space is no longer shared with the peer of this connection. A device that was removed is told the
    /// statements, so that it learns why; nothing else is said or heard about the space.
    pub(super) fn part(&mut self, conn: ConnId, space: SpaceId) {
        self.neighbour_gone(conn, space);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let under_way = session.under_way.values().sum();
        session.part();
        self.schedule.forget(conn, space, under_way);
        let we_belong =
            self.spaces.get(&space).is_some_and(|local| local.membership.role(&self.me).is_some());
        if we_belong && self.conns.get(&conn).is_some_and(super::Conn::is_open) {
            self.ask(
                Purpose::Statements(conn, space, After::Part),
                Ask::Statements { space, key: ShortsKey::default(), given: Vec::new(), known: Vec::new() },
            );
        } else {
            self.end_session(conn, space);
        }
    }

    pub(super) fn end_session(&mut self, conn: ConnId, space: SpaceId) {
        self.drop_session(conn, space);
        if self.sessions_of(conn).is_empty() {
            self.close(conn, CODE_NOTHING_SHARED, "no space in common");
        }
    }
}
