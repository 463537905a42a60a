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
