//! Documents that are fetched one by one.

use crate::doc::Entity;
use crate::driver::FetchOutcome;
use crate::id::EntityId;
use crate::limits::{FETCH_ENTITIES_MAX, VECTOR_HOLES_MAX};

use super::{Collection, Error};

impl<T: Entity> Collection<T> {
    /// Brings the document of one entity from connected peers, also where this device does not want the collection
    /// live, and returns its value; `None` when it is deleted. Where it is here already, what is newer comes.
    ///
    /// Peers that have the collection live are asked one after the other until one knows the entity. Entities that
    /// were changed by the same commits come along as they were then. Afterwards the document stays as it is: what
    /// others change comes with the next fetch, or when the collection is live again.
    ///
    /// On disk on return. Takes a round trip, and what the peer needs to read the entity's commits.
    ///
    /// # Errors
    ///
    /// Kind [`NotFound`](crate::ErrorKind::NotFound) when no peer that was asked knows the entity;
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when no peer that may be asked is connected, or none answers
    /// within 30 s; [`Invalid`](crate::ErrorKind::Invalid) when too much was fetched one by one already: make the
    /// collection live; [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the document here.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, tickets, id) = shop().await?;
    /// use driftless::{ErrorKind, Interest};
    ///
    /// space.set_interest("tickets", Interest::Off).await?;
    /// match tickets.fetch(id).await {
    ///     Ok(ticket) => println!("{ticket:?}"),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable),
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fetch(&self, id: EntityId) -> Result<Option<T>, Error> {
        if !self.fetch_all(&[id]).await?.is_empty() {
            return Err(Error::NotFound { what: "entity at a connected peer".to_owned() });
        }
        self.get(id).await
    }

    /// Brings the documents of entities, as [`Collection::fetch`] does, and returns the ids that no peer knows. At most
    /// 256 at a time.
    ///
    /// # Errors
    ///
    /// As [`Collection::fetch`], without [`NotFound`](crate::ErrorKind::NotFound);
    /// [`Invalid`](crate::ErrorKind::Invalid) for more than 256.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave some of the documents here.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, id) = shop().await?;
    /// if let Ok(missing) = tickets.fetch_all(&[id]).await {
    ///     println!("{} of them are nowhere", missing.len());
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn fetch_all(&self, ids: &[EntityId]) -> Result<Vec<EntityId>, Error> {
        if ids.len() > FETCH_ENTITIES_MAX {
            let (count, max) = (ids.len() as u64, FETCH_ENTITIES_MAX as u64);
            return Err(Error::TooLarge { what: "number of documents", count, max });
        }
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.reader().await?;
        let (space, name) = (self.space().id(), self.name().clone());
        match self.space().node.driver.fetch(space, name, ids.to_vec()).await? {
            FetchOutcome::Done { peers: 0, .. } => Err(Error::NoPeer { what: "documents" }),
            FetchOutcome::Done { missing, .. } => Ok(missing),
            FetchOutcome::Full => {
                let max = VECTOR_HOLES_MAX as u64;
                Err(Error::TooLarge { what: "number of gaps", count: max + 1, max })
            }
            FetchOutcome::Busy => Err(Error::NoPeer { what: "documents at the moment" }),
        }
    }
}
