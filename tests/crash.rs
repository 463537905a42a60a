//! Kills processes that write and sync through files and real connections, at random instants, and checks what
//! is left: nothing acknowledged is lost, no commit is there in part or twice, every store opens, and all agree.
//!
//! ```text
//! DRIFTLESS_KILLS=1000 DRIFTLESS_SEED=7 cargo test --test crash -- --nocapture
//! ```

#![allow(missing_docs, reason = "tests are named by what they claim")]

mod processes;

use std::time::Duration;

use driftless::{Durability, Error, Node, Role};
use processes::content::Content;
use processes::fleet::Fleet;
use processes::oracle::{self, Acked};
use processes::{BOUND, Dice, Habit, Process, pause, variable};
use tokio::runtime::Runtime;

#[test]
fn two_processes_that_are_killed_at_any_moment_lose_nothing_and_agree() {
    let kills = variable("DRIFTLESS_KILLS").unwrap_or(100);
    let seed = variable("DRIFTLESS_SEED").unwrap_or(0xdeed);
    let mut dice = Dice(seed);
    let mut fleet = Fleet::found(2, Habit::default());
    fleet.start(0);
    fleet.start(1);

    let mut killed = 0;
    while killed < kills {
        let victim = dice.below(2) as usize;
        wait_for_its_hour(&mut dice, fleet.process(victim));
        fleet.check();
        let both = dice.below(8) == 0;
        let victims = if both { vec![victim, 1 - victim] } else { vec![victim] };
        for victim in &victims {
            fleet.kill(*victim);
        }
        for victim in &victims {
            fleet.start(*victim);
        }
        killed += victims.len() as u64;
    }

    fleet.agree();
    let acked = fleet.verify();
    assert!(acked > 0, "nothing was ever acknowledged, so nothing was shown");
    assert!(fleet.met > 0, "the processes never met, so nothing was shown");
    println!(
        "seed {seed}: {killed} kills, {acked} commits, none lost; {} runs received something",
        fleet.met
    );
}

/// What is written and not synced may die with the process, but never in part, and never before what is older.
#[test]
fn two_processes_that_wait_for_no_sync_lose_their_newest_commits_whole() {
    let mut dice = Dice(variable("DRIFTLESS_SEED").unwrap_or(0xf00d));
    let mut fleet = Fleet::found(2, Habit { durability: Durability::Written, ..Habit::default() });
    fleet.start(0);
    fleet.start(1);

    for _ in 0..10 {
        let victim = dice.below(2) as usize;
        wait_for_its_hour(&mut dice, fleet.process(victim));
        fleet.check();
        fleet.kill(victim);
        fleet.start(victim);
    }

    fleet.agree();
    assert!(fleet.verify() > 0, "nothing was ever acknowledged, so nothing was shown");
}

/// The joiner may die before it has the reply: asking again with the same invite gets it, and makes no second
/// member of it. One that died between taking the space in and noting the inviter's address had the space and
/// reached nobody, for ever; the address is noted first.
#[test]
fn a_device_that_is_killed_while_it_joins_gets_in_once_by_the_same_invite() {
    let mut dice = Dice(variable("DRIFTLESS_SEED").unwrap_or(0x101));
    let dir = tempfile::tempdir().expect("a temporary directory");
    let runtime = Runtime::new().expect("a runtime");
    let (node, space, invite) = runtime.block_on(async {
        let builder = Node::builder(dir.path().join("inviter")).listen(([127, 0, 0, 1], 0)).discovery(false);
        let node = builder.open().await.expect("a fresh directory");
        let space = node.create_space("crash").await.expect("a name");
        Content::of(&space).found().await;
        let invite = space.invite(Role::Writer).await.expect("an owner").to_string();
        (node, space, invite)
    });
    let joiner = dir.path().join("joiner");

    let mut acked = Acked::new();
    for run in 0..12 {
        let process = Process::join(&joiner, &format!("joiner.{run}"), &invite);
        pause(Duration::from_micros(dice.below(250_000)));
        let told = process.kill();
        assert_eq!(told.broken, None);
        acked.extend(told.acked);
    }
    let mut process = Process::join(&joiner, "joiner.last", &invite);
    assert!(process.wait_for(BOUND, |told| told.acked_count() > 0), "{:?}", process.told().broken);
    process.tell("finish");
    assert!(process.wait_for(BOUND, |told| told.root.is_some()), "{:?}", process.told().broken);
    acked.extend(process.close().acked);

    assert_eq!(space.members().len(), 2);
    let again = Node::builder(&joiner).listen(([127, 0, 0, 1], 0)).discovery(false);
    let both = runtime.block_on(async {
        let again = again.open().await.map_err(|error| format!("{error:?}"))?;
        again.sync_now().await.map_err(|error| format!("{error:?}"))?;
        let theirs = again.space(space.id()).map_err(|error| format!("{error:?}"))?;
        Ok::<_, String>((
            oracle::check(&node, &space, &acked).await?,
            oracle::check(&again, &theirs, &acked).await?,
        ))
    });
    let (ours, theirs) = both.expect("nothing is lost");
    assert_eq!(ours, theirs);
}

#[test]
fn a_second_process_in_a_directory_is_refused_and_the_first_goes_on() {
    let mut fleet = Fleet::found(1, Habit::default());
    fleet.start(0);
    assert!(fleet.process(0).wait_for(BOUND, |told| told.acked_count() > 0), "it opens and writes");

    let runtime = Runtime::new().expect("a runtime");
    let refused = runtime.block_on(Node::open(fleet.path(0))).expect_err("a process has it open");

    assert!(matches!(refused, Error::Locked { .. }), "{refused:?}");
    assert!(refused.is_retryable());
    let due = fleet.process(0).told().acked_count() + 5;
    assert!(fleet.process(0).wait_for(BOUND, |told| told.acked_count() >= due), "it goes on");
    fleet.kill(0);
    fleet.start(0);
    fleet.agree();
    assert!(fleet.verify() >= due);
}

/// Waits for the instant at which a process is killed.
fn wait_for_its_hour(dice: &mut Dice, process: &Process) {
    match dice.below(16) {
        // Wherever it is: maybe it is not even open.
        0..4 => pause(Duration::from_micros(dice.below(250_000))),
        // While it receives.
        4 => {
            process.wait_for(BOUND, |told| told.met);
            pause(Duration::from_micros(dice.below(100_000)));
        }
        // While it writes.
        _ => {
            let due = process.told().acked_count() + 1 + dice.below(40);
            process.wait_for(BOUND, |told| told.acked_count() >= due);
            pause(Duration::from_micros(dice.below(10_000)));
        }
    }
}
