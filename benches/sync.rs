//! Coming back: syncing for the first time, reconnecting, opening a store.
//!
//! Two nodes in two processes over loopback. `cargo bench --bench sync`;
//! `DRIFTLESS_BENCH_N=1000,10000,100000,1000000` sets the sizes.

use std::path::Path;
use std::time::Duration;

use driftless::{Collection, EntityId, Node, Role, Space};

mod support;

use support::relay::Relay;
use support::side::{Cost, Gauge, Side, is_it};
use support::table::{Table, Times, each, ms};
use support::{Job, Outcome, fill, floor, measuring, now, sizes, soon, until_equal};

/// Reconnections of one measurement.
const TIMES: usize = 20;
const MIB: u64 = 1_048_576;

fn main() -> Outcome<()> {
    if !measuring() {
        return Ok(());
    }
    let runtime = support::runtime()?;
    if is_it(&runtime)? { Ok(()) } else { runtime.block_on(run()) }
}

async fn run() -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let handshake = floor::quic_handshake(100).await?.middle();
    for size in sizes(&[1_000, 10_000]) {
        let mut two = first(&dir.path().join(size.to_string()), size).await?;
        reconnect(&mut two, size, handshake).await?;
        two.reopen(size).await?;
    }
    Ok(())
}

/// A node here and one in another process, which share a space.
struct Two {
    here: Node,
    gauge: Gauge,
    there: Side,
    space: Space,
    jobs: Collection<Job>,
    ids: Vec<EntityId>,
}

/// A fresh node joins, and gets everything.
async fn first(dir: &Path, size: usize) -> Outcome<Two> {
    let table = Table::begin("first sync of a node that joins, and reading all");
    let here = support::node(&dir.join("here")).await?;
    let mut gauge = Gauge::default();
    let space = here.create_space("Bench").await?;
    let jobs = space.collection::<Job>()?;
    let start = now();
    let ids = fill(&jobs, size).await?;
    table.row("create them, 64 at once", size, &format!("{} ms", ms(start.elapsed())), "", "");
    let mut there = Side::open(&dir.join("there")).await?;
    let invite = space.invite(Role::Writer).await?;
    gauge.read(&here);
    there.cost().await?;
    let start = now();
    there.ask(&format!("join {invite}")).await?;
    let joined = start.elapsed();
    until_equal(&here, there.peer, &space).await?;
    there.ask(&format!("equal {}", here.peer())).await?;
    let took = start.elapsed();
    let (costs, target) = (
        [gauge.read(&here), there.cost().await?],
        match size {
            1_000 => "150 ms",
            10_000 => "1,500 ms",
            _ => "",
        },
    );
    table.row("join", size, &format!("{} ms", ms(joined)), "", "");
    table.row("first sync, until found equal on disk", size, &format!("{} ms", ms(took)), "", target);
    let (frames, bytes) = sent(&costs);
    let figure = format!("{} B, {frames} frames", each(bytes, size));
    table.row("  bytes for each entity", size, &figure, "", "300 B");
    let [from, to] = costs.map(|cost| each(cost.cpu.as_micros() as u64, size));
    table.row("  processor, giver / taker, for each entity", size, &format!("{from} / {to} us"), "", "");
    let [from, to] = costs.map(|cost| cost.peak_bytes / MIB);
    table.row("  most memory resident, giver / taker", size, &format!("{from} / {to} MiB"), "", "");
    let [_, taker] = costs;
    let figure = format!("{} / {}", taker.disk_syncs, taker.loaded);
    table.row("  disk syncs, documents loaded there", size, &figure, "", "");
    let start = now();
    let all = there.ask("all").await?;
    if all != size.to_string() {
        return Err(format!("{all} of {size} entities came").into());
    }
    table.row("read all", size, &format!("{} ms", ms(start.elapsed())), "", "");
    Ok(Two { here, gauge, there, space, jobs, ids })
}

impl Two {
    /// Opens the store of here again, after both are closed.
    async fn reopen(self, size: usize) -> Outcome<()> {
        let table = Table::begin("opening");
        let (path, space) = (self.here.path().to_path_buf(), self.space.id());
        self.there.close().await?;
        self.here.close().await?;
        let start = now();
        let node = support::node(&path).await?;
        let opened = start.elapsed();
        let jobs = node.space(space)?.collection::<Job>()?;
        let all = jobs.all().await?.len();
        let target = if size == 1_000 { "15 ms" } else { "100,000 in 1 s" };
        table.row("open a store", size, &format!("{} ms", ms(opened)), "", "");
        table.row("open a store and read all", all, &format!("{} ms", ms(start.elapsed())), "", target);
        Ok(node.close().await?)
    }

    /// Waits until both sides are found equal.
    async fn in_step(&mut self) -> Outcome<()> {
        until_equal(&self.here, self.there.peer, &self.space).await?;
        self.there.ask(&format!("equal {}", self.here.peer())).await?;
        Ok(())
    }

    /// Parts the two, and waits until this side knows.
    async fn part(&mut self) -> Outcome<()> {
        self.there.ask("pause").await?;
        let mut peers = self.here.watch_peers();
        soon("the end", peers.until(self.there.peer, |peer| peer.in_sync.is_empty())).await??;
        Ok(())
    }

    /// The next entities in turn.
    fn some(&self, count: usize, next: &mut usize) -> Vec<EntityId> {
        let places = (*next..*next + count).map(|number| number * 7 % self.ids.len().max(1));
        *next += count;
        places.filter_map(|place| self.ids.get(place).copied()).collect()
    }

    /// What was edited reads the same on both sides: a figure of a sync that did not happen is worth nothing.
    async fn same(&mut self, ids: &[EntityId]) -> Outcome<()> {
        let mut here = Vec::new();
        for id in ids {
            let job = self.jobs.get(*id).await?.ok_or("an entity is not here")?;
            here.push(job.minutes.value().to_string());
        }
        let there = self.there.ask(&format!("read {}", words(ids))).await?;
        if here.join(" ") == there { Ok(()) } else { Err("found equal, and not the same".into()) }
    }
}

fn words(ids: &[EntityId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn sent(costs: &[Cost; 2]) -> (u64, u64) {
    (costs.iter().map(|cost| cost.frames).sum(), costs.iter().map(|cost| cost.frame_bytes).sum())
}

/// Two nodes that know each other meet again.
async fn reconnect(two: &mut Two, size: usize, handshake: Duration) -> Outcome<()> {
    let table = Table::begin("reconnect, until both are found equal (p50 / longest of 20)");
    let address = two.here.addresses()?.first().copied().ok_or("no address")?;
    let relay = Relay::to(address).await?;
    two.part().await?;
    two.there.ask(&format!("reach {} {}", two.here.peer(), relay.address)).await?;
    two.there.ask("resume").await?;
    two.in_step().await?;
    let floor = format!("{} ms handshake", ms(handshake));

    let mut next = 0;
    let unchanged = again(two, &relay, 0, &mut next).await?;
    unchanged.show(&table, "nothing changed", size, &floor, ("5 ms", "200 B"));
    let changed = again(two, &relay, 10, &mut next).await?;
    changed.show(&table, "10 edited on each side", size, &floor, ("", "the changes + 1 KB"));
    Ok(())
}

/// What reconnections cost.
#[derive(Default)]
struct Costs {
    times: Times,
    frames: u64,
    bytes: u64,
    datagrams: u64,
    passed: u64,
    loaded: u64,
    cpu: [Duration; 2],
    peak_bytes: [u64; 2],
}

impl Costs {
    fn show(&self, table: &Table, work: &str, size: usize, floor: &str, (time, bytes): (&str, &str)) {
        let count = self.times.len();
        table.times(work, size, &self.times, floor, time);
        let figure = format!("{} B, {} frames", each(self.bytes, count), each(self.frames, count));
        table.row("  frames, both directions", size, &figure, "", bytes);
        let figure = format!("{} B, {} datagrams", each(self.passed, count), each(self.datagrams, count));
        table.row("  with handshake, QUIC, UDP and IP", size, &figure, "", "");
        table.row("  documents loaded, both", size, &each(self.loaded, count), "", "0");
        let [here, there] = self.cpu.map(|cpu| each(cpu.as_micros() as u64, count));
        table.row("  processor, acceptor / dialler", size, &format!("{here} / {there} us"), "", "");
        let [here, there] = self.peak_bytes.map(|bytes| bytes / MIB);
        table.row("  most memory resident", size, &format!("{here} / {there} MiB"), "", "");
    }
}

async fn again(two: &mut Two, relay: &Relay, edits: usize, next: &mut usize) -> Outcome<Costs> {
    let mut costs = Costs::default();
    for round in 1..=TIMES {
        two.part().await?;
        let (ours, theirs) = (two.some(edits, next), two.some(edits, next));
        for id in &ours {
            two.jobs.update(*id, move |job| job.minutes.increment(round as i64)).await?;
        }
        two.there.ask(&format!("edit {round} {}", words(&theirs))).await?;
        two.gauge.read(&two.here);
        two.there.cost().await?;
        let passed = relay.passed();
        let start = now();
        two.there.ask("resume").await?;
        two.in_step().await?;
        costs.times.add(start.elapsed());
        let both = [two.gauge.read(&two.here), two.there.cost().await?];
        let (frames, bytes) = sent(&both);
        costs.frames += frames;
        costs.bytes += bytes;
        costs.datagrams += relay.passed().0 - passed.0;
        costs.passed += relay.passed().1 - passed.1;
        costs.loaded += both.iter().map(|cost| cost.loaded).sum::<u64>();
        for (sum, cost) in costs.cpu.iter_mut().zip(&both) {
            *sum += cost.cpu;
        }
        for (peak, cost) in costs.peak_bytes.iter_mut().zip(&both) {
            *peak = cost.peak_bytes.max(*peak);
        }
        let edited: Vec<EntityId> = ours.into_iter().chain(theirs).collect();
        two.same(&edited).await?;
    }
    Ok(costs)
}
