//! Attacks on the membership log, by the numbers of the adversarial list.

use super::*;

use Role::{Admin, Owner, Reader, Writer};

/// Seen failing with `Resolver::allows` content with everything.
#[test]
fn attack_35_a_junior_that_removes_a_senior_is_ignored() {
    let mut log = shop(&[Admin, Admin]);
    let (base, senior) = (heads(&log), member(&log, 2));

    let removal = says(&mut log, 3, &base, remove(senior));

    assert!(is_member(&log, 2));
    assert!(!log.membership().counts(&removal));
}

/// Seen failing with `Resolver::allows` content with everything.
#[test]
fn attack_35_nobody_promotes_itself() {
    let mut log = shop(&[Admin, Writer]);
    let base = heads(&log);

    for device in [2, 3] {
        let body = Body::SetRole { member: member(&log, device), role: Owner };
        says(&mut log, device, &base, body);
    }

    assert_eq!(log.membership().role(&peer(2)), Some(Admin));
    assert_eq!(log.membership().role(&peer(3)), Some(Writer));
}

/// Seen failing with `Resolver::is_removed` always false: the puppet was a member.
#[test]
fn attack_35_a_back_dated_puppet_of_a_removed_admin_neither_joins_nor_removes() {
    let mut log = shop(&[Admin, Admin]);
    let (base, honest) = (heads(&log), member(&log, 3));
    let removal = log.remove_member(&identity(1), member(&log, 2)).expect("senior");
    insert(&mut log, removal);

    let added = puppet(&mut log, 2, &base, Admin, 50);
    says(&mut log, 50, &[added], remove(honest));

    assert!(!is_member(&log, 50));
    assert!(is_member(&log, 3));
}

/// Seen failing with `Resolver::allows` content with everything.
#[test]
fn attack_35_a_writer_adds_no_puppet() {
    let mut log = shop(&[Writer]);
    let base = heads(&log);

    let added = puppet(&mut log, 2, &base, Reader, 50);

    assert!(!is_member(&log, 50));
    assert!(!log.membership().counts(&added));
}

/// Seen failing with `Resolver::allows` content with everything.
#[test]
fn attack_35_an_admin_makes_no_owner() {
    let mut log = shop(&[Admin]);
    let base = heads(&log);

    puppet(&mut log, 2, &base, Owner, 50);

    assert!(!is_member(&log, 50));
}

/// Seen failing with `Resolver::is_removed` always false.
#[test]
fn attack_36_what_a_removed_member_says_at_once_or_later_is_void() {
    let mut log = shop(&[Admin, Writer]);
    let (base, other) = (heads(&log), member(&log, 3));
    let removal = log.remove_member(&identity(1), member(&log, 2)).expect("senior");
    let removal = insert(&mut log, removal);

    let at_once = says(&mut log, 2, &base, remove(other));
    let later = says(&mut log, 2, &[removal], remove(other));
    let after_all = says(&mut log, 2, &[at_once, later], Body::SetName { name: "Mine".to_owned() });

    for hash in [at_once, later, after_all] {
        assert!(!log.membership().counts(&hash));
    }
    assert!(is_member(&log, 3) && !is_member(&log, 2));
    assert_eq!(log.membership().name(), "Corner Repairs");
}

/// Also where all of it is heard at once, and judged as a whole. Seen failing with a removal that voids all that its
/// target ever signed, in `Resolver::is_removed`.
#[test]
fn attack_36_what_the_remover_knew_stays() {
    let mut log = shop(&[Admin]);
    joined(&mut log, 2, Writer, 50);

    let removal = log.remove_member(&identity(1), member(&log, 2)).expect("senior");
    insert(&mut log, removal);

    let at_once = Log::from_statements(log.space(), log.statements().cloned()).expect("the same");
    for log in [&log, &at_once] {
        assert!(is_member(log, 50) && !is_member(log, 2));
    }
}

/// Seen failing with `Resolver::own_removals` content with the first.
#[test]
fn attack_37_two_devices_of_a_member_that_remove_each_other_both_go() {
    let mut log = shop(&[Writer]);
    let second = second_device(&mut log, 2, 20);
    let first = StatementHash::new(*member(&log, 2).as_bytes());
    let base = heads(&log);

    says(&mut log, 2, &base, Body::RemoveDevice { enrolment: second, cut: Cut::default() });
    says(&mut log, 20, &base, Body::RemoveDevice { enrolment: first, cut: Cut::default() });

    assert!(!is_member(&log, 2) && !is_member(&log, 20));
    let membership = log.membership();
    assert_eq!(membership.author_of(&peer(2)).map(|member| member.removed), Some(false));
}

/// Seen failing with `Resolver::own_removals` empty.
#[test]
fn attack_37_a_device_that_knows_of_its_removal_removes_nobody() {
    let mut log = shop(&[Writer]);
    let second = second_device(&mut log, 2, 20);
    let first = StatementHash::new(*member(&log, 2).as_bytes());
    let base = heads(&log);

    let removal = says(&mut log, 2, &base, Body::RemoveDevice { enrolment: second, cut: Cut::default() });
    says(&mut log, 20, &[removal], Body::RemoveDevice { enrolment: first, cut: Cut::default() });

    assert!(is_member(&log, 2) && !is_member(&log, 20));
}

/// Seen failing with `Resolver::own_removals` empty.
#[test]
fn attack_37_a_device_added_by_a_removed_one_at_the_same_time_does_not_stay() {
    let mut log = shop(&[Writer]);
    let second = second_device(&mut log, 2, 20);
    let (base, person) = (heads(&log), member(&log, 2));
    says(&mut log, 2, &base, Body::RemoveDevice { enrolment: second, cut: Cut::default() });

    let invite = says(&mut log, 20, &base, invite_body(50, Grant::Device(person)));
    let body = Body::AddDevice { member: person, enrolment: enrolment(&log, invite, 50, 50) };
    says(&mut log, 20, &[invite], body);

    assert!(is_member(&log, 2) && !is_member(&log, 20) && !is_member(&log, 50));
}

/// Seen failing with the recovery key no senior in `Resolver::is_senior`.
#[test]
fn attack_38_the_recovery_key_undoes_what_a_stolen_founder_phone_did() {
    let mut log = shop(&[Admin, Writer]);
    let before = heads(&log);
    for device in [2, 3] {
        let removal = log.remove_member(&identity(1), member(&log, device)).expect("senior");
        insert(&mut log, removal);
    }
    assert!(!is_member(&log, 2) && !is_member(&log, 3));

    let rescue =
        log.remove_device_at(&identity(255), peer(1), &before, Cut::default()).expect("the recovery key");
    insert(&mut log, rescue);

    assert!(!is_member(&log, 1) && is_member(&log, 2) && is_member(&log, 3));
    let (founder, ticket) = (member(&log, 1), ticket(&log, 255, InviteKind::Device, 10));
    let invite =
        log.invite_device_of(&identity(255), founder, ticket.key(), LATER).expect("the recovery key");
    insert(&mut log, invite);
    let request = ticket.request(&identity(10), "", "another phone", &[5; 32]).expect("short");
    let add = log.redeem(&identity(255), &request, peer(10), &[5; 32], NOW).expect("redeems");
    insert(&mut log, add);
    assert_eq!(log.membership().role(&peer(10)), Some(Owner));
}

/// Seen failing with everybody a senior in `Resolver::is_senior`.
#[test]
fn attack_38_without_the_recovery_key_nobody_removes_the_founder() {
    let mut log = shop(&[Owner]);
    let (base, founder) = (heads(&log), member(&log, 1));

    says(&mut log, 2, &base, remove(founder));

    assert!(is_member(&log, 1));
    assert!(matches!(log.remove_member(&identity(2), founder), Err(AccessError::Denied { .. })));
}

/// Seen failing without the comparison in `Log::place`.
#[test]
fn attack_39_a_lamport_number_that_does_not_follow_is_refused() {
    let mut log = shop(&[Writer]);
    let prev = heads(&log);
    let body = Body::Other { kind: 1_001, bytes: Vec::new() };

    let at = |claimed| {
        Statement::sign(&identity(2), &log.space(), claimed, prev.clone(), body.clone()).expect("small")
    };
    let (wrong, right) = ([0, 3, 5, u64::MAX].map(at), at(4));

    for statement in wrong {
        let claimed = statement.lamport();
        assert_eq!(log.insert(statement), Err(AccessError::Lamport { claimed, expected: 4 }));
    }
    assert_eq!(log.insert(right), Ok(true));
}

/// Seen failing without the look at their order in `Statement::decode`.
#[test]
fn attack_39_previous_statements_out_of_order_twice_or_too_many_are_refused() {
    use crate::codec::{CodecError, Encode as _, Writer};
    let with_prev = |prev: &[[u8; 32]]| {
        let mut out = Writer::new();
        peer(1).encode(&mut out);
        out.varint(2);
        out.count(prev.len());
        prev.iter().for_each(|hash| out.raw(hash));
        out.varint(1);
        out.bytes(&[0]);
        out.raw(&[0; 64]);
        Statement::decode(out.as_bytes())
    };

    let not_canonical = Err(CodecError::NotCanonical { what: "previous statements" }.into());
    assert_eq!(with_prev(&[[2; 32], [1; 32]]), not_canonical);
    assert_eq!(with_prev(&[[1; 32], [1; 32]]), not_canonical);
    let too_large = CodecError::TooLarge { what: "previous statements", len: 17, max: 16 };
    assert_eq!(with_prev(&[[1; 32]; 17]), Err(too_large.into()));
    assert_eq!(
        with_prev(&[]),
        Err(AccessError::Malformed { what: "only a genesis has no previous statements" })
    );
    assert!(with_prev(&[[1; 32], [2; 32]]).is_ok());
}

/// A statement as anybody can make it, whatever it says, with a signature that fits.
fn crafted(log: &Log, signer: u8, lamport: u64, prev: &[StatementHash], kind: u64, body: &[u8]) -> Vec<u8> {
    use crate::codec::{Encode as _, Writer};
    let mut out = Writer::new();
    peer(signer).encode(&mut out);
    out.varint(lamport);
    out.count(prev.len());
    prev.iter().for_each(|hash| hash.encode(&mut out));
    out.varint(kind);
    out.bytes(body);
    let signature = identity(signer).sign(Purpose::Statement, &log.space(), out.as_bytes());
    out.raw(&signature.0);
    out.into_bytes()
}

/// The signature is good and so is its place in the log. Seen failing without the comparison in `check_size`.
#[test]
fn attack_39_a_statement_over_4_kib_is_refused() {
    let mut log = shop(&[Writer]);
    let base = heads(&log);
    let too_large = |bytes| AccessError::TooLarge { what: "statement", bytes, bytes_max: 4_096 };

    let body = Body::Other { kind: 1_001, bytes: vec![0; 5_120] };
    let by_the_book = Statement::sign(&identity(2), &log.space(), 4, base.clone(), body);
    let by_hand = crafted(&log, 2, 4, &base, 1_001, &[0; 5_120]);

    assert!(matches!(by_the_book, Err(AccessError::TooLarge { what: "statement", bytes_max: 4_096, .. })));
    assert_eq!(Statement::decode(&by_hand), Err(too_large(by_hand.len())));
    // The largest that there may be, and one byte more.
    let around = crafted(&log, 2, 4, &base, 1_001, &[]).len();
    let filled = |bytes: usize| crafted(&log, 2, 4, &base, 1_001, &vec![0; bytes - around - 1]);
    assert_eq!(Statement::decode(&filled(4_097)), Err(too_large(4_097)));
    let largest = Statement::decode(&filled(4_096)).expect("it fits");
    assert_eq!(largest.bytes().len(), 4_096);
    assert_eq!(log.insert(largest), Ok(true));
}

/// Seen failing with only what is left compared in `Reader::count`.
#[test]
fn attack_41_counts_in_statements_are_refused_where_they_stand() {
    let mut log = shop(&[Admin, Writer]);
    second_device(&mut log, 2, 20);
    let cut = Cut::new([crate::id::CommitHash::new([7; 32])]).expect("one");
    let (base, member) = (heads(&log), member(&log, 3));
    says(&mut log, 1, &base, Body::RemoveMember { member, cut });
    says(&mut log, 1, &base, Body::SetRule { collection: collection("notes"), read: Reader, write: Admin });
    says(&mut log, 1, &base, Body::SetName { name: "Mine".to_owned() });

    for statement in log.statements() {
        let counts =
            crate::codec::numbers::check(statement.bytes(), |bytes| match Statement::decode(bytes) {
                Ok(statement) => Ok(statement.bytes().to_vec()),
                Err(AccessError::Codec(source)) => Err(source),
                Err(_) => Err(crate::codec::CodecError::Invalid { what: "statement" }),
            });
        assert!(counts >= 2, "what it follows, and its body at least: {:?}", statement.body());
    }
}

/// The digest was a sum of one hash for each statement, of 128 bits. A member that says a thousand things to one device
/// and a thousand others to another one can choose them so that the sums are equal: it takes two minutes, and the two
/// believe ever after that they agree, one with a removal and one without. Seen failing with that sum in `Log::digest`.
#[test]
fn what_a_statement_adds_to_the_digest_depends_on_all_others() {
    let log = shop(&[Writer]);
    let base = heads(&log);
    let digest_of = |kinds: &[u64]| {
        let mut log = log.clone();
        let before = log.digest();
        for kind in kinds {
            says(&mut log, 2, &base, Body::Other { kind: *kind, bytes: Vec::new() });
            assert_ne!(log.digest(), before);
        }
        u128::from_le_bytes(log.digest())
    };

    let [none, one, other, both] = [&[][..], &[1_001], &[1_003], &[1_001, 1_003]].map(digest_of);

    assert_ne!(one.wrapping_add(other), none.wrapping_add(both));
    assert_ne!(one ^ other, none ^ both);
    assert_eq!(digest_of(&[1_003, 1_001]), both);
}

/// Seen failing with nothing waiting in `Log::take`.
#[test]
fn attack_39_unknown_previous_statements_wait_and_a_cycle_waits_for_ever() {
    let mut log = shop(&[Writer]);
    let (base, digest) = (heads(&log), log.digest());
    let body = |kind| Body::Other { kind, bytes: Vec::new() };
    let first = forged(&log, 2, &base, body(1_001));
    let lamport = first.lamport() + 1;
    let second = Statement::sign(&identity(2), &log.space(), lamport, vec![first.hash()], body(1_003));
    let second = second.expect("small");
    // A hash cannot be named before it is known, so a cycle can only be made of hashes that nothing has.
    let dream =
        Statement::sign(&identity(2), &log.space(), 9, vec![StatementHash::new([9; 32])], body(1_001));

    assert_eq!(log.insert(dream.expect("small")), Ok(true));
    assert_eq!(log.insert(second.clone()), Ok(true));
    assert_eq!(log.insert(second.clone()), Ok(false));
    assert_eq!((log.waiting(), log.digest(), log.statement(&second.hash())), (2, digest, None));
    insert(&mut log, first);

    assert_eq!(log.waiting(), 1);
    assert_eq!(log.statement(&second.hash()), Some(&second));
    assert_eq!(heads(&log), base, "what does not count is not followed");
}

/// Seen failing without `Log::check_signer`.
#[test]
fn attack_39_statements_of_strangers_are_not_kept() {
    let mut log = shop(&[Writer]);
    let statement = forged(&log, 99, &heads(&log), Body::SetName { name: "Mine".to_owned() });

    assert_eq!(log.insert(statement), Err(AccessError::UnknownSigner));
}

/// Seen failing with `Membership::may_at` asking for the role that a device has now.
#[test]
fn attack_40d_a_malicious_empty_cut_changes_nothing_but_the_removal() {
    let (mut with, mut without) = (shop(&[Admin, Writer]), shop(&[Admin, Writer]));
    let (base, target) = (heads(&with), member(&with, 3));

    let cut = Cut::new([crate::id::CommitHash::new([7; 32])]).expect("one");
    says(&mut with, 2, &base, Body::RemoveMember { member: target, cut });
    says(&mut without, 2, &base, Body::RemoveMember { member: target, cut: Cut::default() });

    assert_eq!(with.membership().members(), without.membership().members());
    let tickets = collection("tickets");
    assert_eq!(with.membership().may_at(&peer(3), Action::Write, &tickets, &base), Ok(()));
}

#[test]
fn a_flipped_bit_another_space_and_another_signer_are_refused() {
    let mut log = shop(&[Writer]);
    let good = log.set_rule(&identity(1), &collection("notes"), Reader, Admin).expect("the owner");
    let mut other = Log::found(&identity(1), "Other", "m", "d", [1; 32]).expect("short").0;

    for bit in 0..good.bytes().len() * 8 {
        let mut bytes = good.bytes().to_vec();
        if let Some(byte) = bytes.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        let verdict = Statement::decode(&bytes).and_then(|statement| log.insert(statement));
        assert!(verdict.is_err(), "bit {bit}: {verdict:?}");
    }
    assert_eq!(
        other.insert(good.clone()),
        Err(AccessError::Identity(crate::identity::IdentityError::Signature))
    );
    let genesis = other.statements().next().expect("the genesis").clone();
    assert_eq!(log.insert(genesis), Err(AccessError::WrongSpace));
    assert_eq!(log.insert(good), Ok(true));
}
