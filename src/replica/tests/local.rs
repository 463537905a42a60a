//! Commits made here: intents, atomicity, crashes, reopening, rows, snapshots.

use super::*;
use crate::limits::COMMIT_LEAVES_MAX;
use crate::store::keyspaces::{HeadKey, SnapshotKey};
use crate::store::kv::KvError;
use crate::store::kv::memory::Fault;

#[test]
fn commit_is_told_and_shows_in_the_row() {
    let mut a = Device::new(1);
    let space = founded(&mut a);

    let committed = a.replica.commit(now(), space, vec![insert(id(1), "drill")]).expect("commits");

    assert_eq!(title(a.note(space, id(1))), Some("drill".to_owned()));
    assert_eq!(committed.position, Position(1));
    let told = a.replica.drain();
    assert!(matches!(told.first(), Some(Told::Stored { from: None, stored, .. })
        if Some(&stored.commit.key) == committed.key.as_ref()));
    let Some(Told::Changed { entities, position, .. }) = told.get(1) else { panic!("{told:?}") };
    assert_eq!((entities.clone(), *position), (vec![(notes(), id(1), RowChange::Inserted)], Position(1)));
    assert_eq!((told.len(), a.metrics().commits_local), (2, 1));
}

#[test]
fn intents_are_checked_against_what_is_stored() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "kept"), insert(id(2), "deleted")]);
    a.commit(space, vec![delete(id(2))]);
    let mut fails = |write: Write| a.replica.commit(now(), space, vec![write]).expect_err("the intent fails");

    assert!(
        matches!(fails(insert(id(1), "again")), ReplicaError::AlreadyExists { entity } if entity == id(1))
    );
    assert!(matches!(fails(insert(id(2), "again")), ReplicaError::Deleted { entity } if entity == id(2)));
    assert!(matches!(fails(retitle(id(2), "late")), ReplicaError::Deleted { entity } if entity == id(2)));
    assert!(matches!(fails(retitle(id(9), "x")), ReplicaError::NotFound { what: "entity" }));
    assert!(matches!(fails(delete(id(9))), ReplicaError::NotFound { what: "entity" }));
    assert!(matches!(fails(restore(id(9))), ReplicaError::NotFound { what: "entity" }));
    assert_eq!(a.replica.position(), Position(2));
}

#[test]
fn commit_that_breaks_a_rule_of_its_own_changes_nothing() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    let roots = a.roots(space);

    let twice = a.replica.commit(now(), space, vec![insert(id(1), "a"), insert(id(1), "b")]);
    let many = (0..=COMMIT_LEAVES_MAX as u64).map(|n| insert(EntityId::from_key("n", &n.to_be_bytes()), "n"));
    let many = a.replica.commit(now(), space, many.collect());
    let failing: doc::Edit = doc::try_update(|_: &mut Note| Err("no"));
    let given_up = Write { collection: notes(), entity: id(1), intent: Intent::Create, edit: failing };
    let half = a.replica.commit(now(), space, vec![insert(id(2), "half"), given_up]);
    let elsewhere = a.replica.commit(now(), SpaceId::new([9; 32]), vec![insert(id(1), "a")]);

    assert!(matches!(twice, Err(ReplicaError::Twice { entity }) if entity == id(1)));
    assert!(matches!(many, Err(ReplicaError::TooMany { count: 1_025, max: 1_024, .. })));
    assert!(matches!(half, Err(ReplicaError::Doc(_))));
    assert!(matches!(elsewhere, Err(ReplicaError::NotFound { what: "space" })));
    assert_eq!((a.roots(space), a.note(space, id(2)), a.replica.drain().len()), (roots, None, 0));
}

#[test]
fn commit_over_the_limit_of_bytes_is_refused() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    let large = |number: u8| insert(id(number), &noise(100_000, u64::from(number)));

    let refused = a.replica.commit(now(), space, (0..9).map(large).collect());

    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(a.note(space, id(0)), None);
}

#[test]
fn commit_that_changes_nothing_writes_nothing() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "same")]);

    let Committed { key, position } = a
        .replica
        .commit(now(), space, vec![retitle(id(1), "same"), restore(id(1))].split_off(0).drain(..1).collect())
        .expect("commits");

    assert_eq!((key, position), (None, Position(1)));
}

#[test]
fn deletion_and_restoration_show_in_the_row() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "kept")]);
    a.replica.drain();

    a.commit(space, vec![delete(id(1))]);
    let deleted = a.note(space, id(1));
    a.commit(space, vec![restore(id(1))]);

    assert_eq!((deleted, title(a.note(space, id(1)))), (None, Some("kept".to_owned())));
    let changes: Vec<RowChange> = row_changes(&a.replica.drain());
    assert_eq!(changes, [RowChange::Deleted, RowChange::Restored]);
}

#[test]
fn any_failed_write_leaves_all_of_a_commit_or_nothing() {
    for fault in [Fault::Full, Fault::Refused, Fault::Done] {
        let mut a = Device::new(1);
        let space = founded(&mut a);
        a.commit(space, vec![insert(id(1), "before")]);
        a.replica.sync().expect("syncs");
        a.replica.drain();

        a.memory.fail_write(0, fault);
        let failed = a.replica.commit(now(), space, vec![retitle(id(1), "after"), task(id(2), true)]);

        assert!(matches!(failed, Err(ReplicaError::Store(_))), "{failed:?}");
        assert!(a.replica.drain().is_empty(), "nothing is told of a failed commit");
        let mut a = a.killed();
        let whole = fault == Fault::Done;
        let expected = if whole { "after" } else { "before" };
        assert_eq!(title(a.note(space, id(1))), Some(expected.to_owned()));
        let task = a.replica.reader().row(&space, &tasks(), &id(2)).expect("reads");
        assert_eq!((task.is_some(), a.replica.position()), (whole, Position(1 + u64::from(whole))));
        assert_consistent(&mut a, space);
    }
}

#[test]
fn any_power_cut_leaves_a_prefix_of_whole_commits() {
    for seed in 0..16 {
        let mut a = Device::new(1);
        let space = founded(&mut a);
        a.commit(space, vec![insert(id(1), "0"), task(id(1), false)]);
        a.replica.sync().expect("syncs");
        for round in 1..8_u8 {
            a.commit(
                space,
                vec![retitle(id(1), &round.to_string()), insert(id(round + 1), &round.to_string())],
            );
        }

        a.memory.crash(seed);
        let mut a = Device::over(a.memory.clone(), 1, 1);

        let last: u8 = title(a.note(space, id(1))).expect("it was synced").parse().expect("a number");
        for round in 1..8_u8 {
            assert_eq!(a.note(space, id(round + 1)).is_some(), round <= last, "seed {seed}, round {round}");
        }
        assert_eq!(a.replica.position(), Position(1 + u64::from(last)));
        assert_consistent(&mut a, space);
    }
}

#[test]
fn reopened_store_is_the_same_and_keeps_its_incarnation() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "one"), task(id(2), true)]);
    let (before, roots, origin) = (a.vectors(space), a.roots(space), a.replica.origin());
    let log = a.replica.state(&space).map(|state| state.log);

    let mut a = a.reopened();

    assert_eq!((a.vectors(space), a.roots(space), a.replica.origin()), (before, roots, origin));
    assert_eq!(a.replica.state(&space).map(|state| state.log), log);
    assert_eq!((a.replica.report().new_incarnation, a.replica.report().spaces), (false, 1));
    assert_eq!(a.replica.spaces(), [space]);
    let key = a.commit(space, vec![retitle(id(1), "two")]);
    assert_eq!(key.parts, [(notes(), Oseq(2))]);
}

#[test]
fn opening_tells_every_space() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.replica.close().expect("closes");

    let values = Values::memory(&a.memory).expect("it was closed");
    let metrics = Arc::new(Metrics::default());
    let mut opened = Replica::open(values, a.identity, [9; 32], now(), metrics).expect("opens");

    assert!(matches!(opened.drain().as_slice(), [Told::SpaceChanged(state)] if state.space == space));
}

#[test]
fn unclean_close_takes_a_new_incarnation() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "one")]);
    let origin = a.replica.origin();

    let mut a = a.killed();

    assert!(a.replica.report().new_incarnation);
    assert_ne!(a.replica.origin(), origin);
    let key = a.commit(space, vec![retitle(id(1), "two")]);
    assert_eq!((key.parts, key.origin), (vec![(notes(), Oseq(1))], a.replica.origin()));
}

#[test]
fn copied_store_takes_a_new_incarnation() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "one")]);
    a.replica.close().expect("closes");
    let copy = Memory::new();
    copy.restore(&a.memory.snapshot());

    let original = Device::over(a.memory.clone(), 1, 1);
    let copied = Device::over(copy, 1, 2);

    assert!(!original.replica.report().new_incarnation);
    assert!(copied.replica.report().new_incarnation);
    assert_ne!(copied.replica.origin(), original.replica.origin());
    assert_eq!(title(copied.note(space, id(1))), Some("one".to_owned()));
}

#[test]
fn store_behind_its_watermark_is_reported_and_takes_a_new_incarnation() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "one")]);
    let mut a = a.reopened();
    let older = a.memory.snapshot();
    a.commit(space, vec![retitle(id(1), "two")]);
    a.replica.close().expect("closes");
    a.memory.roll_back(&older);

    let a = Device::over(a.memory.clone(), 1, 2);

    assert_eq!(a.replica.report().rolled_back, Some((Position(2), Position(1))));
    assert!(a.replica.report().new_incarnation);
}

#[test]
fn own_commit_that_comes_back_from_a_peer_renews_the_incarnation() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "one")]);
    a.replica.sync().expect("syncs");
    let older = a.memory.snapshot();
    a.commit(space, vec![retitle(id(1), "two")]);
    a.send(space, &mut b);
    // The same incarnation goes on from the older state: what no honest open allows, and damage may still do.
    let origin = a.replica.origin();
    a.memory.restore(&older);
    let mut a = Device::over(a.memory.clone(), 1, 1);
    a.replica.incarnation = origin.incarnation;

    b.send(space, &mut a);
    let key = a.commit(space, vec![retitle(id(1), "three")]);

    assert_ne!(key.origin, origin);
    a.send(space, &mut b);
    assert_eq!(a.roots(space), b.roots(space));
    assert_eq!(title(b.note(space, id(1))), Some("three".to_owned()));
}

#[test]
fn rows_are_rebuilt_for_another_version_of_the_type() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    for number in 0..100 {
        a.commit(space, vec![insert(id(number), "old")]);
    }
    a.commit(space, vec![delete(id(7))]);

    a.replica.register(Arc::new(KindOf::<NoteTwo>::new().expect("a name"))).expect("registers");
    let loads = a.metrics().documents_loaded;
    a.replica.register(Arc::new(KindOf::<NoteTwo>::new().expect("a name"))).expect("registers");

    let rows = a.replica.reader().rows(&space, &notes(), None, 1_000).expect("reads");
    assert_eq!(rows.len(), 99);
    for (entity, row) in rows {
        assert_ne!(entity, id(7));
        assert_eq!(row_value::<NoteTwo>(&row).expect("a row").title, "old");
    }
    assert_eq!(a.metrics().documents_loaded, loads, "rows of this version are not built again");
}

#[test]
fn rows_come_in_pages() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, (0..10).map(|number| insert(id(number), "x")).collect());

    let first = a.replica.reader().rows(&space, &notes(), None, 4).expect("reads");
    let after = first.last().map(|(entity, _)| *entity);
    let second = a.replica.reader().rows(&space, &notes(), after, 100).expect("reads");

    let entities: Vec<EntityId> = first.iter().chain(&second).map(|(entity, _)| *entity).collect();
    assert_eq!((first.len(), entities), (4, (0..10).map(id).collect()));
}

#[test]
fn snapshot_is_taken_when_due_and_leads_to_the_same_document() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "0")]);
    for round in 1..20 {
        a.commit(space, vec![retitle(id(1), &round.to_string())]);
    }

    while a.replica.housekeep(now()).expect("housekeeps") {}
    a.commit(space, vec![retitle(id(1), "behind the snapshot")]);
    let mut a = a.reopened();
    a.commit(space, vec![retitle(id(1), "loaded")]);

    let key = HeadKey { space, collection: notes(), entity: id(1) };
    let head = a.replica.store.get(&key).expect("reads").expect("the entity is here");
    let mark = head.snapshot.expect("a snapshot was taken");
    assert_eq!((mark.upto.0, head.next_arrival.0), (20, 22));
    assert_eq!(title(a.note(space, id(1))), Some("loaded".to_owned()));
    assert_consistent(&mut a, space);
}

#[test]
fn damaged_snapshot_is_not_served() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "0")]);
    for round in 1..20 {
        a.commit(space, vec![retitle(id(1), &round.to_string())]);
    }
    while a.replica.housekeep(now()).expect("housekeeps") {}
    let mut a = a.reopened();
    let key = SnapshotKey { space, collection: notes(), entity: id(1) };
    let bytes = crate::store::keyspaces::Key::to_key(&key);
    let end = [bytes.as_slice(), &[0xff]].concat();
    let first = [&[1][..], &bytes].concat();
    let flipped = a.memory.flip_bit(3, &first, &[&[1][..], &end].concat());
    let flipped = flipped.or_else(|| a.memory.flip_bit(3, &bytes, &end));

    a.commit(space, vec![retitle(id(1), "from the changes")]);

    assert!(flipped.is_some(), "there was a snapshot to damage");
    assert_eq!(title(a.note(space, id(1))), Some("from the changes".to_owned()));
    assert_consistent(&mut a, space);
}

#[test]
fn sync_covers_what_was_written_and_counts_it() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "one")]);
    a.commit(space, vec![insert(id(2), "two")]);

    let covered = a.replica.sync().expect("syncs");
    let counted = (a.metrics().disk_syncs, a.metrics().commits_synced);
    a.commit(space, vec![insert(id(3), "three")]);
    a.memory.fail_sync(0, Fault::Refused);
    let failed = a.replica.sync();

    assert_eq!(covered, Position(2));
    assert_eq!(counted, (1, 2));
    assert!(matches!(failed, Err(ReplicaError::Store(KvError::Io { .. }))), "{failed:?}");
}

#[test]
fn cache_stays_within_its_budget() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "x")]);
    let one = a.replica.cache.bytes();
    a.replica.cache = crate::replica::cache::Cache::new(one * 3);

    for number in 2..20 {
        a.commit(space, vec![insert(id(number), "x")]);
        assert!(a.replica.cache.bytes() <= one * 3);
    }
    a.commit(space, vec![retitle(id(2), "loaded again")]);

    assert_eq!(title(a.note(space, id(2))), Some("loaded again".to_owned()));
    assert!(a.metrics().documents_loaded > 0);
}

/// What is told of rows, in order.
fn row_changes(told: &[Told]) -> Vec<RowChange> {
    let mut changes = Vec::new();
    for told in told {
        if let Told::Changed { entities, .. } = told {
            changes.extend(entities.iter().map(|(_, _, change)| *change));
        }
    }
    changes
}

/// Bytes of text that do not compress.
fn noise(len: usize, seed: u64) -> String {
    let mut out = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut bytes = vec![0; len];
    out.fill(&mut bytes);
    bytes.iter().map(|byte| char::from(b'0' + byte % 64)).collect()
}
