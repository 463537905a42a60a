//! The plan of a run: everything that the seed decides to do, before anything is done.
//!
//! Each step has dice of its own, so that leaving out some steps leaves the others what they are. That is what
//! makes a failing run small.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::malice::Wile;
use super::{Dice, Options};
use crate::access::Role;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Its number in the plan of its seed.
    pub(super) number: u64,
    pub(super) at_ms: u64,
    /// The device that it is done to.
    pub(super) device: usize,
    /// The space that it is done in, where that matters.
    pub(super) space: usize,
    pub(super) act: Act,
    /// How long trouble lasts.
    pub(super) lasts_ms: u64,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    Commit,
    SyncNow,
    Join,
    LoseConnection,
    DuplicateAttempts,
    Partition,
    OneWayCut,
    SlowLinks,
    MoveAddress,
    Crash,
    CrashAtWrite,
    Kill,
    Reopen,
    FillDisk,
    DiskError,
    FlipBit,
    SlowDisk,
    Sleep,
    SetClock,
    Backup,
    Restore,
    Clone,
    Remove,
    /// The founder removes this device.
    Expel(usize),
    SetRole,
    Scheme(Wile),
    /// A device wants more or less of a collection.
    SetInterest,
}

/// Trouble, how often it is picked, and how long it lasts at most, in milliseconds.
const TROUBLE: [(Act, u64, u64); 22] = [
    (Act::LoseConnection, 6, 0),
    (Act::DuplicateAttempts, 3, 20_000),
    (Act::Partition, 5, 60_000),
    (Act::OneWayCut, 4, 60_000),
    (Act::SlowLinks, 4, 60_000),
    (Act::MoveAddress, 3, 5_000),
    (Act::Crash, 8, 10_000),
    (Act::CrashAtWrite, 6, 10_000),
    (Act::Kill, 3, 5_000),
    (Act::Reopen, 3, 5_000),
    (Act::FillDisk, 2, 15_000),
    (Act::DiskError, 3, 5_000),
    (Act::FlipBit, 5, 20_000),
    (Act::SlowDisk, 3, 30_000),
    (Act::Sleep, 5, 90_000),
    (Act::SetClock, 4, 0),
    (Act::Backup, 3, 0),
    (Act::Restore, 3, 10_000),
    (Act::Clone, 2, 40_000),
    (Act::Remove, 6, 0),
    (Act::SetRole, 3, 0),
    (Act::SetInterest, 8, 0),
];

/// What is true of a run from its first moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) devices: usize,
    /// Which devices know each other, the smaller number first.
    links: BTreeSet<(usize, usize)>,
    /// The member that each device belongs to; a member is called as its first device.
    pub(super) members: Vec<usize>,
    /// The spaces that they share. All devices come to the first.
    pub(super) spaces: Vec<PlannedSpace>,
    /// Those that keep to no rule. The others can reach each other without them.
    pub(super) rogues: BTreeSet<usize>,
    /// They go on in the end, instead of leaving.
    pub(super) rogues_stay: bool,
    /// Typical delay of a link, in milliseconds.
    pub(super) delay_ms: u64,
    pub(super) steps: Vec<Step>,
    /// When the trouble ends.
    pub(super) ends_ms: u64,
}

/// A space, as it is meant to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedSpace {
    /// Founds it, may read all, and is never removed.
    pub(super) founder: usize,
    /// Those who come to it, in the order of their joining, the founder first. Each knows one before it.
    pub(super) devices: Vec<usize>,
    /// The roles of the members that are not the founder's.
    pub(super) roles: BTreeMap<usize, Role>,
    /// The lines are for admins only.
    pub(super) rule: bool,
}

impl Plan {
    /// Makes the plan of a seed.
    pub(super) fn new(seed: u64, options: &Options) -> Self {
        let mut dice = Dice::new(seed, "plan");
        let (few, many) = (options.devices.0.max(1) as u64, options.devices.1.max(1) as u64);
        let devices = dice.between(few..=many.max(few)) as usize;
        let links = links(devices, &mut dice);
        let members = members(devices, &mut dice);
        let (few, many) = (options.spaces.0.max(1) as u64, options.spaces.1.max(1) as u64);
        let count = dice.between(few..=many.max(few));
        let spaces: Vec<PlannedSpace> =
            (0..count).map(|number| space(number, &links, &members, &mut dice)).collect();
        let delay_ms = *dice.pick(&[1, 5, 25, 80]).unwrap_or(&5);
        let rogues =
            if options.malice > 0 { rogues(&links, &members, &spaces, &mut dice) } else { BTreeSet::new() };
        let steps = steps(options, devices, &spaces, &rogues, &mut dice);
        let rogues_stay = dice.chance(50);
        Self {
            devices,
            links,
            members,
            spaces,
            rogues,
            rogues_stay,
            delay_ms,
            steps,
            ends_ms: options.duration_ms,
        }
    }

    /// The devices that a device knows.
    pub(super) fn neighbours(&self, device: usize) -> Vec<usize> {
        (0..self.devices).filter(|other| linked(&self.links, device, *other)).collect()
    }

    /// Whether two devices know each other.
    pub(super) fn is_linked(&self, one: usize, other: usize) -> bool {
        linked(&self.links, one, other)
    }

    /// Whether devices can reach each other by way of each other alone.
    pub(super) fn is_connected(&self, devices: &BTreeSet<usize>) -> bool {
        is_connected(&self.links, devices)
    }
}

fn is_connected(links: &BTreeSet<(usize, usize)>, devices: &BTreeSet<usize>) -> bool {
    let mut reached: BTreeSet<usize> = devices.first().copied().into_iter().collect();
    let near = |device: usize, reached: &BTreeSet<usize>| {
        !reached.contains(&device) && reached.iter().any(|other| linked(links, device, *other))
    };
    while let Some(next) = devices.iter().find(|device| near(**device, &reached)) {
        reached.insert(*next);
    }
    reached.len() == devices.len()
}

/// One or two members, with all their devices.
fn rogues(
    links: &BTreeSet<(usize, usize)>,
    members: &[usize],
    spaces: &[PlannedSpace],
    dice: &mut Dice,
) -> BTreeSet<usize> {
    let mut rogues = BTreeSet::new();
    for _ in 0..2 + 2 * dice.below(2) {
        let member = dice.pick(members).copied().unwrap_or(0);
        let devices = (0..members.len()).filter(|device| members.get(*device) == Some(&member));
        let grown: BTreeSet<usize> = rogues.iter().copied().chain(devices).collect();
        let fits = spaces.iter().all(|space| {
            let honest = space.devices.iter().copied().filter(|device| !grown.contains(device));
            !grown.contains(&space.founder) && is_connected(links, &honest.collect())
        });
        // Two honest ones have something to agree on.
        if fits && grown.len() + 2 <= members.len() {
            rogues = grown;
        }
    }
    rogues
}

fn linked(links: &BTreeSet<(usize, usize)>, one: usize, other: usize) -> bool {
    one != other && links.contains(&(one.min(other), one.max(other)))
}

/// A mesh, a star, a chain, or any other connected graph.
fn links(devices: usize, dice: &mut Dice) -> BTreeSet<(usize, usize)> {
    let shape = dice.below(5);
    let mut links = BTreeSet::new();
    for device in 1..devices {
        let drawn = dice.below(device as u64) as usize;
        match shape {
            0 | 1 => links.extend((0..device).map(|other| (other, device))),
            2 => links.extend([(0, device)]),
            3 => links.extend([(device - 1, device)]),
            _ => {
                links.extend([(drawn, device)]);
                links.extend((0..device).filter(|_| dice.chance(30)).map(|other| (other, device)));
            }
        }
    }
    links
}

/// Most devices are the only one of their member. The first two never share one: the second is an admin.
fn members(devices: usize, dice: &mut Dice) -> Vec<usize> {
    let mut members: Vec<usize> = Vec::new();
    for device in 0..devices {
        let other = *dice.pick(&members).unwrap_or(&device);
        members.push(if device > 1 && dice.chance(25) { other } else { device });
    }
    members
}

fn space(number: u64, links: &BTreeSet<(usize, usize)>, members: &[usize], dice: &mut Dice) -> PlannedSpace {
    let founder = if number == 0 { 0 } else { dice.below(members.len() as u64) as usize };
    let mut devices = vec![founder];
    loop {
        let known = |device: &usize| {
            !devices.contains(device) && devices.iter().any(|other| linked(links, *device, *other))
        };
        let Some(next) = (0..members.len()).find(known) else { break };
        if number > 0 && devices.len() > 1 && dice.chance(30) {
            break;
        }
        devices.push(next);
    }
    let owner = members.get(founder).copied().unwrap_or(founder);
    let mut roles = BTreeMap::new();
    for device in &devices {
        let member = members.get(*device).copied().unwrap_or(*device);
        let role = match (roles.is_empty(), dice.below(10)) {
            (true, _) => Role::Admin,
            (false, 0) => Role::Admin,
            (false, 1) => Role::Reader,
            (false, _) => Role::Writer,
        };
        if member != owner {
            roles.entry(member).or_insert(role);
        }
    }
    PlannedSpace { founder, devices, roles, rule: dice.chance(35) }
}

/// All that is to be done, in its order.
fn steps(
    options: &Options,
    devices: usize,
    spaces: &[PlannedSpace],
    rogues: &BTreeSet<usize>,
    dice: &mut Dice,
) -> Vec<Step> {
    let ends_ms = options.duration_ms;
    let mut steps = Vec::new();
    let mut work: Vec<(u64, usize)> = Vec::new();
    let mut push = |dice: &mut Dice, act, lasts_max| {
        // Work comes in bursts, and the power likes to go while somebody works.
        let near = if act == Act::Commit {
            work.last().copied().filter(|_| dice.chance(40))
        } else if matches!(act, Act::Crash | Act::CrashAtWrite) {
            dice.pick(&work).copied().filter(|_| dice.chance(60))
        } else {
            None
        };
        let (at_ms, device) = match near {
            Some((at_ms, device)) => (at_ms + dice.below(15), device),
            None => (1_000 + dice.below(ends_ms.saturating_sub(2_000)), dice.below(devices as u64) as usize),
        };
        if act == Act::Commit {
            work.push((at_ms, device));
        }
        let lasts_ms = dice.between(lasts_max / 20..=lasts_max);
        let space = dice.below(spaces.len() as u64) as usize;
        steps.push(Step { number: 0, at_ms, device, space, act, lasts_ms });
    };
    (0..options.commits).for_each(|_| push(dice, Act::Commit, 0));
    (0..options.commits / 20).for_each(|_| push(dice, Act::SyncNow, 0));
    let weights = TROUBLE.iter().map(|(_, weight, _)| weight).sum();
    for _ in 0..options.faults {
        let mut left = dice.below(weights);
        let mut picked = TROUBLE.iter().filter(|(_, weight, _)| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        if let Some((act, _, lasts_max)) = picked.next() {
            push(dice, *act, *lasts_max);
        }
    }
    schemes(options, spaces.len(), rogues, dice, &mut steps);
    for (space, planned) in spaces.iter().enumerate() {
        for (order, device) in planned.devices.iter().enumerate().skip(1) {
            let late = dice.chance(20);
            let at_ms = if late { 1_000 + dice.below(ends_ms / 2) } else { order as u64 };
            steps.push(Step { number: 0, at_ms, device: *device, space, act: Act::Join, lasts_ms: 0 });
        }
    }
    steps.sort_by_key(|step| step.at_ms);
    for (number, step) in steps.iter_mut().enumerate() {
        step.number = number as u64;
    }
    steps
}

/// What the rogues do.
fn schemes(
    options: &Options,
    spaces: usize,
    rogues: &BTreeSet<usize>,
    dice: &mut Dice,
    steps: &mut Vec<Step>,
) {
    let rogues: Vec<usize> = rogues.iter().copied().collect();
    // Who was removed is tempted most.
    for device in rogues.iter().copied() {
        if dice.chance(50) {
            continue;
        }
        let at_ms = options.duration_ms / 4 + dice.below(options.duration_ms / 2);
        let expel = Act::Expel(device);
        steps.push(Step { number: 0, at_ms, device: 0, space: 0, act: expel, lasts_ms: 0 });
        for after in [dice.below(60), dice.below(500), dice.below(20_000)] {
            let act = Act::Scheme(Wile::BackDate);
            steps.push(Step { number: 0, at_ms: at_ms + 1 + after, device, space: 0, act, lasts_ms: 0 });
        }
    }
    let weights = Wile::ALL.iter().map(|(_, weight, _)| weight).sum();
    for _ in 0..options.malice {
        let Some(device) = dice.pick(&rogues).copied() else { return };
        let mut left = dice.below(weights);
        let mut picked = Wile::ALL.iter().filter(|(_, weight, _)| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        let Some((wile, _, lasts_max)) = picked.next() else { return };
        let lasts_ms = dice.between(lasts_max / 20..=*lasts_max);
        let at_ms = 1_000 + dice.below(options.duration_ms.saturating_sub(2_000));
        let space = dice.below(spaces as u64) as usize;
        steps.push(Step { number: 0, at_ms, device, space, act: Act::Scheme(*wile), lasts_ms });
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, at_ms, device, space, act, lasts_ms } = self;
        write!(f, "{at_ms:>9} ms  step {number:<3} device {device}: {act:?}")?;
        if *space > 0 {
            write!(f, " in space {space}")?;
        }
        if *lasts_ms > 0 {
            write!(f, " for {lasts_ms} ms")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_plan() {
        let options = Options::default();

        assert_eq!(Plan::new(3, &options), Plan::new(3, &options));
        assert_ne!(Plan::new(3, &options), Plan::new(4, &options));
    }

    #[test]
    fn neighbours_know_each_other_and_nobody_is_alone() {
        for seed in 0..100 {
            let plan = Plan::new(seed, &Options::default());
            for device in 0..plan.devices {
                for other in plan.neighbours(device) {
                    assert!(plan.neighbours(other).contains(&device), "seed {seed}");
                }
            }
            assert!(plan.is_connected(&(0..plan.devices).collect()), "seed {seed}");
            assert!(plan.devices < 2 || plan.neighbours(0).contains(&1), "seed {seed}");
        }
    }

    #[test]
    fn whoever_joins_a_space_knows_one_who_came_before() {
        for seed in 0..100 {
            let plan = Plan::new(seed, &Options::default());
            assert_eq!(plan.spaces[0].devices.len(), plan.devices);
            for space in &plan.spaces {
                for (order, device) in space.devices.iter().enumerate().skip(1) {
                    let before = &space.devices[..order];
                    assert!(plan.neighbours(*device).iter().any(|other| before.contains(other)), "{seed}");
                }
            }
        }
    }

    #[test]
    fn a_chain_without_its_middle_is_in_two() {
        let plan = (0..).map(|seed| Plan::new(seed, &Options { devices: (4, 4), ..Options::default() }));
        let mut chains = plan.filter(|plan| plan.links == BTreeSet::from([(0, 1), (1, 2), (2, 3)]));
        let chain = chains.next().expect("without end");

        assert!(chain.is_connected(&BTreeSet::from([0, 1, 2])));
        assert!(!chain.is_connected(&BTreeSet::from([0, 1, 3])));
    }
}
