//! An app in the simulator: its own entities, its own work, its own check of what must hold.
//!
//! Run it with `cargo run --features sim --example simulate`. Two people tick off a list of tasks on two to five
//! devices, while connections break, the power goes and disks fill up.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use driftless::doc::{Kind, KindOf};
use driftless::sim::{self, Device, Dice, Options, Settled, Tx, Unreadable, Workload};
use driftless::{Deserialize, Entity, EntityId, Hydrate, Reconcile, Serialize};

#[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
struct Task {
    title: String,
    done: bool,
}

impl Entity for Task {
    const COLLECTION: &'static str = "tasks";
    const VERSION: u32 = 1;
}

/// What the people do, and what they remember of it.
#[derive(Debug, Default)]
struct Tasks {
    added: Vec<(u64, EntityId)>,
    ticked: BTreeSet<(u64, EntityId)>,
}

impl Workload for Tasks {
    fn kinds(&self) -> Vec<Arc<dyn Kind>> {
        vec![Arc::new(KindOf::<Task>::new().expect("a valid name"))]
    }

    fn act(&mut self, device: &Device<'_>, step: u64, dice: &mut Dice) -> Result<Tx, Unreadable> {
        let open: Vec<EntityId> =
            device.rows::<Task>()?.into_iter().filter(|(_, task)| !task.done).map(|(id, _)| id).collect();
        if let Some(id) = dice.pick(&open).copied().filter(|_| dice.chance(40)) {
            self.ticked.insert((step, id));
            return Ok(Tx::new().update(id, |task: &mut Task| task.done = true));
        }
        let id = EntityId::new(dice.bytes());
        self.added.push((step, id));
        Ok(Tx::new().insert(id, Task { title: format!("task {step}"), done: false }))
    }

    fn check(&self, device: &Device<'_>, settled: &Settled) -> Result<(), String> {
        for (step, id) in self.added.iter().filter(|(step, _)| settled.survived(*step)) {
            let task: Option<Task> = device.get(id).map_err(|error| error.to_string())?;
            let task = task.ok_or_else(|| format!("the task of step {step} is gone"))?;
            let ticked = self.ticked.iter().any(|(step, ticked)| ticked == id && settled.survived(*step));
            if task.done != ticked {
                return Err(format!("the task of step {step}: done {}, ticked off {ticked}", task.done));
            }
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let workload = || Box::new(Tasks::default()) as Box<dyn Workload>;
    let report = sim::run_seeds(0..20, &Options::default(), &workload);

    println!("{report}");
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
