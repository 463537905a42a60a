//! Commits that are late, forged, unauthorised or contradictory: held with their reason, or refused.

use super::*;
use crate::doc::tests::without_predecessors;
use crate::limits::{HELD_OVERHEAD_BYTES, QUARANTINE_AUTHOR_BYTES_MAX};
use crate::replica::HeldReason;
use crate::replica::receive::{Source, Tally};
use crate::store::keyspaces::{Batch, HeadKey, HeldCause, HeldRecord, Since};

#[test]
fn commit_waits_for_what_it_depends_on_and_counts_as_received() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "first")]);
    a.commit(space, vec![retitle(id(1), "second"), task(id(2), true)]);
    let commits = encoded(&mut a, space, &mut b);

    let late = b.receive(space, &a, vec![commits[1].clone()]);
    let vectors = b.vectors(space);
    let why = reasons(&b, space);
    let again = b.receive(space, &a, vec![commits[1].clone()]);
    let mut b = b.reopened();
    let released = b.receive(space, &a, vec![commits[0].clone()]);

    assert_eq!((late, why), (held(1), vec![HeldReason::MissingDependency]));
    assert_eq!(again, Received { duplicate: 1, ..Received::default() });
    assert!(vectors[&notes()].contains(&a.replica.origin(), Oseq(2)));
    let left = reasons(&b, space);
    assert_eq!((released, left), (applied(2), vec![]));
    let told = b.replica.drain();
    let positions: Vec<Position> = told
        .iter()
        .filter_map(|told| match told {
            Told::Stored { stored, .. } => Some(stored.position),
            Told::Changed { .. }
            | Told::Conflict { .. }
            | Told::TakenBack { .. }
            | Told::Expired { .. }
            | Told::SpaceGone { .. }
            | Told::JoinRequested { .. }
            | Told::SpaceChanged(_)
            | Told::Damaged { .. }
            | Told::Indexed { .. }
            | Told::Repaired { .. }
            | Told::Clash { .. }
            | Told::InterestChanged(_) => None,
        })
        .collect();
    assert_eq!(positions, [Position(1), Position(2)]);
    assert_eq!(a.roots(space), b.roots(space));
    assert_consistent(&mut b, space);
}

/// A commit was applied, and the process died before those that waited for it were tried again: nothing tried
/// them any more, they counted as received, and the devices never agreed again. Opening tries what is held.
#[test]
fn commit_is_released_by_opening_when_the_process_died_before() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "first")]);
    a.commit(space, vec![retitle(id(1), "second"), task(id(2), true)]);
    a.commit(space, vec![retitle(id(1), "third")]);
    let commits = encoded(&mut a, space, &mut b);
    let late = b.receive(space, &a, commits[1..].to_vec());
    let (from, arrived) = (a.replica.peer(), now().wall);
    let source = Source { from, arrived, since: Since::OpenMs(0), held: None, sent: true };
    let first = vec![(commits[0].clone(), source)];
    b.replica.take_once(space, first, &mut Tally::default()).expect("the store takes it");
    assert_eq!(reasons(&b, space), [HeldReason::MissingDependency; 2]);

    let mut b = b.killed();

    assert_eq!((late, reasons(&b, space)), (held(2), vec![]));
    assert_eq!(a.roots(space), b.roots(space));
    assert_eq!(b.note(space, id(1)).map(|note| note.title), Some("third".to_owned()));
    assert_eq!(b.replica.sync().expect("syncs"), b.replica.position());
    assert_consistent(&mut b, space);
}

#[test]
fn held_commit_is_not_fed_to_others() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let mut c = joined(&mut a, 3, space, Role::Writer);
    a.commit(space, vec![insert(id(1), "first")]);
    a.commit(space, vec![retitle(id(1), "second")]);
    let commits = encoded(&mut a, space, &mut b);
    b.receive(space, &a, vec![commits[1].clone()]);

    assert_eq!(b.feed(space, &mut c, FEED_BYTES), (vec![], true));
}

#[test]
fn reader_that_writes_anyway_is_held() {
    let (mut a, b, space) = pair(Role::Reader);
    let commit = forged(&b, space, 1, "mine");

    let received = a.receive(space, &b, vec![commit.encode()]);

    assert_eq!((received, reasons(&a, space)), (held(1), vec![HeldReason::NotAllowed]));
    assert_eq!(a.note(space, id(1)), None);
    assert_eq!(a.metrics().commits_quarantined, 1);
}

#[test]
fn stranger_and_broken_signature_are_refused() {
    let (mut a, b, space) = pair(Role::Writer);
    let stranger = Device::new(9);
    let mut at_known = forged(&b, space, 1, "x");
    at_known.signature.0[5] ^= 1;
    let heads = a.replica.membership(&space).expect("here").heads().to_vec();
    let foreign = sign(&stranger, space, heads, 1, change(&stranger, space, "y"));

    let refused = a.receive(space, &b, vec![at_known.encode(), foreign.encode(), vec![1, 2, 3]]);

    assert_eq!(refused, Received { refused: 3, ..Received::default() });
    assert_eq!((reasons(&a, space), a.metrics().refused), (vec![], 3));
}

#[test]
fn commit_at_an_unknown_position_waits_for_the_statements() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let mut c = joined(&mut a, 3, space, Role::Writer);
    c.commit(space, vec![insert(id(1), "from a member that b does not know")]);
    let commits = encoded(&mut c, space, &mut b);

    let early = b.receive(space, &c, commits);
    let waiting = reasons(&b, space);
    a.teach(space, &mut b);

    assert_eq!((early, waiting), (held(1), vec![HeldReason::UnknownPosition]));
    assert_eq!((reasons(&b, space), b.note(space, id(1)).is_some()), (vec![], true));
    assert_eq!(b.roots(space), c.roots(space));
}

#[test]
fn second_commit_with_a_number_is_held_as_equivocation() {
    let (mut a, b, space) = pair(Role::Writer);
    let (first, second) = (forged(&b, space, 1, "first"), forged(&b, space, 1, "second"));
    let third = forged(&b, space, 2, "the actor's number again");

    let one = a.receive(space, &b, vec![first.encode()]);
    let two = a.receive(space, &b, vec![second.encode(), third.encode()]);

    assert_eq!((one, two), (applied(1), held(2)));
    // None of them counts, the first no more than the others.
    assert_eq!((reasons(&a, space), a.note(space, id(1))), (vec![HeldReason::Equivocation; 3], None));
    assert_consistent(&mut a, space);
}

#[test]
fn commit_with_one_bad_leaf_is_not_applied_at_all_nor_what_follows_it() {
    let (mut a, b, space) = pair(Role::Writer);
    let good = change(&b, space, "good");
    let mut bad = change_of(&b, space, id(2), "of another entity's actor");
    // The change is good, and it is not the one of the entity that the leaf names.
    bad.0.entity = id(3);
    let heads = a.replica.membership(&space).expect("here").heads().to_vec();
    let commit = sign_all(&b, space, heads, 1, vec![good, bad]);

    let received = a.receive(space, &b, vec![commit.encode()]);

    assert_eq!((received, reasons(&a, space)), (held(1), vec![HeldReason::Malformed]));
    assert_eq!((a.note(space, id(1)), a.replica.position()), (None, Position(0)));
}

#[test]
fn quarantine_of_an_author_drops_its_oldest_and_nobody_elses() {
    let (mut a, b, space) = pair(Role::Writer);
    let c = joined(&mut a, 3, space, Role::Writer);
    hold(&mut a, space, &c, 0, 1_000);
    let bytes = QUARANTINE_AUTHOR_BYTES_MAX / 4 - HELD_OVERHEAD_BYTES;
    for number in 1..=5 {
        hold(&mut a, space, &b, number, bytes);
    }

    let held = a.replica.reader().quarantine(&space).expect("reads");

    let of = |device: &Device| held.iter().filter(|held| held.author == device.replica.peer()).count();
    assert_eq!((of(&b), of(&c)), (4, 1));
    assert_eq!(
        held.iter().map(|held| held.arrived.unix_ms()).collect::<BTreeSet<_>>(),
        (2..=5).chain([0]).collect()
    );
}

#[test]
fn quarantine_of_a_space_takes_no_more_than_it_may() {
    let (mut a, b, space) = pair(Role::Writer);
    let bytes = QUARANTINE_AUTHOR_BYTES_MAX - HELD_OVERHEAD_BYTES;
    let mut stored = Vec::new();
    for number in 0..5 {
        let author = Device::new(20 + number);
        stored.push(hold(&mut a, space, &author, i64::from(number), bytes));
    }

    assert_eq!(stored, [true, true, true, true, false]);
    assert!(hold(&mut a, space, &b, 9, 1_000), "who holds little is let in, and who holds most makes room");
    let held = a.replica.reader().quarantine(&space).expect("reads");
    assert_eq!(held.len(), 4);
    assert!(held.iter().any(|held| held.author == b.replica.peer()));
}

/// A change says itself which values it replaces. One that follows all that there is and replaces nothing left two
/// values at a field, and that was not told, as changes of one line were taken for free of conflicts. Seen failing
/// without `is_contended` asked in `new_conflicts`.
#[test]
fn change_that_leaves_a_value_which_its_maker_saw_is_told_as_a_conflict() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "seen")]);
    a.send(space, &mut b);
    let key = HeadKey { space, collection: notes(), entity: id(1) };
    let head = b.replica.store.get(&key).expect("reads").expect("b has it");
    let mut document = crate::replica::load::document(&b.replica.store, &key, &head).expect("loads");
    let actor = ActorId::derive(&space, &id(1), &b.replica.origin());
    let made = doc::update(|note: &mut Note| note.title = "beside it".to_owned());
    let made = made(&mut document, &actor, now().wall).expect("edits").expect("changes");
    let change = without_predecessors(&made.bytes);
    let head = doc::gate::prescan(&change).expect("well formed").hash;
    let leaf = Leaf { head, ..change_of(&b, space, id(1), "").0 };
    let heads = b.replica.membership(&space).expect("here").heads().to_vec();
    a.replica.drain();

    let received = a.receive(space, &b, vec![sign(&b, space, heads, 1, (leaf, change)).encode()]);

    let conflict = |told: &Told| {
        let Told::Conflict { conflict, .. } = told else { return None };
        Some((conflict.path.clone(), conflict.values.len()))
    };
    let told: Vec<_> = a.replica.drain().iter().filter_map(conflict).collect();
    assert_eq!((received, told), (applied(1), vec![(vec!["title".to_owned()], 2)]));
}

/// Puts a record into the quarantine as if a commit of `author` had been held.
pub(super) fn hold(device: &mut Device, space: SpaceId, author: &Device, arrived: i64, bytes: usize) -> bool {
    let mut batch = Batch::new();
    let mut changes = crate::replica::held::HeldChanges::default();
    let record = HeldRecord {
        cause: HeldCause::Malformed,
        arrived: Timestamp::from_unix_ms(arrived),
        from: author.replica.peer(),
        since: Since::OpenMs(0),
        missing: Vec::new(),
        commit: vec![arrived as u8; bytes],
    };
    let mut hash = [author.seed(); 32];
    hash[0] = arrived as u8;
    let hash = crate::id::CommitHash::new(hash);
    let commit = sign(author, space, Vec::new(), 1, change(author, space, "held"));
    let state = &mut device.replica.spaces.get_mut(&space).expect("here").held;
    let put = state.stage_put((&commit, hash), None, &record, &mut changes, &mut batch);
    device.replica.store.write(batch).expect("writes");
    state.apply(changes);
    put
}

pub(super) fn reasons(device: &Device, space: SpaceId) -> Vec<HeldReason> {
    let held = device.replica.reader().quarantine(&space).expect("reads");
    held.into_iter().map(|held| held.reason).collect()
}

pub(super) fn encoded(device: &mut Device, space: SpaceId, to: &mut Device) -> Vec<Vec<u8>> {
    device.feed(space, to, FEED_BYTES).0.into_iter().map(|packed| packed.bytes.to_vec()).collect()
}

/// A commit of entity 1, by a device that asks nobody.
pub(super) fn forged(device: &Device, space: SpaceId, oseq: u64, title: &str) -> Commit {
    let heads = device.replica.membership(&space).expect("here").heads().to_vec();
    sign(device, space, heads, oseq, change(device, space, title))
}

fn change(device: &Device, space: SpaceId, title: &str) -> (Leaf, Vec<u8>) {
    change_of(device, space, id(1), title)
}

/// The insertion of an entity, as the first change of the device's actor.
fn change_of(device: &Device, space: SpaceId, entity: EntityId, title: &str) -> (Leaf, Vec<u8>) {
    let note = Note { title: title.to_owned(), count: Counter::default() };
    let actor = ActorId::derive(&space, &entity, &device.replica.origin());
    let made =
        doc::insert(note)(&mut Document::new(), &actor, now().wall).expect("inserts").expect("changes");
    let leaf = Leaf {
        collection: notes(),
        entity,
        oseq: Oseq(1),
        prev: None,
        salt: None,
        of: 1,
        seq: made.seq,
        head: made.hash,
    };
    (leaf, made.bytes)
}

fn sign(
    device: &Device,
    space: SpaceId,
    at: Vec<crate::id::StatementHash>,
    oseq: u64,
    change: (Leaf, Vec<u8>),
) -> Commit {
    sign_all(device, space, at, oseq, vec![change])
}

fn sign_all(
    device: &Device,
    space: SpaceId,
    at: Vec<crate::id::StatementHash>,
    oseq: u64,
    mut changes: Vec<(Leaf, Vec<u8>)>,
) -> Commit {
    let of = changes.len() as u32;
    changes.iter_mut().for_each(|(leaf, _)| (leaf.oseq, leaf.of) = (Oseq(oseq), of));
    let origin: Origin = device.replica.origin();
    Commit::sign(&device.identity, space, origin, at, changes).expect("signs")
}
