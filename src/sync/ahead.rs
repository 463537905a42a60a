//! An edit that a person makes here during a bulk transfer: it goes ahead, with what the peer lacks of its entities.
//!
//! The commit alone would wait there for the rest of the transfer: a change cannot be applied before those it
//! follows.

use super::{ConnId, Engine, Purpose, digest};
use crate::access::Commit;
use crate::exchange::{Ask, Packed};
use crate::id::SpaceId;
use crate::limits::{AHEAD_COMMITS_MAX, LIVE_BATCH_BYTES};

impl Engine {
    /// Takes a commit that was made here; what there is no room for comes with the transfer.
    pub(super) fn push_ahead(&mut self, conn: ConnId, space: SpaceId, commit: Packed) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        if session.ahead.len() >= AHEAD_COMMITS_MAX {
            session.dirty = true;
            return;
        }
        session.ahead.push_back(commit);
        self.reach(conn, space);
    }

    /// Reads what the peer lacks of the entities of the next one.
    fn reach(&mut self, conn: ConnId, space: SpaceId) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        let Some(have) = session.sent.clone().filter(|_| !session.reaching) else {
            return;
        };
        let Some(commit) = session.ahead.pop_front() else {
            return;
        };
        let Ok(commit) = Commit::decode(space, &commit.bytes) else {
            debug_assert!(false, "a commit that was applied here can be read");
            session.dirty = true;
            return;
        };
        session.reaching = true;
        let places = commit.places();
        let to = session.peer;
        let scope = self.scope(conn, space);
        let ask = Ask::History { space, to, places, have, scope, bytes_max: LIVE_BATCH_BYTES };
        self.ask(Purpose::History(conn, space), ask);
    }

    /// What the peer lacks was read; more than a frame of it is left to the transfer.
    pub(super) fn push_history(
        &mut self,
        conn: ConnId,
        space: SpaceId,
        commits: Vec<Packed>,
        complete: bool,
    ) {
        let Some(session) = self.sessions.get_mut(&(conn, space)) else {
            return;
        };
        session.reaching = false;
        session.dirty |= !complete;
        let nothing = crate::exchange::Vectors::new();
        let sent = session.sent.as_ref().unwrap_or(&nothing);
        let lacked = commits.into_iter().filter(|commit| complete && !digest::holds(sent, &commit.key));
        for commit in lacked.collect::<Vec<Packed>>() {
            self.gather(conn, space, commit);
        }
        self.reach(conn, space);
        self.pump(conn, space);
    }
}
