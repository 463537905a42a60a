//! The steps of the plan: work, and trouble that begins and ends.

use std::collections::BTreeSet;

use super::{Happening, World};
use crate::id::{CollectionName, Interest};
use crate::sim::fault::Fault;
use crate::sim::network::Slow;
use crate::sim::node::{Job, wall};
use crate::sim::plan::{Act, Step};
use crate::sim::{Canary, Dice};
use crate::store::kv::memory;
use crate::sync::{Command, Event};

/// The keys that a flipped bit may hit: all but the format of the store.
const ALL_KEYS: (&[u8], &[u8]) = (&[0, b'p'], &[0xff]);
/// The keys of rows.
const ROWS: (&[u8], &[u8]) = (&[6], &[7]);

impl World<'_> {
    pub(super) fn begin_step(&mut self, index: usize) {
        let Some(step) = self.plan.steps.get(index).cloned() else { return };
        let Step { number, device, space, act, lasts_ms, .. } = step;
        let mut dice = Dice::new(self.seed, &format!("trouble {number}"));
        if !matches!(act, Act::Commit | Act::Join) {
            self.trace.line(self.now, format_args!("{step}"));
        }
        match act {
            Act::Commit => self.work(device, number, space),
            Act::SyncNow => self.sync_now(device),
            Act::Join => self.join(index, device, space),
            Act::LoseConnection => self.lose_connection(device, &mut dice),
            Act::DuplicateAttempts => self.duplicate_attempts(index),
            Act::Partition => self.partition(number, &mut dice),
            Act::OneWayCut => self.cut_one_way(number, device, &mut dice),
            Act::SlowLinks => self.slow_links(number, device, &mut dice),
            Act::MoveAddress => self.move_address(device, lasts_ms, &mut dice),
            Act::Crash => self.crash(device),
            Act::CrashAtWrite => self.crash_at_write(device, &mut dice),
            Act::Kill => self.kill_by_plan(device),
            Act::Reopen => self.reopen(device, lasts_ms),
            Act::FillDisk => self.fill_disk(device),
            Act::DiskError => self.err_on_disk(device, &mut dice),
            Act::FlipBit => self.flip_bit(device, &mut dice),
            Act::SlowDisk => self.slow_disk(device, &mut dice),
            Act::Sleep => self.sleep(device, lasts_ms),
            Act::SetClock => self.set_clock(device, &mut dice),
            Act::Backup => self.back_up(device),
            Act::Restore => self.restore_by_plan(device, lasts_ms),
            Act::Clone => self.copy_store(device, number, lasts_ms, &mut dice),
            Act::Remove => self.remove(device, space, None, &mut dice),
            Act::Expel(target) => self.remove(device, space, Some(target), &mut dice),
            Act::SetRole => self.set_role(device, space, &mut dice),
            Act::Scheme(wile) => self.scheme(number, device, space, wile, &mut dice),
            Act::SetInterest => self.change_interest(device, space, &mut dice),
        }
        if lasts_ms > 0 {
            self.after(lasts_ms, Happening::Over(index));
        }
    }

    /// What a step began is over.
    pub(super) fn end_trouble(&mut self, index: usize) {
        let Some(Step { number, device, act, .. }) = self.plan.steps.get(index).cloned() else { return };
        match act {
            Act::Partition | Act::OneWayCut => drop(self.network.cuts.remove(&number)),
            Act::SlowLinks => drop(self.network.slow.remove(&number)),
            Act::DuplicateAttempts => drop(self.duplicating.remove(&index)),
            Act::FillDisk => self.empty_disk(device),
            Act::Scheme(_) => self.give_up_habit(number, device),
            Act::SlowDisk => {
                if let Some(node) = self.node_mut(device) {
                    node.slowness = 1;
                }
            }
            Act::Commit
            | Act::SyncNow
            | Act::Join
            | Act::LoseConnection
            | Act::MoveAddress
            | Act::Crash
            | Act::CrashAtWrite
            | Act::Kill
            | Act::Reopen
            | Act::DiskError
            | Act::FlipBit
            | Act::Sleep
            | Act::SetClock
            | Act::Backup
            | Act::Restore
            | Act::Clone
            | Act::Remove
            | Act::Expel(_)
            | Act::SetRole
            | Act::SetInterest => {}
        }
        self.refresh();
    }

    /// The trouble is over: everything works again, and everybody is awake.
    pub(super) fn end_all_trouble(&mut self) {
        self.trace.line(self.now, format_args!("the trouble is over"));
        self.network.cuts.clear();
        self.network.slow.clear();
        self.duplicating.clear();
        for device in 0..self.nodes.len() {
            self.announce(device);
            let at_ms = self.now;
            if self.node(device).is_some_and(|node| node.twin_of.is_some()) {
                self.vanish(device);
                continue;
            }
            if self.end_malice(device) && !self.plan.rogues_stay {
                continue;
            }
            let Some(node) = self.node_mut(device) else { continue };
            node.slowness = 1;
            node.disk.limit(None);
            node.disk.heal();
            if node.asleep_until.is_some() {
                node.asleep_until = Some(at_ms);
                self.after(0, Happening::Wake { device });
            }
            let (damaged, troubled) =
                self.node(device).map_or((false, false), |node| (node.damaged, node.troubled));
            if troubled {
                self.kill(device);
            } else if damaged {
                self.scrub(device);
            }
            if let Some(node) = self.node_mut(device) {
                node.troubled = false;
                node.crashes = false;
            }
        }
        self.refresh();
    }

    fn sync_now(&mut self, device: usize) {
        if self.node(device).is_some_and(|node| node.has_joined() && node.is_awake()) {
            let ticket = self.ticket(device);
            self.tell(device, Event::Command(Command::SyncNow { space: None, ticket }));
        }
    }

    fn lose_connection(&mut self, device: usize, dice: &mut Dice) {
        let conns = self.network.conns_of(device);
        let Some(conn) = dice.pick(&conns).copied() else { return };
        self.lose(conn, dice);
    }

    /// A connection carries nothing any more; its ends notice sooner or later.
    fn lose(&mut self, conn: crate::sync::ConnId, dice: &mut Dice) {
        self.faults.add(Fault::ConnectionLost, 1);
        if let Some(entry) = self.network.conns.get_mut(&conn) {
            entry.dead = true;
        }
        self.refresh();
        for end in [0, 1] {
            if dice.chance(60) {
                let takes = dice.between(0..=8_000);
                self.after(takes, Happening::Ended { conn, end, reason: "lost" });
            }
        }
    }

    fn duplicate_attempts(&mut self, index: usize) {
        self.duplicating.insert(index);
    }

    fn partition(&mut self, number: u64, dice: &mut Dice) {
        let sides: Vec<bool> = (0..self.nodes.len()).map(|_| dice.chance(50)).collect();
        let mut cut = BTreeSet::new();
        for (from, side) in sides.iter().enumerate() {
            let others = sides.iter().enumerate().filter(|(_, other)| *other != side);
            cut.extend(others.map(|(to, _)| (from, to)));
        }
        if !cut.is_empty() {
            self.faults.add(Fault::Partition, 1);
            self.network.cuts.insert(number, cut);
            self.refresh();
        }
    }

    fn cut_one_way(&mut self, number: u64, device: usize, dice: &mut Dice) {
        let others: Vec<usize> = (0..self.nodes.len()).filter(|other| *other != device).collect();
        let Some(other) = dice.pick(&others).copied() else { return };
        self.faults.add(Fault::OneWayCut, 1);
        self.network.cuts.insert(number, BTreeSet::from([(device, other)]));
        self.refresh();
    }

    fn slow_links(&mut self, number: u64, device: usize, dice: &mut Dice) {
        self.faults.add(Fault::SlowLink, 1);
        let slow = Slow { delay_ms: dice.between(200..=2_000), bytes_per_ms: dice.between(2..=64) };
        self.network.slow.insert(number, (device, slow));
    }

    fn move_address(&mut self, device: usize, lasts_ms: u64, dice: &mut Dice) {
        let Some(node) = self.node_mut(device) else { return };
        node.address += 1;
        self.faults.add(Fault::AddressChange, 1);
        // Connections move along, or they are lost.
        for conn in self.network.conns_of(device) {
            if dice.chance(50) {
                self.lose(conn, dice);
            }
        }
        self.after(lasts_ms, Happening::Announce { device });
    }

    fn crash_at_write(&mut self, device: usize, dice: &mut Dice) {
        if let Some(node) = self.node_mut(device).filter(|node| node.up.is_some() && node.has_joined()) {
            node.troubled = true;
            node.crashes = true;
            node.disk.fail_write(dice.below(4) as u32, memory::Fault::Refused);
        }
    }

    fn kill_by_plan(&mut self, device: usize) {
        if self.node(device).is_some_and(|node| node.up.is_some()) {
            self.faults.add(Fault::Kill, 1);
            self.kill(device);
        }
    }

    fn reopen(&mut self, device: usize, lasts_ms: u64) {
        if self.node(device).is_some_and(super::Node::is_awake) {
            self.faults.add(Fault::Reopen, 1);
            self.close_politely(device, lasts_ms);
        }
    }

    fn fill_disk(&mut self, device: usize) {
        if let Some(node) = self.node_mut(device).filter(|node| node.has_joined()) {
            node.troubled = true;
            node.disk.limit(Some(0));
            self.faults.add(Fault::DiskFull, 1);
        }
    }

    fn empty_disk(&mut self, device: usize) {
        if let Some(node) = self.node_mut(device) {
            node.disk.limit(None);
        }
    }

    fn err_on_disk(&mut self, device: usize, dice: &mut Dice) {
        if let Some(node) = self.node_mut(device).filter(|node| node.up.is_some() && node.has_joined()) {
            node.troubled = true;
            match dice.below(3) {
                0 => node.disk.fail_write(dice.below(3) as u32, memory::Fault::Refused),
                1 => node.disk.fail_sync(dice.below(3) as u32, memory::Fault::Refused),
                _ => node.disk.fail_sync(dice.below(3) as u32, memory::Fault::Done),
            }
            self.faults.add(Fault::DiskError, 1);
        }
    }

    fn flip_bit(&mut self, device: usize, dice: &mut Dice) {
        let seals = self.options.canary == Some(Canary::ServeDamaged);
        let Some(node) = self.node_mut(device).filter(|node| node.has_joined() && node.backup.is_some())
        else {
            return;
        };
        let hit = match seals {
            true => node.disk.flip_unseen(dice.seed(), ROWS.0, ROWS.1),
            false => node.disk.flip_bit(dice.seed(), ALL_KEYS.0, ALL_KEYS.1),
        };
        if hit.is_some() {
            (node.damaged, node.flipped) = (true, true);
            self.faults.add(Fault::BitFlip, 1);
        }
    }

    fn slow_disk(&mut self, device: usize, dice: &mut Dice) {
        if let Some(node) = self.node_mut(device) {
            node.slowness = dice.between(5..=100);
            self.faults.add(Fault::SlowDisk, 1);
        }
    }

    pub(super) fn sleep(&mut self, device: usize, lasts_ms: u64) {
        let (at_ms, until) = (self.now, self.now + lasts_ms);
        let Some(node) = self.node_mut(device).filter(|node| node.is_awake()) else { return };
        node.asleep_until = Some(until);
        node.asleep_since = at_ms;
        self.faults.add(Fault::Sleep, 1);
        self.network.asleep.insert(device);
        self.at(until, Happening::Wake { device });
        self.refresh();
    }

    fn set_clock(&mut self, device: usize, dice: &mut Dice) {
        let elapsed = i64::try_from(self.now).unwrap_or(i64::MAX);
        if let Some(node) = self.node_mut(device) {
            node.wall_offset_ms = wall(dice) - elapsed;
            self.faults.add(Fault::ClockSet, 1);
        }
    }

    fn change_interest(&mut self, device: usize, space: usize, dice: &mut Dice) {
        if !self.node(device).is_some_and(|node| node.joined.contains(&space) && node.is_awake()) {
            return;
        }
        let kinds: Vec<CollectionName> = self.kinds.iter().map(|kind| kind.collection().clone()).collect();
        let collection = dice.pick(&kinds).cloned().filter(|_| dice.chance(80));
        let interests = [Interest::Live, Interest::Index, Interest::Off];
        let interest = *dice.pick(&interests).unwrap_or(&Interest::Live);
        self.trace.line(self.now, format_args!("d{device} wants {interest:?} of {collection:?}"));
        self.push_job(device, Job::Interest(space, collection, interest));
        if dice.chance(50) {
            self.fetch_some(device, space, dice);
        }
    }

    /// When the trouble is over, everybody wants everything, so that all can be held against all.
    pub(super) fn want_everything(&mut self) {
        for device in 0..self.nodes.len() {
            for (number, space) in self.spaces_of(device) {
                let up = self.node(device).and_then(|node| node.up.as_ref());
                let Some(wants) = up.and_then(|up| up.replica.interests(&space)) else { continue };
                let named = wants.named.iter().filter(|(_, interest)| **interest != Interest::Live);
                let named: Vec<CollectionName> = named.map(|(collection, _)| collection.clone()).collect();
                for collection in named {
                    self.push_job(device, Job::Interest(number, Some(collection), Interest::Live));
                }
                if wants.others != Interest::Live {
                    self.push_job(device, Job::Interest(number, None, Interest::Live));
                }
            }
        }
    }

    fn restore_by_plan(&mut self, device: usize, lasts_ms: u64) {
        if self.node(device).is_some_and(|node| node.has_joined() && node.backup.is_some()) {
            self.restore(device, lasts_ms);
        }
    }
}
