//! What this device wants is kept, bounded, and decides what it is fed.

use super::*;
use crate::exchange::CollectionState;
use crate::id::{Interest, Interests};
use crate::limits::INTERESTS_PER_SPACE_MAX;

fn name(number: usize) -> CollectionName {
    CollectionName::new(&format!("c{number}")).expect("a name")
}

#[test]
fn interests_are_kept_told_and_bounded() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    a.replica.drain();

    a.replica.set_interest(space, Some(name(0)), Interest::Off).expect("one");
    a.replica.set_interest(space, Some(name(0)), Interest::Off).expect("the same again");
    a.replica.set_interest(space, None, Interest::Off).expect("names nothing");
    for number in 1..INTERESTS_PER_SPACE_MAX {
        a.replica.set_interest(space, Some(name(number)), Interest::Live).expect("within the bound");
    }
    let told = a.replica.drain();
    let many = a.replica.set_interest(space, Some(name(INTERESTS_PER_SPACE_MAX)), Interest::Live);
    let elsewhere = a.replica.set_interest(SpaceId::new([9; 32]), None, Interest::Off);

    assert!(matches!(many, Err(ReplicaError::TooMany { count: 65, max: 64, .. })), "{many:?}");
    assert!(matches!(elsewhere, Err(ReplicaError::NotFound { .. })));
    assert_eq!(told.len(), 1 + INTERESTS_PER_SPACE_MAX, "each change once");
    let kept = a.replica.interests(&space).expect("here");
    let a = a.reopened();
    assert_eq!(a.replica.interests(&space), Some(kept.clone()));
    assert_eq!(
        (kept.of(&name(0)), kept.of(&name(1)), kept.of(&name(99))),
        (Interest::Off, Interest::Live, Interest::Off)
    );
}

/// Every commit that is fetched alone leaves a gap, and there is room for so many.
#[test]
fn fetched_documents_fill_the_vector_and_no_more() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let holes = crate::limits::VECTOR_HOLES_MAX;
    let entity = |number: usize| EntityId::from_key("note", &number.to_be_bytes());
    for number in 0..2 * (holes + 2) {
        a.commit(space, vec![insert(entity(number), "")]);
    }
    a.teach(space, &mut b);
    let mut fetch = |b: &mut Device, entities: Vec<EntityId>| {
        let have = b.vectors(space).remove(&notes()).unwrap_or_default();
        let (to, collection) = (b.replica.peer(), notes());
        let ask = Ask::Fetch { space, collection, to, entities, have };
        let Answer::Fetched { commits, unknown, .. } = a.replica.answer(now(), ask) else {
            panic!("commits")
        };
        let (from, count) = (a.replica.peer(), commits.len());
        let commits = commits.iter().map(|packed| packed.bytes.to_vec()).collect();
        let taken = b.replica.answer(now(), Ask::TakeFetched { space, from, commits });
        let Answer::Taken { full, refused } = taken else { panic!("{taken:?}") };
        assert_eq!(refused, None);
        (count, unknown.len(), full)
    };

    let every_other: Vec<EntityId> = (0..=holes).map(|number| entity(2 * number + 1)).collect();
    let (count, unknown, full) = fetch(&mut b, every_other.clone());
    let again = fetch(&mut b, every_other[..holes].to_vec());
    let nowhere = fetch(&mut b, vec![id(200)]);

    assert_eq!((count, unknown, full), (holes + 1, 0, true), "the last one has no room");
    assert_eq!(again, (0, 0, false), "what is held is not sent again");
    assert_eq!(nowhere, (0, 1, false));
    assert_consistent(&mut b, space);
    a.send(space, &mut b);
    assert_eq!((a.roots(space), a.vectors(space)), (b.roots(space), b.vectors(space)));
}

#[test]
fn a_feed_leaves_out_what_is_not_wanted_and_what_others_made_there() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "by a"), task(id(2), true)]);
    a.send(space, &mut b);
    b.commit(space, vec![task(id(3), true)]);
    b.commit(space, vec![insert(id(4), "by b")]);
    let off = |collection| Interests { named: [(collection, Interest::Off)].into(), ..Interests::default() };
    let mut feed = |scope: Scope| {
        let ask =
            Ask::Feed { space, to: a.replica.peer(), have: Vectors::new(), scope, bytes_max: FEED_BYTES };
        let Answer::Commits { commits, .. } = b.replica.answer(now(), ask) else { panic!("commits") };
        commits.iter().map(|packed| packed.key.parts.clone()).collect::<Vec<_>>()
    };

    let theirs = feed(Scope { theirs: off(tasks()).into(), ..Scope::default() });
    let unknown = feed(Scope { ours: off(tasks()).into(), ..Scope::default() });
    let own = feed(Scope { ours: off(tasks()).into(), own_known: true, ..Scope::default() });

    let (note, task) = (|number| vec![(notes(), Oseq(number))], |number| vec![(tasks(), Oseq(number))]);
    assert_eq!(theirs, [note(1), note(1)], "the peer wants no tasks");
    assert_eq!(unknown, [note(1), note(1)], "what the peer holds of them is not known");
    assert_eq!(own, [note(1), task(1), note(1)], "of tasks, only those that this device made");
    assert_ne!(a.replica.state(&space).expect("here").collections[&tasks()], CollectionState::default());
}
