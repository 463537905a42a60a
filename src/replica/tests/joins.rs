//! Requests to join that wait to be approved: bounds, and what nobody can change about a code.

use super::*;
use crate::access::{JoinCode, JoinReply, Refusal};
use crate::id::PeerId;
use crate::limits::{JOIN_REQUESTS_MAX, JOIN_REQUESTS_PER_INVITE_MAX};

/// An owner, and an invite of its space that needs approval.
fn inviting() -> (Device, SpaceId, Invite) {
    let mut a = Device::new(1);
    let space = founded(&mut a);
    let invite = approved_invite(&mut a, space);
    a.replica.drain();
    (a, space, invite)
}

fn approved_invite(a: &mut Device, space: SpaceId) -> Invite {
    let lifetime_ms = 1_000;
    a.replica.invite_with_approval(now(), space, Role::Writer, vec![], lifetime_ms).expect("an owner")
}

/// Asks; returns what the inviter answers.
fn asks(a: &mut Device, b: &mut Device, invite: &Invite) -> Vec<u8> {
    let request = b.replica.join_request(invite, "Bob", "phone", &[7; 32]).expect("names are short");
    answers(a, b.replica.peer(), request)
}

fn answers(a: &mut Device, joiner: PeerId, request: Vec<u8>) -> Vec<u8> {
    let ask = Ask::Redeem { joiner, exporter: [7; 32], request };
    let Answer::Redeemed(reply) = a.replica.answer(now(), ask) else { panic!("answered") };
    reply.concat()
}

/// Asks and reveals; returns the code that the joiner shows.
fn waits(a: &mut Device, b: &mut Device, invite: &Invite) -> JoinCode {
    let reply = asks(a, b, invite);
    let joined = b.replica.answer(now(), Ask::Joined { from: a.replica.peer(), reply });
    let Answer::JoinWaits { reveal, code } = joined else { panic!("{joined:?}") };
    let revealed = a.replica.answer(now(), Ask::Revealed { joiner: b.replica.peer(), reveal });
    assert!(matches!(revealed, Answer::Done), "{revealed:?}");
    code
}

#[track_caller]
fn check_refused(reply: &[u8], refusal: Refusal) {
    assert_eq!(JoinReply::decode_all(reply), Ok(vec![JoinReply::Refused(refusal)]));
}

#[test]
fn a_request_shows_once_it_is_revealed_and_enrols_once_it_is_approved() {
    let (mut a, space, invite) = inviting();
    let mut b = Device::new(2);
    let peer = b.replica.peer();

    asks(&mut a, &mut b, &invite);
    assert_eq!(a.replica.applicants(&space), []);
    assert!(matches!(a.replica.approve(space, peer), Err(ReplicaError::NotFound { .. })));
    let code = waits(&mut a, &mut b, &invite);

    let told = a.replica.drain();
    assert!(matches!(told.as_slice(), [Told::JoinRequested { applicant, .. }] if applicant.code == code));
    let mut a = a.reopened();
    assert_eq!(a.replica.applicants(&space).len(), 1);
    assert_eq!(a.replica.membership(&space).expect("here").members().len(), 1);
    a.replica.approve(space, peer).expect("it waits");
    let reply = asks(&mut a, &mut b, &invite);
    let joined = b.replica.answer(now(), Ask::Joined { from: a.replica.peer(), reply });
    assert!(matches!(joined, Answer::Done), "{joined:?}");
    assert_eq!((b.replica.spaces(), b.replica.waiting_joins()), (vec![space], vec![]));
    assert_eq!(a.replica.applicants(&space), []);
    // It is good once.
    check_refused(&asks(&mut a, &mut Device::new(3), &invite), Refusal::Used);
}

#[test]
fn whoever_approves_late_may_but_whoever_asks_late_may_not() {
    let (mut a, space, invite) = inviting();
    let (mut b, mut c) = (Device::new(2), Device::new(3));
    waits(&mut a, &mut b, &invite);
    let late = Now { wall: now().wall.plus_ms(10_000), ..now() };

    let request = c.replica.join_request(&invite, "Cy", "phone", &[7; 32]).expect("names are short");
    let ask = Ask::Redeem { joiner: c.replica.peer(), exporter: [7; 32], request };
    let Answer::Redeemed(reply) = a.replica.answer(late, ask) else { panic!("answered") };

    check_refused(&reply.concat(), Refusal::Expired);
    a.replica.approve(space, b.replica.peer()).expect("it asked in time");
}

#[test]
fn four_devices_wait_by_one_invite_and_sixty_four_at_one_node() {
    let (mut a, space, invite) = inviting();
    let each = JOIN_REQUESTS_PER_INVITE_MAX as u8;
    for seed in 2..2 + each {
        waits(&mut a, &mut Device::new(seed), &invite);
    }
    check_refused(&asks(&mut a, &mut Device::new(6), &invite), Refusal::Busy);
    a.replica.decline(space, Device::new(2).replica.peer()).expect("it waits");
    check_refused(&asks(&mut a, &mut Device::new(6), &invite), Refusal::Busy);
    check_refused(&asks(&mut a, &mut Device::new(2), &invite), Refusal::Declined);
    assert_eq!(a.replica.applicants(&space).len(), 3);

    for first in (10..10 + JOIN_REQUESTS_MAX as u8 - each).step_by(each.into()) {
        let invite = approved_invite(&mut a, space);
        for seed in first..first + each {
            waits(&mut a, &mut Device::new(seed), &invite);
        }
    }
    let another = approved_invite(&mut a, space);
    check_refused(&asks(&mut a, &mut Device::new(80), &another), Refusal::Busy);

    // Those of a revoked invite make way.
    a.replica.revoke_invite(space, invite.key()).expect("its maker");
    waits(&mut a, &mut Device::new(80), &another);
}

#[test]
fn a_device_commits_to_one_nonce_and_the_inviter_answers_one() {
    let (mut a, space, invite) = inviting();
    let mut b = Device::new(2);
    let (peer, inviter) = (b.replica.peer(), a.replica.peer());
    let code = waits(&mut a, &mut b, &invite);

    // A device that would try another code by another commitment.
    let mut other = b.replica.join_request(&invite, "Bob", "phone", &[7; 32]).expect("names are short");
    let at = other.len() - 3 * 64 - 32;
    other[at] ^= 1;
    check_refused(&answers(&mut a, peer, other), Refusal::Busy);
    // One that reveals what it did not commit to.
    let mut c = Device::new(3);
    asks(&mut a, &mut c, &invite);
    let mut reveal = invite.reveal(&Identity::from_seed([3; 32]));
    reveal[70] ^= 1;
    let revealed = a.replica.answer(now(), Ask::Revealed { joiner: c.replica.peer(), reveal });
    assert!(matches!(revealed, Answer::Failed(_)), "{revealed:?}");
    assert_eq!(a.replica.applicants(&space).len(), 1);
    // An inviter who would try another code by another answer, before a restart of the joiner and after.
    let lie = JoinReply::wait(invite.key(), [9; 32]);
    for _ in 0..2 {
        let joined = b.replica.answer(now(), Ask::Joined { from: inviter, reply: lie.clone() });
        assert!(matches!(joined, Answer::Failed(_)), "{joined:?}");
        b = b.reopened();
        assert_eq!(b.replica.waiting_joins().iter().map(|(_, code)| *code).collect::<Vec<_>>(), [code]);
    }
    assert_eq!(waits(&mut a, &mut b, &invite), code);
}

#[test]
fn whoever_sits_between_shows_two_codes() {
    // Mallory has Ada's invite, makes one to a space of her own look like it, and passes all on.
    let (mut ada, space, invite) = inviting();
    let (mut mallory, _, lure) = {
        let mut mallory = Device::new(66);
        let space = founded(&mut mallory);
        let lure = approved_invite(&mut mallory, space);
        (mallory, space, lure)
    };
    let mut bob = Device::new(2);

    let bobs = waits(&mut mallory, &mut bob, &lure);
    waits(&mut ada, &mut mallory, &invite);

    assert_ne!(ada.replica.applicants(&space)[0].code, bobs);
}
