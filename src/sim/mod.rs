//! The deterministic simulator: your app on several devices, in all the trouble that devices meet, from one seed.
//!
//! A run has a few devices, each with the real engine and the real database over a disk in memory, and a network
//! between them. One seed decides everything: what the app does, when connections are lost, when the power goes
//! and how much of the unsynced data survives it, what the clocks say. The same seed gives the same run, byte for
//! byte. An oracle watches every step, and looks at everything again when the trouble is over.
//!
//! # What is simulated
//!
//! * **Network**: delay, loss of a connection, reordering between streams, attempts that arrive twice, partitions,
//!   one-way cuts, slow links, changes of address.
//! * **Disk**: a loss of power between writes or at any write, with the unsynced tail lost wholly or in part; full,
//!   failing, slow and damaged disks.
//! * **Device**: killed and closed processes, sleep, clocks anywhere from 1970 to 2100, stores that go back to an
//!   older copy, stores that are copied and run twice, devices that join late, several devices of one member.
//! * **Malice**, when the options say so: members that forge, replay, write what they may not, ask for what they may
//!   not read, write as of before their removal, flood, fill what has a limit, send garbage, keep back what they
//!   should pass on, and lie about what they hold, in any network in which the honest ones can reach each other.
//! * **Members**: several spaces, members and devices that are removed, roles that change.
//!
//! # What is not
//!
//! Threads, sockets, and the engine below the disk's batches. Those have tests of their own.
//!
//! # Your own app
//!
//! Implement [`Workload`] with your entities and what your users do, and give it to [`run`] or [`run_seeds`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use driftless::doc::{Entity, Hydrate, Kind, KindOf, Reconcile};
//! use driftless::sim::{self, Device, Dice, Options, Settled, Tx, Unreadable, Workload};
//! use driftless::EntityId;
//!
//! #[derive(Clone, Debug, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
//! struct Task {
//!     title: String,
//!     done: bool,
//! }
//!
//! impl Entity for Task {
//!     const COLLECTION: &'static str = "tasks";
//!     const VERSION: u32 = 1;
//! }
//!
//! #[derive(Debug, Default)]
//! struct Tasks {
//!     added: Vec<(u64, EntityId)>,
//! }
//!
//! impl Workload for Tasks {
//!     fn kinds(&self) -> Vec<Arc<dyn Kind>> {
//!         vec![Arc::new(KindOf::<Task>::new().expect("a valid name"))]
//!     }
//!
//!     fn act(&mut self, device: &Device<'_>, step: u64, dice: &mut Dice) -> Result<Tx, Unreadable> {
//!         let tasks = device.rows::<Task>()?;
//!         if let Some((id, _)) = dice.pick(&tasks)
//!             && dice.chance(50)
//!         {
//!             return Ok(Tx::new().update(*id, |task: &mut Task| task.done = true));
//!         }
//!         let id = EntityId::new(dice.bytes());
//!         self.added.push((step, id));
//!         Ok(Tx::new().insert(id, Task { title: format!("task {step}"), done: false }))
//!     }
//!
//!     fn check(&self, device: &Device<'_>, settled: &Settled) -> Result<(), String> {
//!         for (step, id) in self.added.iter().filter(|(step, _)| settled.survived(*step)) {
//!             if device.get::<Task>(id).map_err(|error| error.to_string())?.is_none() {
//!                 return Err(format!("the task of step {step} is gone"));
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let options = Options { commits: 10, faults: 3, duration_ms: 20_000, ..Options::default() };
//! let outcome = sim::run(7, &options, Box::new(Tasks::default()));
//! assert_eq!(outcome.violations, []);
//! ```
//!
//! When a seed fails, [`run_seeds`] gives the smallest timeline that still fails, and the options that replay it.
//! The program runs the workload that comes with the simulator, [`Notes`]:
//!
//! ```text
//! cargo run --release --features sim,cli -- sim --seed 7
//! cargo run --release --features sim,cli -- sim --seeds 0..1000 --seconds 60
//! ```

use std::collections::BTreeSet;

mod canary;
mod device;
mod dice;
mod fault;
#[cfg(any(test, feature = "fuzzing"))]
mod heard;
mod limit;
#[cfg(test)]
mod long;
mod malice;
#[cfg(test)]
mod mesh;
mod network;
mod node;
mod oracle;
#[cfg(test)]
mod pair;
mod plan;
mod report;
mod trace;
mod violation;
mod workload;
mod world;

pub use canary::Canary;
pub use device::{Device, Tx, Unreadable};
pub use dice::Dice;
pub use fault::{Fault, FaultCounts};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use heard::heard;
pub use limit::{Limit, LimitCounts};
pub use report::{Failure, Outcome, Report, Stats, run_seeds, run_seeds_on, shrink};
pub use violation::{Rule, Violation};
pub use workload::{Line, Note, Notes, Settled, Workload};

use plan::{Act, Step};

/// Settings of a run.
///
/// # Example
///
/// ```
/// use driftless::sim::{self, Notes, Options};
///
/// let options = Options { commits: 4, faults: 1, duration_ms: 5_000, ..Options::default() };
/// let outcome = sim::run(7, &options, Box::new(Notes::new()));
/// assert_eq!(outcome.violations, []);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The fewest and the most devices; a seed picks one number.
    pub devices: (usize, usize),
    /// The fewest and the most spaces; all devices come to the first, and some to each other one.
    pub spaces: (usize, usize),
    /// How long the app works and the trouble lasts, in simulated milliseconds. The time in which the devices sync
    /// afterwards comes on top.
    pub duration_ms: u64,
    /// How often the app does something.
    pub commits: usize,
    /// How much trouble there is.
    pub faults: usize,
    /// How often members that keep to no rule do something; none is such a member when it is 0. They write
    /// notes and lines of their own, beside the workload: see [`Notes`].
    pub malice: usize,
    /// A bug to plant.
    pub canary: Option<Canary>,
    /// The steps to keep, by number; all when absent.
    pub keep: Option<BTreeSet<u64>>,
    /// Keeps the whole log instead of its last lines.
    pub full_trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            devices: (2, 5),
            spaces: (1, 2),
            duration_ms: 120_000,
            commits: 80,
            faults: 14,
            malice: 0,
            canary: None,
            keep: None,
            full_trace: false,
        }
    }
}

impl Options {
    /// What the program is told to run with these options instead of the usual ones.
    fn words(&self) -> String {
        let usual = Self::default();
        let mut words = String::new();
        let mut say = |name: &str, value: String, said: bool| {
            if said {
                words.push_str(&format!(" --{name} {value}"));
            }
        };
        let (few, many) = self.devices;
        say("devices", format!("{few}..{many}"), self.devices != usual.devices);
        let (few, many) = self.spaces;
        say("spaces", format!("{few}..{many}"), self.spaces != usual.spaces);
        say("commits", self.commits.to_string(), self.commits != usual.commits);
        say("faults", self.faults.to_string(), self.faults != usual.faults);
        say("malice", self.malice.to_string(), self.malice != usual.malice);
        say("duration-ms", self.duration_ms.to_string(), self.duration_ms != usual.duration_ms);
        if let Some(canary) = self.canary {
            say("plant", format!("{canary:?}"), true);
        }
        if let Some(keep) = &self.keep {
            let steps = keep.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
            say("keep", if steps.is_empty() { "none".to_owned() } else { steps }, true);
        }
        words
    }

    /// Whether a step is done. Devices always join: the others could never agree with one that did not.
    fn keeps(&self, step: &Step) -> bool {
        step.act == Act::Join || self.keep.as_ref().is_none_or(|keep| keep.contains(&step.number))
    }
}

/// Runs one seed.
///
/// # Example
///
/// ```
/// # use driftless::sim::{self, Notes, Options};
/// # let options = Options { commits: 4, faults: 1, duration_ms: 5_000, ..Options::default() };
/// let outcome = sim::run(7, &options, Box::new(Notes::new()));
/// assert_eq!(outcome.violations, []);
/// assert_eq!(outcome.hash, sim::run(7, &options, Box::new(Notes::new())).hash);
/// ```
#[must_use]
pub fn run(seed: u64, options: &Options, workload: Box<dyn Workload>) -> Outcome {
    world::World::new(seed, options, workload).run()
}
