//! When the node is on the network: always, every so often, or when it is told to.
//!
//! A node that rests between syncs begins no connection by itself, takes those that others begin, and ends each when
//! everything on it is in sync. Its farewell says whether the node will come by itself or waits for the other.

use super::conn::{CODE_RESTS, CODE_RESTS_AND_WAITS};
use super::{ConnId, Engine};
use crate::limits::REQUEST_DEADLINE_MS;
use crate::time::Instant;

/// When the node is on the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It keeps connections to all peers.
    #[default]
    Live,
    /// It reaches all peers at once, syncs, and rests until the next time.
    Periodic {
        /// From one beginning to the next.
        every_ms: u64,
    },
    /// It reaches peers when the app syncs.
    Manual,
}

impl Engine {
    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        match mode {
            Mode::Live => {
                self.next_round = None;
                self.dial_all();
            }
            Mode::Periodic { .. } => self.begin_round(),
            Mode::Manual => self.next_round = None,
        }
    }

    /// The app or the system says that now is a good time.
    pub(super) fn woken(&mut self) {
        match self.mode {
            Mode::Live => self.dial_all(),
            Mode::Periodic { .. } => self.begin_round(),
            Mode::Manual => {}
        }
    }

    /// Reaches everyone, and plans the next time.
    fn begin_round(&mut self) {
        if let Mode::Periodic { every_ms } = self.mode {
            self.next_round = Some(self.now.instant.plus_ms(every_ms));
            self.dial_all();
        }
    }

    pub(super) fn round_due(&mut self) {
        if self.next_round.is_some_and(|due| due <= self.now.instant) {
            self.begin_round();
        }
    }

    /// Whether the node may begin a connection to a peer that it has just been told of.
    pub(super) fn dials_at_once(&self) -> bool {
        self.mode != Mode::Manual
    }

    /// Whether attempts that failed are repeated.
    pub(super) fn retries(&self) -> bool {
        self.mode == Mode::Live
    }

    /// When the next round begins, or a connection on which nothing is heard is given up.
    pub(super) fn mode_due(&self) -> Option<Instant> {
        let silent = (self.mode != Mode::Live).then(|| {
            self.conns.values().filter(|conn| conn.is_open()).map(|conn| gives_up(conn.heard_at)).min()
        });
        [self.next_round, silent.flatten()].into_iter().flatten().min()
    }

    /// Ends the connections that have done their work.
    pub(super) fn rest(&mut self) {
        if self.mode == Mode::Live {
            return;
        }
        let open = self.conns.iter().filter(|(_, conn)| conn.is_open());
        let silent = |heard_at| gives_up(heard_at) <= self.now.instant;
        let over = open.filter(|(id, conn)| silent(conn.heard_at) || self.is_done(**id));
        let over: Vec<ConnId> = over.map(|(id, _)| *id).collect();
        for conn in over {
            let comes = self.conns.get(&conn).is_some_and(|entry| self.has_addresses(&entry.peer));
            let code = if comes { CODE_RESTS } else { CODE_RESTS_AND_WAITS };
            self.close(conn, code, "the node rests until its next sync");
        }
    }

    /// Everything on the connection is in sync, and was compared since anyone asked for that.
    fn is_done(&self, conn: ConnId) -> bool {
        let spaces = self.sessions_of(conn);
        let sessions = spaces.iter().filter_map(|space| self.sessions.get(&(conn, *space)));
        let fetches = spaces.iter().any(|space| self.fetches_at(conn, *space));
        !spaces.is_empty() && !fetches && sessions.into_iter().all(|session| session.is_settled())
    }
}

fn gives_up(heard_at: Instant) -> Instant {
    heard_at.plus_ms(REQUEST_DEADLINE_MS)
}
