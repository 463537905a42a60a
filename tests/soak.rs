//! Three processes write and sync over real connections while two of them are killed and all of them lose
//! their connections or their network now and then: nothing acknowledged is lost, all agree in the end, and memory
//! stays flat.
//!
//! ```text
//! DRIFTLESS_SOAK_SECONDS=600 DRIFTLESS_SEED=7 cargo test --test soak -- --nocapture
//! ```

#![allow(missing_docs, reason = "tests are named by what they claim")]
#![allow(clippy::print_stdout, reason = "a soak tells what it measured")]

mod processes;

use std::time::Duration;

use driftless::{Durability, Node, PeerId, Role, SpaceId};
use processes::content::Content;
use processes::fleet::Fleet;
use processes::wires::Wires;
use processes::{BOUND, Dice, Habit, pause, variable};

const NODES: usize = 3;
/// Between two commits of one writer.
const PACE: Duration = Duration::from_millis(50);
const HABIT: Habit = Habit { pace: PACE, durability: Durability::Synced };
const TICK: Duration = Duration::from_millis(500);
/// Longer than a connection lives that hears nothing.
const LONG_TICKS: u64 = 40;
/// What a process may hold in memory at the end beyond once and a half of what it held before half of the
/// time: caches fill up, and the documents that everybody writes grow.
const GROWTH_KIB_MAX: u64 = 64 * 1024;
/// What a process may hold in memory however long it runs: full caches of documents and of the store's pages, with as
/// much again for what the allocator cannot give back.
const FULL_KIB_MAX: u64 = 224 * 1024;
/// And for each commit that it holds: the store's index of its pages.
const COMMIT_BYTES_MAX: u64 = 512;

/// Reconnections before memory is looked at, and while it must not grow.
const RECONNECTIONS: [usize; 2] = [200, 1_000];
/// What may remain of one, which is far less than a connection takes.
const RECONNECTION_KIB_MAX: u64 = 4;

#[test]
fn three_processes_live_through_kills_and_drops_without_a_loss_or_growth() {
    live_through(Fleet::found(NODES, HABIT), &Drops::Told);
}

/// No process is told when packets cease to arrive, nor when they do again: a connection lives through that, or comes
/// to its end by its own clock.
#[test]
fn three_processes_live_through_kills_and_pulled_cables_without_a_loss_or_growth() {
    let test = "three_processes_live_through_kills_and_pulled_cables_without_a_loss_or_growth";
    if let Some(wires) = Wires::lay(test, NODES) {
        live_through(Fleet::found_at_cables(NODES, HABIT), &Drops::Pulled(wires));
    }
}

/// How a node loses its connections.
#[derive(Debug)]
enum Drops {
    /// It is told to leave the network, and to come back.
    Told,
    /// Its cable is pulled, and put in again.
    Pulled(Wires),
}

impl Drops {
    fn begin(&self, fleet: &mut Fleet, index: usize) {
        match self {
            Self::Told => fleet.process(index).tell("pause"),
            Self::Pulled(wires) => wires.pull(index),
        }
    }

    fn end(&self, fleet: &mut Fleet, index: usize) {
        match self {
            Self::Told => fleet.process(index).tell("resume"),
            Self::Pulled(wires) => wires.put(index),
        }
    }

    /// How many ticks one lasts beyond the first.
    fn ticks(&self, dice: &mut Dice) -> u64 {
        match self {
            Self::Told => 0,
            Self::Pulled(_) if dice.below(8) == 0 => LONG_TICKS,
            Self::Pulled(_) => dice.below(10),
        }
    }
}

fn live_through(mut fleet: Fleet, how: &Drops) {
    let seconds = variable("DRIFTLESS_SOAK_SECONDS").unwrap_or(10);
    let seed = variable("DRIFTLESS_SEED").unwrap_or(0x50a4);
    let mut dice = Dice(seed);
    for index in 0..NODES {
        fleet.start(index);
    }

    let ticks = seconds.max(2) * 2;
    let ticks_per_kill = (seconds / 5).clamp(6, 40);
    let mut memory: Vec<Vec<u64>> = vec![Vec::new(); NODES];
    let (mut kills, mut drops) = (0, 0);
    let mut dropped: Option<(usize, u64)> = None;
    for _ in 0..ticks {
        pause(TICK);
        fleet.check();
        for (index, memory) in memory.iter_mut().enumerate() {
            memory.extend(fleet.process(index).resident_kib());
        }
        dropped = match dropped {
            Some((index, 0)) => {
                how.end(&mut fleet, index);
                None
            }
            Some((index, ticks)) => Some((index, ticks - 1)),
            None if dice.below(4) == 0 => {
                let index = dice.below(NODES as u64) as usize;
                how.begin(&mut fleet, index);
                drops += 1;
                Some((index, how.ticks(&mut dice)))
            }
            None => None,
        };
        if dice.below(ticks_per_kill) == 0 {
            // The first node lives through all of it, so that its memory tells something.
            let index = 1 + dice.below(NODES as u64 - 1) as usize;
            fleet.kill(index);
            fleet.start(index);
            if matches!(how, Drops::Told) {
                // Its next process was told nothing.
                dropped = dropped.filter(|(dropped, _)| *dropped != index);
            }
            kills += 1;
        }
    }
    if let Some((index, _)) = dropped {
        how.end(&mut fleet, index);
    }

    fleet.agree();
    let acked = fleet.verify();
    assert!(acked > 0 && fleet.met > 0, "{acked} commits and {} meetings show nothing", fleet.met);
    println!("seed {seed}: {seconds} s, {kills} kills, {drops} drops, {acked} commits, none lost");
    for (index, memory) in memory.iter().enumerate() {
        check_flat(index, memory, acked);
    }
}

/// Nothing but the amount of data may take more memory with time: two nodes that hold the same and never write lose
/// each other and meet again. Seen failing with a clone of each closed connection kept by `Line::close`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnections_without_a_change_take_no_memory() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let node = async |name: &str| {
        let builder = Node::builder(dir.path().join(name)).listen(([127, 0, 0, 1], 0)).discovery(false);
        builder.open().await.expect("a fresh directory")
    };
    let (here, there) = (node("here").await, node("there").await);
    let space = here.create_space("soak").await.expect("a name");
    Content::of(&space).found().await;
    let invite = space.invite(Role::Writer).await.expect("an owner");
    there.join(&invite).await.expect("the inviter is there");
    let mut before = None;

    for times in RECONNECTIONS {
        for _ in 0..times {
            in_sync(&there, here.peer(), space.id(), true).await;
            in_sync(&here, there.peer(), space.id(), true).await;
            there.pause().await.expect("open");
            in_sync(&here, there.peer(), space.id(), false).await;
            there.resume().await.expect("open");
        }
        let Some(after) = resident_kib() else {
            println!("SKIPPED: this system does not tell the memory of a process");
            return;
        };
        if let Some(before) = before.replace(after) {
            println!("{times} reconnections: {before} KiB before, {after} KiB after");
            let bound = before + times as u64 * RECONNECTION_KIB_MAX;
            assert!(after <= bound, "from {before} KiB to {after} KiB in {times} reconnections");
        }
    }
}

/// Waits until a node is found to hold the same as a peer, or is no longer.
async fn in_sync(node: &Node, peer: PeerId, space: SpaceId, wanted: bool) {
    let mut peers = node.watch_peers();
    let is_it = async {
        let is = |all: &[driftless::Peer]| {
            all.iter().any(|one| one.id == peer && one.in_sync.contains(&space)) == wanted
        };
        let mut all = peers.now();
        while !is(&all) {
            all = peers.changed().await.expect("open");
        }
    };
    tokio::time::timeout(BOUND, is_it).await.expect("they meet and part");
}

/// Returns what this process holds in memory, in KiB; `None` where the system does not tell.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Prints what a process held in memory, and compares the peak of the last quarter with that of the second and with
/// what caches and commits may take.
fn check_flat(index: usize, memory: &[u64], commits: u64) {
    let quarter = memory.len() / 4;
    let peak = |quarters: usize| memory.iter().skip(quarters * quarter).take(quarter).max().copied();
    let (Some(before), Some(after)) = (peak(1), peak(3)) else {
        println!("SKIPPED: this system does not tell the memory of node{index}");
        return;
    };
    println!("node{index}: {before} KiB at most in the second quarter, {after} KiB in the last");
    let bound = before * 3 / 2 + GROWTH_KIB_MAX;
    assert!(after <= bound, "node{index} grew from {before} KiB to {after} KiB");
    let bound = FULL_KIB_MAX + commits * COMMIT_BYTES_MAX / 1024;
    assert!(after <= bound, "node{index} holds {after} KiB with {commits} commits");
}
