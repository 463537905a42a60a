//! Three processes write and sync over real connections while two of them are killed and all of them lose
//! their connections now and then: nothing acknowledged is lost, all agree in the end, and memory stays flat.
//!
//! ```text
//! DRIFTLESS_SOAK_SECONDS=600 DRIFTLESS_SEED=7 cargo test --test soak -- --nocapture
//! ```

#![allow(missing_docs, reason = "tests are named by what they claim")]
#![allow(clippy::print_stdout, reason = "a soak tells what it measured")]

mod processes;

use std::time::Duration;

use processes::fleet::Fleet;
use processes::{Dice, Habit, pause, variable};

const NODES: usize = 3;
/// Between two commits of one writer.
const PACE: Duration = Duration::from_millis(50);
const TICK: Duration = Duration::from_millis(500);
/// What a process may hold in memory at the end beyond once and a half of what it held before half of the
/// time: caches fill up, and the documents that everybody writes grow.
const GROWTH_KIB_MAX: u64 = 64 * 1024;

#[test]
fn three_processes_live_through_kills_and_drops_without_a_loss_or_growth() {
    let seconds = variable("DRIFTLESS_SOAK_SECONDS").unwrap_or(10);
    let seed = variable("DRIFTLESS_SEED").unwrap_or(0x50a4);
    let mut dice = Dice(seed);
    let mut fleet = Fleet::found(NODES, Habit { pace: PACE, ..Habit::default() });
    for index in 0..NODES {
        fleet.start(index);
    }

    let ticks = seconds.max(2) * 2;
    let ticks_per_kill = (seconds / 5).clamp(6, 40);
    let mut memory: Vec<Vec<u64>> = vec![Vec::new(); NODES];
    let (mut kills, mut drops) = (0, 0);
    let mut dropped: Option<usize> = None;
    for _ in 0..ticks {
        pause(TICK);
        fleet.check();
        for (index, memory) in memory.iter_mut().enumerate() {
            memory.extend(fleet.process(index).resident_kib());
        }
        if let Some(index) = dropped.take() {
            fleet.process(index).tell("resume");
        } else if dice.below(4) == 0 {
            let index = dice.below(NODES as u64) as usize;
            fleet.process(index).tell("pause");
            (dropped, drops) = (Some(index), drops + 1);
        }
        if dice.below(ticks_per_kill) == 0 {
            // The first node lives through all of it, so that its memory tells something.
            let index = 1 + dice.below(NODES as u64 - 1) as usize;
            fleet.kill(index);
            fleet.start(index);
            dropped = dropped.filter(|dropped| *dropped != index);
            kills += 1;
        }
    }
    if let Some(index) = dropped {
        fleet.process(index).tell("resume");
    }

    fleet.agree();
    let acked = fleet.verify();
    assert!(acked > 0 && fleet.met > 0, "{acked} commits and {} meetings show nothing", fleet.met);
    println!("seed {seed}: {seconds} s, {kills} kills, {drops} drops, {acked} commits, none lost");
    for (index, memory) in memory.iter().enumerate() {
        check_flat(index, memory);
    }
}

/// Prints what a process held in memory and compares the peak of the second quarter with that of the last.
fn check_flat(index: usize, memory: &[u64]) {
    let quarter = memory.len() / 4;
    let peak = |quarters: usize| memory.iter().skip(quarters * quarter).take(quarter).max().copied();
    let (Some(before), Some(after)) = (peak(1), peak(3)) else {
        println!("SKIPPED: this system does not tell the memory of node{index}");
        return;
    };
    println!("node{index}: {before} KiB at most in the second quarter, {after} KiB in the last");
    let bound = before * 3 / 2 + GROWTH_KIB_MAX;
    assert!(after <= bound, "node{index} grew from {before} KiB to {after} KiB");
}
