//! What can go wrong between the floors.

use std::path::PathBuf;

use crate::id::PeerId;
use crate::net::NetError;
use crate::replica::ReplicaError;

use super::key::KeyError;

/// Why the driver could not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DriverError {
    /// The database refused or failed.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The endpoint could not be opened.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The device key could not be read or made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file of the node could not be read or written.
    #[error("{}: {reason}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
    /// The node was closed.
    #[error("the node is closed")]
    Closed,
    /// The storage thread ended without being asked to.
    #[error("the storage thread ended unexpectedly")]
    StorageLost,
    /// A peer did not answer in time, or could not be reached.
    #[error("peer {} could not be reached: {reason}", peer.short())]
    Unreachable {
        /// Which peer.
        peer: PeerId,
        /// Why, of the last address that was tried.
        reason: String,
    },
    /// The peer answered and refused, or its answer was not acceptable here.
    #[error("refused: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// The address book is full.
    #[error("a node dials at most {max} peers")]
    TooManyPeers {
        /// The limit.
        max: usize,
    },
    /// Something took too long.
    #[error("{what} took longer than {ms} ms")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long.
        ms: u64,
    },
    /// There is no entropy.
    #[error("the operating system gives no random bytes: {reason}")]
    Entropy {
        /// What it said.
        reason: String,
    },
}
