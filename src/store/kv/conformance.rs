//! One suite for every engine: what [`Kv`] promises, run on sled and on the memory.

use std::path::PathBuf;

use super::memory::{Fault, Memory};
use super::*;

/// A place where an engine can be opened again and again.
enum Place {
    Disk(tempfile::TempDir),
    Memory(Memory),
}

impl Place {
    fn open(&self) -> Result<Box<dyn Kv>, KvError> {
        Ok(match self {
            Self::Disk(dir) => Box::new(SledKv::open(&dir.path().join("data"), &StoreOptions::default())?),
            Self::Memory(memory) => Box::new(memory.open()?),
        })
    }
}

/// Runs a claim on both engines.
fn on_both(claim: impl Fn(&Place)) {
    claim(&Place::Memory(Memory::new()));
    claim(&Place::Disk(tempfile::tempdir().unwrap()));
}

#[test]
fn get_returns_what_was_put_and_nothing_after_a_removal() {
    on_both(|place| {
        let kv = place.open().unwrap();

        kv.write(&batch(&[("a", Some("1")), ("b", Some(""))])).unwrap();
        assert_eq!(kv.get(b"a"), Ok(Some(b"1".to_vec())));
        assert_eq!(kv.get(b"b"), Ok(Some(Vec::new())));
        assert_eq!(kv.get(b"c"), Ok(None));

        kv.write(&batch(&[("a", None), ("b", Some("2")), ("never there", None)])).unwrap();
        assert_eq!(kv.get(b"a"), Ok(None));
        assert_eq!(kv.get(b"b"), Ok(Some(b"2".to_vec())));
    });
}

#[test]
fn scan_is_in_order_of_bytes_half_open_and_limited() {
    on_both(|place| {
        let kv = place.open().unwrap();
        kv.write(&batch(&[("a", Some("1")), ("ab", Some("2")), ("b", Some("3")), ("c", Some("4"))])).unwrap();
        let keys = |first: &str, end: &str, limit, order| {
            let pairs = kv.scan(first.as_bytes(), end.as_bytes(), limit, order).unwrap();
            pairs.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect::<Vec<_>>()
        };

        assert_eq!(keys("a", "c", 10, Order::Ascending), ["a", "ab", "b"]);
        assert_eq!(keys("a", "c", 10, Order::Descending), ["b", "ab", "a"]);
        assert_eq!(keys("a", "d", 2, Order::Ascending), ["a", "ab"]);
        assert_eq!(keys("a", "d", 2, Order::Descending), ["c", "b"]);
        assert_eq!(keys("aa", "b", 10, Order::Ascending), ["ab"]);
        assert_eq!(keys("", "b", 0, Order::Ascending), Vec::<String>::new());
        assert_eq!(keys("b", "b", 10, Order::Ascending), Vec::<String>::new());
        assert_eq!(keys("c", "a", 10, Order::Descending), Vec::<String>::new());
    });
}

#[test]
fn what_is_written_survives_a_dropped_handle_and_what_is_closed_a_reopen() {
    on_both(|place| {
        let kv = place.open().unwrap();
        assert_eq!(kv.found(), Found::default());
        kv.write(&batch(&[("a", Some("1"))])).unwrap();
        drop(kv);

        let kv = place.open().unwrap();
        assert_eq!(kv.get(b"a"), Ok(Some(b"1".to_vec())));
        assert!(!kv.found().closed_cleanly);
        kv.write(&batch(&[("b", Some("2"))])).unwrap();
        kv.sync().unwrap();
        kv.close().unwrap();

        let kv = place.open().unwrap();
        assert_eq!(kv.get(b"b"), Ok(Some(b"2".to_vec())));
        assert!(kv.found().closed_cleanly || cfg!(not(unix)));
        drop(kv);

        assert!(!place.open().unwrap().found().closed_cleanly, "the mark of a clean close counts once");
    });
}

#[test]
fn watermark_is_found_again_even_after_an_unclean_end() {
    on_both(|place| {
        let mark = |number| Watermark { position: Position(number), hash: [number as u8; 32] };
        for number in 1..=5 {
            let kv = place.open().unwrap();
            assert_eq!(kv.found().watermark, (number > 1).then(|| mark(number - 1)));
            kv.mark(&mark(number)).unwrap();
        }
    });
}

#[test]
fn an_open_store_is_locked_and_a_closed_one_is_not() {
    on_both(|place| {
        let kv = place.open().unwrap();

        let Err(KvError::Locked { path }) = place.open() else { panic!("a second open must be refused") };
        if let Place::Disk(dir) = place {
            assert_eq!(PathBuf::from(path), dir.path().join("data").join("lock"));
        }

        kv.close().unwrap();
        place.open().unwrap();
    });
}

#[test]
fn a_closed_handle_fails() {
    on_both(|place| {
        let kv = place.open().unwrap();
        kv.close().unwrap();

        let failed = KvError::Failed { reason: "the store is closed".into() };
        assert_eq!(kv.get(b"a"), Err(failed.clone()));
        assert_eq!(kv.write(&batch(&[("a", Some("1"))])), Err(failed.clone()));
        assert_eq!(kv.sync(), Err(failed.clone()));
        assert_eq!(kv.close(), Err(failed));
    });
}

#[test]
fn disk_bytes_cover_what_is_stored() {
    on_both(|place| {
        let kv = place.open().unwrap();
        let value = "x".repeat(100_000);
        kv.write(&batch(&[("a", Some(&value))])).unwrap();
        kv.sync().unwrap();

        let bytes = kv.disk_bytes().unwrap();

        assert!(bytes >= 100_000, "{bytes}");
    });
}

#[test]
fn thousands_of_batches_leave_what_a_map_would_hold() {
    on_both(|place| {
        let mut model = BTreeMap::new();
        let mut kv = place.open().unwrap();
        let mut word = 7_u64;
        for round in 0..400 {
            let mut batch = KvBatch::default();
            for _ in 0..8 {
                word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let key = vec![b'k', (word >> 33) as u8, (word >> 41) as u8 % 4];
                if word >> 60 < 4 {
                    batch.remove(key.clone());
                    model.remove(&key);
                } else {
                    let value = vec![(word >> 50) as u8; (word >> 20) as usize % 300];
                    batch.put(key.clone(), value.clone());
                    model.insert(key, value);
                }
            }
            kv.write(&batch).unwrap();
            if round % 100 == 99 {
                kv.close().unwrap();
                kv = place.open().unwrap();
            }
        }

        let all = kv.scan(b"k", b"l", usize::MAX, Order::Ascending).unwrap();

        assert_eq!(all, model.into_iter().collect::<Vec<_>>());
    });
}

#[test]
fn after_an_error_memory_fails_until_it_is_opened_again() {
    let memory = Memory::new();
    let kv = memory.open().unwrap();
    memory.fail_write(1, Fault::Full);
    kv.write(&batch(&[("a", Some("1"))])).unwrap();

    assert_eq!(kv.write(&batch(&[("b", Some("2"))])), Err(KvError::Full));
    let failed = KvError::Failed { reason: "the disk is full".into() };
    assert_eq!(kv.get(b"a"), Err(failed.clone()));
    assert_eq!(kv.close(), Err(failed));

    let kv = memory.open().unwrap();
    assert!(!kv.found().closed_cleanly);
    assert_eq!(kv.get(b"a"), Ok(Some(b"1".to_vec())));
    assert_eq!(kv.get(b"b"), Ok(None));
    assert_eq!(memory.fault_counts().errors, 1);
}

#[test]
fn a_fault_that_was_done_is_reported_and_found_after_the_reopen() {
    let memory = Memory::new();
    let kv = memory.open().unwrap();
    memory.fail_write(0, Fault::Done);

    let refused = KvError::Io { what: "writing", reason: "injected".into() };
    assert_eq!(kv.write(&batch(&[("a", Some("1"))])), Err(refused));

    drop(kv);
    assert_eq!(memory.open().unwrap().get(b"a"), Ok(Some(b"1".to_vec())));
}

#[test]
fn a_refused_sync_makes_nothing_durable_and_a_done_one_everything() {
    let kept_of_16 = |fault| {
        let kept = |seed: &u64| {
            let memory = Memory::new();
            let kv = memory.open().unwrap();
            kv.write(&batch(&[("a", Some("1"))])).unwrap();
            memory.fail_sync(0, fault);
            assert_eq!(kv.sync(), Err(KvError::Io { what: "syncing", reason: "injected".into() }));
            memory.crash(*seed);
            memory.open().unwrap().get(b"a").unwrap().is_some()
        };
        (0..16).filter(kept).count()
    };

    assert_eq!(kept_of_16(Fault::Done), 16);
    assert!((1..16).contains(&kept_of_16(Fault::Refused)));
}

#[test]
fn a_full_memory_takes_writes_again_when_it_grows() {
    let memory = Memory::new();
    memory.limit(Some(10));
    let kv = memory.open().unwrap();
    kv.write(&batch(&[("a", Some("12345"))])).unwrap();

    assert_eq!(kv.write(&batch(&[("b", Some("12345"))])), Err(KvError::Full));

    memory.limit(None);
    drop(kv);
    memory.open().unwrap().write(&batch(&[("b", Some("12345"))])).unwrap();
}

#[test]
fn a_crash_keeps_a_prefix_of_the_unsynced_batches() {
    let mut kept = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let memory = Memory::new();
        let kv = memory.open().unwrap();
        kv.write(&batch(&[("0", Some("synced")), ("x", Some("0"))])).unwrap();
        kv.sync().unwrap();
        for number in ["1", "2", "3"] {
            kv.write(&batch(&[(number, Some("unsynced")), ("x", Some(number)), ("0", None)])).unwrap();
        }
        assert_eq!(memory.unsynced_batches(), 3);

        memory.crash(seed);

        assert_eq!(kv.get(b"0"), Err(KvError::Failed { reason: "the store is closed".into() }));
        let kv = memory.open().unwrap();
        let last = String::from_utf8(kv.get(b"x").unwrap().unwrap()).unwrap();
        let held = ["1", "2", "3"].map(|number| kv.get(number.as_bytes()).unwrap().is_some());
        let number: usize = last.parse().unwrap();
        assert_eq!(held, [number >= 1, number >= 2, number >= 3]);
        assert_eq!(kv.get(b"0").unwrap().is_some(), number == 0);
        assert_eq!(memory.fault_counts().batches_lost, 3 - number as u64);
        kept.insert(number);
    }
    assert_eq!(kept, [0, 1, 2, 3].into(), "seeds reach every prefix");
}

#[test]
fn a_restored_memory_is_not_the_one_that_was_closed() {
    let memory = Memory::new();
    let kv = memory.open().unwrap();
    kv.write(&batch(&[("a", Some("1"))])).unwrap();
    kv.mark(&Watermark { position: Position(1), hash: [1; 32] }).unwrap();
    kv.close().unwrap();
    let image = memory.snapshot();

    memory.restore(&image);

    let kv = memory.open().unwrap();
    assert!(!kv.found().closed_cleanly);
    assert_eq!(kv.found().watermark, Some(Watermark { position: Position(1), hash: [1; 32] }));
    kv.close().unwrap();

    let other = Memory::new();
    other.restore(&memory.snapshot());
    assert!(!other.open().unwrap().found().closed_cleanly);
    assert!(memory.open().unwrap().found().closed_cleanly);
}

#[test]
fn a_rolled_back_memory_keeps_its_watermark() {
    let memory = Memory::new();
    let image = memory.snapshot();
    let kv = memory.open().unwrap();
    kv.write(&batch(&[("a", Some("1"))])).unwrap();
    kv.mark(&Watermark { position: Position(1), hash: [1; 32] }).unwrap();
    drop(kv);

    memory.roll_back(&image);

    let kv = memory.open().unwrap();
    assert_eq!(kv.get(b"a"), Ok(None));
    assert_eq!(kv.found().watermark.map(|mark| mark.position), Some(Position(1)));
}

fn batch(ops: &[(&str, Option<&str>)]) -> KvBatch {
    let mut batch = KvBatch::default();
    for (key, value) in ops {
        match value {
            Some(value) => batch.put(key.as_bytes().to_vec(), value.as_bytes().to_vec()),
            None => batch.remove(key.as_bytes().to_vec()),
        }
    }
    batch
}
