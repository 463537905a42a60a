//! The driver: joins the engine, the replica and the network under tokio. It decides nothing.
//!
//! ```text
//!             orders                      events, answers
//!    api ───────────────▶ engine's task ◀───────────────── storage thread ◀── calls ── api
//!                          │   ▲   └───────── questions ──────▶ (owns the replica)
//!                 frames   ▼   │ frames
//!                       writers, readers (one set a connection)
//! ```

mod book;
mod clock;
mod connection;
mod discovery;
mod engine;
mod error;
mod feed;
#[cfg(test)]
mod hostile;
mod join;
mod key;
mod maintenance;
mod storage;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use crate::id::{CollectionName, EntityId, PeerId, SpaceId};
use crate::identity::Identity;
use crate::limits::{
    MENDS_MAX, ORDERS_MAX, PEERS_MAX, PORT_RETRY_MS, PORT_TRIES_MAX, REQUEST_DEADLINE_MS, TOLD_MAX,
};
use crate::metrics::Metrics;
use crate::net::Endpoint;
use crate::replica::{Reader, Replica, ReplicaError, damage_of};
use crate::store::{StoreOptions, Values};
use crate::sync::{Command, Engine, Notice, Options as EngineOptions};

use book::Book;
use engine::Order;
use storage::Storage;

pub(crate) use crate::net::MDNS_PORT;
use clock::{entropy, within};
pub(crate) use error::DriverError;
pub(crate) use feed::{ChangedRow, Feed, Happening, Peers};
pub(crate) use join::{Joined, Joiner};
pub(crate) use key::KeyError;
#[cfg(test)]
pub(crate) use maintenance::flip_stored;
pub(crate) use maintenance::{compact, set_aside};
pub(crate) use storage::{Turn, Until, origins};
// The engine's and the exchange's words that the API passes on: it may not import those floors.
pub(crate) use crate::exchange::{Answer, Ask, CommitKey, SpaceState};
pub(crate) use crate::store::kv::KvError as StoreError;
pub(crate) use crate::sync::Notice as EngineNotice;
pub(crate) use crate::sync::{Budget, FetchOutcome, Mode, PeerCost, PeerState};

/// Where the store is, in a node's directory.
const STORE_DIR: &str = "store";

/// How a node is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) dir: PathBuf,
    /// Where to listen. Port 0 is the port of the last time if it is free, else any.
    pub(crate) listen: SocketAddr,
    pub(crate) backoff_ms: Vec<u64>,
    pub(crate) attempts_max: Option<u32>,
    /// What each peer may cost in a time.
    pub(crate) budget: Budget,
    pub(crate) mode: Mode,
    pub(crate) erase_when_removed: bool,
    /// The port of multicast DNS, when the local network is searched.
    pub(crate) discovery: Option<u16>,
    /// Keeps and passes on, and loads no document.
    pub(crate) hub: bool,
}

/// What a sync found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyncOutcome {
    /// Peers that hold the same, counted once for each space.
    pub(crate) equal: usize,
    /// Peers that are connected and do not.
    pub(crate) behind: usize,
    /// Who those are.
    pub(crate) late: Vec<PeerId>,
}

/// A running node without its types.
#[derive(Debug)]
pub(crate) struct Driver {
    dir: PathBuf,
    peer: PeerId,
    hub: bool,
    /// `None` when closed, so that nothing keeps the port.
    endpoint: Mutex<Option<Endpoint>>,
    storage: Storage,
    orders: mpsc::Sender<Order>,
    feed: Feed,
    metrics: Arc<Metrics>,
    /// `None` when closed, so that nothing keeps the store open.
    reader: Mutex<Option<Reader>>,
    book: Mutex<Book>,
    next_ticket: AtomicU64,
    /// Whether the app has taken the node off the network.
    paused: watch::Sender<bool>,
    /// Searches the local network; ends when it is dropped.
    discovery: Mutex<JoinSet<()>>,
}

impl Driver {
    /// Opens the directory and the socket, and starts the tasks. Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`DriverError`] of the store, the key, the book or the socket.
    pub(crate) async fn start(options: Options) -> Result<Self, DriverError> {
        let clock = clock::Clock::start();
        let feed = Feed::new();
        let metrics = Arc::new(Metrics::default());
        let (told, telling) = mpsc::channel(TOLD_MAX);
        let (tell, count, erase_when_removed) =
            (feed.clone(), Arc::clone(&metrics), options.erase_when_removed);
        let setup = storage::Setup { clock, feed: tell, metrics: count, told, erase_when_removed };
        let (dir, hub) = (options.dir.clone(), options.hub);
        let (storage, reader, (identity, mut book)) =
            Storage::start(setup, move |now, metrics| open(&dir, hub, now, metrics)).await?;
        let peer = identity.peer();
        let (endpoint, port) = match bind(&clock, &identity, options.listen, book.port, &metrics).await {
            Ok(bound) => bound,
            Err(error) => return Err(unopened(&storage, error).await),
        };
        if book.port != Some(port) {
            book.port = Some(port);
            book.write(&options.dir)?;
        }
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let Options { backoff_ms, attempts_max, budget, mode, .. } = options;
        let engine_options = EngineOptions { backoff_ms, attempts_max, budget, mode, hub };
        tokio::spawn(engine::run(engine::Setup {
            engine: Engine::new(peer, engine_options, Arc::clone(&metrics)),
            clock,
            endpoint: endpoint.clone(),
            storage: storage.clone(),
            feed: feed.clone(),
            told: telling,
            orders: ordered,
        }));
        info!(peer = %peer.short(), port, "node open");
        let paused = watch::Sender::new(false);
        let mut discovery = JoinSet::new();
        if let Some(mdns_port) = options.discovery {
            discovery.spawn(discovery::run(discovery::Setup {
                clock,
                me: peer,
                listen: SocketAddr::new(options.listen.ip(), port),
                port: mdns_port,
                memberships: feed.watch_memberships(),
                paused: paused.subscribe(),
                orders: orders.downgrade(),
            }));
        }
        let known = book.peers.clone();
        let driver = Self {
            dir: options.dir,
            peer,
            hub,
            endpoint: Mutex::new(Some(endpoint)),
            storage,
            orders,
            feed,
            metrics,
            reader: Mutex::new(Some(reader)),
            book: Mutex::new(book),
            next_ticket: AtomicU64::new(1),
            paused,
            discovery: Mutex::new(discovery),
        };
        for (peer, addresses) in known {
            driver.command(Command::AddPeer { peer, addresses }).await?;
        }
        Ok(driver)
    }

    /// Performs `call` on the storage thread. See [`Storage::call`].
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        until: Until,
        call: impl FnOnce(&mut Turn<'_>) -> Result<T, ReplicaError> + Send + 'static,
    ) -> Result<T, DriverError> {
        self.storage.call(until, call).await
    }

    /// Joins a space by an invite, then keeps a connection to the inviter.
    ///
    /// # Errors
    ///
    /// See [`join::join`].
    pub(crate) async fn join(&self, joiner: Joiner) -> Result<Joined, DriverError> {
        let endpoint = self.endpoint()?;
        let (peer, addresses) = (joiner.inviter, joiner.addresses.clone());
        // The book comes first: a crash behind the join would leave the space here and nobody to reach.
        let before = self.note_peer(peer, addresses.clone()).await?;
        let joined = join::join(&endpoint, &self.storage, joiner).await;
        if !matches!(joined, Ok(Joined::Member)) {
            self.note(|book| {
                book.peers.remove(&peer);
                book.peers.extend(before.map(|addresses| (peer, addresses)));
                Ok(())
            })
            .await?;
            return joined;
        }
        self.command(Command::AddPeer { peer, addresses }).await?;
        joined
    }

    /// Waits before a joiner asks again, unless the node is closed meanwhile.
    ///
    /// # Errors
    ///
    /// [`DriverError::Closed`].
    pub(crate) async fn join_pause(&self, ms: u64) -> Result<(), DriverError> {
        let mut happenings = self.feed.happenings();
        let closed = async {
            while !matches!(happenings.recv().await, Ok(Happening::Closed) | Err(RecvError::Closed)) {}
        };
        // Nothing else ends the wait, and the end of it is no failure.
        let _paused = within(ms, closed).await;
        self.reader().map(|_| ())
    }

    /// Keeps a connection to a peer, also after the node is opened again.
    ///
    /// # Errors
    ///
    /// [`DriverError::Io`] when the book cannot be written, [`DriverError::Closed`].
    pub(crate) async fn add_peer(&self, peer: PeerId, addresses: Vec<String>) -> Result<(), DriverError> {
        self.note_peer(peer, addresses.clone()).await?;
        self.command(Command::AddPeer { peer, addresses }).await
    }

    /// Writes a peer into the book, and returns the addresses that were there.
    async fn note_peer(
        &self,
        peer: PeerId,
        addresses: Vec<String>,
    ) -> Result<Option<Vec<String>>, DriverError> {
        let mut before = None;
        self.note(|book| {
            if book.peers.len() >= PEERS_MAX && !book.peers.contains_key(&peer) {
                return Err(DriverError::TooManyPeers { max: PEERS_MAX });
            }
            before = book.peers.insert(peer, addresses);
            Ok(())
        })
        .await?;
        Ok(before)
    }

    /// Lets a peer go.
    ///
    /// # Errors
    ///
    /// As [`Driver::add_peer`].
    pub(crate) async fn remove_peer(&self, peer: PeerId) -> Result<(), DriverError> {
        self.note(|book| {
            book.peers.remove(&peer);
            Ok(())
        })
        .await?;
        self.command(Command::RemovePeer { peer }).await?;
        self.feed.forget(&peer);
        Ok(())
    }

    /// Changes the book and writes it, on a thread that may wait for the disk.
    async fn note(
        &self,
        change: impl FnOnce(&mut Book) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        self.reader()?;
        let book = {
            let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut book)?;
            book.clone()
        };
        let dir = self.dir.clone();
        tokio::task::spawn_blocking(move || book.write(&dir)).await.map_err(|_| DriverError::Closed)?
    }

    /// Gives the engine a command.
    ///
    /// # Errors
    ///
    /// [`DriverError::Closed`].
    pub(crate) async fn command(&self, command: Command) -> Result<(), DriverError> {
        self.orders.send(Order::Command(command)).await.map_err(|_| DriverError::Closed)
    }

    /// Returns what peers have cost since the node was opened, in order of id.
    ///
    /// # Errors
    ///
    /// [`DriverError::Closed`].
    pub(crate) async fn costs(&self) -> Result<Vec<PeerCost>, DriverError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Costs { answer }).await.map_err(|_| DriverError::Closed)?;
        answered.await.map_err(|_| DriverError::Closed)
    }

    /// Takes the node off the network: connections end and none is made, until [`Driver::resume`].
    pub(crate) async fn pause(&self) -> Result<(), DriverError> {
        self.paused.send_replace(true);
        self.command(Command::Pause).await
    }

    /// Takes the node back onto the network.
    pub(crate) async fn resume(&self) -> Result<(), DriverError> {
        self.paused.send_replace(false);
        self.command(Command::Resume).await
    }

    /// Dials at once, whatever the backoff says.
    pub(crate) async fn wake(&self) -> Result<(), DriverError> {
        self.command(Command::Wake).await
    }

    /// Is on the network at other times from here on.
    pub(crate) async fn set_mode(&self, mode: Mode) -> Result<(), DriverError> {
        self.command(Command::SetMode(mode)).await
    }

    /// Dials and syncs at once.
    ///
    /// # Errors
    ///
    /// [`DriverError::Closed`]; [`DriverError::TimedOut`] when the sync did not end in time.
    pub(crate) async fn sync_now(&self, space: Option<SpaceId>) -> Result<SyncOutcome, DriverError> {
        let mut notices = self.feed.notices();
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        self.command(Command::SyncNow { space, ticket }).await?;
        let answered = async {
            loop {
                match notices.recv().await {
                    Ok(Some(Notice::Synced { ticket: other, peers, behind, late })) if other == ticket => {
                        break Ok(SyncOutcome { equal: peers, behind, late });
                    }
                    Ok(Some(_)) => {}
                    // The answer may have been among what was missed: ask again.
                    Err(RecvError::Lagged(_)) => self.command(Command::SyncNow { space, ticket }).await?,
                    Ok(None) | Err(RecvError::Closed) => break Err(DriverError::Closed),
                }
            }
        };
        // The engine gives up first, and says how far it came.
        let ms = REQUEST_DEADLINE_MS * 2;
        within(ms, answered).await.unwrap_or(Err(DriverError::TimedOut { what: "the sync", ms }))
    }

    /// Brings documents of a collection from connected peers.
    ///
    /// # Errors
    ///
    /// [`DriverError::Closed`]; [`DriverError::TimedOut`] when nothing came of it in time.
    pub(crate) async fn fetch(
        &self,
        space: SpaceId,
        collection: CollectionName,
        entities: Vec<EntityId>,
    ) -> Result<FetchOutcome, DriverError> {
        let mut notices = self.feed.notices();
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        self.command(Command::Fetch { space, collection, entities, ticket }).await?;
        let answered = async {
            loop {
                match notices.recv().await {
                    Ok(Some(Notice::Fetched { ticket: other, outcome })) if other == ticket => {
                        break Ok(outcome);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(RecvError::Closed) => break Err(DriverError::Closed),
                    // The answer may have been among what was missed.
                    Err(RecvError::Lagged(_)) => {
                        break Err(DriverError::TimedOut { what: "the fetch", ms: REQUEST_DEADLINE_MS });
                    }
                }
            }
        };
        // The engine gives up first.
        let ms = REQUEST_DEADLINE_MS * 2;
        within(ms, answered).await.unwrap_or(Err(DriverError::TimedOut { what: "the fetch", ms }))
    }

    /// Reads, and again when damage was met and the storage thread has mended it.
    ///
    /// # Errors
    ///
    /// What the reading and the mending say.
    pub(crate) async fn read<T>(
        &self,
        read: impl Fn(&Reader) -> Result<T, ReplicaError>,
    ) -> Result<T, DriverError> {
        let mut mends = 0;
        loop {
            let result = read(&self.reader()?);
            let key = result.as_ref().err().and_then(damage_of).cloned();
            let Some(key) = key.filter(|_| mends < MENDS_MAX) else { return Ok(result?) };
            mends += 1;
            self.call(Until::Synced, move |turn| turn.replica.mend(turn.now, &key)).await?;
        }
    }

    /// Reads the whole store step by step and mends what is damaged. Returns how many values there were, and how
    /// many of them were damaged.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub(crate) async fn verify(&self) -> Result<(u64, u64), DriverError> {
        let (mut values, mut damaged, mut after) = (0, 0, None);
        loop {
            let step = move |turn: &mut Turn<'_>| turn.replica.verify(turn.now, after.as_ref());
            let found = self.call(Until::Synced, step).await?;
            values += found.values as u64;
            damaged += found.damaged as u64;
            after = found.next;
            if after.is_none() {
                return Ok((values, damaged));
            }
        }
    }

    /// Returns the reader.
    ///
    /// # Errors
    ///
    /// [`DriverError::Closed`].
    pub(crate) fn reader(&self) -> Result<Reader, DriverError> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(DriverError::Closed)
    }

    fn endpoint(&self) -> Result<Endpoint, DriverError> {
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(DriverError::Closed)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn is_hub(&self) -> bool {
        self.hub
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.peer
    }

    /// Returns the peers that are dialled, with their addresses.
    pub(crate) fn dialled(&self) -> std::collections::BTreeMap<PeerId, Vec<String>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).peers.clone()
    }

    /// Returns where peers reach this node, best first.
    ///
    /// # Errors
    ///
    /// What the endpoint says.
    pub(crate) fn addresses(&self) -> Result<Vec<SocketAddr>, DriverError> {
        let local = self.endpoint()?.local_address()?;
        if !local.ip().is_unspecified() {
            return Ok(vec![local]);
        }
        let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), local.port());
        let outward = outward_address().map(|ip| SocketAddr::new(ip, local.port()));
        Ok(outward.into_iter().filter(|outward| *outward != loopback).chain([loopback]).collect())
    }

    /// Ends the tasks, syncs and closes the store; the directory is free on return. Closing again does
    /// nothing.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub(crate) async fn close(&self) -> Result<(), DriverError> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut discovery =
            std::mem::take(&mut *self.discovery.lock().unwrap_or_else(PoisonError::into_inner));
        discovery.shutdown().await;
        self.feed.close();
        let (done, ended) = oneshot::channel();
        if self.orders.send(Order::Close { done }).await.is_ok() {
            let _ended_or_gone = ended.await;
        }
        self.storage.close().await?;
        debug!(peer = %self.peer.short(), "node closed");
        Ok(())
    }
}

/// Opens what is in the directory, in the order that locks it first.
fn open(
    dir: &Path,
    hub: bool,
    now: crate::time::Now,
    metrics: Arc<Metrics>,
) -> Result<(Replica, (Arc<Identity>, Book)), DriverError> {
    std::fs::create_dir_all(dir)
        .map_err(|error| DriverError::Io { path: dir.to_owned(), reason: error.to_string() })?;
    let values = Values::open(&dir.join(STORE_DIR), &StoreOptions::default()).map_err(ReplicaError::from)?;
    let seed = Zeroizing::new(draw::<32>()?);
    let identity = Arc::new(key::load_or_create(dir, &seed)?);
    let book = Book::read(dir)?;
    let mut replica = Replica::open(values, Arc::clone(&identity), draw::<32>()?, now, metrics)?;
    replica.set_hub(hub)?;
    Ok((replica, (identity, book)))
}

/// Nothing may hold the directory once the caller has heard that it is not open.
async fn unopened(storage: &Storage, error: DriverError) -> DriverError {
    if let Err(error) = storage.close().await {
        warn!(%error, "the store did not close cleanly");
    }
    error
}

/// Binds the socket, on the port of the last time where any port will do.
///
/// A node that was closed a moment ago may still hold that port: the system takes it back when the last of
/// its tasks has gone, so it is worth a few tries.
async fn bind(
    clock: &clock::Clock,
    identity: &Arc<Identity>,
    listen: SocketAddr,
    last: Option<u16>,
    metrics: &Arc<Metrics>,
) -> Result<(Endpoint, u16), DriverError> {
    let bind = |address| Endpoint::bind(Arc::clone(identity), address, Arc::clone(metrics));
    let mut endpoint = None;
    if let Some(port) = last.filter(|_| listen.port() == 0) {
        for _ in 0..PORT_TRIES_MAX {
            match bind(SocketAddr::new(listen.ip(), port)).await {
                Ok(bound) => {
                    endpoint = Some(bound);
                    break;
                }
                Err(error) => debug!(%error, port, "the port of the last time is taken"),
            }
            let again = clock.now().instant.plus_ms(PORT_RETRY_MS);
            clock.sleep_until(Some(again)).await;
        }
    }
    let endpoint = match endpoint {
        Some(endpoint) => endpoint,
        None => bind(listen).await?,
    };
    let port = endpoint.local_address()?.port();
    Ok((endpoint, port))
}

/// The address from which this machine would speak to others. Connecting a datagram socket sends nothing.
fn outward_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address that is reserved for documentation, so that only the routing table matters.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

fn draw<const N: usize>() -> Result<[u8; N], DriverError> {
    entropy().map_err(|reason| DriverError::Entropy { reason })
}

/// Draws the id of an entity.
///
/// # Errors
///
/// [`DriverError::Entropy`].
pub(crate) fn draw_entity() -> Result<EntityId, DriverError> {
    draw().map(EntityId::new)
}
