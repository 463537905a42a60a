//! A device that was away when it was removed.

use super::*;
use crate::access::{Body, Role, Statement};

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
