//! A node: one device's database, with its connections.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::access::Invite;
use crate::doc::{Entity, Kind, KindOf};
use crate::driver::{Driver, Joiner, Options, Until};
use crate::id::{CollectionName, EntityId, PeerId, SpaceId};
use crate::limits::JOIN_WAIT_MS;
use crate::metrics::MetricsSnapshot;
use crate::replica::Reader;

use super::builder::{Builder, check_name};
use super::joining::{self, Asked};
use super::peers::{Peer, PeerCost, PeerWatch, Synced, check_addresses};
use super::{Error, Opening, Space};

/// One device's database, and its connections to other devices. Cheap to clone; all clones are the same node.
///
/// A node holds spaces; a space holds collections of entities. Everything works without a connection; what
/// changed meanwhile is exchanged when peers are reached again.
///
/// [`Node::close`] is the polite end. When the last handle is dropped instead, what was written is still
/// synced and the directory freed, but in the background, a little later; peers see a connection that falls
/// silent.
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
/// let shop = node.create_space("Corner Repairs").await?;
/// assert_eq!(shop.name(), "Corner Repairs");
/// node.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) inner: Arc<Inner>,
}

/// What all handles of a node share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) driver: Driver,
    member: String,
    device: String,
    pub(super) until: Until,
    kinds: Mutex<BTreeMap<CollectionName, Known>>,
}

/// A type that is in use on this node.
#[derive(Clone, Debug)]
pub(super) struct Known {
    entity: TypeId,
    pub(super) kind: Arc<dyn Kind>,
    /// Set when the rows of the type are there.
    pub(super) ready: Arc<OnceCell<()>>,
}

impl Node {
    /// Opens the node in a directory with the default options, or makes one there. See [`Builder::open`].
    ///
    /// # Errors
    ///
    /// As [`Builder::open`].
    ///
    /// # Cancel safety
    ///
    /// As [`Builder::open`].
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let node = driftless::Node::open(dir.path()).await?;
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::builder(path).open().await
    }

    /// Returns the options for a node in a directory.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use driftless::Node;
    ///
    /// let node = Node::builder(dir.path()).member("Ana").device("front desk").open().await?;
    /// assert_eq!(node.path(), dir.path());
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(path: impl Into<PathBuf>) -> Builder {
        Builder::new(path.into())
    }

    pub(super) async fn start(
        options: Options,
        member: Option<String>,
        device: Option<String>,
        until: Until,
    ) -> Result<Self, Error> {
        let driver = Driver::start(options).await?;
        let short = driver.peer().short();
        let inner = Inner {
            driver,
            member: member.unwrap_or_else(|| format!("member {short}")),
            device: device.unwrap_or_else(|| format!("device {short}")),
            until,
            kinds: Mutex::new(BTreeMap::new()),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) fn of(inner: &Arc<Inner>) -> Self {
        Self { inner: Arc::clone(inner) }
    }

    /// What this device's member and the device call themselves.
    pub(super) fn names(&self) -> (String, String) {
        (self.inner.member.clone(), self.inner.device.clone())
    }

    /// Founds a space, with this device's member as its owner. It is on disk on return; nobody else knows of
    /// it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] or [`Error::TooLarge`] for a name that is empty or over 128 bytes,
    /// [`Error::Closed`], and what the store says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the space founded; [`Node::spaces`] shows it.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, ..) = shop().await?;
    /// let branch = node.create_space("Harbour Repairs").await?;
    /// assert_eq!(branch.name(), "Harbour Repairs");
    /// assert_eq!(branch.role(), Some(driftless::Role::Owner));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_space(&self, name: &str) -> Result<Space, Error> {
        check_name("space name", name)?;
        let (member, device) = self.names();
        let name = name.to_owned();
        let call = self
            .inner
            .driver
            .call(Until::Synced, move |turn| turn.replica.create_space(turn.now, &name, &member, &device));
        let id = call.await?;
        self.space(id)
    }

    /// Joins a space by an invite from one of its devices, which must be reachable. The membership is on disk
    /// on return, and the content follows: [`Node::sync_now`] waits for it.
    ///
    /// The inviter becomes a peer that this node keeps a connection to. When the invite needs approval, it waits ten
    /// minutes for that; [`Node::ask_to_join`] does not, and shows the code that both people compare.
    ///
    /// # Errors
    ///
    /// [`Error::AwaitingApproval`] when nobody has approved in that time, [`Error::Unreachable`] when the inviter does not answer, [`Error::NotAdmitted`] when it refuses (the
    /// invite was used, revoked or has expired), [`Error::Closed`], and what the store says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the invite used without the space being here. Ask for another invite
    /// then.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// use driftless::{Node, Role};
    ///
    /// # let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    /// let desk = Node::builder(a).listen(([127, 0, 0, 1], 0)).open().await?;
    /// let shop = desk.create_space("Corner Repairs").await?;
    /// let invite = shop.invite(Role::Writer).await?.to_string();
    ///
    /// let bench = Node::builder(b).listen(([127, 0, 0, 1], 0)).open().await?;
    /// let joined = bench.join(&invite.parse()?).await?;
    /// assert_eq!(joined.id(), shop.id());
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn join(&self, invite: &Invite) -> Result<Space, Error> {
        match self.ask_to_join(invite).await? {
            Asked::In(space) => Ok(space),
            Asked::Waits(joining) => joining.wait(JOIN_WAIT_MS).await,
        }
    }

    /// Asks once to be let in by an invite, and does not wait when somebody has to approve.
    ///
    /// # Errors
    ///
    /// As [`Node::join`], without the wait.
    ///
    /// # Cancel safety
    ///
    /// As [`Node::join`].
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    /// # let on = |dir: &tempfile::TempDir| driftless::Node::builder(dir.path()).listen(([127, 0, 0, 1], 0)).open();
    /// # let (desk, bench) = (on(&dirs.0).await?, on(&dirs.1).await?);
    /// # let shop = desk.create_space("Corner Repairs").await?;
    /// let invite = shop.invite_with_approval(driftless::Role::Writer).await?;
    /// assert!(matches!(bench.ask_to_join(&invite).await?, driftless::Asked::Waits(_)));
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ask_to_join(&self, invite: &Invite) -> Result<Asked, Error> {
        joining::ask(&self.inner, invite).await
    }

    /// Keeps a connection to a peer, also after the node is opened again. Adding a peer again replaces its
    /// addresses.
    ///
    /// Addresses are `host:port`, tried in order, at most 8. Only spaces that both devices belong to are
    /// exchanged.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] or [`Error::TooLarge`] for addresses, [`Error::Io`], [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the peer added.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, desk, bench, ..) = desks().await?;
    /// desk.add_peer(bench.peer(), bench.addresses()?).await?;
    /// assert!(desk.peers().iter().any(|peer| peer.id == bench.peer() && !peer.addresses.is_empty()));
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn add_peer<A: ToString>(
        &self,
        peer: PeerId,
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<(), Error> {
        let addresses: Vec<String> = addresses.into_iter().map(|address| address.to_string()).collect();
        check_addresses(self.peer(), peer, &addresses)?;
        Ok(self.inner.driver.add_peer(peer, addresses).await?)
    }

    /// Keeps no connection to a peer any more. One that the peer makes is still accepted, for the spaces that
    /// both belong to.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave the peer removed.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, desk, bench, ..) = desks().await?;
    /// bench.remove_peer(desk.peer()).await?;
    /// assert!(bench.peers().iter().all(|peer| peer.addresses.is_empty()));
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove_peer(&self, peer: PeerId) -> Result<(), Error> {
        Ok(self.inner.driver.remove_peer(peer).await?)
    }

    /// Reaches all peers at once, whatever the waits between attempts say, and waits until those that answer
    /// hold the same as this node, at most 30 seconds.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the sync under way.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, desk, bench, tickets, _, id) = desks().await?;
    /// tickets.update(id, |ticket| ticket.done = true).await?;
    ///
    /// let synced = bench.sync_now().await?;
    /// println!("{} peers have the same, {} do not yet", synced.equal, synced.behind);
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn sync_now(&self) -> Result<Synced, Error> {
        Ok(self.inner.driver.sync_now(None).await?.into())
    }

    /// Leaves the network: connections are closed and none is made until [`Node::resume`]. Reads and writes
    /// go on.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _, tickets, id) = shop().await?;
    /// node.pause().await?;
    /// tickets.update(id, |ticket| ticket.done = true).await?;
    /// node.resume().await?;
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pause(&self) -> Result<(), Error> {
        Ok(self.inner.driver.pause().await?)
    }

    /// Returns to the network after [`Node::pause`].
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, desk, bench, ..) = desks().await?;
    /// use driftless::ConnectionState;
    ///
    /// bench.pause().await?;
    /// bench.resume().await?;
    /// let mut peers = bench.watch_peers();
    /// peers.until(desk.peer(), |peer| peer.state == ConnectionState::Connected).await?;
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resume(&self) -> Result<(), Error> {
        Ok(self.inner.driver.resume().await?)
    }

    /// Tells that the network is back or that the device woke up: peers are reached at once.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, ..) = shop().await?;
    /// // The system says that the device has a network again.
    /// node.wake().await?;
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wake(&self) -> Result<(), Error> {
        Ok(self.inner.driver.wake().await?)
    }

    /// Closes the node: tells peers, performs and syncs what was asked for, and frees the directory. Handles
    /// that are still around answer [`Error::Closed`]. Closing again does nothing.
    ///
    /// # Errors
    ///
    /// What the store says; the directory is free all the same.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the node closing; call it again to wait for the end.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _, tickets, id) = shop().await?;
    /// use driftless::Error;
    ///
    /// node.close().await?;
    /// assert!(matches!(tickets.get(id).await, Err(Error::Closed)));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self) -> Result<(), Error> {
        Ok(self.inner.driver.close().await?)
    }

    /// Returns this device's id: its public key.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, shop, ..) = shop().await?;
    /// let me = node.peer();
    /// assert!(shop.members()[0].devices.iter().any(|device| device.peer == me));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.inner.driver.peer()
    }

    /// Returns the directory.
    ///
    /// # Example
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let node = driftless::Node::open(dir.path()).await?;
    /// assert_eq!(node.path(), dir.path());
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        self.inner.driver.dir()
    }

    /// Returns where peers reach this node, best first.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] when the socket is gone.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, ..) = shop().await?;
    /// for address in node.addresses()? {
    ///     println!("{} answers at {address}", node.peer().short());
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        Ok(self.inner.driver.addresses()?)
    }

    /// Returns the spaces on this node, in order of id.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, shop, ..) = shop().await?;
    /// assert_eq!(node.spaces(), [shop]);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn spaces(&self) -> Vec<Space> {
        let all = self.inner.driver.feed().memberships();
        all.into_iter().map(|(id, membership)| Space::new(Arc::clone(&self.inner), id, membership)).collect()
    }

    /// Returns a space.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownSpace`] when it is not on this node.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, shop, ..) = shop().await?;
    /// use driftless::{Error, SpaceId};
    ///
    /// assert_eq!(node.space(shop.id())?, shop);
    ///
    /// let elsewhere = node.space(SpaceId::new([7; 32]));
    /// assert!(matches!(elsewhere, Err(Error::UnknownSpace { .. })));
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn space(&self, id: SpaceId) -> Result<Space, Error> {
        match self.inner.driver.feed().membership(&id) {
            Some(membership) => Ok(Space::new(Arc::clone(&self.inner), id, membership)),
            None => Err(Error::UnknownSpace { space: id }),
        }
    }

    /// Returns the peers that are dialled or connected, with the state of each, in order of id.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, desk, bench, ..) = desks().await?;
    /// for peer in desk.peers() {
    ///     println!("{} is {}", peer.id.short(), peer.state);
    /// }
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        PeerWatch::new(&self.inner).now()
    }

    /// Returns a view of the peers that tells when something about them changes.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, desk, bench, ..) = desks().await?;
    /// let mut peers = bench.watch_peers();
    /// assert_eq!(peers.now()[0].id, desk.peer());
    ///
    /// bench.pause().await?;
    /// println!("{}", peers.changed().await?[0].state);
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn watch_peers(&self) -> PeerWatch {
        PeerWatch::new(&self.inner)
    }

    /// Returns what each device that shares a space has cost since the node was opened, and how it behaved, in
    /// order of id. Devices of long ago may be forgotten.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, desk, bench, ..) = desks().await?;
    /// for cost in desk.costs().await? {
    ///     println!("{}: {} bytes, {} offences", cost.device.short(), cost.bytes, cost.offences);
    ///     assert_eq!((cost.device, cost.score), (bench.peer(), 0));
    /// }
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn costs(&self) -> Result<Vec<PeerCost>, Error> {
        let costs = self.inner.driver.costs().await?;
        Ok(costs.into_iter().map(PeerCost::from).collect())
    }

    /// Returns what opening the directory found: whether this is a new life of the store, and whether the
    /// store had lost something.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after [`Node::close`].
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, ..) = shop().await?;
    /// let opening = node.opening().await?;
    /// if opening.rolled_back.is_some() {
    ///     println!("the disk went back in time; what is lost comes from peers that have it");
    /// }
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn opening(&self) -> Result<Opening, Error> {
        let report = self.inner.driver.call(Until::Read, |turn| Ok(*turn.replica.report())).await?;
        Ok(Opening {
            new_incarnation: report.new_incarnation,
            rolled_back: report.rolled_back.map(|(from, to)| (from.0, to.0)),
            spaces: report.spaces,
            quarantined: report.quarantined,
        })
    }

    /// Returns the bytes that the store takes on disk.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after [`Node::close`], and what the system says.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, ..) = shop().await?;
    /// assert!(node.disk_bytes().await? > 0);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn disk_bytes(&self) -> Result<u64, Error> {
        Ok(self.inner.driver.call(Until::Read, |turn| turn.replica.disk_bytes()).await?)
    }

    /// Returns the counters of this node, from when it was opened.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, node, _, tickets, id) = shop().await?;
    /// let before = node.metrics().commits_local;
    /// tickets.update(id, |ticket| ticket.done = true).await?;
    /// assert_eq!(node.metrics().commits_local, before + 1);
    /// # node.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn metrics(&self) -> MetricsSnapshot {
        self.inner.driver.metrics().snapshot()
    }
}

impl Node {
    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }
}

impl Inner {
    /// What this node brings when it asks to be let in.
    pub(super) fn joiner(&self, invite: &Invite) -> Joiner {
        Joiner {
            invite: invite.clone(),
            inviter: invite.inviter(),
            addresses: invite.addresses().iter().map(ToString::to_string).collect(),
            member: self.member.clone(),
            device: self.device.clone(),
        }
    }

    /// Returns what is known of a type; it is noted when it is met for the first time.
    pub(super) fn known<T: Entity>(&self) -> Result<Known, Error> {
        if self.driver.is_hub() {
            let reason = "it keeps and passes on, and neither reads nor writes entities".to_owned();
            return Err(Error::Invalid { what: "hub", reason });
        }
        let kind = KindOf::<T>::new()?;
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kinds.entry(kind.collection().clone()).or_insert_with(|| Known {
            entity: TypeId::of::<T>(),
            kind: Arc::new(kind),
            ready: Arc::new(OnceCell::new()),
        });
        if known.entity != TypeId::of::<T>() {
            let reason = format!("{:?} is in use with another type on this node", T::COLLECTION);
            return Err(Error::Invalid { what: "collection", reason });
        }
        Ok(known.clone())
    }

    pub(super) fn reader(&self) -> Result<Reader, Error> {
        Ok(self.driver.reader()?)
    }

    pub(super) fn draw_entity(&self) -> Result<EntityId, Error> {
        Ok(crate::driver::draw_entity()?)
    }
}
