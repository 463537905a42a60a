//! What a device wants of the collections of a space.

use crate::driver::Until;
use crate::id::{CollectionName, Interest};

use super::{Error, Space};

impl Space {
    /// Sets how much of a collection this device wants from its peers. [`Interest::Live`] unless it was set.
    ///
    /// Connected peers hear of it at once; one that may not read the collection does not hear its name. A collection
    /// that becomes live brings exactly what came to be since. One that is off brings nothing: what is here stays
    /// and can be read and changed, and changes made on this device still go to the peers that want them. What others
    /// made is not passed on, so two devices that meet only by way of this one do not hear of each other there.
    ///
    /// With [`Interest::Index`] a peer that has the collection live tells which entities there are, to be read with
    /// [`Collection::index`](super::Collection::index) and fetched one by one; otherwise it is as off.
    ///
    /// Fingerprints are compared over the collections that both sides want live, so *in sync* says nothing of the
    /// others. The interest is this device's own: nobody else is bound by it, and it is kept until it is set again.
    /// The collection need not exist yet. At most
    /// [`INTERESTS_PER_SPACE_MAX`](crate::limits::INTERESTS_PER_SPACE_MAX) collections have an interest of their own;
    /// [`Space::set_default_interest`] sets that of all others.
    ///
    /// Durable on return.
    ///
    /// # Errors
    ///
    /// Kind [`Invalid`](crate::ErrorKind::Invalid) for a name that no collection has, or too many collections;
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the disk refuses; [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the interest set.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// use driftless::Interest;
    ///
    /// space.set_interest("photos", Interest::Off).await?;
    /// assert_eq!(space.interest("photos").await?, Interest::Off);
    /// assert_eq!(space.interest("tickets").await?, Interest::Live);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_interest(&self, collection: &str, interest: Interest) -> Result<(), Error> {
        let collection = CollectionName::new(collection)?;
        self.note_interest(Some(collection), interest).await
    }

    /// Sets the interest in all collections that have none of their own, known or not. See [`Space::set_interest`].
    ///
    /// # Errors
    ///
    /// As [`Space::set_interest`].
    ///
    /// # Cancel safety
    ///
    /// As [`Space::set_interest`].
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// use driftless::Interest;
    ///
    /// space.set_interest("tickets", Interest::Live).await?;
    /// space.set_default_interest(Interest::Off).await?;
    /// assert_eq!(space.interest("tickets").await?, Interest::Live);
    /// assert_eq!(space.interest("photos").await?, Interest::Off);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_default_interest(&self, interest: Interest) -> Result<(), Error> {
        self.note_interest(None, interest).await
    }

    /// Returns how much of a collection this device wants from its peers.
    ///
    /// # Errors
    ///
    /// Kind [`Invalid`](crate::ErrorKind::Invalid) for a name that no collection has,
    /// [`NotFound`](crate::ErrorKind::NotFound) when the space is not here, [`Closed`](crate::ErrorKind::Closed).
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
    /// # let (_dir, node, space, _tickets, _id) = shop().await?;
    /// assert_eq!(space.interest("tickets").await?, driftless::Interest::Live);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn interest(&self, collection: &str) -> Result<Interest, Error> {
        let (id, collection) = (self.id(), CollectionName::new(collection)?);
        let call = self.node.driver.call(Until::Read, move |turn| Ok(turn.replica.interests(&id)));
        match call.await? {
            Some(interests) => Ok(interests.of(&collection)),
            None => Err(Error::UnknownSpace { space: id }),
        }
    }

    async fn note_interest(
        &self,
        collection: Option<CollectionName>,
        interest: Interest,
    ) -> Result<(), Error> {
        let id = self.id();
        let call = self
            .node
            .driver
            .call(Until::Synced, move |turn| turn.replica.set_interest(id, collection, interest));
        Ok(call.await?)
    }
}
