//! A device's store that went back to an older copy, and one that two machines run at the same time.
//!
//! Adversarial 16: a number that was given out is never given to another commit, so nobody takes the device for a
//! liar, and nothing is lost.

use std::collections::BTreeSet;
use std::path::Path;

use driftless::{Collection, Node, Space};

use crate::common::{Pair, Ticket, agree, bounded, builder, copy, ticket};

#[tokio::test]
async fn a_store_restored_from_an_older_copy_takes_a_new_incarnation_and_loses_nothing() {
    let pair = Pair::open().await;
    let early = pair.tickets_b.insert(&ticket("early")).await.expect("written");
    pair.agree().await;
    let (path, yesterday, shop) = (pair.b.path().to_owned(), pair.dir.path().join("old"), pair.space_b.id());
    bounded(pair.b.close()).await.expect("closes cleanly");
    copy(&path, &yesterday);
    let (b, space_b, tickets_b) = reopen(&path, &pair.space_a).await;
    assert!(!b.opening().await.expect("open").new_incarnation, "it is the very store that was closed");
    tickets_b.insert(&ticket("late")).await.expect("written");
    tickets_b.update(early, |ticket| ticket.minutes.increment(1)).await.expect("written");
    agree(&[&pair.space_a, &space_b], &[&pair.a, &b]).await;
    bounded(b.close()).await.expect("closes cleanly");

    copy(&yesterday, &path);
    pair.a.pause().await.expect("open");
    let (b, space_b, tickets_b) = reopen(&path, &pair.space_a).await;
    let opening = b.opening().await.expect("open");
    // These take the places, and with the old incarnation would take the numbers, of what is lost here.
    tickets_b.insert(&ticket("again")).await.expect("written");
    tickets_b.update(early, |ticket| ticket.minutes.increment(10)).await.expect("written");
    assert_eq!(titles(&tickets_b).await, names(&["early", "again"]));
    pair.a.resume().await.expect("open");
    agree(&[&pair.space_a, &space_b], &[&pair.a, &b]).await;

    assert_eq!((opening.new_incarnation, opening.spaces), (true, 1));
    assert_eq!(b.space(shop).expect("kept").id(), pair.space_a.id());
    for tickets in [&pair.tickets_a, &tickets_b] {
        assert_eq!(titles(tickets).await, names(&["early", "late", "again"]));
        let ticket = tickets.get(early).await.expect("read").expect("there");
        assert_eq!(ticket.minutes.value(), 11, "both edits count, once");
    }
    check_nobody_lies(&[&pair.space_a, &space_b]).await;
    bounded(b.close()).await.expect("closes cleanly");
    bounded(pair.a.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn a_store_that_two_machines_run_at_once_loses_nothing_and_makes_nobody_a_liar() {
    let pair = Pair::open().await;
    let early = pair.tickets_b.insert(&ticket("early")).await.expect("written");
    pair.agree().await;
    let (path, second) = (pair.b.path().to_owned(), pair.dir.path().join("second"));
    bounded(pair.b.close()).await.expect("closes cleanly");
    copy(&path, &second);

    // Both go on where the one ended, and neither hears of the other before it has written.
    pair.a.pause().await.expect("open");
    let (b, space_b, tickets_b) = reopen(&path, &pair.space_a).await;
    let (c, space_c, tickets_c) = reopen(&second, &pair.space_a).await;
    let news = [&b, &c].map(Node::opening);
    let [of_b, of_c] = news;
    assert!(!of_b.await.expect("open").new_incarnation, "it is the very store that was closed");
    assert!(of_c.await.expect("open").new_incarnation, "it is a copy");
    assert_eq!(b.peer(), c.peer());
    for (tickets, name, minutes) in [(&tickets_b, "of the first", 1), (&tickets_c, "of the second", 10)] {
        tickets.insert(&ticket(name)).await.expect("written");
        tickets.update(early, move |ticket| ticket.minutes.increment(minutes)).await.expect("written");
    }
    pair.a.resume().await.expect("open");
    tickets_b.insert(&ticket("of the first, while both run")).await.expect("written");
    tickets_c.insert(&ticket("of the second, while both run")).await.expect("written");
    let (spaces, nodes) = ([&pair.space_a, &space_b, &space_c], [&pair.a, &b, &c]);
    agree(&spaces, &nodes).await;

    let all = names(&[
        "early",
        "of the first",
        "of the second",
        "of the first, while both run",
        "of the second, while both run",
    ]);
    for tickets in [&pair.tickets_a, &tickets_b, &tickets_c] {
        assert_eq!(titles(tickets).await, all);
        let ticket = tickets.get(early).await.expect("read").expect("there");
        assert_eq!(ticket.minutes.value(), 11, "both edits count, once");
    }
    check_nobody_lies(&spaces).await;
    for node in nodes {
        bounded(node.close()).await.expect("closes cleanly");
    }
}

async fn reopen(path: &Path, like: &Space) -> (Node, Space, Collection<Ticket>) {
    let node = bounded(builder(path).open()).await.expect("a store");
    let space = node.space(like.id()).expect("it is in the copy");
    let tickets = space.collection().expect("a name");
    (node, space, tickets)
}

/// No commit is held back, and no device is known to have signed two of which only one can be.
async fn check_nobody_lies(spaces: &[&Space]) {
    for space in spaces {
        assert_eq!(space.clashes().await.expect("read"), []);
        assert_eq!(space.status().await.expect("read").quarantined, []);
    }
}

async fn titles(tickets: &Collection<Ticket>) -> BTreeSet<String> {
    tickets.all().await.expect("read").into_iter().map(|(_, ticket)| ticket.title).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
