//! The main job: an edit here is on the screen there.
//!
//! Two nodes in one process over loopback, each with a store of its own, and beside each figure what its
//! parts
//! cost by themselves in the same run. `cargo bench --bench main_job`; `DRIFTLESS_BENCH_N=1000` sets the
//! sizes.

use std::path::Path;
use std::time::Duration;

use driftless::{Changes, Durability, EntityId, Node, Update};

mod support;

use support::relay::Relay;
use support::table::{Table, Times, each, ms, note};
use support::{
    Dice, Job, Outcome, PATIENCE, Pair, WRITERS, fill, floor, measuring, now, pause, seen, sent, sizes, soon,
};

/// Edits of one measurement.
const EDITS: usize = 300;
/// Between two edits of a person, generously.
const PACE_MS: u64 = 8;
/// Edits of the flood.
const FLOOD: usize = 10_000;
/// Entities that the flood goes over.
const FLOOD_ENTITIES: usize = 1_000;

fn main() -> Outcome<()> {
    if !measuring() {
        return Ok(());
    }
    support::runtime()?.block_on(run())
}

async fn run() -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let floors = Floors::measure(dir.path()).await?;
    for size in sizes(&[10, 1_000, 10_000]) {
        live(&dir.path().join(format!("live-{size}")), size, &floors).await?;
    }
    local(&dir.path().join("local"), &floors).await?;
    wire(&dir.path().join("wire")).await?;
    flood(&dir.path().join("flood")).await
}

/// What the parts cost, in this run.
struct Floors {
    one_way: Duration,
    commit: Duration,
    apply: Duration,
    over: Duration,
    behind: Duration,
}

impl Floors {
    async fn measure(dir: &Path) -> Outcome<Self> {
        let echo = floor::quic_echo(300, 3_000).await?;
        let (commit, apply) = floor::automerge_edit(1_000)?;
        let (over, behind) = floor::disk_syncs(dir, 300)?;
        let table = Table::begin("floors (p50 / p99)");
        table.times("QUIC echo of 300 B, there and back", echo.len(), &echo, "", "");
        table.times("automerge: edit a field, encode the change", commit.len(), &commit, "", "");
        table.times("automerge: decode the change, apply it", apply.len(), &apply, "", "");
        table.times("write 4 KiB in place, fdatasync", over.len(), &over, "", "");
        table.times("write 4 KiB at the end, fdatasync", behind.len(), &behind, "", "");
        Ok(Self {
            one_way: echo.middle() / 2,
            commit: commit.middle(),
            apply: apply.middle(),
            over: over.middle(),
            behind: behind.middle(),
        })
    }

    /// One edit and its way, without store, signature and gate.
    fn edit(&self) -> String {
        format!("{} ms", ms(floor::sum(&[self.commit, self.one_way, self.apply])))
    }
}

/// Edits and creations until they are seen on the other side.
async fn live(dir: &Path, size: usize, floors: &Floors) -> Outcome<()> {
    let table = Table::begin("live, until seen on the other node (p50 / p99)");
    let pair = Pair::with(dir, size).await?;
    let mut changes = pair.shared.changes().await?;
    drain(&mut changes).await?;
    let mut dice = Dice::new();
    let target = "0.2 / 1 ms";

    let id = dice.pick(&pair.ids)?;
    let (paced, _) = edits(&pair, &mut changes, 0, |_| Ok(id), PACE_MS).await?;
    table.times("edit one entity again and again, at leisure", size, &paced, &floors.edit(), target);
    let (paced, _) = edits(&pair, &mut changes, 1, |_| dice.pick(&pair.ids), PACE_MS).await?;
    table.times("edit any entity, at leisure", size, &paced, &floors.edit(), target);
    let (hurried, durable) = edits(&pair, &mut changes, 2, |_| dice.pick(&pair.ids), 0).await?;
    table.times("edit any entity, as soon as the last is synced", size, &hurried, &floors.edit(), target);
    let floor = format!("{} ms", ms(floors.behind));
    table.times("  until synced on this node", size, &durable, &floor, "2 disk syncs");
    let made = creations(&pair, &mut changes).await?;
    table.times("create an entity, at leisure", size, &made, &floors.edit(), "0.4 ms");

    let mut gets = Times::default();
    for _ in 0..2_000 {
        let id = dice.pick(&pair.ids)?;
        let start = now();
        let job = pair.jobs.get(id).await?;
        gets.add(start.elapsed());
        if job.is_none() {
            return Err("an entity is gone".into());
        }
    }
    table.times("get any entity", size, &gets, "", "0.010 ms");
    pair.close().await
}

/// Takes what a subscription begins with.
async fn drain(changes: &mut Changes<Job>) -> Outcome<()> {
    match soon("the snapshot", changes.next()).await? {
        Some(Ok(Update::Snapshot(_))) => Ok(()),
        other => Err(format!("a snapshot comes first, not {}", other.is_some()).into()),
    }
}

/// Edits entities one after the other; returns how long each took to be seen there, and to be synced here.
async fn edits(
    pair: &Pair,
    changes: &mut Changes<Job>,
    round: i64,
    mut pick: impl FnMut(usize) -> Outcome<EntityId>,
    pace_ms: u64,
) -> Outcome<(Times, Times)> {
    let (mut shown, mut durable) = (Times::default(), Times::default());
    for number in 0..EDITS {
        if pace_ms > 0 {
            pause(pace_ms).await;
        }
        let id = pick(number)?;
        let estimate = round * 1_000_000 + number as i64;
        let jobs = pair.jobs.clone();
        let start = now();
        let edit =
            tokio::spawn(
                async move { jobs.update(id, move |job| job.estimate = estimate).await.map(|_| now()) },
            );
        let at = seen(changes, |seen, job| seen == id && job.estimate == estimate).await?;
        shown.add(at.duration_since(start));
        durable.add(soon("the sync", edit).await???.duration_since(start));
    }
    Ok((shown, durable))
}

async fn creations(pair: &Pair, changes: &mut Changes<Job>) -> Outcome<Times> {
    let mut times = Times::default();
    for number in 0..EDITS {
        pause(PACE_MS).await;
        let id = EntityId::from_key("bench", &number.to_le_bytes());
        let jobs = pair.jobs.clone();
        let start = now();
        let made = tokio::spawn(async move { jobs.insert_with_id(id, &Job::numbered(number)).await });
        times.add(seen(changes, |seen, _| seen == id).await?.duration_since(start));
        soon("the sync", made).await???;
    }
    Ok(times)
}

/// Commits without a peer.
async fn local(dir: &Path, floors: &Floors) -> Outcome<()> {
    let table = Table::begin("commits on one node without peers (p50 / p99)");
    let builder = Node::builder(dir.join("written")).listen(([127, 0, 0, 1], 0)).discovery(false);
    let written = builder.durability(Durability::Written).open().await?;
    let jobs = written.create_space("Bench").await?.collection::<Job>()?;
    let ids = fill(&jobs, 1_000).await?;
    let mut dice = Dice::new();
    let mut times = Times::default();
    for number in 0..EDITS {
        pause(PACE_MS).await;
        let (id, start) = (dice.pick(&ids)?, now());
        jobs.update(id, move |job| job.estimate = number as i64).await?;
        times.add(start.elapsed());
    }
    table.times("edit any entity, until written", 1_000, &times, &format!("{} ms", ms(floors.commit)), "");
    written.close().await?;

    let synced = support::node(&dir.join("synced")).await?;
    let jobs = synced.create_space("Bench").await?.collection::<Job>()?;
    let ids = fill(&jobs, 1_000).await?;
    let before = synced.metrics();
    let mut times = Times::default();
    for number in 0..EDITS {
        let (id, start) = (dice.pick(&ids)?, now());
        jobs.update(id, move |job| job.estimate = number as i64).await?;
        times.add(start.elapsed());
    }
    let syncs = synced.metrics().disk_syncs - before.disk_syncs;
    let floor = format!("{} / {} ms", ms(floors.over), ms(floors.behind));
    table.times("edit any entity, until synced, one at a time", 1_000, &times, &floor, "2 disk syncs");
    table.row("  disk syncs for each", 1_000, &each(syncs, EDITS), "1.0", "");

    let writers = 32;
    let before = synced.metrics();
    let start = now();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let (jobs, ids) = (jobs.clone(), ids.clone());
        tasks.spawn(async move {
            for (number, id) in ids.into_iter().skip(writer).step_by(writers).take(30).enumerate() {
                jobs.update(id, move |job| job.priority = 100 + number as i64).await?;
            }
            Ok::<_, driftless::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let (took, after) = (start.elapsed(), synced.metrics());
    let (commits, syncs) = (after.commits_local - before.commits_local, after.disk_syncs - before.disk_syncs);
    let apart = format!("{} ms", ms(took / commits.max(1) as u32));
    table.row("edit any entity, until synced, 32 writers, each", 1_000, &apart, &floor, "");
    let group = format!("{commits} / {syncs} = {}", each(commits, syncs as usize));
    table.row("  commits for each disk sync", 1_000, &group, "32", "10");
    synced.close().await?;
    Ok(())
}

/// What a live edit and a creation cost on the wire, with everything that they cause.
async fn wire(dir: &Path) -> Outcome<()> {
    let table = Table::begin("bytes, both directions, with all acknowledgements");
    let pair = Pair::with(dir, 1_000).await?;
    let address = pair.here.addresses()?.first().copied().ok_or("no address")?;
    let relay = Relay::to(address).await?;
    pair.there.pause().await?;
    pair.there.add_peer(pair.here.peer(), [relay.address]).await?;
    let mut peers = pair.there.watch_peers();
    let here = pair.here.peer();
    soon("the end", peers.until(here, |peer| peer.in_sync.is_empty())).await??;
    pair.there.resume().await?;
    pair.in_step().await?;
    let mut changes = pair.shared.changes().await?;
    drain(&mut changes).await?;
    let mut dice = Dice::new();

    for (work, pace_ms, target) in [
        ("edit any entity, 8 ms apart", PACE_MS, "350 B, 1 frame"),
        ("edit any entity, 100 ms apart", 100, "350 B, 1 frame"),
    ] {
        pair.in_step().await?;
        let (frames, datagrams) = ((pair.here.metrics(), pair.there.metrics()), relay.passed());
        let count = EDITS;
        let round = pace_ms as i64;
        edits(&pair, &mut changes, 10 + round, |_| dice.pick(&pair.ids), pace_ms).await?;
        let after = (pair.here.metrics(), pair.there.metrics());
        let live = after.0.commits_sent_live - frames.0.commits_sent_live;
        let (sent, bytes) = sent(frames, after);
        let (packets, all) = (relay.passed().0 - datagrams.0, relay.passed().1 - datagrams.1);
        let figure = format!("{} B, {} frames", each(bytes, count), each(sent, count));
        table.row(work, count, &figure, "", target);
        let figure = format!("{} B, {} datagrams", each(all, count), each(packets, count));
        table.row("  with QUIC, UDP and IP", count, &figure, "", "");
        table.row("  frames with a live commit", count, &each(live, count), "", "1");
    }
    pair.in_step().await?;
    let (frames, datagrams) = ((pair.here.metrics(), pair.there.metrics()), relay.passed());
    creations(&pair, &mut changes).await?;
    let (sent, bytes) = sent(frames, (pair.here.metrics(), pair.there.metrics()));
    let (packets, all) = (relay.passed().0 - datagrams.0, relay.passed().1 - datagrams.1);
    let figure = format!("{} B, {} frames", each(bytes, EDITS), each(sent, EDITS));
    table.row("create an entity, 8 ms apart", EDITS, &figure, "", "700 B");
    let figure = format!("{} B, {} datagrams", each(all, EDITS), each(packets, EDITS));
    table.row("  with QUIC, UDP and IP", EDITS, &figure, "", "");
    pair.close().await
}

/// As many edits as fast as possible, until the other side has the last of each entity.
async fn flood(dir: &Path) -> Outcome<()> {
    let table = Table::begin("10,000 edits of 1,000 entities as fast as possible, until all are seen");
    let pair = Pair::with(dir, FLOOD_ENTITIES).await?;
    let before = (pair.here.metrics(), pair.there.metrics());
    let start = now();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (jobs, ids) = (pair.jobs.clone(), pair.ids.clone());
        tasks.spawn(async move {
            for number in (writer..FLOOD).step_by(WRITERS) {
                let Some(id) = ids.get(number % FLOOD_ENTITIES).copied() else { continue };
                jobs.update(id, |job| job.minutes.increment(1)).await?;
            }
            Ok::<_, driftless::Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let here = start.elapsed();
    let expected = (FLOOD / FLOOD_ENTITIES) as i64;
    let caught_up = async {
        loop {
            let all = pair.shared.all().await?;
            if all.iter().all(|(_, job)| job.minutes.value() == expected) {
                return Ok::<_, driftless::Error>(start.elapsed());
            }
            pause(2).await;
        }
    };
    let there = tokio::time::timeout(PATIENCE, caught_up).await.map_err(|_| "the edits did not come")??;
    let after = (pair.here.metrics(), pair.there.metrics());
    let (frames, bytes) = sent(before, after);
    table.row("until synced here", FLOOD, &format!("{} ms", ms(here)), "", "");
    table.row("until seen there", FLOOD, &format!("{} ms", ms(there)), "", "500 ms");
    table.row("bytes of frames for each edit", FLOOD, &each(bytes, FLOOD), "", "100");
    table.row("frames for each edit", FLOOD, &each(frames, FLOOD), "", "");
    let applies = after.1.document_applies - before.1.document_applies;
    table.row("merges there for each edit", FLOOD, &each(applies, FLOOD), "", "");
    let syncs = (after.0.disk_syncs - before.0.disk_syncs, after.1.disk_syncs - before.1.disk_syncs);
    table.row("disk syncs here, there", FLOOD, &format!("{} / {}", syncs.0, syncs.1), "", "");
    note(&format!("{} edits a second", (FLOOD as f64 / there.as_secs_f64()) as u64));
    pair.close().await
}
