//! What the node tells its subscribers: rows that changed, conflicts, memberships, peers.
//!
//! Every channel is bounded. A subscriber that falls behind is told so by the channel, and never slows the
//! storage thread or the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use crate::access::Membership;
use crate::doc::Conflict;
use crate::id::{CollectionName, EntityId, Origin, PeerId, SpaceId};
use crate::limits::EVENTS_BUFFER_MAX;
use crate::replica::{Applicant, HeldReason, RowChange};
use crate::sync::{Notice, PeerState};

/// A row that changed, with the value that it has.
#[derive(Clone, Debug)]
pub(crate) struct ChangedRow {
    pub(crate) collection: CollectionName,
    pub(crate) entity: EntityId,
    pub(crate) change: RowChange,
    /// The row, unless it is deleted or nobody listened when it changed.
    pub(crate) row: Option<Arc<[u8]>>,
}

/// Something that happened in a space, told to every subscriber of the node.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// One commit changed these rows.
    Changed { space: SpaceId, from: Option<PeerId>, rows: Arc<[ChangedRow]> },
    /// A field got concurrent values. `origins` are those with commits in the collection, so that the actors
    /// of the values can be named.
    Conflict {
        space: SpaceId,
        collection: CollectionName,
        entity: EntityId,
        conflict: Arc<Conflict>,
        origins: Arc<[Origin]>,
    },
    /// Changes of an entity are lost to damage.
    Damaged { space: SpaceId, collection: CollectionName, entity: EntityId, only_here: u64 },
    /// A damaged entity is whole again.
    Repaired { space: SpaceId, collection: CollectionName, entity: EntityId, from: Option<PeerId> },
    /// Commits do not count any more.
    TakenBack { space: SpaceId, author: PeerId, commits: usize, reason: HeldReason },
    /// Held commits had waited as long as they may, and were dropped.
    Expired { space: SpaceId, author: PeerId, commits: usize, reason: HeldReason },
    /// The index of a collection changed.
    Indexed { space: SpaceId, collection: CollectionName },
    /// Members, roles or rules changed.
    Members { space: SpaceId },
    /// A device waits to be let in.
    JoinRequested { space: SpaceId, applicant: Arc<Applicant> },
    /// This device was removed from the space.
    Removed { space: SpaceId },
    /// The space was erased from this device.
    Erased { space: SpaceId },
    /// The node was closed; nothing follows.
    Closed,
}

/// What is known of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerView {
    pub(crate) state: PeerState,
    /// The spaces whose fingerprints were last found equal with this peer's.
    pub(crate) in_sync: BTreeSet<SpaceId>,
}

impl PeerView {
    pub(crate) fn is_connected(&self) -> bool {
        self.state == PeerState::Connected
    }
}

impl Default for PeerView {
    fn default() -> Self {
        Self { state: PeerState::Disconnected { reason: String::new() }, in_sync: BTreeSet::new() }
    }
}

pub(crate) type Peers = BTreeMap<PeerId, PeerView>;
pub(crate) type Memberships = BTreeMap<SpaceId, Arc<Membership>>;

/// The sending ends. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    happenings: broadcast::Sender<Happening>,
    /// `None` when the node was closed.
    notices: broadcast::Sender<Option<Notice>>,
    peers: watch::Sender<Peers>,
    memberships: watch::Sender<Memberships>,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self {
            happenings: broadcast::Sender::new(EVENTS_BUFFER_MAX),
            notices: broadcast::Sender::new(EVENTS_BUFFER_MAX),
            peers: watch::Sender::new(Peers::new()),
            memberships: watch::Sender::new(Memberships::new()),
        }
    }

    /// Tells subscribers; without any, nothing happens.
    pub(crate) fn tell(&self, happening: Happening) {
        let _nobody_listens = self.happenings.send(happening);
    }

    /// Notes what the engine says of a peer, then tells those who wait for notices.
    pub(crate) fn notice(&self, notice: Notice) {
        match &notice {
            Notice::Peer { peer, state } => self.peers.send_modify(|peers| {
                let view = peers.entry(*peer).or_default();
                if *state != PeerState::Connected {
                    view.in_sync.clear();
                }
                view.state = state.clone();
            }),
            Notice::InSync { space, peer, in_sync } => self.peers.send_modify(|peers| {
                let view = peers.entry(*peer).or_default();
                match in_sync {
                    true => view.in_sync.insert(*space),
                    false => view.in_sync.remove(space),
                };
            }),
            Notice::Synced { .. } | Notice::Fetched { .. } | Notice::Stored { .. } => {}
        }
        let _nobody_listens = self.notices.send(Some(notice));
    }

    /// Notes a membership.
    pub(crate) fn member(&self, space: SpaceId, membership: Arc<Membership>) {
        self.memberships.send_modify(|all| {
            all.insert(space, membership);
        });
    }

    /// Forgets a space that is not here any more.
    pub(crate) fn gone(&self, space: &SpaceId) {
        self.memberships.send_modify(|all| {
            all.remove(space);
        });
        self.tell(Happening::Erased { space: *space });
    }

    /// Forgets a peer that is not dialled any more.
    pub(crate) fn forget(&self, peer: &PeerId) {
        self.peers.send_modify(|peers| {
            peers.remove(peer);
        });
    }

    /// Tells everybody who waits that the node was closed.
    pub(crate) fn close(&self) {
        self.tell(Happening::Closed);
        let _nobody_listens = self.notices.send(None);
        self.peers.send_modify(Peers::clear);
    }

    /// Tells whether anybody listens for changed rows.
    pub(crate) fn is_heard(&self) -> bool {
        self.happenings.receiver_count() > 0
    }

    pub(crate) fn happenings(&self) -> broadcast::Receiver<Happening> {
        self.happenings.subscribe()
    }

    pub(crate) fn notices(&self) -> broadcast::Receiver<Option<Notice>> {
        self.notices.subscribe()
    }

    pub(crate) fn peers(&self) -> watch::Receiver<Peers> {
        self.peers.subscribe()
    }

    pub(crate) fn watch_memberships(&self) -> watch::Receiver<Memberships> {
        self.memberships.subscribe()
    }

    pub(crate) fn memberships(&self) -> Memberships {
        self.memberships.borrow().clone()
    }

    pub(crate) fn membership(&self, space: &SpaceId) -> Option<Arc<Membership>> {
        self.memberships.borrow().get(space).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(byte: u8) -> PeerId {
        PeerId::new([byte; 32])
    }

    #[test]
    fn a_peer_that_is_not_connected_is_in_sync_with_nothing() {
        let feed = Feed::new();
        let space = SpaceId::new([9; 32]);

        feed.notice(Notice::Peer { peer: peer(1), state: PeerState::Connected });
        feed.notice(Notice::InSync { space, peer: peer(1), in_sync: true });
        let connected = feed.peers().borrow().get(&peer(1)).cloned().expect("noted");
        feed.notice(Notice::Peer { peer: peer(1), state: PeerState::Disconnected { reason: String::new() } });
        let after = feed.peers().borrow().get(&peer(1)).cloned().expect("noted");

        assert_eq!(connected, PeerView { state: PeerState::Connected, in_sync: BTreeSet::from([space]) });
        assert_eq!(after, PeerView::default());
    }

    #[test]
    fn a_slow_listener_is_told_that_it_lagged() {
        let feed = Feed::new();
        let mut slow = feed.happenings();

        for _ in 0..=EVENTS_BUFFER_MAX {
            feed.tell(Happening::Members { space: SpaceId::new([1; 32]) });
        }

        let lagged = slow.try_recv().expect_err("more than the buffer holds");
        assert_eq!(lagged, broadcast::error::TryRecvError::Lagged(1));
    }
}
