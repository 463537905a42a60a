//! One run: all devices, the network between them, and the queue of what is to happen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::fault::{Fault, FaultCounts};
use super::limit::{Limit, LimitCounts};
use super::malice::Rogue;
use super::network::{Network, Silence, Transit};
use super::node::{Job, Node};
use super::oracle::{Final, Oracle, Place};
use super::plan::{Plan, PlannedSpace};
use super::trace::Trace;
use super::violation::Rule;
use super::{Dice, Options, Outcome, Stats, Workload};
use crate::access::Action;
use crate::doc::Kind;
use crate::id::{CollectionName, PeerId, SpaceId};
use crate::limits::REQUEST_DEADLINE_MS;
use crate::sync::{ConnId, DialId, Lane, Sizes};
use crate::time::{Instant, Now, Timestamp};

mod clash;
mod engine;
mod fill;
mod gauge;
mod life;
mod listing;
mod malice;
mod members;
mod pry;
mod storage;
mod trouble;

#[cfg(test)]
mod tests;

/// Time after the trouble in which everybody must have synced, in milliseconds. The longest wait between two
/// attempts is 32 s; a chain of five needs a few.
const SETTLE_MS: u64 = 300_000;
/// Time for which nothing may happen afterwards but the comparisons that are due.
const QUIET_MS: u64 = 130_000;
/// Time after one more commit on each device, in which nothing may time out.
const CALM_MS: u64 = REQUEST_DEADLINE_MS + 5_000;
/// Time that is left to honest devices when they are not in sync at the end of a phase, and a rogue is among them.
const DISTURBED_MS: u64 = REQUEST_DEADLINE_MS;
/// How often the simulation looks whether everybody has synced.
const LOOK_MS: u64 = 1_000;
/// How often it notes what everybody holds.
const SAMPLE_MS: u64 = 3_600_000;
/// Happenings of one run, as a bound on a run that never ends.
const HAPPENINGS_MAX: u64 = 3_000_000;
/// Frames over one connection that the quiet time allows: comparisons once a minute from both sides.
const QUIET_FRAMES_MAX: u64 = 40;

/// Something that is to happen.
#[derive(Debug)]
pub(super) enum Happening {
    Step(usize),
    /// Trouble that a step began is over.
    Over(usize),
    /// The next job of a device's storage is due.
    Storage {
        device: usize,
        life: u64,
    },
    /// Something is due for a device's storage that nobody waits for.
    Leisure {
        device: usize,
        life: u64,
    },
    Timer {
        device: usize,
        life: u64,
    },
    Arrive(Transit),
    Silent(Silence),
    /// The far end of a connection has ended it.
    Ended {
        conn: ConnId,
        end: usize,
        reason: &'static str,
    },
    /// An engine hears that what it closed is closed.
    Closed {
        device: usize,
        life: u64,
        conn: ConnId,
    },
    DialFailed {
        device: usize,
        life: u64,
        dial: DialId,
    },
    Handshake {
        device: usize,
        life: u64,
        dial: DialId,
        other: usize,
    },
    Start {
        device: usize,
    },
    Wake {
        device: usize,
    },
    /// The app on a copied store does something.
    Work {
        device: usize,
        step: u64,
        space: usize,
    },
    /// A copied store is given up.
    Vanish {
        device: usize,
    },
    /// The others learn the address of a device.
    Announce {
        device: usize,
    },
    /// A rogue sends a frame that it made.
    ByHand {
        device: usize,
        life: u64,
        conn: ConnId,
        lane: Lane,
        frame: Vec<u8>,
    },
    /// A device reads on from a connection that it held back.
    ReadOn {
        device: usize,
        conn: ConnId,
    },
    /// It is looked how full the devices are.
    Gauge,
    Look,
    /// What everybody holds is noted.
    Sample,
}

/// All of one run.
pub(super) struct World<'a> {
    pub(super) options: &'a Options,
    pub(super) seed: u64,
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    next: u64,
    /// What happens to a device that sleeps when it wakes, in order.
    waiting: BTreeMap<usize, Vec<Happening>>,
    pub(super) plan: Plan,
    pub(super) nodes: Vec<Node>,
    pub(super) network: Network,
    pub(super) shared: Vec<Shared>,
    pub(super) peers: BTreeMap<PeerId, usize>,
    pub(super) trace: Trace,
    pub(super) faults: FaultCounts,
    pub(super) stats: Stats,
    pub(super) workload: Box<dyn Workload>,
    pub(super) kinds: Vec<Arc<dyn Kind>>,
    pub(super) dice: Dice,
    /// Steps whose connections are attempted twice.
    pub(super) duplicating: BTreeSet<usize>,
    pub(super) phase: Phase,
    next_ticket: u64,
    /// Counts what a planted bug may strike.
    pub(super) strikes: u64,
    /// Clashes were settled.
    pub(super) settled: bool,
    /// Frames between two honest devices.
    pub(super) honest_frames: u64,
    /// What everybody held, hour by hour.
    pub(super) samples: Vec<Sample>,
    /// Which limits were full, in which space of which device.
    full: BTreeSet<(Limit, usize, usize)>,
    /// What came over connections that devices hold back.
    held_back: BTreeMap<(usize, ConnId), Vec<Transit>>,
    /// Frames that arrived at devices whose storage has enough to answer.
    unread: BTreeMap<usize, VecDeque<Transit>>,
    /// What rogues asked about what they may not read.
    pried: Vec<pry::Pried>,
}

/// What all devices held at one moment, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) engines: Sizes,
    /// Commits in quarantine.
    pub(super) held: usize,
}

/// One space, as the simulation knows it.
#[derive(Debug)]
pub(super) struct Shared {
    /// Absent until it is founded.
    pub(super) id: Option<SpaceId>,
    pub(super) oracle: Oracle,
    /// Devices whose removal somebody signed.
    pub(super) out: BTreeSet<usize>,
    /// Devices that gave more than they may begin. Who was shown other parts of that agrees with others when they are
    /// removed, and not before.
    pub(super) greedy: BTreeSet<usize>,
    /// Members that removed somebody. They stay: a removal counts only while its signer does.
    pub(super) removers: BTreeSet<usize>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Trouble,
    /// The trouble is over since then.
    Settling(u64),
    /// Everybody said that it is in sync, at that time, after so many frames.
    Quiet(u64, u64),
    /// Every device has made one more commit, at that time.
    Calm(u64),
    /// All was found right; some devices want only the index of a collection, since then.
    Listing(u64),
    Done,
}

impl<'a> World<'a> {
    pub(super) fn new(seed: u64, options: &'a Options, workload: Box<dyn Workload>) -> Self {
        let plan = Plan::new(seed, options);
        let mut dice = Dice::new(seed, "devices");
        let mut nodes: Vec<Node> = (0..plan.devices).map(|number| Node::new(number, &mut dice)).collect();
        for node in &mut nodes {
            node.rogue = plan.rogues.contains(&node.number).then(Rogue::default);
        }
        let kinds = workload.kinds();
        let peers: BTreeMap<PeerId, usize> = nodes.iter().map(|node| (node.peer(), node.number)).collect();
        let shared = |space: &PlannedSpace| Shared {
            id: None,
            oracle: Oracle::new(peers.clone(), space.rule, plan.rogues.clone()),
            out: BTreeSet::new(),
            greedy: BTreeSet::new(),
            removers: BTreeSet::new(),
        };
        let shared = plan.spaces.iter().map(shared).collect();
        Self {
            options,
            seed,
            now: 0,
            queue: BTreeMap::new(),
            next: 0,
            waiting: BTreeMap::new(),
            network: Network::new(seed, plan.delay_ms),
            plan,
            nodes,
            shared,
            peers,
            trace: Trace::new(options.full_trace),
            faults: FaultCounts::default(),
            stats: Stats::default(),
            workload,
            kinds,
            dice,
            duplicating: BTreeSet::new(),
            phase: Phase::Trouble,
            next_ticket: 0,
            strikes: 0,
            settled: false,
            honest_frames: 0,
            samples: Vec::new(),
            full: BTreeSet::new(),
            held_back: BTreeMap::new(),
            unread: BTreeMap::new(),
            pried: Vec::new(),
        }
    }

    /// Runs to the end.
    pub(super) fn run(mut self) -> Outcome {
        self.found();
        for index in 0..self.plan.steps.len() {
            if let Some(step) = self.plan.steps.get(index)
                && self.options.keeps(step)
            {
                self.at(step.at_ms, Happening::Step(index));
            }
        }
        self.at(self.plan.ends_ms, Happening::Look);
        self.at(SAMPLE_MS, Happening::Sample);
        let mut happened = 0_u64;
        while self.phase != Phase::Done && self.holds() {
            let Some(((at, _), happening)) = self.queue.pop_first() else { break };
            self.now = at;
            happened += 1;
            if happened > HAPPENINGS_MAX {
                self.violate(Rule::Bounded, 0, "the run does not end".to_owned());
                break;
            }
            self.happen(happening);
        }
        self.outcome(happened)
    }

    fn outcome(mut self, happened: u64) -> Outcome {
        self.faults.add(Fault::Reordered, self.network.reordered);
        for node in &self.nodes {
            let counts = node.disk.fault_counts();
            self.faults.add(Fault::BatchesTorn, counts.crashes_torn);
            self.faults.add(Fault::TailLost, u64::from(counts.batches_lost > 0));
        }
        self.stats.simulated_ms = self.now;
        self.stats.happenings = happened;
        self.stats.acknowledged = self.shared.iter().map(|space| space.oracle.acknowledged).sum();
        let steps = self.plan.steps.iter().filter(|step| self.options.keeps(step));
        let timeline = steps.map(|step| (step.number, step.to_string())).collect();
        let (hash, log) = self.trace.into_parts();
        let mut violations: Vec<_> =
            self.shared.into_iter().flat_map(|space| space.oracle.violations).collect();
        violations.sort_by_key(|violation| violation.at_ms);
        let mut limits = LimitCounts::default();
        self.full.iter().for_each(|(limit, ..)| limits.add(*limit, 1));
        Outcome {
            seed: self.seed,
            violations,
            limits,
            hash,
            log,
            faults: self.faults,
            stats: self.stats,
            timeline,
            samples: self.samples,
        }
    }

    pub(super) fn at(&mut self, at_ms: u64, happening: Happening) {
        self.next += 1;
        self.queue.insert((at_ms.max(self.now), self.next), happening);
    }

    pub(super) fn after(&mut self, ms: u64, happening: Happening) {
        self.at(self.now.saturating_add(ms), happening);
    }

    /// A device sleeps no more, maybe earlier than it meant to: what came meanwhile happens before anything else.
    fn end_sleep(&mut self, device: usize) {
        self.network.asleep.remove(&device);
        for happening in self.waiting.remove(&device).unwrap_or_default() {
            self.after(0, happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        let sleeps = |device: &usize| self.node(*device).is_some_and(|node| node.asleep_until.is_some());
        if let Some(device) = self.sleeper_of(&happening).filter(sleeps) {
            return self.waiting.entry(device).or_default().push(happening);
        }
        match happening {
            Happening::Step(index) => self.begin_step(index),
            Happening::Over(index) => self.end_trouble(index),
            Happening::Storage { device, life } => self.storage_due(device, life),
            Happening::Leisure { device, life } => self.leisure(device, life),
            Happening::Timer { device, life } => self.timer_due(device, life),
            Happening::Arrive(transit) => self.arrive(transit),
            Happening::Silent(silence) => self.fell_silent(silence),
            Happening::Ended { conn, end, reason } => self.far_end_ended(conn, end, reason),
            Happening::Closed { device, life, conn } => self.closed(device, life, conn),
            Happening::DialFailed { device, life, dial } => self.dial_failed(device, life, dial),
            Happening::Handshake { device, life, dial, other } => self.handshake(device, life, dial, other),
            Happening::Start { device } => self.start(device),
            Happening::Wake { device } => self.wake(device),
            Happening::Work { device, step, space } => self.work(device, step, space),
            Happening::Vanish { device } => self.vanish(device),
            Happening::Announce { device } => self.announce(device),
            Happening::ByHand { device, life, conn, lane, frame } => {
                if self.up(device, life).is_some() {
                    self.post(device, conn, lane, frame);
                }
            }
            Happening::ReadOn { device, conn } => self.read_on(device, conn),
            Happening::Gauge => self.gauge(),
            Happening::Look => self.look(),
            Happening::Sample => self.sample(),
        }
    }

    /// The device that must be awake for something to happen.
    fn sleeper_of(&self, happening: &Happening) -> Option<usize> {
        let at_end = |conn: &ConnId, end: usize| {
            self.network.conns.get(conn).and_then(|conn| conn.ends.get(end)).map(|end| end.device)
        };
        match happening {
            Happening::Storage { device, .. }
            | Happening::Leisure { device, .. }
            | Happening::Timer { device, .. }
            | Happening::Closed { device, .. }
            | Happening::DialFailed { device, .. }
            | Happening::ByHand { device, .. }
            | Happening::ReadOn { device, .. }
            | Happening::Handshake { device, .. } => Some(*device),
            Happening::Arrive(transit) => at_end(&transit.conn, transit.end),
            Happening::Silent(silence) => at_end(&silence.conn, silence.end),
            Happening::Ended { conn, end, .. } => at_end(conn, *end),
            Happening::Step(_)
            | Happening::Over(_)
            | Happening::Start { .. }
            | Happening::Wake { .. }
            | Happening::Work { .. }
            | Happening::Vanish { .. }
            | Happening::Announce { .. }
            | Happening::Gauge
            | Happening::Look
            | Happening::Sample => None,
        }
    }

    pub(super) fn node(&self, device: usize) -> Option<&Node> {
        self.nodes.get(device)
    }

    pub(super) fn node_mut(&mut self, device: usize) -> Option<&mut Node> {
        self.nodes.get_mut(device)
    }

    /// What the clocks of a device say.
    pub(super) fn clocks(&self, device: usize) -> Now {
        let wall = self.node(device).map_or(0, |node| node.wall_offset_ms);
        let elapsed = i64::try_from(self.now).unwrap_or(i64::MAX);
        Now {
            instant: Instant::from_ms(self.now),
            wall: Timestamp::from_unix_ms(wall.saturating_add(elapsed)),
        }
    }

    pub(super) fn violate(&mut self, rule: Rule, device: usize, text: String) {
        self.trace.line(self.now, format_args!("d{device} VIOLATION {rule:?}: {text}"));
        if let Some(first) = self.shared.first_mut() {
            first.oracle.violate(rule, self.now, device, text);
        }
    }

    /// Whether all promises were kept so far.
    fn holds(&self) -> bool {
        self.shared.iter().all(|space| space.oracle.violations.is_empty())
    }

    /// What is known of a space.
    pub(super) fn shared_mut(&mut self, space: &SpaceId) -> Option<&mut Shared> {
        self.shared.iter_mut().find(|shared| shared.id == Some(*space))
    }

    /// The spaces that a device came to.
    pub(super) fn spaces_of(&self, device: usize) -> Vec<(usize, SpaceId)> {
        let joined = self.node(device).map(|node| &node.joined);
        let spaces = self.shared.iter().enumerate().filter_map(|(number, shared)| Some((number, shared.id?)));
        spaces.filter(|(number, _)| joined.is_some_and(|joined| joined.contains(number))).collect()
    }

    /// A report on a `sync_now` is awaited; the first oracle knows of all of them.
    pub(super) fn ticket(&mut self, device: usize) -> u64 {
        self.next_ticket += 1;
        let latest = self.now + REQUEST_DEADLINE_MS + LOOK_MS;
        if let Some(first) = self.shared.first_mut() {
            first.oracle.drew_ticket(device, self.next_ticket, latest);
        }
        self.next_ticket
    }

    /// Notes what everybody holds.
    fn sample(&mut self) {
        let mut sample = Sample::default();
        for node in &self.nodes {
            let Some(up) = &node.up else { continue };
            sample.engines.add(&up.engine.sizes());
            let held = self.shared.iter().filter_map(|shared| up.reader.quarantine(&shared.id?).ok());
            sample.held += held.map(|held| held.len()).sum::<usize>();
        }
        self.samples.push(sample);
        self.after(SAMPLE_MS, Happening::Sample);
    }

    /// Looks how far the devices are, once the trouble is over.
    fn look(&mut self) {
        let asleep = self.network.asleep.clone();
        self.shared.iter_mut().for_each(|space| space.oracle.check_tickets(self.now, &asleep));
        match self.phase {
            Phase::Trouble => {
                self.gauge();
                self.end_all_trouble();
                self.phase = Phase::Settling(self.now);
            }
            Phase::Settling(since) => {
                self.want_everything();
                match self.expel_greedy() {
                    true => self.phase = Phase::Settling(self.now),
                    false => self.look_settling(since),
                }
            }
            Phase::Quiet(since, frames) => self.look_quiet(since, frames),
            Phase::Calm(since) => self.look_calm(since),
            Phase::Listing(since) => self.look_listing(since),
            Phase::Done => {}
        }
        self.after(LOOK_MS, Happening::Look);
    }

    fn look_settling(&mut self, since: u64) {
        match self.unsettled() {
            None => {
                self.accept_losses();
                if self.settle_clashes() {
                    self.phase = Phase::Settling(self.now);
                    return;
                }
                self.trace.line(self.now, format_args!("settled"));
                self.phase = Phase::Quiet(self.now, self.honest_frames);
            }
            Some(why) if self.now > since + SETTLE_MS => {
                self.violate(Rule::Convergent, 0, format!("not in sync after {SETTLE_MS} ms: {why}"));
                // What exactly differs.
                self.check_all();
            }
            Some(_) => {}
        }
    }

    fn look_quiet(&mut self, since: u64, frames: u64) {
        if self.now < since + QUIET_MS {
            return;
        }
        if let Some(why) = self.unsettled() {
            if !self.may_be_disturbed(since + QUIET_MS) {
                self.violate(Rule::Convergent, 0, format!("in sync, and not any more: {why}"));
            }
            return;
        }
        // A device that was removed tries to reach the others now and then.
        let links = (self.network.conns.len() + self.plan.devices) as u64;
        let chatter = self.honest_frames.saturating_sub(frames);
        if chatter > links * QUIET_FRAMES_MAX {
            self.violate(Rule::Bounded, 0, format!("{chatter} frames while nothing happened"));
        }
        for space in 0..self.shared.len() {
            for device in self.active(space) {
                self.push_job(device, Job::Commit(self.calm_step(space, device), space));
            }
        }
        self.phase = Phase::Calm(self.now);
    }

    /// A rogue that stays comes and goes as it likes, and brings what it kept back until then: two that agreed may be
    /// looked at while one of them tells the other. They agree again when it is told.
    fn may_be_disturbed(&self, due: u64) -> bool {
        self.plan.rogues_stay && !self.plan.rogues.is_empty() && self.now < due + DISTURBED_MS
    }

    /// The step of the commit that a device makes in a space when all trouble is over.
    fn calm_step(&self, space: usize, device: usize) -> u64 {
        (self.plan.steps.len() + space * self.plan.devices + device) as u64
    }

    /// The honest ones who are members in the end, as the founder sees it, the founder first. A device that has not come yet
    /// is among them.
    pub(super) fn active(&self, space: usize) -> Vec<usize> {
        let Some((planned, shared)) = self.plan.spaces.get(space).zip(self.shared.get(space)) else {
            return Vec::new();
        };
        let founder = self.node(planned.founder).and_then(|node| node.up.as_ref());
        let membership = shared.id.and_then(|id| founder?.replica.membership(&id));
        let belongs = |device: &usize| {
            let Some(node) = self.node(*device) else { return false };
            let coming = !node.joined.contains(&space);
            coming || membership.as_ref().is_some_and(|all| all.role(&node.peer()).is_some())
        };
        planned.devices.iter().copied().filter(|device| !self.is_rogue(*device)).filter(belongs).collect()
    }

    fn look_calm(&mut self, since: u64) {
        if self.now < since + CALM_MS {
            return;
        }
        if let Some(why) = self.unsettled() {
            if !self.may_be_disturbed(since + CALM_MS) {
                let text = format!("one commit each, and not in sync any more: {why}");
                self.violate(Rule::Convergent, 0, text);
            }
            return;
        }
        self.check_calm_receipts();
        self.check_all();
        self.begin_listing();
    }

    /// Without any trouble, every neighbour has confirmed what was made last.
    fn check_calm_receipts(&mut self) {
        for space in 0..self.shared.len() {
            let active = self.active(space);
            for device in active.clone() {
                self.check_calm_receipt(space, device, &active);
            }
        }
    }

    fn check_calm_receipt(&mut self, space: usize, device: usize, active: &[usize]) {
        let neighbours = self.plan.neighbours(device).into_iter().filter(|other| active.contains(other));
        let neighbours: Vec<PeerId> = neighbours.map(|other| self.peer(other)).collect();
        let (step, at_ms) = (self.calm_step(space, device), self.now);
        let up = self.nodes.get(device).and_then(|node| node.up.as_ref());
        if let (Some(Shared { id: Some(id), oracle, .. }), Some(up)) = (self.shared.get_mut(space), up) {
            let membership = up.replica.membership(id);
            let reads = |peer: &PeerId, collection: &CollectionName| {
                membership.as_ref().is_some_and(|all| all.may(peer, Action::Read, collection))
            };
            oracle.check_confirmed(at_ms, device, step, id, &neighbours, &reads, &up.reader);
        }
    }

    /// Why not everybody has synced; `None` when everybody has.
    fn unsettled(&self) -> Option<String> {
        if let Some(node) =
            self.nodes.iter().find(|node| node.up.is_none() && !node.gone && node.rogue.is_none())
        {
            return Some(format!("device {} is not running", node.number));
        }
        (0..self.shared.len()).find_map(|space| self.unsettled_in(space))
    }

    fn unsettled_in(&self, space: usize) -> Option<String> {
        let (active, oracle) = (self.active(space), &self.shared.get(space)?.oracle);
        for device in &active {
            let node = self.node(*device)?;
            if !node.joined.contains(&space) {
                return Some(format!("device {device} has not joined space {space}"));
            }
            let wants = node.up.as_ref().and_then(|up| up.replica.interests(&self.shared.get(space)?.id?));
            if wants.is_some_and(|wants| !wants.is_all_live()) {
                return Some(format!("device {device} does not want everything yet"));
            }
            if node.up.as_ref().is_some_and(|up| !up.waiting.is_empty()) {
                return Some(format!("device {device} waits for its disk"));
            }
            if node.up.as_ref().is_some_and(|up| up.replica.due().is_some()) {
                return Some(format!("device {device} has not judged all"));
            }
            for other in self.plan.neighbours(*device).into_iter().filter(|other| active.contains(other)) {
                if !oracle.is_in_sync(*device, &self.peer(other)) {
                    return Some(format!("device {device} is not in sync with {other} in space {space}"));
                }
            }
        }
        None
    }

    fn check_all(&mut self) {
        self.gauge();
        self.check_pried();
        let clocks: Vec<Now> = (0..self.nodes.len()).map(|device| self.clocks(device)).collect();
        for space in 0..self.shared.len() {
            let active = self.active(space);
            let mut finals = Vec::new();
            for (node, now) in self.nodes.iter_mut().zip(&clocks) {
                if let (Some(up), true) = (&mut node.up, active.contains(&node.number)) {
                    let (replica, reader) = (&mut up.replica, &up.reader);
                    finals.push(Final { number: node.number, now: *now, replica, reader });
                }
            }
            // The founder first, who may read all.
            finals.sort_by_key(|device| active.iter().position(|other| *other == device.number));
            if let Some(Shared { id: Some(id), oracle, .. }) = self.shared.get_mut(space) {
                let place = Place { id: *id, number: space };
                let (kinds, workload) = (&self.kinds, self.workload.as_ref());
                let linked = |one, other| self.plan.is_linked(one, other);
                oracle.check_settled(self.now, place, &mut finals, kinds, workload, &linked);
            }
        }
    }
}
