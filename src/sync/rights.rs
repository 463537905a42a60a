//! What two devices may read together becomes less: nothing that was noted before names the rest any more.
//!
//! An acknowledgement waits for a moment, an offer for a second, a live commit for room. Who loses the right to
//! read in between is told nothing by them.

use super::conn::{CODE_CLOSED, CODE_PROTOCOL};
use super::{ConnId, Engine};
use crate::exchange::{CommitKey, Packed, Vectors};
use crate::id::{CollectionName, SpaceId};

impl Engine {
    /// Forgets what is still to be said of collections that the two may not both read.
    pub(super) fn forget_unreadable(&mut self, conn: ConnId, space: SpaceId) {
        let Some(session) = self.sessions.get(&(conn, space)) else { return };
        let peer = session.peer;
        let gathered: Vec<Packed> =
            session.gathered.iter().filter_map(|commit| self.visible(conn, space, commit)).collect();
        let ahead = session.ahead.iter().filter_map(|commit| self.visible(conn, space, commit)).collect();
        let Some(local) = self.spaces.get(&space) else { return };
        let both = |collection: &CollectionName| local.may_both(&self.me, &peer, collection);
        let Some(session) = self.sessions.get_mut(&(conn, space)) else { return };
        session.rights_changed = true;
        retain(&mut session.ack, &both);
        if let Some(sent) = &mut session.sent {
            retain(sent, &both);
        }
        session.neighbourhood.forget_unreadable(&both);
        session.gathered_bytes = gathered.iter().map(|commit| commit.bytes.len()).sum();
        session.gathered = gathered;
        session.ahead = ahead;
        // What the peer may not read it does not acknowledge either.
        session.unacked.retain_mut(|(key, _)| is_left(key, &both));
        session.unacked_bytes = session.unacked.iter().map(|(_, bytes)| *bytes).sum();
        if let Some(repair) = &mut session.repair {
            repair.forget_unreadable(&both);
        }
        self.watch(conn, space);
    }

    /// A comparison by heads has come to a collection that the two may not both read. One of them may have heard of
    /// that while they compared, which is nobody's offence; there is no way to go on from there but a new beginning.
    pub(super) fn not_shared(&mut self, conn: ConnId, space: SpaceId) {
        let changed = self.sessions.get(&(conn, space)).is_some_and(|session| session.rights_changed);
        let code = if changed { CODE_CLOSED } else { CODE_PROTOCOL };
        self.close(conn, code, "a comparison of a collection that is not shared");
    }
}

/// Leaves of vectors the collections that both may read.
pub(super) fn retain(vectors: &mut Vectors, both: &impl Fn(&CollectionName) -> bool) {
    vectors.retain(|collection, _| both(collection));
}

/// Leaves of a key the parts that both may read; tells whether there are any.
fn is_left(key: &mut CommitKey, both: &impl Fn(&CollectionName) -> bool) -> bool {
    key.parts.retain(|(collection, _)| both(collection));
    !key.parts.is_empty()
}
