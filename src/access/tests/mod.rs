//! Tests of the membership log, and the small shop they play in.

mod attacks;
mod filled;
mod increments;
mod joining;
mod laws;
mod limits;
mod rules;

use crate::id::{CollectionName, MemberId, PeerId, StatementHash};
use crate::identity::{Identity, Purpose};
use crate::time::Timestamp;

use super::*;

pub(super) const LATER: Timestamp = Timestamp::from_unix_ms(2_000_000);
pub(super) const NOW: Timestamp = Timestamp::from_unix_ms(1_000_000);

pub(super) fn identity(number: u8) -> Identity {
    Identity::from_seed([number; 32])
}

pub(super) fn peer(number: u8) -> PeerId {
    identity(number).peer()
}

pub(super) fn collection(name: &str) -> CollectionName {
    CollectionName::new(name).expect("a good name")
}

/// A space founded by device 1, with a recovery key of seed 255.
pub(super) fn founded() -> Log {
    let genesis = Genesis {
        name: "Corner Repairs".to_owned(),
        member_name: "member 1".to_owned(),
        device_name: "device 1".to_owned(),
        nonce: [9; 32],
        recovery: Some(peer(255)),
        enc_pk: None,
    };
    Log::found_with(&identity(1), genesis).expect("short names").0
}

/// A shop with the founder (device 1), and members by devices 2, 3, .. in order of seniority.
pub(super) fn shop(roles: &[Role]) -> Log {
    let mut log = founded();
    for (device, role) in (2..).zip(roles) {
        joined(&mut log, 1, *role, device);
    }
    log
}

/// Inserts a statement that must be new, and returns its hash.
#[track_caller]
pub(super) fn insert(log: &mut Log, statement: Statement) -> StatementHash {
    let hash = statement.hash();
    assert_eq!(log.insert(statement), Ok(true));
    hash
}

pub(super) fn ticket(log: &Log, inviter: u8, kind: InviteKind, secret: u8) -> Invite {
    Invite::new(kind, log.space(), peer(inviter), Vec::new(), [secret; 16], LATER).expect("no addresses")
}

/// Invites and redeems by the book; returns the new member's id.
#[track_caller]
pub(super) fn joined(log: &mut Log, inviter: u8, role: Role, device: u8) -> MemberId {
    let ticket = ticket(log, inviter, InviteKind::Member, device);
    let invite = log.invite(&identity(inviter), role, ticket.key(), LATER).expect("may invite");
    insert(log, invite);
    MemberId::new(*redeemed(log, inviter, &ticket, device).as_bytes())
}

/// Adds a second device by the book; returns the enrolment.
#[track_caller]
pub(super) fn second_device(log: &mut Log, first: u8, device: u8) -> StatementHash {
    let ticket = ticket(log, first, InviteKind::Device, device);
    let invite = log.invite_device(&identity(first), ticket.key(), LATER).expect("a member's device");
    insert(log, invite);
    redeemed(log, first, &ticket, device)
}

#[track_caller]
fn redeemed(log: &mut Log, inviter: u8, ticket: &Invite, device: u8) -> StatementHash {
    let (member, name) = (format!("member {device}"), format!("device {device}"));
    let request = ticket.request(&identity(device), &member, &name, &[5; 32]).expect("short names");
    let statement = log.redeem(&identity(inviter), &request, peer(device), &[5; 32], NOW).expect("redeems");
    insert(log, statement)
}

/// Signs whatever one likes on top of whatever one likes.
pub(super) fn forged(log: &Log, signer: u8, prev: &[StatementHash], body: Body) -> Statement {
    let mut prev = prev.to_vec();
    prev.sort_unstable();
    let lamport = prev.iter().filter_map(|hash| log.statement(hash)).map(Statement::lamport).max();
    Statement::sign(&identity(signer), &log.space(), lamport.unwrap_or(0) + 1, prev, body).expect("small")
}

/// Signs and inserts it, whether it counts or not.
#[track_caller]
pub(super) fn says(log: &mut Log, signer: u8, prev: &[StatementHash], body: Body) -> StatementHash {
    let statement = forged(log, signer, prev, body);
    insert(log, statement)
}

pub(super) fn invite_body(secret: u8, grant: Grant) -> Body {
    Body::Invite { key: peer(secret), grant, expiry: LATER, uses: Uses::Once }
}

/// An enrolment whose invite has the key of seed `secret`.
pub(super) fn enrolment(log: &Log, invite: StatementHash, secret: u8, device: u8) -> Enrolment {
    let message = Enrolment::message(&peer(secret), &peer(device), "m", "d", None);
    let space = log.space();
    Enrolment {
        invite,
        device: peer(device),
        member_name: "m".to_owned(),
        device_name: "d".to_owned(),
        enc_pk: None,
        proof: identity(secret).sign(Purpose::Invite, &space, &message),
        consent: identity(device).sign(Purpose::Enrol, &space, &message),
    }
}

/// Invites and adds on top of `prev` without asking; returns the adding statement.
#[track_caller]
pub(super) fn puppet(log: &mut Log, by: u8, prev: &[StatementHash], role: Role, device: u8) -> StatementHash {
    let invite = says(log, by, prev, invite_body(device, Grant::Role(role)));
    let body = Body::AddMember(enrolment(log, invite, device, device));
    says(log, by, &[invite], body)
}

#[track_caller]
pub(super) fn member(log: &Log, device: u8) -> MemberId {
    log.membership().author_of(&peer(device)).expect("was a member").id
}

pub(super) fn is_member(log: &Log, device: u8) -> bool {
    log.membership().member_of(&peer(device)).is_some()
}

pub(super) fn remove(member: MemberId) -> Body {
    Body::RemoveMember { member, cut: Cut::default() }
}

pub(super) fn heads(log: &Log) -> Vec<StatementHash> {
    log.membership().heads().to_vec()
}

/// The rule that refused.
#[track_caller]
pub(super) fn rule(result: Result<Statement, AccessError>) -> String {
    match result {
        Err(AccessError::Denied { rule, .. }) => rule,
        other => panic!("not denied: {other:?}"),
    }
}
