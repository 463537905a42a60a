//! Flipped bits: nothing wrong is served, and after meeting a peer everything is as it was.

use proptest::prelude::*;

use super::*;
use crate::replica::HeldReason;
use crate::store::keyspaces::{
    Arrival, ChangeKey, CommitEntry, CommitId, DamagedKey, Key, Prefix, VectorKey,
};
use crate::store::kv::RawKey;

/// All keys of values, and of the pieces of long ones.
const ALL: (&[u8], &[u8]) = (&[0, b'p'], &[0xff]);

/// A device that shares a bit of everything with another: edits of both sides, a deletion, commits over two
/// collections, a snapshot, an acknowledgement, and a commit in quarantine.
struct Scene {
    a: Device,
    b: Device,
    space: SpaceId,
    truth: BTreeMap<EntityId, Option<Note>>,
}

impl Scene {
    fn new() -> Self {
        let (mut a, mut b, space) = pair(Role::Writer);
        for number in 1..=3 {
            a.commit(space, vec![insert(id(number), "new"), task(id(number), false)]);
        }
        a.send(space, &mut b);
        for round in 0..20 {
            a.commit(space, vec![retitle(id(1), &format!("round {round}"))]);
        }
        while a.replica.housekeep(now()).expect("housekeeps") {}
        b.commit(space, vec![retitle(id(2), "by b"), task(id(9), true)]);
        a.commit(space, vec![retitle(id(2), "by a"), retitle(id(3), "by a")]);
        a.commit(space, vec![insert(id(4), &"long".repeat(12_000))]);
        a.commit(space, vec![delete(id(3))]);
        a.send(space, &mut b);
        b.send(space, &mut a);
        let (peer, vectors) = (b.replica.peer(), b.vectors(space));
        a.replica.answer(now(), Ask::Acked { space, peer, vectors });
        a.replica.drain();
        let truth = (1..=5).map(|number| (id(number), a.note(space, id(number)))).collect();
        Self { a, b, space, truth }
    }

    /// Every value that a reader gets is the one that was there.
    fn check_served(&mut self) {
        let space = self.space;
        self.truth.keys().copied().collect::<Vec<_>>().into_iter().for_each(|entity| drop(self.read(entity)));
        let rows = |replica: &mut Replica| replica.reader().rows(&space, &notes(), None, 100);
        let rows = self.a.replica.mending(now(), rows).expect("the others are listed");
        let listed: BTreeSet<EntityId> = rows.into_iter().map(|(entity, _)| entity).collect();
        // To mend one value may find that another entity is damaged too, so what is left out is asked for last.
        assert!(listed.iter().all(|entity| self.truth[entity].is_some()), "none of them is deleted");
        let left_out: BTreeSet<EntityId> =
            self.truth.keys().copied().filter(|entity| !listed.contains(entity)).collect();
        for entity in left_out {
            assert_eq!(self.read(entity), None, "{entity} is not listed");
        }
    }

    /// Reads an entity, which is as it was; `None` when it is deleted, or damaged.
    fn read(&mut self, entity: EntityId) -> Option<Note> {
        let space = self.space;
        let read = |replica: &mut Replica| replica.reader().row(&space, &notes(), &entity);
        match self.a.replica.mending(now(), read) {
            Ok(row) => {
                let note = row.map(|row| row_value(&row).expect("a note"));
                assert_eq!(note, self.truth[&entity], "{entity}");
                note
            }
            Err(ReplicaError::Damaged { entity: named }) => {
                assert_eq!(named, entity);
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Looks through the whole store; returns how many values were damaged.
    fn verify(&mut self) -> usize {
        let (mut after, mut damaged) = (None, 0);
        loop {
            let found = self.a.replica.verify(now(), after.as_ref()).expect("what is damaged is mended");
            damaged += found.damaged;
            after = found.next;
            if after.is_none() {
                return damaged;
            }
        }
    }

    fn damaged(&self) -> Vec<(CollectionName, EntityId, u64)> {
        self.a.replica.reader().damaged(&self.space).expect("reads")
    }

    fn meet(&mut self) {
        self.b.send(self.space, &mut self.a);
        self.a.send(self.space, &mut self.b);
    }

    /// Opens the damaged store again after its process died.
    fn kill(&mut self) {
        let (seed, opened) = (self.a.seed(), self.a.opened + 1);
        self.a.memory.kill();
        self.a = Device::over(self.a.memory.clone(), seed, opened);
    }

    /// Nothing wrong is served of a store that was damaged, and a peer makes it whole.
    fn check_after_damage(&mut self) {
        self.check_served();
        self.verify();
        self.check_served();
        self.meet();
        self.check_whole();
    }

    fn check_whole(&mut self) {
        let space = self.space;
        self.check_served();
        assert_eq!(self.damaged(), []);
        assert_eq!(self.a.roots(space), self.b.roots(space));
        assert_eq!(self.a.vectors(space), self.b.vectors(space));
        assert!(self.a.replica.reader().quarantine(&space).expect("reads").is_empty());
        assert_eq!(self.verify(), 0);
        assert_holds_together(&mut self.a, space);
        let (mut damaged, mut repaired) = (BTreeSet::new(), BTreeSet::new());
        for told in self.a.replica.drain() {
            if let Told::Damaged { entities, .. } = told {
                damaged.extend(entities.into_iter().map(|lost| (lost.collection, lost.entity)));
            } else if let Told::Repaired { collection, entity, from, .. } = told {
                assert_eq!(from, Some(self.b.replica.peer()), "who sent it is told");
                repaired.insert((collection, entity));
            }
        }
        // What opening told went to nobody.
        assert!(damaged.is_subset(&repaired), "what was told as damaged is told as repaired");
    }
}

fn flip(scene: &Scene, seed: u64, keys: (&[u8], &[u8])) -> RawKey {
    let key = scene.a.memory.flip_bit(seed, keys.0, keys.1).expect("there is something to damage");
    let logical = match key.as_slice() {
        // A piece stands under the key of its value, with a prefix and a number.
        [0, b'p', rest @ ..] => rest[..rest.len() - 4].to_vec(),
        key => key.to_vec(),
    };
    RawKey(logical)
}

/// Damages the value under a key.
pub(super) fn flip_at<K: Key>(device: &Device, key: &K) {
    let first = key.to_key();
    let end = [&first[..], &[0]].concat();
    assert!(device.memory.flip_bit(7, &first, &end).is_some(), "there is something to damage");
}

fn class(number: u8) -> (Vec<u8>, Vec<u8>) {
    (vec![number], vec![number + 1])
}

/// Flips a bit of a value of one class, while the device runs or while it is closed.
fn check_class(number: u8, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        for closed in [false, true] {
            let mut scene = Scene::new();
            let (first, end) = class(number);
            if closed {
                scene.a.replica.close().expect("closes");
            }
            flip(&scene, seed, (&first, &end));
            if closed {
                let Scene { a, b, space, truth } = scene;
                let a = Device::over(a.memory.clone(), a.seed(), a.opened + 1);
                scene = Scene { a, b, space, truth };
            }
            scene.check_after_damage();
        }
    }
}

#[test]
fn damaged_facts_about_the_store_are_made_again() {
    check_class(1, 0..3);
}

#[test]
fn damaged_statements_are_made_again_of_their_copies() {
    check_class(2, 0..4);
    check_class(15, 0..4);
}

#[test]
fn damaged_changes_are_fetched_again() {
    check_class(3, 0..24);
}

#[test]
fn damaged_snapshots_are_made_again_of_the_changes() {
    check_class(4, 0..2);
}

#[test]
fn damaged_heads_are_made_again_of_the_changes() {
    check_class(5, 0..6);
}

#[test]
fn damaged_rows_are_made_again_of_the_documents() {
    check_class(6, 0..6);
}

#[test]
fn damaged_commit_records_are_fetched_again() {
    check_class(7, 0..24);
}

#[test]
fn damaged_journal_entries_cost_an_incarnation_at_most() {
    check_class(8, 0..4);
}

#[test]
fn damaged_vectors_and_fingerprints_are_counted_again() {
    check_class(9, 0..4);
    check_class(10, 0..2);
}

#[test]
fn damaged_acknowledgements_come_again() {
    check_class(11, 0..2);
}

/// The vector is counted again at opening, before the reference to a commit of two collections is written again. It
/// then lacked that commit for ever, and no peer had anything that this device did not hold.
#[test]
fn a_commit_whose_reference_and_vector_are_damaged_together_is_counted() {
    let mut scene = Scene::new();
    let (space, origin) = (scene.space, scene.a.replica.origin());
    let reference = CommitId { space, collection: tasks(), origin, oseq: Oseq(1) };
    assert!(matches!(scene.a.replica.store.get(&reference), Ok(Some(CommitEntry::Reference { .. }))));
    flip_at(&scene.a, &reference);
    flip_at(&scene.a, &VectorKey { space, collection: tasks(), origin });

    scene.kill();

    scene.check_after_damage();
}

/// What a removed device made and what was taken back of it waits in its own quarantine. When its vector was counted
/// again, that was taken for what damage put there, and went on to be missing from what the device says it has.
///
/// Seen failing: with what this device sent itself left out of the count, as it was.
#[test]
fn own_commits_that_were_taken_back_are_counted_again() {
    let (mut a, mut b, space) = pair(Role::Writer);
    b.commit(space, vec![insert(id(1), "nobody else has it")]);
    let origin = b.replica.origin();
    a.replica.remove_device(now(), space, b.replica.peer()).expect("an owner may remove");
    a.teach(space, &mut b);
    let before = b.vectors(space);
    assert_eq!((b.note(space, id(1)), b.replica.spaces[&space].held.len()), (None, 1));
    assert!(before[&notes()].contains(&origin, Oseq(1)));
    flip_at(&b, &VectorKey { space, collection: notes(), origin });

    let mut b = b.killed();

    assert_eq!(b.replica.verify(now(), None).expect("sound").damaged, 0, "mended on opening");
    assert_eq!(b.vectors(space), before);
}

/// What a peer sent again of what damage had put into quarantine counts as received, also when that is counted again.
///
/// Seen failing: with what is held for damage held for it still after a peer sent it.
#[test]
fn what_a_peer_sent_again_is_counted_again() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "first")]);
    a.commit(space, vec![retitle(id(1), "second")]);
    let commits: Vec<Vec<u8>> =
        a.feed(space, &mut b, FEED_BYTES).0.iter().map(|packed| packed.bytes.to_vec()).collect();
    b.receive(space, &a, commits.clone());
    let before = b.vectors(space);
    let mut b = b.killed();
    flip_at(&b, &ChangeKey { space, collection: notes(), entity: id(1), arrival: Arrival(0) });
    b.replica.verify(now(), None).expect("mends");
    assert_ne!(b.vectors(space), before, "neither counts");
    b.receive(space, &a, commits[1..].to_vec());
    let (origin, vectors) = (a.replica.origin(), b.vectors(space));
    assert!(vectors[&notes()].contains(&origin, Oseq(2)), "the peer sent it");
    flip_at(&b, &VectorKey { space, collection: notes(), origin });

    let mut b = b.killed();

    assert_eq!(b.vectors(space), vectors);
    a.send(space, &mut b);
    assert_eq!((b.vectors(space), title(b.note(space, id(1)))), (before, Some("second".to_owned())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_bits_flip_nothing_wrong_is_served_and_a_peer_makes_it_whole(
        seeds in prop::collection::vec(any::<u64>(), 1..5),
        killed: bool,
    ) {
        let mut scene = Scene::new();
        // Both copies of a statement may be hit together; then the space has to be joined again.
        let but_copies: (&[u8], &[u8]) = (ALL.0, &[15]);
        for seed in seeds {
            flip(&scene, seed, but_copies);
        }
        if killed {
            scene.kill();
        }
        scene.check_after_damage();
    }
}

#[test]
fn damaged_held_commit_counts_as_not_received() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "first")]);
    a.commit(space, vec![retitle(id(1), "second")]);
    let commits: Vec<Vec<u8>> =
        a.feed(space, &mut b, FEED_BYTES).0.iter().map(|packed| packed.bytes.to_vec()).collect();
    b.receive(space, &a, commits[1..].to_vec());
    assert!(b.memory.flip_bit(1, &[12], &[13]).is_some());

    let found = b.replica.verify(now(), None).expect("mends");
    let lost = b.vectors(space);
    a.send(space, &mut b);

    assert_eq!(found.damaged, 1);
    assert!(!lost.get(&notes()).is_some_and(|vector| vector.contains(&a.replica.origin(), Oseq(2))));
    assert_eq!(title(b.note(space, id(1))), Some("second".to_owned()));
    assert_eq!(a.vectors(space), b.vectors(space));
}

/// The first change of an entity is lost, and all that builds on it: nobody may take what is left for the entity.
#[test]
fn damaged_entity_is_an_error_until_a_peer_repairs_it_and_others_go_on() {
    let mut scene = lost_first_change();
    let space = scene.space;

    let read = scene.a.replica.reader().row(&space, &notes(), &id(2));
    let written = scene.a.replica.commit(now(), space, vec![retitle(id(2), "x")]);
    let other = scene.a.replica.commit(now(), space, vec![retitle(id(4), "goes on")]);

    assert!(matches!(read, Err(ReplicaError::Damaged { entity }) if entity == id(2)), "{read:?}");
    assert!(matches!(written, Err(ReplicaError::Damaged { entity }) if entity == id(2)), "{written:?}");
    assert!(other.expect("another entity").key.is_some());
    assert!(scene.damaged().iter().any(|(_, entity, only_here)| (*entity, *only_here) == (id(2), 0)));
    let held = scene.a.replica.reader().quarantine(&space).expect("reads");
    assert!(!held.is_empty() && held.iter().all(|held| held.reason == HeldReason::MissingDependency));
    let metrics = scene.a.metrics();
    assert!(metrics.values_damaged >= 1 && metrics.entities_damaged >= 1);

    scene.truth.insert(id(4), scene.a.note(space, id(4)));
    scene.meet();
    scene.check_whole();
    assert_eq!(scene.a.metrics().entities_repaired, scene.a.metrics().entities_damaged);
}

/// A lost number must not be given out again: a device that lost its own commits goes on under another name.
#[test]
fn own_changes_that_are_lost_cost_the_incarnation() {
    let mut scene = lost_first_change();
    let before = scene.a.replica.origin();

    scene.a.commit(scene.space, vec![insert(id(5), "after the damage")]);

    assert_ne!(scene.a.replica.origin(), before);
    let note = scene.a.note(scene.space, id(5));
    scene.truth.insert(id(5), note);
    scene.meet();
    scene.check_whole();
}

/// What only this device had is lost: it is said so, and everybody agrees on what is left.
#[test]
fn what_only_this_device_had_is_told_as_lost_and_can_be_accepted() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "shared")]);
    a.send(space, &mut b);
    let mut a = a.reopened();
    a.commit(space, vec![retitle(id(1), "never sent")]);
    a.commit(space, vec![retitle(id(1), "nor this")]);
    let mut a = a.reopened();
    let second = change_key_of(&a, space, id(1), 1);
    assert!(a.memory.flip_bit(7, &second, &[&second[..], &[0]].concat()).is_some());

    a.replica.verify(now(), None).expect("mends");
    let told = a.replica.drain();
    b.send(space, &mut a);
    a.send(space, &mut b);

    let only_here: Vec<u64> = told
        .iter()
        .filter_map(|told| if let Told::Damaged { entities, .. } = told { Some(entities) } else { None })
        .flatten()
        .map(|lost| lost.only_here)
        .collect();
    assert_eq!(only_here, [1]);
    assert_eq!((a.roots(space), a.vectors(space)), (b.roots(space), b.vectors(space)));
    let read = a.replica.reader().row(&space, &notes(), &id(1));
    assert!(matches!(read, Err(ReplicaError::Damaged { .. })), "{read:?}");

    a.replica.accept_loss(now(), space, &notes(), id(1)).expect("written");
    assert_eq!(title(a.note(space, id(1))), Some("shared".to_owned()));
    a.commit(space, vec![retitle(id(1), "goes on")]);
    a.send(space, &mut b);
    assert_eq!(title(b.note(space, id(1))), Some("goes on".to_owned()));
    assert!(a.replica.reader().damaged(&space).expect("reads").is_empty());
    assert_holds_together(&mut a, space);
}

/// The tasks differed for ever: their part of the commit was held with the part that waits for what nobody has.
#[test]
fn a_part_of_a_commit_comes_back_although_another_part_is_lost() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "never sent")]);
    a.commit(space, vec![retitle(id(1), "nor this"), task(id(2), false)]);
    a.commit(space, vec![task(id(3), true)]);
    for commit in a.feed(space, &mut b, FEED_BYTES).0 {
        let commit = Commit::decode(space, &commit.bytes).expect("a commit");
        if let Some(part) = commit.blinded(&|collection| *collection == tasks()) {
            b.receive(space, &a, vec![part.encode()]);
        }
    }
    let mut a = a.reopened();
    let first = change_key_of(&a, space, id(1), 0);
    assert!(a.memory.flip_bit(7, &first, &[&first[..], &[0]].concat()).is_some());
    a.replica.verify(now(), None).expect("mends");
    assert_ne!(a.roots(space)[&tasks()], b.roots(space)[&tasks()], "its part of the commit is held");

    b.send(space, &mut a);

    assert_eq!(a.roots(space)[&tasks()], b.roots(space)[&tasks()]);
    let damaged = a.replica.reader().damaged(&space).expect("reads");
    assert_eq!(damaged, [(notes(), id(1), 1)], "what is lost is still told");
    let a = a.reopened();
    assert_eq!(a.vectors(space)[&tasks()], b.vectors(space)[&tasks()]);
}

/// A loaded document has every change: what the disk lost is written again without a peer.
#[test]
fn changes_that_memory_has_are_written_again() {
    let (mut a, _, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "in memory")]);
    let first = change_key_of(&a, space, id(1), 0);
    assert!(a.memory.flip_bit(7, &first, &[&first[..], &[0]].concat()).is_some());

    let found = a.replica.verify(now(), None).expect("mends");
    let mut a = a.reopened();

    assert_eq!((found.damaged, a.replica.verify(now(), None).expect("sound").damaged), (1, 0));
    assert_eq!(title(a.note(space, id(1))), Some("in memory".to_owned()));
    assert_holds_together(&mut a, space);
}

#[test]
fn walking_through_a_store_is_done_in_pages() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    for page in 0..5 {
        let writes = (0..100).map(|number| insert(id_of(page, number), "x")).collect();
        a.commit(space, writes);
    }

    let first = a.replica.verify(now(), None).expect("sound");
    let second = a.replica.verify(now(), first.next.as_ref()).expect("sound");

    assert_eq!(first.values, crate::limits::VERIFY_PAGE_VALUES);
    assert!(second.values > 0 && first.next.is_some());
}

/// A scene whose store lost the first change of entity 2, with no document in memory.
fn lost_first_change() -> Scene {
    let Scene { a, b, space, truth } = Scene::new();
    let a = a.reopened();
    let key = change_key_of(&a, space, id(2), 0);
    assert!(a.memory.flip_bit(7, &key, &[&key[..], &[0]].concat()).is_some());
    let mut scene = Scene { a, b, space, truth };
    assert_eq!(scene.verify(), 1);
    scene
}

fn change_key_of(device: &Device, space: SpaceId, entity: EntityId, arrival: u64) -> Vec<u8> {
    use crate::store::keyspaces::{Arrival, ChangeKey};

    let key = ChangeKey { space, collection: notes(), entity, arrival: Arrival(arrival) };
    assert!(device.replica.store.get(&key).expect("reads").is_some());
    key.to_key()
}

fn id_of(page: u8, number: u8) -> EntityId {
    let mut bytes = [page; 16];
    bytes[15] = number;
    EntityId::new(bytes)
}

/// As [`assert_consistent`], but for the journal, which names what damage took.
fn assert_holds_together(device: &mut Device, space: SpaceId) {
    use crate::store::keyspaces::{HeadKey, RowKey};

    let store = device.replica.store.clone();
    let mut roots: BTreeMap<CollectionName, crate::id::RootSum> = BTreeMap::new();
    let mut heads = Vec::new();
    store
        .each(&Prefix::<HeadKey>::space(&space), |key, head| {
            let document = super::super::load::document(&store, &key, &head)?;
            assert_eq!((document.heads(), document.clock()), (head.heads.clone(), head.clock.clone()));
            let root = roots.entry(key.collection.clone()).or_insert_with(|| crate::id::Root::EMPTY.sum());
            root.add(&space, &key.entity, &head.heads);
            let kind = device.replica.kinds.get(&key.collection).expect("registered");
            let (collection, entity) = (key.collection.clone(), key.entity);
            let row = store.get(&RowKey { space, collection, entity })?.map(|row| row.bytes);
            let whole = !head.deleted && !head.is_damaged();
            assert_eq!(row, whole.then(|| kind.row(&document).expect("a row")));
            heads.push(key);
            Ok::<(), ReplicaError>(())
        })
        .expect("every entity loads");
    let roots: BTreeMap<_, _> = roots.into_iter().map(|(name, sum)| (name, sum.root())).collect();
    assert_eq!(device.roots(space), roots);
    let vectors = device.vectors(space);
    store
        .each(&Prefix::<CommitId>::space(&space), |id, entry| {
            let (_, record) = super::super::load::resolve(&store, id.clone(), entry)?;
            let commit = super::super::load::commit(&store, space, id.origin, &record, &|_| true)?;
            commit.verify().expect("what was signed");
            assert!(vectors[&id.collection].contains(&id.origin, id.oseq), "a record is counted");
            Ok::<(), ReplicaError>(())
        })
        .expect("every commit loads");
    let damaged = Prefix::<DamagedKey>::space(&space);
    store
        .each(&damaged, |key, _| {
            assert!(
                heads.iter().any(|head| (&head.collection, head.entity) == (&key.collection, key.entity))
            );
            Ok::<(), ReplicaError>(())
        })
        .expect("reads");
}

/// A quarantine of which more is damaged than one call mends was judged when nobody waited: the store was taken for one
/// that had failed, and answered nothing any more.
/// Seen failing with the damage passed on by `Replica::housekeep`.
#[test]
fn more_damage_than_one_call_mends_does_not_end_the_tidying() {
    const COUNT: u8 = 100;
    let (mut a, b, liar, space) = clash::scene();
    let unseen = liar.says(1, None, id(1), &[], "unseen");
    let waiting = |number: u8| liar.says(1 + u64::from(number), None, id(1), &[&unseen], &number.to_string());
    let waiting = (1..=COUNT).map(|number| waiting(number).encode()).collect();
    assert_eq!(a.receive(space, &b, waiting), held(usize::from(COUNT)));
    let mut keys = Vec::new();
    let all = Prefix::<crate::store::keyspaces::HeldKey>::space(&space);
    let mut note = |key, _| {
        keys.push(key);
        Ok::<(), ReplicaError>(())
    };
    a.replica.store.each(&all, &mut note).expect("reads");
    keys.iter().for_each(|key| flip_at(&a, key));
    a.replica.due.unfinished.insert(space);

    assert!(a.replica.housekeep(now()).is_ok(), "it goes on when it is asked next");
    assert!(a.replica.housekeep(now()).is_ok());

    assert!(a.replica.due.unfinished.is_empty(), "all is mended");
    assert!(a.replica.reader().quarantine(&space).expect("reads").is_empty());
}
