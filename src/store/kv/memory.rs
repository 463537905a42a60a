//! The engine in memory, for tests and the simulator: a disk that forgets, tears, fills and errs on request.
//!
//! A [`Memory`] is the disk; opening it gives the engine. What is written and not synced is a list of whole
//! batches. The death of the process keeps them; a crash of the device keeps as many of the first ones as a
//! seed says. Nothing here is random or reads a clock.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Found, Kv, KvBatch, KvError, Order, Pairs, Watermark};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    files: Files,
    /// Written and not synced, oldest first: what each batch replaced.
    unsynced: Vec<Undo>,
    /// Names these files; another number after every restore.
    identity: u64,
    /// Counts opens and crashes. A handle of an earlier one is dead.
    epoch: u64,
    open: bool,
    /// The first error since the open.
    failed: Option<KvError>,
    faults: Faults,
    /// Syncs say that they are done and do nothing.
    ignores_syncs: bool,
    counts: FaultCounts,
}

/// All that a copy of the directory would hold.
#[derive(Clone, Debug, Default)]
struct Files {
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: u64,
    watermark: Option<Watermark>,
    /// The identity of the files that were closed cleanly.
    closed: Option<u64>,
}

/// The values before a batch, `None` where there was none.
type Undo = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// A copy of a disk.
#[derive(Clone, Debug)]
pub(crate) struct Image(Files);

/// What an injected error does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The disk is full; nothing is written.
    Full,
    /// The disk refuses; nothing is written.
    Refused,
    /// The disk tells of an error, yet all was done.
    Done,
}

/// Errors to come: how many calls succeed before, and what happens then.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    write: Option<(u32, Fault)>,
    sync: Option<(u32, Fault)>,
    bytes_max: Option<u64>,
}

/// Faults that happened to a disk, so that a simulation can prove that it met all kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FaultCounts {
    /// Crashes of the device.
    pub(crate) crashes: u64,
    /// Crashes that lost some of the unsynced batches and kept others.
    pub(crate) crashes_torn: u64,
    /// Batches that crashes lost.
    pub(crate) batches_lost: u64,
    /// Writes and syncs that were made to fail.
    pub(crate) errors: u64,
    /// Bits that were flipped.
    pub(crate) bits_flipped: u64,
    /// Copies that took the place of what was there.
    pub(crate) restores: u64,
}

impl Memory {
    /// Makes an empty disk.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Opens the engine.
    ///
    /// # Errors
    ///
    /// [`KvError::Locked`] while it is open.
    pub(crate) fn open(&self) -> Result<MemoryKv, KvError> {
        let mut disk = self.disk();
        if disk.open {
            return Err(KvError::Locked { path: "memory".into() });
        }
        let closed_cleanly = disk.files.closed.take() == Some(disk.identity);
        let found = Found { watermark: disk.files.watermark, closed_cleanly };
        disk.open = true;
        disk.failed = None;
        disk.epoch += 1;
        Ok(MemoryKv { disk: Arc::clone(&self.disk), epoch: disk.epoch, found })
    }

    /// Cuts the power. Of the unsynced batches the first ones survive, as many as the seed says; the open
    /// handle is dead.
    pub(crate) fn crash(&self, seed: u64) {
        let mut disk = self.disk();
        let unsynced = disk.unsynced.len();
        let kept = usize::try_from(mix(seed) % (unsynced as u64 + 1)).expect("at most the length of a list");
        while disk.unsynced.len() > kept {
            let undo = disk.unsynced.pop().expect("longer than the kept part");
            disk.files.apply(undo);
        }
        disk.unsynced.clear();
        disk.counts.crashes += 1;
        disk.counts.crashes_torn += u64::from(kept > 0 && kept < unsynced);
        disk.counts.batches_lost += (unsynced - kept) as u64;
        disk.end();
    }

    /// Kills the process. All that was written survives and stays unsynced; the open handle is dead.
    pub(crate) fn kill(&self) {
        self.disk().end();
    }

    /// Lets `succeed` more writes succeed and the one after fail.
    pub(crate) fn fail_write(&self, succeed: u32, fault: Fault) {
        self.disk().faults.write = Some((succeed, fault));
    }

    /// Lets `succeed` more syncs succeed and the one after fail.
    pub(crate) fn fail_sync(&self, succeed: u32, fault: Fault) {
        self.disk().faults.sync = Some((succeed, fault));
    }

    /// Makes the disk as large as this; writes beyond it find it full. `None` makes it endless.
    pub(crate) fn limit(&self, bytes_max: Option<u64>) {
        self.disk().faults.bytes_max = bytes_max;
    }

    /// Takes back all errors that were to come.
    #[cfg(feature = "sim")]
    pub(crate) fn heal(&self) {
        self.disk().faults = Faults::default();
    }

    /// Makes syncs do nothing, as a disk that lies does.
    #[cfg(feature = "sim")]
    pub(crate) fn ignore_syncs(&self) {
        self.disk().ignores_syncs = true;
    }

    /// Makes the next open believe that the files were closed cleanly, whatever happened to them.
    #[cfg(feature = "sim")]
    pub(crate) fn pretend_closed(&self) {
        let mut disk = self.disk();
        disk.files.closed = Some(disk.identity);
    }

    /// Flips one bit of one stored value with a key in `[first, end)`, as the seed says. Returns the key, or
    /// `None` when there is nothing to damage.
    pub(crate) fn flip_bit(&self, seed: u64, first: &[u8], end: &[u8]) -> Option<Vec<u8>> {
        let mut disk = self.disk();
        let files = &mut disk.files.pairs;
        let count = files.range_mut(first.to_vec()..end.to_vec()).count() as u64;
        let index = usize::try_from(mix(seed).checked_rem(count)?).ok()?;
        let (key, value) = files.range_mut(first.to_vec()..end.to_vec()).nth(index)?;
        let bit = mix(seed ^ 1).checked_rem(value.len() as u64 * 8)?;
        let byte = value.get_mut(usize::try_from(bit / 8).ok()?)?;
        *byte ^= 1 << (bit % 8);
        let key = key.clone();
        disk.counts.bits_flipped += 1;
        Some(key)
    }

    /// Flips one bit as [`Memory::flip_bit`] does, and makes the checksum fit, so that nothing notices.
    #[cfg(feature = "sim")]
    pub(crate) fn flip_unseen(&self, seed: u64, first: &[u8], end: &[u8]) -> Option<Vec<u8>> {
        use crate::store::piece::{self, Stored};

        let mut disk = self.disk();
        let whole = disk.files.pairs.range(first.to_vec()..end.to_vec()).filter_map(|(key, stored)| {
            let Some(Stored::Whole(value)) = piece::open(key, stored) else { return None };
            (value.len() > 1).then(|| (key.clone(), value))
        });
        let whole: Vec<(Vec<u8>, Vec<u8>)> = whole.collect();
        let index = usize::try_from(mix(seed).checked_rem(whole.len() as u64)?).ok()?;
        let (key, mut value) = whole.into_iter().nth(index)?;
        *value.last_mut()? ^= 1;
        let sealed = piece::split(&key, &value);
        disk.files.pairs.extend(sealed);
        disk.counts.bits_flipped += 1;
        Some(key)
    }

    /// Copies the disk as it is, with what is not synced.
    pub(crate) fn snapshot(&self) -> Image {
        Image(self.disk().files.clone())
    }

    /// Puts a copy in the place of what is there, watermark and all: an older state, or another device's. The
    /// open handle is dead, and the files are never the very ones that were closed.
    pub(crate) fn restore(&self, image: &Image) {
        let mut disk = self.disk();
        disk.files = image.0.clone();
        disk.identity += 1;
        // The image may come from a disk that counted as far.
        disk.files.closed = disk.files.closed.map(|_| u64::MAX);
        disk.counts.restores += 1;
        disk.unsynced.clear();
        disk.end();
    }

    /// Puts the data of a copy in the place of what is there and keeps the watermark: what a damaged log does
    /// to an engine that drops its tail.
    pub(crate) fn roll_back(&self, image: &Image) {
        let mut disk = self.disk();
        disk.files.pairs.clone_from(&image.0.pairs);
        disk.files.bytes = image.0.bytes;
        disk.counts.restores += 1;
        disk.unsynced.clear();
        disk.end();
    }

    /// Returns the faults that happened.
    pub(crate) fn fault_counts(&self) -> FaultCounts {
        self.disk().counts
    }

    /// Returns how many batches are written and not synced.
    #[cfg(test)]
    pub(crate) fn unsynced_batches(&self) -> usize {
        self.disk().unsynced.len()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn end(&mut self) {
        self.open = false;
        self.epoch += 1;
        self.failed = None;
    }

    /// Counts down to an injected error.
    fn fault(slot: &mut Option<(u32, Fault)>) -> Option<Fault> {
        let (succeed, fault) = slot.as_mut()?;
        if let Some(left) = succeed.checked_sub(1) {
            *succeed = left;
            return None;
        }
        let fault = *fault;
        *slot = None;
        Some(fault)
    }

    fn fail(&mut self, fault: Fault, what: &'static str) -> KvError {
        let error = match fault {
            Fault::Full => KvError::Full,
            Fault::Refused | Fault::Done => KvError::Io { what, reason: "injected".into() },
        };
        self.counts.errors += 1;
        self.failed = Some(error.clone());
        error
    }
}

impl Files {
    /// Sets and removes, and returns how to take it back.
    fn apply(&mut self, ops: Undo) -> Undo {
        let mut undo = Undo::with_capacity(ops.len());
        for (key, value) in ops {
            let size = |value: &Vec<u8>| (key.len() + value.len()) as u64;
            self.bytes += value.as_ref().map_or(0, size);
            let old = match value {
                Some(value) => self.pairs.insert(key.clone(), value),
                None => self.pairs.remove(&key),
            };
            self.bytes -= old.as_ref().map_or(0, size);
            undo.push((key, old));
        }
        undo
    }
}

/// The open engine over a [`Memory`].
#[derive(Debug)]
pub(crate) struct MemoryKv {
    disk: Arc<Mutex<Disk>>,
    epoch: u64,
    found: Found,
}

impl MemoryKv {
    fn disk(&self) -> Result<MutexGuard<'_, Disk>, KvError> {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if disk.epoch != self.epoch {
            return Err(KvError::Failed { reason: "the store is closed".into() });
        }
        match &disk.failed {
            Some(first) => Err(KvError::Failed { reason: first.to_string() }),
            None => Ok(disk),
        }
    }
}

impl Kv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.disk()?.files.pairs.get(key).cloned())
    }

    fn scan(&self, first: &[u8], end: &[u8], limit: usize, order: Order) -> Result<Pairs, KvError> {
        let disk = self.disk()?;
        if first >= end {
            return Ok(Vec::new());
        }
        let pairs = disk.files.pairs.range::<[u8], _>((Bound::Included(first), Bound::Excluded(end)));
        let own = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        Ok(match order {
            Order::Ascending => pairs.take(limit).map(own).collect(),
            Order::Descending => pairs.rev().take(limit).map(own).collect(),
        })
    }

    fn write(&self, batch: &KvBatch) -> Result<(), KvError> {
        const WHAT: &str = "writing";
        let mut disk = self.disk()?;
        let full = disk.faults.bytes_max.is_some_and(|max| disk.files.bytes + batch.bytes() as u64 > max);
        let fault = if full { Some(Fault::Full) } else { Disk::fault(&mut disk.faults.write) };
        if let Some(fault @ (Fault::Full | Fault::Refused)) = fault {
            return Err(disk.fail(fault, WHAT));
        }
        let ops = batch.ops.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let undo = disk.files.apply(ops);
        disk.unsynced.push(undo);
        fault.map_or(Ok(()), |fault| Err(disk.fail(fault, WHAT)))
    }

    fn sync(&self) -> Result<(), KvError> {
        const WHAT: &str = "syncing";
        let mut disk = self.disk()?;
        let fault = Disk::fault(&mut disk.faults.sync);
        if let Some(fault @ (Fault::Full | Fault::Refused)) = fault {
            return Err(disk.fail(fault, WHAT));
        }
        if !disk.ignores_syncs {
            disk.unsynced.clear();
        }
        fault.map_or(Ok(()), |fault| Err(disk.fail(fault, WHAT)))
    }

    fn disk_bytes(&self) -> Result<u64, KvError> {
        Ok(self.disk()?.files.bytes)
    }

    fn found(&self) -> Found {
        self.found
    }

    fn mark(&self, watermark: &Watermark) -> Result<(), KvError> {
        self.disk()?.files.watermark = Some(*watermark);
        Ok(())
    }

    fn close(&self) -> Result<(), KvError> {
        let synced = self.sync();
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if disk.epoch != self.epoch {
            return synced;
        }
        disk.end();
        synced?;
        disk.files.closed = Some(disk.identity);
        Ok(())
    }
}

/// A handle that is dropped without a close is a process that was killed.
impl Drop for MemoryKv {
    fn drop(&mut self) {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if disk.epoch == self.epoch {
            disk.end();
        }
    }
}

/// Spreads a seed over 64 bits (the finaliser of SplitMix64).
fn mix(seed: u64) -> u64 {
    let mut word = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
