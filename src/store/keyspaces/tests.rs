//! Golden layouts of keys and values: what is on disk, byte for byte.

use super::*;
use crate::id::{
    ActorId, ChangeHash, CollectionName, CommitHash, EntityId, Incarnation, Origin, Oseq, PeerId, Position,
    Seen,
};
use crate::id::{Salt, SpaceId, StatementHash};
use crate::limits::{CLOCK_ACTORS_KEPT_MAX, COMMIT_AT_MAX, HELD_MISSING_MAX};
use crate::time::Timestamp;

const SPACE: SpaceId = SpaceId::new([0xaa; 32]);
const ENTITY: EntityId = EntityId::new([0xee; 16]);
const PEER: PeerId = PeerId::new([0xbb; 32]);
const ORIGIN: Origin = Origin { peer: PEER, incarnation: Incarnation(0x0102) };

fn notes() -> CollectionName {
    CollectionName::new("notes").expect("a name")
}

fn key(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[track_caller]
fn check<K: Key + PartialEq + std::fmt::Debug>(key: &K, bytes: &[u8], value: &K::Value, stored: &[u8])
where
    K::Value: PartialEq + std::fmt::Debug,
{
    assert_eq!(key.to_key(), bytes, "the key of {}", K::NAME);
    assert_eq!(value.to_bytes(), stored, "the value of {}", K::NAME);
    assert_eq!(
        entry::<K>(bytes, stored).map(|(read, found)| (&read == key, &found == value)),
        Ok((true, true))
    );
    for end in 0..bytes.len().min(80) {
        let cut = entry::<K>(&bytes[..end], stored);
        assert!(K::CLASS == 1 || cut.is_err(), "a key that ends early is no key of {}", K::NAME);
    }
}

#[test]
fn entity_keyspaces_have_their_layout() {
    let (space, collection, entity) = (SPACE, notes(), ENTITY);
    let place = key(&[&[0xaa; 32], b"notes\0", &[0xee; 16]]);

    let change = Change { origin: ORIGIN, oseq: Oseq(3), seq: 300, chunk: vec![9, 8] };
    check(
        &ChangeKey { space, collection: collection.clone(), entity, arrival: Arrival(0x0203) },
        &key(&[&[3], &place, &[0, 0, 0, 0, 0, 0, 2, 3]]),
        &change,
        &key(&[&[0xbb; 32], &[2, 1, 0, 0, 0, 0, 0, 0], &[3], &[0xac, 2], &[9, 8]]),
    );
    let snapshot = Snapshot { upto: Arrival(5), document: vec![7] };
    let snapshot_key = SnapshotKey { space, collection: collection.clone(), entity };
    check(&snapshot_key, &key(&[&[4], &place]), &snapshot, &[5, 7]);
    let row = RowRecord { version: 2, bytes: vec![0x80] };
    check(&RowKey { space, collection: collection.clone(), entity }, &key(&[&[6], &place]), &row, &[2, 0x80]);
    let head = Head {
        heads: vec![ChangeHash::new([1; 32])],
        clock: vec![(ActorId::new([2; 16]), 4)],
        deleted: true,
        next_arrival: Arrival(6),
        tail_bytes: 7,
        snapshot: Some(SnapshotMark { upto: Arrival(5), bytes: 8 }),
        row_version: Some(9),
        need: Vec::new(),
        position: Position(10),
        activity: Timestamp::from_unix_ms(-1),
    };
    let stored = key(&[&[7, 1], &[1; 32], &[1], &[2; 16], &[4, 6, 7, 5, 8, 9, 10, 1]]);
    let head_key = HeadKey { space, collection: collection.clone(), entity };
    check(&head_key, &key(&[&[5], &place]), &head, &stored);
    let need = vec![(ActorId::new([2; 16]), 5)];
    let damaged = Head { need: need.clone(), ..head.clone() };
    let stored = key(&[&[15, 1], &[1; 32], &[1], &[2; 16], &[4, 6, 7, 5, 8, 9, 1], &[2; 16], &[5, 10, 1]]);
    check(&head_key, &key(&[&[5], &place]), &damaged, &stored);
    assert!(damaged.is_damaged() && !damaged.has_what_it_needs() && !head.is_damaged());
    let record = DamagedRecord { only_here: 3, need };
    let damaged_key = DamagedKey { space, collection, entity };
    check(&damaged_key, &key(&[&[14], &place]), &record, &key(&[&[3, 1], &[2; 16], &[5]]));
    let copy_key = CopyKey { space, hash: StatementHash::new([5; 32]) };
    check(&copy_key, &key(&[&[15], &[0xaa; 32], &[5; 32]]), &Raw(vec![6]), &[6]);
    assert_eq!((head.seq(&ActorId::new([2; 16])), head.seq(&ActorId::new([3; 16]))), (4, 0));
}

/// Leaves of commits over several collections: what they share is stored once.
#[track_caller]
fn check_salted_leaves(id: &CommitId, bytes: &[u8]) {
    let leaf = |name: &str, entity: u8, prev: Option<CommitHash>, salt: Option<Salt>| SlotRecord::Open {
        collection: CollectionName::new(name).expect("a name"),
        entity: EntityId::new([entity; 16]),
        oseq: Oseq(1),
        prev,
        salt,
        of: 2,
        seq: 3,
        head: ChangeHash::new([4; 32]),
        arrival: Arrival(5),
    };
    let (prev, salt) = (Some(CommitHash::new([8; 32])), Some(Salt::new([9; 16])));
    let slots = vec![
        leaf("a", 1, None, salt),
        leaf("a", 2, None, salt),
        leaf("b", 3, prev, salt),
        leaf("b", 4, prev, salt),
        leaf("c", 5, prev, None),
        leaf("c", 6, prev, None),
        leaf("c", 7, None, None),
        leaf("c", 8, None, None),
    ];
    let record = CommitRecord { position: Position(7), at: vec![], slots, signature: [6; 64] };
    let stored = |kind: u8, name: &[u8], entity: u8| {
        key(&[&[kind, 1], name, &[entity; 16], &[1, 2, 3], &[4; 32], &[5]])
    };
    let stored = key(&[
        &[0, 7, 0, 8],
        &key(&[&stored(4, b"a", 1), &[9; 16], &stored(3, b"a", 2)]),
        &key(&[&stored(5, b"b", 3), &[8; 32], &[9; 16], &stored(3, b"b", 4)]),
        &key(&[&stored(2, b"c", 5), &[8; 32], &stored(3, b"c", 6)]),
        &key(&[&stored(1, b"c", 7), &stored(1, b"c", 8)]),
        &[6; 64],
    ]);
    check(id, bytes, &CommitEntry::Record(record), &stored);
}

#[test]
fn commit_keyspaces_have_their_layout() {
    let (space, collection) = (SPACE, notes());
    let id = CommitId { space, collection: collection.clone(), origin: ORIGIN, oseq: Oseq(1) };
    let origin = key(&[&[0xbb; 32], &[0, 0, 0, 0, 0, 0, 1, 2]]);
    let bytes = key(&[&[7], &[0xaa; 32], b"notes\0", &origin, &[0, 0, 0, 0, 0, 0, 0, 1]]);
    let (entity, head) = (ENTITY, ChangeHash::new([4; 32]));
    let (oseq, arrival) = (Oseq(1), Arrival(0));
    let open = SlotRecord::Open {
        collection: collection.clone(),
        entity,
        oseq,
        prev: None,
        salt: None,
        of: 1,
        seq: 2,
        head,
        arrival,
    };
    let (at, slots) = (vec![StatementHash::new([3; 32])], vec![open, SlotRecord::Blind([5; 32])]);
    let record = CommitRecord { position: Position(7), at, slots, signature: [6; 64] };
    let leaf = key(&[&[1, 5], b"notes", &[0xee; 16], &[1, 1, 2], &[4; 32], &[0]]);
    let stored = key(&[&[0, 7, 1], &[3; 32], &[2], &leaf, &[0], &[5; 32], &[6; 64]]);
    check(&id, &bytes, &CommitEntry::Record(record), &stored);
    check_salted_leaves(&id, &bytes);
    let reference =
        CommitEntry::Reference { position: Position(7), collection: collection.clone(), oseq: Oseq(2) };
    check(&id, &bytes, &reference, &key(&[&[1, 7, 5], b"notes", &[2]]));

    let part = JournalPart { collection: collection.clone(), oseq: Oseq(1), entities: vec![ENTITY] };
    let entry = JournalEntry { space, origin: ORIGIN, from: Some(PEER), parts: vec![part] };
    let stored =
        key(&[&[0xaa; 32], &[0xbb; 32], &[2, 1, 0, 0, 0, 0, 0, 0], &[1], &[0xbb; 32], &[1, 5], b"notes"]);
    let stored = key(&[&stored, &[1, 1], &[0xee; 16]]);
    check(&JournalKey { position: Position(1) }, &[8, 0, 0, 0, 0, 0, 0, 0, 1], &entry, &stored);

    let commit = vec![1, 2];
    let missing = vec![ChangeHash::new([4; 32])];
    let arrived = Timestamp::from_unix_ms(3);
    let (cause, from, since) = (HeldCause::Equivocation, PEER, Since::OpenMs(7));
    let held = HeldRecord { cause, arrived, from, since, missing, commit };
    let bytes = key(&[&[12], &[0xaa; 32], &[0xbb; 32], &[0, 0, 0, 0, 0, 0, 0, 9]]);
    let stored = key(&[&[2, 6], &[0xbb; 32], &[1, 7], &[1], &[4; 32], &[1, 2]]);
    check(&HeldKey { space, author: PEER, number: 9 }, &bytes, &held, &stored);
    let stays = HeldRecord { since: Since::Ever, ..held };
    let stored = key(&[&[2, 6], &[0xbb; 32], &[0], &[1], &[4; 32], &[1, 2]]);
    check(&HeldKey { space, author: PEER, number: 9 }, &bytes, &stays, &stored);
}

#[test]
fn vector_keyspaces_have_their_layout() {
    let (space, collection, origin) = (SPACE, notes(), ORIGIN);
    let place = key(&[&[0xaa; 32], b"notes\0", &[0xbb; 32], &[0, 0, 0, 0, 0, 0, 1, 2]]);
    let seen = SeenRecord(Seen::from_parts(2, vec![(5, 7)]).expect("canonical"));

    let vector = VectorKey { space, collection: collection.clone(), origin };
    check(&vector, &key(&[&[9], &place]), &seen, &[2, 1, 3, 2]);
    let acked = AckedKey { space, collection: collection.clone(), origin, peer: PEER };
    check(&acked, &key(&[&[11], &place, &[0xbb; 32]]), &seen, &[2, 1, 3, 2]);
    let base = BaseRecord { digest: [7; 16], position: Position(3) };
    let stored = key(&[&[7; 16], &[3]]);
    check(&BaseKey { space, peer: PEER }, &key(&[&[16], &[0xaa; 32], &[0xbb; 32]]), &base, &stored);
    let mut sum = crate::id::Root::EMPTY.sum();
    sum.add(&space, &ENTITY, &[ChangeHash::new([4; 32])]);
    let root = sum.root();
    check(&RootKey { space, collection }, &key(&[&[10], &[0xaa; 32], b"notes\0"]), &root, root.as_bytes());
    let statement = StatementKey { space, hash: StatementHash::new([1; 32]) };
    check(&statement, &key(&[&[2], &[0xaa; 32], &[1; 32]]), &Raw(vec![5]), &[5]);
    check(&MetaKey("x".to_owned()), &[1, b'x'], &Raw(vec![6]), &[6]);
}

#[test]
fn damaged_values_are_errors() {
    for bytes in [&[][..], &[8][..], &[0, 1][..]] {
        assert!(matches!(decode::<HeadKey>(bytes), Err(KvError::Corrupt { .. })));
    }
    assert!(
        matches!(decode::<HeldKey>(&[5]), Err(KvError::Corrupt { what }) if what.starts_with("quarantine"))
    );
    assert!(matches!(decode::<CommitId>(&[2]), Err(KvError::Corrupt { .. })));
    assert!(matches!(decode::<VectorKey>(&[2, 1, 0, 2]), Err(KvError::Corrupt { .. })));
}

/// Checks that a value with `max` of something is read, and one with one more is not.
#[track_caller]
fn bounded<V: Encode + Decode + PartialEq + std::fmt::Debug>(max: usize, value: impl Fn(usize) -> V) {
    let most = value(max);
    assert!(V::from_bytes(&most.to_bytes()) == Ok(most), "{max} are read");
    let over = V::from_bytes(&value(max + 1).to_bytes()).map(|_| "is read");
    let (len, max) = (max as u64 + 1, max as u64);
    let refused = |error: &CodecError| matches!(error, CodecError::TooLarge { len: found, max: most, .. } if (*found, *most) == (len, max));
    assert!(over.as_ref().is_err_and(refused), "{over:?}");
}

/// Seen failing with four times each limit in the decoders.
#[test]
fn stored_lists_have_an_end() {
    let hash = |number: usize| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        bytes
    };
    let clock = |count: usize| {
        (0..count).map(|number| (ActorId::new((number as u128).to_be_bytes()), 1)).collect::<Vec<_>>()
    };

    bounded(CLOCK_ACTORS_KEPT_MAX, |count| Head { clock: clock(count), ..Head::default() });
    bounded(CLOCK_ACTORS_KEPT_MAX, |count| DamagedRecord { only_here: 0, need: clock(count) });
    bounded(HELD_MISSING_MAX, |count| {
        let missing = (0..count).map(|number| ChangeHash::new(hash(number))).collect();
        let (arrived, from, since) = (Timestamp::from_unix_ms(3), PEER, Since::Ever);
        HeldRecord { cause: HeldCause::MissingDependency, arrived, from, since, missing, commit: vec![1] }
    });
    bounded(COMMIT_AT_MAX, |count| {
        let at = (0..count).map(|number| StatementHash::new(hash(number))).collect();
        let (position, slots) = (Position(3), vec![SlotRecord::Blind([5; 32])]);
        CommitEntry::Record(CommitRecord { position, at, slots, signature: [6; 64] })
    });
}
