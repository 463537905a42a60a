//! Receipts: where a commit is stored.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;

use crate::driver::{CommitKey, EngineNotice};
use crate::id::{EntityId, PeerId, SpaceId};

use super::Error;
use super::node::Inner;

/// What is known of where a commit is stored. Made by the calls that write.
///
/// A device counts only after it has said that the commit is on its disk. The receipt of a commit that
/// changed nothing is stored everywhere at once.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, _space, tickets, id) = shop().await?;
/// let receipt = tickets.update(id, |ticket| ticket.done = true).await?;
/// if receipt.is_pending()? {
///     println!("on this device alone");
/// }
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Receipt {
    node: Arc<Inner>,
    space: SpaceId,
    key: Option<CommitKey>,
    entities: Vec<EntityId>,
}

impl Receipt {
    pub(super) fn new(
        node: Arc<Inner>,
        space: SpaceId,
        key: Option<CommitKey>,
        entities: Vec<EntityId>,
    ) -> Self {
        Self { node, space, key, entities }
    }

    /// Returns the entities that the commit named, in the order of the calls that named them.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, _tickets, id) = shop().await?;
    /// let receipt = space.commit(|tx| tx.delete::<Ticket>(id)).await?;
    /// assert_eq!(receipt.entities(), [id]);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn entities(&self) -> &[EntityId] {
        &self.entities
    }

    /// Returns the other devices that have the commit on disk.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], and what the store says.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, id) = shop().await?;
    /// let receipt = tickets.delete(id).await?;
    /// println!("stored on {} other devices", receipt.devices()?.len());
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn devices(&self) -> Result<Vec<PeerId>, Error> {
        let Some(key) = &self.key else { return Ok(Vec::new()) };
        Ok(self.node.reader()?.stored_by(&self.space, key)?)
    }

    /// Tells whether no other device is known to have the commit on disk.
    ///
    /// # Errors
    ///
    /// As [`Receipt::devices`].
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, id) = shop().await?;
    /// let changed = tickets.update(id, |ticket| ticket.done = true).await?;
    /// assert!(changed.is_pending()?);
    ///
    /// let unchanged = tickets.update(id, |_| {}).await?;
    /// assert!(!unchanged.is_pending()?);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_pending(&self) -> Result<bool, Error> {
        Ok(self.key.is_some() && self.devices()?.is_empty())
    }

    /// Waits until at least `devices` other devices have the commit on disk.
    ///
    /// It waits as long as it takes: bound it with `tokio::time::timeout` where a person waits.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], and what the store says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing; call it again to go on waiting.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _space, tickets, id) = shop().await?;
    /// use std::time::Duration;
    ///
    /// let receipt = tickets.delete(id).await?;
    /// if tokio::time::timeout(Duration::from_millis(50), receipt.stored_on(1)).await.is_err() {
    ///     println!("not on another device yet; it will be");
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stored_on(&self, devices: usize) -> Result<(), Error> {
        if self.key.is_none() {
            return Ok(());
        }
        // Listening begins before the first look, so that nothing falls between the two.
        let mut notices = self.node.driver.feed().notices();
        while self.devices()?.len() < devices {
            loop {
                match notices.recv().await {
                    Ok(Some(EngineNotice::Stored { space, .. })) if space == self.space => break,
                    Ok(Some(_)) => {}
                    Err(RecvError::Lagged(_)) => break,
                    Ok(None) | Err(RecvError::Closed) => return Err(Error::Closed),
                }
            }
        }
        Ok(())
    }
}
