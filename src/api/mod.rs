//! The public API: nodes, spaces, collections, receipts, errors.

mod builder;
mod changes;
mod clash;
mod collection;
mod conflict;
mod error;
mod events;
mod fetch;
mod index;
mod interest;
mod joining;
mod maintenance;
mod mode;
mod node;
mod peers;
mod person;
mod receipt;
mod recovery;
mod space;
mod status;
mod tx;

#[cfg(test)]
mod tests;

pub use builder::{Builder, Durability, WhenRemoved};
pub use changes::{Change, Changes, Update};
pub use clash::Clash;
pub use collection::{Collection, Page};
pub use conflict::{FieldConflict, FieldValue};
pub use error::{Error, ErrorKind};
pub use events::{ChangeKind, EntityChange, Events, SpaceEvent};
pub use index::{Here, IndexEntry};
pub use joining::{Asked, JoinRequest, Joining};
pub use maintenance::{Compacted, Opening, Verified, compact, set_aside};
pub use mode::Mode;
pub use node::Node;
pub use peers::{ConnectionState, Peer, PeerCost, PeerWatch, Synced};
pub use person::Author;
pub use receipt::Receipt;
pub use recovery::Recovery;
pub use space::Space;
pub use status::{CollectionStatus, DamagedEntity, PeerSync, Quarantined, SpaceStatus, SyncStatus};
pub use tx::Tx;
