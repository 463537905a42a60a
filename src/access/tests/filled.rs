//! Logs that were filled, each with something else: who removes the liar gets into all of them.

use super::*;
use crate::limits::{
    MEMBERS_IN_A_ROW_MAX, STATEMENTS_FOLLOWED_OF_ADMIN, STATEMENTS_FOLLOWED_OF_BRANCH,
    STATEMENTS_FOLLOWED_OF_MEMBER, STATEMENTS_OF_ADMINS, STATEMENTS_OF_RECOVERY, STATEMENTS_OF_SENIOR,
    STATEMENTS_PER_SPACE_MAX,
};

use Role::{Admin, Owner, Writer};

/// Places that everybody takes, and those that admins take beyond them.
const OPEN: usize = STATEMENTS_PER_SPACE_MAX - STATEMENTS_OF_ADMINS;
const OF_ADMINS: usize = STATEMENTS_PER_SPACE_MAX - STATEMENTS_OF_SENIOR - STATEMENTS_OF_RECOVERY;

/// What a device says that means to fill a log, one behind another, and differently with each mark.
fn filled(log: &mut Log, signer: u8, mark: u8, up_to: usize, body: impl Fn(u8) -> Body) {
    let mut prev = heads(log);
    while log.statements().count() < up_to {
        let statement = forged(log, signer, &prev, body(mark));
        prev = vec![statement.hash()];
        assert_eq!(log.insert_unverified(statement), Ok(true));
    }
}

fn junk(mark: u8) -> Body {
    Body::Other { kind: 1_001, bytes: vec![mark] }
}

/// Sends what the other lacks, in pages, as a session does.
fn sent(from: &Log, to: &mut Log) {
    let lacks = from.statements_in_order_of_need().map(|(statement, _)| statement);
    let lacks = lacks.filter(|statement| !to.holds(&statement.hash()));
    let lacks: Vec<Statement> = lacks.cloned().collect();
    for page in lacks.chunks(2_000) {
        to.insert_all(page.iter().cloned());
    }
}

/// The liar is gone from both logs, and both count what the owner makes next.
#[track_caller]
fn check_removed(a: &Log, b: &Log, liar: u8) {
    for log in [a, b] {
        assert!(!is_member(log, liar));
        let at = a.membership().heads_for(&peer(1), &[]);
        let may = log.membership().may_at(&peer(1), Action::Write, &collection("tickets"), &at);
        assert_eq!(may, Ok(()));
        assert!(log.set_name(&identity(1), "Harbour Repairs").is_ok());
    }
}

/// A writer shows each device other junk. The removal followed the junk that its author was shown, and had no place in
/// a log that was full of the other: the liar stayed a member there, and nothing of the owner was taken any more.
/// Seen failing with `best_heads` of all statements that none follows.
#[test]
fn who_shows_each_device_other_junk_is_removed_from_all() {
    let mut a = shop(&[Admin, Writer]);
    let mut b = a.clone();
    filled(&mut a, 3, 1, OPEN, junk);
    filled(&mut b, 3, 2, OPEN, junk);

    let removal = a.remove_member(&identity(1), member(&a, 3)).expect("senior");
    insert(&mut a, removal);
    sent(&a, &mut b);

    check_removed(&a, &b, 3);
    sent(&b, &mut a);
    check_removed(&b, &a, 3);
}

/// What an admin says counts, and differs. Seen failing with `Followed::charge` always true: the removal followed more
/// than the other log had room for; and with no place kept for the most senior.
#[test]
fn an_admin_who_fills_each_log_with_what_counts_is_removed_from_all() {
    let mut a = shop(&[Admin, Writer]);
    let mut b = a.clone();
    let named = |mark| Body::SetName { name: format!("Repairs {mark}") };
    filled(&mut a, 2, 1, OF_ADMINS, named);
    filled(&mut b, 2, 2, OF_ADMINS, named);

    let removal = a.remove_member(&identity(1), member(&a, 2)).expect("senior");
    insert(&mut a, removal);
    sent(&a, &mut b);

    check_removed(&a, &b, 2);
}

/// As above, with puppets: what those say whom the liar added is of its branch, so the removal follows no more than the
/// most senior has room for. Seen failing with a branch of the member alone.
#[test]
fn puppets_have_no_share_beside_that_of_who_added_them() {
    let mut log = shop(&[Owner]);
    for device in 10..14 {
        let at = heads(&log);
        let puppet = puppet(&mut log, 2, &at, Admin, device);
        let mut prev = vec![puppet];
        for number in 0..600 {
            let said = forged(&log, device, &prev, Body::SetName { name: format!("{number}") });
            prev = vec![said.hash()];
            assert_eq!(log.insert_unverified(said), Ok(true));
        }
    }

    let known = shop(&[Owner]).statements().count();

    let removal = log.remove_member(&identity(1), member(&log, 2)).expect("senior");

    let [step_by_step, at_once] = log.step_by_step_and_at_once();
    assert_eq!(step_by_step, at_once);
    let hash = insert(&mut log, removal);
    let past = log.past_of(&hash).len();
    assert!((600..=STATEMENTS_FOLLOWED_OF_BRANCH + known).contains(&past), "{past} followed");
}

/// A writer says as much as others follow of it, to each device something else. The removal follows what its author has;
/// the other log is full for a writer, but what the owner follows has the owner's room. Seen failing without
/// `Log::take_wanted`.
#[test]
fn what_an_owner_follows_has_its_place_where_the_log_is_full() {
    let mut a = shop(&[Admin, Writer]);
    let mut b = a.clone();
    let target = member(&a, 3);
    for (log, first) in [(&mut a, 10), (&mut b, 90)] {
        for number in 0..70 {
            let prev = heads(log);
            says(log, 3, &prev, invite_body(first + number, Grant::Device(target)));
        }
    }
    filled(&mut b, 3, 1, OPEN, junk);

    let removal = a.remove_member(&identity(1), target).expect("senior");
    let hash = insert(&mut a, removal);
    let followed = a.past_of(&hash).iter().filter(|hash| !b.holds(hash)).count();
    sent(&a, &mut b);

    assert_eq!(followed, STATEMENTS_FOLLOWED_OF_MEMBER);
    check_removed(&a, &b, 3);
}

/// A removal ends also the devices that it does not follow. Seen failing with `Resolver::is_removed` always false.
#[test]
fn a_removal_covers_devices_of_the_member_that_it_does_not_follow() {
    let mut log = shop(&[Admin, Writer]);
    let target = member(&log, 3);
    filled(&mut log, 3, 1, 100, junk);
    let tip = log.statements().last().map(Statement::hash).expect("many");
    let invite = says(&mut log, 3, &[tip], invite_body(30, Grant::Device(target)));
    let body = Body::AddDevice { member: target, enrolment: enrolment(&log, invite, 30, 30) };
    let enrolled = says(&mut log, 3, &[invite], body);
    assert_eq!(log.membership().role(&peer(30)), Some(Writer));

    let removal = log.remove_member(&identity(1), target).expect("senior");
    let hash = insert(&mut log, removal);

    assert!(!log.past_of(&hash).contains(&enrolled) && !log.membership().counts(&enrolled));
    assert!(!is_member(&log, 3) && !is_member(&log, 30));
}

/// What an author cannot do without it follows, whoever said it. Seen failing with `Membership::heads_for` without what
/// is due.
#[test]
fn who_was_enrolled_on_top_of_junk_follows_that_and_says_what_counts() {
    let mut log = shop(&[Admin, Writer]);
    filled(&mut log, 2, 1, 100, junk);
    let tip = log.statements().last().map(Statement::hash).expect("many");
    let invite = says(&mut log, 2, &[tip], invite_body(30, Grant::Role(Writer)));
    let enrolled = enrolment(&log, invite, 30, 30);
    for number in 0..STATEMENTS_FOLLOWED_OF_ADMIN + 76 {
        let prev = heads(&log);
        says(&mut log, 2, &prev, Body::SetName { name: format!("{number}") });
    }
    let added = says(&mut log, 2, &[invite], Body::AddMember(enrolled));

    let at = log.membership().heads_for(&peer(30), &[]);

    assert!(at.contains(&added) && !heads(&log).contains(&added));
    let may = |at: &[StatementHash]| {
        log.membership().may_at(&peer(30), Action::Write, &collection("tickets"), at).is_ok()
    };
    assert!(may(&at) && !may(&heads(&log)));
}

/// Each adds the next, and everybody looks at all above. Seen failing without `MEMBERS_IN_A_ROW_MAX`.
#[test]
fn of_members_who_add_each_other_in_a_row_64_are_followed() {
    let mut log = shop(&[Admin]);
    let mut added = Vec::new();
    let mut prev = heads(&log);
    for device in 10..80 {
        let by = if device == 10 { 2 } else { device - 1 };
        prev = vec![puppet(&mut log, by, &prev, Admin, device)];
        added.extend(prev.clone());
    }

    let removal = log.remove_member(&identity(1), member(&log, 2)).expect("senior");
    let hash = insert(&mut log, removal);

    let past = log.past_of(&hash);
    let followed = added.iter().filter(|added| past.contains(added)).count();
    assert_eq!(followed, MEMBERS_IN_A_ROW_MAX);
}
