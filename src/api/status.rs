//! How a space and its entities stand with other devices.

use crate::id::{EntityId, PeerId};
use crate::replica::HeldReason;
use crate::time::Timestamp;

use super::person::Author;

/// How a space stands, at one moment.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, shop, ..) = shop().await?;
/// let status = shop.status().await?;
/// assert_eq!(status.pending, 1, "nobody else has the ticket");
/// assert!(status.peers.is_empty() && status.quarantined.is_empty() && status.damaged.is_empty());
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpaceStatus {
    /// Commits made on this device that no other device is known to have on disk; counted up to 10,000.
    pub pending: u64,
    /// The other devices of the space.
    pub peers: Vec<PeerSync>,
    /// The fingerprint of everything that this device holds in the space. See [`super::Space::fingerprint`].
    pub fingerprint: String,
    /// The collections that hold anything, in order of name.
    pub collections: Vec<CollectionStatus>,
    /// Commits that are held back, with the reasons.
    pub quarantined: Vec<Quarantined>,
    /// Entities of which this device's disk lost changes, and that are not whole again yet.
    pub damaged: Vec<DamagedEntity>,
}

/// An entity that is damaged on this device, and not served until a peer has sent again what is lost.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, shop, ..) = shop().await?;
/// for damaged in shop.status().await?.damaged {
///     println!("{} {} waits for a peer that has it", damaged.collection, damaged.id);
/// }
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedEntity {
    /// The collection.
    pub collection: String,
    /// The entity.
    pub id: EntityId,
    /// How many of the lost changes were made on this device, and no other one had confirmed them: unless one has
    /// them all the same, they are lost for good. See [`super::Collection::accept_loss`].
    pub only_here: u64,
}

/// How one other device stands with a space.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, desk, bench, tickets, ..) = desks().await?;
/// let status = tickets.space().status().await?;
/// for peer in &status.peers {
///     println!("{}: connected {}, in sync {}", peer.author.device_name, peer.connected, peer.in_sync);
/// }
/// assert_eq!(status.peers[0].author.device, bench.peer());
/// # desk.close().await?;
/// # bench.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerSync {
    /// Who it is.
    pub author: Author,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether its fingerprint was equal to this device's when both last looked, and nothing changed since.
    pub in_sync: bool,
}

/// How much one collection holds.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, shop, ..) = shop().await?;
/// let status = shop.status().await?;
/// let tickets = &status.collections[0];
/// assert_eq!((tickets.name.as_str(), tickets.entities, tickets.writers), ("tickets", 1, 1));
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectionStatus {
    /// Its name.
    pub name: String,
    /// How many entities it has, deleted ones among them.
    pub entities: u64,
    /// How many devices, each counted again after it was restored, have written to it.
    pub writers: usize,
    /// The fingerprint of its entities.
    pub fingerprint: String,
}

/// A commit that is held back.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, shop, ..) = shop().await?;
/// for held in shop.status().await?.quarantined {
///     println!("{} bytes of {} wait: {:?}", held.bytes, held.device.short(), held.reason);
/// }
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quarantined {
    /// The device that signed it, or delivered it when nobody did.
    pub device: PeerId,
    /// When it arrived here.
    pub arrived: Timestamp,
    /// Why it is held back.
    pub reason: HeldReason,
    /// Its size.
    pub bytes: usize,
}

/// Where the newest change that this device made to an entity is stored.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, _, tickets, id) = shop().await?;
/// use driftless::SyncStatus;
///
/// match tickets.sync_status(id).await? {
///     SyncStatus::Pending => println!("only here"),
///     SyncStatus::StoredOn(devices) => println!("on {} other devices", devices.len()),
///     _ => {}
/// }
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncStatus {
    /// This device never changed the entity.
    NotChangedHere,
    /// On this device alone, as far as is known.
    Pending,
    /// On these other devices' disks too.
    StoredOn(Vec<PeerId>),
}
