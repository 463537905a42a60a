//! The other side of a benchmark, in a process of its own: what each side costs is not mixed up.
//!
//! ```text
//! asked by a line        answered by a line
//! open DIR               PEER
//! join INVITE            ok
//! equal PEER             ok                 when both are found equal
//! reach PEER ADDRESS     ok
//! pause, resume          ok
//! edit ROUND ID ...      ok                 one commit for each
//! read ID ...            MINUTES ...
//! all                    HOW_MANY
//! cost                   CPU_US PEAK_BYTES FRAMES FRAME_BYTES DISK_SYNCS LOADED      since it was last asked
//! close                  ok
//! ```

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use driftless::{Collection, EntityId, Invite, Node, PeerId, Space};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::Runtime;

use super::{Job, Outcome, node, peak_resident_bytes, soon, until_equal};

/// Says that this process is the other side.
const ASKED: &str = "DRIFTLESS_BENCH_SIDE";

/// What one side did since it was last looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) cpu: Duration,
    pub(crate) peak_bytes: u64,
    pub(crate) frames: u64,
    pub(crate) frame_bytes: u64,
    pub(crate) disk_syncs: u64,
    pub(crate) loaded: u64,
}

/// Reads what a node and its process have done.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    last: Cost,
}

impl Gauge {
    pub(crate) fn read(&mut self, node: &Node) -> Cost {
        let metrics = node.metrics();
        let now = Cost {
            cpu: cpu(),
            peak_bytes: peak_resident_bytes(),
            frames: metrics.frames_sent,
            frame_bytes: metrics.frame_bytes_sent,
            disk_syncs: metrics.disk_syncs,
            loaded: metrics.documents_loaded,
        };
        let last = std::mem::replace(&mut self.last, now);
        Cost {
            cpu: now.cpu.saturating_sub(last.cpu),
            peak_bytes: now.peak_bytes,
            frames: now.frames - last.frames,
            frame_bytes: now.frame_bytes - last.frame_bytes,
            disk_syncs: now.disk_syncs - last.disk_syncs,
            loaded: now.loaded - last.loaded,
        }
    }
}

/// The processor time of all threads of this process that live; zero where the system does not tell.
fn cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = threads.filter_map(|thread| {
        let told = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        told.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

/// The other side, as the benchmark sees it.
#[derive(Debug)]
pub(crate) struct Side {
    child: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pub(crate) peer: PeerId,
}

impl Side {
    /// Starts it, with a node over a directory.
    pub(crate) async fn open(dir: &std::path::Path) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("--bench")
            .env(ASKED, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let (Some(asks), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes to the other side".into());
        };
        let answers = BufReader::new(answers).lines();
        let mut side = Self { child, asks, answers, peer: PeerId::new([0; 32]) };
        side.peer = side.ask(&format!("open {}", dir.display())).await?.parse()?;
        Ok(side)
    }

    pub(crate) async fn ask(&mut self, line: &str) -> Outcome<String> {
        self.asks.write_all(format!("{line}\n").as_bytes()).await?;
        self.asks.flush().await?;
        match soon("an answer of the other side", self.answers.next_line()).await?? {
            Some(answer) => Ok(answer),
            None => Err("the other side ended".into()),
        }
    }

    pub(crate) async fn cost(&mut self) -> Outcome<Cost> {
        let told = self.ask("cost").await?;
        let numbers: Vec<u64> = told.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [cpu, peak_bytes, frames, frame_bytes, disk_syncs, loaded] =
            numbers.try_into().map_err(|_| "six numbers were expected")?;
        Ok(Cost { cpu: Duration::from_micros(cpu), peak_bytes, frames, frame_bytes, disk_syncs, loaded })
    }

    pub(crate) async fn close(mut self) -> Outcome<()> {
        self.ask("close").await?;
        soon("the end of the other side", self.child.wait()).await??;
        Ok(())
    }
}

/// Tells whether this process is the other side; then it does what it is told until it is told to close.
pub(crate) fn is_it(runtime: &Runtime) -> Outcome<bool> {
    if std::env::var_os(ASKED).is_none() {
        return Ok(false);
    }
    let mut answers = std::io::stdout();
    let mut here = None;
    for ask in std::io::stdin().lines() {
        let ask = ask?;
        let (what, rest) = ask.split_once(' ').unwrap_or((&ask, ""));
        let answer = match (what, &mut here) {
            ("open", none) => {
                let opened = runtime.block_on(node(rest.as_ref()))?;
                let peer = opened.peer();
                *none = Some(Here { node: opened, jobs: None, gauge: Gauge::default() });
                peer.to_string()
            }
            (_, Some(here)) => runtime.block_on(here.does(what, rest))?,
            (_, None) => return Err("nothing is open".into()),
        };
        writeln!(answers, "{answer}")?;
        answers.flush()?;
        if what == "close" {
            break;
        }
    }
    Ok(true)
}

struct Here {
    node: Node,
    jobs: Option<(Space, Collection<Job>)>,
    gauge: Gauge,
}

impl Here {
    async fn does(&mut self, what: &str, rest: &str) -> Outcome<String> {
        let mut words = rest.split_whitespace();
        let mut word = || words.next().ok_or("a word is missing");
        match what {
            "join" => {
                let invite: Invite = rest.parse()?;
                let space = soon("the join", self.node.join(&invite)).await??;
                let jobs = space.collection::<Job>()?;
                // The first use of the type: from here on rows are made as their entities come.
                jobs.page(None, 1).await?;
                self.jobs = Some((space, jobs));
            }
            "equal" => {
                let peer: PeerId = rest.parse()?;
                until_equal(&self.node, peer, self.space()?).await?;
            }
            "reach" => self.node.add_peer(word()?.parse()?, [word()?.to_owned()]).await?,
            "pause" => self.node.pause().await?,
            "resume" => self.node.resume().await?,
            "edit" => {
                let round: i64 = word()?.parse()?;
                for id in words {
                    let id: EntityId = id.parse()?;
                    self.jobs()?.update(id, move |job| job.minutes.increment(round)).await?;
                }
            }
            "read" => {
                let mut all = Vec::new();
                for id in words {
                    let job = self.jobs()?.get(id.parse()?).await?.ok_or("an entity is not there")?;
                    all.push(job.minutes.value().to_string());
                }
                return Ok(all.join(" "));
            }
            "all" => return Ok(self.jobs()?.all().await?.len().to_string()),
            "cost" => {
                let Cost { cpu, peak_bytes, frames, frame_bytes, disk_syncs, loaded } =
                    self.gauge.read(&self.node);
                let cpu = cpu.as_micros();
                return Ok(format!("{cpu} {peak_bytes} {frames} {frame_bytes} {disk_syncs} {loaded}"));
            }
            "close" => self.node.close().await?,
            other => return Err(format!("nobody knows how to {other}").into()),
        }
        Ok("ok".to_owned())
    }

    fn space(&self) -> Outcome<&Space> {
        Ok(&self.jobs.as_ref().ok_or("nothing was joined")?.0)
    }

    fn jobs(&self) -> Outcome<&Collection<Job>> {
        Ok(&self.jobs.as_ref().ok_or("nothing was joined")?.1)
    }
}
