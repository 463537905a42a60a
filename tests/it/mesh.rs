//! More than two devices, each connected to each other one.

use driftless::{Collection, ConnectionState, Node, Role, Space};

use crate::common::{Ticket, agree, bounded, join, node, temp, ticket};

const DEVICES: usize = 8;
/// Commits of each device.
const ROUNDS: usize = 70;

#[tokio::test]
async fn eight_devices_that_all_know_each_other_send_each_commit_hardly_more_than_once() {
    let dir = temp();
    let mut nodes = Vec::new();
    for number in 0..DEVICES {
        nodes.push(node(&dir, &format!("node {number}")).await);
    }
    let founded = nodes[0].create_space("shop").await.expect("founded");
    let mut spaces = vec![founded.clone()];
    for joiner in &nodes[1..] {
        spaces.push(join(&founded, joiner, Role::Writer).await);
    }
    settle(&spaces, &nodes).await;
    meet(&nodes).await;
    let lines: Vec<Collection<Ticket>> =
        spaces.iter().map(|space| space.collection().expect("a name")).collect();
    // Long enough after the last connection, all know who is connected to whom.
    work(&lines, 5).await;
    settle(&spaces, &nodes).await;
    let before: Vec<_> = nodes.iter().map(Node::metrics).collect();

    work(&lines, ROUNDS).await;
    settle(&spaces, &nodes).await;

    let (mut new, mut again) = (0, 0);
    for (node, before) in nodes.iter().zip(before) {
        let after = node.metrics();
        new += after.commits_remote - before.commits_remote;
        again += after.commits_duplicate - before.commits_duplicate;
    }
    assert_eq!(new as usize, DEVICES * ROUNDS * (DEVICES - 1), "each commit is applied once by each other");
    let copies = (new + again) as f64 / new as f64;
    println!("{copies:.4} copies for each receiver");
    assert!(copies <= 1.1, "{copies} copies for each receiver");
    for node in nodes {
        bounded(node.close()).await.expect("closes cleanly");
    }
}

/// Whoever of the two dials: the one that was there before learns of the newcomer from the newcomer.
#[tokio::test]
async fn a_device_is_let_in_by_a_member_that_has_not_heard_of_its_joining() {
    for newcomer_dials in [true, false] {
        let dir = temp();
        let (desk, bench, phone) =
            (node(&dir, "desk").await, node(&dir, "bench").await, node(&dir, "phone").await);
        let shop = desk.create_space("shop").await.expect("founded");
        let on_bench = join(&shop, &bench, Role::Writer).await;
        agree(&[&shop, &on_bench], &[&desk, &bench]).await;
        bench.remove_peer(desk.peer()).await.expect("open");
        bounded(desk.watch_peers().until(bench.peer(), |peer| peer.state != ConnectionState::Connected))
            .await
            .expect("open");
        let on_phone = join(&shop, &phone, Role::Writer).await;
        phone.remove_peer(desk.peer()).await.expect("open");
        bounded(desk.close()).await.expect("closes cleanly");
        let id =
            on_phone.collection::<Ticket>().expect("a name").insert(&ticket("new")).await.expect("written");

        match newcomer_dials {
            true => phone.add_peer(bench.peer(), bench.addresses().expect("open")).await.expect("noted"),
            false => bench.add_peer(phone.peer(), phone.addresses().expect("open")).await.expect("noted"),
        }
        agree(&[&on_bench, &on_phone], &[&bench, &phone]).await;

        let lines = on_bench.collection::<Ticket>().expect("a name");
        assert!(lines.get(id).await.expect("read").is_some());
        assert_eq!(on_bench.members().len(), 3);
        bounded(bench.close()).await.expect("closes cleanly");
        bounded(phone.close()).await.expect("closes cleanly");
    }
}

/// Connects each to each, and waits until they are.
async fn meet(nodes: &[Node]) {
    for (number, node) in nodes.iter().enumerate() {
        for other in nodes.iter().take(number) {
            node.add_peer(other.peer(), other.addresses().expect("open")).await.expect("noted");
        }
    }
    for node in nodes {
        let mut peers = node.watch_peers();
        for other in nodes.iter().filter(|other| other.peer() != node.peer()) {
            let connected = peers.until(other.peer(), |peer| peer.state == ConnectionState::Connected);
            bounded(connected).await.expect("open");
        }
    }
}

/// All commit at the same time, one after the other each.
async fn work(lines: &[Collection<Ticket>], rounds: usize) {
    let mut writers = tokio::task::JoinSet::new();
    for lines in lines {
        let lines = lines.clone();
        writers.spawn(async move {
            for round in 0..rounds {
                lines.insert(&ticket(&format!("round {round}"))).await.expect("written");
            }
        });
    }
    bounded(async { while writers.join_next().await.is_some_and(|done| done.is_ok()) {} }).await;
}

async fn settle(spaces: &[Space], nodes: &[Node]) {
    let (spaces, nodes): (Vec<_>, Vec<_>) = (spaces.iter().collect(), nodes.iter().collect());
    agree(&spaces, &nodes).await;
}
