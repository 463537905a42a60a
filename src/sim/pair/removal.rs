//! A device that was away when it was removed.

use std::collections::BTreeSet;

use super::*;
use crate::access::{Body, Log, Role, Statement};
use crate::exchange::ShortsKey;

#[test]
fn a_device_that_was_removed_while_it_was_away_is_told_that_and_nothing_else() {
    let mut pair = Pair::agreed(3);
    let (space, bench) = (pair.space, pair.parties[1].peer());
    let desk = &mut pair.parties[0].replica;
    desk.remove_device(at(0), space, bench).expect("an owner may");
    let secret = CollectionName::new("wages").expect("a name");
    desk.set_rule(at(0), space, &secret, Role::Admin, Role::Admin).expect("an owner may");
    pair.insert(0, 10..12);
    pair.edit_unheard(1, 1);
    pair.said = Some(Vec::new());
    pair.connect_from(1);
    pair.talk_out(60_000);

    let said = pair.said.take().expect("it was kept").into_iter();
    let said: Vec<Message> =
        said.filter_map(|(_, frame)| Message::from_frame(&frame).expect("it was sent")).collect();
    let mut shown = Vec::new();
    for message in said {
        if let Message::Introduce(introduction) = message {
            shown.extend(introduction.statements);
        } else {
            assert!(
                matches!(message, Message::Farewell(_)),
                "{message:?} was sent to a device that was removed"
            );
        }
    }
    let bodies: Vec<Body> =
        shown.iter().map(|bytes| Statement::decode(bytes).expect("it counts").body().clone()).collect();
    assert!(bodies.iter().any(|body| matches!(body, Body::RemoveDevice { .. })), "{bodies:?}");
    assert!(!bodies.iter().any(|body| matches!(body, Body::SetRule { .. })), "{bodies:?}");
    let belongs =
        |party: &Party| party.replica.membership(&space).is_some_and(|all| all.role(&bench).is_some());
    assert!(!belongs(&pair.parties[1]), "it knows");
    assert_eq!(pair.status(0, 11).as_deref(), Some("open"));
    assert_eq!(pair.status(1, 11), None);
    assert!(pair.parties[0].refused.iter().all(|reason| reason == "no space in common"));
}

/// Seen failing with `shared_with` and `is_shared` asking for the peer alone: the device named the space again, and was
/// shown again why it is turned away.
#[test]
fn who_learned_of_its_removal_asks_no_more() {
    let mut pair = Pair::agreed(1);
    let (space, bench) = (pair.space, pair.parties[1].peer());
    pair.parties[0].replica.remove_device(at(0), space, bench).expect("an owner may");
    pair.connect_from(1);
    pair.talk_out(1_000);
    pair.part();
    pair.said = Some(Vec::new());
    pair.connect_from(1);
    pair.talk_out(60_000);

    let said = pair.said.take().expect("it was kept").into_iter();
    let said: Vec<Option<Message>> =
        said.map(|(_, frame)| Message::from_frame(&frame).expect("it was sent")).collect();
    assert!(
        said.iter().all(|message| matches!(message, Some(Message::Farewell(_)))),
        "nothing is said of the space any more: {said:?}"
    );
}

/// What the desk does, or hears, that ends the membership of the bench.
fn removals() -> [fn(&mut Pair); 3] {
    let by_device = |pair: &mut Pair| {
        let (space, bench) = (pair.space, pair.parties[1].peer());
        pair.parties[0].replica.remove_device(at(pair.now_ms), space, bench).expect("an owner may");
    };
    let by_member = |pair: &mut Pair| {
        let (space, bench) = (pair.space, pair.parties[1].peer());
        let membership = pair.parties[0].replica.membership(&space).expect("here");
        let member = membership.member_of(&bench).expect("a member").id;
        pair.parties[0].replica.remove_member(at(pair.now_ms), space, member).expect("an owner may");
    };
    // The bench itself tells that it leaves.
    let by_itself = |pair: &mut Pair| {
        let (space, bench) = (pair.space, pair.parties[1].peer());
        let ask = Ask::Statements { space, key: ShortsKey::default(), given: Vec::new(), known: Vec::new() };
        let answer = pair.parties[0].replica.answer(at(pair.now_ms), ask);
        let Answer::Statements(statements) = answer else { panic!("statements") };
        let statements = statements.iter().map(|bytes| Statement::decode(bytes).expect("a statement"));
        let log = Log::from_statements(space, statements).expect("a log");
        let leaving = log.remove_device(&Identity::from_seed([2; 32]), bench).expect("its own device");
        let ask = Ask::Learn { space, from: bench, statements: vec![leaving.bytes().to_vec()] };
        let answer = pair.parties[0].replica.answer(at(pair.now_ms), ask);
        assert!(matches!(answer, Answer::Learned { new: 1, offence: None }), "{answer:?}");
    };
    [by_device, by_member, by_itself]
}

/// Adversarial 8, of which a second is allowed: the connection is closed without any time passing, while the peer reads
/// nothing and owes answers, and nothing more is said to it than why. Seen failing without the call of `part` in
/// `Engine::space_changed`.
#[test]
fn attack_8_a_removed_device_is_closed_in_the_very_turn_in_which_its_removal_is_applied() {
    for remove in removals() {
        let mut pair = Pair::agreed(3);
        pair.connect_from(1);
        pair.talk_out(1_000);
        assert!(pair.is_agreed());
        pair.deaf = Some(1);
        pair.insert(0, 10..12);
        pair.said = Some(Vec::new());
        let (conn, before) = (pair.conn.expect("connected"), pair.now_ms);

        remove(&mut pair);
        pair.forward();

        assert_eq!(
            (pair.parties[0].refused.as_slice(), pair.now_ms),
            (&["no space in common".to_owned()][..], before)
        );
        let said = pair.said.take().expect("it was kept").into_iter();
        let said: Vec<Message> =
            said.filter_map(|(_, frame)| Message::from_frame(&frame).expect("it was sent")).collect();
        assert!(matches!(said.as_slice(), [Message::Statements(_), Message::Farewell(_)]), "{said:?}");
        // Whatever it says from then on is not heard, and whatever happens is not told to it.
        pair.said = Some(Vec::new());
        let shorts = Message::Shorts(crate::wire::Shorts { slot: 1, shorts: Vec::new() });
        pair.event(0, Event::Frame { conn, bytes: shorts.to_frame() });
        pair.insert(0, 12..14);
        pair.talk_out(600_000);
        assert_eq!(pair.said.take().expect("it was kept"), []);
    }
}

/// Adversarial 49: a device of which the disk is put back to before its removal, week after week, while all are restarted
/// and the space goes on. It is told each time that it was removed, by the same words, and nothing else; and what it
/// wrote meanwhile comes in by nobody. Seen failing with `Engine::spaces_named` looking among all spaces.
#[test]
fn attack_49_a_removed_device_that_asks_again_week_after_week_is_told_the_same_and_no_more() {
    const WEEK_MS: u64 = 7 * 24 * 3_600_000;
    let mut pair = Pair::agreed(3);
    let (space, bench) = (pair.space, pair.parties[1].peer());
    let yesterday = pair.parties[1].memory.snapshot();
    pair.parties[0].replica.remove_device(at(0), space, bench).expect("an owner may");
    pair.forward();
    let mut told: Vec<Vec<Vec<u8>>> = Vec::new();

    for week in 1..=8 {
        pair.now_ms += WEEK_MS;
        pair.parties[0].restart(None);
        pair.parties[1].restart(Some(&yesterday));
        pair.forward();
        pair.insert(0, 100 * week..100 * week + 2);
        pair.edit_unheard(1, 1);
        pair.said = Some(Vec::new());
        pair.connect_from((week % 2) as usize);
        pair.talk_out(60_000);
        pair.part();

        let said = pair.said.take().expect("it was kept").into_iter();
        let said: Vec<Message> =
            said.filter_map(|(_, frame)| Message::from_frame(&frame).expect("it was sent")).collect();
        let mut shown = Vec::new();
        for message in said {
            if let Message::Introduce(introduction) = message {
                shown.push(introduction.statements.concat());
            } else if let Message::Hello(hello) = message {
                assert_eq!(hello.openings, []);
            } else {
                assert!(matches!(message, Message::Farewell(_)), "{message:?} in week {week}");
            }
        }
        told.push(shown);
        assert_eq!(pair.status(1, 100 * week), None);
        assert_eq!(pair.status(0, 1).as_deref(), Some("open"), "what it wrote does not come in");
        assert_eq!(pair.status(0, 100 * week).as_deref(), Some("open"), "the desk goes on");
    }

    assert!(told.iter().any(|shown| !shown.is_empty()), "it is told why");
    let all: BTreeSet<&Vec<u8>> = told.iter().flatten().collect();
    assert_eq!(all.len(), 1, "by the same words every week");
}
