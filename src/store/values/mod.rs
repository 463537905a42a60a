//! Checked values over an engine: checksums, long values in pieces, the cap on unsynced bytes, the watermark.
//!
//! A damaged value is an error that names its key, never a value. Reads of one [`View`] see one state: a batch
//! is visible to it whole or not at all, because engines may show half of one to a reader.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

#[cfg(any(test, feature = "sim"))]
use super::kv::memory::Memory;
use super::kv::{Checked, Kv, KvBatch, KvError, Order, Pairs, RawKey, SledKv, StoreOptions, Watermark};
use super::piece::{self, OWN_CLASS, Stored, Tag};
use crate::id::Position;
use crate::limits::{UNSYNCED_BYTES_MAX, VALUE_TOTAL_BYTES_MAX, WATERMARK_SYNCS};

/// The format of all that this program writes.
const FORMAT: u32 = 1;
/// Its key: 4 bytes LE and a check of 8, the same in every format.
const FORMAT_KEY: &[u8] = b"\x00format";
/// Before every key of a caller.
const CALLERS_FIRST: &[u8] = &[OWN_CLASS + 1];

/// A store of checked values. Cheap to clone; all clones are one store.
///
/// Keys are not empty and do not start with the byte 0, which is the store's own.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kv: Arc<dyn Kv>,
    /// Held for writing only while a batch becomes visible, never during a sync.
    visible: RwLock<()>,
    writer: Mutex<Writer>,
}

/// What the one who writes or syncs knows.
#[derive(Debug, Default)]
struct Writer {
    unsynced_bytes: usize,
    /// Whether all that is there is known to be synced. What an earlier process left may not be.
    all_synced: bool,
    /// What the caller noted last; synced by the next sync.
    noted: Option<Watermark>,
    /// The newest watermark that is synced and not in the file.
    due: Option<Watermark>,
    syncs_since_mark: u32,
}

impl Values {
    /// Opens the store in a directory, or makes one.
    ///
    /// # Errors
    ///
    /// Every kind but `Failed`, `RolledBack` and `TooLarge`: see [`KvError`]. After [`KvError::Corrupt`] the
    /// store may be moved away with [`super::set_aside`].
    pub(crate) fn open(path: &Path, options: &StoreOptions) -> Result<Self, KvError> {
        Self::over(Arc::new(SledKv::open(path, options)?))
    }

    /// Opens a store in memory.
    ///
    /// # Errors
    ///
    /// As [`Values::open`], as far as the memory was told to err.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn memory(memory: &Memory) -> Result<Self, KvError> {
        Self::over(Arc::new(memory.open()?))
    }

    /// Puts the values above an engine that is open.
    fn over(kv: Arc<dyn Kv>) -> Result<Self, KvError> {
        check_format(kv.as_ref())?;
        Ok(Self { inner: Arc::new(Inner { kv, visible: RwLock::new(()), writer: Mutex::default() }) })
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    ///
    /// [`KvError::Damaged`] when the value is damaged; else as the engine.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.view().get(key)
    }

    /// Returns at most `limit` pairs with keys in `[first, end)`, ascending.
    ///
    /// # Errors
    ///
    /// [`KvError::Damaged`] when one of the values is damaged; else as the engine.
    pub(crate) fn scan(&self, first: &[u8], end: &[u8], limit: usize) -> Result<Pairs, KvError> {
        self.view().scan(first, end, limit)
    }

    /// Returns at most `limit` pairs with keys in `[first, end)`, descending.
    ///
    /// # Errors
    ///
    /// As [`Values::scan`].
    pub(crate) fn scan_back(&self, first: &[u8], end: &[u8], limit: usize) -> Result<Pairs, KvError> {
        self.view().scan_back(first, end, limit)
    }

    /// Returns at most `limit` pairs with keys in `[first, end)`, from the side that `order` names, whatever their
    /// values: a damaged one is `None`.
    ///
    /// # Errors
    ///
    /// As the engine.
    pub(crate) fn scan_checked(
        &self,
        first: &[u8],
        end: &[u8],
        limit: usize,
        order: Order,
    ) -> Result<Checked, KvError> {
        self.view().checked(first, end, limit, order)
    }

    /// Returns at most `limit` keys in `[first, end)`, ascending, whatever their values look like.
    ///
    /// # Errors
    ///
    /// [`KvError`] when the store fails.
    pub(crate) fn keys(&self, first: &[u8], end: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, KvError> {
        let pairs = self.view().kv.scan(first.max(CALLERS_FIRST), end, limit, Order::Ascending)?;
        Ok(pairs.into_iter().map(|(key, _)| key).collect())
    }

    /// Returns a view for related reads. No batch becomes visible while it is held, so hold it briefly, and
    /// never while writing.
    #[must_use]
    pub(crate) fn view(&self) -> View<'_> {
        let guard = self.inner.visible.read().unwrap_or_else(PoisonError::into_inner);
        View { kv: self.inner.kv.as_ref(), _guard: guard }
    }

    /// Applies a batch, all or nothing: visible and *written* on return. Syncs first when more than
    /// [`UNSYNCED_BYTES_MAX`] would be unsynced, and afterwards when the batch alone is larger.
    ///
    /// # Errors
    ///
    /// [`KvError::TooLarge`] for a value over [`VALUE_TOTAL_BYTES_MAX`], with nothing written; else as the
    /// engine, and then the store must be opened again.
    ///
    /// # Panics
    ///
    /// When a key is empty or starts with the byte 0.
    pub(crate) fn write(&self, batch: KvBatch) -> Result<(), KvError> {
        let mut writer = self.writer();
        let stored = self.stored(batch)?;
        let bytes = stored.bytes();
        if writer.unsynced_bytes > 0 && writer.unsynced_bytes + bytes > UNSYNCED_BYTES_MAX {
            self.sync_as(&mut writer)?;
        }
        writer.all_synced = false;
        {
            let _hidden = self.inner.visible.write().unwrap_or_else(PoisonError::into_inner);
            self.inner.kv.write(&stored)?;
        }
        writer.unsynced_bytes += bytes;
        if writer.unsynced_bytes > UNSYNCED_BYTES_MAX {
            self.sync_as(&mut writer)?;
        }
        Ok(())
    }

    /// Makes everything written before the call *synced*. Writes wait for it, reads do not.
    ///
    /// # Errors
    ///
    /// As the engine, and then the store must be opened again.
    pub(crate) fn sync(&self) -> Result<(), KvError> {
        self.sync_as(&mut self.writer())
    }

    /// Notes what the journal ends with, as far as it is written. It goes into the watermark file once it is
    /// synced: every [`WATERMARK_SYNCS`] syncs and at the close.
    pub(crate) fn note_watermark(&self, position: Position, hash: [u8; 32]) {
        self.writer().noted = Some(Watermark { position, hash });
    }

    /// Returns the watermark found when the store was opened.
    #[must_use]
    pub(crate) fn watermark(&self) -> Option<Watermark> {
        self.inner.kv.found().watermark
    }

    /// Tells whether the previous run closed cleanly and these are the very files that it closed.
    #[must_use]
    pub(crate) fn closed_cleanly(&self) -> bool {
        self.inner.kv.found().closed_cleanly
    }

    /// Returns the bytes that the store takes on disk.
    ///
    /// # Errors
    ///
    /// As the engine.
    pub(crate) fn disk_bytes(&self) -> Result<u64, KvError> {
        self.inner.kv.disk_bytes()
    }

    /// Syncs, writes the watermark and closes the store, so that the next open finds it closed cleanly. All
    /// clones are closed by it. A store that failed is closed without the mark, and may be opened again.
    ///
    /// # Errors
    ///
    /// As the engine; [`KvError::Failed`] also when it was closed before.
    pub(crate) fn close(&self) -> Result<(), KvError> {
        let mut writer = self.writer();
        let synced = self.sync_as(&mut writer).and_then(|()| self.mark(&mut writer));
        let closed = self.inner.kv.close();
        synced.and(closed)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync_as(&self, writer: &mut Writer) -> Result<(), KvError> {
        if !writer.all_synced {
            self.inner.kv.sync()?;
        }
        writer.all_synced = true;
        writer.unsynced_bytes = 0;
        writer.due = writer.noted.take().or(writer.due);
        writer.syncs_since_mark = writer.syncs_since_mark.saturating_add(1);
        if writer.syncs_since_mark >= WATERMARK_SYNCS { self.mark(writer) } else { Ok(()) }
    }

    fn mark(&self, writer: &mut Writer) -> Result<(), KvError> {
        if let Some(watermark) = writer.due {
            self.inner.kv.mark(&watermark)?;
            writer.due = None;
            writer.syncs_since_mark = 0;
        }
        Ok(())
    }

    /// Turns a caller's batch into the engine's: splits long values and removes the pieces that they replace.
    fn stored(&self, batch: KvBatch) -> Result<KvBatch, KvError> {
        let mut stored = KvBatch::default();
        for (key, value) in batch.ops {
            assert!(
                key.first().is_some_and(|class| *class != OWN_CLASS),
                "keys of class 0 are the store's own"
            );
            let bytes = value.as_ref().map_or(0, Vec::len);
            if bytes > VALUE_TOTAL_BYTES_MAX {
                return Err(KvError::TooLarge { bytes, bytes_max: VALUE_TOTAL_BYTES_MAX });
            }
            for stale in self.piece_keys(&key)? {
                stored.remove(stale);
            }
            match value {
                Some(value) => {
                    piece::split(&key, &value).into_iter().for_each(|(key, value)| stored.put(key, value))
                }
                None => stored.remove(key),
            }
        }
        Ok(stored)
    }

    /// Returns the keys of the pieces that the value of a key has. A damaged head does not say how many there
    /// are, so they are looked for.
    fn piece_keys(&self, key: &[u8]) -> Result<Vec<Vec<u8>>, KvError> {
        let kv = self.inner.kv.as_ref();
        let Some(head) = kv.get(key)? else { return Ok(Vec::new()) };
        match piece::open(key, &head) {
            Some(Stored::Whole(_)) => Ok(Vec::new()),
            Some(Stored::Head { total, .. }) => {
                Ok((1..=piece::pieces(total)).map(|number| piece::piece_key(key, number)).collect())
            }
            None => {
                let (first, end) = (piece::piece_key(key, 0), piece::piece_key(key, u32::MAX));
                let found = kv.scan(&first, &end, usize::MAX, Order::Ascending)?;
                // Pieces of longer keys may lie between.
                Ok(found.into_iter().map(|(key, _)| key).filter(|key| key.len() == first.len()).collect())
            }
        }
    }
}

/// One state of the store. Writers wait until it is dropped.
#[derive(Debug)]
pub(crate) struct View<'a> {
    kv: &'a dyn Kv,
    _guard: RwLockReadGuard<'a, ()>,
}

impl View<'_> {
    /// Returns the value of a key.
    ///
    /// # Errors
    ///
    /// As [`Values::get`].
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        if key < CALLERS_FIRST {
            return Ok(None);
        }
        let Some(stored) = self.kv.get(key)? else { return Ok(None) };
        self.value(key, &stored).map(Some)
    }

    /// Returns at most `limit` pairs with keys in `[first, end)`, ascending.
    ///
    /// # Errors
    ///
    /// As [`Values::scan`].
    pub(crate) fn scan(&self, first: &[u8], end: &[u8], limit: usize) -> Result<Pairs, KvError> {
        self.pairs(first, end, limit, Order::Ascending)
    }

    /// Returns at most `limit` pairs with keys in `[first, end)`, descending.
    ///
    /// # Errors
    ///
    /// As [`Values::scan`].
    pub(crate) fn scan_back(&self, first: &[u8], end: &[u8], limit: usize) -> Result<Pairs, KvError> {
        self.pairs(first, end, limit, Order::Descending)
    }

    fn pairs(&self, first: &[u8], end: &[u8], limit: usize, order: Order) -> Result<Pairs, KvError> {
        let mut pairs = self.kv.scan(first.max(CALLERS_FIRST), end, limit, order)?;
        for (key, value) in &mut pairs {
            *value = self.value(key, value)?;
        }
        Ok(pairs)
    }

    fn checked(&self, first: &[u8], end: &[u8], limit: usize, order: Order) -> Result<Checked, KvError> {
        let pairs = self.kv.scan(first.max(CALLERS_FIRST), end, limit, order)?;
        let checked = pairs.into_iter().map(|(key, stored)| match self.value(&key, &stored) {
            Ok(value) => Ok((key, Some(value))),
            Err(KvError::Damaged { .. }) => Ok((key, None)),
            Err(error) => Err(error),
        });
        checked.collect()
    }

    fn value(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, KvError> {
        match piece::open(key, stored) {
            Some(Stored::Whole(value)) => Ok(value),
            Some(Stored::Head { tag, total, first }) => self.assembled(key, tag, total, first),
            None => Err(damaged(key)),
        }
    }

    fn assembled(&self, key: &[u8], tag: Tag, total: usize, mut value: Vec<u8>) -> Result<Vec<u8>, KvError> {
        for number in 1..=piece::pieces(total) {
            let piece_key = piece::piece_key(key, number);
            let stored = self.kv.get(&piece_key)?.ok_or_else(|| damaged(key))?;
            piece::append(&mut value, &piece_key, &stored, &tag).ok_or_else(|| damaged(key))?;
        }
        if value.len() == total { Ok(value) } else { Err(damaged(key)) }
    }
}

fn damaged(key: &[u8]) -> KvError {
    KvError::Damaged { key: RawKey(key.to_vec()) }
}

/// Refuses a store of a newer format, and writes ours into an empty one.
fn check_format(kv: &dyn Kv) -> Result<(), KvError> {
    let Some(stored) = kv.get(FORMAT_KEY)? else {
        if !kv.scan(&[], &[0xff; 8], 1, Order::Ascending)?.is_empty() {
            return Err(KvError::Corrupt { what: "a store without a format".into() });
        }
        let mut batch = KvBatch::default();
        batch.put(FORMAT_KEY.to_vec(), format_value(FORMAT));
        kv.write(&batch)?;
        return kv.sync();
    };
    let found = stored.first_chunk().map_or(0, |found| u32::from_le_bytes(*found));
    if found == 0 || stored != format_value(found) {
        return Err(KvError::Corrupt { what: "the format of the store".into() });
    }
    if found > FORMAT {
        return Err(KvError::Format { found, known: FORMAT });
    }
    Ok(())
}

fn format_value(format: u32) -> Vec<u8> {
    let mut out = format.to_le_bytes().to_vec();
    let hash = blake3::Hasher::new().update(b"driftless/format\0").update(&out).finalize();
    out.extend(hash.as_bytes().iter().take(8));
    out
}

#[cfg(test)]
mod tests;
