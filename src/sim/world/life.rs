//! The life of a device: how its process starts, and every way in which it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::engine::address;
use super::{Happening, World};
use crate::exchange::Vectors;
use crate::id::{CollectionName, EntityId, SpaceId};
use crate::metrics::Metrics;
use crate::replica::{Replica, ReplicaError};
use crate::sim::Canary;
use crate::sim::device::rows;
use crate::sim::fault::Fault;
use crate::sim::node::{Backup, Up};
use crate::sim::violation::Rule;
use crate::store::Values;
use crate::store::kv::{KvError, memory};
use crate::sync::{Command, Engine, Event, Options};

/// Time after which what could not be done now is tried again, in milliseconds.
pub(super) const AGAIN_MS: u64 = 700;

impl World<'_> {
    pub(super) fn replica(&mut self, device: usize) -> Option<&mut Replica> {
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
        if self.options.canary == Some(Canary::FailDisk) {
            node.disk.fail_write(node.dice.below(200) as u32, memory::Fault::Refused);
        }
        if reuse && node.life > 1 {
            node.disk.pretend_closed();
        }
        let lacking = self.options.canary.and_then(Canary::check);
        let opened = Values::memory(&node.disk).map_err(ReplicaError::from).and_then(|values| {
            let identity = Arc::clone(&node.identity);
            let mut replica = Replica::open(values, identity, entropy, now, Arc::new(Metrics::default()))?;
            kinds.into_iter().try_for_each(|kind| replica.register(kind))?;
            lacking.into_iter().for_each(|check| replica.lack(check));
            if device % 2 == 1 {
                // Contests are settled later than they are noticed at some, and at once at others.
                replica.judge_at_once(1);
            }
            Ok(replica)
        });
        let excused = node.troubled || node.damaged;
        match opened {
            Ok(replica) => self.run_process(device, replica),
            Err(error) if !excused => self.violate(Rule::Store, device, format!("opening: {error}")),
            Err(error) => {
                self.trace.line(self.now, format_args!("d{device} cannot open: {error}"));
                self.restore_if_damaged(device, &error);
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
        let joined = node.has_joined();
        // What opening itself released or mended is told before anybody can subscribe.
        self.forward(device, None);
        self.scrub(device);
        for (number, space) in self.spaces_of(device) {
            self.check_opened(device, number, space);
            self.observe(device, number);
        }
        if joined {
            self.add_peers(device);
        }
        self.reset_conns(device);
    }

    fn check_opened(&mut self, device: usize, number: usize, space: SpaceId) {
        let collections = self.collections(device, space);
        let Some(up) = self.nodes.get(device).and_then(|node| node.up.as_ref()) else { return };
        let (membership, me) = (up.replica.membership(&space), up.replica.peer());
        let readable = |collection: &CollectionName| {
            membership.as_ref().is_none_or(|all| all.may(&me, crate::access::Action::Read, collection))
        };
        if membership.is_none() {
            return self.violate(Rule::Durable, device, format!("space {number} is gone"));
        }
        if let Some(shared) = self.shared.get_mut(number) {
            shared.oracle.opened(self.now, device, &space, &collections, &readable, &up.reader);
        }
    }

    /// A subscriber begins: it reads the rows, and hears of every change from here on.
    pub(super) fn observe(&mut self, device: usize, number: usize) {
        let Some(space) = self.shared.get(number).and_then(|shared| shared.id) else { return };
        let Some(up) = self.nodes.get(device).and_then(|node| node.up.as_ref()) else { return };
        let mut all: BTreeMap<CollectionName, BTreeSet<EntityId>> = BTreeMap::new();
        for kind in &self.kinds {
            // A damaged row is met again, where the store is asked to answer for it.
            let rows = rows(&up.reader, &space, kind.collection()).unwrap_or_default();
            all.insert(kind.collection().clone(), rows.into_iter().map(|(entity, _)| entity).collect());
        }
        if let Some(shared) = self.shared.get_mut(number) {
            shared.oracle.observe(device, all);
        }
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
    pub(super) fn end_process(&mut self, device: usize) {
        self.shared.iter_mut().for_each(|space| space.oracle.ended(device));
        let Some(node) = self.node_mut(device) else { return };
        node.up = None;
        node.life += 1;
        if node.asleep_until.take().is_some() {
            self.end_sleep(device);
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
        // What was mended and not synced is damaged again.
        node.flipped = node.damaged;
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

    /// Copies the store of a device, which is looked through for damage first.
    pub(super) fn back_up(&mut self, device: usize) {
        self.scrub(device);
        if self.node(device).is_none_or(|node| node.up.is_none() || node.flipped || !node.has_joined()) {
            return;
        }
        let held = self.held(device);
        if let Some(node) = self.node_mut(device) {
            node.backup = Some(Backup { image: node.disk.snapshot(), held });
        }
    }

    /// What a device holds in each of its spaces.
    pub(super) fn held(&mut self, device: usize) -> BTreeMap<usize, Vectors> {
        let mut held = BTreeMap::new();
        for (number, space) in self.spaces_of(device) {
            let collections = self.collections(device, space).into_iter();
            held.insert(number, collections.map(|(name, state)| (name, state.vector)).collect());
        }
        held
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
        (node.damaged, node.flipped) = (false, false);
        self.trace.line(self.now, format_args!("d{device} goes back to its backup"));
        self.faults.add(Fault::Restore, 1);
        for (number, held) in held {
            if let Some(shared) = self.shared.get_mut(number) {
                shared.oracle.restored(device, held);
            }
        }
        if ran {
            self.end_process(device);
            self.after(lasts_ms, Happening::Start { device });
        }
    }

    /// A store that is too damaged to open is given up for its backup. One that finds no room is not: it opens
    /// when there is some again.
    fn restore_if_damaged(&mut self, device: usize, error: &ReplicaError) {
        let waits = matches!(error, ReplicaError::Store(KvError::Full | KvError::Io { .. }));
        if !waits && self.node(device).is_some_and(|node| node.damaged) {
            self.restore(device, 1_000);
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
        self.shared.iter_mut().for_each(|space| space.oracle.slept(device, at_ms - since));
        let idle = self.network.idle_of(at_ms, device);
        self.end_sleep(device);
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
}
