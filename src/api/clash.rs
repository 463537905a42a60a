//! Devices that signed several commits where there can be one, and how a senior settles it.

use crate::driver::Until;
use crate::id::{CommitHash, EntityId, PeerId};

use super::{Error, Space};

/// Commits of one device of which there can be one. An honest device never makes such: its key was copied, or it lies.
///
/// Until somebody settles it, none counts, nor what the device wrote in the collection from then on, unless others
/// built on it.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, space, ..) = shop().await?;
/// for clash in space.clashes().await? {
///     println!("{} lies about {}", clash.device.short(), clash.collection);
/// }
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Clash {
    /// The device that signed them.
    pub device: PeerId,
    /// The collection.
    pub collection: String,
    /// The commits that are here, two or more, each with the entities that it changes in the collection.
    pub sides: Vec<(CommitHash, Vec<EntityId>)>,
}

impl Space {
    /// Returns the clashes of the space that nobody has settled.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], and what the store says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, ..) = shop().await?;
    /// assert!(space.clashes().await?.is_empty());
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn clashes(&self) -> Result<Vec<Clash>, Error> {
        let id = self.id();
        let call = self.node.driver.call(Until::Read, move |turn| turn.replica.clashes(id));
        let open = call.await?.into_iter().map(|open| Clash {
            device: open.device,
            collection: open.collection.as_str().to_owned(),
            sides: open.sides,
        });
        Ok(open.collect())
    }

    /// Settles a clash by a verdict: of its commits, `keep` counts and no other one does. What the device wrote on top of
    /// `keep` counts again. Everybody who belongs to the space comes to know.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] when `keep` is none of them; [`Error::Denied`] unless this member is an admin senior to
    /// the device's member; [`Error::Closed`], and what the store says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the clash settled.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, space, ..) = shop().await?;
    /// for clash in space.clashes().await? {
    ///     let (keep, _entities) = clash.sides.first().ok_or("two sides")?;
    ///     space.settle(&clash, *keep).await?;
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn settle(&self, clash: &Clash, keep: CommitHash) -> Result<(), Error> {
        let drop = clash.sides.iter().map(|(commit, _)| *commit).find(|commit| *commit != keep);
        let known = clash.sides.iter().any(|(commit, _)| *commit == keep);
        let Some(drop) = drop.filter(|_| known) else {
            return Err(Error::NotFound { what: "side of the clash".to_owned() });
        };
        let (id, device) = (self.id(), clash.device);
        let pick = [keep, drop];
        let call =
            self.node.driver.call(Until::Synced, move |turn| turn.replica.settle(turn.now, id, device, pick));
        Ok(call.await?)
    }
}
