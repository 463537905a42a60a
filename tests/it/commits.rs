//! Commits over several entities.

use driftless::{EntityId, Error, ErrorKind, Update};

use crate::common::{Order, Pair, Ticket, bounded, ticket};

#[tokio::test]
async fn a_commit_over_two_collections_reaches_a_peer_whole() {
    let pair = Pair::open().await;
    let estimate = pair.tickets_a.insert(&ticket("estimate")).await.expect("written");
    pair.agree().await;
    let orders_b = pair.space_b.collection::<Order>().expect("a name");
    let mut changes = orders_b.changes().await.expect("open");
    let Some(Ok(Update::Snapshot(before))) = bounded(changes.next()).await else {
        panic!("a snapshot first")
    };
    assert_eq!(before, []);

    let order = EntityId::derived(estimate, "order");
    let receipt = pair.space_a.commit(|tx| {
        tx.delete::<Ticket>(estimate)?;
        tx.insert_with_id(order, &Order { total: 4_900 })
    });
    let receipt = receipt.await.expect("written");
    bounded(receipt.stored_on(1)).await.expect("open");

    let Some(Ok(Update::Changed(changed))) = bounded(changes.next()).await else { panic!("then the change") };
    assert_eq!((changed[0].id, changed[0].value.clone()), (order, Some(Order { total: 4_900 })));
    assert_eq!(changed[0].from, Some(pair.a.peer()));
    assert_eq!(pair.tickets_b.get(estimate).await.expect("read"), None);
    assert_eq!(receipt.entities(), [estimate, order]);
    pair.close().await;
}

#[tokio::test]
async fn a_commit_that_fails_in_part_changes_nothing() {
    let pair = Pair::open().await;
    let there = pair.tickets_a.insert(&ticket("there")).await.expect("written");
    let missing = EntityId::from_key("ticket", b"missing");
    let before = pair.space_a.fingerprint().await.expect("read");

    let failed = pair.space_a.commit(|tx| {
        tx.update(there, |ticket: &mut Ticket| ticket.minutes.increment(1))?;
        tx.insert(&Order { total: 1 })?;
        tx.update(missing, |ticket: &mut Ticket| ticket.minutes.increment(1))
    });
    let failed = failed.await.expect_err("one of them is missing");

    assert_eq!(failed.kind(), ErrorKind::NotFound, "{failed}");
    assert_eq!(pair.space_a.fingerprint().await.expect("read"), before);
    assert_eq!(pair.tickets_a.get(there).await.expect("read").expect("there").minutes.value(), 0);
    pair.close().await;
}

#[tokio::test]
async fn a_closure_that_panics_ends_its_commit_and_nothing_else() {
    let pair = Pair::open().await;
    let id = pair.tickets_a.insert(&ticket("there")).await.expect("written");

    let failed = pair.tickets_a.update(id, |_: &mut Ticket| panic!("an app's fault")).await;

    assert!(matches!(failed, Err(Error::Abandoned { .. })), "{failed:?}");
    pair.tickets_a.update(id, |ticket: &mut Ticket| ticket.minutes.increment(3)).await.expect("written");
    assert_eq!(pair.tickets_a.get(id).await.expect("read").expect("there").minutes.value(), 3);
    pair.close().await;
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let pair = Pair::open().await;
    let id = pair.tickets_a.insert(&ticket("same")).await.expect("written");
    let before = pair.a.metrics().commits_local;

    let receipt = pair.tickets_a.update(id, |_: &mut Ticket| {}).await.expect("nothing to do");

    assert_eq!(pair.a.metrics().commits_local, before);
    assert!(!receipt.is_pending().expect("read"));
    bounded(receipt.stored_on(5)).await.expect("stored everywhere at once");
    pair.close().await;
}

#[tokio::test]
async fn writers_beside_each_other_share_the_syncs_of_the_disk() {
    let pair = Pair::open().await;
    pair.part().await;
    let before = pair.a.metrics();

    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..64 {
        let tickets = pair.tickets_a.clone();
        writers.spawn(async move { tickets.insert(&ticket(&format!("{writer}"))).await });
    }
    while let Some(written) = bounded(writers.join_next()).await {
        written.expect("no panic").expect("written");
    }

    let after = pair.a.metrics();
    assert_eq!(after.commits_local - before.commits_local, 64);
    assert_eq!(after.commits_synced - before.commits_synced, 64);
    assert!(after.disk_syncs - before.disk_syncs < 64, "{} syncs", after.disk_syncs - before.disk_syncs);
    pair.close().await;
}
