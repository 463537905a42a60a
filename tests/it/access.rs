//! Who may do what, over real connections.

use driftless::{ConnectionState, Error, ErrorKind, Role};

use crate::common::{Order, Pair, Ticket, bounded, node, temp, ticket};

#[tokio::test]
async fn a_reader_reads_and_does_not_write() {
    let pair = Pair::open_as(Role::Reader).await;
    let id = pair.tickets_a.insert(&ticket("for all")).await.expect("written");
    pair.agree().await;

    let refused = pair.tickets_b.insert(&ticket("mine")).await.expect_err("a reader");

    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    assert_eq!(pair.tickets_b.get(id).await.expect("read").map(|t| t.title), Some("for all".to_owned()));
    assert_eq!(pair.space_b.role(), Some(Role::Reader));
    pair.close().await;
}

#[tokio::test]
async fn a_rule_keeps_writers_from_a_collection() {
    let pair = Pair::open().await;
    pair.space_a.set_rule("orders", Role::Reader, Role::Admin).await.expect("an owner");
    let orders_a = pair.space_a.collection::<Order>().expect("a name");
    let id = orders_a.insert(&Order { total: 1 }).await.expect("an owner");
    pair.agree().await;

    let orders_b = pair.space_b.collection::<Order>().expect("a name");
    let refused = orders_b.update(id, |order: &mut Order| order.total = 2).await.expect_err("a writer");

    assert_eq!(refused.kind(), ErrorKind::Denied, "{refused}");
    assert_eq!(orders_b.get(id).await.expect("read"), Some(Order { total: 1 }));
    pair.close().await;
}

#[tokio::test]
async fn a_writer_neither_invites_nor_removes() {
    let pair = Pair::open().await;
    let owner = pair.space_a.members()[0].id;

    let invite = pair.space_b.invite(Role::Writer).await.expect_err("a writer");
    let remove = pair.space_b.remove_member(owner).await.expect_err("a writer");
    let rule = pair.space_b.set_rule("orders", Role::Reader, Role::Writer).await.expect_err("a writer");

    assert_eq!([invite.kind(), remove.kind(), rule.kind()], [ErrorKind::Denied; 3]);
    pair.close().await;
}

#[tokio::test]
async fn a_stranger_gets_nothing() {
    let pair = Pair::open().await;
    pair.tickets_a.insert(&ticket("secret")).await.expect("written");
    let elsewhere = temp();
    let stranger = node(&elsewhere, "stranger").await;
    let own = stranger.create_space("own").await.expect("founded");

    let addresses = pair.a.addresses().expect("open");
    stranger.add_peer(pair.a.peer(), addresses).await.expect("noted");
    let mut peers = stranger.watch_peers();
    let turned_away = peers.until(pair.a.peer(), |peer| {
        matches!(&peer.state, ConnectionState::Reconnecting { .. } | ConnectionState::Failed { .. })
            || matches!(&peer.state, ConnectionState::Disconnected { reason } if !reason.is_empty())
    });
    bounded(turned_away).await.expect("open");

    assert_eq!(stranger.spaces(), [own]);
    assert_eq!(stranger.metrics().commits_remote, 0);
    assert!(!pair.a.peers().iter().any(|peer| peer.id == stranger.peer() && !peer.in_sync.is_empty()));
    bounded(stranger.close()).await.expect("closes cleanly");
    pair.close().await;
}

#[tokio::test]
async fn an_invite_lets_in_one_device() {
    let pair = Pair::open().await;
    let (c, d) = (node(&pair.dir, "c").await, node(&pair.dir, "d").await);
    let invite = pair.space_a.invite(Role::Writer).await.expect("an owner");

    bounded(c.join(&invite)).await.expect("the first");
    let second = bounded(d.join(&invite)).await.expect_err("used");

    assert_eq!(second.kind(), ErrorKind::Denied, "{second}");
    assert_eq!(d.spaces(), []);
    bounded(c.close()).await.expect("closes cleanly");
    bounded(d.close()).await.expect("closes cleanly");
    pair.close().await;
}

#[tokio::test]
async fn an_invite_that_has_expired_lets_nobody_in() {
    let pair = Pair::open().await;
    let c = node(&pair.dir, "c").await;
    let invite = pair.space_a.invite_for(Role::Writer, 0).await.expect("an owner");

    let late = bounded(c.join(&invite)).await.expect_err("expired");

    assert!(matches!(&late, Error::NotAdmitted { .. }), "{late:?}");
    bounded(c.close()).await.expect("closes cleanly");
    pair.close().await;
}

#[tokio::test]
async fn a_removed_member_is_cut_off_and_receives_nothing_more() {
    let pair = Pair::open().await;
    let before = pair.tickets_a.insert(&ticket("before")).await.expect("written");
    pair.agree().await;
    let member = pair.space_a.members().into_iter().find(|member| member.role == Role::Writer).expect("b").id;

    pair.space_a.remove_member(member).await.expect("an owner");
    let mut peers = pair.a.watch_peers();
    let cut = peers.until(pair.b.peer(), |peer| peer.state != ConnectionState::Connected);
    bounded(cut).await.expect("open");
    let after = pair.tickets_a.insert(&ticket("after")).await.expect("written");
    pair.b.sync_now().await.expect("open");

    assert_eq!(pair.tickets_b.get(after).await.expect("read"), None);
    assert!(pair.tickets_b.get(before).await.expect("read").is_some());
    pair.close().await;
}

#[tokio::test]
async fn what_a_member_may_not_read_is_not_sent_to_it() {
    let pair = Pair::open().await;
    pair.space_a.set_rule("orders", Role::Admin, Role::Admin).await.expect("an owner");
    pair.a.sync_now().await.expect("open");
    let orders_a = pair.space_a.collection::<Order>().expect("a name");
    let (hidden, seen) = (Order { total: 7 }, ticket("seen"));

    let receipt = pair.space_a.commit(|tx| {
        tx.insert(&hidden)?;
        tx.insert(&seen)
    });
    let receipt = receipt.await.expect("written");
    bounded(receipt.stored_on(1)).await.expect("open");

    let orders_b = pair.space_b.collection::<Order>().expect("a name");
    assert_eq!(orders_b.all().await.expect("read"), []);
    assert_eq!(pair.tickets_b.all().await.expect("read").len(), 1);
    assert_eq!(orders_a.all().await.expect("read").len(), 1);
    let _typed: &[(_, Ticket)] = &pair.tickets_b.all().await.expect("read");
    pair.close().await;
}
