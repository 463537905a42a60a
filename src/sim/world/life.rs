//! The life of a device: founding, joining, starting, and every way in which a process ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::engine::address;
use super::{Happening, World};
use crate::access::Role;
use crate::exchange::{Answer, Ask};
use crate::id::{CollectionName, EntityId, SpaceId};
use crate::limits::INVITE_LIFETIME_MS;
use crate::metrics::Metrics;
use crate::replica::{Replica, ReplicaError};
use crate::sim::Canary;
use crate::sim::device::rows;
use crate::sim::fault::Fault;
use crate::sim::node::{Backup, Up};
use crate::sim::violation::Rule;
use crate::store::Values;
use crate::sync::{Command, Engine, Event, Options};

/// The collection that only admins read when the plan says so.
const RULED: &str = "lines";
/// Time after which what could not be done now is tried again, in milliseconds.
const AGAIN_MS: u64 = 700;

impl World<'_> {
    /// Starts all devices, and founds the space on the first.
    pub(super) fn found(&mut self) {
        (0..self.nodes.len()).for_each(|device| self.start(device));
        let now = self.clocks(0);
        let rule = self.plan.rule;
        let Some(up) = self.nodes.get_mut(0).and_then(|node| node.up.as_mut()) else { return };
        let founded = up.replica.create_space(now, "space", "member 0", "device 0").and_then(|space| {
            if rule && let Ok(collection) = CollectionName::new(RULED) {
                up.replica.set_rule(now, space, &collection, Role::Admin, Role::Admin)?;
            }
            Ok(space)
        });
        match founded {
            Ok(space) => self.space = Some(space),
            Err(error) => return self.violate(Rule::Store, 0, format!("founding: {error}")),
        }
        self.forward(0, None);
        self.sync(0);
        self.enter(0);
    }

    /// A device belongs to the space from now on.
    fn enter(&mut self, device: usize) {
        if let Some(node) = self.node_mut(device) {
            node.joined = true;
        }
        self.observe(device);
        self.back_up(device);
        self.add_peers(device);
        for other in self.plan.neighbours(device) {
            if self.node(other).is_some_and(|node| node.joined && node.up.is_some()) {
                self.add_peers(other);
            }
        }
    }

    /// A device joins, by way of the first admin that can be reached.
    pub(super) fn join(&mut self, index: usize, device: usize) {
        if self.node(device).is_none_or(|node| node.joined) {
            return;
        }
        let able = |inviter: &usize| {
            self.node(*inviter)
                .is_some_and(|node| node.joined && node.is_awake() && !node.troubled && !node.damaged)
        };
        let inviter = [0, 1].into_iter().filter(|inviter| *inviter != device).find(able);
        let ready = self.node(device).is_some_and(|node| node.is_awake() && !node.troubled && !node.damaged);
        // A member that only knows members who joined after it can never hear of them: devices join along the links.
        let linked = |other: &usize| *other < device && self.node(*other).is_some_and(|node| node.joined);
        let ready = ready && self.plan.neighbours(device).iter().any(linked);
        let Some(inviter) = inviter.filter(|_| ready) else {
            return self.after(AGAIN_MS, Happening::Step(index));
        };
        let exporter = self.dice.bytes();
        self.trace.line(self.now, format_args!("d{device} joins by d{inviter}"));
        if let Err(reason) = self.join_by(inviter, device, exporter) {
            return self.violate(Rule::NotRejected, device, format!("joining: {reason}"));
        }
        [inviter, device].into_iter().for_each(|device| {
            self.forward(device, None);
            self.sync(device);
        });
        if self.now > 100 {
            self.faults.add(Fault::LateJoin, 1);
        }
        // A member of which nobody but itself has heard could not come back to the others.
        self.back_up(inviter);
        self.enter(device);
    }

    fn join_by(&mut self, inviter: usize, joiner: usize, exporter: [u8; 32]) -> Result<(), String> {
        let space = self.space.ok_or("there is no space")?;
        let (inviter_now, joiner_now) = (self.clocks(inviter), self.clocks(joiner));
        let role = self.node(joiner).map_or(Role::Reader, |node| node.role);
        let (inviter_peer, joiner_peer) = (self.peer(inviter), self.peer(joiner));
        let text = |error: ReplicaError| error.to_string();
        let (member, name) = (format!("member {joiner}"), format!("device {joiner}"));
        let host = self.replica(inviter).ok_or("the inviter is not running")?;
        let invite = host.invite(inviter_now, space, role, Vec::new(), INVITE_LIFETIME_MS).map_err(text)?;
        let guest = self.replica(joiner).ok_or("the joiner is not running")?;
        let request = guest.join_request(&invite, &member, &name, &exporter).map_err(text)?;
        let host = self.replica(inviter).ok_or("the inviter is not running")?;
        let redeem = Ask::Redeem { joiner: joiner_peer, exporter, request };
        let answer = host.answer(inviter_now, redeem);
        let Answer::Redeemed(reply) = answer else {
            return Err(format!("{answer:?}"));
        };
        let guest = self.replica(joiner).ok_or("the joiner is not running")?;
        let answer = guest.answer(joiner_now, Ask::Joined { from: inviter_peer, reply });
        if let Answer::Done = answer { Ok(()) } else { Err(format!("{answer:?}")) }
    }

    fn replica(&mut self, device: usize) -> Option<&mut Replica> {
        Some(&mut self.node_mut(device)?.up.as_mut()?.replica)
    }

    pub(super) fn peer(&self, device: usize) -> crate::id::PeerId {
        self.node(device).map_or(crate::id::PeerId::new([0; 32]), super::Node::peer)
    }

    /// Starts the process of a device.
    pub(super) fn start(&mut self, device: usize) {
        let now = self.clocks(device);
        let reuse = self.options.canary == Some(Canary::ReuseIncarnation);
        let kinds = self.kinds.clone();
        let Some(node) = self.nodes.get_mut(device) else { return };
        if node.up.is_some() {
            return;
        }
        node.life += 1;
        let entropy = node.dice.bytes();
        if self.options.canary == Some(Canary::IgnoreFsync) {
            node.disk.ignore_syncs();
        }
        if reuse && node.life > 1 {
            node.disk.pretend_closed();
        }
        let opened = Values::memory(&node.disk).map_err(ReplicaError::from).and_then(|values| {
            let identity = Arc::clone(&node.identity);
            let mut replica = Replica::open(values, identity, entropy, now, Arc::new(Metrics::default()))?;
            kinds.into_iter().try_for_each(|kind| replica.register(kind))?;
            Ok(replica)
        });
        let excused = node.troubled || node.damaged;
        match opened {
            Ok(replica) => self.run_process(device, replica),
            Err(error) if !excused => self.violate(Rule::Store, device, format!("opening: {error}")),
            Err(error) => {
                self.trace.line(self.now, format_args!("d{device} cannot open: {error}"));
                self.restore_if_damaged(device);
                self.after(AGAIN_MS, Happening::Start { device });
            }
        }
    }

    fn run_process(&mut self, device: usize, replica: Replica) {
        self.trace.line(self.now, format_args!("d{device} starts"));
        let peer = replica.peer();
        let up = Up {
            reader: replica.reader(),
            engine: Engine::new(peer, Options::default(), Arc::new(Metrics::default())),
            replica,
            jobs: std::collections::VecDeque::new(),
            busy: false,
            dirty: false,
            since_sync: 0,
            waiting: Vec::new(),
            timer: None,
            rang: (0, 0),
        };
        let Some(node) = self.node_mut(device) else { return };
        node.up = Some(up);
        node.crashes = false;
        let joined = node.joined;
        // What opening itself released is told before anybody can subscribe.
        self.forward(device, None);
        if joined {
            self.check_opened(device);
            self.observe(device);
        }
        if self.node(device).is_some_and(|node| node.joined) {
            self.add_peers(device);
        }
        self.reset_conns(device);
    }

    fn check_opened(&mut self, device: usize) {
        let Some(space) = self.space else { return };
        let collections = self.collections(device);
        let Some(up) = self.nodes.get(device).and_then(|node| node.up.as_ref()) else { return };
        let (membership, me) = (up.replica.membership(&space), up.replica.peer());
        let readable = |collection: &CollectionName| {
            membership.as_ref().is_none_or(|all| all.may(&me, crate::access::Action::Read, collection))
        };
        if membership.is_none() {
            let text = "the space is gone".to_owned();
            return self.oracle.violate(Rule::Durable, self.now, device, text);
        }
        self.oracle.opened(self.now, device, &space, &collections, &readable, &up.reader);
    }

    /// A subscriber begins: it reads the rows, and hears of every change from here on.
    fn observe(&mut self, device: usize) {
        let Some(space) = self.space else { return };
        let Some(up) = self.nodes.get(device).and_then(|node| node.up.as_ref()) else { return };
        let mut all: BTreeMap<CollectionName, BTreeSet<EntityId>> = BTreeMap::new();
        for kind in &self.kinds {
            // A damaged row is met again, where the store is asked to answer for it.
            let rows = rows(&up.reader, &space, kind.collection()).unwrap_or_default();
            all.insert(kind.collection().clone(), rows.into_iter().map(|(entity, _)| entity).collect());
        }
        self.oracle.observe(device, all);
    }

    /// Those who still hold a connection to the old process learn that it is gone.
    fn reset_conns(&mut self, device: usize) {
        let halves = self.network.conns.iter().filter_map(|(conn, entry)| {
            let end = entry.ends.iter().position(|end| end.device == device && !end.open)?;
            entry.ends.get(1 - end).filter(|far| far.open).map(|_| (*conn, 1 - end))
        });
        let halves: Vec<_> = halves.collect();
        for (conn, end) in halves {
            let takes = self.dice.between(5..=4_000);
            self.after(takes, Happening::Ended { conn, end, reason: "reset by the peer" });
        }
    }

    /// Ends the process of a device, without a word.
    fn end_process(&mut self, device: usize) {
        self.oracle.ended(device);
        let Some(node) = self.node_mut(device) else { return };
        node.up = None;
        node.life += 1;
        if node.asleep_until.take().is_some() {
            self.network.asleep.remove(&device);
        }
        for conn in self.network.conns_of(device) {
            if let Some(entry) = self.network.conns.get_mut(&conn)
                && let Some(end) = entry.end_of(device)
            {
                entry.close(end);
            }
        }
        self.refresh();
    }

    /// The power goes.
    pub(super) fn crash(&mut self, device: usize) {
        let Some(node) = self.node_mut(device).filter(|node| node.up.is_some()) else { return };
        let seed = node.dice.seed();
        let at_write = node.crashes;
        node.crashes = false;
        node.disk.crash(seed);
        node.disk.heal();
        let waits = node.dice.between(200..=8_000);
        self.trace.line(self.now, format_args!("d{device} crashes"));
        self.faults.add(if at_write { Fault::CrashAtWrite } else { Fault::Crash }, 1);
        self.end_process(device);
        self.after(waits, Happening::Start { device });
    }

    /// The process is killed; what it wrote stays written.
    pub(super) fn kill(&mut self, device: usize) {
        let Some(node) = self.node_mut(device).filter(|node| node.up.is_some()) else { return };
        node.disk.kill();
        let waits = node.dice.between(100..=3_000);
        self.trace.line(self.now, format_args!("d{device} is killed"));
        self.end_process(device);
        self.after(waits, Happening::Start { device });
    }

    /// The app is closed as it should be.
    pub(super) fn close_politely(&mut self, device: usize, lasts_ms: u64) {
        if self.node(device).is_none_or(|node| !node.is_awake()) {
            return;
        }
        self.trace.line(self.now, format_args!("d{device} closes"));
        self.sync(device);
        self.tell(device, Event::Command(Command::Pause));
        let closed = self.replica(device).map(Replica::close);
        if let Some(Err(error)) = closed
            && self.node(device).is_some_and(|node| !node.troubled && !node.damaged)
        {
            self.violate(Rule::Store, device, format!("closing: {error}"));
        }
        self.end_process(device);
        self.after(lasts_ms.max(50), Happening::Start { device });
    }

    /// Copies the store of a device.
    pub(super) fn back_up(&mut self, device: usize) {
        if self.node(device).is_none_or(|node| node.up.is_none() || node.damaged || !node.joined) {
            return;
        }
        let collections = self.collections(device);
        let held = collections.into_iter().map(|(name, state)| (name, state.vector)).collect();
        if let Some(node) = self.node_mut(device) {
            node.backup = Some(Backup { image: node.disk.snapshot(), held });
        }
    }

    /// A device goes back to its backup: the whole store, or its data below a newer watermark.
    pub(super) fn restore(&mut self, device: usize, lasts_ms: u64) {
        let Some(node) = self.node_mut(device) else { return };
        let Some(Backup { image, held }) = node.backup.clone() else { return };
        let ran = node.up.is_some();
        node.disk.kill();
        if node.dice.chance(50) {
            node.disk.restore(&image);
        } else {
            node.disk.roll_back(&image);
        }
        node.damaged = false;
        self.trace.line(self.now, format_args!("d{device} goes back to its backup"));
        self.faults.add(Fault::Restore, 1);
        self.oracle.restored(device, held);
        if ran {
            self.end_process(device);
            self.after(lasts_ms, Happening::Start { device });
        }
    }

    /// A damaged value was met: the store is given up for its backup.
    pub(super) fn replace_damaged(&mut self, device: usize) {
        self.stats.damage_met += 1;
        self.restore(device, 1_000);
    }

    fn restore_if_damaged(&mut self, device: usize) {
        if self.node(device).is_some_and(|node| node.damaged) {
            self.replace_damaged(device);
        }
    }

    /// A device slept and wakes.
    pub(super) fn wake(&mut self, device: usize) {
        let at_ms = self.now;
        let Some(node) = self.node_mut(device) else { return };
        if node.asleep_until.is_none_or(|until| until > at_ms) {
            return;
        }
        node.asleep_until = None;
        let since = node.asleep_since;
        self.trace.line(at_ms, format_args!("d{device} wakes"));
        self.oracle.slept(device, at_ms - since);
        let idle = self.network.idle_of(at_ms, device);
        self.network.asleep.remove(&device);
        for conn in idle {
            if let Some(end) = self.network.conns.get(&conn).and_then(|entry| entry.end_of(device)) {
                self.far_end_ended(conn, end, "idle while asleep");
            }
        }
        self.refresh();
        self.tell(device, Event::Command(Command::Wake));
    }

    /// Everybody learns where a device is.
    pub(super) fn announce(&mut self, device: usize) {
        let Some(number) = self.node(device).map(|node| node.address) else { return };
        let peer = self.peer(device);
        for other in 0..self.nodes.len() {
            let changed =
                self.node_mut(other).is_some_and(|node| node.known.insert(device, number) != Some(number));
            if changed
                && self.node(other).is_some_and(|node| node.up.is_some())
                && self.dials(other).contains(&device)
            {
                let addresses = vec![address(device, number)];
                self.tell(other, Event::Command(Command::AddPeer { peer, addresses }));
            }
        }
    }

    /// The space, once it is founded.
    pub(super) fn has_space(&self) -> Option<SpaceId> {
        self.space
    }
}
