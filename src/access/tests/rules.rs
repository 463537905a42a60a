//! What the roles may, one rule at a time.

use super::*;

use Role::{Admin, Owner, Reader, Writer};

const SENIORITY: &str = "only somebody senior may, the member itself or the recovery key";
const STRANGER: &str = "the signer is no member's device";

#[test]
fn the_founder_owns_the_space_that_its_first_statement_names() {
    let log = founded();

    let membership = log.membership();

    let genesis = log.statements().next().expect("the genesis");
    assert_eq!(log.space().as_bytes(), genesis.hash().as_bytes());
    assert_eq!(membership.name(), "Corner Repairs");
    assert_eq!(membership.role(&peer(1)), Some(Owner));
    assert_eq!(membership.heads(), [genesis.hash()]);
    assert_eq!(membership.devices().collect::<Vec<_>>(), [&peer(1)]);
}

#[test]
fn members_stand_in_order_of_seniority_with_what_they_call_themselves() {
    let log = shop(&[Admin, Writer, Reader]);

    let membership = log.membership();

    let shown: Vec<_> = membership
        .members()
        .iter()
        .map(|member| (member.name.as_str(), member.role, member.removed))
        .collect();
    assert_eq!(
        shown,
        [
            ("member 1", Owner, false),
            ("member 2", Admin, false),
            ("member 3", Writer, false),
            ("member 4", Reader, false)
        ]
    );
    let device = membership.member_of(&peer(3)).and_then(|member| member.devices.first().cloned());
    assert_eq!(device.map(|device| (device.peer, device.name)), Some((peer(3), "device 3".to_owned())));
    assert_eq!(membership.member(&member(&log, 2)).map(|member| member.role), Some(Admin));
}

#[test]
fn readers_read_writers_write_and_strangers_do_neither() {
    let log = shop(&[Writer, Reader]);
    let (tickets, membership) = (collection("tickets"), log.membership());

    let may = |device: u8, action| membership.may(&peer(device), action, &tickets);

    assert_eq!((may(2, Action::Read), may(2, Action::Write)), (true, true));
    assert_eq!((may(3, Action::Read), may(3, Action::Write)), (true, false));
    assert_eq!((may(9, Action::Read), may(9, Action::Write)), (false, false));
}

#[test]
fn a_rule_raises_what_one_collection_needs() {
    let mut log = shop(&[Admin, Writer]);
    let (employees, tickets) = (collection("employees"), collection("tickets"));
    let before = heads(&log);

    let statement = log.set_rule(&identity(2), &employees, Writer, Admin).expect("an admin");
    insert(&mut log, statement);

    let membership = log.membership();
    assert_eq!(membership.rule(&employees), (Writer, Admin));
    assert!(!membership.may(&peer(3), Action::Write, &employees));
    assert!(membership.may(&peer(3), Action::Read, &employees));
    assert!(membership.may(&peer(3), Action::Write, &tickets));
    assert_eq!(membership.may_at(&peer(3), Action::Write, &employees, &before), Ok(()));
    assert_eq!(
        membership.may_at(&peer(3), Action::Write, &employees, membership.heads()),
        Err(AccessError::Denied {
            what: "writing",
            rule: "employees needs the role admin, and the device has writer".to_owned()
        })
    );
}

#[test]
fn a_rule_below_the_floor_lets_no_reader_write() {
    let mut log = shop(&[Reader]);
    let notes = collection("notes");

    let statement = log.set_rule(&identity(1), &notes, Reader, Reader).expect("the owner");
    insert(&mut log, statement);

    assert!(!log.membership().may(&peer(2), Action::Write, &notes));
}

#[test]
fn of_concurrent_rules_the_strictest_holds_for_each_action() {
    let mut log = shop(&[Admin]);
    let (base, notes) = (heads(&log), collection("notes"));
    let body = |read, write| Body::SetRule { collection: collection("notes"), read, write };

    says(&mut log, 1, &base, body(Admin, Writer));
    says(&mut log, 2, &base, body(Reader, Admin));

    assert_eq!(log.membership().rule(&notes), (Admin, Admin));
}

#[test]
fn an_admin_cannot_lower_the_rule_of_an_owner() {
    let mut log = shop(&[Admin]);
    let notes = collection("notes");
    let statement = log.set_rule(&identity(1), &notes, Owner, Owner).expect("the owner");
    insert(&mut log, statement);

    let refused = rule(log.set_rule(&identity(2), &notes, Reader, Writer));
    let base = heads(&log);
    says(&mut log, 2, &base, Body::SetRule { collection: notes.clone(), read: Reader, write: Writer });

    assert_eq!(refused, "it needs the role owner, and the signer has admin");
    assert_eq!(log.membership().rule(&notes), (Owner, Owner));
    let statement = log.set_rule(&identity(1), &notes, Reader, Writer).expect("the owner");
    insert(&mut log, statement);
    assert_eq!(log.membership().rule(&notes), (Reader, Writer));
}

#[test]
fn inviting_needs_an_admin_and_no_role_above_its_own() {
    let log = shop(&[Admin, Writer]);

    let by = |device: u8, role| log.invite(&identity(device), role, peer(77), LATER);

    assert!(by(2, Admin).is_ok());
    assert_eq!(rule(by(2, Owner)), "it needs the role owner, and the signer has admin");
    assert_eq!(rule(by(3, Reader)), "it needs the role admin, and the signer has writer");
    assert_eq!(rule(by(9, Reader)), STRANGER);
}

#[test]
fn only_seniors_the_member_itself_and_the_recovery_key_remove() {
    let log = shop(&[Admin, Admin, Writer]);
    let (second, third, fourth) = (member(&log, 2), member(&log, 3), member(&log, 4));

    assert!(log.remove_member(&identity(2), third).is_ok());
    assert!(log.remove_member(&identity(4), fourth).is_ok());
    assert!(log.remove_member(&identity(255), member(&log, 1)).is_ok());
    assert_eq!(rule(log.remove_member(&identity(3), second)), SENIORITY);
    assert_eq!(
        rule(log.remove_member(&identity(4), third)),
        "it needs the role admin, and the signer has writer"
    );
    assert_eq!(rule(log.remove_member(&identity(9), third)), STRANGER);
    assert_eq!(rule(log.remove_member(&identity(1), MemberId::new([1; 32]))), "there is no such member");
    assert_eq!(rule(log.remove_device(&identity(1), peer(99))), "the device is no member's");
}

#[test]
fn a_removed_member_is_gone_with_all_devices_and_may_come_back_as_another() {
    let mut log = shop(&[Writer]);
    second_device(&mut log, 2, 20);
    let first = member(&log, 2);

    let statement = log.remove_member(&identity(1), first).expect("senior");
    insert(&mut log, statement);

    assert!(!is_member(&log, 2) && !is_member(&log, 20));
    let membership = log.membership();
    let shown = membership.member(&first).map(|member| (member.removed, member.devices.len()));
    assert_eq!(shown, Some((true, 2)));
    assert_eq!(membership.author_of(&peer(20)).map(|member| member.id), Some(first));

    let ticket = ticket(&log, 1, InviteKind::Member, 77);
    let invite = log.invite(&identity(1), Reader, ticket.key(), LATER).expect("the owner");
    insert(&mut log, invite);
    let request = ticket.request(&identity(2), "again", "phone", &[5; 32]).expect("short");
    let add = log.redeem(&identity(1), &request, peer(2), &[5; 32], NOW).expect("redeems");
    insert(&mut log, add);

    let membership = log.membership();
    assert_eq!(membership.role(&peer(2)), Some(Reader));
    assert_ne!(membership.member_of(&peer(2)).map(|member| member.id), Some(first));
    assert_eq!(membership.member(&first).map(|member| member.removed), Some(true));
}

#[test]
fn a_removed_device_leaves_the_others_of_its_member() {
    let mut log = shop(&[Writer]);
    second_device(&mut log, 2, 20);
    let at = heads(&log);

    let statement = log.remove_device(&identity(20), peer(2)).expect("its own member's");
    insert(&mut log, statement);

    assert!(!is_member(&log, 2) && is_member(&log, 20));
    let (membership, tickets) = (log.membership(), collection("tickets"));
    assert_eq!(membership.may_at(&peer(2), Action::Write, &tickets, &at), Ok(()));
    let now = membership.may_at(&peer(2), Action::Write, &tickets, membership.heads());
    let rule = "the device is no member's at that position".to_owned();
    assert_eq!(now, Err(AccessError::Denied { what: "writing", rule }));
}

#[test]
fn a_position_that_is_not_here_is_unknown_and_a_long_one_is_refused() {
    let log = shop(&[Writer]);
    let (membership, tickets) = (log.membership(), collection("tickets"));

    let at = |at: &[StatementHash]| membership.may_at(&peer(2), Action::Write, &tickets, at);

    let hash = StatementHash::new([3; 32]);
    assert_eq!(at(&[hash]), Err(AccessError::UnknownPosition { hash }));
    assert_eq!(at(&[hash; 17]), Err(AccessError::TooMany { what: "membership heads", max: 16 }));
    let genesis = log.statements().next().expect("the genesis").hash();
    let rule = "the device is no member's at that position".to_owned();
    assert_eq!(at(&[genesis]), Err(AccessError::Denied { what: "writing", rule: rule.clone() }));
    assert_eq!(at(&[]), Err(AccessError::Denied { what: "writing", rule }));
}

#[test]
fn roles_are_given_by_seniors_up_to_their_own_and_lowered_by_oneself() {
    let mut log = shop(&[Admin, Admin, Writer]);
    let (second, third, fourth) = (member(&log, 2), member(&log, 3), member(&log, 4));

    assert_eq!(rule(log.set_role(&identity(2), fourth, Owner)), "nobody gives a role above its own");
    assert_eq!(rule(log.set_role(&identity(3), second, Reader)), SENIORITY);
    assert_eq!(rule(log.set_role(&identity(4), fourth, Admin)), "nobody gives a role above its own");
    assert_eq!(rule(log.set_role(&identity(9), fourth, Admin)), STRANGER);
    let promotion = log.set_role(&identity(2), fourth, Admin).expect("senior");
    insert(&mut log, promotion);
    let lowering = log.set_role(&identity(3), third, Reader).expect("itself");
    insert(&mut log, lowering);

    assert_eq!(log.membership().role(&peer(4)), Some(Admin));
    assert_eq!(log.membership().role(&peer(3)), Some(Reader));
    assert_eq!(
        rule(log.invite(&identity(3), Reader, peer(77), LATER)),
        "it needs the role admin, and the signer has reader"
    );
}

#[test]
fn of_concurrent_role_changes_the_lowest_holds_and_a_later_one_replaces_both() {
    let mut log = shop(&[Admin, Writer]);
    let (base, target) = (heads(&log), member(&log, 3));

    says(&mut log, 1, &base, Body::SetRole { member: target, role: Admin });
    says(&mut log, 2, &base, Body::SetRole { member: target, role: Reader });

    assert_eq!(log.membership().role(&peer(3)), Some(Reader));
    let later = log.set_role(&identity(2), target, Admin).expect("senior");
    insert(&mut log, later);
    assert_eq!(log.membership().role(&peer(3)), Some(Admin));
}

#[test]
fn a_demotion_voids_what_needed_the_role_and_did_not_know_of_it() {
    let mut log = shop(&[Admin]);
    let (base, target) = (heads(&log), member(&log, 2));
    puppet(&mut log, 2, &base, Admin, 50);
    assert!(is_member(&log, 50));

    says(&mut log, 1, &base, Body::SetRole { member: target, role: Writer });

    assert!(!is_member(&log, 50));
    assert_eq!(log.membership().role(&peer(2)), Some(Writer));
    let kept = second_device(&mut log, 2, 20);
    assert!(log.membership().counts(&kept));
}

#[test]
fn what_a_demotion_knew_stays() {
    let mut log = shop(&[Admin]);
    joined(&mut log, 2, Writer, 50);

    let demotion = log.set_role(&identity(1), member(&log, 2), Reader).expect("senior");
    insert(&mut log, demotion);

    assert_eq!(log.membership().role(&peer(50)), Some(Writer));
}

#[test]
fn the_space_is_renamed_by_admins_only() {
    let mut log = shop(&[Admin, Writer]);

    let renaming = log.set_name(&identity(2), "Main Street Repairs").expect("an admin");
    insert(&mut log, renaming);

    assert_eq!(log.membership().name(), "Main Street Repairs");
    assert_eq!(
        rule(log.set_name(&identity(3), "Mine")),
        "it needs the role admin, and the signer has writer"
    );
}

#[test]
fn an_odd_kind_is_kept_without_effect_and_an_even_one_is_refused() {
    let mut log = shop(&[Writer]);
    let (base, before) = (heads(&log), log.membership());

    let odd = says(&mut log, 2, &base, Body::Other { kind: 1_001, bytes: vec![1, 2, 3] });
    let even = forged(&log, 2, &base, Body::Other { kind: 1_000, bytes: vec![1, 2, 3] });

    assert!(!log.membership().counts(&odd));
    assert_eq!(log.membership().members(), before.members());
    let copy = Statement::decode(log.statement(&odd).expect("kept").bytes());
    assert_eq!(copy.map(|copy| copy.hash()), Ok(odd));
    assert_eq!(Statement::decode(even.bytes()), Err(AccessError::UnknownKind { kind: 1_000 }));
}
