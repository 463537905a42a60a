//! Members of a space find each other on the local network; here, on the loopback interface alone.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use driftless::{ConnectionState, Node, Role};

use crate::common::{agree, bounded, builder, join, node, temp, ticket};

/// Not the port of multicast DNS, so that nothing else on the machine hears of it.
const PORT: u16 = 45_353;

#[tokio::test]
async fn members_without_an_address_find_each_other() {
    if !has_multicast() {
        println!("SKIPPED: no multicast on the loopback interface");
        return;
    }
    let dir = temp();
    let (desk, bench) = (node(&dir, "desk").await, node(&dir, "bench").await);
    let shop = desk.create_space("shop").await.expect("founded");
    join(&shop, &bench, Role::Writer).await;
    let space = shop.id();
    for (node, other) in [(&desk, &bench), (&bench, &desk)] {
        node.remove_peer(other.peer()).await.expect("open");
        bounded(node.close()).await.expect("closes cleanly");
    }
    drop((desk, bench, shop));

    let (desk, bench) = (found(&dir.path().join("desk")).await, found(&dir.path().join("bench")).await);
    for (node, other) in [(&desk, &bench), (&bench, &desk)] {
        let mut peers = node.watch_peers();
        let met = peers.until(other.peer(), |peer| peer.state == ConnectionState::Connected);
        bounded(met).await.expect("open");
    }
    let (at_desk, at_bench) = (desk.space(space).expect("kept"), bench.space(space).expect("kept"));
    let lines = at_desk.collection::<crate::common::Ticket>().expect("a name");
    lines.insert(&ticket("found")).await.expect("written");
    agree(&[&at_desk, &at_bench], &[&desk, &bench]).await;

    // A node that leaves the network is heard of no more, and found again when it is back.
    bench.pause().await.expect("open");
    let mut peers = desk.watch_peers();
    let gone = peers.until(bench.peer(), |peer| peer.state != ConnectionState::Connected);
    bounded(gone).await.expect("open");
    bench.resume().await.expect("open");
    let back = peers.until(bench.peer(), |peer| peer.state == ConnectionState::Connected);
    bounded(back).await.expect("open");

    bounded(desk.close()).await.expect("closes cleanly");
    bounded(bench.close()).await.expect("closes cleanly");
}

/// Addresses where nobody answers cost a moment each, not the deadline of a handshake.
#[tokio::test]
async fn dead_addresses_do_not_hold_up_the_one_that_is_good() {
    let dir = temp();
    let (desk, bench) = (node(&dir, "desk").await, node(&dir, "bench").await);
    let shop = desk.create_space("shop").await.expect("founded");
    join(&shop, &bench, Role::Writer).await;
    bench.remove_peer(desk.peer()).await.expect("open");
    let silent: Vec<UdpSocket> =
        (0..7).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
    let mut addresses: Vec<_> = silent.iter().map(|socket| socket.local_addr().expect("bound")).collect();
    addresses.extend(desk.addresses().expect("open"));

    bench.add_peer(desk.peer(), addresses).await.expect("noted");
    let mut peers = bench.watch_peers();
    // One after the other they would take more than the bound.
    bounded(peers.until(desk.peer(), |peer| peer.state == ConnectionState::Connected)).await.expect("open");

    assert_eq!(bench.metrics().dials_failed, 0);
    bounded(desk.close()).await.expect("closes cleanly");
    bounded(bench.close()).await.expect("closes cleanly");
}

async fn found(path: &Path) -> Node {
    bounded(builder(path).discovery_port(PORT).open()).await.expect("a node of the first half")
}

fn has_multicast() -> bool {
    let group = Ipv4Addr::new(224, 0, 0, 251);
    let heard = || -> std::io::Result<usize> {
        let ear = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        ear.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)?;
        ear.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mouth = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        mouth.send_to(b"anybody?", (group, ear.local_addr()?.port()))?;
        ear.recv(&mut [0; 16])
    };
    heard().is_ok()
}
