//! A local-first application database whose replicas never drift apart.
//!
//! Each entity is an Automerge document, kept on disk on every device. Devices exchange signed commits over
//! QUIC, directly or through each other, whenever they are connected; concurrent edits merge the same way
//! everywhere, without a server and without trusting any clock. Apps embed it as a library.
//!
//! # Quick start
//!
//! ```
//! use driftless::{Deserialize, Entity, Hydrate, Node, Reconcile, Role, Serialize};
//!
//! #[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
//! struct Ticket { title: String, done: bool }
//!
//! impl Entity for Ticket {
//!     const COLLECTION: &'static str = "tickets";
//!     const VERSION: u32 = 1;
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let node = Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open().await?;
//! let shop = node.create_space("Corner Repairs").await?;
//! let tickets = shop.collection::<Ticket>()?;
//!
//! let id = tickets.insert(&Ticket { title: "wheel".into(), done: false }).await?;
//! tickets.update(id, |ticket| ticket.done = true).await?;
//!
//! let invite = shop.invite(Role::Writer).await?;
//! println!("on the other device: node.join(&\"{invite}\".parse()?)");
//! # node.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! An app names `serde` and `autosurgeon` among its dependencies too, because the derives write their paths.
//!
//! # Where to go on
//!
//! - [`Node`] is a device; [`Builder`] has its options.
//! - [`Space`] has members, roles and rules, and [commits](Space::commit) over several entities.
//! - [`Collection`] reads, writes, shows [conflicts](Collection::conflicts), and tells
//!   [changes](Collection::changes).
//! - [`Receipt`] tells where a commit is stored. [`Error`] tells what to do next.
//! - [`Text`] and [`Counter`] are fields that merge by character and by adding; all others keep every
//!   concurrent value and show the same one on all devices.
#![forbid(unsafe_code)]

pub mod access;
mod api;
mod codec;
pub mod doc;
mod driver;
mod exchange;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod id;
pub mod identity;
pub mod limits;
pub mod manual;
pub mod metrics;
mod net;
mod replica;
#[cfg(feature = "sim")]
pub mod sim;
mod store;
mod sync;
pub mod time;
mod wire;

pub use access::{AccessError, Device, Invite, JoinCode, Member, RecoveryKey, Role, Said};
pub use api::{
    Asked, Author, Builder, Change, ChangeKind, Changes, Clash, Collection, CollectionStatus, Compacted,
    ConnectionState, DamagedEntity, Durability, EntityChange, Error, ErrorKind, Events, FieldConflict,
    FieldValue, Here, IndexEntry, JoinRequest, Joining, Mode, Node, Opening, Page, Peer, PeerCost, PeerSync,
    PeerWatch, Quarantined, Receipt, Recovery, Space, SpaceEvent, SpaceStatus, SyncStatus, Synced, Tx,
    Update, Verified, WhenRemoved, compact, set_aside,
};
pub use doc::{Counter, Entity, Hydrate, Priority, Reconcile, Text, Value};
pub use id::{CollectionName, CommitHash, EntityId, Interest, MemberId, PeerId, SpaceId};
pub use metrics::MetricsSnapshot;
pub use replica::HeldReason;
pub use serde::{Deserialize, Serialize};
pub use time::Timestamp;
