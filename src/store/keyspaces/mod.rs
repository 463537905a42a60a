//! The typed keyspaces: one class byte, typed keys and typed values over [`Values`].
//!
//! ```text
//! class  keyspace     key after the class byte                        value
//!     1  meta         name                                            bytes
//!     2  statement    space, hash                                     signed statement
//!     3  change       space, collection, entity, arrival              author and change chunk: the truth
//!     4  snapshot     space, collection, entity                       saved document: a cache
//!     5  head         space, collection, entity                       heads, clock, flags, counters
//!     6  row          space, collection, entity                       type version and row bytes
//!     7  commit       space, collection, origin, oseq                 record, or where the record is
//!     8  journal      position                                        what was applied, and from whom
//!     9  vector       space, collection, origin                       which commits are held
//!    10  root         space, collection                               fingerprint
//!    11  acked        space, collection, origin, peer                 which commits a peer has on disk
//!    12  quarantine   space, author, number                           a commit held back, and why
//!    13  clash        space, collection, origin                       two commits that cannot both be
//!    14  damaged      space, collection, entity                       what is lost of it until a peer sends it again
//!    15  copy         space, hash                                     signed statement, once more
//!    16  base         space, peer                                     on which vectors the two agreed
//!    17  index        space, collection, entity                       what a peer told of an entity: how far it has come
//! ```
//!
//! Numbers in keys are eight bytes, big endian, so that the order of keys is the order of numbers. A collection
//! in a key is its name and a zero byte, which no name contains, so no key is the beginning of another's fields.

use crate::codec::{CodecError, Decode, Encode, Reader, Writer};
use crate::store::Values;
use crate::store::kv::{KvBatch, KvError, Order, RawKey};

mod commit;
mod damaged;
mod entity;
mod journal;
mod keys;
mod meta;
mod vector;

pub(crate) use commit::{ClashRecord, CommitEntry, CommitRecord, HeldCause, HeldRecord, Since, SlotRecord};
pub(crate) use damaged::DamagedRecord;
pub(crate) use entity::{Change, Head, RowRecord, Snapshot, SnapshotMark};
pub(crate) use journal::{JournalEntry, JournalPart};
pub(crate) use keys::{
    AckedKey, Arrival, BaseKey, ChangeKey, ClashKey, CommitId, CopyKey, DamagedKey, HeadKey, HeldKey,
    IndexKey, JournalKey, MetaKey, Prefix, RootKey,
};
pub(crate) use keys::{RowKey, SnapshotKey, StatementKey, VectorKey};
pub(crate) use meta::{
    META_ASKED, META_ERASING, META_GATE, META_HUB, META_INCARNATION, META_JOINING, META_OPEN_MS, Raw,
    meta_interests,
};
pub(crate) use vector::{BaseRecord, SeenRecord};

/// A typed key of one keyspace.
pub(crate) trait Key: Sized {
    /// The first byte of every key of the keyspace.
    const CLASS: u8;
    /// The name of the keyspace, for messages.
    const NAME: &'static str;
    /// What is stored under such a key.
    type Value: Encode + Decode;

    /// Appends the fields of the key, without the class byte.
    fn write(&self, out: &mut Writer);

    /// Reads the fields of a key, without the class byte.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when the bytes are not such a key.
    fn read(input: &mut Reader<'_>) -> Result<Self, CodecError>;

    /// Reads a whole key; `None` when it is one of another keyspace, or of none.
    fn from_key(key: &[u8]) -> Option<Self> {
        let mut input = Reader::new(key);
        let class = input.u8(Self::NAME).ok()?;
        let read = Self::read(&mut input).ok()?;
        (class == Self::CLASS && input.finish().is_ok()).then_some(read)
    }

    /// Returns the error of a damaged value under this key.
    fn damaged(&self) -> KvError {
        KvError::Damaged { key: RawKey(self.to_key()) }
    }

    /// Returns the whole key.
    fn to_key(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.u8(Self::CLASS);
        self.write(&mut out);
        out.into_bytes()
    }
}

/// Typed puts and removals that happen together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    kv: KvBatch,
    ops: usize,
}

impl Batch {
    /// Makes an empty batch.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Puts a value.
    pub(crate) fn put<K: Key>(&mut self, key: &K, value: &K::Value) {
        self.kv.put(key.to_key(), value.to_bytes());
        self.ops += 1;
    }

    /// Removes what is stored under a key of any keyspace.
    pub(crate) fn remove_raw(&mut self, key: &RawKey) {
        self.kv.remove(key.0.clone());
        self.ops += 1;
    }

    /// Removes a value.
    pub(crate) fn remove<K: Key>(&mut self, key: &K) {
        self.kv.remove(key.to_key());
        self.ops += 1;
    }

    /// Tells whether the batch does nothing.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.ops == 0
    }
}

/// Typed reading and writing. Cheap to clone; every clone sees the same store.
#[derive(Clone, Debug)]
pub(crate) struct Keyspaces {
    values: Values,
}

impl Keyspaces {
    /// Lays the keyspaces over checked values.
    #[must_use]
    pub(crate) fn new(values: Values) -> Self {
        Self { values }
    }

    /// Writes a batch: all of it or nothing.
    ///
    /// # Errors
    ///
    /// [`KvError`] when the store fails.
    pub(crate) fn write(&self, batch: Batch) -> Result<(), KvError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.values.write(batch.kv)
    }

    /// Reads one value.
    ///
    /// # Errors
    ///
    /// [`KvError::Corrupt`] when the bytes are no such value, and whatever the store fails with.
    pub(crate) fn get<K: Key>(&self, key: &K) -> Result<Option<K::Value>, KvError> {
        let Some(bytes) = self.values.get(&key.to_key())? else { return Ok(None) };
        decode::<K>(&bytes).map(Some)
    }

    /// Reads at most `limit` values under a prefix, in order of their keys, beginning behind `after`.
    ///
    /// # Errors
    ///
    /// As [`Keyspaces::get`].
    pub(crate) fn page<K: Key>(
        &self,
        prefix: &Prefix<K>,
        after: Option<&K>,
        limit: usize,
    ) -> Result<Vec<(K, K::Value)>, KvError> {
        let first = after.map_or_else(|| prefix.first(), |after| next_key(after.to_key()));
        self.between(&first, &prefix.end(), limit)
    }

    /// Reads at most `limit` values with keys from `first` to `last`, both included, in order.
    ///
    /// # Errors
    ///
    /// As [`Keyspaces::get`].
    pub(crate) fn range<K: Key>(
        &self,
        first: &K,
        last: &K,
        limit: usize,
    ) -> Result<Vec<(K, K::Value)>, KvError> {
        self.between(&first.to_key(), &next_key(last.to_key()), limit)
    }

    /// Reads all values under a prefix, a page at a time, and hands each to `each`.
    ///
    /// # Errors
    ///
    /// As [`Keyspaces::get`], and whatever `each` fails with.
    pub(crate) fn each<K: Key, E: From<KvError>>(
        &self,
        prefix: &Prefix<K>,
        each: impl FnMut(K, K::Value) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_behind(prefix, None, each)
    }

    /// Reads those behind `after`, or all, as [`Keyspaces::each`] does.
    ///
    /// # Errors
    ///
    /// As [`Keyspaces::each`].
    pub(crate) fn each_behind<K: Key, E: From<KvError>>(
        &self,
        prefix: &Prefix<K>,
        after: Option<&K>,
        mut each: impl FnMut(K, K::Value) -> Result<(), E>,
    ) -> Result<(), E> {
        const PAGE: usize = 256;
        let mut first = after.map_or_else(|| prefix.first(), |after| next_key(after.to_key()));
        let end = prefix.end();
        loop {
            let page = self.between::<K>(&first, &end, PAGE)?;
            let full = page.len() == PAGE;
            if let Some((last, _)) = page.last() {
                first = next_key(last.to_key());
            }
            for (key, value) in page {
                each(key, value)?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Reads all values under a prefix as [`Keyspaces::each`] does, `None` for one that is damaged.
    ///
    /// # Errors
    ///
    /// When the store fails, and whatever `each` fails with.
    pub(crate) fn each_checked<K: Key, E: From<KvError>>(
        &self,
        prefix: &Prefix<K>,
        mut each: impl FnMut(K, Option<K::Value>) -> Result<(), E>,
    ) -> Result<(), E> {
        const PAGE: usize = 256;
        let (mut first, end) = (prefix.first(), prefix.end());
        loop {
            let page = self.values.scan_checked(&first, &end, PAGE, Order::Ascending)?;
            let full = page.len() == PAGE;
            if let Some((last, _)) = page.last() {
                first = next_key(last.clone());
            }
            for (key, value) in page {
                match value {
                    Some(value) => {
                        let (key, value) = entry::<K>(&key, &value)?;
                        each(key, Some(value))?;
                    }
                    None => each(K::from_key(&key).ok_or_else(|| not_a_key::<K>())?, None)?,
                }
            }
            if !full {
                return Ok(());
            }
        }
    }

    /// Returns the smallest key under a prefix behind `after`, whatever its value.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub(crate) fn key_after<K: Key>(
        &self,
        prefix: &Prefix<K>,
        after: Option<&K>,
    ) -> Result<Option<K>, KvError> {
        let first = after.map_or_else(|| prefix.first(), |after| next_key(after.to_key()));
        let found = self.values.scan_checked(&first, &prefix.end(), 1, Order::Ascending)?;
        Ok(found.first().and_then(|(key, _)| K::from_key(key)))
    }

    /// Returns the largest key under a prefix, whatever its value.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub(crate) fn last_key<K: Key>(&self, prefix: &Prefix<K>) -> Result<Option<K>, KvError> {
        let found = self.values.scan_checked(&prefix.first(), &prefix.end(), 1, Order::Descending)?;
        Ok(found.first().and_then(|(key, _)| K::from_key(key)))
    }

    /// Returns at most `limit` keys of all keyspaces behind `after`, and whether their values are sound.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub(crate) fn look(&self, after: Option<&RawKey>, limit: usize) -> Result<Vec<(RawKey, bool)>, KvError> {
        let first = after.map_or_else(Vec::new, |after| next_key(after.0.clone()));
        let found = self.values.scan_checked(&first, &[u8::MAX], limit, Order::Ascending)?;
        Ok(found.into_iter().map(|(key, value)| (RawKey(key), value.is_some())).collect())
    }

    /// Removes at most `limit` values under a prefix, readable or not, and returns how many it found.
    ///
    /// # Errors
    ///
    /// [`KvError`] when the store fails.
    pub(crate) fn clear<K: Key>(&self, prefix: &Prefix<K>, limit: usize) -> Result<usize, KvError> {
        let keys = self.values.keys(&prefix.first(), &prefix.end(), limit)?;
        let mut batch = Batch::new();
        let found = keys.len();
        for key in keys {
            batch.kv.remove(key);
            batch.ops += 1;
        }
        self.write(batch)?;
        Ok(found)
    }

    /// Reads the value with the largest key under a prefix.
    ///
    /// # Errors
    ///
    /// As [`Keyspaces::get`].
    pub(crate) fn last<K: Key>(&self, prefix: &Prefix<K>) -> Result<Option<(K, K::Value)>, KvError> {
        let found = self.values.scan_back(&prefix.first(), &prefix.end(), 1)?;
        found.into_iter().next().map(|(key, value)| entry::<K>(&key, &value)).transpose()
    }

    /// Returns the values below.
    #[must_use]
    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    fn between<K: Key>(&self, first: &[u8], end: &[u8], limit: usize) -> Result<Vec<(K, K::Value)>, KvError> {
        if first >= end {
            return Ok(Vec::new());
        }
        let found = self.values.scan(first, end, limit)?;
        found.iter().map(|(key, value)| entry::<K>(key, value)).collect()
    }
}

fn entry<K: Key>(key: &[u8], value: &[u8]) -> Result<(K, K::Value), KvError> {
    let mut input = Reader::new(key);
    let read = input.u8(K::NAME).and_then(|_| K::read(&mut input));
    let key = read.and_then(|key| input.finish().map(|()| key)).map_err(|error| corrupt::<K>(&error))?;
    Ok((key, decode::<K>(value)?))
}

fn decode<K: Key>(bytes: &[u8]) -> Result<K::Value, KvError> {
    K::Value::from_bytes(bytes).map_err(|error| corrupt::<K>(&error))
}

fn corrupt<K: Key>(error: &CodecError) -> KvError {
    KvError::Corrupt { what: format!("{}: {error}", K::NAME) }
}

fn not_a_key<K: Key>() -> KvError {
    KvError::Corrupt { what: format!("{}: a key that cannot be read", K::NAME) }
}

/// The smallest key behind `key`.
fn next_key(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

#[cfg(test)]
mod tests;
