//! What the engine wants done.

use super::FetchOutcome;
use super::event::{ConnId, DialId, Lane};
use crate::exchange::{Ask, RequestId};
use crate::id::{PeerId, SpaceId};

/// Something to do.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Reach a peer; answered by `Connected` or `DialFailed`.
    Dial {
        /// The attempt.
        dial: DialId,
        /// Whose key the far end must have.
        peer: PeerId,
        /// Where it may be.
        addresses: Vec<String>,
    },
    /// Send a frame.
    Send {
        /// On which connection.
        conn: ConnId,
        /// In which lane.
        lane: Lane,
        /// The whole frame.
        frame: Vec<u8>,
    },
    /// The peer is a member: lift the limits that hold before that.
    Greeted {
        /// Which connection.
        conn: ConnId,
    },
    /// Read nothing more from a connection, until `GoOn`. What is on its way is still heard.
    HoldBack {
        /// Which.
        conn: ConnId,
    },
    /// Read from a connection again.
    GoOn {
        /// Which.
        conn: ConnId,
    },
    /// Close a connection.
    Close {
        /// Which.
        conn: ConnId,
        /// Whether the peer is still to hear something.
        last_words: LastWords,
        /// For programs.
        code: u32,
        /// For people.
        reason: String,
    },
    /// Ask the database.
    Ask {
        /// The question's number.
        request: RequestId,
        /// The question.
        ask: Ask,
    },
    /// Tell the app.
    Notify(Notice),
}

/// What is on its way when a connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastWords {
    /// What was sent before is to be delivered first, within reason.
    Deliver,
    /// The peer has said its own farewell and listens no more.
    Drop,
}

/// Something the app may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// How a peer can be reached changed.
    Peer {
        /// The peer.
        peer: PeerId,
        /// Its state.
        state: PeerState,
    },
    /// Fingerprints of a space were found equal with a peer, or something changed since.
    InSync {
        /// The space.
        space: SpaceId,
        /// The peer.
        peer: PeerId,
        /// Whether they are known to be equal.
        in_sync: bool,
    },
    /// The outcome of `Command::SyncNow`.
    Synced {
        /// The command's ticket.
        ticket: u64,
        /// How many peers, counted once for each space, showed equal fingerprints since the command.
        peers: usize,
        /// How many were connected and did not.
        behind: usize,
        /// Who those are, sorted.
        late: Vec<PeerId>,
    },
    /// The outcome of `Command::Fetch`.
    Fetched {
        /// The command's ticket.
        ticket: u64,
        /// What became of it.
        outcome: FetchOutcome,
    },
    /// A peer has more of a space's commits on its disk.
    Stored {
        /// The space.
        space: SpaceId,
        /// The peer.
        peer: PeerId,
    },
}

/// How a peer can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PeerState {
    /// Not connected, and not trying to be.
    Disconnected {
        /// Why, for people.
        reason: String,
    },
    /// The first attempt is under way.
    Connecting,
    /// Both sides have greeted each other.
    Connected,
    /// The last attempt or connection ended; another attempt follows.
    Reconnecting {
        /// How many attempts have failed in a row.
        attempt: u32,
        /// When the next one begins, in milliseconds from the change.
        retry_in_ms: u64,
        /// Why the last one ended, for people.
        reason: String,
    },
    /// Given up until the app adds the peer again, wakes the node or syncs.
    Failed {
        /// Why, for people.
        reason: String,
    },
}
