//! The key-value engine behind one trait: sled on disk, and a memory that crashes on request.
//!
//! Engines store small pieces and promise order, atomic batches and an honest `sync`. What a value is, its
//! checksum, and how much may stay unsynced is decided once, above them, in [`super::Values`].

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use crate::id::Position;

pub(crate) mod compact;
pub(crate) mod files;
#[cfg(any(test, feature = "sim"))]
pub(crate) mod memory;
mod sled;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crash;
#[cfg(test)]
pub(crate) mod damage;
#[cfg(test)]
mod power;

pub(crate) use self::sled::SledKv;

/// An engine. All methods may be called from any thread; writes and syncs come from one at a time.
pub(crate) trait Kv: Send + Sync + fmt::Debug + 'static {
    /// Returns the value of a key.
    ///
    /// # Errors
    ///
    /// [`KvError::Failed`] after any earlier error; else what the engine met.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;

    /// Returns at most `limit` pairs with keys in `[first, end)`, from the side that `order` names.
    ///
    /// # Errors
    ///
    /// As [`Kv::get`].
    fn scan(&self, first: &[u8], end: &[u8], limit: usize, order: Order) -> Result<Pairs, KvError>;

    /// Applies a batch, all or nothing: visible and *written* on return.
    ///
    /// # Errors
    ///
    /// As [`Kv::get`]. Whether the batch of a failed write is found after reopening is not known.
    fn write(&self, batch: &KvBatch) -> Result<(), KvError>;

    /// Makes everything written before the call *synced*.
    ///
    /// # Errors
    ///
    /// As [`Kv::get`].
    fn sync(&self) -> Result<(), KvError>;

    /// Returns the bytes that the store takes on disk.
    ///
    /// # Errors
    ///
    /// As [`Kv::get`].
    fn disk_bytes(&self) -> Result<u64, KvError>;

    /// Returns what the previous run left, as found when this one opened the store.
    fn found(&self) -> Found;

    /// Writes and syncs the watermark. It must not be ahead of what is synced.
    ///
    /// # Errors
    ///
    /// As [`Kv::get`].
    fn mark(&self, watermark: &Watermark) -> Result<(), KvError>;

    /// Ends politely: syncs, releases the store and marks it as closed cleanly.
    ///
    /// # Errors
    ///
    /// As [`Kv::get`]. The store is released even then, without the mark.
    fn close(&self) -> Result<(), KvError>;
}

/// Keys with their values.
pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Keys with their values, `None` for one that is damaged.
pub(crate) type Checked = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The bytes of a key, which print as hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RawKey(pub(crate) Vec<u8>);

impl fmt::Display for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The side from which a scan starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// From the smallest key.
    Ascending,
    /// From the largest key.
    Descending,
}

/// Puts and removals that happen together. The last one of a key counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct KvBatch {
    pub(crate) ops: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl KvBatch {
    /// Sets the value of a key.
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.ops.insert(key, Some(value));
    }

    /// Removes a key. A key that is not there may be removed.
    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.ops.insert(key, None);
    }

    /// Returns the bytes of all keys and values.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.ops.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }
}

/// How a store on disk is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub(crate) struct StoreOptions {
    /// Memory for cached pages, in bytes; default 32 MiB, held between 16 and 64 MiB. Less means more reads
    /// from disk.
    pub(crate) cache_bytes: u64,
    /// Time after which an open is given up, in milliseconds; default 60,000. A damaged log can make the
    /// engine wait for ever.
    pub(crate) open_deadline_ms: u64,
    /// Leaves out our own sync, to show what the engine's alone is worth.
    #[cfg(test)]
    pub(crate) bare_flush: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 32 * 1024 * 1024,
            open_deadline_ms: 60_000,
            #[cfg(test)]
            bare_flush: false,
        }
    }
}

/// A place in the journal that was on disk at some time, kept outside of the engine.
///
/// A store that holds less than its watermark went back in time, which the engine does not notice by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watermark {
    /// The last journal entry.
    pub(crate) position: Position,
    /// The hash of that entry.
    pub(crate) hash: [u8; 32],
}

impl Watermark {
    /// Compares with what an opened store holds: its last position, and the hash of its entry at the position
    /// of the watermark, if that is still kept.
    ///
    /// # Errors
    ///
    /// [`KvError::RolledBack`] when the store holds less, or another entry in that place.
    pub(crate) fn check(&self, held: Position, hash: Option<[u8; 32]>) -> Result<(), KvError> {
        let replaced = hash.is_some_and(|hash| hash != self.hash);
        if held < self.position || replaced {
            return Err(KvError::RolledBack { from: self.position.0, to: held.0.min(self.position.0) });
        }
        Ok(())
    }
}

/// What the previous run left beside the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The last watermark, if one was ever written and can be read.
    pub(crate) watermark: Option<Watermark>,
    /// Whether the previous run closed cleanly and these are the very files that it closed. A copied or
    /// restored store says no.
    pub(crate) closed_cleanly: bool,
}

/// Why the store could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum KvError {
    /// Another process, or another handle in this one, has the store open.
    #[error("the store in {path} is in use by another process")]
    Locked {
        /// The lock file.
        path: String,
    },
    /// The store is damaged.
    #[error("the store is damaged: {what}")]
    Corrupt {
        /// What is damaged.
        what: String,
    },
    /// One value is damaged, and never served. All others can be used.
    #[error("the value of key {key} is damaged")]
    Damaged {
        /// Its key.
        key: RawKey,
    },
    /// The store holds less than it once had on disk.
    #[error("the store went back from position {from} to {to}")]
    RolledBack {
        /// The position of the watermark.
        from: u64,
        /// The position up to which the store can be trusted, at most.
        to: u64,
    },
    /// No space is left. The store must be opened again when there is.
    #[error("the disk is full")]
    Full,
    /// The store may not be written to.
    #[error("the store in {path} may only be read")]
    ReadOnly {
        /// The directory.
        path: String,
    },
    /// The disk or the system refused.
    #[error("{what}: {reason}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        reason: String,
    },
    /// An earlier error ended the use of this handle; the store must be opened again.
    #[error("the store failed earlier and must be opened again: {reason}")]
    Failed {
        /// The first error.
        reason: String,
    },
    /// A newer program wrote the store.
    #[error("a store of format {found}; this program reads {known}")]
    Format {
        /// The format of the store.
        found: u32,
        /// The newest format that this program reads.
        known: u32,
    },
    /// A value is larger than the store takes.
    #[error("a value of {bytes} bytes exceeds {bytes_max}")]
    TooLarge {
        /// The bytes of the value.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

impl KvError {
    /// Returns the key of the value that is damaged, when that is the error.
    #[must_use]
    pub(crate) fn key(&self) -> Option<&RawKey> {
        if let Self::Damaged { key } = self { Some(key) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watermark_accepts_a_store_that_holds_as_much_or_more() {
        let mark = Watermark { position: Position(7), hash: [1; 32] };

        assert_eq!(mark.check(Position(7), Some([1; 32])), Ok(()));
        assert_eq!(mark.check(Position(9), None), Ok(()));
    }

    #[test]
    fn watermark_reports_a_store_that_holds_less_or_something_else() {
        let mark = Watermark { position: Position(7), hash: [1; 32] };

        assert_eq!(mark.check(Position(5), None), Err(KvError::RolledBack { from: 7, to: 5 }));
        assert_eq!(mark.check(Position(9), Some([2; 32])), Err(KvError::RolledBack { from: 7, to: 7 }));
    }

    #[test]
    fn last_operation_of_a_key_counts() {
        let mut batch = KvBatch::default();

        batch.put(vec![1], vec![1, 2, 3]);
        batch.remove(vec![1]);

        assert_eq!(batch.bytes(), 1);
        assert_eq!(batch.ops.get([1].as_slice()), Some(&None));
    }
}
