//! What a device wants, and when it is on the network.

use std::time::Duration;

use driftless::{Collection, ConnectionState, Here, IndexEntry, Interest, Mode, SpaceEvent};

use crate::common::{Order, Pair, Ticket, bounded, builder, ticket};

/// Waits until the peer is not connected.
async fn gone(node: &driftless::Node, peer: driftless::PeerId) {
    let mut peers = node.watch_peers();
    bounded(peers.until(peer, |peer| peer.state != ConnectionState::Connected)).await.expect("open");
}

async fn is_in_sync(node: &driftless::Node, space: &driftless::Space) {
    let synced = bounded(async {
        loop {
            let synced = node.sync_now().await.expect("open");
            if synced.equal > 0 && synced.behind == 0 {
                return synced;
            }
        }
    });
    synced.await;
    assert!(space.status().await.expect("open").peers.iter().any(|peer| peer.connected));
}

#[tokio::test]
async fn a_collection_that_is_off_brings_nothing_until_it_is_live_again() {
    let pair = Pair::open().await;
    let id = pair.tickets_a.insert(&ticket("before")).await.expect("written");
    pair.agree().await;
    pair.space_b.set_interest("tickets", Interest::Off).await.expect("kept");
    assert_eq!(pair.space_b.interest("tickets").await.expect("open"), Interest::Off);

    let late = pair.tickets_a.insert(&ticket("while off")).await.expect("written");
    let by_b = pair.tickets_b.update(id, |ticket: &mut Ticket| ticket.status = "ready".to_owned());
    let receipt = by_b.await.expect("written");
    bounded(receipt.stored_on(1)).await.expect("a wants it");
    let orders = pair.space_a.collection::<Order>().expect("a name");
    let order = orders.insert(&Order { total: 7 }).await.expect("written");
    is_in_sync(&pair.b, &pair.space_b).await;

    let on_a = pair.tickets_a.get(id).await.expect("read").expect("there");
    assert_eq!(on_a.status, "ready", "what the device itself makes goes out");
    let orders_b = pair.space_b.collection::<Order>().expect("a name");
    assert!(orders_b.get(order).await.expect("read").is_some(), "the others are live");
    assert_eq!(pair.tickets_b.get(late).await.expect("read"), None);

    pair.space_b.set_interest("tickets", Interest::Live).await.expect("kept");
    pair.agree().await;
    assert!(pair.tickets_b.get(late).await.expect("read").is_some());
    assert_eq!(pair.b.metrics().commits_duplicate, 0);
    pair.close().await;
}

#[tokio::test]
async fn a_document_is_fetched_alone_and_the_rest_comes_once_when_it_is_wanted() {
    let pair = Pair::open().await;
    pair.space_b.set_interest("tickets", Interest::Off).await.expect("kept");
    is_in_sync(&pair.b, &pair.space_b).await;
    let mut ids = Vec::new();
    for number in 0..6 {
        ids.push(pair.tickets_a.insert(&ticket(&format!("ticket {number}"))).await.expect("written"));
    }
    // A commit is all or nothing: these two come together.
    let both = pair.space_a.commit(|tx| {
        tx.update(ids[1], |ticket: &mut Ticket| ticket.status = "ready".to_owned())?;
        tx.update(ids[2], |ticket: &mut Ticket| ticket.status = "ready".to_owned())
    });
    both.await.expect("written");

    let fetched = bounded(pair.tickets_b.fetch(ids[1])).await.expect("a has it").expect("not deleted");

    assert_eq!((fetched.title.as_str(), fetched.status.as_str()), ("ticket 1", "ready"));
    let here = pair.tickets_b.all().await.expect("read");
    assert_eq!(here.len(), 2, "the one that shares a commit with it came along, and nothing else");
    pair.tickets_b.update(ids[1], |ticket: &mut Ticket| ticket.minutes.increment(5)).await.expect("written");
    let nowhere = driftless::EntityId::new([9; 16]);
    let missing = bounded(pair.tickets_b.fetch_all(&[ids[4], nowhere])).await.expect("a answers");
    assert_eq!(missing, [nowhere]);
    let unknown = bounded(pair.tickets_b.fetch(nowhere)).await.expect_err("nobody has it");
    assert_eq!(unknown.kind(), driftless::ErrorKind::NotFound);
    let many = pair.tickets_b.fetch_all(&vec![nowhere; 257]).await.expect_err("too many");
    assert_eq!(many.kind(), driftless::ErrorKind::Invalid);

    pair.space_b.set_interest("tickets", Interest::Live).await.expect("kept");
    pair.agree().await;
    assert_eq!(pair.tickets_b.all().await.expect("read"), pair.tickets_a.all().await.expect("read"));
    assert_eq!(pair.b.metrics().commits_duplicate, 0, "nothing came twice");
    pair.b.pause().await.expect("open");
    gone(&pair.b, pair.a.peer()).await;
    let alone = bounded(pair.tickets_b.fetch(ids[0])).await.expect_err("nobody is there");
    assert_eq!(alone.kind(), driftless::ErrorKind::Unavailable);
    pair.close().await;
}

/// Reads the index until it is as expected.
async fn index_until(
    tickets: &Collection<Ticket>,
    events: &mut driftless::Events,
    expected: impl Fn(&[IndexEntry]) -> bool,
) -> Vec<IndexEntry> {
    bounded(async {
        loop {
            let index = tickets.index(None, 1_000).await.expect("read");
            if expected(&index) {
                return index;
            }
            while !matches!(events.next().await, Some(SpaceEvent::Indexed { collection }) if collection == "tickets") {}
        }
    })
    .await
}

#[tokio::test]
async fn an_index_tells_what_there_is_and_documents_come_when_they_are_asked_for() {
    let pair = Pair::open().await;
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(pair.tickets_a.insert(&ticket(&format!("ticket {number}"))).await.expect("written"));
    }
    pair.space_b.set_interest("tickets", Interest::Index).await.expect("kept");
    let mut events = pair.space_b.events();
    let before = pair.tickets_b.all().await.expect("read").len();

    let late = pair.tickets_a.insert(&ticket("late")).await.expect("written");
    pair.tickets_a.delete(ids[0]).await.expect("written");
    let all = |index: &[IndexEntry]| {
        let deleted = index.iter().any(|entry| entry.id == ids[0] && entry.deleted);
        index.len() == 21 && deleted && index.iter().any(|entry| entry.id == late)
    };
    index_until(&pair.tickets_b, &mut events, all).await;
    assert!(pair.tickets_b.all().await.expect("read").len() <= before + 20);
    assert_eq!(pair.tickets_b.get(late).await.expect("read"), None, "listed, and not here");

    let fetched = bounded(pair.tickets_b.fetch(late)).await.expect("a has it").expect("not deleted");
    assert_eq!(fetched.title, "late");
    let here = |index: &[IndexEntry]| index.iter().find(|entry| entry.id == late).map(|entry| entry.here);
    let index = pair.tickets_b.index(None, 1_000).await.expect("read");
    assert_eq!(here(&index), Some(Here::Same));
    pair.tickets_a
        .update(late, |ticket: &mut Ticket| ticket.status = "ready".to_owned())
        .await
        .expect("written");
    index_until(&pair.tickets_b, &mut events, |index| here(index) == Some(Here::Differs)).await;

    // What was listed is kept; what came meanwhile is listed by the next meeting.
    pair.b.pause().await.expect("open");
    gone(&pair.b, pair.a.peer()).await;
    pair.tickets_a.insert(&ticket("while apart")).await.expect("written");
    assert_eq!(pair.tickets_b.index(None, 1_000).await.expect("read").len(), 21);
    pair.b.resume().await.expect("open");
    index_until(&pair.tickets_b, &mut events, |index| index.len() == 22).await;
    pair.space_b.set_interest("tickets", Interest::Live).await.expect("kept");
    pair.agree().await;
    assert_eq!(pair.tickets_b.all().await.expect("read"), pair.tickets_a.all().await.expect("read"));
    assert_eq!(pair.b.metrics().commits_duplicate, 0, "nothing came twice");
    pair.close().await;
}

#[tokio::test]
async fn what_a_device_wants_is_kept() {
    let pair = Pair::open().await;
    pair.space_b.set_default_interest(Interest::Off).await.expect("kept");
    pair.space_b.set_interest("orders", Interest::Live).await.expect("kept");
    let id = pair.space_b.id();
    let Pair { a, b, dir, tickets_a, .. } = pair;
    bounded(b.close()).await.expect("closes cleanly");

    let b = bounded(builder(&dir.path().join("b")).open()).await.expect("its directory");
    let space = b.space(id).expect("kept");

    assert_eq!(space.interest("tickets").await.expect("open"), Interest::Off);
    assert_eq!(space.interest("orders").await.expect("open"), Interest::Live);
    let late = tickets_a.insert(&ticket("unwanted")).await.expect("written");
    is_in_sync(&b, &space).await;
    let tickets = space.collection::<Ticket>().expect("a name");
    assert_eq!(tickets.get(late).await.expect("read"), None);
    bounded(a.close()).await.expect("closes cleanly");
    bounded(b.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn a_manual_node_connects_when_it_syncs_and_not_otherwise() {
    let pair = Pair::open().await;
    // So that both can reach each other.
    pair.a.add_peer(pair.b.peer(), pair.b.addresses().expect("open")).await.expect("an address");
    pair.b.set_mode(Mode::Manual).await.expect("open");
    gone(&pair.b, pair.a.peer()).await;
    gone(&pair.a, pair.b.peer()).await;
    let before = (pair.a.metrics().connections, pair.b.metrics().connections);

    let id = pair.tickets_a.insert(&ticket("wheel")).await.expect("written");
    pair.tickets_b.insert(&ticket("brake")).await.expect("written");
    pair.b.wake().await.expect("open");
    assert_eq!(pair.tickets_b.get(id).await.expect("read"), None);
    assert_eq!((pair.a.metrics().connections, pair.b.metrics().connections), before);

    let synced = bounded(pair.b.sync_now()).await.expect("open");
    assert_eq!((synced.equal, synced.behind), (1, 0));
    assert!(pair.tickets_b.get(id).await.expect("read").is_some());
    gone(&pair.b, pair.a.peer()).await;
    assert_eq!(pair.b.metrics().connections, before.1 + 1, "one sync is one connection");

    gone(&pair.a, pair.b.peer()).await;
    // Who is live may ask for a sync as well, and is let go afterwards.
    let synced = bounded(pair.a.sync_now()).await.expect("open");
    assert_eq!((synced.equal, synced.behind), (1, 0));
    gone(&pair.a, pair.b.peer()).await;

    pair.b.set_mode(Mode::Live).await.expect("open");
    pair.agree().await;
    pair.close().await;
}

#[tokio::test]
async fn a_periodic_node_comes_again_and_again_and_rests_between() {
    let pair = Pair::open().await;
    pair.b.set_mode(Mode::Periodic(Duration::from_millis(100))).await.expect("a long enough period");
    let mut peers = pair.b.watch_peers();

    for round in 0..3 {
        let id = pair.tickets_a.insert(&ticket("wheel")).await.expect("written");
        let arrived = async {
            let mut changes = pair.tickets_b.changes().await.expect("open");
            while pair.tickets_b.get(id).await.expect("read").is_none() {
                changes.next().await.expect("open").expect("read");
            }
        };
        bounded(arrived).await;
        let rests = peers.until(pair.a.peer(), |peer| peer.state != ConnectionState::Connected);
        bounded(rests).await.expect("open");
        assert!(pair.b.metrics().connections > round, "each round is a connection");
    }
    let refused = pair.b.set_mode(Mode::Periodic(Duration::from_millis(1))).await.expect_err("too short");
    assert_eq!(refused.kind(), driftless::ErrorKind::Invalid);
    pair.close().await;
}
