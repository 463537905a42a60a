//! The recovery key, over real connections: the founder's device is lost, or its thief turns on the others.

use driftless::{ConnectionState, ErrorKind, Events, Node, RecoveryKey, Role, Space, SpaceEvent};

use crate::common::{Ticket, agree, bounded, join, node, temp, ticket};

/// A founder and two members, all connected to each other, and the key.
struct Shop {
    nodes: [Node; 3],
    spaces: [Space; 3],
    key: RecoveryKey,
    _dir: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Self {
        let dir = temp();
        let nodes = [node(&dir, "founder").await, node(&dir, "bench").await, node(&dir, "van").await];
        let founded = nodes[0].create_space_with_recovery_key("shop").await.expect("founded");
        let (shop, written_down) = (founded.0, founded.1.to_string());
        let bench = join(&shop, &nodes[1], Role::Writer).await;
        let van = join(&shop, &nodes[2], Role::Reader).await;
        dial(&nodes[2], &nodes[1]).await;
        let mut peers = nodes[2].watch_peers();
        let connected = peers.until(nodes[1].peer(), |peer| peer.state == ConnectionState::Connected);
        bounded(connected).await.expect("open");
        let shop = Self {
            key: written_down.parse().expect("as it was written down"),
            spaces: [shop, bench, van],
            nodes,
            _dir: dir,
        };
        shop.spaces[1]
            .collection::<Ticket>()
            .expect("a name")
            .insert(&ticket("tap"))
            .await
            .expect("a writer");
        agree(&shop.spaces.each_ref(), &shop.nodes.each_ref()).await;
        shop
    }

    async fn close(self) {
        for node in self.nodes {
            bounded(node.close()).await.expect("closes cleanly");
        }
    }
}

/// Waits until something holds, which an event of the space tells.
#[track_caller]
fn until<'a>(events: &'a mut Events, holds: impl Fn() -> bool + 'a) -> impl Future<Output = ()> + 'a {
    bounded(async move {
        while !holds() {
            events.next().await.expect("open");
        }
    })
}

async fn dial(from: &Node, to: &Node) {
    from.add_peer(to.peer(), to.addresses().expect("open")).await.expect("noted");
}

/// Seen failing with the recovery key unheeded in `Resolver::verdict`.
#[tokio::test]
async fn another_device_takes_the_place_of_a_founder_that_is_lost() {
    let shop = Shop::open().await;
    let [founders, bench, van] = &shop.spaces;
    let founder = founders.members()[0].id;
    let lost = shop.nodes[0].peer();
    shop.nodes[0].pause().await.expect("open");
    assert_eq!(bench.invite(Role::Owner).await.expect_err("a writer").kind(), ErrorKind::Denied);
    let (mut events, mut hears) = (van.events(), founders.events());

    let recovery = bench.recover(&shop.key).expect("the key of the space");
    recovery.take_place_of(founder).await.expect("it is a member");
    recovery.take_place_of(founder).await.expect("it is done already");
    recovery.remove_device(lost).await.expect("it is a device");

    assert_eq!((bench.role(), bench.members()[0].devices.len()), (Some(Role::Owner), 2));
    until(&mut events, || van.members()[0].devices.iter().any(|device| device.removed)).await;
    let devices = van.members()[0].devices.clone();
    let seen: Vec<_> = devices.iter().map(|device| (device.peer, device.removed)).collect();
    assert_eq!(seen, [(lost, true), (shop.nodes[1].peer(), false)]);
    // It is above who came before it, and invites whom it likes.
    let vans = van.members().into_iter().find(|member| member.role == Role::Reader).expect("it joined").id;
    bench.set_role(vans, Role::Writer).await.expect("the founder may");
    until(&mut events, || van.role() == Some(Role::Writer)).await;
    bench.invite(Role::Owner).await.expect("an owner");
    // What the founder's device was, it hears when it is found.
    shop.nodes[0].resume().await.expect("open");
    dial(&shop.nodes[0], &shop.nodes[1]).await;
    until(&mut hears, || founders.role().is_none()).await;
    shop.close().await;
}

/// The thief removes the others, who hear it and stop. The holder of the key goes back to before that, on one of the
/// removed devices; the other one hears it from there. Seen failing with the position of now in `Replica::rescue`.
#[tokio::test]
async fn what_the_thief_of_the_founders_device_did_is_undone_and_it_is_out() {
    let shop = Shop::open().await;
    let [founders, bench, van] = &shop.spaces;
    let (members, thief) = (founders.members(), shop.nodes[0].peer());
    let (mut on_bench, mut on_van) = (bench.events(), van.events());
    for member in &members[1..] {
        founders.remove_member(member.id).await.expect("the founder may");
    }
    founders.invite(Role::Owner).await.expect("the founder may");
    until(&mut on_bench, || bench.role().is_none()).await;
    until(&mut on_van, || van.role().is_none()).await;

    let recovery = bench.recover(&shop.key).expect("also on a device that was removed");
    let said = bench.said_by(thief);
    let theft = said.iter().find(|said| said.what.starts_with("removed")).expect("it removed");
    recovery.remove_device_before(thief, theft.id).await.expect("above all");
    recovery.take_place_of(members[0].id).await.expect("it is a member still");

    assert_eq!(bench.role(), Some(Role::Owner));
    assert!(bench.said_by(thief).iter().all(|said| !said.what.starts_with("removed") || !said.counts));
    until(&mut on_van, || van.role() == Some(Role::Reader)).await;
    assert!(van.members()[1..].iter().all(|member| !member.removed));
    // All goes on without the thief, whom nobody knows any more.
    let id = bench.collection::<Ticket>().expect("a name").insert(&ticket("after")).await.expect("the owner");
    agree(&[bench, van], &[&shop.nodes[1], &shop.nodes[2]]).await;
    assert!(van.collection::<Ticket>().expect("a name").get(id).await.expect("read").is_some());
    let mut peers = shop.nodes[0].watch_peers();
    dial(&shop.nodes[0], &shop.nodes[1]).await;
    let turned_away = peers.until(shop.nodes[1].peer(), |peer| {
        matches!(&peer.state, ConnectionState::Reconnecting { .. } | ConnectionState::Failed { .. })
            || matches!(&peer.state, ConnectionState::Disconnected { reason } if !reason.is_empty())
    });
    bounded(turned_away).await.expect("open");
    assert!(founders.collection::<Ticket>().expect("a name").get(id).await.expect("read").is_none());
    for space in [bench, van] {
        let devices = space.members()[0].devices.clone();
        let left: Vec<_> =
            devices.iter().filter(|device| !device.removed).map(|device| device.peer).collect();
        assert_eq!(left, [shop.nodes[1].peer()]);
    }
    shop.close().await;
}

#[tokio::test]
async fn another_key_recovers_nothing_and_damaged_text_is_told() {
    let shop = Shop::open().await;
    let own = shop.nodes[1].create_space("own").await.expect("founded");
    let wrong = RecoveryKey::from_secret([7; 16]);

    let rules: Vec<String> = [shop.spaces[1].recover(&wrong), own.recover(&shop.key)]
        .into_iter()
        .map(|denied| denied.expect_err("not its key").to_string())
        .collect();

    assert!(rules[0].ends_with("this is not the recovery key of the space"), "{rules:?}");
    assert!(rules[1].ends_with("the space was founded without a recovery key"), "{rules:?}");
    assert!(shop.spaces[2].has_recovery_key() && !own.has_recovery_key());
    let text = shop.key.to_string();
    let cut = text[..text.len() - 1].parse::<RecoveryKey>().expect_err("a letter is missing");
    assert_eq!(driftless::Error::from(cut).kind(), ErrorKind::Invalid);
    // A position that is not there is told, and nothing happens.
    let recovery = shop.spaces[1].recover(&shop.key).expect("its key");
    let founded = shop.spaces[1].said_by(shop.nodes[0].peer())[0].id;
    let denied = recovery.remove_device_before(shop.nodes[0].peer(), founded).await;
    assert_eq!(denied.expect_err("nothing is before it").kind(), ErrorKind::Invalid);
    let gone = recovery.remove_device(wrong.key()).await.expect_err("no member's");
    assert_eq!(gone.kind(), ErrorKind::Denied);
    let mut events = shop.spaces[1].events();
    recovery.set_role(shop.spaces[1].members()[2].id, Role::Admin).await.expect("above all");
    assert!(matches!(bounded(events.next()).await, Some(SpaceEvent::Members)));
    shop.close().await;
}
