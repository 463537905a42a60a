//! Subscriptions: a snapshot, then every change.

use driftless::{ChangeKind, Role, SpaceEvent, Update};

use crate::common::{Pair, Ticket, bounded, join, node, ticket};

#[tokio::test]
async fn a_subscriber_sees_a_snapshot_then_every_change_in_order() {
    let pair = Pair::open().await;
    let first = pair.tickets_a.insert(&ticket("first")).await.expect("written");

    let mut changes = pair.tickets_a.changes().await.expect("open");
    pair.tickets_a.update(first, |ticket: &mut Ticket| ticket.minutes.increment(1)).await.expect("written");
    let second = pair.tickets_a.insert(&ticket("second")).await.expect("written");
    pair.tickets_a.delete(first).await.expect("written");
    pair.tickets_a.restore(first).await.expect("written");

    let Some(Ok(Update::Snapshot(rows))) = bounded(changes.next()).await else { panic!("a snapshot first") };
    assert_eq!(rows, [(first, ticket("first"))]);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let Some(Ok(Update::Changed(changed))) = bounded(changes.next()).await else { panic!("a change") };
        seen.extend(changed.into_iter().map(|change| (change.id, change.kind, change.value.is_some())));
    }
    assert_eq!(
        seen,
        [
            (first, ChangeKind::Updated, true),
            (second, ChangeKind::Inserted, true),
            (first, ChangeKind::Deleted, false),
            (first, ChangeKind::Restored, true),
        ]
    );
    pair.close().await;
}

#[tokio::test]
async fn a_subscriber_that_falls_behind_gets_a_new_snapshot() {
    let pair = Pair::open().await;
    pair.part().await;
    let id = pair.tickets_a.insert(&ticket("busy")).await.expect("written");
    let mut changes = pair.tickets_a.changes().await.expect("open");
    let Some(Ok(Update::Snapshot(_))) = bounded(changes.next()).await else { panic!("a snapshot first") };

    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..driftless::limits::EVENTS_BUFFER_MAX + 10 {
        let tickets = pair.tickets_a.clone();
        writers.spawn(
            async move { tickets.update(id, |ticket: &mut Ticket| ticket.minutes.increment(1)).await },
        );
    }
    while let Some(written) = bounded(writers.join_next()).await {
        written.expect("no panic").expect("written");
    }

    let Some(Ok(Update::Snapshot(rows))) = bounded(changes.next()).await else { panic!("a new snapshot") };
    let minutes = driftless::limits::EVENTS_BUFFER_MAX as i64 + 10;
    assert_eq!(rows[0].1.minutes.value(), minutes);
    pair.close().await;
}

#[tokio::test]
async fn a_conflict_and_a_new_member_are_events_of_the_space() {
    let pair = Pair::open().await;
    let edited =
        pair.edited_apart(|ticket| ticket.status = "x".to_owned(), |ticket| ticket.status = "y".to_owned());
    let id = edited.await;
    let mut events = pair.space_a.events();
    pair.meet().await;

    let conflict = bounded(async {
        loop {
            if let SpaceEvent::Conflict { id, conflict, .. } = events.next().await.expect("open") {
                break (id, conflict);
            }
        }
    });
    let (entity, conflict) = conflict.await;
    assert_eq!((entity, conflict.field()), (id, "status".to_owned()));
    assert_eq!(conflict.values.len(), 2);

    let c = node(&pair.dir, "c").await;
    join(&pair.space_a, &c, Role::Reader).await;
    bounded(async { while events.next().await.expect("open") != SpaceEvent::Members {} }).await;
    bounded(c.close()).await.expect("closes cleanly");
    pair.close().await;
}
