//! Bounds of a replica, each reached.

use std::cell::Cell;

use super::clash::{Liar, proofs, reasons, scene, take};
use super::*;
use crate::access::{Log, change_hash};
use crate::id::{ChangeHash, Incarnation, Listed, PeerId, Vector, Version};
use crate::limits::{
    BASE_ENTRIES_MAX, CLASHES_OPEN_MAX, CLASHES_TOLD_BYTES, COLLECTIONS_KEPT, COLLECTIONS_OF_STRANGERS_MAX,
    COLLECTIONS_PER_MEMBER_MAX, COLLECTIONS_SHARED_MAX, ERASE_PIECE_KEYS, FETCH_BYTES, FETCH_COMMITS_MAX,
    HEADS_PAGE_ENTITIES, HELD_MISSING_MAX, INDEX_ENTITIES_MAX, JUDGED_TOGETHER_MAX, MENDS_MAX, ORIGINS_KEPT,
    ORIGINS_PER_MEMBER_MAX, ORIGINS_SHARED_MAX, ORIGINS_WANTED_MAX, SNAPSHOTS_DUE_MAX, SPACES_PER_NODE_MAX,
    VECTOR_ORIGINS_MAX,
};
use crate::replica::HeldReason;
use crate::replica::heal::stage_statements;
use crate::replica::names::{Begun, Names, Shares};
use crate::replica::room::{Followers, Room};
use crate::store::keyspaces::{
    Arrival, BaseKey, BaseRecord, Batch, Change, ChangeKey, CommitEntry, CommitId, CommitRecord, Head,
    HeadKey, HeldKey, HeldRecord, JournalEntry, JournalKey, JournalPart, Key, Prefix, RowKey, SlotRecord,
};

/// Seen failing with four times as many in `Replica::add_space`, and in `Replica::load_spaces`; and with those that are
/// being erased counted there: the store could not be opened.
#[test]
fn a_node_holds_so_many_spaces_and_is_opened_with_so_many() {
    let mut a = Device::new(1);
    for _ in 0..SPACES_PER_NODE_MAX {
        founded(&mut a);
    }
    let (what, count, max) = ("spaces", SPACES_PER_NODE_MAX + 1, SPACES_PER_NODE_MAX);
    let full = ReplicaError::TooMany { what, count, max }.to_string();

    let refused = a.replica.create_space(now(), "One more", "Ann", "laptop");
    assert_eq!(refused.map_err(|error| error.to_string()), Err(full.clone()));

    // One that is being erased takes no place, though its statements are still there.
    let last = *a.replica.spaces.keys().next_back().expect("many");
    a.replica.erase(last).expect("is here");
    let another = founded(&mut a);
    assert!(another < last, "what is being erased is met when all others are here");
    let mut a = a.killed();
    assert_eq!(a.replica.spaces.len(), SPACES_PER_NODE_MAX);

    let (log, _) = Log::found(&a.identity, "Planted", "Ann", "laptop", [9; 32]).expect("short names");
    let mut batch = Batch::new();
    stage_statements(&mut batch, log.space(), log.statements());
    a.replica.store.write(batch).expect("memory writes");
    a.replica.close().expect("closes");
    let values = Values::memory(&a.memory).expect("the memory is not open");
    let opened = Replica::open(values, Arc::clone(&a.identity), [9; 32], now(), Arc::default());
    assert_eq!(opened.map(|_| ()).map_err(|error| error.to_string()), Err(full));
}

/// An entity with so many changes, each of a commit of its own, as far as a fetch looks at them.
fn long_history(device: &Device, space: SpaceId, count: usize) {
    let (collection, entity) = (notes(), id(1));
    let origin = device.replica.origin();
    let mut batch = Batch::new();
    for number in 1..=count as u64 {
        let (oseq, arrival) = (Oseq(number), Arrival(number - 1));
        let key = ChangeKey { space, collection: collection.clone(), entity, arrival };
        batch.put(&key, &Change { origin, oseq, seq: number, chunk: vec![0; 8] });
        let slot = SlotRecord::Open {
            collection: collection.clone(),
            entity,
            oseq,
            prev: None,
            salt: None,
            of: 1,
            seq: number,
            head: ChangeHash::new([1; 32]),
            arrival,
        };
        let (position, at, slots, signature) = (Position(number), Vec::new(), vec![slot], [0; 64]);
        let record = CommitRecord { position, at, slots, signature };
        let id = CommitId { space, collection: collection.clone(), origin, oseq };
        batch.put(&id, &CommitEntry::Record(record));
    }
    let head = Head { next_arrival: Arrival(count as u64), ..Head::default() };
    batch.put(&HeadKey { space, collection, entity }, &head);
    device.replica.store.write(batch).expect("memory writes");
}

/// Who asks for the documents is told that they are not here, and gets them when it wants all. Seen failing with
/// four times the bound in `Replica::hanging_together`.
#[test]
fn documents_that_hang_together_by_too_many_commits_are_not_fetched_alone() {
    let (mut a, b, space) = pair(Role::Writer);
    let found = |a: &Device| {
        let found = a.replica.hanging_together(space, &notes(), &[id(1)], &Vector::new()).expect("reads");
        found.map(|(found, unknown)| (found.len(), unknown.len()))
    };

    long_history(&a, space, FETCH_COMMITS_MAX);
    assert_eq!(found(&a), Some((FETCH_COMMITS_MAX, 0)));
    long_history(&a, space, FETCH_COMMITS_MAX + 1);
    assert_eq!(found(&a), None);

    let (collection, to, entities) = (notes(), b.replica.peer(), vec![id(1)]);
    let ask = Ask::Fetch { space, collection, to, entities, have: Vector::new() };
    let Answer::Fetched { commits, unknown, complete } = a.replica.answer(now(), ask) else {
        panic!("fetched")
    };
    assert_eq!((commits.len(), unknown, complete), (0, vec![id(1)], true));
}

/// Seen failing with four times the bound in `Taking::take`.
#[test]
fn an_index_lists_so_many_entities_and_leaves_others_out() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    let told = |number: u8| {
        let heads = vec![ChangeHash::new([number; 32])];
        Listed { entity: id(number), version: Version { heads, deleted: false, activity_ms: 5 } }
    };
    let gone = |number: u8| Listed {
        version: Version { heads: Vec::new(), ..told(number).version },
        ..told(number)
    };
    let take = |a: &mut Device, changed: Vec<Listed>| {
        a.replica.answer(now(), Ask::TakeIndex { space, collection: notes(), spans: Vec::new(), changed });
        let index = a.replica.reader().index(&space, &notes(), true, None, usize::MAX).expect("reads");
        index.into_iter().map(|entry| entry.listed).collect::<Vec<_>>()
    };
    take(&mut a, Vec::new());
    // As many are listed as may be, but for two.
    let known = a.replica.spaces.get_mut(&space).expect("here");
    known.listed.insert(notes(), INDEX_ENTITIES_MAX - 2);

    assert_eq!(take(&mut a, vec![told(1), told(2), told(3)]), [told(1), told(2)]);
    let newer = Listed { version: Version { activity_ms: 6, ..told(2).version }, ..told(2) };
    assert_eq!(take(&mut a, vec![newer.clone(), told(4)]), [told(1), newer.clone()], "known ones go on");
    assert_eq!(take(&mut a, vec![gone(1), told(4)]), [newer, told(4)], "one that goes makes room");
}

/// The answer to a peer's question, whatever it asks for. Seen failing with the bound taken out of `Replica::heads`.
#[test]
fn a_page_of_heads_has_so_many_entities_whatever_is_asked_for() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.replica.pretend(space, &notes(), HEADS_PAGE_ENTITIES as u64 + 1);
    let page = |a: &mut Device, after| {
        let ask = Ask::Heads { space, collection: notes(), key: [0; 32], after, count_max: usize::MAX };
        let Answer::Heads { entries, complete } = a.replica.answer(now(), ask) else { panic!("heads") };
        (entries, complete)
    };

    let (first, complete) = page(&mut a, None);
    assert_eq!((first.len(), complete), (HEADS_PAGE_ENTITIES, false));
    let (rest, complete) = page(&mut a, first.last().map(|(entity, _)| *entity));
    assert_eq!((rest.len(), complete), (1, true));
}

/// The last places are the device's own whose vector it is. Seen failing with the end of the vector for everybody, and
/// with none for a device's own.
#[test]
fn a_vector_has_so_many_origins_and_the_last_are_its_devices_own() {
    let (a, b, space) = pair(Role::Admin);
    let membership = a.replica.membership(&space).expect("here");
    let stranger = |number: u64| Origin { peer: PeerId::new([9; 32]), incarnation: Incarnation(number) };
    let full = |count: usize| {
        let mut vector = Vector::new();
        (0..count as u64).for_each(|number| vector.insert(stranger(number), Oseq(1)).expect("fits"));
        vector
    };
    let lets_in = |count: usize, of: &Device| {
        let (vector, holder) = (full(count), a.replica.peer());
        Room::new(&membership, holder, Some(&vector)).lets_in(&of.replica.origin(), || true)
    };

    let others = VECTOR_ORIGINS_MAX - ORIGINS_KEPT;
    assert_eq!((lets_in(others - 1, &b), lets_in(others, &b)), (true, false));
    assert_eq!((lets_in(others, &a), lets_in(VECTOR_ORIGINS_MAX - 1, &a)), (true, true));
    assert!(!lets_in(VECTOR_ORIGINS_MAX, &a));
}

/// Of a member that has its share. Seen failing with twice each of the two.
#[test]
fn who_has_a_share_of_a_vector_is_let_in_up_to_a_bound_and_whom_others_built_on_up_to_another() {
    let (a, b, space) = pair(Role::Writer);
    let membership = a.replica.membership(&space).expect("here");
    let lets_in = |count: usize, wanted: bool| {
        let mut vector = Vector::new();
        let stranger = |life| Origin { peer: PeerId::new([9; 32]), incarnation: Incarnation(life) };
        let own = |life| Origin { peer: b.replica.peer(), incarnation: Incarnation(life) };
        let share = ORIGINS_KEPT as u64;
        let origins = (0..share).map(own).chain((share..count as u64).map(stranger));
        origins.for_each(|origin| vector.insert(origin, Oseq(1)).expect("fits"));
        Room::new(&membership, a.replica.peer(), Some(&vector)).lets_in(&own(share), || wanted)
    };

    assert!(lets_in(ORIGINS_SHARED_MAX - 1, false) && !lets_in(ORIGINS_SHARED_MAX, false));
    assert!(lets_in(ORIGINS_WANTED_MAX - 1, true) && !lets_in(ORIGINS_WANTED_MAX, true));
}

/// So many collections, to each of which one device writes.
fn named(writes: impl Fn(usize) -> PeerId, count: usize) -> BTreeMap<CollectionName, Vector> {
    let vectors = (0..count).map(|number| {
        let name = CollectionName::new(&format!("name-{number}")).expect("a name");
        let mut vector = Vector::new();
        let origin = Origin { peer: writes(number), incarnation: Incarnation(1) };
        vector.insert(origin, Oseq(1)).expect("fits");
        (name, vector)
    });
    vectors.collect()
}

/// A liar sends batches of names for which there is no room, and each is judged. Seen failing with a `Names::beside` that
/// passes over the shares: each cost a look at all collections.
#[test]
fn whose_the_names_are_is_counted_once_for_a_batch() {
    thread_local! { static ASKED: Cell<usize> = const { Cell::new(0) } }
    let (a, b, space) = pair(Role::Writer);
    let membership = a.replica.membership(&space).expect("here");
    let known = named(|_| b.replica.peer(), COLLECTIONS_PER_MEMBER_MAX);
    let (begun, shares) = (Begun::new(), Shares::default());

    for _ in 0..10 {
        let names = Names::new(&membership, &known, |vector| {
            ASKED.set(ASKED.get() + 1);
            vector
        });
        let lets_in = names.beside(&begun, &shares).lets_in(&notes(), b.replica.peer(), || false);
        assert!(lets_in.is_err(), "it has its share");
    }

    assert_eq!(ASKED.get(), COLLECTIONS_PER_MEMBER_MAX);
}

/// Seen failing with twice each of the three.
#[test]
fn names_are_shared_up_to_a_bound_and_strangers_begin_few() {
    let (a, b, space) = pair(Role::Writer);
    let membership = a.replica.membership(&space).expect("here");
    let may_begin = |own: usize, count: usize, by: PeerId| {
        let vectors =
            named(|number| if number < own { b.replica.peer() } else { PeerId::new([9; 32]) }, count);
        Names::new(&membership, &vectors, |vector| vector).takes(&notes(), by, || false).is_ok()
    };

    let member = b.replica.peer();
    let with = |own: usize, count: usize| may_begin(own, count, member);
    assert!(with(COLLECTIONS_KEPT, COLLECTIONS_SHARED_MAX - 1));
    assert!(with(COLLECTIONS_KEPT - 1, COLLECTIONS_SHARED_MAX));
    assert!(!with(COLLECTIONS_KEPT, COLLECTIONS_SHARED_MAX));
    let stranger = |count: usize| may_begin(0, count, PeerId::new([8; 32]));
    assert!(stranger(COLLECTIONS_OF_STRANGERS_MAX - 1) && !stranger(COLLECTIONS_OF_STRANGERS_MAX));
}

/// The rest is asked for again. Seen failing with four times the bytes in `Replica::fetch`.
#[test]
fn an_answer_with_documents_is_closed_at_so_many_bytes() {
    let (mut a, b, space) = pair(Role::Writer);
    let long = "x".repeat(100_000);
    a.commit(space, vec![insert(id(1), &long)]);
    for number in 0..20 {
        a.commit(space, vec![retitle(id(1), &format!("{number}{long}"))]);
    }
    let (collection, to, entities) = (notes(), b.replica.peer(), vec![id(1)]);

    let ask = Ask::Fetch { space, collection, to, entities, have: Vector::new() };
    let Answer::Fetched { commits, complete, .. } = a.replica.answer(now(), ask) else { panic!("fetched") };

    let bytes: usize = commits.iter().map(|packed| packed.bytes.len()).sum();
    let last = commits.last().expect("some").bytes.len();
    assert!(!complete && bytes >= FETCH_BYTES && bytes - last < FETCH_BYTES, "{bytes} bytes");
}

/// Seen failing with twice as many.
#[test]
fn so_much_of_the_journal_is_read_to_know_again_what_was_agreed() {
    let (a, b, space) = pair(Role::Writer);
    let peer = b.replica.peer();
    let origin = a.replica.origin();
    let base = |a: &Device, entries: usize| {
        let mut batch = Batch::new();
        batch.put(&BaseKey { space, peer }, &BaseRecord { digest: [7; 16], position: Position(0) });
        for number in 1..=entries as u64 {
            let parts = vec![JournalPart { collection: notes(), oseq: Oseq(number), entities: Vec::new() }];
            let entry = JournalEntry { space, origin, from: None, parts };
            batch.put(&JournalKey { position: Position(number) }, &entry);
        }
        a.replica.store.write(batch).expect("memory writes");
        matches!(a.replica.base(space, peer, &Vectors::new()), Answer::Base(Some(_)))
    };

    // A page that is not full is the last.
    assert!(base(&a, BASE_ENTRIES_MAX - 1));
    assert!(!base(&a, BASE_ENTRIES_MAX));
}

/// Damage may come again whenever it was mended. Seen failing with four times as many in `Replica::mending`.
#[test]
fn one_call_mends_so_many_damaged_values() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.commit(space, vec![insert(id(1), "one")]);
    let key = RowKey { space, collection: notes(), entity: id(1) }.to_key();
    let mut mended = |times: usize| {
        let mut met = 0;
        let call = |_: &mut Replica| {
            met += 1;
            if met > times { Ok(()) } else { Err(crate::replica::damaged_value(&key)) }
        };
        a.replica.mending(now(), call).is_ok()
    };

    assert!(mended(MENDS_MAX));
    assert!(!mended(MENDS_MAX + 1));
}

/// Seen failing with twice as many.
#[test]
fn a_space_is_erased_in_pieces() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.replica.pretend(space, &notes(), 2 * ERASE_PIECE_KEYS as u64 + 1);
    let left = |a: &Device| {
        let mut left = 0;
        let count = |_: HeadKey, _: Head| {
            left += 1;
            Ok::<(), ReplicaError>(())
        };
        a.replica.store.each(&Prefix::space(&space), count).expect("reads");
        left
    };

    a.replica.erase(space).expect("is here");
    a.replica.erase_some().expect("erases");
    assert_eq!(left(&a), ERASE_PIECE_KEYS + 1);
    a.replica.erase_some().expect("erases");
    assert_eq!(left(&a), 1);
}

/// Seen failing with four times the bound in `Replica::note_snapshot_due`.
#[test]
fn so_many_entities_are_remembered_whose_snapshot_is_due() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    let head = Head { next_arrival: Arrival(10_000), ..Head::default() };

    for number in 0..=SNAPSHOTS_DUE_MAX as u64 {
        let entity = EntityId::from_key("due", &number.to_be_bytes());
        a.replica.note_snapshot_due(&HeadKey { space, collection: notes(), entity }, &head);
    }

    assert_eq!(a.replica.due.snapshots.len(), SNAPSHOTS_DUE_MAX);
}

/// Whether others built on a commit is looked for among so many changes. Seen failing with four times as many in
/// `Replica::is_wanted`.
#[test]
fn who_built_on_a_commit_is_looked_for_among_so_many_changes() {
    let (a, b, space) = pair(Role::Writer);
    let change = |number: usize| ChangeHash::new(*blake3::hash(&number.to_be_bytes()).as_bytes());
    // The author's own, one on another, and at the end one of somebody else.
    let wanted = |count: usize| {
        let author = b.replica.peer();
        let own = (0..count - 1).map(|number| (change(number), vec![(author, vec![change(number + 1)])]));
        let mut arriving: Followers = own.collect();
        arriving.insert(change(count - 1), vec![(a.replica.peer(), Vec::new())]);
        a.replica.is_wanted(space, &author, vec![change(0)], &arriving)
    };

    assert!(wanted(JUDGED_TOGETHER_MAX));
    assert!(!wanted(JUDGED_TOGETHER_MAX + 1));
}

/// How many changes each held commit is noted to miss.
fn missing(device: &Device, space: SpaceId) -> Vec<usize> {
    let mut missing = Vec::new();
    let note = |_: HeldKey, record: HeldRecord| {
        missing.push(record.missing.len());
        Ok::<(), ReplicaError>(())
    };
    device.replica.store.each(&Prefix::space(&space), note).expect("all are read back");
    missing
}

/// More would not be read back. Seen failing without the bound in `Group::note_missing`.
#[test]
fn a_commit_that_misses_more_than_is_noted_waits_for_those_and_then_for_the_rest() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let all: Vec<EntityId> = (1..=HELD_MISSING_MAX as u8 + 1).map(id).collect();
    for entity in &all {
        b.commit(space, vec![insert(*entity, "first")]);
    }
    b.commit(space, all.iter().map(|entity| retitle(*entity, "then")).collect());
    let (mut commits, _) = b.feed(space, &mut a, usize::MAX);
    let last = commits.pop().expect("many").bytes.to_vec();
    let mut rest = commits.iter().map(|packed| packed.bytes.to_vec());

    assert_eq!(a.receive(space, &b, vec![last]), held(1));
    let mut a = a.killed();
    assert_eq!(missing(&a, space), [HELD_MISSING_MAX]);
    assert_eq!(reasons(&a, space), [HeldReason::MissingDependency], "it is read back");
    let but_one: Vec<Vec<u8>> = rest.by_ref().take(HELD_MISSING_MAX).collect();
    a.receive(space, &b, but_one);
    assert_eq!(reasons(&a, space), [HeldReason::MissingDependency]);
    a.receive(space, &b, rest.collect());

    assert_eq!(reasons(&a, space), []);
    assert!(all.iter().all(|entity| title(a.note(space, *entity)).as_deref() == Some("then")));
    assert_consistent(&mut a, space);
}

/// Signs one change of each of some notes.
fn over_many(
    liar: &Liar,
    oseq: u64,
    prev: Option<&Commit>,
    below: Option<&Commit>,
    count: u8,
    text: &str,
) -> Commit {
    let origin = Origin { peer: liar.identity.peer(), incarnation: Incarnation(7) };
    let leaves = (1..=count).map(id).map(|entity| {
        let of_it = below.into_iter().flat_map(|commit| commit.open());
        let changes: Vec<&[u8]> =
            of_it.filter(|(leaf, _)| leaf.entity == entity).map(|(_, bytes)| bytes).collect();
        let mut document = Document::load(None, &changes).expect("loads");
        let actor = ActorId::derive(&liar.space, &entity, &origin);
        let write = if changes.is_empty() { insert(entity, text) } else { retitle(entity, text) };
        let made = (write.edit)(&mut document, &actor, now().wall).expect("fits").expect("changes");
        let leaf = Leaf {
            collection: notes(),
            entity,
            oseq: Oseq(oseq),
            prev: prev.map(Commit::hash),
            salt: None,
            of: u32::from(count),
            seq: made.seq,
            head: change_hash(&made.bytes).expect("a chunk"),
        };
        (leaf, made.bytes)
    });
    let leaves = leaves.collect();
    Commit::sign(&liar.identity, liar.space, origin, liar.at.clone(), leaves).expect("small")
}

/// Two that cannot be together, each of which follows more than is noted. Seen failing without the bound in
/// `Replica::receive`, and without that of what falls in `rebuild`.
#[test]
fn commits_that_equivocate_are_noted_under_so_many_that_they_follow() {
    let (mut a, b, liar, space) = scene();
    let count = HELD_MISSING_MAX as u8 + 1;
    let first = over_many(&liar, 1, None, None, count, "first");
    let sides = ["one", "other"].map(|text| over_many(&liar, 2, Some(&first), Some(&first), count, text));

    assert_eq!(take(&mut a, &b, &first), applied(1));
    assert_eq!(take(&mut a, &b, &sides[0]), applied(1));
    assert_eq!(take(&mut a, &b, &sides[1]), held(1));

    let a = a.killed();
    assert_eq!(reasons(&a, space), [HeldReason::Equivocation; 2], "they are read back");
    assert_eq!(missing(&a, space), [HELD_MISSING_MAX; 2]);
}

/// The first commit of a life of a liar, of an entity of its own.
fn of_life(liar: &Liar, life: u64, text: &str) -> Commit {
    let origin = Origin { peer: liar.identity.peer(), incarnation: Incarnation(life) };
    let entity = EntityId::from_key("life", &life.to_be_bytes());
    let actor = ActorId::derive(&liar.space, &entity, &origin);
    let made = (insert(entity, text).edit)(&mut Document::new(), &actor, now().wall);
    let made = made.expect("fits").expect("changes");
    let (collection, oseq, prev, salt, of) = (notes(), Oseq(1), None, None, 1);
    let leaf = Leaf { collection, entity, oseq, prev, salt, of, seq: made.seq, head: made.hash };
    let leaves = vec![(leaf, made.bytes)];
    Commit::sign(&liar.identity, liar.space, origin, liar.at.clone(), leaves).expect("small")
}

/// Two commits of one number in every life that it has, and has places for. Seen failing with twice the share in
/// `Room::lets_in`.
#[test]
fn a_member_has_as_many_open_clashes_in_a_collection_as_it_has_a_share_of_its_vector() {
    let (mut a, b, liar, space) = scene();
    let first = of_life(&liar, 1, "first");
    take(&mut a, &b, &first);
    // All but two of its places are taken.
    let state = a.replica.spaces.get_mut(&space).expect("here").collections.get_mut(&notes()).expect("begun");
    for life in 2..=ORIGINS_PER_MEMBER_MAX as u64 - 2 {
        let origin = Origin { incarnation: Incarnation(life), ..first.origin };
        state.vector.insert(origin, Oseq(1)).expect("fits");
    }

    for text in ["one", "other"] {
        let lives = 5_000..5_006;
        a.receive(space, &b, lives.map(|life| of_life(&liar, life, text).encode()).collect());
    }

    let open = a.replica.clashes(space).expect("here").len();
    assert_eq!(open, 2);
    assert_eq!(a.vectors(space)[&notes()].len(), ORIGINS_PER_MEMBER_MAX);
    assert!(open <= CLASHES_OPEN_MAX);
}

/// A liar made so many that those who told each other of all of them at once cut each other off. Seen failing with all
/// of them told at once, and without another for each that the peer is seen to know.
#[test]
fn of_clashes_a_peer_is_told_so_many_bytes_and_another_for_each_that_it_knows() {
    const LIVES: u64 = 16;
    let (mut a, mut b, liar, space) = scene();
    for life in 1..=LIVES {
        for text in ["one", "other"] {
            take(&mut a, &b, &of_life(&liar, life, &text.repeat(20_000)));
        }
    }
    a.replica.drain();
    let peer = b.replica.peer();
    let met = |a: &mut Device| {
        a.replica.answer(now(), Ask::Met { space, peer, agreed: Some(Scope::default()), again: true });
        proofs(a)
    };
    let bytes = |told: &[Vec<u8>]| told.iter().map(Vec::len).sum::<usize>();

    let mut told = met(&mut a);
    let last = bytes(&told[told.len() - 2..]);
    assert!((CLASHES_TOLD_BYTES..CLASHES_TOLD_BYTES + last).contains(&bytes(&told)), "{}", bytes(&told));
    assert_eq!(met(&mut a).len(), 2, "one more to who says nothing");
    while !told.is_empty() {
        b.receive(space, &a, told);
        let back = proofs(&mut b);
        a.receive(space, &b, back);
        told = proofs(&mut a);
    }

    // That of which it was told when it said nothing was lost on its way, and comes when they agree again.
    let known = |b: &Device| b.replica.clashes(space).expect("here").len();
    assert_eq!(known(&b), LIVES as usize - 1);
    let again = met(&mut a);
    b.receive(space, &a, again);
    assert_eq!(known(&b), LIVES as usize);
}

/// A clash that came out while a peer was being told of others, and for which there was no room then, was left out when it
/// came before those in the order of their places: nothing told it until the two agreed anew, and in a space where nothing
/// else happens they do not.
/// Seen failing with clashes told in the order of their places.
#[test]
fn of_a_clash_that_comes_out_while_a_peer_is_told_of_others_it_is_told_too() {
    const LIVES: u64 = 40;
    let (mut a, mut b, liar, space) = scene();
    let clash = |a: &mut Device, life: u64| {
        for text in ["one", "other"] {
            take(a, &b, &of_life(&liar, life, &text.repeat(20_000)));
        }
    };
    (2..=LIVES).for_each(|life| clash(&mut a, life));
    a.replica.drain();
    let peer = b.replica.peer();
    let met = |a: &mut Device| {
        a.replica.answer(now(), Ask::Met { space, peer, agreed: Some(Scope::default()), again: true });
        proofs(a)
    };

    let mut told = met(&mut a);
    clash(&mut a, 1);
    a.replica.drain();
    told.extend(met(&mut a));
    while !told.is_empty() {
        b.receive(space, &a, told);
        let back = proofs(&mut b);
        a.receive(space, &b, back);
        told = proofs(&mut a);
    }

    assert_eq!(b.replica.clashes(space).expect("here").len(), LIVES as usize);
}

/// Whoever does not answer may have no room for a clash, and then was told it again with every edit of either.
/// Seen failing with one that is told again, and with one that was not told yet, in `Replica::remind`.
#[test]
fn who_does_not_answer_is_told_of_no_clash_whenever_the_two_agree() {
    let (mut a, b, liar, space) = scene();
    let clash = |a: &mut Device, life: u64| {
        for text in ["one", "other"] {
            take(a, &b, &of_life(&liar, life, text));
        }
        a.replica.drain();
    };
    let peer = b.replica.peer();
    let met = |a: &mut Device, again: bool| {
        a.replica.answer(now(), Ask::Met { space, peer, agreed: Some(Scope::default()), again });
        proofs(a).len()
    };

    clash(&mut a, 1);
    assert_eq!([met(&mut a, false), met(&mut a, false)], [2, 0]);
    clash(&mut a, 2);
    assert_eq!([met(&mut a, false), met(&mut a, true), met(&mut a, true), met(&mut a, false)], [0, 2, 2, 0]);
}
