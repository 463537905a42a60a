//! Held commits that wait too long: dropped, unless they may be the only copy, and never lost to who needs them.

use super::hostile::{encoded, forged, hold, reasons};
use super::*;
use crate::access::Cut;
use crate::limits::{EXPIRED_TOGETHER_MAX, QUARANTINE_LOOK_MS, QUARANTINE_WAIT_MS};
use crate::replica::HeldReason;

/// A device whose second commit the other holds, for it lacks the first.
fn waiting() -> (Device, Device, SpaceId, Vec<Vec<u8>>) {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.commit(space, vec![insert(id(1), "first")]);
    a.commit(space, vec![retitle(id(1), "second"), task(id(2), true)]);
    let commits = encoded(&mut a, space, &mut b);
    assert_eq!(b.receive(space, &a, vec![commits[1].clone()]), held(1));
    b.replica.drain();
    (a, b, space, commits)
}

/// So long after [`now`], whatever the wall clock says.
fn later(ms: u64) -> Now {
    Now { instant: now().instant.plus_ms(ms), wall: now().wall }
}

fn housekeep(device: &mut Device, now: Now) {
    while device.replica.housekeep(now).expect("housekeeps") {}
}

fn expired(device: &mut Device) -> Vec<(crate::id::PeerId, HeldReason, usize)> {
    let told = device.replica.drain().into_iter();
    told.flat_map(|told| if let Told::Expired { dropped, .. } = told { dropped } else { Vec::new() })
        .collect()
}

/// Seen failing with its numbers left in the vectors: nobody feeds it again then.
#[test]
fn a_commit_that_waits_too_long_is_dropped_and_comes_again_from_who_counts_it() {
    let (mut a, mut b, space, commits) = waiting();
    let author = a.replica.peer();

    housekeep(&mut b, later(QUARANTINE_WAIT_MS - 1));
    assert_eq!((reasons(&b, space), expired(&mut b)), (vec![HeldReason::MissingDependency], vec![]));
    housekeep(&mut b, later(QUARANTINE_WAIT_MS - 1 + QUARANTINE_LOOK_MS));

    assert_eq!(reasons(&b, space), []);
    assert_eq!(expired(&mut b), [(author, HeldReason::MissingDependency, 1)]);
    assert_eq!(b.metrics().commits_expired, 1);
    let vectors = b.vectors(space);
    assert!(!vectors[&notes()].contains(&a.replica.origin(), Oseq(2)));
    assert!(!vectors[&tasks()].contains(&a.replica.origin(), Oseq(1)));
    assert_consistent(&mut b, space);
    assert_eq!(encoded(&mut a, space, &mut b), commits, "who counts it sends it");
    a.send(space, &mut b);
    assert_eq!(a.roots(space), b.roots(space));
    assert_eq!(title(b.note(space, id(1))).as_deref(), Some("second"));
    assert_consistent(&mut b, space);
}

/// Dropped and held again, it is not offered until the wait is over again.
#[test]
fn a_commit_that_is_held_again_waits_as_long_again_and_is_not_sent_meanwhile() {
    let (mut a, mut b, space, commits) = waiting();
    housekeep(&mut b, later(QUARANTINE_WAIT_MS));
    assert_eq!(reasons(&b, space), []);

    for after in [0, 1, QUARANTINE_WAIT_MS - 1] {
        let at = later(QUARANTINE_WAIT_MS + after);
        let ask = Ask::Receive { space, from: a.replica.peer(), commits: vec![commits[1].clone()] };
        b.replica.answer(at, ask);
        housekeep(&mut b, at);
        assert_eq!(reasons(&b, space), [HeldReason::MissingDependency]);
        assert_eq!(encoded(&mut a, space, &mut b), commits[..1], "the other is not offered");
    }

    housekeep(&mut b, later(2 * QUARANTINE_WAIT_MS + QUARANTINE_LOOK_MS));
    assert_eq!((reasons(&b, space), b.metrics().commits_expired), (vec![], 2));
}

/// Seen failing without the note of how long the store was open: a wait never ends then.
#[test]
fn a_wait_is_the_time_that_the_store_was_open_whatever_the_clock_on_the_wall_says() {
    const HALF: u64 = QUARANTINE_WAIT_MS / 2;
    let (_a, mut b, space, _) = waiting();

    let in_2100 = Timestamp::from_unix_ms(4_102_444_800_000);
    housekeep(&mut b, Now { wall: in_2100, ..later(HALF) });
    housekeep(&mut b, Now { wall: Timestamp::default(), ..later(HALF + QUARANTINE_LOOK_MS) });
    let mut b = b.reopened();
    housekeep(&mut b, later(HALF - QUARANTINE_LOOK_MS - 1));
    assert_eq!(reasons(&b, space), [HeldReason::MissingDependency]);
    let mut b = b.killed();
    housekeep(&mut b, later(QUARANTINE_LOOK_MS + 1));

    assert_eq!(reasons(&b, space), []);
}

/// What only others hold of its own work, a device that was restored may be the only one to have. Seen failing without
/// the question who made it.
#[test]
fn what_this_device_made_stays() {
    let (mut a, b, space) = pair(Role::Writer);
    let mut b = b.reopened();
    let copy = b.memory.snapshot();
    b.commit(space, vec![insert(id(1), "first")]);
    b.commit(space, vec![retitle(id(1), "second")]);
    let commits = encoded(&mut b, space, &mut a);
    b.memory.restore(&copy);
    let mut b = Device::over(b.memory.clone(), b.seed(), 9);
    assert_eq!(b.receive(space, &a, vec![commits[1].clone()]), held(1));

    housekeep(&mut b, later(2 * QUARANTINE_WAIT_MS));

    assert_eq!(reasons(&b, space), [HeldReason::MissingDependency]);
}

/// What was taken back comes back if the removal turns out to be void, from whoever had it. Seen failing with the fall
/// as an arrival.
#[test]
fn what_counted_once_stays() {
    let mut owner = Device::new(1);
    let space = founded(&mut owner);
    let mut stays = joined(&mut owner, 2, space, Role::Writer);
    let mut goes = joined(&mut owner, 3, space, Role::Writer);
    owner.teach(space, &mut stays);
    goes.commit(space, vec![insert(id(1), "not heard of by who removes")]);
    goes.send(space, &mut stays);
    owner.replica.remove_device(now(), space, goes.replica.peer()).expect("an owner may");
    owner.teach(space, &mut stays);
    assert_eq!((stays.note(space, id(1)), reasons(&stays, space)), (None, vec![HeldReason::AfterCut]));

    housekeep(&mut stays, later(2 * QUARANTINE_WAIT_MS));

    assert_eq!(reasons(&stays, space), [HeldReason::AfterCut]);
}

/// A verdict may pick what counted nowhere before, and what was dropped everywhere would stay frozen for good, with
/// all that follows it. Seen failing without the question for the cause: in simulations of members that equivocate too.
#[test]
fn what_a_verdict_may_pick_stays() {
    let (mut a, b, space) = pair(Role::Writer);
    let (first, second) = (forged(&b, space, 1, "first"), forged(&b, space, 1, "second"));
    let third = forged(&b, space, 2, "third");
    assert_eq!(a.receive(space, &b, vec![first.encode()]), applied(1));
    assert_eq!(a.receive(space, &b, vec![second.encode(), third.encode()]), held(2));

    housekeep(&mut a, later(2 * QUARANTINE_WAIT_MS));

    assert_eq!(reasons(&a, space), [HeldReason::Equivocation; 3]);
}

/// Seen failing with all numbers of what is dropped taken out of the vectors.
#[test]
fn a_number_counts_while_a_commit_with_it_is_here() {
    let (mut a, b, space) = pair(Role::Reader);
    let [first, second] = ["first", "second"].map(|title| forged(&b, space, 1, title).encode());
    assert_eq!(a.receive(space, &b, vec![first]), held(1));
    let from = b.replica.peer();
    a.replica.answer(later(1), Ask::Receive { space, from, commits: vec![second] });
    let counts = |a: &Device| a.vectors(space)[&notes()].contains(&b.replica.origin(), Oseq(1));

    housekeep(&mut a, later(QUARANTINE_WAIT_MS));
    assert_eq!((reasons(&a, space), counts(&a)), (vec![HeldReason::NotAllowed], true));
    housekeep(&mut a, later(QUARANTINE_WAIT_MS + QUARANTINE_LOOK_MS));

    assert_eq!((reasons(&a, space), counts(&a)), (vec![], false));
}

/// The insertion stands by its link to the cut, which the held commit is. Seen failing without the question whether a
/// cut reaches what is dropped.
#[test]
fn what_a_cut_reaches_stays_and_what_it_does_not_goes() {
    let mut owner = Device::new(1);
    let space = founded(&mut owner);
    let mut stays = joined(&mut owner, 2, space, Role::Writer);
    let mut goes = joined(&mut owner, 3, space, Role::Writer);
    owner.teach(space, &mut stays);
    goes.commit(space, vec![insert(id(1), "by who goes")]);
    goes.send(space, &mut owner);
    goes.send(space, &mut stays);
    owner.commit(space, vec![retitle(id(1), "by the owner")]);
    owner.send(space, &mut goes);
    goes.commit(space, vec![retitle(id(1), "by who goes again")]);
    goes.send(space, &mut owner);
    let made = goes.feed(space, &mut stays, FEED_BYTES).0;
    let mut made = made.iter().filter(|packed| packed.key.origin.peer == goes.replica.peer());
    let linked = Commit::decode(space, &made.next_back().expect("its own").bytes).expect("a commit");
    goes.commit(space, vec![insert(id(2), "not heard of by who removes")]);
    let beyond = goes.feed(space, &mut owner, FEED_BYTES).0[0].bytes.to_vec();
    let known = owner.replica.spaces.get(&space).expect("here");
    let (heads, cut) = (known.membership.heads().to_vec(), Cut::new([linked.hash()]).expect("small"));
    let removal = known.log.remove_device_at(&owner.identity, goes.replica.peer(), &heads, cut).expect("may");
    let ask = Ask::Learn { space, from: owner.replica.peer(), statements: vec![removal.bytes().to_vec()] };
    stays.replica.answer(now(), ask);
    let got = stays.receive(space, &owner, vec![linked.encode(), beyond]);
    // The insertion was taken back with the removal, and is let stand by the link.
    let expected = Received { applied: 1, held: 2, ..Received::default() };
    assert_eq!((got, title(stays.note(space, id(1))).as_deref()), (expected, Some("by who goes")));
    stays.replica.drain();

    housekeep(&mut stays, later(QUARANTINE_WAIT_MS));

    assert_eq!(expired(&mut stays), [(goes.replica.peer(), HeldReason::AfterCut, 1)]);
    assert_eq!(reasons(&stays, space), [HeldReason::MissingDependency]);
    owner.send(space, &mut stays);
    assert_eq!(title(stays.note(space, id(1))).as_deref(), Some("by who goes again"));
    assert_consistent(&mut stays, space);
}

#[test]
fn so_many_are_dropped_in_one_piece() {
    let (mut a, b, space) = pair(Role::Writer);
    for number in 0..=EXPIRED_TOGETHER_MAX as i64 {
        assert!(hold(&mut a, space, &b, number, 64), "there is room");
    }

    let more = a.replica.housekeep(later(QUARANTINE_WAIT_MS)).expect("housekeeps");
    let pieces = [expired(&mut a), {
        housekeep(&mut a, later(QUARANTINE_WAIT_MS));
        expired(&mut a)
    }];

    let of = |commits| vec![(b.replica.peer(), HeldReason::Malformed, commits)];
    assert_eq!((more, pieces), (true, [of(EXPIRED_TOGETHER_MAX), of(1)]));
    assert_eq!(reasons(&a, space), []);
}
