//! Rewrites a closed store into a fresh one, which gives the space of its garbage back.
//!
//! The engine keeps several times the live bytes under many overwrites and never shrinks its file. A crash at
//! any place leaves the old store or the new one, both complete.

use std::fs;
use std::io;
use std::path::Path;

use super::files::{self, COMPACTED, COMPACTING, FileIdentity, MarkFile, STORE};
use super::{Kv, KvBatch, KvError, Order, SledKv, StoreOptions};
use crate::limits::UNSYNCED_BYTES_MAX;

/// What a rewrite did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// Bytes on disk before.
    pub(crate) bytes_before: u64,
    /// Bytes on disk after.
    pub(crate) bytes_after: u64,
}

/// Pairs copied at a time; of the largest pieces they are 2 MB.
const PAIRS_AT_ONCE: usize = 64;

/// Rewrites the store in a directory. It must be closed, and needs room for a second copy of what is live.
///
/// Damaged values stay damaged, and the mark of a clean close is kept if there was one.
///
/// # Errors
///
/// [`KvError::Locked`] when the store is open, or was opened meanwhile; [`KvError::Full`] when there is no
/// room; else as an open. The store is as it was then.
pub(crate) fn compact(path: &Path, options: &StoreOptions) -> Result<Compacted, KvError> {
    let refused = |error: io::Error| files::from_io("compacting the store", path, &error);
    let (store, aside) = (path.join(STORE), path.join(COMPACTING));
    let old = SledKv::open(path, options)?;
    let rewritten = rewrite(&old, &aside, options);
    let clean = old.found().closed_cleanly;
    let bytes_before = old.disk_bytes()?;
    old.close()?;
    keep_unclean(clean, &store).map_err(refused)?;
    let closed = FileIdentity::of(&store.join("db"));
    let _lock = files::lock(path)?;
    let moved = rewritten.and_then(|()| {
        if FileIdentity::of(&store.join("db")) != closed {
            return Err(KvError::Locked { path: path.display().to_string() });
        }
        keep_unclean(clean, &aside.join(STORE)).map_err(refused)?;
        fs::rename(aside.join(STORE), path.join(COMPACTED)).map_err(refused)?;
        files::sync_dir(path).map_err(refused)
    });
    files::finish_compaction(path).map_err(refused)?;
    moved?;
    Ok(Compacted { bytes_before, bytes_after: files::bytes_below(&store).map_err(refused)? })
}

fn rewrite(old: &SledKv, aside: &Path, options: &StoreOptions) -> Result<(), KvError> {
    let fresh = SledKv::open(aside, options)?;
    let mut first = Vec::new();
    loop {
        // Keys are far shorter, so this is behind all of them.
        let pairs = old.scan(&first, &[0xff; 512], PAIRS_AT_ONCE, Order::Ascending)?;
        let Some((last, _)) = pairs.last() else { break };
        first.clone_from(last);
        first.push(0);
        let mut batch = KvBatch::default();
        for (key, value) in pairs {
            batch.put(key, value);
            if batch.bytes() >= UNSYNCED_BYTES_MAX / 2 {
                copy(&fresh, &std::mem::take(&mut batch))?;
            }
        }
        copy(&fresh, &batch)?;
    }
    if let Some(watermark) = old.found().watermark {
        fresh.mark(&watermark)?;
    }
    fresh.close()
}

fn copy(fresh: &SledKv, batch: &KvBatch) -> Result<(), KvError> {
    fresh.write(batch)?;
    fresh.sync()
}

/// Takes the mark of a clean close away again where there was none before.
fn keep_unclean(clean: bool, store: &Path) -> io::Result<()> {
    if !clean {
        MarkFile::open(store, &store.join("db"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Watermark;
    use super::*;
    use crate::id::Position;

    #[test]
    fn compaction_keeps_every_pair_the_watermark_and_the_clean_mark() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions::default();
        let open = || SledKv::open(dir.path(), &options).unwrap();
        let all = |kv: &SledKv| kv.scan(&[], &[0xff], usize::MAX, Order::Ascending).unwrap();
        let kv = open();
        for round in 0..20_u8 {
            for number in 0..40_u8 {
                let mut batch = KvBatch::default();
                (0..20).for_each(|part| batch.put(vec![number, part], vec![round; 900]));
                kv.write(&batch).unwrap();
            }
            kv.sync().unwrap();
        }
        let mark = Watermark { position: Position(3), hash: [3; 32] };
        kv.mark(&mark).unwrap();
        let before = all(&kv);
        assert_eq!(compact(dir.path(), &options).map(drop), Err(locked(dir.path())));
        kv.close().unwrap();

        let compacted = compact(dir.path(), &options).unwrap();

        let kv = open();
        assert!(compacted.bytes_after < compacted.bytes_before, "{compacted:?}");
        assert_eq!(kv.found().watermark, Some(mark));
        assert_eq!(kv.found().closed_cleanly, cfg!(unix));
        assert_eq!(all(&kv), before);
        assert!(!dir.path().join(COMPACTING).exists());
    }

    #[test]
    fn compaction_of_a_store_that_was_not_closed_cleanly_does_not_make_it_so() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions::default();
        drop(SledKv::open(dir.path(), &options).unwrap());

        compact(dir.path(), &options).unwrap();

        assert!(!SledKv::open(dir.path(), &options).unwrap().found().closed_cleanly);
    }

    #[test]
    fn open_finishes_a_compaction_that_was_interrupted_and_drops_one_that_was_not_done() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions::default();
        let with_value = |path: &Path, value: &[u8]| {
            let kv = SledKv::open(path, &options).unwrap();
            let mut batch = KvBatch::default();
            batch.put(b"a".to_vec(), value.to_vec());
            kv.write(&batch).unwrap();
            kv.close().unwrap();
        };
        let value = || {
            let kv = SledKv::open(dir.path(), &options).unwrap();
            let value = kv.get(b"a").unwrap().unwrap();
            kv.close().unwrap();
            value
        };
        let aside = dir.path().join(COMPACTING);
        with_value(dir.path(), b"old");
        with_value(&aside, b"half");
        assert_eq!(value(), b"old");
        assert!(!aside.exists());

        with_value(&aside, b"new");
        fs::rename(aside.join(STORE), dir.path().join(COMPACTED)).unwrap();
        assert_eq!(value(), b"new");

        // The old one was removed already.
        fs::rename(dir.path().join(STORE), dir.path().join(COMPACTED)).unwrap();
        assert_eq!(value(), b"new");
        assert!(!dir.path().join(COMPACTED).exists());
    }

    /// sled keeps four to five times the live bytes under overwrites.
    #[test]
    fn overwrites_stay_within_five_times_the_live_bytes_after_compaction() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions::default();
        let kv = SledKv::open(dir.path(), &options).unwrap();
        let live_bytes: u64 = 3_000 * 2_000;
        for round in 0..12_u8 {
            for block in 0..30_u8 {
                let mut batch = KvBatch::default();
                (0..100).for_each(|number| batch.put(vec![number, block], vec![round; 1_998]));
                kv.write(&batch).unwrap();
                kv.sync().unwrap();
            }
        }
        kv.close().unwrap();

        let compacted = compact(dir.path(), &options).unwrap();

        println!("live {live_bytes}, {compacted:?}");
        assert!(compacted.bytes_after <= live_bytes * 5, "{compacted:?}");
    }

    fn locked(path: &Path) -> KvError {
        KvError::Locked { path: path.join("lock").display().to_string() }
    }
}
