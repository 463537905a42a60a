//! Spaces and members: joining, refusals, rules, statements that come later.

use super::*;
use crate::access::{AccessError, Body, Statement};

#[test]
fn joiner_holds_the_space_and_both_tell_it() {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    let mut b = Device::new(2);
    let invite = invite(&mut a, space, Role::Writer);
    a.replica.drain();

    let request = b.replica.join_request(&invite, "Bob", "phone", &[7; 32]).expect("names are short");
    let ask = Ask::Redeem { joiner: b.replica.peer(), exporter: [7; 32], request };
    let Answer::Redeemed(reply) = a.replica.answer(now(), ask) else { panic!("redeemed") };
    let from = a.replica.peer();
    let answer = b.replica.answer(now(), Ask::Joined { from, reply: reply.concat() });
    let again = b.replica.answer(now(), Ask::Joined { from, reply: reply.concat() });

    assert!(matches!(answer, Answer::Done), "{answer:?}");
    assert!(matches!(again, Answer::Failed(reason) if reason == "no such join under way"));
    assert!(matches!(a.replica.drain().as_slice(), [Told::SpaceChanged(state)]
        if state.membership.role(&b.replica.peer()) == Some(Role::Writer)));
    assert!(matches!(b.replica.drain().as_slice(), [Told::SpaceChanged(state)] if state.space == space));
    let logs = [&a, &b].map(|device| device.replica.state(&space).map(|state| state.log));
    assert_eq!(logs[0], logs[1]);
    assert_eq!(b.reopened().replica.spaces(), [space]);
}

#[test]
fn request_with_another_connections_keys_is_refused() {
    let (mut a, _, space) = pair(Role::Writer);
    let mut c = Device::new(3);
    let invite = invite(&mut a, space, Role::Writer);
    a.replica.drain();
    let request = c.replica.join_request(&invite, "Cy", "phone", &[7; 32]).expect("names are short");

    let ask = Ask::Redeem { joiner: c.replica.peer(), exporter: [8; 32], request };
    let Answer::Redeemed(reply) = a.replica.answer(now(), ask) else { panic!("answered") };
    let answer = c.replica.answer(now(), Ask::Joined { from: a.replica.peer(), reply: reply.concat() });

    assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
    assert!(a.replica.drain().is_empty());
    assert_eq!((c.replica.spaces(), c.replica.drain().len()), (vec![], 0));
}

#[test]
fn reader_is_told_the_rule_when_it_writes() {
    let (_, mut b, space) = pair(Role::Reader);

    let refused = b.replica.commit(now(), space, vec![insert(id(1), "no")]);

    assert!(matches!(refused, Err(ReplicaError::Access(AccessError::Denied { .. }))), "{refused:?}");
    assert_eq!((b.note(space, id(1)), b.replica.drain().len()), (None, 0));
}

#[test]
fn removed_device_shows_in_the_space_it_is_told_of() {
    let (mut a, mut b, space) = pair(Role::Writer);
    a.replica.remove_device(now(), space, b.replica.peer()).expect("an owner removes");

    a.teach(space, &mut b);

    assert!(matches!(b.replica.drain().as_slice(), [Told::SpaceChanged(state)]
        if state.membership.member_of(&b.replica.peer()).is_none()));
    let refused = b.replica.commit(now(), space, vec![insert(id(1), "no")]);
    assert!(matches!(refused, Err(ReplicaError::Access(_))), "{refused:?}");
    let member = a.replica.membership(&space).expect("here").members().last().expect("two members").id;
    a.replica.remove_member(now(), space, member).expect("an owner removes");
}

#[test]
fn statements_of_another_space_are_refused_and_known_ones_are_not_sent() {
    let (mut a, mut b, space) = pair(Role::Writer);
    let other = founded(&mut b);
    let Answer::Statements(foreign) = b.replica.answer(
        now(),
        Ask::Statements { space: other, key: ShortsKey::default(), given: Vec::new(), known: vec![] },
    ) else {
        panic!("statements")
    };

    let from = b.replica.peer();
    let learned = a.replica.answer(now(), Ask::Learn { space, from, statements: foreign });
    let Answer::StatementShorts(known) =
        a.replica.answer(now(), Ask::StatementShorts { space, key: ShortsKey::default() })
    else {
        panic!("shorts")
    };
    let unknown = b
        .replica
        .answer(now(), Ask::Statements { space, key: ShortsKey::default(), given: Vec::new(), known });

    assert!(matches!(learned, Answer::Learned { new: 0, offence: None }));
    assert_eq!(a.metrics().refused, 1);
    assert!(matches!(unknown, Answer::Statements(statements) if statements.is_empty()));
    assert!(a.replica.drain().is_empty());
}

/// Nothing is verified behind the first statement that does not verify, and what came before it is taken. A frame of
/// 7,000 wrong signatures cost a quarter of a second. Seen failing with `Log::insert_all`.
#[test]
fn what_comes_behind_a_statement_that_does_not_verify_is_not_looked_at() {
    let (mut a, b, space) = pair(Role::Writer);
    let heads = a.replica.membership(&space).expect("here").heads().to_vec();
    let signed = |kind| {
        let body = Body::Other { kind, bytes: Vec::new() };
        let lamport = 1 + a
            .replica
            .spaces
            .get(&space)
            .and_then(|known| known.log.statement(&heads[0]))
            .expect("here")
            .lamport();
        Statement::sign(&b.identity, &space, lamport, heads.clone(), body).expect("small").bytes().to_vec()
    };
    let (good, mut bad, later) = (signed(1_001), signed(1_003), signed(1_005));
    *bad.last_mut().expect("a signature") ^= 1;
    let from = b.replica.peer();
    let known = a.replica.spaces.get(&space).expect("here").log.statements().count();

    let mut frame = vec![good];
    frame.extend(vec![bad; 1_000]);
    frame.push(later.clone());
    let refused = a.replica.answer(now(), Ask::Learn { space, from, statements: frame });
    let undecodable =
        a.replica.answer(now(), Ask::Learn { space, from, statements: vec![vec![1, 2], later] });

    assert!(matches!(refused, Answer::Learned { new: 1, offence: Some(_) }), "{refused:?}");
    assert!(matches!(undecodable, Answer::Learned { new: 0, offence: Some(_) }), "{undecodable:?}");
    assert_eq!(a.metrics().refused, 2, "one of each frame");
    assert_eq!(a.replica.spaces.get(&space).expect("here").log.statements().count(), known + 1);
}

/// A device that joined `a` after `b` had left, and its statements.
fn newcomer() -> (Device, Device, SpaceId, Vec<Vec<u8>>) {
    let (mut a, b, space) = pair(Role::Writer);
    let mut c = Device::new(3);
    let invite = invite(&mut a, space, Role::Writer);
    let request = c.replica.join_request(&invite, "Cy", "phone", &[7; 32]).expect("names are short");
    let redeem = Ask::Redeem { joiner: c.replica.peer(), exporter: [7; 32], request };
    let Answer::Redeemed(reply) = a.replica.answer(now(), redeem) else { panic!("redeemed") };
    c.replica.answer(now(), Ask::Joined { from: a.replica.peer(), reply: reply.concat() });
    let Answer::Statements(statements) =
        c.replica.answer(now(), Ask::Enrolment { space, to: b.replica.peer() })
    else {
        panic!("statements")
    };
    (b, c, space, statements)
}

#[test]
fn a_device_shows_the_statements_that_enrolled_it_and_is_a_member_by_them() {
    let (mut b, c, space, statements) = newcomer();
    let from = c.replica.peer();

    let introduced = b.replica.answer(now(), Ask::Introduce { space, from, statements: statements.clone() });
    let again = b.replica.answer(now(), Ask::Introduce { space, from, statements });

    assert!(matches!(introduced, Answer::Introduced(true)), "{introduced:?}");
    assert!(matches!(again, Answer::Introduced(true)), "{again:?}");
    let told = b.replica.drain();
    assert!(matches!(told.as_slice(), [Told::SpaceChanged(state)]
        if state.membership.role(&from) == Some(Role::Writer)));
    assert_eq!(b.reopened().replica.membership(&space).expect("here").role(&from), Some(Role::Writer));
}

#[test]
fn of_who_is_no_member_by_its_statements_nothing_is_kept() {
    let (mut b, c, space, statements) = newcomer();
    let before = b.replica.state(&space).expect("here").log;
    let stranger = Device::new(9).replica.peer();
    let missing = statements[..statements.len() - 1].to_vec();
    let garbage = vec![statements[0].clone(), vec![1, 2, 3]];

    for (from, statements) in
        [(stranger, statements), (c.replica.peer(), missing), (c.replica.peer(), garbage), (stranger, vec![])]
    {
        let answer = b.replica.answer(now(), Ask::Introduce { space, from, statements });
        assert!(matches!(answer, Answer::Introduced(false)), "{answer:?}");
    }

    assert_eq!(b.replica.state(&space).expect("here").log, before);
    assert!(b.replica.drain().is_empty());
    assert_eq!(b.reopened().replica.state(&space).expect("here").log, before);
}

#[test]
fn an_introduction_is_bounded_and_keeps_the_newest() {
    let (mut a, mut b, space) = pair(Role::Admin);
    let mut names = 0;
    while names < 2 * crate::limits::INTRODUCTION_STATEMENTS_MAX {
        invite(&mut a, space, Role::Reader);
        names += 1;
    }
    let mut c = Device::new(3);
    let invite = invite(&mut a, space, Role::Writer);
    let request = c.replica.join_request(&invite, "Cy", "phone", &[7; 32]).expect("names are short");
    let redeem = Ask::Redeem { joiner: c.replica.peer(), exporter: [7; 32], request };
    let Answer::Redeemed(reply) = a.replica.answer(now(), redeem) else { panic!("redeemed") };
    c.replica.answer(now(), Ask::Joined { from: a.replica.peer(), reply: reply.concat() });

    let Answer::Statements(statements) =
        c.replica.answer(now(), Ask::Enrolment { space, to: b.replica.peer() })
    else {
        panic!("statements")
    };

    assert_eq!(statements.len(), crate::limits::INTRODUCTION_STATEMENTS_MAX);
    let from = c.replica.peer();
    let behind = b.replica.answer(now(), Ask::Introduce { space, from, statements: statements.clone() });
    assert!(matches!(behind, Answer::Introduced(false)), "too far behind: {behind:?}");
    let (from_a, Answer::Statements(all)) = (
        a.replica.peer(),
        a.replica.answer(
            now(),
            Ask::Statements { space, key: ShortsKey::default(), given: Vec::new(), known: vec![] },
        ),
    ) else {
        panic!("statements")
    };
    let old = all[..all.len() - 3].to_vec();
    b.replica.answer(now(), Ask::Learn { space, from: from_a, statements: old });
    let near = b.replica.answer(now(), Ask::Introduce { space, from, statements });
    assert!(matches!(near, Answer::Introduced(true)), "{near:?}");
}

#[test]
fn address_that_is_none_makes_no_invite() {
    let mut a = Device::new(1);
    let space = founded(&mut a);

    let refused = a.replica.invite(now(), space, Role::Reader, vec!["nowhere".to_owned()], 1_000);

    assert!(matches!(refused, Err(ReplicaError::Address { text }) if text == "nowhere"));
    let invite =
        a.replica.invite_device(now(), space, vec!["127.0.0.1:4433".to_owned()], 1_000).expect("invites");
    assert_eq!(invite.addresses().len(), 1);
}

#[test]
fn joins_under_way_are_bounded() {
    let mut b = Device::new(2);
    for number in 0..=crate::limits::JOINS_MAX {
        let mut a = Device::new(1);
        let space = a.replica.create_space(now(), &number.to_string(), "Ann", "laptop").expect("founds");
        let invite = invite(&mut a, space, Role::Writer);
        let spread = Invite::new(
            invite.kind(),
            SpaceId::new([number as u8; 32]),
            invite.inviter(),
            vec![],
            [1; 16],
            invite.expiry(),
        );
        let asked = b.replica.join_request(&spread.expect("an invite"), "Bob", "phone", &[7; 32]);
        let full = matches!(asked, Err(ReplicaError::TooMany { what: "joins under way", .. }));
        assert_eq!(full, number == crate::limits::JOINS_MAX);
    }
}

#[test]
fn erasing_goes_on_where_a_crash_ended_it_and_leaves_nothing_of_the_space() {
    let mut a = Device::new(1);
    let (space, other) = (founded(&mut a), founded(&mut a));
    for number in 0..40 {
        for space in [space, other] {
            a.replica.commit(now(), space, vec![insert(id(number), "secret")]).expect("an owner");
        }
    }
    let before = a.replica.origin();
    a.replica.sync().expect("a good disk");
    a.replica.drain();

    a.replica.erase(space).expect("here");
    let told = a.replica.drain();
    a.replica.sync().expect("a good disk");
    let mut again = a.killed();
    let pieces = (0..).take_while(|_| again.replica.housekeep(now()).expect("a good disk")).count();

    assert!(matches!(told.as_slice(), [Told::SpaceGone { space: gone }] if *gone == space), "{told:?}");
    assert_eq!(again.replica.spaces(), [other]);
    assert!(pieces > 5, "a crash can come between pieces");
    assert_eq!(keys_of(&again, &space), 0);
    assert!(keys_of(&again, &other) > 100);
    assert_eq!(title(again.note(other, id(3))), Some("secret".to_owned()));
    assert_ne!(again.replica.origin(), before);
}

#[test]
fn a_space_that_is_joined_again_while_it_is_erased_has_nothing_of_before() {
    let (mut a, mut b, space) = pair(Role::Writer);
    b.replica.commit(now(), space, vec![insert(id(1), "before")]).expect("a writer");
    let before = b.replica.origin();

    b.replica.erase(space).expect("here");
    let member = a.replica.membership(&space).and_then(|all| all.member_of(&b.replica.peer()).map(|m| m.id));
    a.replica.remove_member(now(), space, member.expect("a member")).expect("an owner");
    let invite = invite(&mut a, space, Role::Writer);
    let request = b.replica.join_request(&invite, "Bob", "phone", &[7; 32]).expect("names are short");
    let ask = Ask::Redeem { joiner: b.replica.peer(), exporter: [7; 32], request };
    let Answer::Redeemed(reply) = a.replica.answer(now(), ask) else { panic!("redeemed") };
    let joined = b.replica.answer(now(), Ask::Joined { from: a.replica.peer(), reply: reply.concat() });

    assert!(matches!(joined, Answer::Done), "{joined:?}");
    assert_eq!(b.note(space, id(1)), None);
    b.replica.commit(now(), space, vec![insert(id(1), "after")]).expect("a writer");
    assert_ne!(b.replica.origin(), before);
    assert!(!b.replica.housekeep(now()).expect("a good disk"));
    assert_eq!(title(b.note(space, id(1))), Some("after".to_owned()));
}

/// How many keys belong to a space.
fn keys_of(device: &Device, space: &SpaceId) -> usize {
    let keys = device.replica.store.values().keys(&[1], &[255], usize::MAX).expect("a good disk");
    let classes = [2, 3, 4, 5, 6, 7, 9, 10, 11, 12];
    keys.iter().filter(|key| classes.contains(&key[0]) && key[1..].starts_with(space.as_bytes())).count()
}

/// It had heard of the removal and of nothing else, took itself for removed, and nobody told it.
#[test]
fn who_was_removed_by_a_removal_that_is_void_is_shown_why() {
    let mut owner = Device::new(1);
    let space = founded(&mut owner);
    let mut admin = joined(&mut owner, 2, space, Role::Admin);
    let mut removed = joined(&mut owner, 3, space, Role::Writer);
    let device = removed.replica.peer();
    owner.teach(space, &mut admin);
    let belongs = |to: &Device| to.replica.membership(&space).expect("here").role(&device).is_some();
    // Neither of the two has heard of the other.
    let member = owner.replica.membership(&space).expect("here").member_of(&admin.replica.peer()).cloned();
    owner.replica.set_role(now(), space, member.expect("a member").id, Role::Reader).expect("an owner may");
    admin.replica.remove_device(now(), space, device).expect("it came later");
    admin.teach(space, &mut removed);
    admin.teach(space, &mut owner);
    assert!(belongs(&owner) && !belongs(&removed), "the one knows more");

    for (from, becomes) in [(&mut admin, false), (&mut owner, true)] {
        let ask = Ask::Enrolment { space, to: device };
        let Answer::Statements(statements) = from.replica.answer(now(), ask) else { panic!("statements") };
        let from = from.replica.peer();
        let introduced = removed.replica.answer(now(), Ask::Introduce { space, from, statements });

        assert!(
            matches!(introduced, Answer::Introduced(is_member) if is_member == becomes),
            "{introduced:?}"
        );
        assert_eq!(belongs(&removed), becomes);
    }
}
