//! The plan of a run: everything that the seed decides to do, before anything is done.
//!
//! Each step has dice of its own, so that leaving out some steps leaves the others what they are. That is what
//! makes a failing run small.

use std::fmt;

use super::{Dice, Options};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Its number in the plan of its seed.
    pub(super) number: u64,
    pub(super) at_ms: u64,
    /// The device that it is done to.
    pub(super) device: usize,
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
}

/// Trouble, how often it is picked, and how long it lasts at most, in milliseconds.
const TROUBLE: [(Act, u64, u64); 18] = [
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
    (Act::FlipBit, 2, 20_000),
    (Act::SlowDisk, 3, 30_000),
    (Act::Sleep, 5, 90_000),
    (Act::SetClock, 4, 0),
    (Act::Backup, 3, 0),
    (Act::Restore, 3, 10_000),
];

/// What is true of a run from its first moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) devices: usize,
    pub(super) shape: Shape,
    /// The lines are for admins only.
    pub(super) rule: bool,
    /// Typical delay of a link, in milliseconds.
    pub(super) delay_ms: u64,
    pub(super) steps: Vec<Step>,
    /// When the trouble ends.
    pub(super) ends_ms: u64,
}

/// Which devices know each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Mesh,
    Star,
    Chain,
}

impl Plan {
    /// Makes the plan of a seed.
    pub(super) fn new(seed: u64, options: &Options) -> Self {
        let mut dice = Dice::new(seed, "plan");
        let (few, many) = (options.devices.0.max(1) as u64, options.devices.1.max(1) as u64);
        let devices = dice.between(few..=many.max(few)) as usize;
        let shape = match dice.below(4) {
            0 | 1 => Shape::Mesh,
            2 => Shape::Star,
            _ => Shape::Chain,
        };
        let delay_ms = *dice.pick(&[1, 5, 25, 80]).unwrap_or(&5);
        let rule = dice.chance(35);
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
                None => {
                    (1_000 + dice.below(ends_ms.saturating_sub(2_000)), dice.below(devices as u64) as usize)
                }
            };
            if act == Act::Commit {
                work.push((at_ms, device));
            }
            let lasts_ms = dice.between(lasts_max / 20..=lasts_max);
            steps.push(Step { number: 0, at_ms, device, act, lasts_ms });
        };
        (0..options.commits).for_each(|_| push(&mut dice, Act::Commit, 0));
        (0..options.commits / 20).for_each(|_| push(&mut dice, Act::SyncNow, 0));
        let weights = TROUBLE.iter().map(|(_, weight, _)| weight).sum();
        for _ in 0..options.faults {
            let mut left = dice.below(weights);
            let mut picked = TROUBLE.iter().filter(|(_, weight, _)| {
                let here = left < *weight;
                left = left.saturating_sub(*weight);
                here
            });
            if let Some((act, _, lasts_max)) = picked.next() {
                push(&mut dice, *act, *lasts_max);
            }
        }
        steps.sort_by_key(|step| step.at_ms);
        let joins = (1..devices).map(|device| {
            let late = dice.chance(20);
            let at_ms = if late { 1_000 + dice.below(ends_ms / 2) } else { device as u64 };
            Step { number: 0, at_ms, device, act: Act::Join, lasts_ms: 0 }
        });
        let mut steps: Vec<Step> = joins.chain(steps.clone()).collect();
        steps.sort_by_key(|step| step.at_ms);
        for (number, step) in steps.iter_mut().enumerate() {
            step.number = number as u64;
        }
        Self { devices, shape, rule, delay_ms, steps, ends_ms }
    }

    /// The devices that a device knows.
    pub(super) fn neighbours(&self, device: usize) -> Vec<usize> {
        let linked = |other: usize| match self.shape {
            Shape::Mesh => true,
            Shape::Star => device == 0 || other == 0,
            Shape::Chain => device.abs_diff(other) == 1,
        };
        (0..self.devices).filter(|other| *other != device && linked(*other)).collect()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, at_ms, device, act, lasts_ms } = self;
        write!(f, "{at_ms:>9} ms  step {number:<3} device {device}: {act:?}")?;
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
    fn neighbours_know_each_other_and_the_two_first_devices_are_neighbours() {
        for seed in 0..50 {
            let plan = Plan::new(seed, &Options::default());
            for device in 0..plan.devices {
                for other in plan.neighbours(device) {
                    assert!(plan.neighbours(other).contains(&device), "seed {seed}");
                }
            }
            assert!(plan.devices < 2 || plan.neighbours(0).contains(&1), "seed {seed}");
        }
    }
}
