//! What can go wrong in the local database.

use crate::access::AccessError;
use crate::doc::DocError;
use crate::id::{EntityId, VectorError};
use crate::store::kv::KvError;

/// Why the local database did not do what was asked. Nothing was changed then.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReplicaError {
    /// The store failed, or holds something that cannot be read.
    #[error(transparent)]
    Store(#[from] KvError),
    /// The membership of the space does not allow it.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The document does not allow it.
    #[error(transparent)]
    Doc(#[from] DocError),
    /// Something that was named is not here.
    #[error("no such {what}")]
    NotFound {
        /// What was named.
        what: &'static str,
    },
    /// An entity that was to be created exists.
    #[error("entity {entity} exists already")]
    AlreadyExists {
        /// The entity.
        entity: EntityId,
    },
    /// An entity that was to be changed is deleted; restoring it is an act of its own.
    #[error("entity {entity} is deleted")]
    Deleted {
        /// The entity.
        entity: EntityId,
    },
    /// Changes of an entity were lost to damage: it is fetched again from peers that have them.
    #[error("entity {entity} was damaged on this device, and is fetched again from peers that have it")]
    Damaged {
        /// The entity.
        entity: EntityId,
    },
    /// A commit names an entity twice.
    #[error("entity {entity} is written twice in one commit")]
    Twice {
        /// The entity.
        entity: EntityId,
    },
    /// There would be more of something than there may be.
    #[error("{count} {what} exceed {max}")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// How many there would be.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// Something would be larger than it may be.
    #[error("{what} of {bytes} bytes exceeds {bytes_max}")]
    TooLarge {
        /// What was measured.
        what: &'static str,
        /// How large it would be.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A text is not an address.
    #[error("{text:?} is not an IP address and a port")]
    Address {
        /// The text.
        text: String,
    },
    /// The store is that of a hub, or is not and holds a space already.
    #[error("{}", if *hub {
        "it is a hub: it keeps and passes on, and neither reads nor writes entities"
    } else {
        "it holds documents: only a fresh directory becomes that of a hub"
    })]
    Mode {
        /// Whether the store is that of a hub.
        hub: bool,
    },
    /// A version vector would outgrow its limits.
    #[error("the collection takes no further origin: {0}")]
    Vector(#[from] VectorError),
}

impl ReplicaError {
    /// Tells whether what one space holds makes no sense, and all others can go on: the disk did what it was told.
    pub(super) fn is_of_one_space(&self) -> bool {
        let Self::Store(error) = self else { return true };
        matches!(error, KvError::Corrupt { .. })
    }
}
