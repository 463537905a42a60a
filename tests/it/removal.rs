//! Being removed, and erasing, over real connections.

use driftless::{ConnectionState, Error, ErrorKind, Events, Node, Role, Space, SpaceEvent, WhenRemoved};

use crate::common::{Pair, Ticket, bounded, builder, join, ticket};

#[tokio::test]
async fn a_device_that_returns_after_its_removal_gets_nothing_and_changes_nothing() {
    let pair = Pair::open().await;
    let id = pair.tickets_a.insert(&ticket("shared")).await.expect("written");
    pair.agree().await;
    pair.part().await;
    let mine = pair.tickets_b.insert(&ticket("mine")).await.expect("written offline");
    pair.tickets_b.update(id, |ticket| ticket.title = "hijacked".to_owned()).await.expect("written offline");
    let member = remove_b(&pair).await;
    let after = pair.tickets_a.insert(&ticket("after")).await.expect("written");

    let (mut peers, mut events) = (pair.b.watch_peers(), pair.space_b.events());
    pair.b.resume().await.expect("open");
    let turned_away = peers.until(pair.a.peer(), |peer| {
        matches!(&peer.state, ConnectionState::Reconnecting { .. } | ConnectionState::Failed { .. })
            || matches!(&peer.state, ConnectionState::Disconnected { reason } if !reason.is_empty())
    });
    bounded(turned_away).await.expect("open");
    pair.b.sync_now().await.expect("open");

    assert_eq!(pair.tickets_a.get(mine).await.expect("read"), None);
    let shared = pair.tickets_a.get(id).await.expect("read").expect("there");
    assert_eq!(shared.title, "shared");
    assert_eq!(pair.tickets_b.get(after).await.expect("read"), None);
    assert_eq!(pair.a.metrics().commits_remote, 0);
    assert!(pair.space_a.members().iter().any(|other| other.id == member && other.removed));
    // It was away when it was removed, and is told that and nothing else.
    bounded(until(&mut events, &SpaceEvent::Removed)).await;
    assert_eq!(pair.space_b.role(), None);
    pair.close().await;
}

#[tokio::test]
async fn a_device_hears_of_its_removal_and_writing_says_so() {
    let pair = Pair::open().await;
    let id = pair.tickets_b.insert(&ticket("mine")).await.expect("written");
    pair.agree().await;
    let mut events = pair.space_b.events();

    remove_b(&pair).await;
    bounded(until(&mut events, &SpaceEvent::Removed)).await;

    assert_eq!(pair.space_b.role(), None);
    assert_eq!(pair.tickets_b.get(id).await.expect("read").map(|t| t.title), Some("mine".to_owned()));
    let denied = pair.tickets_b.insert(&ticket("no")).await.expect_err("removed");
    assert!(
        matches!(&denied, Error::Denied { rule, .. } if rule == "this device was removed from the space")
    );
    assert_eq!(denied.kind(), ErrorKind::Denied);
    pair.close().await;
}

#[tokio::test]
async fn a_device_that_wants_it_so_erases_the_space_when_it_hears_of_its_removal() {
    let Pair { a, b, space_a, space_b, tickets_a, tickets_b, dir } = Pair::open().await;
    tickets_a.insert(&ticket("secret")).await.expect("written");
    crate::common::agree(&[&space_a, &space_b], &[&a, &b]).await;
    bounded(b.close()).await.expect("closes cleanly");
    drop((space_b, tickets_b));
    let eraser = builder(&dir.path().join("b")).when_removed(WhenRemoved::Erase);
    let b = bounded(eraser.clone().open()).await.expect("its directory");
    let space_b = b.spaces().into_iter().next().expect("still a member");
    let tickets_b = space_b.collection::<Ticket>().expect("a name");
    assert_eq!(tickets_b.all().await.expect("read").len(), 1);
    let mut events = space_b.events();
    let mut changes = tickets_b.changes().await.expect("open");
    let mut peers = b.watch_peers();
    let met = peers.until(a.peer(), |peer| peer.in_sync.contains(&space_a.id()));
    bounded(met).await.expect("open");

    let member = space_a.members().into_iter().find(|member| member.role == Role::Writer).expect("b").id;
    space_a.remove_member(member).await.expect("an owner");
    bounded(until(&mut events, &SpaceEvent::Removed)).await;
    bounded(until(&mut events, &SpaceEvent::Erased)).await;

    assert_eq!(bounded(events.next()).await, None);
    while bounded(changes.next()).await.is_some() {}
    check_gone(&b, &space_b).await;
    let unknown = tickets_b.all().await.expect_err("erased");
    assert!(matches!(unknown, Error::UnknownSpace { .. }), "{unknown:?}");
    bounded(b.close()).await.expect("closes cleanly");
    let again = bounded(eraser.open()).await.expect("its directory");
    assert_eq!(again.spaces(), []);

    // Let in again, it fetches all and repeats nothing that it once said.
    let space = join(&space_a, &again, Role::Writer).await;
    let tickets = space.collection::<Ticket>().expect("a name");
    tickets.insert(&ticket("back")).await.expect("a member again");
    crate::common::agree(&[&space_a, &space], &[&a, &again]).await;
    assert_eq!(tickets.all().await.expect("read").len(), 2);
    assert_eq!(tickets_a.all().await.expect("read").len(), 2);
    bounded(again.close()).await.expect("closes cleanly");
    bounded(a.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn a_member_that_erases_a_space_leaves_the_others_and_its_other_spaces_alone() {
    let pair = Pair::open().await;
    let own = pair.b.create_space("own").await.expect("founded");
    let kept = own.collection::<Ticket>().expect("a name");
    kept.insert(&ticket("kept")).await.expect("written");
    pair.tickets_b.insert(&ticket("by b")).await.expect("written");
    pair.agree().await;

    pair.space_b.erase().await.expect("here");

    assert_eq!(pair.b.spaces(), std::slice::from_ref(&own));
    let twice = pair.space_b.erase().await.expect_err("gone");
    assert_eq!(twice.kind(), ErrorKind::NotFound);
    assert_eq!(pair.tickets_a.all().await.expect("read").len(), 1);
    assert_eq!(kept.all().await.expect("read").len(), 1);
    let denied = pair.tickets_b.insert(&ticket("no")).await.expect_err("erased");
    assert_eq!(denied.kind(), ErrorKind::NotFound);
    pair.close().await;
}

/// Removes the second device's member.
async fn remove_b(pair: &Pair) -> driftless::MemberId {
    let member = pair.space_a.members().into_iter().find(|member| member.role == Role::Writer);
    let member = member.expect("b").id;
    pair.space_a.remove_member(member).await.expect("an owner");
    member
}

async fn until(events: &mut Events, wanted: &SpaceEvent) {
    while events.next().await.expect("open") != *wanted {}
}

async fn check_gone(node: &Node, space: &Space) {
    assert_eq!(node.spaces(), []);
    let state = space.fingerprint().await.expect_err("erased");
    assert_eq!(state.kind(), ErrorKind::NotFound, "{state}");
}
