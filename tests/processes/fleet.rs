//! Several nodes in one space, each in a process of its own.

use std::path::PathBuf;
use std::time::Duration;

use driftless::{Durability, Node, PeerId, Role, SpaceId};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::content::Content;
use super::oracle::{self, Acked};
use super::{BOUND, Habit, Process, Told};

/// The processes, with what they have acknowledged since the beginning.
#[derive(Debug)]
pub(crate) struct Fleet {
    dir: TempDir,
    space: SpaceId,
    ships: Vec<Ship>,
    habit: Habit,
    /// Each process is at the end of a cable of its own.
    cabled: bool,
    runs: u64,
    pub(crate) acked: Acked,
    /// Runs in which a process received something from another one.
    pub(crate) met: u64,
    runtime: Runtime,
}

/// One node and its process.
#[derive(Debug)]
struct Ship {
    name: String,
    peer: PeerId,
    address: String,
    process: Option<Process>,
    /// Runs that wrote something.
    wrote: u64,
}

impl Fleet {
    /// Makes `count` nodes in one space that all know each other. No process runs yet.
    pub(crate) fn found(count: usize, habit: Habit) -> Self {
        let mut dir = tempfile::tempdir().expect("a temporary directory");
        dir.disable_cleanup(super::variable("DRIFTLESS_KEEP").is_some());
        let runtime = Runtime::new().expect("a runtime");
        let names: Vec<String> = (0..count).map(|index| format!("node{index}")).collect();
        let (space, ships) = runtime.block_on(found(&dir, &names));
        Self { dir, space, ships, habit, cabled: false, runs: 0, acked: Acked::new(), met: 0, runtime }
    }

    /// As [`Fleet::found`], and each process will run at the end of a cable of its own.
    #[allow(dead_code, reason = "the soak alone has cables")]
    pub(crate) fn found_at_cables(count: usize, habit: Habit) -> Self {
        Self { cabled: true, ..Self::found(count, habit) }
    }

    /// Starts the process of a node.
    pub(crate) fn start(&mut self, index: usize) {
        self.runs += 1;
        let known: Vec<String> = self.ships.iter().map(Ship::order).collect();
        let (dir, run, habit) = (self.path(index), self.runs, self.habit);
        let cable = self.cabled.then_some(index);
        let ship = self.ship(index);
        let mut process = Process::start(&dir, &format!("{}.{run}", ship.name), habit, cable);
        for (other, order) in known.iter().enumerate() {
            if other != index {
                process.tell(order);
            }
        }
        ship.process = Some(process);
    }

    /// Kills the process of a node and notes what it had acknowledged.
    pub(crate) fn kill(&mut self, index: usize) {
        let told = self.ship(index).process.take().expect("it was started").kill();
        self.note(index, told);
    }

    /// Tells the others where those are that came back under another address, and that nothing is broken.
    pub(crate) fn check(&mut self) {
        let mut moved = Vec::new();
        for (index, ship) in self.ships.iter_mut().enumerate() {
            let Some(process) = &ship.process else { continue };
            let told = process.told();
            assert_eq!(told.broken, None, "on {}", ship.name);
            if let Some(address) = told.address.clone().filter(|address| *address != ship.address) {
                drop(told);
                ship.address = address;
                moved.push((index, ship.order()));
            }
        }
        for (from, order) in moved {
            for (index, ship) in self.ships.iter_mut().enumerate() {
                if let Some(process) = ship.process.as_mut().filter(|_| index != from) {
                    process.tell(&order);
                }
            }
        }
    }

    /// Stops the writers, waits until all processes tell the same fingerprint, and closes them.
    pub(crate) fn agree(&mut self) {
        self.check();
        for ship in &mut self.ships {
            ship.running().tell("finish");
        }
        for ship in &mut self.ships {
            let finished = ship.running().wait_for(BOUND, |told| told.root.is_some());
            let broken = ship.running().told().broken.clone();
            assert!(finished, "{} did not finish: {broken:?}", ship.name);
        }
        let mut agreed = false;
        for _ in 0..BOUND.as_millis() / 50 {
            self.check();
            let roots = self.ships.iter_mut().map(|ship| ship.running().told().root.clone());
            let mut roots: Vec<_> = roots.collect();
            roots.dedup();
            agreed = roots.len() == 1;
            if agreed {
                break;
            }
            super::pause(Duration::from_millis(50));
        }
        let states: Vec<_> = self.ships.iter_mut().map(|ship| ship.running().told().state.clone()).collect();
        assert!(
            agreed,
            "the processes never came to hold the same in {}: {states:#?}",
            self.dir.path().display()
        );
        for index in 0..self.ships.len() {
            let told = self.ship(index).process.take().expect("it was started").close();
            self.note(index, told);
        }
    }

    /// Opens all nodes here and checks what they hold. Returns the number of acknowledged commits.
    pub(crate) fn verify(&self) -> u64 {
        let mut roots = Vec::new();
        for index in 0..self.ships.len() {
            let root = self.runtime.block_on(self.verify_one(index));
            roots.push(root.unwrap_or_else(|broken| panic!("node{index}: {broken}")));
        }
        roots.dedup();
        assert_eq!(roots.len(), 1, "all hold the same");
        self.acked.values().sum()
    }

    pub(crate) fn process(&mut self, index: usize) -> &mut Process {
        self.ship(index).running()
    }

    async fn verify_one(&self, index: usize) -> Result<String, String> {
        let opened =
            Node::builder(self.path(index)).listen(([127, 0, 0, 1], 0)).discovery(false).open().await;
        let node = opened.map_err(|error| format!("does not open: {error:?}"))?;
        let space = node.space(self.space).map_err(|error| format!("{error:?}"))?;
        let none = Acked::new();
        let promised = if self.habit.durability == Durability::Synced { &self.acked } else { &none };
        let root = oracle::check(&node, &space, promised).await?;
        // Every run but the first follows a kill: each that wrote did so as a writer of its own, or it could
        // have used a number for a second time.
        let wrote: u64 = self.ships.iter().map(|ship| ship.wrote).sum();
        let status = space.status().await.map_err(|error| format!("{error:?}"))?;
        let lefts = status.collections.iter().find(|collection| collection.name == "lefts");
        let writers = lefts.map_or(0, |lefts| lefts.writers as u64);
        let least = if promised.is_empty() { 0 } else { wrote };
        if !(least..=self.runs).contains(&writers) {
            return Err(format!("{wrote} of {} runs wrote, as {writers} writers", self.runs));
        }
        node.close().await.map_err(|error| format!("does not close: {error:?}"))?;
        Ok(root)
    }

    fn note(&mut self, index: usize, told: Told) {
        let ship = self.ship(index);
        assert_eq!(told.broken, None, "on {}", ship.name);
        ship.wrote += u64::from(told.acked_count() > 0);
        if let Some(address) = told.address {
            ship.address = address;
        }
        self.met += u64::from(told.met);
        self.acked.extend(told.acked);
    }

    pub(crate) fn path(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("node{index}"))
    }

    fn ship(&mut self, index: usize) -> &mut Ship {
        self.ships.get_mut(index).expect("one of the nodes")
    }
}

impl Ship {
    fn order(&self) -> String {
        format!("peer {} {}", self.peer, self.address)
    }

    fn running(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was started")
    }
}

async fn found(dir: &TempDir, names: &[String]) -> (SpaceId, Vec<Ship>) {
    let mut nodes: Vec<Node> = Vec::new();
    let mut space = None;
    for name in names {
        let builder = Node::builder(dir.path().join(name))
            .listen(([127, 0, 0, 1], 0))
            .discovery(false)
            .device(name.as_str());
        let node = builder.open().await.expect("a fresh directory");
        match &space {
            None => {
                let founded = node.create_space("fleet").await.expect("a name");
                Content::of(&founded).found().await;
                space = Some(founded);
            }
            Some(space) => {
                let invite = space.invite(Role::Writer).await.expect("an owner");
                node.join(&invite).await.expect("the inviter is there");
            }
        }
        nodes.push(node);
    }
    let space = space.expect("there is at least one").id();
    let mut ships = Vec::new();
    for (node, name) in nodes.iter().zip(names) {
        let address = node.addresses().expect("open").into_iter().next().expect("it listens").to_string();
        // The boards are with everybody before the first kill.
        while Content::of(&node.space(space).expect("joined")).boards.all().await.expect("read").len()
            < super::content::BOARDS as usize
        {
            node.sync_now().await.expect("open");
        }
        ships.push(Ship { name: name.clone(), peer: node.peer(), address, process: None, wrote: 0 });
    }
    for node in nodes {
        node.close().await.expect("closes cleanly");
    }
    (space, ships)
}
