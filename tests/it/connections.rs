//! Peers that come and go.

use driftless::{ConnectionState, Error, Node};

use crate::common::{Pair, bounded, builder, node, temp, ticket};

#[tokio::test]
async fn a_peer_that_is_away_is_tried_again_until_it_is_there() {
    let pair = Pair::open().await;
    let address = pair.a.addresses().expect("open")[0];
    let path = pair.a.path().to_owned();
    bounded(pair.a.close()).await.expect("closes cleanly");

    let mut peers = pair.b.watch_peers();
    let second = peers.until(
        pair.a.peer(),
        |peer| matches!(&peer.state, ConnectionState::Reconnecting { attempt, .. } if *attempt >= 2),
    );
    let waiting = bounded(second).await.expect("open");
    let ConnectionState::Reconnecting { reason, .. } = waiting.state else { panic!("matched above") };
    assert!(!reason.is_empty());
    let id = pair.tickets_b.insert(&ticket("meanwhile")).await.expect("written");

    let again = bounded(builder(&path).open()).await.expect("free again");
    assert_eq!(again.addresses().expect("open"), [address], "the port of the last time");
    let connected = peers.until(again.peer(), |peer| peer.state == ConnectionState::Connected);
    bounded(connected).await.expect("open");
    let space = again.space(pair.space_a.id()).expect("kept");
    crate::common::agree(&[&space, &pair.space_b], &[&again, &pair.b]).await;

    let tickets = space.collection::<crate::common::Ticket>().expect("a name");
    assert!(tickets.get(id).await.expect("read").is_some());
    bounded(again.close()).await.expect("closes cleanly");
    bounded(pair.b.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn a_peer_that_is_never_found_is_given_up_after_the_last_attempt() {
    let dir = temp();
    let other = node(&dir, "other").await;
    let alone = bounded(builder(&dir.path().join("alone")).attempts_max(3).open()).await.expect("fresh");
    // Another device answers at the address, so each attempt fails at once.
    let missing = driftless::PeerId::new([7; 32]);

    alone.add_peer(missing, other.addresses().expect("open")).await.expect("noted");
    let mut peers = alone.watch_peers();
    let failed = peers.until(missing, |peer| matches!(peer.state, ConnectionState::Failed { .. }));
    let failed = bounded(failed).await.expect("open");

    assert!(failed.state.to_string().starts_with("given up: "), "{}", failed.state);
    assert_eq!(alone.metrics().dials_failed, 3);
    alone.remove_peer(missing).await.expect("open");
    assert!(alone.peers().iter().all(|peer| peer.id != missing));
    bounded(alone.close()).await.expect("closes cleanly");
    bounded(other.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn an_invite_is_taken_to_its_inviter_and_to_nobody_else_at_its_address() {
    let dir = temp();
    let inviter = node(&dir, "inviter").await;
    let space = inviter.create_space("shop").await.expect("founded");
    let invite = space.invite(driftless::Role::Writer).await.expect("an owner");
    let (peer, address) = (inviter.peer(), inviter.addresses().expect("open")[0]);
    bounded(inviter.close()).await.expect("closes cleanly");
    drop((inviter, space));
    let impostor = bounded(async {
        loop {
            match builder(&dir.path().join("impostor")).listen(address).open().await {
                Ok(node) => break node,
                Err(Error::Listen { .. } | Error::Locked { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    let impostor = impostor.await;
    let joiner = node(&dir, "joiner").await;

    let error = bounded(joiner.join(&invite)).await.expect_err("another device");

    assert!(matches!(&error, Error::Unreachable { peer: who, .. } if *who == peer), "{error:?}");
    assert!(error.is_retryable());
    assert_eq!(joiner.spaces(), []);
    bounded(joiner.close()).await.expect("closes cleanly");
    bounded(impostor.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_so() {
    let dir = temp();
    let first = node(&dir, "first").await;
    let taken = first.addresses().expect("open")[0];

    let second = bounded(Node::builder(dir.path().join("second")).listen(taken).open()).await;

    assert!(matches!(second, Err(Error::Listen { .. })), "{second:?}");
    bounded(first.close()).await.expect("closes cleanly");
}
