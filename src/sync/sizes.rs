//! How much the engine holds: for the simulator, which looks whether it keeps its bounds.

use super::{ConnId, Engine};
use crate::id::SpaceId;
use crate::wire::Slot;

/// What one engine holds at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) conns: usize,
    pub(crate) sessions: usize,
    pub(crate) peers: usize,
    /// Questions without an answer.
    pub(crate) requests: usize,
    /// Commits that are written and not on disk.
    pub(crate) undurable: usize,
    /// Vectors that are remembered for peers.
    pub(crate) bases: usize,
    pub(crate) tickets: usize,
    /// The most bytes of commits that wait to be taken, of any session.
    pub(crate) inbox_bytes: usize,
    /// The most bytes of pushed commits without an acknowledgement, of any session.
    pub(crate) unacked_bytes: usize,
}

impl Sizes {
    /// Adds those of another engine.
    pub(crate) fn add(&mut self, other: &Self) {
        self.conns += other.conns;
        self.sessions += other.sessions;
        self.peers += other.peers;
        self.requests += other.requests;
        self.undurable += other.undurable;
        self.bases += other.bases;
        self.tickets += other.tickets;
        self.inbox_bytes += other.inbox_bytes;
        self.unacked_bytes += other.unacked_bytes;
    }
}

impl Engine {
    /// Returns how much the engine holds.
    pub(crate) fn sizes(&self) -> Sizes {
        let sessions = self.sessions.values();
        Sizes {
            conns: self.conns.len(),
            sessions: self.sessions.len(),
            peers: self.peers.len(),
            requests: self.requests.len(),
            undurable: self.undurable.len(),
            bases: self.bases.len(),
            tickets: self.tickets.len(),
            inbox_bytes: sessions.clone().map(|session| session.inbox_bytes).max().unwrap_or(0),
            unacked_bytes: sessions.map(|session| session.unacked_bytes).max().unwrap_or(0),
        }
    }

    /// Returns how this side's frames name a space on a connection; `None` before it told the peer.
    pub(crate) fn slot_of(&self, conn: ConnId, space: SpaceId) -> Option<Slot> {
        let session = self.sessions.get(&(conn, space)).filter(|_| self.is_opened(conn, space));
        session.map(|session| session.slot)
    }

    /// Returns the space that this side's frames name by `slot` on a connection.
    pub(crate) fn space_of(&self, conn: ConnId, slot: Slot) -> Option<SpaceId> {
        let mut sessions = self.sessions.iter().filter(|((other, _), _)| *other == conn);
        sessions.find(|(_, session)| session.slot == slot).map(|((_, space), _)| *space)
    }
}
