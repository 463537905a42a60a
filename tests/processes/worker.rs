//! The process itself: opens its node, writes as fast as it may, and looks at what it can see meanwhile.
//!
//! ```text
//! says                       hears
//! open <address>             peer <id> <address>   reach a peer there
//! ack <writer> <number>      pause, resume         leave and enter the network
//! met                        finish                write no more, then say the root after each sync
//! root <fingerprint>         close                 close the node and end
//! broken <what>
//! ```

use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use driftless::{AccessError, Durability, HeldReason, Node, PeerId, Space};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::content::{BOARDS, Content};
use super::oracle;

pub(crate) const DIR_VARIABLE: &str = "DRIFTLESS_PROCESS_DIR";
pub(crate) const RUN_VARIABLE: &str = "DRIFTLESS_PROCESS_RUN";
pub(crate) const PACE_VARIABLE: &str = "DRIFTLESS_PROCESS_PACE_MS";
pub(crate) const INVITE_VARIABLE: &str = "DRIFTLESS_PROCESS_INVITE";
pub(crate) const WRITTEN_VARIABLE: &str = "DRIFTLESS_PROCESS_WRITTEN";
pub(crate) const LISTEN_VARIABLE: &str = "DRIFTLESS_PROCESS_LISTEN";

/// Writers beside each other; they share the syncs of the disk.
const WRITERS: u64 = 2;
/// Between two looks of a process at what it can see.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// What the processes do. Only in one that [`super::Process::start`] started.
#[test]
#[ignore = "runs in a process that is killed"]
fn process() {
    let (Some(dir), Ok(run)) = (std::env::var_os(DIR_VARIABLE), std::env::var(RUN_VARIABLE)) else { return };
    let pace = Duration::from_millis(super::variable(PACE_VARIABLE).unwrap_or(0));
    // The test program has begun a line of its own.
    say("");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    if let Err(broken) = runtime.block_on(work(dir.into(), &run, pace)) {
        say(&format!("broken {broken}"));
        panic!("{broken}");
    }
}

async fn work(dir: PathBuf, run: &str, pace: Duration) -> Result<(), String> {
    let orders = hear();
    let listen = std::env::var(LISTEN_VARIABLE).ok().and_then(|address| address.parse().ok());
    let listen: IpAddr = listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let builder = Node::builder(dir).listen((listen, 0)).discovery(false).backoff_ms([20, 40, 80]);
    let waits = std::env::var_os(WRITTEN_VARIABLE).is_none();
    let builder = builder.durability(if waits { Durability::Synced } else { Durability::Written });
    let node = builder.open().await.map_err(|error| format!("the node does not open: {error:?}"))?;
    let address = node.addresses().map_err(told)?.into_iter().next().ok_or("no address")?;
    say(&format!("open {address}"));
    let space = match node.spaces().into_iter().next() {
        Some(space) => space,
        None => join(&node).await?,
    };
    let content = Content::of(&space);
    while content.boards.all().await.map_err(told)?.len() < BOARDS as usize {
        node.sync_now().await.map_err(told)?;
    }

    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (content, stop, writer) = (content.clone(), Arc::clone(&stop), format!("{run}.{writer}"));
        writers.spawn(async move { write(&content, &writer, pace, &stop).await });
    }
    let looks = tokio::spawn(look(node.clone(), space.clone(), content));
    obey(orders, &node, &space, &stop, &mut writers).await?;
    looks.abort();
    if let Ok(Err(broken)) = looks.await {
        return Err(broken);
    }
    node.close().await.map_err(|error| format!("the node does not close: {error:?}"))
}

async fn join(node: &Node) -> Result<Space, String> {
    let invite = std::env::var(INVITE_VARIABLE).map_err(|_| "the space is gone")?;
    let invite = invite.parse().map_err(|error: AccessError| format!("{error:?}"))?;
    node.join(&invite).await.map_err(|error| format!("not let in: {error:?}"))
}

/// Commits without an end, and says what is acknowledged.
async fn write(content: &Content, writer: &str, pace: Duration, stop: &AtomicBool) -> Result<(), String> {
    let mut ticks = (!pace.is_zero()).then(|| tokio::time::interval(pace));
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let committed = content.commit(writer, number).await;
        committed.map_err(|error| format!("commit {number} of {writer} failed: {error:?}"))?;
        say(&format!("ack {writer} {number}"));
    }
    Ok(())
}

/// Looks for half commits among what can be read, and for what must never be in quarantine.
async fn look(node: Node, space: Space, content: Content) -> Result<(), String> {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let (mut met, mut after) = (false, None);
    loop {
        ticks.tick().await;
        after = oracle::look(&content, after).await.inspect_err(|broken| say(&format!("broken {broken}")))?;
        if after.is_none() {
            held_back(&space).await.inspect_err(|broken| say(&format!("broken {broken}")))?;
        }
        if !met && node.metrics().commits_remote > 0 {
            met = true;
            say("met");
        }
    }
}

/// Nobody here forges or writes twice under one number, so nothing is held back for that.
async fn held_back(space: &Space) -> Result<(), String> {
    let held = space.status().await.map_err(told)?.quarantined;
    let bad = held.into_iter().find(|held| held.reason != HeldReason::MissingDependency);
    bad.map_or(Ok(()), |held| Err(format!("held back: {held:?}")))
}

async fn obey(
    mut orders: mpsc::Receiver<String>,
    node: &Node,
    space: &Space,
    stop: &AtomicBool,
    writers: &mut JoinSet<Result<(), String>>,
) -> Result<(), String> {
    let mut finished = false;
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            Some(written) = writers.join_next(), if !stop.load(Ordering::Relaxed) => {
                written.map_err(|error| format!("a writer panicked: {error}"))??;
                continue;
            }
            root = root(node, space), if finished => {
                say(&format!("root {}", root?));
                say(&format!("state {:?} {:?}", node.peers(), space.status().await.map_err(told)?));
                continue;
            }
        };
        // Nobody is left to hear of this process.
        let Some(order) = order else { std::process::exit(0) };
        let words: Vec<&str> = order.split(' ').collect();
        match *words.as_slice() {
            ["peer", id, address] => {
                let id: PeerId = id.parse().map_err(|_| format!("{order:?} has no id"))?;
                node.add_peer(id, [address]).await.map_err(told)?;
            }
            ["pause"] => node.pause().await.map_err(told)?,
            ["resume"] => node.resume().await.map_err(told)?,
            ["finish"] => {
                stop.store(true, Ordering::Relaxed);
                while let Some(written) = writers.join_next().await {
                    written.map_err(|error| format!("a writer panicked: {error}"))??;
                }
                finished = true;
            }
            ["close"] => return Ok(()),
            _ => return Err(format!("{order:?} is no order")),
        }
    }
}

async fn root(node: &Node, space: &Space) -> Result<String, String> {
    node.sync_now().await.map_err(told)?;
    tokio::time::interval(LOOK_EVERY).tick().await;
    space.fingerprint().await.map_err(told)
}

fn told(error: driftless::Error) -> String {
    format!("{error:?}")
}

/// Hears orders until the one who gives them is gone.
fn hear() -> mpsc::Receiver<String> {
    let (give, orders) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if give.blocking_send(line).is_err() {
                return;
            }
        }
    });
    orders
}

/// Says a line, which leaves this process at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "{line}").and_then(|()| out.flush());
    if said.is_err() {
        std::process::exit(0);
    }
}
