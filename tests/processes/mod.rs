//! Processes that share a space over real connections, and that may be killed at any moment.
//!
//! Each process is this test program again, running only the ignored test `processes::worker::process`. It
//! tells what it did on its standard output and hears what to do on its standard input; see [`worker`].

pub(crate) mod content;
pub(crate) mod fleet;
pub(crate) mod oracle;
#[allow(dead_code, reason = "cables are pulled by the soak alone")]
pub(crate) mod wires;
pub(crate) mod worker;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use driftless::Durability;

/// Far beyond what anything takes; reached only when something never comes.
pub(crate) const BOUND: Duration = Duration::from_secs(120);

/// How a process writes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habit {
    /// Between two commits of one writer; as fast as it goes when zero.
    pub(crate) pace: Duration,
    /// What a writer waits for before the next one.
    pub(crate) durability: Durability,
}

/// What a process has told so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Where it listens; `None` until it is open.
    pub(crate) address: Option<String>,
    /// How many commits of each of its writers are acknowledged; they are numbered from 0.
    pub(crate) acked: BTreeMap<String, u64>,
    /// It has received something from another one.
    pub(crate) met: bool,
    /// The fingerprint of the space, once it has stopped writing.
    pub(crate) root: Option<String>,
    /// What it found broken, or that it ended.
    pub(crate) broken: Option<String>,
    /// How it stands with the others, for people.
    pub(crate) state: String,
}

impl Told {
    pub(crate) fn acked_count(&self) -> u64 {
        self.acked.values().sum()
    }

    fn take(&mut self, line: &str) {
        if let Some(state) = line.strip_prefix("state ") {
            self.state = state.to_owned();
            return;
        }
        let words: Vec<&str> = line.split(' ').collect();
        match *words.as_slice() {
            ["open", address] => self.address = Some(address.to_owned()),
            ["ack", writer, number] => {
                let next = self.acked.entry(writer.to_owned()).or_default();
                if number.parse() == Ok(*next) {
                    *next += 1;
                } else {
                    self.broken = Some(format!("{line:?} came after {next} acknowledgements"));
                }
            }
            ["met"] => self.met = true,
            ["root", root] => self.root = Some(root.to_owned()),
            ["broken", ..] => self.broken = Some(line.to_owned()),
            // What the test program says of itself.
            _ => {}
        }
    }
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    told: Arc<(Mutex<Told>, Condvar)>,
    listener: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts a process on the node in `dir`, at the end of its cable if it has one. Its writers are named after `run`.
    pub(crate) fn start(dir: &Path, run: &str, habit: Habit, cable: Option<usize>) -> Self {
        Self::spawn(dir, run, habit, None, cable)
    }

    /// Starts a process that joins by an invite, unless its node has the space already.
    #[allow(dead_code, reason = "the soak joins before it starts")]
    pub(crate) fn join(dir: &Path, run: &str, invite: &str) -> Self {
        Self::spawn(dir, run, Habit::default(), Some(invite), None)
    }

    fn spawn(dir: &Path, run: &str, habit: Habit, invite: Option<&str>, cable: Option<usize>) -> Self {
        let program = std::env::current_exe().expect("this program has a file");
        let mut command = match cable {
            Some(node) => wires::command_at(node, &program),
            None => Command::new(program),
        };
        command.args([
            "--exact",
            "processes::worker::process",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ]);
        command.env(worker::DIR_VARIABLE, dir).env(worker::RUN_VARIABLE, run);
        command.env(worker::PACE_VARIABLE, habit.pace.as_millis().to_string());
        if habit.durability == Durability::Written {
            command.env(worker::WRITTEN_VARIABLE, "1");
        }
        if let Some(invite) = invite {
            command.env(worker::INVITE_VARIABLE, invite);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program starts again");
        let output = child.stdout.take().expect("piped above");
        let told = Arc::new((Mutex::new(Told::default()), Condvar::new()));
        let teller = Arc::clone(&told);
        let listener = std::thread::spawn(move || listen(output, &teller));
        Self { input: child.stdin.take(), child, told, listener: Some(listener) }
    }

    /// Tells the process what to do. A process that has ended hears nothing.
    pub(crate) fn tell(&mut self, order: &str) {
        if let Some(input) = &mut self.input {
            let _ended = writeln!(input, "{order}").and_then(|()| input.flush());
        }
    }

    /// Waits until what the process told is as `is` wants it, at most `time`; tells whether it came to that.
    pub(crate) fn wait_for(&self, time: Duration, is: impl Fn(&Told) -> bool) -> bool {
        let (told, changed) = &*self.told;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |told: &mut Told| told.broken.is_none() && !is(told);
        let waited = changed.wait_timeout_while(told, time, waiting);
        let (told, late) = waited.unwrap_or_else(PoisonError::into_inner);
        !late.timed_out() && is(&told)
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what the process holds in memory, in KiB; `None` where the system does not tell.
    #[allow(dead_code, reason = "measured by the soak alone")]
    pub(crate) fn resident_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// Kills the process, which has no say in it, and returns all that it told.
    pub(crate) fn kill(mut self) -> Told {
        let ended = self.child.try_wait().expect("our own child");
        let mut told = self.end();
        // Only what it says while it is alive counts: its output ends because it was killed.
        if ended.is_none() && told.broken.as_deref() == Some(ENDED) {
            told.broken = None;
        }
        told
    }

    /// Closes the node of the process and returns all that it told.
    pub(crate) fn close(mut self) -> Told {
        self.tell("close");
        let heard = self.wait_for(BOUND, |_| false);
        assert!(!heard, "nothing is waited for but the end");
        let status = if self.told().broken.as_deref() == Some(ENDED) {
            self.child.wait().expect("our own child").success()
        } else {
            false
        };
        let mut told = self.end();
        assert!(status, "a process did not close cleanly: {:?}", told.broken);
        told.broken = None;
        told
    }

    fn end(&mut self) -> Told {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        if let Some(listener) = self.listener.take() {
            listener.join().expect("it only reads");
        }
        self.told().clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

const ENDED: &str = "it ended";

/// Takes down what a process tells, whole lines only, until it ends.
fn listen(output: ChildStdout, teller: &(Mutex<Told>, Condvar)) {
    let (told, changed) = teller;
    let mut output = BufReader::new(output);
    let mut line = String::new();
    loop {
        line.clear();
        let whole = output.read_line(&mut line).is_ok() && line.ends_with('\n');
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if whole {
            told.take(line.trim_end());
        } else {
            told.broken.get_or_insert_with(|| ENDED.to_owned());
        }
        changed.notify_all();
        if !whole {
            return;
        }
    }
}

/// Returns a number that the caller of the tests may set.
pub(crate) fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Lets time pass without a clock.
pub(crate) fn pause(time: Duration) {
    let (_never, silence) = sync_channel::<()>(1);
    assert!(silence.recv_timeout(time).is_err(), "nobody sends");
}

/// Numbers that look random and follow from a seed.
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Returns a number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word >> 16) % bound
    }
}
