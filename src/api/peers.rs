//! The peers of a node, and how they can be reached.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::driver::{PeerState, Peers, SyncOutcome};
use crate::id::{PeerId, SpaceId};
use crate::limits::{ADDRESS_BYTES_MAX, ADDRESSES_PER_PEER_MAX};

use super::Error;
use super::node::Inner;

/// A peer, at one moment.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, desk, bench, ..) = desks().await?;
/// let peer = &bench.peers()[0];
/// assert_eq!(peer.id, desk.peer());
/// println!("{} at {:?}: {}", peer.id.short(), peer.addresses, peer.state);
/// # desk.close().await?;
/// # bench.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Its id: its public key.
    pub id: PeerId,
    /// Where it is dialled; empty when it only ever connects to us.
    pub addresses: Vec<String>,
    /// How it can be reached.
    pub state: ConnectionState,
    /// The spaces whose fingerprints were found equal with it, without a change since.
    pub in_sync: BTreeSet<SpaceId>,
}

/// How a peer can be reached.
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
/// let light = match &bench.peers()[0].state {
///     ConnectionState::Connected => "green",
///     ConnectionState::Connecting | ConnectionState::Reconnecting { .. } => "yellow",
///     _ => "red",
/// };
/// println!("{light}");
/// # desk.close().await?;
/// # bench.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Not connected, and not trying to be.
    Disconnected {
        /// Why, for people; empty before the first attempt.
        reason: String,
    },
    /// The first attempt is under way.
    Connecting,
    /// Both sides have greeted each other.
    Connected,
    /// The last attempt or connection ended, and another attempt follows.
    Reconnecting {
        /// How many attempts have failed in a row.
        attempt: u32,
        /// How long it waited from the moment of this state, in milliseconds.
        retry_in_ms: u64,
        /// Why the last one ended, for people.
        reason: String,
    },
    /// Given up until [`super::Node::wake`], [`super::Node::sync_now`] or [`super::Node::add_peer`].
    Failed {
        /// Why, for people.
        reason: String,
    },
}

/// What one device has cost this node, and how it behaved, at one moment.
///
/// Each device has budgets of bytes, commits and work; who exceeds one is not read from until the excess has
/// drained away. Who says what no honest program says is disconnected with the reason, and on the third time in
/// a row not heard for some minutes. See [`crate::manual::security`] for the figures.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, desk, bench, ..) = desks().await?;
/// let costs = desk.costs().await?;
/// assert!(costs.iter().all(|cost| cost.held_back == 0 && cost.turned_away_ms.is_none()));
/// # desk.close().await?;
/// # bench.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerCost {
    /// The device.
    pub device: PeerId,
    /// Frames that it sent, after its hello.
    pub frames: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Commits that it sent, whatever became of them.
    pub commits: u64,
    /// Units of work that its questions took: a comparison of fingerprints is one, a sketch eight.
    pub work: u64,
    /// How often it was held back because it exceeded a budget.
    pub held_back: u64,
    /// How often it said what no honest program says.
    pub offences: u64,
    /// Points for that which have not faded yet: 40 for each, and 20 fade in a minute.
    pub score: u32,
    /// How long it is still turned away, in milliseconds; absent when it is heard.
    pub turned_away_ms: Option<u64>,
}

impl From<crate::driver::PeerCost> for PeerCost {
    fn from(cost: crate::driver::PeerCost) -> Self {
        let crate::driver::PeerCost { peer, frames, bytes, commits, work, .. } = cost;
        let crate::driver::PeerCost { held_back, offences, score, turned_away_ms, .. } = cost;
        Self { device: peer, frames, bytes, commits, work, held_back, offences, score, turned_away_ms }
    }
}

/// What [`super::Node::sync_now`] found.
///
/// # Example
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (_dir, desk, bench, ..) = desks().await?;
/// let synced = bench.sync_now().await?;
/// if synced.behind > 0 {
///     println!("{} peers are still catching up", synced.behind);
/// }
/// # desk.close().await?;
/// # bench.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Synced {
    /// How many peers hold the same as this node, counted once for each space.
    pub equal: usize,
    /// How many were connected and do not, yet.
    pub behind: usize,
    /// Who those are, each once: they are still catching up, or have said nothing for 5 s.
    pub late: Vec<PeerId>,
}

impl From<SyncOutcome> for Synced {
    fn from(outcome: SyncOutcome) -> Self {
        Self { equal: outcome.equal, behind: outcome.behind, late: outcome.late }
    }
}

/// A view of the peers that tells when something about them changes. Made by [`super::Node::watch_peers`].
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
/// let mut peers = bench.watch_peers();
/// bench.pause().await?;
/// let peer = peers.until(desk.peer(), |peer| peer.state != ConnectionState::Connected).await?;
/// println!("the front desk is {}", peer.state);
/// # desk.close().await?;
/// # bench.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PeerWatch {
    node: Arc<Inner>,
    peers: watch::Receiver<Peers>,
}

impl PeerWatch {
    pub(super) fn new(node: &Arc<Inner>) -> Self {
        Self { node: Arc::clone(node), peers: node.driver.feed().peers() }
    }

    /// Returns the peers as they are, in order of id.
    ///
    /// # Example
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/shop.rs"));
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docs/desks.rs"));
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (_dir, desk, bench, ..) = desks().await?;
    /// let peers = bench.watch_peers();
    /// assert_eq!(peers.now().len(), 1);
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn now(&self) -> Vec<Peer> {
        let dialled = self.node.driver.dialled();
        let seen = self.peers.borrow().clone();
        let ids: BTreeSet<PeerId> = dialled.keys().chain(seen.keys()).copied().collect();
        let peers = ids.into_iter().map(|id| {
            let view = seen.get(&id).cloned().unwrap_or_default();
            let addresses = dialled.get(&id).cloned().unwrap_or_default();
            Peer { id, addresses, state: view.state.into(), in_sync: view.in_sync }
        });
        peers.collect()
    }

    /// Waits for the next change, and returns the peers then. Changes in quick succession count as one.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no change.
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
    /// bench.pause().await?;
    /// for peer in peers.changed().await? {
    ///     println!("{} is {}", peer.id.short(), peer.state);
    /// }
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn changed(&mut self) -> Result<Vec<Peer>, Error> {
        self.node.reader()?;
        self.peers.changed().await.map_err(|_| Error::Closed)?;
        self.node.reader()?;
        Ok(self.now())
    }

    /// Waits until the state of a peer is as `is` wants it, and returns the peer then.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
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
    /// let mut peers = desk.watch_peers();
    /// let peer = peers.until(bench.peer(), |peer| peer.state == ConnectionState::Connected).await?;
    /// assert_eq!(peer.id, bench.peer());
    /// # desk.close().await?;
    /// # bench.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn until(&mut self, peer: PeerId, is: impl Fn(&Peer) -> bool) -> Result<Peer, Error> {
        let mut peers = self.now();
        loop {
            if let Some(found) = peers.into_iter().find(|candidate| candidate.id == peer && is(candidate)) {
                return Ok(found);
            }
            peers = self.changed().await?;
        }
    }
}

impl From<PeerState> for ConnectionState {
    fn from(state: PeerState) -> Self {
        match state {
            PeerState::Disconnected { reason } => Self::Disconnected { reason },
            PeerState::Connecting => Self::Connecting,
            PeerState::Connected => Self::Connected,
            PeerState::Reconnecting { attempt, retry_in_ms, reason } => {
                Self::Reconnecting { attempt, retry_in_ms, reason }
            }
            PeerState::Failed { reason } => Self::Failed { reason },
        }
    }
}

/// One short phrase, for people.
impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected { reason } if reason.is_empty() => f.write_str("disconnected"),
            Self::Disconnected { reason } => write!(f, "disconnected: {reason}"),
            Self::Connecting => f.write_str("connecting"),
            Self::Connected => f.write_str("connected"),
            Self::Reconnecting { attempt, retry_in_ms, reason } => {
                let seconds = retry_in_ms / 1_000;
                write!(f, "reconnecting in {seconds} s after attempt {attempt}: {reason}")
            }
            Self::Failed { reason } => write!(f, "given up: {reason}"),
        }
    }
}

/// Checks what the app says of a peer.
pub(super) fn check_addresses(own: PeerId, peer: PeerId, addresses: &[String]) -> Result<(), Error> {
    if peer == own {
        return Err(Error::Invalid { what: "peer", reason: "it is this device itself".to_owned() });
    }
    if addresses.len() > ADDRESSES_PER_PEER_MAX {
        let (count, max) = (addresses.len() as u64, ADDRESSES_PER_PEER_MAX as u64);
        return Err(Error::TooLarge { what: "number of addresses", count, max });
    }
    for address in addresses {
        if address.len() > ADDRESS_BYTES_MAX {
            let (count, max) = (address.len() as u64, ADDRESS_BYTES_MAX as u64);
            return Err(Error::TooLarge { what: "address in bytes", count, max });
        }
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none_or(|port| port == 0) || address.contains(char::is_whitespace) {
            let reason = format!("{address:?} is not host:port");
            return Err(Error::Invalid { what: "address", reason });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addresses: &[&str], expect: Result<(), &str>) {
        let (own, peer) = (PeerId::new([1; 32]), PeerId::new([2; 32]));
        let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
        let result = check_addresses(own, peer, &addresses);
        assert_eq!(result.map_err(|error| error.to_string()), expect.map_err(str::to_owned));
    }

    #[test]
    fn addresses_are_host_and_port() {
        check(&[], Ok(()));
        check(&["127.0.0.1:1", "[::1]:65535", "shop.example:4433"], Ok(()));
        check(&["shop"], Err("address is not valid: \"shop\" is not host:port"));
        check(&["shop:0"], Err("address is not valid: \"shop:0\" is not host:port"));
        check(&["shop:65536"], Err("address is not valid: \"shop:65536\" is not host:port"));
        check(&["a b:1"], Err("address is not valid: \"a b:1\" is not host:port"));
        check(&["a:1"; 9], Err("number of addresses of 9 exceeds 8; split it"));
        let long = format!("{}:1", "a".repeat(255));
        check(&[long.as_str()], Err("address in bytes of 257 exceeds 255; split it"));
    }

    #[test]
    fn a_node_is_not_its_own_peer() {
        let own = PeerId::new([1; 32]);
        let error = check_addresses(own, own, &[]).expect_err("itself");
        assert!(matches!(error, Error::Invalid { what: "peer", .. }), "{error}");
    }
}
