//! What the benchmarks share: an entity of twelve fields, nodes that are connected, times, and tables.

#![allow(dead_code, reason = "each benchmark uses its part")]

pub(crate) mod floor;
pub(crate) mod relay;
pub(crate) mod side;
pub(crate) mod table;

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use driftless::{
    Changes, Collection, Counter, Deserialize, Entity, EntityId, Hydrate, MetricsSnapshot, Node, PeerId,
    Reconcile, Role, Serialize, Space, Update,
};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Longest time that anything here waits for: the first sync of a million entities takes minutes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3_600);

/// A repair job: twelve fields, of which the last is a counter.
#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) title: String,
    pub(crate) customer: String,
    pub(crate) phone: String,
    pub(crate) bicycle: String,
    pub(crate) status: String,
    pub(crate) fault: String,
    pub(crate) mechanic: String,
    pub(crate) due: i64,
    pub(crate) estimate: i64,
    pub(crate) priority: i64,
    pub(crate) paid: bool,
    pub(crate) minutes: Counter,
}

impl Entity for Job {
    const COLLECTION: &'static str = "jobs";
    const VERSION: u32 = 1;
}

impl Job {
    pub(crate) fn numbered(number: usize) -> Self {
        Self {
            title: format!("Repair {number}"),
            customer: format!("Customer {}", number % 997),
            phone: format!("+44 20 7946 {:04}", number % 10_000),
            bicycle: "Tourer, 56 cm, green".to_owned(),
            status: "open".to_owned(),
            fault: "The rear wheel rubs on the brake under load".to_owned(),
            mechanic: "Ana".to_owned(),
            due: 1_700_000_000 + number as i64,
            estimate: 4_500,
            priority: (number % 5) as i64,
            paid: false,
            minutes: Counter::from(0),
        }
    }
}

/// Tells whether figures are wanted: `cargo bench` says so, and `cargo test`, which runs every target, does
/// not.
pub(crate) fn measuring() -> bool {
    let asked = std::env::args().any(|argument| argument == "--bench");
    if !asked {
        table::note("skipped: `cargo bench` measures");
    }
    asked
}

/// Numbers of entities to measure at, from `DRIFTLESS_BENCH_N`, as `1000,10000`.
pub(crate) fn sizes(default: &[usize]) -> Vec<usize> {
    let asked = std::env::var("DRIFTLESS_BENCH_N").unwrap_or_default();
    let asked: Vec<usize> = asked.split(',').filter_map(|size| size.trim().parse().ok()).collect();
    if asked.is_empty() { default.to_vec() } else { asked }
}

pub(crate) fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> Outcome<T> {
    tokio::time::timeout(PATIENCE, future).await.map_err(|_| format!("{what} did not come").into())
}

/// Waits a while. Only between measurements.
pub(crate) async fn pause(ms: u64) {
    let mut ticks = tokio::time::interval(Duration::from_millis(ms));
    ticks.tick().await;
    ticks.tick().await;
}

pub(crate) async fn node(path: &Path) -> Outcome<Node> {
    Ok(Node::builder(path).listen(([127, 0, 0, 1], 0)).discovery(false).open().await?)
}

/// Two nodes that share a space and are connected.
pub(crate) struct Pair {
    pub(crate) here: Node,
    pub(crate) there: Node,
    pub(crate) space: Space,
    pub(crate) jobs: Collection<Job>,
    pub(crate) shared: Collection<Job>,
    pub(crate) ids: Vec<EntityId>,
}

impl Pair {
    /// Makes a pair with `count` jobs on both sides, in step.
    pub(crate) async fn with(dir: &Path, count: usize) -> Outcome<Self> {
        let (here, there) = (node(&dir.join("here")).await?, node(&dir.join("there")).await?);
        let space = here.create_space("Bench").await?;
        let jobs = space.collection::<Job>()?;
        let ids = fill(&jobs, count).await?;
        let invite = space.invite(Role::Writer).await?;
        let joined = soon("the join", there.join(&invite)).await??;
        let shared = joined.collection::<Job>()?;
        let pair = Self { here, there, space, jobs, shared, ids };
        pair.in_step().await?;
        Ok(pair)
    }

    /// Waits until both sides are found equal.
    pub(crate) async fn in_step(&self) -> Outcome<()> {
        let (from, to) = (self.here.peer(), self.there.peer());
        until_equal(&self.here, to, &self.space).await?;
        until_equal(&self.there, from, &self.space).await
    }

    pub(crate) async fn close(self) -> Outcome<()> {
        self.there.close().await?;
        Ok(self.here.close().await?)
    }
}

pub(crate) async fn until_equal(node: &Node, peer: PeerId, space: &Space) -> Outcome<()> {
    let id = space.id();
    let mut peers = node.watch_peers();
    soon("equality", peers.until(peer, |peer| peer.in_sync.contains(&id))).await??;
    Ok(())
}

/// How many calls are under way at once where speed alone matters.
pub(crate) const WRITERS: usize = 64;

/// Creates jobs, a commit each, many at once.
pub(crate) async fn fill(jobs: &Collection<Job>, count: usize) -> Outcome<Vec<EntityId>> {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let jobs = jobs.clone();
        tasks.spawn(async move {
            let mut ids = Vec::new();
            for number in (writer..count).step_by(WRITERS) {
                ids.push(jobs.insert(&Job::numbered(number)).await?);
            }
            Ok::<_, driftless::Error>(ids)
        });
    }
    let mut ids = Vec::with_capacity(count);
    while let Some(made) = tasks.join_next().await {
        ids.extend(made??);
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Waits until a subscription shows what is looked for.
pub(crate) async fn seen(
    changes: &mut Changes<Job>,
    found: impl Fn(EntityId, &Job) -> bool,
) -> Outcome<Instant> {
    loop {
        match soon("the change", changes.next()).await? {
            Some(Ok(Update::Changed(changed))) => {
                let mut values = changed.iter().filter_map(|one| Some((one.id, one.value.as_ref()?)));
                if values.any(|(id, value)| found(id, value)) {
                    return Ok(now());
                }
            }
            Some(Ok(Update::Snapshot(all))) => {
                if all.iter().any(|(id, value)| found(*id, value)) {
                    return Ok(now());
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err("the node was closed".into()),
        }
    }
}

/// Picks the same entities in every run.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> Outcome<T> {
        let place = self.roll(of.len());
        of.get(place).copied().ok_or_else(|| "nothing to pick from".into())
    }
}

/// Frames and their bytes that both nodes sent since two earlier looks.
pub(crate) fn sent(
    before: (MetricsSnapshot, MetricsSnapshot),
    after: (MetricsSnapshot, MetricsSnapshot),
) -> (u64, u64) {
    let frames = after.0.frames_sent - before.0.frames_sent + after.1.frames_sent - before.1.frames_sent;
    let bytes = after.0.frame_bytes_sent - before.0.frame_bytes_sent + after.1.frame_bytes_sent
        - before.1.frame_bytes_sent;
    (frames, bytes)
}

/// The most memory that this process had resident since it was last asked for, in bytes; 0 where the system
/// does
/// not tell.
pub(crate) fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok());
    // Writing 5 sets the mark back to what is resident; where that is not allowed, the peak is the
    // process's.
    let _not_everywhere = std::fs::write("/proc/self/clear_refs", "5");
    kib.unwrap_or(0) * 1_024
}
