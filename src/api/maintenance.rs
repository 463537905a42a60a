//! Care of a store: what opening found, damage, and what is done while no node has it open.

use std::path::{Path, PathBuf};

use super::{Error, Node};
use crate::driver;

/// What opening a directory found.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, ..) = shop().await?;
/// let opening = node.opening().await?;
/// assert!(opening.new_incarnation, "the store is new");
/// assert_eq!((opening.spaces, opening.rolled_back), (0, None));
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opening {
    /// The device numbers its changes anew: the store is new, was not closed, or is a copy of another.
    pub new_incarnation: bool,
    /// The store once held its journal up to the first place, and has it only up to the second: the disk went
    /// back in time, or was damaged. What is lost comes back from peers that have it.
    pub rolled_back: Option<(u64, u64)>,
    /// How many spaces there are.
    pub spaces: usize,
    /// How many commits are held back; see [`crate::SpaceStatus`].
    pub quarantined: usize,
}

/// What [`compact`] did.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (dir, node, ..) = shop().await?;
/// node.close().await?;
///
/// let compacted = driftless::compact(dir.path())?;
/// println!("{} of {} bytes are left", compacted.bytes_after, compacted.bytes_before);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// Bytes on disk before.
    pub bytes_before: u64,
    /// Bytes on disk after.
    pub bytes_after: u64,
}

/// What [`crate::Node::verify`] found.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, node, ..) = shop().await?;
/// let verified = node.verify().await?;
/// assert_eq!(verified.damaged, 0);
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Values that were read.
    pub values: u64,
    /// Those of them that were damaged. Each was made again of what is here, or its entity is fetched from peers:
    /// see [`crate::SpaceStatus::damaged`].
    pub damaged: u64,
}

impl Node {
    /// Reads every value of the store, and repairs what is damaged: of what else is here, or by fetching entities
    /// again from peers. Damage is found by reading, so what nobody reads stays damaged until this is called.
    ///
    /// Costs as much as reading the whole store. Other work goes on between steps of 512 values; a value that no
    /// other one can stand in for costs a look at every commit of its space, during which other work waits.
    /// Repairs are durable when it returns.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after [`Node::close`], and what the store says.
    ///
    /// # Cancel safety
    ///
    /// What was repaired stays so when the future is dropped; the rest is not looked at.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, ..) = shop().await?;
    /// let verified = node.verify().await?;
    /// println!("{} of {} values were damaged", verified.damaged, verified.values);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn verify(&self) -> Result<Verified, Error> {
        let (values, damaged) = self.inner.driver.verify().await?;
        Ok(Verified { values, damaged })
    }
}

/// Rewrites the store of the node in a directory, which takes back the room that overwritten values hold.
///
/// The node must not be open. There must be room for a second copy of what is live. Blocks for about as long
/// as reading and writing that takes; in async code, call it where blocking is allowed. A crash at any moment
/// leaves the old store or the new one.
///
/// # Errors
///
/// [`Error::Locked`] while a node has the directory open, and what the store says when it is damaged or the
/// disk is full: it is as it was then.
///
/// # Example
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let node = driftless::Node::open(dir.path()).await?;
/// node.close().await?;
///
/// let compacted = driftless::compact(dir.path())?;
/// println!("{} bytes, {} before", compacted.bytes_after, compacted.bytes_before);
/// # Ok(())
/// # }
/// ```
pub fn compact(dir: impl AsRef<Path>) -> Result<Compacted, Error> {
    let (bytes_before, bytes_after) = driver::compact(dir.as_ref())?;
    Ok(Compacted { bytes_before, bytes_after })
}

/// Moves the store of the node in a directory aside, so that the node can be opened with an empty one, and
/// returns where it went.
///
/// For a store that is too damaged to open. Nothing is deleted. The device keeps its key, so it is still a
/// member of its spaces, but it has to hear of them again: join again, by the very invite that it joined by.
/// Any other one is for devices that are not members; without the first, move `device.key` away too, and join
/// by a fresh invite as a device that nobody knows yet. What only this device had is in the directory that is
/// returned.
///
/// # Errors
///
/// [`Error::Locked`] while a node has the directory open, and what the system says when there is nothing to
/// move.
///
/// # Example
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # driftless::Node::open(dir.path()).await?.close().await?;
/// let aside = driftless::set_aside(dir.path())?;
/// assert!(aside.exists());
///
/// let node = driftless::Node::open(dir.path()).await?;
/// assert!(node.spaces().is_empty());
/// # Ok(())
/// # }
/// ```
pub fn set_aside(dir: impl AsRef<Path>) -> Result<PathBuf, Error> {
    Ok(driver::set_aside(dir.as_ref())?)
}
