//! A node that keeps and passes on without looking into documents.

use driftless::{Error, Role};

use crate::common::{Ticket, agree, bounded, builder, join, node, temp, ticket};

#[tokio::test]
async fn devices_that_meet_only_a_hub_come_to_hold_the_same_and_the_hub_loads_no_document() {
    let dir = temp();
    let path = dir.path().join("hub");
    let hub = bounded(builder(&path).hub(true).open()).await.expect("a fresh directory");
    let shop = hub.create_space("shop").await.expect("founded");
    let (desk, bench) = (node(&dir, "desk").await, node(&dir, "bench").await);
    let (at_desk, at_bench) =
        (join(&shop, &desk, Role::Writer).await, join(&shop, &bench, Role::Writer).await);
    let (on_desk, on_bench) = (at_desk.collection::<Ticket>(), at_bench.collection::<Ticket>());
    let (on_desk, on_bench) = (on_desk.expect("a name"), on_bench.expect("a name"));
    let id = on_desk.insert(&ticket("wheel")).await.expect("written");
    agree(&[&shop, &at_desk, &at_bench], &[&hub, &desk, &bench]).await;

    desk.pause().await.expect("open");
    on_desk.update(id, |ticket: &mut Ticket| ticket.notes.push_str("by desk. ")).await.expect("written");
    on_bench.update(id, |ticket: &mut Ticket| ticket.notes.push_str("by bench. ")).await.expect("written");
    on_bench.insert(&ticket("saddle")).await.expect("written");
    desk.resume().await.expect("open");
    agree(&[&shop, &at_desk, &at_bench], &[&hub, &desk, &bench]).await;

    let (left, right) = (on_desk.get(id).await.expect("read"), on_bench.get(id).await.expect("read"));
    assert_eq!(left, right);
    assert!(left.expect("there").notes.as_str().contains("by bench. "));
    let metrics = hub.metrics();
    assert_eq!((metrics.documents_loaded, metrics.document_applies), (0, 0));
    assert_eq!(metrics.commits_remote, 4);
    let refused = shop.collection::<Ticket>().expect_err("a hub has no collections");
    assert!(matches!(refused, Error::Invalid { what: "hub", .. }), "{refused:?}");

    for node in [hub, desk, bench] {
        bounded(node.close()).await.expect("closes cleanly");
    }
    drop((shop, at_desk, at_bench, on_desk, on_bench));
    let otherwise = bounded(builder(&path).open()).await.expect_err("it is a hub's");
    assert!(matches!(otherwise, Error::Invalid { what: "hub", .. }), "{otherwise:?}");
    let desk =
        bounded(builder(&dir.path().join("desk")).hub(true).open()).await.expect_err("it has documents");
    assert!(matches!(desk, Error::Invalid { what: "hub", .. }), "{desk:?}");
    let again = bounded(builder(&path).hub(true).open()).await.expect("a hub still");
    assert_eq!(again.spaces().len(), 1);
    bounded(again.close()).await.expect("closes cleanly");
}
