//! The error of the public API.

use std::path::PathBuf;

use crate::access::AccessError;
use crate::doc::DocError;
use crate::driver::{DriverError, KeyError, StoreError};
use crate::id::{CollectionNameError, EntityId, PeerId, SpaceId};
use crate::replica::ReplicaError;

/// What to do about an [`Error`].
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, shop, ..) = shop().await?;
/// use driftless::{ErrorKind, Role};
///
/// let refused = shop.set_rule("not a name", Role::Reader, Role::Writer).await;
/// assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Invalid));
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was named is not here: name something else, or wait until it has been synced.
    NotFound,
    /// The roles or rules of the space do not allow it: ask an admin of the space.
    Denied,
    /// The caller passed something that can never work: change the call.
    Invalid,
    /// A peer, the disk or the directory cannot be used at the moment: try again later.
    Unavailable,
    /// The node was closed: open it again.
    Closed,
    /// Stored data is damaged and was not served.
    Corrupt,
    /// The library broke a promise of its own: report it.
    Internal,
}

/// Why something did not work. Nothing was changed then, unless the variant says so.
///
/// [`Error::kind`] says what to do next; the variants carry what a message to the user needs.
///
/// # Example
///
/// ```
/// use driftless::{Error, ErrorKind};
///
/// fn advice(error: &Error) -> &'static str {
///     match error.kind() {
///         ErrorKind::Denied => "Ask an admin of the shop.",
///         ErrorKind::Unavailable => "Try again in a moment.",
///         _ => "This did not work.",
///     }
/// }
/// assert_eq!(advice(&Error::Closed), "This did not work.");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The space is not on this node: join it first.
    #[error("space {} is not on this node; join it with an invite", space.short())]
    UnknownSpace {
        /// Which space.
        space: SpaceId,
    },
    /// The entity is not here, or is deleted: insert or restore it, or wait for a sync.
    #[error("no such {what}")]
    NotFound {
        /// What was named.
        what: String,
    },
    /// An entity with this id exists or existed: update or restore it.
    #[error("an entity with this id exists already; update or restore it")]
    Exists {
        /// The entity, when the commit had more than one.
        id: Option<EntityId>,
    },
    /// The entity is deleted: restore it before changing it.
    #[error("the entity is deleted; restore it before changing it")]
    Deleted {
        /// The entity, when the commit had more than one.
        id: Option<EntityId>,
    },
    /// This device's member may not do this in the space.
    #[error("{what} is not allowed: {rule}")]
    Denied {
        /// What was to be done.
        what: String,
        /// The rule that refuses it.
        rule: String,
    },
    /// The inviter did not let this device in.
    #[error("the inviter did not let this device in: {reason}; ask for another invite")]
    NotAdmitted {
        /// What the inviter said.
        reason: String,
    },
    /// Somebody at the inviting device has not approved yet. Join again by the same invite to go on waiting.
    #[error("the request to join waits to be approved; the inviting device shows {code} beside it")]
    AwaitingApproval {
        /// The code that both sides show.
        code: String,
    },
    /// An argument is not valid.
    #[error("{what} is not valid: {reason}")]
    Invalid {
        /// Which argument.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An argument, or what it would lead to, is over a limit.
    #[error("{what} of {count} exceeds {max}; split it")]
    TooLarge {
        /// What was counted or measured.
        what: &'static str,
        /// How much there is.
        count: u64,
        /// The limit.
        max: u64,
    },
    /// The closure of an update gave up, or panicked.
    #[error("the update was given up: {reason}")]
    Abandoned {
        /// What it said.
        reason: String,
    },
    /// Another node has the directory open: close it, or use another directory.
    #[error("{path} is in use by another node; close that one, or open another directory")]
    Locked {
        /// The directory of the store.
        path: String,
    },
    /// A peer could not be reached, or did not answer. It may be later.
    #[error("peer {} could not be reached: {reason}; check the address and that it is running", peer.short())]
    Unreachable {
        /// The peer.
        peer: PeerId,
        /// Why, for people.
        reason: String,
    },
    /// Nobody who could help is connected.
    #[error("no connected peer has {what}; try again when one is")]
    NoPeer {
        /// What was looked for.
        what: &'static str,
    },
    /// Something took longer than it may. It may still happen.
    #[error("{what} took longer than {ms} ms; it may still happen")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long, in milliseconds.
        ms: u64,
    },
    /// The socket could not be opened.
    #[error("the address cannot be listened on: {reason}; choose another")]
    Listen {
        /// What the operating system says.
        reason: String,
    },
    /// The disk is full: make room. The node goes on reading meanwhile.
    #[error("the disk is full; make room and try again")]
    DiskFull,
    /// A file could not be read or written.
    #[error("{what}: {reason}")]
    Io {
        /// Which file or step.
        what: String,
        /// What the operating system says.
        reason: String,
    },
    /// The store failed earlier: close the node and open it again. Changes since may not be on disk.
    #[error("the store failed and must be opened again: {reason}")]
    StoreFailed {
        /// The failure.
        reason: String,
    },
    /// Another version of the library wrote the directory.
    #[error("the directory has format {found}; this version reads up to {known}, so update the program")]
    Format {
        /// The format of the directory.
        found: u32,
        /// The newest format that is known.
        known: u32,
    },
    /// The device key is readable by others, or damaged.
    #[error("the device key cannot be used: {reason}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
        /// Whether the file is damaged, rather than open to others.
        damaged: bool,
    },
    /// This device's disk lost changes of the entity. It is fetched again from any peer that has them, so try again
    /// after this device was connected; or accept the loss with [`crate::Collection::accept_loss`].
    #[error("entity {id} was damaged on this device's disk; it is fetched again from a peer that has it")]
    Damaged {
        /// The entity.
        id: EntityId,
    },
    /// Stored data is damaged. It is not served; peers that have it can send it again.
    #[error("stored data is damaged: {what}")]
    Corrupt {
        /// What is damaged.
        what: String,
    },
    /// The node was closed.
    #[error("the node is closed; open it again")]
    Closed,
    /// The library broke a promise of its own.
    #[error("internal fault: {what}; please report it")]
    Internal {
        /// What was found.
        what: String,
    },
}

impl Error {
    /// Returns what kind of error it is, which is what to do next.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _, tickets, _) = shop().await?;
    /// use driftless::{EntityId, ErrorKind};
    ///
    /// let missing = EntityId::from_key("ticket", b"1");
    /// if let Err(error) = tickets.update(missing, |ticket| ticket.done = true).await {
    ///     assert_eq!(error.kind(), ErrorKind::NotFound);
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownSpace { .. } | Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Denied { .. } | Self::NotAdmitted { .. } => ErrorKind::Denied,
            Self::Exists { .. }
            | Self::Deleted { .. }
            | Self::Invalid { .. }
            | Self::TooLarge { .. }
            | Self::Abandoned { .. }
            | Self::Format { .. }
            | Self::Key { damaged: false, .. } => ErrorKind::Invalid,
            Self::Locked { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::NoPeer { .. }
            | Self::Listen { .. }
            | Self::DiskFull
            | Self::AwaitingApproval { .. }
            | Self::Io { .. }
            | Self::StoreFailed { .. } => ErrorKind::Unavailable,
            Self::Closed => ErrorKind::Closed,
            Self::Corrupt { .. } | Self::Damaged { .. } | Self::Key { damaged: true, .. } => {
                ErrorKind::Corrupt
            }
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// Tells whether the same call may work later without anything else being done on this node.
    ///
    /// A store that failed is not retryable: the node must be opened again. A damaged entity is: peers repair it.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::Error;
    ///
    /// assert!(Error::DiskFull.is_retryable());
    /// assert!(!Error::Closed.is_retryable());
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        let unavailable = self.kind() == ErrorKind::Unavailable && !matches!(self, Self::StoreFailed { .. });
        unavailable || matches!(self, Self::Damaged { .. })
    }
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::Replica(error) => error.into(),
            DriverError::Net(error) => Self::Listen { reason: with_sources(&error) },
            DriverError::Key(error) => error.into(),
            DriverError::Io { path, reason } => Self::Io { what: path.display().to_string(), reason },
            DriverError::Closed => Self::Closed,
            DriverError::StorageLost => {
                Self::Internal { what: "a call ended without an answer from the storage thread".to_owned() }
            }
            DriverError::Unreachable { peer, reason } => Self::Unreachable { peer, reason },
            DriverError::Refused { reason } => Self::NotAdmitted { reason },
            DriverError::TooManyPeers { max } => {
                Self::TooLarge { what: "number of peers", count: max as u64 + 1, max: max as u64 }
            }
            DriverError::TimedOut { what, ms } => Self::TimedOut { what, ms },
            DriverError::Entropy { reason } => Self::Io { what: "random bytes".to_owned(), reason },
        }
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        let reason = error.to_string();
        match error {
            KeyError::Permissions { path, .. } => Self::Key { path, reason, damaged: false },
            KeyError::Damaged { path } => Self::Key { path, reason, damaged: true },
            KeyError::Io { path, reason } => Self::Io { what: path.display().to_string(), reason },
        }
    }
}

impl From<ReplicaError> for Error {
    fn from(error: ReplicaError) -> Self {
        let reason = error.to_string();
        match error {
            ReplicaError::Store(error) => error.into(),
            ReplicaError::Access(error) => error.into(),
            ReplicaError::Doc(error) => error.into(),
            ReplicaError::NotFound { what } => Self::NotFound { what: what.to_owned() },
            ReplicaError::AlreadyExists { entity } => Self::Exists { id: Some(entity) },
            ReplicaError::Deleted { entity } => Self::Deleted { id: Some(entity) },
            ReplicaError::TooMany { what, count, max } => {
                Self::TooLarge { what, count: count as u64, max: max as u64 }
            }
            ReplicaError::TooLarge { what, bytes, bytes_max } => {
                Self::TooLarge { what, count: bytes as u64, max: bytes_max as u64 }
            }
            ReplicaError::Damaged { entity } => Self::Damaged { id: entity },
            ReplicaError::Twice { .. } => Self::Invalid { what: "commit", reason },
            ReplicaError::Address { .. } => Self::Invalid { what: "address", reason },
            ReplicaError::Mode { .. } => Self::Invalid { what: "hub", reason },
            ReplicaError::Vector(_) => Self::Invalid { what: "collection", reason },
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let reason = error.to_string();
        match error {
            StoreError::Locked { path } => Self::Locked { path },
            StoreError::Corrupt { what } => Self::Corrupt { what },
            StoreError::Damaged { .. } => Self::Corrupt { what: reason },
            StoreError::RolledBack { from, to } => {
                Self::Corrupt { what: format!("the store went back from position {from} to {to}") }
            }
            StoreError::Full => Self::DiskFull,
            StoreError::ReadOnly { .. } => Self::Io { what: "the store".to_owned(), reason },
            StoreError::TooLarge { .. } => Self::Invalid { what: "value", reason },
            StoreError::Io { what, reason } => Self::Io { what: what.to_owned(), reason },
            StoreError::Failed { reason } => Self::StoreFailed { reason },
            StoreError::Format { found, known } => Self::Format { found, known },
        }
    }
}

impl From<AccessError> for Error {
    fn from(error: AccessError) -> Self {
        let reason = error.to_string();
        match error {
            AccessError::Denied { what, rule } => Self::Denied { what: what.to_owned(), rule },
            AccessError::Refused(_) => Self::NotAdmitted { reason },
            AccessError::NotAnInvite | AccessError::Damaged => Self::Invalid { what: "invite", reason },
            AccessError::NotARecoveryKey | AccessError::DamagedRecoveryKey => {
                Self::Invalid { what: "recovery key", reason }
            }
            AccessError::TooMany { what, max } => {
                Self::TooLarge { what, count: max as u64 + 1, max: max as u64 }
            }
            AccessError::TooLarge { what, bytes, bytes_max } => {
                Self::TooLarge { what, count: bytes as u64, max: bytes_max as u64 }
            }
            AccessError::NotInPast { what } => Self::NotFound { what: what.to_owned() },
            AccessError::Codec(_)
            | AccessError::Identity(_)
            | AccessError::Malformed { .. }
            | AccessError::WrongSpace
            | AccessError::NoGenesis
            | AccessError::Lamport { .. }
            | AccessError::UnknownSigner
            | AccessError::UnknownKind { .. }
            | AccessError::UnknownPosition { .. } => Self::Invalid { what: "membership", reason },
        }
    }
}

impl From<DocError> for Error {
    fn from(error: DocError) -> Self {
        let reason = error.to_string();
        match error {
            DocError::Exists => Self::Exists { id: None },
            DocError::Deleted => Self::Deleted { id: None },
            DocError::Absent => Self::NotFound { what: "entity".to_owned() },
            DocError::Abandoned { reason } => Self::Abandoned { reason },
            DocError::TooLarge { what, count, max } => Self::TooLarge { what, count, max },
            DocError::Write { .. } | DocError::Reserved { .. } | DocError::Refused(_) => {
                Self::Invalid { what: "value", reason }
            }
            DocError::Hydrate { .. } | DocError::Row { .. } | DocError::Damaged { .. } => {
                Self::Corrupt { what: reason }
            }
        }
    }
}

impl From<CollectionNameError> for Error {
    fn from(error: CollectionNameError) -> Self {
        Self::Invalid { what: "collection name", reason: error.to_string() }
    }
}

/// The message of an error with those of its causes.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: &Error, kind: ErrorKind, retryable: bool) {
        assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{error}");
        let text = error.to_string();
        assert!(text.starts_with(|first: char| !first.is_uppercase()), "{text}");
        assert!(!text.ends_with('.'), "{text}");
    }

    fn text() -> String {
        "x".to_owned()
    }

    #[test]
    fn every_error_says_what_to_do_next() {
        use ErrorKind as K;

        let (space, peer, reason) = (SpaceId::new([1; 32]), PeerId::new([2; 32]), text());
        check(&Error::UnknownSpace { space }, K::NotFound, false);
        check(&Error::NotFound { what: text() }, K::NotFound, false);
        check(&Error::Exists { id: None }, K::Invalid, false);
        check(&Error::Deleted { id: None }, K::Invalid, false);
        check(&Error::Denied { what: text(), rule: text() }, K::Denied, false);
        check(&Error::NotAdmitted { reason: text() }, K::Denied, false);
        check(&Error::Invalid { what: "name", reason: text() }, K::Invalid, false);
        check(&Error::TooLarge { what: "name", count: 2, max: 1 }, K::Invalid, false);
        check(&Error::Abandoned { reason: text() }, K::Invalid, false);
        check(&Error::Locked { path: text() }, K::Unavailable, true);
        check(&Error::Unreachable { peer, reason: text() }, K::Unavailable, true);
        check(&Error::TimedOut { what: "sync", ms: 1 }, K::Unavailable, true);
        check(&Error::NoPeer { what: "documents" }, K::Unavailable, true);
        check(&Error::Listen { reason: text() }, K::Unavailable, true);
        check(&Error::DiskFull, K::Unavailable, true);
        check(&Error::Io { what: text(), reason: text() }, K::Unavailable, true);
        check(&Error::StoreFailed { reason: text() }, K::Unavailable, false);
        check(&Error::Format { found: 2, known: 1 }, K::Invalid, false);
        check(&Error::Key { path: PathBuf::new(), reason: text(), damaged: true }, K::Corrupt, false);
        check(&Error::Key { path: PathBuf::new(), reason, damaged: false }, K::Invalid, false);
        check(&Error::Corrupt { what: text() }, K::Corrupt, false);
        check(&Error::Damaged { id: EntityId::new([3; 16]) }, K::Corrupt, true);
        check(&Error::Closed, K::Closed, false);
        check(&Error::Internal { what: text() }, K::Internal, false);
    }
    #[track_caller]
    fn told(error: impl Into<Error>, kind: ErrorKind, words: &str) {
        let error = error.into();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }

    #[test]
    fn errors_of_the_floors_below_keep_their_kind_and_their_words() {
        use ErrorKind as K;

        told(StoreError::Locked { path: text() }, K::Unavailable, "in use by another node");
        told(StoreError::Corrupt { what: text() }, K::Corrupt, "damaged: x");
        let key = crate::replica::damaged_value(&[1, 0xab]);
        told(key, K::Corrupt, "the value of key 01ab is damaged");
        told(StoreError::RolledBack { from: 9, to: 7 }, K::Corrupt, "from position 9 to 7");
        told(StoreError::Full, K::Unavailable, "make room");
        told(StoreError::ReadOnly { path: text() }, K::Unavailable, "may only be read");
        told(StoreError::Io { what: "sync", reason: text() }, K::Unavailable, "sync: x");
        told(StoreError::Failed { reason: text() }, K::Unavailable, "must be opened again");
        told(StoreError::Format { found: 2, known: 1 }, K::Invalid, "format 2");
        told(StoreError::TooLarge { bytes: 2, bytes_max: 1 }, K::Invalid, "2 bytes exceeds 1");
        told(ReplicaError::NotFound { what: "space" }, K::NotFound, "no such space");
        told(ReplicaError::TooMany { what: "spaces", count: 2, max: 1 }, K::Invalid, "spaces of 2 exceeds 1");
        told(ReplicaError::Address { text: text() }, K::Invalid, "address");
        told(AccessError::NotAnInvite, K::Invalid, "invite is not valid");
        told(AccessError::Damaged, K::Invalid, "copy all of it again");
        told(AccessError::NotARecoveryKey, K::Invalid, "recovery key is not valid");
        told(AccessError::DamagedRecoveryKey, K::Invalid, "compare it with what was written down");
        told(AccessError::Denied { what: "writing", rule: text() }, K::Denied, "writing is not allowed: x");
        told(DocError::Absent, K::NotFound, "no such entity");
        told(DocError::Damaged { reason: text() }, K::Corrupt, "damaged");
        told(DriverError::StorageLost, K::Internal, "please report");
        told(DriverError::TooManyPeers { max: 1 }, K::Invalid, "peers of 2 exceeds 1");
        told(DriverError::Entropy { reason: text() }, K::Unavailable, "random bytes: x");
        let path = PathBuf::from("device.key");
        told(KeyError::Permissions { path, mode: 0o644 }, K::Invalid, "mode 644");
    }
}
