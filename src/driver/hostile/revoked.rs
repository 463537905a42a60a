//! Devices that were removed and write on, with somebody who helps them.

use super::*;
use crate::access::Cut;
use crate::wire::Statements;

/// Without the call of `judge` in `Replica::take_once` the second was applied: it names a position at which its
/// author was a member, and a member delivers it.
#[tokio::test]
async fn attack_36_what_a_removed_device_dates_back_does_not_count_whoever_delivers_it() {
    let scene = Scene::open().await;
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let friend = scene.attacker(67, Role::Writer).await;
    let mut wire = scene.greet(&mallory).await;
    wire.live(&mallory.insertion(EntityId::new([8; 16]), "in time")).await.expect("a member's commit");
    let (space, device) = (scene.space, mallory.peer());
    let call =
        scene.victim.call(Until::Synced, move |turn| turn.replica.remove_device(turn.now, space, device));
    bounded(call).await.expect("an owner may");
    let mut wire = scene.greet(&friend).await;

    let late = mallory.insertion(EntityId::new([9; 16]), "of the past");
    wire.live(&late).await.expect("held, not refused");

    assert_eq!(scene.reason(mallory.peer()), HeldReason::AfterCut);
    let title =
        |entity: u8| read(&scene.victim, space, EntityId::new([entity; 16])).map(|ticket| ticket.title);
    assert_eq!((title(8), title(9)), (Some("in time".to_owned()), None));
    assert_eq!(late.at, mallory.heads(), "it names a position at which it was allowed");
    scene.close().await;
}

/// Attack 40b over connections: the commit came first, and its author is removed by somebody who has not seen it.
/// Seen failing without the call of `take_back` in `Replica::adopt`.
#[tokio::test]
async fn attack_40b_what_came_before_the_removal_is_taken_back_when_the_remover_had_not_seen_it() {
    let scene = Scene::open().await;
    let admin = scene.attacker(67, Role::Admin).await;
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let mut wire = scene.greet(&mallory).await;
    wire.live(&mallory.insertion(EntityId::new([8; 16]), "unseen")).await.expect("a member's commit");
    scene.agree().await;
    let log = mallory.log.as_ref().expect("let in");
    let heads = log.membership().heads().to_vec();
    let removal = log.remove_device_at(&admin.identity, mallory.peer(), &heads, Cut::default()).expect("may");
    let mut wire = scene.greet(&admin).await;

    let statements = vec![removal.bytes().to_vec()];
    wire.send(&Message::Statements(Statements { slot: SLOT, statements })).await;
    let count = log.statements().count() + 1;
    let has = |message: &Message| matches!(message, Message::Shorts(shorts) if shorts.shorts.len() == count);
    wire.until(has).await.expect("an admin may");

    assert_eq!(read(&scene.victim, scene.space, EntityId::new([8; 16])), None);
    assert_eq!(scene.reason(mallory.peer()), HeldReason::AfterCut);
    scene.agree().await;
    assert_eq!(read(&scene.honest, scene.space, EntityId::new([8; 16])), None);
    scene.close().await;
}
