//! Kills a process that commits through the engine on disk, at random instants, and checks what is left.
//!
//! The child is this test program again, running only the ignored test `child`. It prints `synced n` once a
//! sync has returned; then batch n and all before it must be found, whole, whatever happens.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use super::super::Values;
use super::*;

const STORE_VARIABLE: &str = "DRIFTLESS_CHILD_STORE";
const BARE_VARIABLE: &str = "DRIFTLESS_CHILD_BARE";
const SLOTS: u64 = 400;

#[test]
fn a_killed_process_loses_no_synced_batch_and_leaves_no_half_one() {
    let kills = variable("DRIFTLESS_KILLS").unwrap_or(12);
    let dir = tempfile::tempdir().unwrap();
    let (mut acknowledged, mut seed) = (0, 0x5eed);
    for kill in 0..kills {
        let mut running = Running::start(dir.path(), Sync::Full);
        // Now and then before the first acknowledgement, while the child opens the store.
        let acknowledgements = if kill % 4 == 3 { 0 } else { 1 + next(&mut seed) % 40 };
        running.wait_for(acknowledgements);
        pause(Duration::from_micros(next(&mut seed) % 20_000));
        assert!(running.is_alive(), "kill {kill}: the child ended by itself");
        acknowledged = running.kill().max(acknowledged);

        let found = check(dir.path()).unwrap_or_else(|lie| panic!("after kill {kill}: {lie}"));

        assert!(found >= acknowledged, "kill {kill}: {acknowledged} was synced, {found} is there");
    }
    assert!(acknowledged > 0, "nothing was ever synced, so nothing was shown");
}

/// What the children do: commits without an end. Only in a process started by [`Running::start`].
#[test]
#[ignore = "runs in a process that is killed"]
fn child() {
    let Some(path) = std::env::var_os(STORE_VARIABLE) else { return };
    let bare_flush = std::env::var_os(BARE_VARIABLE).is_some();
    let options = StoreOptions { bare_flush, ..StoreOptions::default() };
    let values = Values::open(Path::new(&path), &options).unwrap();
    let mut number = last(&values).unwrap();
    loop {
        number += 1;
        values.write(batch(number)).unwrap();
        values.note_watermark(Position(number), [number as u8; 32]);
        // Short groups, and groups that run into the cap on unsynced bytes.
        let group = if (number / 128).is_multiple_of(2) { 3 } else { 300 };
        if spread(number).is_multiple_of(group) {
            values.sync().unwrap();
            println!("synced {number}");
        }
    }
}

/// How a child syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    Full,
    /// The engine's own flush alone.
    Bare,
}

/// A child and what it acknowledged.
pub(super) struct Running {
    process: Child,
    lines: Receiver<u64>,
    acknowledged: u64,
}

impl Running {
    pub(super) fn start(store: &Path, sync: Sync) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "store::kv::crash::child", "--nocapture", "--ignored", "--test-threads=1"]);
        command.env(STORE_VARIABLE, store).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        if sync == Sync::Bare {
            command.env(BARE_VARIABLE, "1");
        }
        let mut process = command.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let (send, lines) = sync_channel(1_000_000);
        std::thread::spawn(move || {
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|bytes| bytes > 0) && line.ends_with('\n') {
                let number = line.trim_end().split("synced ").nth(1).and_then(|text| text.parse().ok());
                if number.is_some_and(|number| send.send(number).is_err()) {
                    return;
                }
                line.clear();
            }
        });
        Self { process, lines, acknowledged: 0 }
    }

    /// Waits for as many acknowledgements, or for the end of the child.
    pub(super) fn wait_for(&mut self, acknowledgements: u64) {
        for _ in 0..acknowledgements {
            let Ok(number) = self.lines.recv() else { return };
            self.acknowledged = number;
        }
    }

    pub(super) fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Kills the child and returns the last batch that it acknowledged.
    pub(super) fn kill(mut self) -> u64 {
        self.end();
        self.lines.iter().last().unwrap_or(self.acknowledged)
    }

    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Opens the store and checks all of it. Returns the last batch, or what is wrong.
pub(super) fn check(store: &Path) -> Result<u64, String> {
    let values =
        Values::open(store, &StoreOptions::default()).map_err(|error| format!("unopenable: {error}"))?;
    let found = check_content(&values);
    values.close().map_err(|error| format!("unclosable: {error}"))?;
    found
}

fn check_content(values: &Values) -> Result<u64, String> {
    let found = last(values).map_err(|error| format!("torn: {error}"))?;
    let mut expected = BTreeMap::new();
    for number in found.saturating_sub(SLOTS) + 1..=found {
        expected.extend(batch(number).ops.into_iter().filter_map(|(key, value)| Some((key, value?))));
    }
    let held = values.scan(&[1], &[0xff], usize::MAX).map_err(|error| format!("torn: {error}"))?;
    if !held.iter().map(|(key, value)| (key, value)).eq(expected.iter()) {
        return Err(format!("torn: not what batch {found} left"));
    }
    match values.watermark() {
        Some(mark) if mark.position.0 > found => Err(format!("lost: {found} is below {}", mark.position.0)),
        Some(_) | None => Ok(found),
    }
}

/// The batches: four twins that must agree, and one of many slots that are overwritten again and again.
fn batch(number: u64) -> KvBatch {
    let mut batch = KvBatch::default();
    for twin in 0..4 {
        batch.put(vec![b't', twin], number.to_be_bytes().to_vec());
    }
    let bytes = match number {
        // Over the cap on unsynced bytes, and over a segment of the log.
        number if number.is_multiple_of(997) => 5_000_000,
        number if number.is_multiple_of(311) => 700_000,
        number if number.is_multiple_of(37) => 70_000,
        number => spread(number) % 3_000,
    };
    let value = number.to_be_bytes().into_iter().cycle().take(bytes as usize).collect();
    batch.put([b"s".as_slice(), &(number % SLOTS).to_be_bytes()].concat(), value);
    batch
}

fn last(values: &Values) -> Result<u64, KvError> {
    let twin = values.get(&[b't', 0])?;
    Ok(twin.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap())))
}

pub(super) fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Lets time pass without a clock.
pub(super) fn pause(time: Duration) {
    let (_never, silence) = sync_channel::<()>(1);
    assert!(silence.recv_timeout(time).is_err(), "nobody sends");
}

pub(super) fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(1);
    spread(*seed)
}

fn spread(number: u64) -> u64 {
    let word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}
