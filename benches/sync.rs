//! Coming back: reconnecting, syncing for the first time, opening a store.
//!
//! Two nodes in one process over loopback. `cargo bench --bench sync`; `DRIFTLESS_BENCH_N=100000` sets the
//! sizes.

use std::path::Path;
use std::time::Duration;

use driftless::{EntityId, Node, Role};

mod support;

use support::relay::Relay;
use support::table::{Table, Times, each, ms};
use support::{
    Job, Outcome, Pair, fill, floor, measuring, now, peak_resident_bytes, sent, sizes, soon, until_equal,
};

/// Reconnections of one measurement.
const TIMES: usize = 20;

fn main() -> Outcome<()> {
    if !measuring() {
        return Ok(());
    }
    support::runtime()?.block_on(run())
}

async fn run() -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let handshake = floor::quic_handshake(100).await?.middle();
    for size in sizes(&[1_000, 10_000]) {
        first(&dir.path().join(format!("first-{size}")), size).await?;
        reconnect(&dir.path().join(format!("again-{size}")), size, handshake).await?;
    }
    Ok(())
}

/// A fresh node joins, and gets everything.
async fn first(dir: &Path, size: usize) -> Outcome<()> {
    let table = Table::begin("first sync of a node that joins, and reading all");
    let here = support::node(&dir.join("here")).await?;
    let space = here.create_space("Bench").await?;
    let start = now();
    fill(&space.collection::<Job>()?, size).await?;
    table.row("create them, 64 at once", size, &format!("{} ms", ms(start.elapsed())), "", "");
    let there = support::node(&dir.join("there")).await?;
    let invite = space.invite(Role::Writer).await?;
    let before = (here.metrics(), there.metrics());
    let _earlier = peak_resident_bytes();
    let start = now();
    let joined = soon("the join", there.join(&invite)).await??;
    let synced = start.elapsed();
    let jobs = joined.collection::<Job>()?;
    // The first use of the type: from here on rows are made as their entities come.
    jobs.page(None, 1).await?;
    until_equal(&there, here.peer(), &space).await?;
    let took = start.elapsed();
    let peak = peak_resident_bytes();
    let after = (here.metrics(), there.metrics());
    let (frames, bytes) = sent(before, after);
    let target = match size {
        1_000 => "150 ms",
        10_000 => "1,500 ms",
        _ => "",
    };
    table.row("join", size, &format!("{} ms", ms(synced)), "", "");
    table.row("first sync, until found equal on disk", size, &format!("{} ms", ms(took)), "", target);
    let figure = format!("{} B, {frames} frames", each(bytes, size));
    table.row("  bytes for each entity", size, &figure, "", "300 B");
    let figure = format!("{} / {}", after.1.disk_syncs - before.1.disk_syncs, after.1.documents_loaded);
    table.row("  disk syncs, documents loaded there", size, &figure, "", "");
    let figure = format!("{} MiB", peak / 1_048_576);
    table.row("  most memory resident, both nodes", size, &figure, "", "");
    let start = now();
    let all = jobs.all().await?.len();
    if all != size {
        return Err(format!("{all} of {size} entities came").into());
    }
    table.row("read all", size, &format!("{} ms", ms(start.elapsed())), "", "");
    there.close().await?;
    let start = now();
    let there = Node::builder(dir.join("there")).listen(([127, 0, 0, 1], 0)).discovery(false).open().await?;
    let opened = start.elapsed();
    let jobs = there.space(space.id())?.collection::<Job>()?;
    let all = jobs.all().await?.len();
    let target = if size == 1_000 { "15 ms" } else { "100,000 in 1 s" };
    table.row("open a store", size, &format!("{} ms", ms(opened)), "", "");
    table.row("open a store and read all", all, &format!("{} ms", ms(start.elapsed())), "", target);
    there.close().await?;
    Ok(here.close().await?)
}

/// Two nodes that know each other meet again.
async fn reconnect(dir: &Path, size: usize, handshake: Duration) -> Outcome<()> {
    let table = Table::begin("reconnect, until both are found equal (p50 / longest of 20)");
    let pair = Pair::with(dir, size).await?;
    let address = pair.here.addresses()?.first().copied().ok_or("no address")?;
    let relay = Relay::to(address).await?;
    pair.there.pause().await?;
    pair.there.add_peer(pair.here.peer(), [relay.address]).await?;
    apart(&pair).await?;
    pair.there.resume().await?;
    pair.in_step().await?;
    let floor = format!("{} ms handshake", ms(handshake));

    let unchanged = again(&pair, &relay, TIMES, 0).await?;
    unchanged.show(&table, "nothing changed", size, &floor, ("5 ms", "200 B"));
    let changed = again(&pair, &relay, TIMES, 10).await?;
    changed.show(&table, "10 edited on each side", size, &floor, ("", "the changes + 1 KB"));
    pair.close().await
}

/// What reconnections cost.
#[derive(Default)]
struct Cost {
    times: Times,
    frames: u64,
    bytes: u64,
    datagrams: u64,
    passed: u64,
    loaded: u64,
}

impl Cost {
    fn show(&self, table: &Table, work: &str, size: usize, floor: &str, (time, bytes): (&str, &str)) {
        let count = self.times.len();
        table.times(work, size, &self.times, floor, time);
        let figure = format!("{} B, {} frames", each(self.bytes, count), each(self.frames, count));
        table.row("  frames, both directions", size, &figure, "", bytes);
        let figure = format!("{} B, {} datagrams", each(self.passed, count), each(self.datagrams, count));
        table.row("  with handshake, QUIC, UDP and IP", size, &figure, "", "");
        table.row("  documents loaded, both", size, &each(self.loaded, count), "", "0");
    }
}

async fn again(pair: &Pair, relay: &Relay, times: usize, edits: usize) -> Outcome<Cost> {
    let mut cost = Cost::default();
    let mut next = 0;
    for round in 0..times {
        pair.there.pause().await?;
        apart(pair).await?;
        let mut edited = Vec::new();
        for number in 0..edits * 2 {
            let place = (next * 7) % pair.ids.len().max(1);
            next += 1;
            let id = pair.ids.get(place).copied().ok_or("no entity")?;
            let jobs = if number % 2 == 0 { &pair.jobs } else { &pair.shared };
            jobs.update(id, move |job| job.minutes.increment(1 + round as i64)).await?;
            edited.push(id);
        }
        let before = (pair.here.metrics(), pair.there.metrics());
        let passed = relay.passed();
        let start = now();
        pair.there.resume().await?;
        pair.in_step().await?;
        cost.times.add(start.elapsed());
        let after = (pair.here.metrics(), pair.there.metrics());
        let (frames, bytes) = sent(before, after);
        cost.frames += frames;
        cost.bytes += bytes;
        cost.loaded += after.0.documents_loaded - before.0.documents_loaded;
        cost.loaded += after.1.documents_loaded - before.1.documents_loaded;
        cost.datagrams += relay.passed().0 - passed.0;
        cost.passed += relay.passed().1 - passed.1;
        same(pair, &edited).await?;
    }
    Ok(cost)
}

/// Waits until neither side counts the other as in step.
async fn apart(pair: &Pair) -> Outcome<()> {
    for (node, peer) in [(&pair.here, pair.there.peer()), (&pair.there, pair.here.peer())] {
        let mut peers = node.watch_peers();
        soon("the end", peers.until(peer, |peer| peer.in_sync.is_empty())).await??;
    }
    Ok(())
}

/// What was edited reads the same on both sides: a figure of a sync that did not happen is worth nothing.
async fn same(pair: &Pair, ids: &[EntityId]) -> Outcome<()> {
    for id in ids {
        if pair.jobs.get(*id).await? != pair.shared.get(*id).await? {
            return Err("the two sides were found equal and are not".into());
        }
    }
    Ok(())
}
