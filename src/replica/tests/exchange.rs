//! Two and more replicas that exchange commits: convergence, atomicity, feeds, blinding, repair, receipts.

use proptest::prelude::*;

use super::*;
use crate::access::Slot;
use crate::doc::gate;
use crate::exchange::EntityClock;
use crate::id::{Salt, Vector};

/// One act of one device.
#[derive(Clone, Debug)]
enum Act {
    Insert(u8),
    Retitle(u8, u8),
    Count(u8),
    Delete(u8),
    Restore(u8),
    Two(u8, u8),
    /// Sends up to so many bytes of what another device lacks.
    Send(u8, usize),
    /// The process dies and the store is opened again.
    Kill,
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0_u8..4).prop_map(Act::Insert),
        4 => (0_u8..4, any::<u8>()).prop_map(|(entity, text)| Act::Retitle(entity, text)),
        2 => (0_u8..4).prop_map(Act::Count),
        1 => (0_u8..4).prop_map(Act::Delete),
        1 => (0_u8..4).prop_map(Act::Restore),
        2 => (0_u8..4, 4_u8..8).prop_map(|(a, b)| Act::Two(a, b)),
        6 => (0_u8..3, prop_oneof![Just(1_usize), Just(600), Just(FEED_BYTES)])
            .prop_map(|(to, bytes)| Act::Send(to, bytes)),
        1 => Just(Act::Kill),
        1 => Just(Act::Reopen),
    ]
}

/// Does an act; intents that do not hold are part of the game.
fn act_on(devices: &mut [Option<Device>; 3], who: usize, act: Act, space: SpaceId) {
    let mut device = devices[who].take().expect("every device is in its place");
    let count = || doc::update(|note: &mut Note| note.count.increment(1));
    let writes = match act {
        Act::Insert(entity) => vec![insert(id(entity), "new")],
        Act::Retitle(entity, text) => vec![retitle(id(entity), &text.to_string())],
        Act::Count(entity) => {
            vec![Write { collection: notes(), entity: id(entity), intent: Intent::Change, edit: count() }]
        }
        Act::Delete(entity) => vec![delete(id(entity))],
        Act::Restore(entity) => vec![restore(id(entity))],
        Act::Two(note, other) => vec![retitle(id(note), "both"), task(id(other), true)],
        Act::Send(to, bytes_max) => {
            let to = usize::from(to);
            if let Some(other) = devices[to].as_mut() {
                device.teach(space, other);
                let (commits, _) = device.feed(space, other, bytes_max);
                // The last first: dependencies may come late, and wait in quarantine.
                let commits = commits.iter().rev().map(|packed| packed.bytes.to_vec());
                other.receive(space, &device, commits.collect());
            }
            Vec::new()
        }
        Act::Kill => {
            device = device.killed();
            Vec::new()
        }
        Act::Reopen => {
            device = device.reopened();
            Vec::new()
        }
    };
    if !writes.is_empty() {
        let done = device.replica.commit(now(), space, writes);
        assert!(!matches!(done, Err(ReplicaError::Store(_) | ReplicaError::Access(_))), "{done:?}");
    }
    devices[who] = Some(device);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn replicas_converge_whatever_the_order(acts in prop::collection::vec((0_usize..3, act()), 0..40)) {
        let (mut a, b, space) = pair(Role::Writer);
        let c = joined(&mut a, 3, space, Role::Writer);
        let mut devices = [Some(a), Some(b), Some(c)];

        for (who, act) in acts {
            act_on(&mut devices, who, act, space);
        }

        let [a, b, c] = devices.map(|device| device.expect("every device is in its place"));
        let mut devices = [a, b, c];
        for _ in 0..2 {
            for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2), (2, 1), (1, 0)] {
                let [from, to] = devices.get_disjoint_mut([from, to]).expect("the numbers differ");
                from.send(space, to);
            }
        }
        let [a, b, c] = &mut devices;
        for other in [b, c] {
            prop_assert_eq!(a.roots(space), other.roots(space));
            prop_assert_eq!(a.vectors(space), other.vectors(space));
            for collection in [notes(), tasks()] {
                let rows = |device: &Device| {
                    device.replica.reader().rows(&space, &collection, None, 100).expect("reads")
                };
                prop_assert_eq!(rows(a), rows(other));
            }
            prop_assert_eq!(other.replica.reader().quarantine(&space).expect("reads"), vec![]);
            assert_consistent(other, space);
        }
        assert_consistent(a, space);
    }
}

#[test]
fn commit_arrives_whole_and_is_told_once() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "drill"), task(id(2), true)]);
    let (commits, complete) = a.feed(space, &mut b, FEED_BYTES);
    let bytes: Vec<Vec<u8>> = commits.iter().map(|packed| packed.bytes.to_vec()).collect();

    let first = b.receive(space, &a, bytes.clone());
    let told = b.replica.drain();
    let again = b.receive(space, &a, bytes);

    assert_eq!((first, complete), (applied(1), true));
    assert_eq!(again, Received { duplicate: 1, ..Received::default() });
    assert!(b.replica.drain().is_empty(), "a duplicate is not told");
    assert!(
        matches!(told.as_slice(), [Told::Stored { from: Some(_), stored, .. }, Told::Changed { entities, .. }]
        if stored.commit == commits[0] && entities.len() == 2)
    );
    assert_eq!((b.metrics().commits_remote, b.metrics().commits_duplicate), (1, 1));
    assert_eq!(a.feed(space, &mut b, FEED_BYTES).0, []);
}

#[test]
fn entity_is_applied_once_for_all_commits_of_a_question() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "0")]);
    for round in 1..50 {
        a.commit(space, vec![retitle(id(1), &round.to_string())]);
    }

    a.send(space, &mut b);

    assert_eq!((b.metrics().document_applies, b.metrics().commits_remote), (1, 50));
    assert_eq!(title(b.note(space, id(1))), Some("49".to_owned()));
}

#[test]
fn any_failed_write_of_a_receipt_leaves_all_of_it_or_nothing() {
    use crate::store::kv::memory::Fault;

    for fault in [Fault::Full, Fault::Refused, Fault::Done] {
        let (mut a, mut b, space) = pair(Role::Writer);
        a.commit(space, vec![insert(id(1), "drill"), task(id(2), true)]);
        let (commits, _) = a.feed(space, &mut b, FEED_BYTES);
        b.memory.fail_write(0, fault);

        let from = a.replica.peer();
        let commits = commits.iter().map(|packed| packed.bytes.to_vec()).collect();
        let answer = b.replica.answer(now(), Ask::Receive { space, from, commits });

        assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
        assert!(b.replica.drain().is_empty());
        let mut b = b.killed();
        assert_eq!(b.note(space, id(1)).is_some(), fault == Fault::Done);
        assert_consistent(&mut b, space);
        a.send(space, &mut b);
        assert_eq!(a.roots(space), b.roots(space));
    }
}

#[test]
fn feed_of_a_thousand_entities_reads_what_it_sends() {
    let (mut a, mut b, space) = pair(Role::Writer);
    for number in 0..1_000_u64 {
        a.commit(space, vec![insert(EntityId::from_key("n", &number.to_be_bytes()), "n")]);
    }

    let mut pages = Vec::new();
    loop {
        let (commits, complete) = a.feed(space, &mut b, FEED_BYTES);
        let bytes: usize = commits.iter().map(|packed| packed.bytes.len()).sum();
        let largest = commits.iter().map(|packed| packed.bytes.len()).max().unwrap_or(0);
        assert!(bytes < FEED_BYTES + largest, "a feed exceeds its limit by one commit at most");
        pages.push(commits.len());
        let received = b.receive(space, &a, commits.iter().map(|packed| packed.bytes.to_vec()).collect());
        assert_eq!(received, applied(commits.len()), "no page holds what was sent before");
        if complete {
            break;
        }
    }

    assert_eq!(pages.iter().sum::<usize>(), 1_000);
    assert_eq!((a.metrics().documents_loaded, b.metrics().documents_loaded), (0, 0));
    assert_eq!(a.roots(space), b.roots(space));
}

#[test]
fn feed_comes_in_journal_order_over_origins_and_collections() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let mut c = joined(&mut a, 3, space, Role::Writer);
    a.commit(space, vec![insert(id(1), "0")]);
    for round in 1..6 {
        a.send(space, &mut b);
        b.commit(space, vec![retitle(id(1), &round.to_string())]);
        b.send(space, &mut a);
        a.commit(space, vec![retitle(id(1), "a"), task(id(round), true)]);
    }

    let mut positions = Vec::new();
    loop {
        let (commits, complete) = a.feed(space, &mut c, 1);
        positions.extend(commits.iter().map(|packed| packed.key.clone()));
        let commits = commits.iter().map(|packed| packed.bytes.to_vec()).collect();
        assert_eq!(c.receive(space, &a, commits), applied(1), "what a commit depends on came before");
        if complete {
            break;
        }
    }

    assert_eq!(positions.len(), 11);
    assert_eq!(a.roots(space), c.roots(space));
}

#[test]
fn closed_collection_never_reaches_a_writer_and_commits_still_verify() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.replica.set_rule(now(), space, &tasks(), Role::Admin, Role::Admin).expect("an owner sets rules");
    a.commit(space, vec![insert(id(1), "open"), task(id(2), true)]);
    a.commit(space, vec![task(id(3), true)]);

    a.teach(space, &mut b);
    let (commits, _) = a.feed(space, &mut b, FEED_BYTES);
    let received = b.receive(space, &a, commits.iter().map(|packed| packed.bytes.to_vec()).collect());

    assert_eq!((commits.len(), received), (1, applied(1)));
    let commit = Commit::decode(space, &commits[0].bytes).expect("decodes");
    assert_eq!((commit.verify(), commit.parts()), (Ok(()), vec![(notes(), Oseq(1))]));
    assert_eq!(b.roots(space).keys().collect::<Vec<_>>(), [&notes()]);
    assert!(!commits[0].bytes.windows(5).any(|bytes| bytes == b"tasks"), "not even the name is told");
    let clocks = vec![EntityClock { entity: id(2), clock: Vec::new() }];
    let ask = Ask::Lacking {
        space,
        collection: tasks(),
        to: b.replica.peer(),
        have: Vectors::new(),
        scope: Scope::default(),
        clocks,
        bytes_max: FEED_BYTES,
    };
    let answer = a.replica.answer(now(), ask);
    assert!(matches!(answer, Answer::Lacking { commits, rest } if commits.is_empty() && rest.is_empty()));
}

#[test]
fn blinded_commit_is_completed_when_its_reader_may_read_more() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let mut c = joined(&mut a, 3, space, Role::Owner);
    a.replica.set_rule(now(), space, &tasks(), Role::Admin, Role::Admin).expect("an owner sets rules");
    a.commit(space, vec![insert(id(1), "open"), task(id(2), true)]);
    a.send(space, &mut b);
    assert_eq!(b.replica.reader().rows(&space, &tasks(), None, 9).expect("reads"), []);
    let member =
        a.replica.membership(&space).expect("here").member_of(&b.replica.peer()).expect("a member").id;
    a.replica.set_role(now(), space, member, Role::Admin).expect("an owner sets roles");

    a.send(space, &mut b);
    b.send(space, &mut c);

    assert_eq!((a.roots(space), a.vectors(space)), (b.roots(space), b.vectors(space)));
    assert_eq!((a.roots(space), a.vectors(space)), (c.roots(space), c.vectors(space)));
    assert_consistent(&mut b, space);
    let mut d = joined(&mut a, 9, space, Role::Owner);
    a.teach(space, &mut b);
    let commits = b.feed(space, &mut d, FEED_BYTES).0;
    assert_eq!(commits.len(), 1, "the completed commit is fed once");
}

/// Who may not read a collection was shown a hash without a salt, and could try what it guessed against the signature.
/// Seen failing with `Commit::hash_of` leaving out the salt.
#[test]
fn what_is_blinded_confirms_no_guess() {
    for truth in [true, false] {
        let (mut a, mut b, space) = pair(Role::Writer);
        a.replica.set_rule(now(), space, &tasks(), Role::Admin, Role::Admin).expect("an owner sets rules");
        a.teach(space, &mut b);
        a.commit(space, vec![insert(id(1), "open"), task(id(1), truth)]);
        let packed = a.feed(space, &mut b, FEED_BYTES).0.remove(0);

        let seen = Commit::decode(space, &packed.bytes).expect("decodes");
        let (note, shown) = seen.open().next().expect("the note");
        let (note, time) = (note.clone(), gate::prescan(shown).expect("a change").time);
        let blind = seen.slots.iter().position(|slot| matches!(slot, Slot::Blind(_))).expect("one is blind");
        let confirmed = |guess: bool, salt: Option<Salt>| {
            let actor = ActorId::derive(&space, &id(1), &seen.origin);
            let made = doc::insert(Task { done: guess })(&mut Document::new(), &actor, time);
            let made = made.expect("fits").expect("changes");
            let leaf = Leaf { collection: tasks(), seq: made.seq, head: made.hash, salt, ..note.clone() };
            let mut tried = seen.clone();
            tried.slots[blind] = Slot::Open { leaf, change: made.bytes };
            tried.verify().is_ok()
        };

        for salt in [None, note.salt, Some(Salt::new([0; 16]))] {
            assert_eq!([true, false].map(|guess| confirmed(guess, salt)), [false, false], "{salt:?}");
        }
        let mut c = joined(&mut a, 3, space, Role::Owner);
        let whole = a.feed(space, &mut c, FEED_BYTES).0.remove(0);
        let whole = Commit::decode(space, &whole.bytes).expect("decodes");
        let salt = whole.open().find(|(leaf, _)| leaf.collection == tasks()).and_then(|(leaf, _)| leaf.salt);
        assert!(confirmed(truth, salt) && !confirmed(!truth, salt), "who may read it has the salt");
    }
}

/// A hash stands for all leaves of a collection, so what is behind it and what is beside it have other places in the
/// commit that is shown than in the whole one. Seen failing with `CommitRecord::by_collection` taking each leaf
/// for a group, and with `Replica::again` taking one leaf for each hash.
#[test]
fn a_commit_that_lacked_some_leaves_before_its_open_ones_is_completed() {
    for held in [false, true] {
        let (mut a, mut b, space) = pair(Role::Writer);
        a.commit(space, vec![task(id(4), false)]);
        let first = a.feed(space, &mut b, FEED_BYTES).0.remove(0);
        let finish = Write {
            intent: Intent::Change,
            edit: doc::update(|task: &mut Task| task.done = true),
            ..task(id(4), true)
        };
        a.commit(space, vec![insert(id(1), "1"), insert(id(2), "2"), finish, task(id(5), true)]);
        let second = a.feed(space, &mut b, FEED_BYTES).0.remove(1);
        let whole = Commit::decode(space, &second.bytes).expect("decodes");
        let narrow = whole.blinded(&|collection| *collection == tasks()).expect("tasks are in it");
        let commits = [first.bytes.to_vec(), narrow.encode(), second.bytes.to_vec()];
        let order = if held { [1, 2, 0] } else { [0, 1, 2] };

        for index in order {
            b.receive(space, &a, vec![commits[index].clone()]);
        }

        assert_eq!((narrow.slots.len(), narrow.hash()), (3, whole.hash()));
        assert_eq!((a.roots(space), a.vectors(space)), (b.roots(space), b.vectors(space)), "held: {held}");
        assert_consistent(&mut b, space);
        let mut c = joined(&mut a, 3, space, Role::Owner);
        a.teach(space, &mut b);
        b.send(space, &mut c);
        assert_eq!(c.roots(space), a.roots(space));
    }
}

/// A commit came twice in one go, first without the leaves of a collection that was not wanted: the second counted
/// as known, was acknowledged, and its leaves were nowhere.
#[test]
fn a_commit_that_comes_narrow_and_wide_is_taken_wide_also_out_of_quarantine() {
    let narrow = |commit: &Packed, space| {
        let commit = Commit::decode(space, &commit.bytes).expect("decodes");
        commit.blinded(&|collection| *collection == notes()).expect("a note is in it").encode()
    };
    for late in [false, true] {
        let (mut a, mut b, space) = pair(Role::Writer);
        a.commit(space, vec![insert(id(1), "first")]);
        a.commit(space, vec![retitle(id(1), "second"), task(id(2), true)]);
        let (commits, _) = a.feed(space, &mut b, FEED_BYTES);
        let wide = commits[1].bytes.to_vec();
        let first = commits[0].bytes.to_vec();
        let second = narrow(&commits[1], space);

        if late {
            b.receive(space, &a, vec![second]);
            b.receive(space, &a, vec![wide]);
            b.receive(space, &a, vec![first]);
        } else {
            b.receive(space, &a, vec![first, second, wide]);
        }

        assert_eq!((a.roots(space), a.vectors(space)), (b.roots(space), b.vectors(space)), "late: {late}");
        assert_eq!(b.replica.reader().quarantine(&space).expect("reads"), []);
        assert_consistent(&mut b, space);
    }
}

#[test]
fn concurrent_values_are_told_and_readable_on_both_sides() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "base")]);
    a.send(space, &mut b);
    a.commit(space, vec![retitle(id(1), "left")]);
    b.commit(space, vec![retitle(id(1), "right")]);
    a.replica.drain();

    b.send(space, &mut a);
    a.send(space, &mut b);

    let conflicts: Vec<_> = conflicts_told(&mut a).into_iter().map(|conflict| conflict.path).collect();
    assert_eq!(conflicts, [["title".to_owned()]]);
    for device in [&a, &b] {
        let conflicts = device.replica.reader().conflicts(&space, &notes(), &id(1)).expect("reads");
        assert_eq!((conflicts.len(), conflicts[0].values.len()), (1, 2));
    }
    assert_eq!(a.note(space, id(1)), b.note(space, id(1)));
}

/// A conflict that was settled while somebody else wrote one of its values anew: a field with two values has two others.
/// They were told where the settled value came alone first, and not where both came together. Seen failing with values
/// that are only counted in `new_conflicts`.
#[test]
fn as_many_other_values_of_a_field_are_told_as_a_conflict() {
    for together in [false, true] {
        let (mut a, mut b, space) = pair(Role::Writer);
        let mut c = joined(&mut a, 3, space, Role::Writer);
        a.commit(space, vec![insert(id(1), "base")]);
        a.send(space, &mut b);
        a.send(space, &mut c);
        b.commit(space, vec![retitle(id(1), "left")]);
        c.commit(space, vec![retitle(id(1), "right")]);
        b.send(space, &mut a);
        c.send(space, &mut a);
        c.send(space, &mut b);
        assert_eq!(conflicts_told(&mut a).len(), 1);
        b.commit(space, vec![retitle(id(1), "settled")]);
        c.commit(space, vec![retitle(id(1), "right again")]);

        let of_both = [&mut b, &mut c].map(|device| hostile::encoded(device, space, &mut a)).concat();
        for commits in of_both.chunks(if together { 2 } else { 1 }) {
            a.receive(space, &b, commits.to_vec());
        }

        let told = conflicts_told(&mut a);
        let values = told.iter().flat_map(|conflict| &conflict.values).map(|value| value.value.clone());
        let mut values: Vec<String> = values.map(|value| format!("{value:?}")).collect();
        values.sort_unstable();
        assert_eq!((told.len(), values.len()), (1, 2), "{values:?}, together: {together}");
        assert!(values[0].contains("right again") && values[1].contains("settled"), "{values:?}");
    }
}

fn conflicts_told(device: &mut Device) -> Vec<doc::Conflict> {
    let told = device.replica.drain().into_iter();
    told.filter_map(|told| match told {
        Told::Conflict { conflict, .. } => Some(conflict),
        Told::Stored { .. }
        | Told::SpaceChanged(_)
        | Told::Clash { .. }
        | Told::InterestChanged(_)
        | Told::TakenBack { .. }
        | Told::Expired { .. }
        | Told::SpaceGone { .. }
        | Told::JoinRequested { .. }
        | Told::Damaged { .. }
        | Told::Indexed { .. }
        | Told::Repaired { .. }
        | Told::Changed { .. } => None,
    })
    .collect()
}

#[test]
fn deletion_wins_over_a_concurrent_edit_until_it_is_restored() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "base")]);
    a.send(space, &mut b);
    a.commit(space, vec![delete(id(1))]);
    b.commit(space, vec![retitle(id(1), "edited")]);

    b.send(space, &mut a);
    a.send(space, &mut b);
    let deleted = (a.note(space, id(1)), b.note(space, id(1)));
    b.commit(space, vec![restore(id(1))]);
    b.send(space, &mut a);

    assert_eq!(deleted, (None, None));
    assert_eq!(title(a.note(space, id(1))), Some("edited".to_owned()));
    assert_eq!(a.roots(space), b.roots(space));
}

#[test]
fn entities_are_repaired_by_heads_and_clocks_without_vectors() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "same"), insert(id(2), "0")]);
    a.send(space, &mut b);
    a.commit(space, vec![retitle(id(2), "1"), insert(id(3), "new")]);
    a.commit(space, vec![retitle(id(2), "2")]);

    let differing: Vec<EntityId> = {
        let (ours, theirs) = (heads(&mut a, space, [7; 32]), heads(&mut b, space, [7; 32]));
        ours.into_iter().filter(|entry| !theirs.contains(entry)).map(|(entity, _)| entity).collect()
    };
    let ask = Ask::Clocks { space, collection: notes(), entities: differing.clone() };
    let Answer::Clocks(clocks) = b.replica.answer(now(), ask) else { panic!("clocks were asked for") };
    let ask = Ask::Lacking {
        space,
        collection: notes(),
        to: b.replica.peer(),
        have: Vectors::new(),
        scope: Scope::default(),
        clocks,
        bytes_max: FEED_BYTES,
    };
    let Answer::Lacking { commits, rest } = a.replica.answer(now(), ask) else { panic!("commits") };
    let received = b.receive(space, &a, commits.iter().map(|packed| packed.bytes.to_vec()).collect());

    assert_eq!((differing, rest), (vec![id(2), id(3)], vec![]));
    assert_eq!((commits.len(), received), (2, applied(2)));
    assert_eq!(a.roots(space), b.roots(space));
}

#[test]
fn collections_are_fed_in_the_order_of_their_priority() {
    let (mut a, b, space) = pair(Role::Writer);
    a.replica.register(Arc::new(KindOf::<UrgentTask>::new().expect("a name"))).expect("registers");
    for number in 0..3 {
        a.commit(space, vec![insert(id(number), "note")]);
        a.commit(space, vec![task(id(10 + number), true)]);
    }
    let both = a.commit(space, vec![insert(id(3), "note"), task(id(13), true)]);

    let (to, have) = (b.replica.peer(), Vectors::new());
    let ask = Ask::Feed { space, to, have, scope: Scope::default(), bytes_max: FEED_BYTES };
    let Answer::Commits { commits, complete } = a.replica.answer(now(), ask) else { panic!("commits") };

    let parts = commits.iter().map(|commit| commit.key.parts.as_slice());
    let tasks_of =
        |parts: &[(CollectionName, Oseq)]| parts.iter().any(|(collection, _)| *collection == tasks());
    assert_eq!(parts.map(tasks_of).collect::<Vec<_>>(), [true, true, true, true, false, false, false]);
    assert_eq!((complete, &commits[3].key), (true, &both), "with the highest of its priorities, and once");
}

#[test]
fn what_a_peer_lacks_is_read_in_pages_that_split_even_one_entity() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "0"), insert(id(2), "0")]);
    for number in 1..=10 {
        a.commit(space, vec![retitle(id(1), &number.to_string())]);
    }
    a.commit(space, vec![retitle(id(2), "1")]);
    let mut clocks: Vec<EntityClock> =
        [1, 2].map(|number| EntityClock { entity: id(number), clock: Vec::new() }).into();

    let mut pages = Vec::new();
    while !clocks.is_empty() {
        let (to, bytes_max) = (b.replica.peer(), 700);
        let (have, scope) = (Vectors::new(), Scope::default());
        let ask = Ask::Lacking { space, collection: notes(), to, have, scope, clocks, bytes_max };
        let Answer::Lacking { commits, rest } = a.replica.answer(now(), ask) else { panic!("commits") };
        let bytes: Vec<usize> = commits.iter().map(|packed| packed.bytes.len()).collect();
        assert!(bytes[..bytes.len() - 1].iter().sum::<usize>() < bytes_max, "{bytes:?}");
        b.receive(space, &a, commits.iter().map(|packed| packed.bytes.to_vec()).collect());
        pages.push(commits.len());
        clocks = rest;
    }

    assert!(pages.len() > 3, "{pages:?}");
    assert_eq!(pages.iter().sum::<usize>(), 13, "{pages:?}: the one with both entities twice, no other");
    assert_eq!(a.roots(space), b.roots(space));
}

#[test]
fn receipts_name_the_peers_that_confirmed_and_pending_the_rest() {
    let (mut a, b, space) = pair(Role::Writer);
    let first = a.commit(space, vec![insert(id(1), "one"), task(id(2), true)]);
    let second = a.commit(space, vec![insert(id(3), "two")]);
    let mut vector = Vector::new();
    vector.insert(first.origin, Oseq(1)).expect("few origins");
    let vectors = Vectors::from([(notes(), vector)]);
    let peer = b.replica.peer();
    let before = a.replica.reader().pending(&space, 9).expect("reads");

    a.replica.answer(now(), Ask::Acked { space, peer, vectors: vectors.clone() });
    a.replica.answer(now(), Ask::Acked { space, peer: Device::new(9).replica.peer(), vectors });
    let reader = a.reopened().replica.reader();

    assert_eq!(before.iter().map(|pending| pending.entities.len()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(reader.stored_by(&space, &first).expect("reads"), [peer]);
    assert_eq!(reader.stored_by(&space, &second).expect("reads"), []);
    let after = reader.pending(&space, 9).expect("reads");
    assert_eq!(after.iter().map(|pending| &pending.key).filter(|key| **key == second).count(), 1);
}

#[test]
fn damaged_entity_is_an_error_and_not_a_wrong_row() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "one")]);
    let mut a = a.reopened();
    assert!(a.memory.flip_bit(1, &[1, 3], &[1, 4]).or_else(|| a.memory.flip_bit(1, &[3], &[4])).is_some());

    let failed = a.replica.commit(now(), space, vec![retitle(id(1), "two")]);

    assert!(matches!(failed, Err(ReplicaError::Damaged { entity }) if entity == id(1)), "{failed:?}");
}

#[test]
fn questions_about_an_unknown_space_fail() {
    let mut a = Device::new(1);
    let space = SpaceId::new([9; 32]);
    let to = a.replica.peer();

    let answer = a
        .replica
        .answer(now(), Ask::Feed { space, to, have: Vectors::new(), scope: Scope::default(), bytes_max: 1 });

    assert!(matches!(answer, Answer::Failed(reason) if reason == "no such space"));
    assert!(matches!(a.replica.answer(now(), Ask::State { space }), Answer::State(None)));
}

/// Ranges were compared by 8 bytes that anybody can compute. Who makes two changes with equal ones, with 2^32 hashes, kept
/// two devices from seeing in which entity they differ. Seen failing with the key left out of `symbol`.
#[test]
fn heads_are_compared_by_what_differs_on_each_connection() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "1"), insert(id(2), "2")]);

    let [one, other, again] = [1, 2, 1].map(|key| heads(&mut a, space, [key; 32]));

    assert_eq!((one.len(), &one), (2, &again));
    assert!(one.iter().zip(&other).all(|(one, other)| one.0 == other.0 && one.1 != other.1));
}

fn heads(device: &mut Device, space: SpaceId, key: [u8; 32]) -> Vec<(EntityId, [u8; 8])> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let ask = Ask::Heads { space, collection: notes(), key, after, count_max: 2 };
        let Answer::Heads { entries, complete } = device.replica.answer(now(), ask) else { panic!("heads") };
        after = entries.last().map(|(entity, _)| *entity);
        all.extend(entries);
        if complete {
            return all;
        }
    }
}
