//! The task that announces this node on the local network and finds members there.
//!
//! Which device speaks is told by its announcement and the memberships; whether it is dialled is the engine's
//! business. Without a space there is nobody to find, so nothing is announced and nothing is heard.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use crate::id::{PeerId, SpaceId};
use crate::limits::{DISCOVERY_RESTART_MS, SIGHTINGS_MAX, SIGHTINGS_PER_SECOND_MAX};
use crate::net::{Announcement, Discovery, NetError, Reach, Sighting};
use crate::sync::Command;

use super::clock::{Clock, entropy};
use super::engine::Order;
use super::feed::Memberships;

/// What the task is given.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) clock: Clock,
    pub(crate) me: PeerId,
    pub(crate) listen: SocketAddr,
    /// The port of multicast DNS.
    pub(crate) port: u16,
    pub(crate) memberships: watch::Receiver<Memberships>,
    /// Whether the node has left the network.
    pub(crate) paused: watch::Receiver<bool>,
    /// Does not keep the engine's task alive.
    pub(crate) orders: mpsc::WeakSender<Order>,
}

/// One node that announces itself.
#[derive(Debug)]
struct Sighted {
    announcement: Announcement,
    addresses: Vec<SocketAddr>,
    peer: Option<PeerId>,
}

/// Runs until it is aborted, or the node is gone.
pub(crate) async fn run(mut setup: Setup) {
    loop {
        if setup.wait_until_wanted().await.is_none() {
            return;
        }
        match setup.discover().await {
            Ok(()) => {}
            Err(Ended::Gone) => return,
            Err(Ended::Failed(error)) => warn!(%error, "the local network is not searched, for now"),
        }
        let again = setup.clock.now().instant.plus_ms(DISCOVERY_RESTART_MS);
        setup.clock.sleep_until(Some(again)).await;
    }
}

/// Why a search came to its end before it was told to.
enum Ended {
    /// The node is gone.
    Gone,
    Failed(NetError),
}

impl From<NetError> for Ended {
    fn from(error: NetError) -> Self {
        Self::Failed(error)
    }
}

impl Setup {
    fn is_wanted(&self) -> bool {
        !*self.paused.borrow() && !self.memberships.borrow().is_empty()
    }

    async fn wait_until_wanted(&mut self) -> Option<()> {
        while !self.is_wanted() {
            tokio::select! {
                changed = self.paused.changed() => changed.ok()?,
                changed = self.memberships.changed() => changed.ok()?,
            }
        }
        Some(())
    }

    /// Announces and listens until the node leaves the network, or what was heard is too much.
    async fn discover(&mut self) -> Result<(), Ended> {
        let Ok(chance) = entropy::<32>() else { return Ok(()) };
        let mut discovery = Discovery::start(Reach::of(self.listen), self.port)?;
        let mut sighted: BTreeMap<String, Sighted> = BTreeMap::new();
        let mut announced = None;
        let mut second = (0, 0);
        while self.is_wanted() {
            let ours = self.spaces();
            if announced.as_ref() != Some(&ours) {
                discovery
                    .announce(&Announcement::new(&self.me, ours.iter().copied(), chance), self.listen)?;
                announced = Some(ours);
            }
            tokio::select! {
                sighting = discovery.next() => {
                    let Some(sighting) = sighting else { return Ok(()) };
                    self.rest(&mut second).await;
                    self.saw(&mut sighted, sighting).await?;
                }
                changed = self.memberships.changed() => {
                    changed.map_err(|_| Ended::Gone)?;
                    self.judge_again(&mut sighted).await?;
                }
                changed = self.paused.changed() => changed.map_err(|_| Ended::Gone)?,
            }
        }
        Ok(())
    }

    /// Waits for the next second when this one has had its share.
    async fn rest(&self, (second, count): &mut (u64, usize)) {
        let now = self.clock.now().instant.ms();
        if now / 1_000 != *second {
            (*second, *count) = (now / 1_000, 0);
        }
        *count += 1;
        if *count >= SIGHTINGS_PER_SECOND_MAX {
            let next = crate::time::Instant::from_ms((*second + 1) * 1_000);
            self.clock.sleep_until(Some(next)).await;
        }
    }

    async fn saw(&self, sighted: &mut BTreeMap<String, Sighted>, sighting: Sighting) -> Result<(), Ended> {
        match sighting {
            Sighting::Here { name, announcement, addresses } => {
                if sighted.len() >= SIGHTINGS_MAX && !sighted.contains_key(&name) {
                    return Ok(());
                }
                let peer = self.speaker(&announcement);
                let before =
                    sighted.insert(name, Sighted { announcement, addresses: addresses.clone(), peer });
                let news = before.is_none_or(|before| before.peer != peer || before.addresses != addresses);
                match peer.filter(|_| news) {
                    Some(peer) => self.found(peer, &addresses).await,
                    None => Ok(()),
                }
            }
            Sighting::Gone { name } => {
                let peer = sighted.remove(&name).and_then(|gone| gone.peer);
                match peer.filter(|peer| sighted.values().all(|other| other.peer != Some(*peer))) {
                    Some(peer) => self.order(Command::Lost { peer }).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// A device may have become a member since it was seen.
    async fn judge_again(&self, sighted: &mut BTreeMap<String, Sighted>) -> Result<(), Ended> {
        for seen in sighted.values_mut().filter(|seen| seen.peer.is_none()) {
            seen.peer = self.speaker(&seen.announcement);
            if let Some(peer) = seen.peer {
                self.found(peer, &seen.addresses).await?;
            }
        }
        Ok(())
    }

    async fn found(&self, peer: PeerId, addresses: &[SocketAddr]) -> Result<(), Ended> {
        debug!(peer = %peer.short(), ?addresses, "a member announces itself");
        let addresses = addresses.iter().map(SocketAddr::to_string).collect();
        self.order(Command::Found { peer, addresses }).await
    }

    async fn order(&self, command: Command) -> Result<(), Ended> {
        let orders = self.orders.upgrade().ok_or(Ended::Gone)?;
        orders.send(Order::Command(command)).await.map_err(|_| Ended::Gone)
    }

    /// The spaces to which this device belongs.
    fn spaces(&self) -> BTreeSet<SpaceId> {
        let memberships = self.memberships.borrow();
        let ours = memberships.iter().filter(|(_, membership)| membership.role(&self.me).is_some());
        ours.map(|(space, _)| *space).collect()
    }

    fn speaker(&self, announcement: &Announcement) -> Option<PeerId> {
        let memberships = self.memberships.borrow();
        let devices = memberships.iter().map(|(space, membership)| (space, membership.devices().copied()));
        announcement.speaker(devices).filter(|peer| *peer != self.me)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(orders: &mpsc::Sender<Order>) -> Setup {
        let (_, memberships) = watch::channel(Memberships::new());
        let (_, paused) = watch::channel(false);
        Setup {
            clock: Clock::start(),
            me: PeerId::new([1; 32]),
            listen: ([127, 0, 0, 1], 1).into(),
            port: 1,
            memberships,
            paused,
            orders: orders.downgrade(),
        }
    }

    fn stranger(number: usize) -> Sighting {
        let mut chance = [0; 32];
        chance.iter_mut().zip(number.to_le_bytes()).for_each(|(byte, more)| *byte = more);
        let announcement = Announcement::new(&PeerId::new([9; 32]), [SpaceId::new([7; 32])], chance);
        Sighting::Here { name: announcement.name(), announcement, addresses: vec![([10, 0, 0, 9], 1).into()] }
    }

    #[tokio::test]
    async fn thousands_of_strangers_are_neither_dialled_nor_all_remembered() {
        let (orders, mut ordered) = mpsc::channel(1);
        let setup = setup(&orders);
        let mut sighted = BTreeMap::new();

        for number in 0..4_000 {
            assert!(setup.saw(&mut sighted, stranger(number)).await.is_ok());
        }

        assert_eq!(sighted.len(), SIGHTINGS_MAX);
        assert!(ordered.try_recv().is_err(), "nothing was ordered");
    }

    #[tokio::test]
    async fn a_second_has_its_share_of_announcements() {
        let (orders, _ordered) = mpsc::channel(1);
        let setup = setup(&orders);
        let mut second = (0, 0);
        setup.rest(&mut second).await;
        let first = setup.clock.now().instant.ms() / 1_000;

        for _ in 0..2 * SIGHTINGS_PER_SECOND_MAX {
            setup.rest(&mut second).await;
        }

        assert!(setup.clock.now().instant.ms() / 1_000 > first);
    }
}
