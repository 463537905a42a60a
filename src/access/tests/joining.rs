//! Invites, and what may go wrong with them.

use super::*;
use crate::limits::{JOIN_PART_BYTES, JOIN_REQUEST_BYTES_MAX, NAME_BYTES_MAX, STATEMENT_BYTES_MAX};

use Role::{Admin, Owner, Reader, Writer};

const EXPORTER: [u8; 32] = [5; 32];

/// Founder's log with an invite for `role`, and its ticket.
fn invited(role: Role) -> (Log, Invite) {
    let mut log = shop(&[Admin]);
    let ticket = ticket(&log, 1, InviteKind::Member, 77);
    let invite = log.invite(&identity(1), role, ticket.key(), LATER).expect("the owner");
    insert(&mut log, invite);
    (log, ticket)
}

fn request(ticket: &Invite, device: u8) -> Vec<u8> {
    ticket.request(&identity(device), "Bob", "phone", &EXPORTER).expect("short names")
}

fn redeem(log: &Log, by: u8, request: &[u8], joiner: u8) -> Result<Statement, AccessError> {
    log.redeem(&identity(by), request, peer(joiner), &EXPORTER, NOW)
}

fn refused(result: Result<Statement, AccessError>) -> Option<Refusal> {
    result.err().map(|error| Refusal::from(&error))
}

#[test]
fn an_invited_person_becomes_a_member_and_takes_the_log() {
    let (mut log, ticket) = invited(Writer);
    let ticket: Invite = ticket.to_string().parse().expect("its own text");

    let add = redeem(&log, 1, &request(&ticket, 30), 30).expect("redeems");
    insert(&mut log, add);
    let reply = JoinReply::parts(&log).concat();
    let joined = ticket.accept(&peer(30), &reply).expect("enrolled");

    assert_eq!(joined.digest(), log.digest());
    let membership = joined.membership();
    assert_eq!(membership.role(&peer(30)), Some(Writer));
    let member = membership.member_of(&peer(30)).expect("enrolled");
    assert_eq!(member.name, "Bob");
    assert_eq!(member.devices.first().map(|device| device.name.as_str()), Some("phone"));
}

#[test]
fn another_device_of_a_member_shares_its_record_and_role() {
    let mut log = shop(&[Writer]);

    second_device(&mut log, 2, 20);

    let membership = log.membership();
    assert_eq!(membership.member_of(&peer(20)), membership.member_of(&peer(2)));
    assert_eq!(membership.role(&peer(20)), Some(Writer));
    assert_eq!(membership.members().len(), 2);
}

/// Seen failing without the look at the expiry in `Log::redeem_as`.
#[test]
fn attack_ta_an_expired_invite_is_refused_by_the_redeemers_clock() {
    let (log, ticket) = invited(Writer);
    let request = request(&ticket, 30);
    let at = |now| log.redeem(&identity(1), &request, peer(30), &EXPORTER, now);

    assert_eq!(at(LATER.plus_ms(1)), Err(Refusal::Expired.into()));
    assert!(at(LATER).is_ok());
    assert!(at(Timestamp::from_unix_ms(0)).is_ok());
}

/// Seen failing without the look for redemptions in `Log::redeem_as`.
#[test]
fn attack_tb_an_invite_is_used_once_but_a_lost_reply_can_be_had_again() {
    let (mut log, ticket) = invited(Writer);
    let add = redeem(&log, 1, &request(&ticket, 30), 30).expect("redeems");
    insert(&mut log, add.clone());

    assert_eq!(redeem(&log, 1, &request(&ticket, 31), 31), Err(Refusal::Used.into()));
    assert_eq!(redeem(&log, 1, &request(&ticket, 30), 30), Ok(add));
}

/// Seen failing without the look for redemptions in `Log::redeem_as`.
#[test]
fn attack_tb_a_removed_joiner_does_not_come_back_by_its_old_invite() {
    let (mut log, ticket) = invited(Writer);
    let add = redeem(&log, 1, &request(&ticket, 30), 30).expect("redeems");
    insert(&mut log, add);
    let removal = log.remove_member(&identity(1), member(&log, 30)).expect("senior");
    insert(&mut log, removal);

    assert_eq!(redeem(&log, 1, &request(&ticket, 30), 30), Err(Refusal::Used.into()));
}

/// Seen failing without the comparison of the signers in `Log::check_enrolment`.
#[test]
fn attack_tc_only_the_inviters_device_redeems() {
    let (mut log, ticket) = invited(Writer);
    assert_eq!(redeem(&log, 2, &request(&ticket, 30), 30), Err(Refusal::Unknown.into()));

    let invite = heads(&log);
    let hash = *invite.first().expect("the invite");
    let mut body = enrolment(&log, hash, 77, 30);
    body.invite = hash;
    let by_another = forged(&log, 2, &invite, Body::AddMember(body));

    let what = "an invite is redeemed by the device that made it";
    assert_eq!(log.insert(by_another), Err(AccessError::Malformed { what }));
}

/// Seen failing with a `granted_role` that makes everybody an admin.
#[test]
fn attack_te_an_invite_of_a_reader_makes_a_reader() {
    let (mut log, ticket) = invited(Reader);
    let add = redeem(&log, 1, &request(&ticket, 30), 30).expect("redeems");
    insert(&mut log, add);

    assert_eq!(log.membership().role(&peer(30)), Some(Reader));
    assert_eq!(
        rule(log.set_role(&identity(30), member(&log, 30), Admin)),
        "nobody gives a role above its own"
    );
}

/// Seen failing without the comparison of grants in `Log::check_enrolment`.
#[test]
fn attack_te_an_invite_of_a_member_enrols_no_device_and_the_other_way_round() {
    let mut log = shop(&[Writer]);
    let (person, base) = (member(&log, 2), heads(&log));
    let what = "an invite enrols as what it grants";

    let for_member = says(&mut log, 1, &base, invite_body(77, Grant::Role(Writer)));
    let as_device = Body::AddDevice { member: person, enrolment: enrolment(&log, for_member, 77, 30) };
    let as_device = forged(&log, 1, &[for_member], as_device);
    let for_device = says(&mut log, 2, &base, invite_body(78, Grant::Device(person)));
    let as_member = forged(&log, 2, &[for_device], Body::AddMember(enrolment(&log, for_device, 78, 30)));

    assert_eq!(log.insert(as_device), Err(AccessError::Malformed { what }));
    assert_eq!(log.insert(as_member), Err(AccessError::Malformed { what }));
}

/// Seen failing without `JoinRequest::prove` and `Enrolment::verify`.
#[test]
fn attack_tf_a_device_that_does_not_consent_is_not_enrolled() {
    let (mut log, ticket) = invited(Writer);
    let prev = heads(&log);
    let invite = *prev.first().expect("the invite");

    assert_eq!(redeem(&log, 1, &request(&ticket, 30), 2), Err(Refusal::WrongKey.into()));
    let mut stolen = enrolment(&log, invite, 77, 30);
    stolen.device = peer(2);
    let stolen = forged(&log, 1, &prev, Body::AddMember(stolen));
    let wrong = AccessError::Identity(crate::identity::IdentityError::Signature);
    assert_eq!(log.insert(stolen), Err(wrong));
}

/// Seen failing without the look for the member of the joiner in `Log::redeem_as`.
#[test]
fn attack_tf_a_devices_of_a_member_joins_no_second_time() {
    let (log, ticket) = invited(Writer);

    assert_eq!(redeem(&log, 1, &request(&ticket, 2), 2), Err(Refusal::AlreadyMember.into()));
}

/// Seen failing without the look for revocations in `Log::redeem_as`.
#[test]
fn attack_tg_an_invite_revoked_before_is_refused() {
    let (mut log, ticket) = invited(Writer);
    let invite = *heads(&log).first().expect("the invite");

    let revocation = log.revoke_invite(&identity(1), invite).expect("its own");
    insert(&mut log, revocation);

    assert_eq!(redeem(&log, 1, &request(&ticket, 30), 30), Err(Refusal::Revoked.into()));
}

/// Seen failing without the look for revocations in `Resolver::may_redeem`: the device was a member.
#[test]
fn attack_tg_an_invite_redeemed_off_line_while_it_was_revoked_admits_nobody() {
    let mut log = shop(&[Admin]);
    let ticket = ticket(&log, 2, InviteKind::Member, 77);
    let invite = log.invite(&identity(2), Writer, ticket.key(), LATER).expect("an admin");
    let invite = insert(&mut log, invite);
    let off_line = redeem(&log, 2, &request(&ticket, 30), 30).expect("not yet revoked");

    let revocation = log.revoke_invite(&identity(1), invite).expect("senior");
    insert(&mut log, revocation);
    let add = insert(&mut log, off_line);

    assert!(!is_member(&log, 30));
    assert!(!log.membership().counts(&add));
}

/// Seen failing with a `Resolver::allows` that lets everybody revoke.
#[test]
fn attack_tg_a_junior_revokes_no_invite_of_a_senior_to_undo_it() {
    let (mut log, ticket) = invited(Writer);
    let base = heads(&log);
    let invite = *base.first().expect("the invite");
    let add = redeem(&log, 1, &request(&ticket, 30), 30).expect("redeems");
    insert(&mut log, add);

    says(&mut log, 2, &base, Body::RevokeInvite { invite });

    assert!(is_member(&log, 30));
    assert_eq!(rule(log.revoke_invite(&identity(2), invite)), "the statement would not count");
}

#[test]
fn a_revocation_after_the_redemption_changes_nothing() {
    let (mut log, ticket) = invited(Writer);
    let invite = *heads(&log).first().expect("the invite");
    let add = redeem(&log, 1, &request(&ticket, 30), 30).expect("redeems");
    insert(&mut log, add);

    let revocation = log.revoke_invite(&identity(1), invite).expect("its own");
    insert(&mut log, revocation);

    assert!(is_member(&log, 30));
}

#[test]
fn a_request_is_good_on_its_own_connection_for_its_own_invite_and_space() {
    let (log, ticket) = invited(Writer);
    let good = request(&ticket, 30);
    let other_connection = log.redeem(&identity(1), &good, peer(30), &[6; 32], NOW);
    let other_secret = Invite::new(InviteKind::Member, log.space(), peer(1), Vec::new(), [1; 16], LATER);
    let other_secret = request(&other_secret.expect("no addresses"), 30);
    let elsewhere = Log::found(&identity(1), "Other", "m", "d", [1; 32]).expect("short").0;

    assert_eq!(other_connection, Err(Refusal::WrongKey.into()));
    assert_eq!(redeem(&log, 1, &other_secret, 30), Err(Refusal::Unknown.into()));
    assert_eq!(redeem(&elsewhere, 1, &good, 30), Err(AccessError::WrongSpace));
    assert_eq!(JoinRequest::decode(&good).map(|request| request.space()), Ok(log.space()));
}

#[test]
fn every_flipped_bit_of_a_request_is_refused() {
    let (log, ticket) = invited(Writer);
    let good = request(&ticket, 30);
    // What the joiner commits to proves nothing: another commitment leads to another code.
    let signatures = good.len() - 3 * 64;
    let commitment = (signatures - 32) * 8..signatures * 8;

    for bit in (0..good.len() * 8).filter(|bit| !commitment.contains(bit)) {
        let mut flipped = good.clone();
        if let Some(byte) = flipped.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        assert!(redeem(&log, 1, &flipped, 30).is_err(), "bit {bit}");
    }
    assert_eq!(refused(redeem(&log, 1, &good[1..], 30)), Some(Refusal::Malformed));
}

#[test]
fn an_inviter_that_lost_its_role_redeems_nothing() {
    let mut log = shop(&[Admin]);
    let ticket = ticket(&log, 2, InviteKind::Member, 77);
    let invite = log.invite(&identity(2), Writer, ticket.key(), LATER).expect("an admin");
    insert(&mut log, invite);
    let demotion = log.set_role(&identity(1), member(&log, 2), Writer).expect("senior");
    insert(&mut log, demotion);

    let verdict = redeem(&log, 2, &request(&ticket, 30), 30);

    assert_eq!(refused(verdict), Some(Refusal::NotAllowed));
}

#[test]
fn every_refusal_reaches_the_joiner() {
    let (_, ticket) = invited(Writer);
    let all = [
        Refusal::Expired,
        Refusal::Used,
        Refusal::Revoked,
        Refusal::Unknown,
        Refusal::WrongKey,
        Refusal::NotAllowed,
        Refusal::AlreadyMember,
        Refusal::Malformed,
        Refusal::Full,
    ];

    for refusal in all {
        let verdict = ticket.accept(&peer(30), &JoinReply::refuse(refusal));
        assert_eq!(verdict.map(|log| log.space()), Err(AccessError::Refused(refusal)));
    }
    let unknown = ticket.accept(&peer(30), &[0, 99]).map(|log| log.space());
    assert_eq!(unknown, Err(crate::codec::CodecError::Invalid { what: "refusal" }.into()));
}

#[test]
fn every_error_of_redeeming_has_a_reason_for_the_joiner() {
    let cases = [
        (AccessError::WrongSpace, Refusal::Unknown),
        (AccessError::Refused(Refusal::Used), Refusal::Used),
        (AccessError::TooMany { what: "statements", max: 1 }, Refusal::Full),
        (AccessError::Damaged, Refusal::Malformed),
        (AccessError::Identity(crate::identity::IdentityError::Key), Refusal::WrongKey),
    ];

    for (error, expect) in cases {
        assert_eq!(Refusal::from(&error), expect, "{error}");
    }
}

#[test]
fn a_reply_without_this_device_or_of_another_space_is_refused() {
    let (log, ticket) = invited(Writer);
    let reply = JoinReply::parts(&log).concat();
    let elsewhere = Log::found(&identity(1), "Other", "m", "d", [1; 32]).expect("short").0;

    let accepted = |reply: &[u8]| ticket.accept(&peer(30), reply).map(|log| log.space());

    let what = "the reply does not enrol this device";
    assert_eq!(accepted(&reply), Err(AccessError::Malformed { what }));
    assert_eq!(accepted(&JoinReply::parts(&elsewhere).concat()), Err(AccessError::NoGenesis));
    let missing = AccessError::Malformed { what: "parts of the reply are missing" };
    assert_eq!(accepted(&[]), Err(missing));
}

#[test]
fn a_long_log_travels_in_parts_that_must_all_come_in_order() {
    let (mut log, ticket) = invited(Writer);
    let add = redeem(&log, 1, &request(&ticket, 30), 30).expect("redeems");
    insert(&mut log, add);
    for number in 0..40 {
        let prev = heads(&log);
        says(&mut log, 1, &prev, Body::Other { kind: 1_001, bytes: vec![number; 3_800] });
    }

    let parts = JoinReply::parts(&log);

    assert_eq!(parts.len(), 3);
    // The statement that exceeds it is the last.
    let most = JOIN_PART_BYTES + STATEMENT_BYTES_MAX + 16;
    assert!(parts.iter().all(|part| part.len() <= most));
    assert!(parts.iter().rev().skip(1).all(|part| part.len() >= JOIN_PART_BYTES));
    assert_eq!(ticket.accept(&peer(30), &parts.concat()).map(|log| log.digest()), Ok(log.digest()));
    let accepted = |order: &[usize]| {
        let bytes: Vec<u8> = order.iter().filter_map(|place| parts.get(*place)).flatten().copied().collect();
        ticket.accept(&peer(30), &bytes).map(|log| log.space())
    };
    let missing = AccessError::Malformed { what: "parts of the reply are missing" };
    assert_eq!(accepted(&[0, 1]), Err(missing));
    let order = AccessError::Malformed { what: "the parts of the reply are out of order" };
    assert_eq!(accepted(&[1, 0, 2]), Err(order));
}

#[test]
fn names_that_are_too_long_are_refused() {
    let (log, ticket) = invited(Owner);
    let long = "a".repeat(NAME_BYTES_MAX + 1);
    let refused =
        AccessError::TooLarge { what: "name", bytes: NAME_BYTES_MAX + 1, bytes_max: NAME_BYTES_MAX };
    assert!(log.set_name(&identity(1), &"a".repeat(NAME_BYTES_MAX)).is_ok());

    assert_eq!(ticket.request(&identity(30), &long, "d", &EXPORTER), Err(refused.clone()));
    assert_eq!(log.set_name(&identity(1), &long), Err(refused.clone()));
    let founded = Log::found(&identity(1), &long, "m", "d", [0; 32]);
    assert_eq!(founded.map(|(log, _)| log.space()), Err(refused));
    let (bytes, bytes_max) = (JOIN_REQUEST_BYTES_MAX + 1, JOIN_REQUEST_BYTES_MAX);
    let refused = AccessError::TooLarge { what: "request to join", bytes, bytes_max };
    assert_eq!(JoinRequest::decode(&vec![0; bytes]), Err(refused.clone()));
    assert_ne!(JoinRequest::decode(&vec![0; bytes_max]), Err(refused));
}
