//! Membership logs that a member filled, each with something else.

use super::*;
use crate::access::{Body, Statement};

/// What a member says that does not count, one behind another, until the log takes no more of it.
fn fill(to: &mut Device, liar: &Device, space: SpaceId, mark: u8) {
    let known = to.replica.spaces.get(&space).expect("here");
    let last = known.log.statement(known.membership.heads().first().expect("one")).expect("here");
    let (mut prev, mut lamport) = (last.hash(), last.lamport());
    for _ in 0..13 {
        let mut page = Vec::new();
        for _ in 0..1_000 {
            lamport += 1;
            let body = Body::Other { kind: 1_001, bytes: vec![mark] };
            let made = Statement::sign(&liar.identity, &space, lamport, vec![prev], body).expect("small");
            prev = made.hash();
            page.push(made.bytes().to_vec());
        }
        to.replica.answer(now(), Ask::Learn { space, from: liar.replica.peer(), statements: page });
    }
    let held = to.replica.spaces.get(&space).expect("here").log.statements().count();
    assert_eq!(held, 16_384 - 4_096, "it is full for the member");
}

/// The removal and the owner's commits named what the liar had shown the owner alone: the other device took neither,
/// for good. Seen failing with `best_heads` of all statements that none follows.
#[test]
fn who_shows_each_device_other_junk_is_removed_and_work_goes_on() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let liar = joined(&mut a, 3, space, Role::Writer);
    a.teach(space, &mut b);
    fill(&mut a, &liar, space, 1);
    fill(&mut b, &liar, space, 2);

    a.replica.remove_device(now(), space, liar.replica.peer()).expect("an owner may");
    a.commit(space, vec![insert(id(1), "after the removal")]);
    a.teach(space, &mut b);
    a.send(space, &mut b);
    b.commit(space, vec![retitle(id(1), "and so on")]);
    b.teach(space, &mut a);
    b.send(space, &mut a);

    for device in [&a, &b] {
        let membership = device.replica.membership(&space).expect("here");
        assert_eq!(membership.role(&liar.replica.peer()), None);
        assert_eq!(title(device.note(space, id(1))).as_deref(), Some("and so on"));
    }
    assert_eq!(a.roots(space), b.roots(space));
}
