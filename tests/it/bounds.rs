//! Wrong arguments are refused by value, and handles can be sent anywhere.

use driftless::limits::{BACKOFF_STEPS_MAX, PAGE_ROWS_MAX};
use driftless::{Deserialize, Entity, EntityId, Error, ErrorKind, Hydrate, Invite, Node, Reconcile, Role};
use driftless::{Serialize, SpaceId};

use crate::common::{Order, bounded, builder, node, temp, ticket};

#[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
struct Unnamed {
    text: String,
}

impl Entity for Unnamed {
    const COLLECTION: &'static str = "";
    const VERSION: u32 = 1;
}

#[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
struct OtherOrder {
    text: String,
}

impl Entity for OtherOrder {
    const COLLECTION: &'static str = "orders";
    const VERSION: u32 = 1;
}

#[tokio::test]
async fn names_are_neither_empty_nor_long() {
    let dir = temp();
    let node = node(&dir, "a").await;

    let empty = node.create_space("  ").await.expect_err("empty");
    let long = node.create_space(&"x".repeat(129)).await.expect_err("long");
    let control = node.create_space("a\nb").await.expect_err("control");
    let member = Node::builder(dir.path().join("b")).member("").open().await.expect_err("empty");

    assert!(matches!(empty, Error::Invalid { what: "space name", .. }), "{empty:?}");
    assert!(matches!(long, Error::TooLarge { what: "space name", count: 129, max: 128 }), "{long:?}");
    assert!(matches!(control, Error::Invalid { what: "space name", .. }), "{control:?}");
    assert!(matches!(member, Error::Invalid { what: "member name", .. }), "{member:?}");
    bounded(node.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn collections_have_names_and_one_type() {
    let dir = temp();
    let node = node(&dir, "a").await;
    let space = node.create_space("shop").await.expect("founded");

    let unnamed = space.collection::<Unnamed>().expect_err("no name");
    space.collection::<Order>().expect("a name");
    let other = space.collection::<OtherOrder>().expect_err("in use");

    assert!(matches!(unnamed, Error::Invalid { what: "collection name", .. }), "{unnamed:?}");
    assert!(matches!(other, Error::Invalid { what: "collection", .. }), "{other:?}");
    bounded(node.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn an_entity_is_created_once_and_changed_while_it_is_there() {
    let dir = temp();
    let node = node(&dir, "a").await;
    let orders = node.create_space("shop").await.expect("founded").collection::<Order>().expect("a name");
    let id = EntityId::from_key("order", b"1");
    orders.insert_with_id(id, &Order { total: 1 }).await.expect("fresh");

    let again = orders.insert_with_id(id, &Order { total: 2 }).await.expect_err("there");
    orders.delete(id).await.expect("there");
    let changed = orders.update(id, |order: &mut Order| order.total = 3).await.expect_err("deleted");
    let missing = orders.delete(EntityId::from_key("order", b"2")).await.expect_err("missing");

    assert!(matches!(again, Error::Exists { .. }), "{again:?}");
    assert!(matches!(changed, Error::Deleted { .. }), "{changed:?}");
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    bounded(node.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn a_commit_names_each_entity_once_and_not_too_many() {
    let dir = temp();
    let node = node(&dir, "a").await;
    let space = node.create_space("shop").await.expect("founded");
    let id = EntityId::from_key("order", b"1");

    let twice = space.commit(|tx| {
        tx.insert_with_id(id, &Order { total: 1 })?;
        tx.delete::<Order>(id)
    });
    let twice = twice.await.expect_err("twice");
    let many = space.commit(|tx| {
        for total in 0..=driftless::limits::COMMIT_LEAVES_MAX {
            tx.insert(&Order { total: total as i64 })?;
        }
        Ok(())
    });
    let many = many.await.expect_err("too many");
    let nothing = space.commit(|_| Ok(())).await.expect("nothing to do");

    assert!(matches!(twice, Error::Invalid { what: "commit", .. }), "{twice:?}");
    assert!(matches!(many, Error::TooLarge { count: 1_025, max: 1_024, .. }), "{many:?}");
    assert_eq!(nothing.entities(), []);
    bounded(node.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn peers_and_backoff_are_checked() {
    let dir = temp();
    let node = node(&dir, "a").await;
    let other = driftless::PeerId::new([7; 32]);

    let itself = node.add_peer(node.peer(), ["127.0.0.1:1"]).await.expect_err("itself");
    let address = node.add_peer(other, ["nowhere"]).await.expect_err("no port");
    let steps = builder(&dir.path().join("b")).backoff_ms([]).open().await.expect_err("no steps");
    let backoff = |steps: usize| builder(&dir.path().join("b")).backoff_ms(vec![20; steps]).open();
    let many = backoff(BACKOFF_STEPS_MAX + 1).await.expect_err("too many steps");
    let most = backoff(BACKOFF_STEPS_MAX).await.expect("as many as it takes");
    bounded(most.close()).await.expect("closes cleanly");
    let space = node.space(SpaceId::new([9; 32])).expect_err("unknown");

    assert!(matches!(itself, Error::Invalid { what: "peer", .. }), "{itself:?}");
    assert!(matches!(address, Error::Invalid { what: "address", .. }), "{address:?}");
    for steps in [steps, many] {
        assert!(matches!(steps, Error::Invalid { what: "backoff", .. }), "{steps:?}");
    }
    assert!(matches!(space, Error::UnknownSpace { .. }), "{space:?}");
    bounded(node.close()).await.expect("closes cleanly");
}

#[test]
fn a_text_that_is_no_invite_is_told_so() {
    let parse = |text: &str| text.parse::<Invite>().map(drop).map_err(|error| Error::from(error).kind());

    assert_eq!(parse(""), Err(ErrorKind::Invalid));
    assert_eq!(parse("https://example.org/invite"), Err(ErrorKind::Invalid));
    assert_eq!(parse(&"drift1".repeat(1_000)), Err(ErrorKind::Invalid));
}

/// Seen failing with four times as many in `Collection::page`.
#[tokio::test]
async fn a_page_has_so_many_rows_whatever_is_asked_for() {
    let dir = temp();
    let node = node(&dir, "a").await;
    let space = node.create_space("shop").await.expect("founded");
    let orders = space.collection::<Order>().expect("a name");
    let most = i64::try_from(PAGE_ROWS_MAX).expect("few");
    let filled = space.commit(|tx| (0..most).try_for_each(|total| tx.insert(&Order { total }).map(drop)));
    filled.await.expect("written");
    orders.insert(&Order { total: 0 }).await.expect("written");

    let first = orders.page(None, usize::MAX).await.expect("reads");
    let second = orders.page(first.next, usize::MAX).await.expect("reads");

    assert_eq!((first.entities.len(), second.entities.len(), second.next), (PAGE_ROWS_MAX, 1, None));
    bounded(node.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn pages_cover_a_collection_once() {
    let dir = temp();
    let node = node(&dir, "a").await;
    let space = node.create_space("shop").await.expect("founded");
    let orders = space.collection::<Order>().expect("a name");
    let filled = space.commit(|tx| (0..25).try_for_each(|total| tx.insert(&Order { total }).map(drop)));
    filled.await.expect("written");

    let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = orders.page(after, 10).await.expect("read");
        seen.extend(page.entities);
        pages += 1;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }

    assert_eq!((pages, seen.len()), (3, 25));
    assert_eq!(seen, orders.all().await.expect("read"));
    assert!(seen.is_sorted_by_key(|(id, _)| *id));
    bounded(node.close()).await.expect("closes cleanly");
}

#[test]
fn handles_go_anywhere() {
    fn check<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>() {}

    check::<Node>();
    check::<driftless::Space>();
    check::<driftless::Collection<Order>>();
    check::<driftless::Receipt>();
    check::<driftless::PeerWatch>();
    check::<Error>();
    sent::<driftless::Changes<Order>>();
    sent::<driftless::Events>();
    let _used: (Role, _) = (Role::Writer, ticket("x"));
}

#[tokio::test]
async fn futures_can_be_spawned() {
    let dir = temp();
    let node = node(&dir, "a").await;
    let writer = node.clone();

    let written = tokio::spawn(async move {
        let space = writer.create_space("shop").await?;
        let orders = space.collection::<Order>()?;
        let id = orders.insert(&Order { total: 1 }).await?;
        orders.update(id, |order: &mut Order| order.total = 2).await?;
        space.commit(|tx| tx.delete::<Order>(id)).await?;
        orders.all().await
    });

    assert_eq!(bounded(written).await.expect("no panic").expect("written"), []);
    bounded(node.close()).await.expect("closes cleanly");
}
