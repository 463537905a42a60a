//! The index of a collection: which entities there are, without their documents.

use crate::doc::Entity;
use crate::driver::Until;
use crate::id::{ChangeHash, EntityId, Interest};
use crate::limits::PAGE_ROWS_MAX;
use crate::replica::IndexedEntity;
use crate::time::Timestamp;

use super::{Collection, Error};

/// What the index of a collection says of one entity.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, _space, tickets, id) = shop().await?;
/// use driftless::Here;
///
/// let index = tickets.index(None, 100).await?;
/// assert_eq!((index[0].id, index[0].here, index[0].deleted), (id, Here::Same, false));
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexEntry {
    /// The entity.
    pub id: EntityId,
    /// The changes that nothing follows yet: two devices with the same heads hold the same document.
    pub heads: Vec<ChangeHash>,
    /// Whether it is deleted.
    pub deleted: bool,
    /// The latest time that a change of it names: that of its author's clock, for display only.
    pub last_activity: Timestamp,
    /// Whether the document is here.
    pub here: Here,
}

/// Whether the document of an entity that the index lists is on this device.
///
/// # Example
///
/// ```
/// use driftless::Here;
///
/// fn label(here: Here) -> &'static str {
///     match here {
///         Here::Same => "",
///         Here::Differs => "has changed",
///         _ => "to be fetched",
///     }
/// }
/// assert_eq!(label(Here::Differs), "has changed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Here {
    /// It is not.
    Absent,
    /// It is, with other changes than the index tells of: some are to be fetched, or were made here.
    Differs,
    /// It is, as the index tells.
    Same,
}

impl<T: Entity> Collection<T> {
    /// Lists at most `limit` entities in order of id, beginning behind `after`. At most 1,000 at a time.
    ///
    /// With [`Interest::Index`], these are the entities that a connected peer has which has the collection live: it
    /// tells them when the two meet, and what changes soon after it changed there. Documents come with
    /// [`Collection::fetch`]. [`SpaceEvent::Indexed`](crate::SpaceEvent::Indexed) says when to read again. What was
    /// listed last is kept without a connection, and on disk.
    ///
    /// With any other interest these are the entities whose documents are here.
    ///
    /// Unlike documents, what the index lists is one peer's word, and bears no signature: a peer that lies can list
    /// what is not there and leave out what is, until another one is asked. What is fetched then is verified as
    /// ever. Of more than [`INDEX_ENTITIES_MAX`](crate::limits::INDEX_ENTITIES_MAX) entities the index leaves some out.
    ///
    /// Reads 2 values of the store for each entity.
    ///
    /// # Errors
    ///
    /// Kind [`Unavailable`](crate::ErrorKind::Unavailable) when the disk refuses;
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, tickets, id) = shop().await?;
    /// use driftless::{Here, Interest};
    ///
    /// space.set_interest("tickets", Interest::Index).await?;
    /// let mut after = None;
    /// loop {
    ///     let index = tickets.index(after, 500).await?;
    ///     for entry in &index {
    ///         if entry.here != Here::Same {
    ///             tickets.fetch(entry.id).await?;
    ///         }
    ///     }
    ///     after = index.last().map(|last| last.id);
    ///     if after.is_none() {
    ///         break;
    ///     }
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn index(&self, after: Option<EntityId>, limit: usize) -> Result<Vec<IndexEntry>, Error> {
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let (space, name) = (self.space().id(), self.name());
        let interests =
            self.space().node.driver.call(Until::Read, move |turn| Ok(turn.replica.interests(&space)));
        let told = interests.await?.is_some_and(|interests| interests.of(name) == Interest::Index);
        let entries = self.read(|reader| reader.index(&space, name, told, after, limit)).await?;
        let entry = |IndexedEntity { listed, own }| IndexEntry {
            id: listed.entity,
            deleted: listed.version.deleted,
            last_activity: Timestamp::from_unix_ms(listed.version.activity_ms),
            here: match own {
                None => Here::Absent,
                Some(heads) if heads == listed.version.heads => Here::Same,
                Some(_) => Here::Differs,
            },
            heads: listed.version.heads,
        };
        Ok(entries.into_iter().map(entry).collect())
    }
}
