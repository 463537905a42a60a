//! What [`Values`] promises, on the memory and on disk.

use super::*;
use crate::limits::PIECE_BYTES_MAX;

fn put(key: &[u8], value: &[u8]) -> KvBatch {
    let mut batch = KvBatch::default();
    batch.put(key.to_vec(), value.to_vec());
    batch
}

fn remove(key: &[u8]) -> KvBatch {
    let mut batch = KvBatch::default();
    batch.remove(key.to_vec());
    batch
}

/// A value in which no two pieces are equal.
fn long(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|at| (at / 7 % 251) as u8 ^ (at / PIECE_BYTES_MAX) as u8 ^ seed).collect()
}

fn physical_pairs(memory: &Memory) -> usize {
    let kv = memory.open().unwrap();
    kv.scan(&[], &[0xff; 8], usize::MAX, Order::Ascending).unwrap().len()
}

#[test]
fn values_of_every_length_around_the_pieces_come_back() {
    let memory = Memory::new();
    let values = Values::memory(&memory).unwrap();
    for pieces in [0, 1, 2, 3] {
        for off in [0, 1, 8, 9, 10, 20, 21, 22, 40] {
            for bytes in [pieces * PIECE_BYTES_MAX + off, (pieces * PIECE_BYTES_MAX).saturating_sub(off)] {
                let value = long(bytes, 3);
                values.write(put(b"key", &value)).unwrap();
                assert_eq!(values.get(b"key"), Ok(Some(value)), "{bytes} bytes");
            }
        }
    }
}

#[test]
fn stored_pieces_stay_within_their_limit() {
    let memory = Memory::new();
    let values = Values::memory(&memory).unwrap();
    values.write(put(b"key", &long(PIECE_BYTES_MAX * 3, 1))).unwrap();
    drop(values);

    let kv = memory.open().unwrap();
    let pairs = kv.scan(&[], &[0xff; 8], usize::MAX, Order::Ascending).unwrap();

    assert_eq!(pairs.iter().map(|(_, value)| value.len()).max(), Some(PIECE_BYTES_MAX));
}

#[test]
fn replacing_and_removing_a_long_value_leaves_no_pieces() {
    let memory = Memory::new();
    for (second, left) in [(Some(10), 2), (Some(PIECE_BYTES_MAX * 2), 4), (None, 1)] {
        let values = Values::memory(&memory).unwrap();
        values.write(put(b"key", &long(PIECE_BYTES_MAX * 5, 1))).unwrap();
        match second {
            Some(bytes) => values.write(put(b"key", &long(bytes, 2))).unwrap(),
            None => values.write(remove(b"key")).unwrap(),
        }
        assert_eq!(values.get(b"key"), Ok(second.map(|bytes| long(bytes, 2))));
        drop(values);

        // The format, the value or its head, and the pieces.
        assert_eq!(physical_pairs(&memory), left);
    }
}

#[test]
fn replacing_a_damaged_long_value_leaves_no_pieces_and_spares_those_of_longer_keys() {
    let memory = Memory::new();
    let values = Values::memory(&memory).unwrap();
    let other = long(PIECE_BYTES_MAX * 2, 9);
    values.write(put(b"key", &long(PIECE_BYTES_MAX * 5, 1))).unwrap();
    values.write(put(b"key\x00\x00", &other)).unwrap();
    memory.flip_bit(1, b"key", b"key\x00").unwrap();

    values.write(put(b"key", b"short")).unwrap();

    assert_eq!(values.get(b"key"), Ok(Some(b"short".to_vec())));
    assert_eq!(values.get(b"key\x00\x00"), Ok(Some(other)));
    drop(values);
    assert_eq!(physical_pairs(&memory), 5);
}

#[test]
fn scans_reassemble_long_values_and_hide_the_stores_own_keys() {
    let values = Values::memory(&Memory::new()).unwrap();
    let middle = long(PIECE_BYTES_MAX * 2, 1);
    values.write(put(b"a", b"1")).unwrap();
    values.write(put(b"b", &middle)).unwrap();
    values.write(put(b"c", b"3")).unwrap();
    let pair = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());

    let all = [pair(b"a", b"1"), pair(b"b", &middle), pair(b"c", b"3")];
    assert_eq!(values.scan(b"", b"z", 10).unwrap(), all);
    assert_eq!(values.scan_back(b"b", b"z", 1).unwrap(), [pair(b"c", b"3")]);
    assert_eq!(values.get(FORMAT_KEY), Ok(None));
}

#[test]
fn any_flipped_bit_is_an_error_that_names_the_key() {
    let long_value = long(PIECE_BYTES_MAX * 2 + 5, 1);
    for seed in 0..200 {
        let memory = Memory::new();
        let values = Values::memory(&memory).unwrap();
        values.write(put(b"\x01short", b"value")).unwrap();
        values.write(put(b"\x02long", &long_value)).unwrap();
        let key = memory.flip_bit(seed, b"\x00p", b"\xff").unwrap();

        let (damaged, sound): (&[u8], &[u8]) =
            if key == b"\x01short" { (b"\x01short", b"\x02long") } else { (b"\x02long", b"\x01short") };

        let named: String = damaged.iter().map(|byte| format!("{byte:02x}")).collect();
        let corrupt = super::damaged(damaged);
        assert_eq!(corrupt.to_string(), format!("the value of key {named} is damaged"));
        let checked = values.scan_checked(b"\x01", b"\xff", 9, Order::Ascending).unwrap();
        let found: Vec<(&[u8], bool)> =
            checked.iter().map(|(key, value)| (&key[..], value.is_some())).collect();
        assert_eq!(
            found,
            [(&b"\x01short"[..], damaged != b"\x01short"), (b"\x02long", damaged != b"\x02long")]
        );
        assert_eq!(values.get(damaged), Err(corrupt.clone()));
        assert_eq!(values.scan(b"\x01", b"\xff", 9), Err(corrupt.clone()));
        assert_eq!(values.scan_back(b"\x01", b"\xff", 9), Err(corrupt.clone()));
        assert!(values.get(sound).unwrap().is_some());
    }
}

#[test]
fn a_value_under_another_key_and_a_missing_or_older_piece_are_damage() {
    let memory = Memory::new();
    let values = Values::memory(&memory).unwrap();
    values.write(put(b"a", b"1")).unwrap();
    values.write(put(b"long", &long(PIECE_BYTES_MAX * 2, 1))).unwrap();
    let kv = &values.inner.kv;
    let piece_key = piece::piece_key(b"long", 1);
    let (stolen, old) = (kv.get(b"a").unwrap().unwrap(), kv.get(&piece_key).unwrap().unwrap());
    let is_damaged = |key: &[u8]| values.get(key) == Err(damaged(key));

    kv.write(&put(b"b", &stolen)).unwrap();
    assert!(is_damaged(b"b"));

    kv.write(&remove(&piece_key)).unwrap();
    assert!(is_damaged(b"long"));

    values.write(put(b"long", &long(PIECE_BYTES_MAX * 2, 2))).unwrap();
    kv.write(&put(&piece_key, &old)).unwrap();
    assert!(is_damaged(b"long"));
}

#[test]
fn a_value_over_the_limit_is_refused_and_nothing_is_written() {
    let values = Values::memory(&Memory::new()).unwrap();
    let mut batch = put(b"a", b"1");
    batch.put(b"b".to_vec(), vec![0; VALUE_TOTAL_BYTES_MAX + 1]);

    let refused = KvError::TooLarge { bytes: VALUE_TOTAL_BYTES_MAX + 1, bytes_max: VALUE_TOTAL_BYTES_MAX };
    assert_eq!(values.write(batch), Err(refused));
    assert_eq!(values.get(b"a"), Ok(None));
}

#[test]
fn unsynced_bytes_never_pass_their_limit() {
    let memory = Memory::new();
    let values = Values::memory(&memory).unwrap();
    let value = long(UNSYNCED_BYTES_MAX / 4, 1);
    let mut unsynced = Vec::new();

    for key in 1..=5_u8 {
        values.write(put(&[key], &value)).unwrap();
        unsynced.push(memory.unsynced_batches());
    }
    assert_eq!(unsynced, [1, 2, 3, 1, 2], "the fourth does not fit, with its keys and checks");

    values.write(put(b"large", &long(UNSYNCED_BYTES_MAX + 1, 1))).unwrap();
    assert_eq!(memory.unsynced_batches(), 0, "a batch over the limit is synced by itself");
}

#[test]
fn a_newer_format_is_refused_and_a_damaged_one_is_damage() {
    let memory = Memory::new();
    drop(Values::memory(&memory).unwrap());
    let kv = memory.open().unwrap();
    kv.write(&put(FORMAT_KEY, &format_value(FORMAT + 1))).unwrap();
    drop(kv);
    let refused = Values::memory(&memory).map(drop);
    assert_eq!(refused, Err(KvError::Format { found: FORMAT + 1, known: FORMAT }));

    memory.flip_bit(5, FORMAT_KEY, b"\x00g").unwrap();
    let refused = Values::memory(&memory).map(drop);
    assert_eq!(refused, Err(KvError::Corrupt { what: "the format of the store".into() }));

    let kv = memory.open().unwrap();
    kv.write(&remove(FORMAT_KEY)).unwrap();
    kv.write(&put(b"a", b"1")).unwrap();
    drop(kv);
    let refused = Values::memory(&memory).map(drop);
    assert_eq!(refused, Err(KvError::Corrupt { what: "a store without a format".into() }));
}

#[test]
fn watermark_follows_the_syncs_and_never_runs_ahead_of_them() {
    let memory = Memory::new();
    let reopened = |memory: &Memory| Values::memory(memory).unwrap().watermark().map(|mark| mark.position.0);
    let values = Values::memory(&memory).unwrap();
    for position in 1..WATERMARK_SYNCS.into() {
        values.note_watermark(Position(position), [1; 32]);
        values.sync().unwrap();
    }
    memory.kill();
    assert_eq!(reopened(&memory), None, "not due");

    let values = Values::memory(&memory).unwrap();
    for position in 1..=u64::from(WATERMARK_SYNCS) + 5 {
        values.note_watermark(Position(position), [1; 32]);
        values.sync().unwrap();
    }
    values.note_watermark(Position(99), [1; 32]);
    memory.kill();
    assert_eq!(reopened(&memory), Some(WATERMARK_SYNCS.into()));

    let values = Values::memory(&memory).unwrap();
    values.note_watermark(Position(100), [2; 32]);
    values.sync().unwrap();
    values.sync().unwrap();
    values.close().unwrap();
    let values = Values::memory(&memory).unwrap();
    assert_eq!(values.watermark(), Some(Watermark { position: Position(100), hash: [2; 32] }));
    assert!(values.closed_cleanly());
}

#[test]
fn a_copied_store_was_not_closed_cleanly_and_the_original_was() {
    let dir = tempfile::tempdir().unwrap();
    let (original, copy) = (dir.path().join("original"), dir.path().join("copy"));
    let values = Values::open(&original, &StoreOptions::default()).unwrap();
    assert!(!values.closed_cleanly());
    values.write(put(b"a", b"1")).unwrap();
    values.note_watermark(Position(1), [1; 32]);
    values.close().unwrap();
    copy_dir(&original, &copy);

    let values = Values::open(&copy, &StoreOptions::default()).unwrap();
    assert!(!values.closed_cleanly());
    assert_eq!(values.watermark().map(|mark| mark.position), Some(Position(1)));
    assert_eq!(values.get(b"a"), Ok(Some(b"1".to_vec())));

    let values = Values::open(&original, &StoreOptions::default()).unwrap();
    assert_eq!(values.closed_cleanly(), cfg!(unix));
}

#[test]
fn a_store_set_aside_makes_room_for_a_fresh_one() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Values::open(dir.path(), &StoreOptions::default());
    let values = open().unwrap();
    values.write(put(b"a", b"1")).unwrap();
    assert!(matches!(crate::store::set_aside(dir.path()), Err(KvError::Locked { .. })));
    values.close().unwrap();

    for number in 1..=2 {
        let aside = crate::store::set_aside(dir.path()).unwrap();
        assert_eq!(aside, dir.path().join(format!("damaged-{number}")));
        assert!(aside.join("db").exists());
        let values = open().unwrap();
        assert_eq!(values.get(b"a"), Ok(None));
        assert_eq!(values.watermark(), None);
        values.close().unwrap();
    }
}

#[test]
fn a_view_shows_one_state_while_a_writer_waits() {
    let values = Values::memory(&Memory::new()).unwrap();
    values.write(put(b"a", b"1")).unwrap();
    let view = values.view();
    let writer = std::thread::spawn({
        let values = values.clone();
        move || values.write(put(b"a", b"2"))
    });

    assert_eq!(view.get(b"a"), Ok(Some(b"1".to_vec())));
    assert_eq!(view.scan(b"a", b"b", 1).unwrap(), [(b"a".to_vec(), b"1".to_vec())]);

    drop(view);
    writer.join().unwrap().unwrap();
    assert_eq!(values.get(b"a"), Ok(Some(b"2".to_vec())));
}

#[test]
fn readers_never_see_half_a_batch_or_a_mixed_value() {
    let dir = tempfile::tempdir().unwrap();
    let values = Values::open(dir.path(), &StoreOptions::default()).unwrap();
    let batch = |seed: u8| {
        let mut batch = put(b"a", &[seed]);
        batch.put(b"b".to_vec(), long(PIECE_BYTES_MAX * (1 + usize::from(seed) % 3), seed));
        batch
    };
    values.write(batch(0)).unwrap();
    let writer = std::thread::spawn({
        let values = values.clone();
        move || (1..60).for_each(|seed| values.write(batch(seed)).unwrap())
    });

    while !writer.is_finished() {
        let pairs = values.scan(b"a", b"c", 2).unwrap();
        let seed = pairs[0].1[0];
        assert!(pairs[1].1 == long(PIECE_BYTES_MAX * (1 + usize::from(seed) % 3), seed), "of batch {seed}");
    }
    writer.join().unwrap();
}

#[test]
fn stored_bytes_keep_their_form() {
    let stored = piece::split(b"\x05key", b"value");

    assert_eq!(stored.len(), 1);
    assert_eq!(hex(&stored[0].1), GOLDEN_WHOLE);
    let stored = piece::split(b"\x05key", &long(PIECE_BYTES_MAX + 3, 7));
    assert_eq!(stored.len(), 2);
    assert_eq!(hex(&stored[0].1[..21]), GOLDEN_HEAD);
    assert_eq!(hex(&stored[1].0), "0070056b657900000001");
    assert_eq!(hex(&stored[1].1), GOLDEN_PIECE);
    assert_eq!(hex(&format_value(1)), GOLDEN_FORMAT);
}

const GOLDEN_WHOLE: &str = "01b5f887ec3963a10276616c7565";
const GOLDEN_HEAD: &str = "02bbc572f62c1927205da81ee1a183485303800000";
const GOLDEN_PIECE: &str =
    "033ce3d1d51864ffa65da81ee1a1834853a7a7a7a7a7a7a6a6a6a6a6a6a6a5a5a5a5a5a5a5a4a5a5a5";
const GOLDEN_FORMAT: &str = "01000000707387c2f7242c6b";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
