//! Opening and closing.

use driftless::{Durability, Error, ErrorKind};

use crate::common::{Order, Ticket, bounded, builder, node, temp, ticket};

#[tokio::test]
async fn what_was_written_is_there_after_closing_and_opening_again() {
    let dir = temp();
    let first = node(&dir, "a").await;
    let space = first.create_space("shop").await.expect("founded");
    let id = space.collection::<Ticket>().expect("a name").insert(&ticket("kept")).await.expect("written");
    let (peer, fingerprint) = (first.peer(), space.fingerprint().await.expect("read"));
    bounded(first.close()).await.expect("closes cleanly");

    let second = node(&dir, "a").await;
    let space = second.space(space.id()).expect("kept");

    assert_eq!(second.peer(), peer);
    assert_eq!(space.name(), "shop");
    assert_eq!(space.fingerprint().await.expect("read"), fingerprint);
    let tickets = space.collection::<Ticket>().expect("a name");
    assert_eq!(tickets.get(id).await.expect("read").map(|t| t.title), Some("kept".to_owned()));
    bounded(second.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn two_nodes_do_not_share_a_directory() {
    let dir = temp();
    let first = node(&dir, "a").await;

    let second = bounded(builder(&dir.path().join("a")).open()).await.expect_err("in use");

    assert!(matches!(second, Error::Locked { .. }), "{second:?}");
    assert_eq!(second.kind(), ErrorKind::Unavailable);
    bounded(first.close()).await.expect("closes cleanly");
    let third = node(&dir, "a").await;
    bounded(third.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn handles_of_a_closed_node_say_so() {
    let dir = temp();
    let node = node(&dir, "a").await;
    let space = node.create_space("shop").await.expect("founded");
    let tickets = space.collection::<Ticket>().expect("a name");
    let id = tickets.insert(&ticket("x")).await.expect("written");
    let receipt =
        tickets.update(id, |ticket: &mut Ticket| ticket.minutes.increment(1)).await.expect("written");
    let mut events = space.events();
    let mut changes = tickets.changes().await.expect("open");
    bounded(changes.next()).await.expect("open").expect("a snapshot");
    let waits = tokio::spawn(async move { receipt.stored_on(1).await });

    bounded(node.close()).await.expect("closes cleanly");
    bounded(node.close()).await.expect("closing again does nothing");

    assert!(matches!(tickets.get(id).await, Err(Error::Closed)));
    assert!(matches!(tickets.insert(&ticket("y")).await, Err(Error::Closed)));
    assert!(matches!(node.create_space("z").await, Err(Error::Closed)));
    assert!(matches!(node.sync_now().await, Err(Error::Closed)));
    assert!(matches!(bounded(waits).await.expect("no panic"), Err(Error::Closed)));
    assert_eq!(bounded(events.next()).await, None);
    assert!(bounded(changes.next()).await.is_none());
}

#[tokio::test]
async fn a_dropped_node_frees_its_directory_by_and_by() {
    let dir = temp();
    let space = node(&dir, "a").await.create_space("shop").await.expect("founded");
    let id = space.collection::<Ticket>().expect("a name").insert(&ticket("kept")).await.expect("written");
    let shop = space.id();
    drop(space);

    let again = bounded(async {
        loop {
            match builder(&dir.path().join("a")).open().await {
                Ok(node) => break node,
                Err(Error::Locked { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let again = again.await;

    let tickets = again.space(shop).expect("kept").collection::<Ticket>().expect("a name");
    assert!(tickets.get(id).await.expect("read").is_some());
    bounded(again.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn written_is_enough_when_the_app_says_so() {
    let dir = temp();
    let open = builder(&dir.path().join("a")).durability(Durability::Written).open();
    let node = bounded(open).await.expect("fresh");
    let orders = node.create_space("shop").await.expect("founded").collection::<Order>().expect("a name");

    let id = orders.insert(&Order { total: 1 }).await.expect("written");

    assert_eq!(orders.get(id).await.expect("read"), Some(Order { total: 1 }));
    bounded(node.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn a_damaged_device_key_is_named() {
    let dir = temp();
    let node = node(&dir, "a").await;
    let path = node.path().to_owned();
    bounded(node.close()).await.expect("closes cleanly");
    std::fs::write(path.join("device.key"), "nonsense").expect("written");

    let error = bounded(builder(&path).open()).await.expect_err("damaged");

    assert!(matches!(&error, Error::Key { damaged: true, .. }), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}
