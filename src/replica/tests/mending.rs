//! Calls of the app that meet damage: it is mended, and they go on.

use super::damage::flip_at;
use super::*;
use crate::replica::HeldReason;
use crate::store::keyspaces::{CommitId, JournalKey, META_HUB, MetaKey};
use crate::store::kv::memory::Fault;

/// The cut of a removal reads commits of those who are removed, and who removes somebody failed on a damaged one.
#[test]
fn a_removal_goes_on_when_a_commit_of_the_removed_is_damaged() {
    let (mut a, mut b, space) = pair(Role::Writer);
    b.commit(space, vec![insert(id(1), "by b")]);
    b.send(space, &mut a);
    flip_at(&a, &first_commit(space, &b));

    a.replica.remove_device(now(), space, b.replica.peer()).expect("the damage is mended");

    let membership = a.replica.membership(&space).expect("the space is here");
    assert_eq!(membership.role(&b.replica.peer()), None);
    assert_eq!(a.metrics().values_damaged, 1);
}

/// A commit names the one before it of its device, and failed when that was damaged.
#[test]
fn a_commit_goes_on_when_the_one_before_it_is_damaged() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "first")]);
    a.send(space, &mut b);
    let mut a = a.reopened();
    let origin = a.replica.origin();
    flip_at(&a, &first_commit(space, &a));

    a.commit(space, vec![insert(id(2), "second")]);

    assert_ne!(a.replica.origin(), origin, "its lost number is not given out again");
    b.send(space, &mut a);
    a.send(space, &mut b);
    assert_eq!((a.roots(space), a.vectors(space)), (b.roots(space), b.vectors(space)));
    assert_eq!(title(b.note(space, id(1))), Some("first".to_owned()));
    assert_eq!(title(b.note(space, id(2))), Some("second".to_owned()));
    assert!(a.replica.reader().damaged(&space).expect("reads").is_empty());
}

/// A hub whose note of being one was damaged could not be opened any more.
#[test]
fn a_hub_opens_when_its_note_of_being_one_is_damaged() {
    let mut hub = Device::new(7);
    hub.replica.set_hub(true).expect("a fresh store");
    hub.replica.close().expect("closes");
    let note = MetaKey(META_HUB.to_owned());
    flip_at(&hub, &note);

    let mut hub = Device::over(hub.memory.clone(), hub.seed(), 1);

    assert!(hub.replica.hub);
    assert_eq!(hub.replica.verify(now(), None).expect("mends").damaged, 1);
    assert_eq!(hub.replica.verify(now(), None).expect("sound").damaged, 0);
    assert!(hub.reopened().replica.hub);
}

fn first_commit(space: SpaceId, of: &Device) -> CommitId {
    CommitId { space, collection: notes(), origin: of.replica.origin(), oseq: Oseq(1) }
}

/// A liar's second commit was written, and the proof of the two, and then a damaged value stopped the call; made again,
/// it found the commit here and the proof known, and the first commit went on to count.
///
/// Seen failing: with `Replica::resume` doing nothing.
#[test]
fn what_follows_from_a_commit_follows_though_a_damaged_value_is_in_the_way() {
    let (mut a, b, liar, space) = clash::scene();
    let [one, other] = ["one", "other"].map(|title| liar.says(1, None, id(1), &[], title));
    assert_eq!(clash::take(&mut a, &b, &one), applied(1));
    flip_at(&a, &JournalKey { position: a.replica.position });

    clash::take(&mut a, &b, &other);

    assert_eq!(clash::reasons(&a, space), [HeldReason::Equivocation; 2]);
    assert_eq!((a.note(space, id(1)), a.metrics().values_damaged), (None, 1));
    assert_consistent(&mut a, space);
}

/// Nor is a disk in the way that fails at any of the writes: opening the store again does what was left.
///
/// Seen failing: with `take_back_again` and `release` left out of opening.
#[test]
fn what_follows_from_a_commit_follows_though_any_write_failed() {
    let mut failed = 0;
    for writes in 0..6 {
        let (mut a, b, liar, space) = clash::scene();
        let [one, other] = ["one", "other"].map(|title| liar.says(1, None, id(1), &[], title));
        assert_eq!(clash::take(&mut a, &b, &one), applied(1));
        a.memory.fail_write(writes, Fault::Full);
        let (from, commits) = (b.replica.peer(), vec![other.encode()]);

        let answer = a.replica.answer(now(), Ask::Receive { space, from, commits });
        failed += usize::from(matches!(answer, Answer::Failed(_)));
        a.memory.heal();
        let mut a = a.killed();
        clash::take(&mut a, &b, &other);

        assert_eq!(clash::reasons(&a, space), [HeldReason::Equivocation; 2], "after {writes} writes");
        assert_eq!(a.note(space, id(1)), None, "after {writes} writes");
        assert_consistent(&mut a, space);
    }
    assert!(failed >= 4, "{failed} writes");
}
