//! Two and three devices come to hold the same.

use driftless::{Role, SyncStatus, Value};

use crate::common::{Pair, Ticket, agree, bounded, join, node, ticket};

#[tokio::test]
async fn offline_edits_on_both_sides_converge_and_nothing_is_lost() {
    let pair = Pair::open().await;
    let edited = pair.edited_apart(
        |ticket| {
            ticket.status = "ready".to_owned();
            ticket.notes.push_str("by a. ");
            ticket.minutes.increment(10);
        },
        |ticket| {
            ticket.status = "waiting".to_owned();
            ticket.notes.push_str("by b. ");
            ticket.minutes.increment(5);
        },
    );
    let id = edited.await;
    pair.meet().await;

    let on_a = pair.tickets_a.get(id).await.expect("read").expect("there");
    let on_b = pair.tickets_b.get(id).await.expect("read").expect("there");
    assert_eq!(on_a, on_b);
    assert_eq!(on_a.minutes.value(), 15);
    assert!(on_a.notes.as_str().contains("by a. ") && on_a.notes.as_str().contains("by b. "));
    let conflicts = pair.tickets_a.conflicts(id).await.expect("read");
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].field(), "status");
    let at_once = pair.tickets_a.get_with_conflicts(id).await.expect("read");
    assert_eq!(at_once, Some((on_a.clone(), conflicts.clone())));
    let shown = Value::Text(on_a.status.clone());
    assert_eq!(conflicts[0].values[0].value, shown);
    let mut authors: Vec<(Value, String)> = conflicts[0]
        .values
        .iter()
        .map(|value| (value.value.clone(), value.author.clone().expect("a member").device_name))
        .collect();
    authors.sort_by_key(|(_, device)| device.clone());
    let (ready, waiting) = (Value::Text("ready".to_owned()), Value::Text("waiting".to_owned()));
    assert_eq!(authors, [(ready, "a".to_owned()), (waiting, "b".to_owned())]);
    pair.close().await;
}

#[tokio::test]
async fn writing_the_field_settles_a_conflict_everywhere() {
    let pair = Pair::open().await;
    let edited =
        pair.edited_apart(|ticket| ticket.status = "x".to_owned(), |ticket| ticket.status = "y".to_owned());
    let id = edited.await;
    pair.meet().await;

    pair.tickets_b.update(id, |ticket: &mut Ticket| ticket.status = "z".to_owned()).await.expect("written");
    pair.agree().await;

    assert_eq!(pair.tickets_a.conflicts(id).await.expect("read"), []);
    assert_eq!(pair.tickets_a.get(id).await.expect("read").expect("there").status, "z");
    pair.close().await;
}

#[tokio::test]
async fn a_third_device_receives_through_the_second() {
    let pair = Pair::open_as(Role::Admin).await;
    let c = node(&pair.dir, "c").await;
    let space_c = join(&pair.space_b, &c, Role::Writer).await;
    pair.tickets_a.insert(&ticket("from a")).await.expect("written");
    let tickets_c = space_c.collection::<Ticket>().expect("a name");
    let id = tickets_c.insert(&ticket("from c")).await.expect("written");

    agree(&[&pair.space_a, &pair.space_b, &space_c], &[&pair.a, &pair.b, &c]).await;

    let title = |ticket: Option<Ticket>| ticket.map(|ticket| ticket.title);
    assert_eq!(title(pair.tickets_a.get(id).await.expect("read")), Some("from c".to_owned()));
    assert_eq!(tickets_c.all().await.expect("read").len(), 2);
    bounded(c.close()).await.expect("closes cleanly");
    pair.close().await;
}

#[tokio::test]
async fn spaces_share_one_connection() {
    let pair = Pair::open().await;
    let second_a = pair.a.create_space("Second shop").await.expect("founded");
    let second_b = join(&second_a, &pair.b, Role::Writer).await;
    agree(&[&second_a, &second_b], &[&pair.a, &pair.b]).await;
    pair.part().await;
    let (in_a, in_b) = (second_a.collection::<Ticket>(), second_b.collection::<Ticket>());
    let (in_a, in_b) = (in_a.expect("a name"), in_b.expect("a name"));
    let first = pair.tickets_a.insert(&ticket("in the first")).await.expect("written");
    let second = in_b.insert(&ticket("in the second")).await.expect("written");
    let before = pair.a.metrics().connections;

    pair.meet().await;
    agree(&[&second_a, &second_b], &[&pair.a, &pair.b]).await;

    assert_eq!(pair.a.metrics().connections, before + 1);
    assert!(pair.tickets_b.get(first).await.expect("read").is_some());
    assert!(in_a.get(second).await.expect("read").is_some());
    assert!(in_a.get(first).await.expect("read").is_none(), "the spaces stay apart");
    pair.close().await;
}

#[tokio::test]
async fn a_receipt_is_pending_until_another_device_has_it_on_disk() {
    let pair = Pair::open().await;
    pair.part().await;
    let id = pair.tickets_b.insert(&ticket("offline")).await.expect("written");
    let receipt =
        pair.tickets_b.update(id, |ticket: &mut Ticket| ticket.minutes.increment(1)).await.expect("written");
    assert!(receipt.is_pending().expect("read"));
    assert_eq!(receipt.entities(), [id]);
    assert_eq!(pair.tickets_b.sync_status(id).await.expect("read"), SyncStatus::Pending);
    assert_eq!(pair.space_b.status().await.expect("read").pending, 2);

    pair.b.resume().await.expect("open");
    bounded(receipt.stored_on(1)).await.expect("open");

    assert_eq!(receipt.devices().expect("read"), [pair.a.peer()]);
    assert!(!receipt.is_pending().expect("read"));
    let stored = SyncStatus::StoredOn(vec![pair.a.peer()]);
    assert_eq!(pair.tickets_b.sync_status(id).await.expect("read"), stored);
    assert_eq!(pair.tickets_a.sync_status(id).await.expect("read"), SyncStatus::NotChangedHere);
    assert_eq!(pair.space_b.status().await.expect("read").pending, 0);
    pair.close().await;
}

#[tokio::test]
async fn a_deleted_entity_stays_deleted_through_a_concurrent_edit_until_it_is_restored() {
    let pair = Pair::open().await;
    let id = pair.tickets_a.insert(&ticket("gone")).await.expect("written");
    pair.agree().await;
    pair.part().await;
    pair.tickets_a.delete(id).await.expect("written");
    pair.tickets_b.update(id, |ticket: &mut Ticket| ticket.minutes.increment(7)).await.expect("written");
    pair.meet().await;

    assert_eq!(pair.tickets_a.get(id).await.expect("read"), None);
    assert_eq!(pair.tickets_b.get(id).await.expect("read"), None);
    pair.tickets_b.restore(id).await.expect("written");
    pair.agree().await;

    assert_eq!(pair.tickets_a.get(id).await.expect("read").expect("restored").minutes.value(), 7);
    pair.close().await;
}
