//! Options of a node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::driver::{Budget, MDNS_PORT, Options, Until};
use crate::limits::{BACKOFF_STEPS_MAX, NAME_BYTES_MAX};

use super::{Error, Mode, Node};

/// When the calls that write return.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use driftless::{Durability, Node};
///
/// let node = Node::builder(dir.path()).durability(Durability::Written).open().await?;
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// When the change survives the end of this process, however it comes, and a loss of power. Changes that
    /// wait together are made so by one sync of the disk.
    #[default]
    Synced,
    /// When the change is visible here and on its way to peers. It is synced right after. A process that is
    /// killed in between, or a loss of power, loses it: the newest first, and never a part of a commit. A
    /// panic of the app or a handle that is dropped loses nothing.
    Written,
}

/// What becomes of a space when this device, or its member, is removed from it.
///
/// # Example
///
/// ```
/// use driftless::WhenRemoved;
///
/// assert_eq!(WhenRemoved::default(), WhenRemoved::Keep);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenRemoved {
    /// What is here stays readable; writing is denied.
    #[default]
    Keep,
    /// It is erased as by [`Space::erase`](crate::Space::erase), as soon as this device hears of its removal.
    Erase,
}

/// Options of a node, each with a default. Made by [`Node::builder`].
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use driftless::Node;
///
/// let node = Node::builder(dir.path())
///     .listen(([127, 0, 0, 1], 0))
///     .member("Ana")
///     .device("front desk")
///     .open()
///     .await?;
/// # node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `open`"]
pub struct Builder {
    path: PathBuf,
    listen: SocketAddr,
    member: Option<String>,
    device: Option<String>,
    backoff_ms: Vec<u64>,
    attempts_max: Option<u32>,
    durability: Durability,
    mode: Mode,
    when_removed: WhenRemoved,
    discovery: Option<u16>,
    hub: bool,
}

impl Builder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            member: None,
            device: None,
            backoff_ms: vec![2_000, 4_000, 8_000, 16_000, 32_000],
            attempts_max: None,
            durability: Durability::default(),
            mode: Mode::default(),
            when_removed: WhenRemoved::default(),
            discovery: Some(MDNS_PORT),
            hub: false,
        }
    }

    /// Sets the UDP address that peers reach this node at. Default: `0.0.0.0:0`.
    ///
    /// Port 0 is the port of the last time when it is free, so that addresses that peers remember stay good,
    /// and any free one else. With `127.0.0.1` only nodes on this machine can connect.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use driftless::Node;
    ///
    /// let node = Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open().await?;
    /// assert!(node.addresses()?.iter().all(|address| address.ip().is_loopback()));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn listen(mut self, address: impl Into<SocketAddr>) -> Self {
        self.listen = address.into();
        self
    }

    /// Sets the name of the person, for spaces that are created or joined from here on. Default: `"member "`
    /// and the first digits of the device's key. At most 128 bytes.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use driftless::Node;
    ///
    /// let builder = Node::builder(dir.path()).listen(([127, 0, 0, 1], 0));
    /// let node = builder.member("Ana").open().await?;
    /// let shop = node.create_space("Corner Repairs").await?;
    /// assert_eq!(shop.members()[0].name, "Ana");
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn member(mut self, name: impl Into<String>) -> Self {
        self.member = Some(name.into());
        self
    }

    /// Sets the name of this device, for spaces that are created or joined from here on. Default: `"device "`
    /// and the first digits of its key. At most 128 bytes.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use driftless::Node;
    ///
    /// let builder = Node::builder(dir.path()).listen(([127, 0, 0, 1], 0));
    /// let node = builder.device("front desk").open().await?;
    /// let shop = node.create_space("Corner Repairs").await?;
    /// assert_eq!(shop.members()[0].devices[0].name, "front desk");
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn device(mut self, name: impl Into<String>) -> Self {
        self.device = Some(name.into());
        self
    }

    /// Sets the waits between attempts to reach a peer, in milliseconds; the last one repeats. Default: 2, 4,
    /// 8, 16 and 32 seconds.
    ///
    /// Shorter waits find a peer sooner and cost packets while it is away. At most 32 steps; none of them 0.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use driftless::Node;
    ///
    /// let node = Node::builder(dir.path()).backoff_ms([500, 1_000, 60_000]).open().await?;
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn backoff_ms(mut self, waits: impl Into<Vec<u64>>) -> Self {
        self.backoff_ms = waits.into();
        self
    }

    /// Sets after how many failed attempts in a row a peer is given up, until the app calls
    /// [`Node::wake`], [`Node::sync_now`] or [`Node::add_peer`]. Default: never.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use driftless::Node;
    ///
    /// let node = Node::builder(dir.path()).attempts_max(10).open().await?;
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.attempts_max = Some(attempts);
        self
    }

    /// Sets whether members of the same spaces find each other on the local network, by multicast DNS. Default: yes.
    ///
    /// A node that has a space announces itself on the interfaces that it listens on, with `127.0.0.1` on this
    /// machine alone. An announcement tells everybody on the network that a node is there, and at which port; which
    /// spaces and which device it is, it tells only to who knows the space. A member that is found is dialled while
    /// it announces itself, [`Node::remove_peer`] or not. While the node is paused, nothing is announced or heard.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use driftless::Node;
    ///
    /// let node = Node::builder(dir.path()).discovery(false).open().await?;
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn discovery(mut self, on: bool) -> Self {
        self.discovery = on.then_some(MDNS_PORT);
        self
    }

    /// Sets the UDP port of multicast DNS, and switches discovery on. Default: 5353, the one that is assigned to it.
    ///
    /// Nodes find each other on the same port only. Another one keeps a test or a fleet apart from everything
    /// else on the network.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use driftless::Node;
    ///
    /// let node = Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).discovery_port(45_353).open().await?;
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn discovery_port(mut self, port: u16) -> Self {
        self.discovery = Some(port);
        self
    }

    /// Makes the node a hub: it keeps what its peers send and passes it on, and loads no document. Default: no.
    ///
    /// A hub is a member like any other and is sent what its role may read. It verifies signatures, roles, the
    /// form of every change and the order of causes. Whether a change makes sense it leaves to those who read:
    /// members refuse what does not, each for itself, and compare commits instead of contents with a hub. It has
    /// no collections, so reading and writing entities fails; spaces, members, invites and sync are there.
    ///
    /// The directory stays that of a hub. Opening it otherwise fails with [`Error::Invalid`], and so does making a
    /// hub of one that has a space already.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use driftless::Node;
    ///
    /// let hub = Node::builder(dir.path()).hub(true).open().await?;
    /// assert_eq!(hub.metrics().documents_loaded, 0);
    /// # hub.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn hub(mut self, hub: bool) -> Self {
        self.hub = hub;
        self
    }

    /// Sets when the calls that write return. Default: [`Durability::Synced`].
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use driftless::{Durability, Node};
    ///
    /// let node = Node::builder(dir.path()).durability(Durability::Synced).open().await?;
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets when the node is on the network. Default: [`Mode::Live`].
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use driftless::{Mode, Node};
    ///
    /// let node = Node::builder(dir.path()).mode(Mode::Manual).open().await?;
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets what becomes of a space when this device is removed from it. By default it stays, readable.
    ///
    /// With [`WhenRemoved::Erase`] spaces from which this device was removed before are erased when the node is
    /// opened. Nobody can be sure of it: a device that is never told of its removal, or was changed not to listen,
    /// keeps what it has.
    ///
    /// # Example
    ///
    /// ```
    /// use driftless::{Node, WhenRemoved};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let node = Node::builder(dir.path()).when_removed(WhenRemoved::Erase).open().await?;
    /// node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn when_removed(mut self, when_removed: WhenRemoved) -> Self {
        self.when_removed = when_removed;
        self
    }

    /// Opens the node: makes the directory and the device's key when they are not there, recovers the store,
    /// binds the socket, and begins to reach the peers that it knows.
    ///
    /// Call it within a tokio runtime; the node lives on that runtime. A store of 100,000 entities opens in
    /// about a second.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when another node has the directory open, [`Error::Key`], [`Error::Corrupt`],
    /// [`Error::Format`], [`Error::Io`], [`Error::Listen`], and [`Error::Invalid`] for an option out of
    /// bounds.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the directory locked for the moment that closing it again takes.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use driftless::{Error, Node};
    ///
    /// let node = Node::builder(dir.path()).member("Ana").open().await?;
    ///
    /// let twice = Node::builder(dir.path()).open().await;
    /// assert!(matches!(twice, Err(Error::Locked { .. })));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(self) -> Result<Node, Error> {
        for (what, name) in [("member name", &self.member), ("device name", &self.device)] {
            if let Some(name) = name {
                check_name(what, name)?;
            }
        }
        let steps = self.backoff_ms.len();
        if steps == 0 || steps > BACKOFF_STEPS_MAX || self.backoff_ms.contains(&0) {
            let reason = format!("it has {steps} steps; it takes 1 to {BACKOFF_STEPS_MAX}, none of them 0");
            return Err(Error::Invalid { what: "backoff", reason });
        }
        let until = match self.durability {
            Durability::Synced => Until::Synced,
            Durability::Written => Until::Written,
        };
        let options = Options {
            dir: self.path,
            listen: self.listen,
            backoff_ms: self.backoff_ms,
            attempts_max: self.attempts_max,
            budget: Budget::default(),
            mode: self.mode.checked()?,
            erase_when_removed: self.when_removed == WhenRemoved::Erase,
            discovery: self.discovery,
            hub: self.hub,
        };
        Node::start(options, self.member, self.device, until).await
    }
}

/// Checks a name that people read.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), Error> {
    if name.trim().is_empty() {
        return Err(Error::Invalid { what, reason: "it is empty".to_owned() });
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::TooLarge { what, count: name.len() as u64, max: NAME_BYTES_MAX as u64 });
    }
    if name.chars().any(char::is_control) {
        return Err(Error::Invalid { what, reason: "it has control characters".to_owned() });
    }
    Ok(())
}
