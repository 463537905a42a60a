//! What happens to the engine.

use super::mode::Mode;
use crate::exchange::{Answer, Packed, RequestId, SpaceState, Stored};
use crate::id::{CollectionName, EntityId, PeerId, Position, SpaceId};

/// A connection, numbered by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnId(pub(crate) u64);

/// An attempt to reach a peer, numbered by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DialId(pub(crate) u64);

/// A stream of a connection: frames of one lane arrive in order, and a later lane never holds up an earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lane {
    /// Hello, digests, acknowledgements.
    Control,
    /// Commits as they are made.
    Live,
    /// Everything that can be large.
    Bulk,
}

/// Who began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// This node.
    Dialer,
    /// The peer.
    Acceptor,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A space is here, or its membership changed. Comes once for every space at the start.
    SpaceChanged(SpaceState),
    /// A local space is not here any more.
    SpaceGone {
        /// The space.
        space: SpaceId,
    },
    /// A commit was applied: made here when `from` is absent.
    Stored {
        /// The space.
        space: SpaceId,
        /// The peer that delivered it.
        from: Option<PeerId>,
        /// The commit and its place in the journal.
        stored: Stored,
    },
    /// The database holds less of a space than it did: damage was met, or what was held for too long was dropped.
    Damaged {
        /// The space.
        space: SpaceId,
    },
    /// Two commits that cannot both be: whoever may read their collection is to know both.
    Clash {
        /// The space.
        space: SpaceId,
        /// The two.
        commits: Vec<Packed>,
        /// Whom to tell; everybody when it is absent.
        to: Option<PeerId>,
    },
    /// Everything up to this place in the journal is on disk.
    Durable {
        /// The place.
        upto: Position,
    },
    /// The answer to a question.
    Answer {
        /// Which question.
        request: RequestId,
        /// The answer.
        answer: Answer,
    },
    /// A connection whose handshake is complete on this side.
    Connected {
        /// Its number.
        conn: ConnId,
        /// The key that the peer proved.
        peer: PeerId,
        /// Who began it.
        side: Side,
        /// Keying material that both ends share and nobody else knows.
        exporter: [u8; 32],
    },
    /// An attempt to reach a peer failed.
    DialFailed {
        /// Which.
        dial: DialId,
        /// Why, for people.
        reason: String,
    },
    /// A connection ended; the engine's own `Close` is followed by this too.
    Disconnected {
        /// Which.
        conn: ConnId,
        /// Why, for people.
        reason: String,
    },
    /// A frame arrived.
    Frame {
        /// On which connection.
        conn: ConnId,
        /// The whole frame.
        bytes: Vec<u8>,
    },
    /// The app wants something.
    Command(Command),
}

/// What the app wants.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Keep a connection to this peer.
    AddPeer {
        /// The peer.
        peer: PeerId,
        /// Where it may be; text that only the driver reads.
        addresses: Vec<String>,
    },
    /// A member was seen on the local network: reach it while it is there, bounded by `FOUND_PEERS_MAX`.
    Found {
        /// The peer.
        peer: PeerId,
        /// Where it says to be.
        addresses: Vec<String>,
    },
    /// It announces itself no more.
    Lost {
        /// The peer.
        peer: PeerId,
    },
    /// Keep none any more.
    RemovePeer {
        /// The peer.
        peer: PeerId,
    },
    /// Reach all peers at once and compare fingerprints; `Notice::Synced` reports.
    SyncNow {
        /// One space, or all of them.
        space: Option<SpaceId>,
        /// Returned in the notice.
        ticket: u64,
    },
    /// The network is back, or the device woke: reach all peers at once.
    Wake,
    /// Bring documents of a collection; `Notice::Fetched` reports.
    Fetch {
        /// The space.
        space: SpaceId,
        /// The collection.
        collection: CollectionName,
        /// Which.
        entities: Vec<EntityId>,
        /// Returned in the notice.
        ticket: u64,
    },
    /// Be on the network at other times.
    SetMode(Mode),
    /// Close all connections and make none.
    Pause,
    /// Undo `Pause`.
    Resume,
}
