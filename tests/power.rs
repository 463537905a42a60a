//! Cuts the power under a node: what it acknowledged is there when its disk is mounted again, and no half commit.
//!
//! A loop-mounted ext4 is shut down while a process commits to it. Needs root, loop mounts and a C compiler;
//! prints SKIPPED and passes where one is missing. `DRIFTLESS_POWER_CUTS` sets the number of cuts. That the same
//! cuts lose data without the store's way of syncing is shown beside the store.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use driftless::{Deserialize, Entity, EntityId, Hydrate, Node, Reconcile, Serialize};
use image::Image;

#[path = "disk/image.rs"]
#[allow(dead_code, reason = "other tests fill the disk")]
mod image;

#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, Serialize, Deserialize)]
struct Half {
    number: u64,
}

impl Entity for Half {
    const COLLECTION: &'static str = "halves";
    const VERSION: u32 = 1;
}

#[tokio::test]
async fn a_power_cut_loses_no_acknowledged_commit_and_leaves_no_half_one() {
    let Some(image) = Image::mount_to_cut(256) else { return };
    let cuts = std::env::var("DRIFTLESS_POWER_CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(60);
    let mut acknowledged = 0;
    for cut in 0..cuts {
        acknowledged = cut_under_load(&image, cut).max(acknowledged);

        let held = check(&image.at("node")).await;

        assert!(held >= acknowledged, "cut {cut}: {acknowledged} were acknowledged, {held} are there");
    }
    assert!(acknowledged > 0 || cuts == 0, "nothing was ever acknowledged, so nothing was shown");
    println!("{cuts} cuts, {acknowledged} commits, none lost");
}

/// The process whose power is cut: commits pairs and says so, without end.
#[tokio::test]
#[ignore = "the other end of a test, which starts it"]
async fn child() {
    let Ok(dir) = std::env::var("DRIFTLESS_POWER_DIR") else { return };
    let node = open(Path::new(&dir)).await;
    let space = match node.spaces().into_iter().next() {
        Some(space) => space,
        None => node.create_space("Pairs").await.expect("founded"),
    };
    let mut number = space.collection::<Half>().expect("a name").all().await.expect("read").len() as u64 / 2;
    println!("acknowledged {number}");
    loop {
        number += 1;
        let commit = space.commit(|tx| {
            tx.insert_with_id(id(number, "left"), &Half { number })?;
            tx.insert_with_id(id(number, "right"), &Half { number })
        });
        if commit.await.is_err() {
            return;
        }
        println!("acknowledged {number}");
    }
}

/// Returns how many pairs there are, all of them whole and none missing before the last.
async fn check(dir: &Path) -> u64 {
    let node = open(dir).await;
    let Some(space) = node.spaces().into_iter().next() else {
        node.close().await.expect("closes");
        return 0;
    };
    let halves = space.collection::<Half>().expect("a name");
    let all = halves.all().await.expect("read");
    assert_eq!(all.len() % 2, 0, "a commit is there by half");
    let pairs = all.len() as u64 / 2;
    for number in 1..=pairs {
        for side in ["left", "right"] {
            let half = halves.get(id(number, side)).await.expect("read");
            assert_eq!(half, Some(Half { number }), "{side} of {number} among {pairs} pairs");
        }
    }
    node.close().await.expect("closes");
    pairs
}

async fn open(dir: &Path) -> Node {
    Node::builder(dir).listen(([127, 0, 0, 1], 0)).discovery(false).open().await.expect("opens after a cut")
}

fn id(number: u64, side: &str) -> EntityId {
    EntityId::from_key(side, &number.to_be_bytes())
}

/// Lets a process commit, cuts the power behind a number of commits that differs each time, and mounts again.
/// Returns what was acknowledged.
fn cut_under_load(image: &Image, cut: u64) -> u64 {
    let (mut process, said) = start(&image.at("node"));
    let mut acknowledged = 0;
    for _ in 0..=cut * 7 % 23 {
        match said.recv_timeout(Duration::from_secs(60)) {
            Ok(number) => acknowledged = number,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    // Somewhere within the commit that follows.
    thread::park_timeout(Duration::from_micros(cut * 131 % 3_000));
    image.cut();
    process.kill().expect("it runs, or has ended");
    process.wait().expect("it has ended");
    acknowledged = said.iter().last().unwrap_or(acknowledged);
    image.come_back();
    acknowledged
}

/// Starts the process over a directory; what it says comes out of the receiver, which ends with it.
fn start(dir: &Path) -> (Child, Receiver<u64>) {
    let mut process = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env("DRIFTLESS_POWER_DIR", dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let out = BufReader::new(process.stdout.take().expect("piped"));
    let (say, said) = sync_channel(1_000_000);
    thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            // The first line of the test runner stands before the first of ours.
            if let Some((_, number)) = line.split_once("acknowledged ")
                && let Ok(number) = number.parse::<u64>()
                && say.send(number).is_err()
            {
                return;
            }
        }
    });
    (process, said)
}
