//! Damages the files of a closed store on disk and checks that the damage is told or harmless, never served.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::super::{Values, set_aside};
use super::crash::{next, variable};
use super::*;

/// What came of one damaged store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It did not open: damage.
    Refused,
    /// It did not open in time: some damage makes the engine wait for ever, and a busy machine takes long.
    NoEnd,
    /// It opened and holds less than its watermark.
    RolledBack,
    /// It opened and some of its values are damage.
    ValuesRefused,
    /// Nothing that counts was hit.
    Harmless,
}

#[test]
fn damage_is_told_or_harmless_and_a_fresh_store_opens_after_it() {
    let trials = variable("DRIFTLESS_DAMAGES").unwrap_or(24);
    let mut seed = 0xda3a6e;
    let mut outcomes = BTreeMap::new();
    for trial in 0..trials {
        let dir = tempfile::tempdir().unwrap();
        let batches = 40 + next(&mut seed) % 400;
        fill(dir.path(), batches);
        damage(&dir.path().join("store"), &mut seed);

        let outcome = open_damaged(dir.path(), batches).unwrap_or_else(|lie| panic!("trial {trial}: {lie}"));

        *outcomes.entry(outcome).or_insert(0) += 1;
        set_aside(dir.path()).unwrap();
        let fresh = Values::open(dir.path(), &options()).unwrap();
        assert_eq!(fresh.get(b"last"), Ok(None));
        fresh.close().unwrap();
    }
    println!("{outcomes:?}");
    assert!(outcomes.keys().any(|outcome| *outcome != Outcome::Harmless) || trials == 0, "{outcomes:?}");
}

/// Flips a bit of every value of a closed store whose key begins with a byte, past the engine's own checks. Returns
/// how many there are.
pub(crate) fn flip_stored(path: &Path, class: u8) -> usize {
    let kv = SledKv::open(path, &options()).unwrap();
    let found = kv.scan(&[class], &[class + 1], usize::MAX, Order::Ascending).unwrap();
    let mut batch = KvBatch::default();
    for (key, mut value) in found {
        *value.last_mut().unwrap() ^= 0x10;
        batch.put(key, value);
    }
    let flipped = batch.ops.len();
    kv.write(&batch).unwrap();
    kv.close().unwrap();
    flipped
}

fn open_damaged(path: &Path, batches: u64) -> Result<Outcome, String> {
    let values = match Values::open(path, &options()) {
        Err(KvError::Corrupt { .. }) => return Ok(Outcome::Refused),
        Err(KvError::Io { what: "opening the store", reason }) if reason.starts_with("no end within") => {
            return Ok(Outcome::NoEnd);
        }
        Err(other) => return Err(format!("told as {other}")),
        Ok(values) => values,
    };
    let outcome = read_damaged(&values, batches);
    // An engine that met damage may not end politely.
    let _ = values.close();
    outcome
}

fn read_damaged(values: &Values, batches: u64) -> Result<Outcome, String> {
    let held = match values.get(b"last") {
        Ok(last) => last.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap())),
        Err(KvError::Corrupt { .. } | KvError::Damaged { .. }) => return Ok(Outcome::ValuesRefused),
        Err(other) => return Err(format!("told as {other}")),
    };
    if let Some(mark) = values.watermark()
        && mark.check(Position(held), None).is_err()
    {
        return Ok(Outcome::RolledBack);
    }
    if held != batches {
        return Err(format!("{held} of {batches} batches and no word of it"));
    }
    for number in 1..=batches {
        match values.get(&key(number)) {
            Ok(Some(found)) if found == value(number) => {}
            Ok(found) => return Err(format!("served {:?} for {number}", found.map(|value| value.len()))),
            Err(KvError::Corrupt { .. } | KvError::Damaged { .. }) => return Ok(Outcome::ValuesRefused),
            Err(other) => return Err(format!("told as {other}")),
        }
    }
    Ok(Outcome::Harmless)
}

fn fill(path: &Path, batches: u64) {
    let values = Values::open(path, &options()).unwrap();
    for number in 1..=batches {
        let mut batch = KvBatch::default();
        batch.put(b"last".to_vec(), number.to_be_bytes().to_vec());
        batch.put(key(number), value(number));
        values.write(batch).unwrap();
    }
    values.note_watermark(Position(batches), [1; 32]);
    values.close().unwrap();
}

/// Overwrites, flips or cuts off some bytes of the log, the snapshot or the configuration.
fn damage(store: &Path, seed: &mut u64) {
    let snapshots = std::fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    let snapshot = snapshots.filter(|path| path.to_string_lossy().contains("snap.")).max();
    let file = match next(seed) % 8 {
        0 => store.join("conf"),
        1 => snapshot.unwrap_or_else(|| store.join("db")),
        _ => store.join("db"),
    };
    let mut file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let length = file.metadata().unwrap().len();
    // The log is long and its end is empty; most hits are meant for the used part.
    let at =
        if next(seed).is_multiple_of(4) { next(seed) % length } else { next(seed) % length.min(200_000) };
    let bytes = 1 + next(seed) % 600;
    if next(seed).is_multiple_of(8) {
        file.set_len(at).unwrap();
        return;
    }
    let mut old = vec![0; bytes.min(length - at) as usize];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut old).unwrap();
    let mask = if next(seed).is_multiple_of(2) { 0xff } else { 1 << (next(seed) % 8) };
    old.iter_mut().for_each(|byte| *byte ^= mask);
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&old).unwrap();
}

fn key(number: u64) -> Vec<u8> {
    [b"k".as_slice(), &number.to_be_bytes()].concat()
}

fn value(number: u64) -> Vec<u8> {
    number.to_be_bytes().into_iter().cycle().take((number * 7_919 % 1_500) as usize).collect()
}

fn options() -> StoreOptions {
    StoreOptions { open_deadline_ms: 20_000, ..StoreOptions::default() }
}
