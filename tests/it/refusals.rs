//! Bad input, bad peers and bad disks: each is refused by a clear error, and what was there stays.

use std::path::{Path, PathBuf};

use driftless::{ConnectionState, Durability, EntityId, Error, ErrorKind, Invite, Node, PeerId, Role, Space};

use crate::common::{Order, Pair, Ticket, agree, bounded, builder, copy, join, node, temp, ticket};
use crate::image::Image;

#[tokio::test]
async fn a_node_with_another_key_at_the_address_is_not_taken_for_the_peer() {
    let dir = temp();
    let (alice, mallory) = (node(&dir, "alice").await, node(&dir, "mallory").await);
    let space = alice.create_space("shop").await.expect("founded");
    let bob = PeerId::new([7; 32]);

    alice.add_peer(bob, mallory.addresses().expect("open")).await.expect("noted");
    let mut peers = alice.watch_peers();
    let refused = peers.until(bob, |peer| matches!(peer.state, ConnectionState::Reconnecting { .. }));
    let ConnectionState::Reconnecting { reason, .. } = bounded(refused).await.expect("open").state else {
        panic!("matched above")
    };

    let keys = format!("the key is {}, not {}", mallory.peer().short(), bob.short());
    assert!(reason.contains(&keys), "{reason:?} does not contain {keys:?}");
    assert!(space.status().await.expect("read").peers.is_empty());
    assert!(alice.peers().iter().all(|peer| peer.state != ConnectionState::Connected));
    bounded(mallory.close()).await.expect("closes cleanly");
    bounded(alice.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn an_invite_is_not_redeemed_by_another_node_at_the_address() {
    let dir = temp();
    let inviter = node(&dir, "inviter").await;
    let space = inviter.create_space("shop").await.expect("founded");
    let invite = space.invite(Role::Writer).await.expect("an owner");
    let (peer, address) = (inviter.peer(), inviter.addresses().expect("open")[0]);
    bounded(inviter.close()).await.expect("closes cleanly");
    let other = bounded(builder(&dir.path().join("other")).listen(address).open()).await.expect("free");
    let joiner = node(&dir, "joiner").await;

    let error = bounded(joiner.join(&invite)).await.expect_err("another key");

    let Error::Unreachable { peer: who, reason } = &error else { panic!("{error:?}") };
    let keys = format!("the key is {}, not {}", other.peer().short(), peer.short());
    assert_eq!(*who, peer);
    assert!(reason.contains(&keys), "{reason:?} does not contain {keys:?}");
    assert_eq!(joiner.spaces(), []);
    assert_eq!(joiner.peers(), [], "who could not be joined is not dialled");
    bounded(other.close()).await.expect("closes cleanly");
    bounded(joiner.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn an_invite_says_what_is_wrong_with_it() {
    let pair = Pair::open().await;
    let (c, d) = (node(&pair.dir, "c").await, node(&pair.dir, "d").await);
    let invite = pair.space_a.invite(Role::Writer).await.expect("an owner");
    bounded(c.join(&invite)).await.expect("the first");
    let expired = pair.space_a.invite_for(Role::Writer, 0).await.expect("an owner");

    let text = invite.to_string();
    let parsed = |text: &str| text.parse::<Invite>().map_err(|error| Error::from(error).to_string());
    let swapped = if text.ends_with('a') { "b" } else { "a" };
    let damaged = format!("{}{swapped}", &text[..text.len() - 1]);
    let wrong = "invite is not valid: the invite is damaged: copy all of it again";
    assert_eq!(parsed(&damaged), Err(wrong.to_owned()));
    assert_eq!(parsed(&text[..text.len() / 2]), Err(wrong.to_owned()));
    let none = "invite is not valid: this is not an invite: it does not begin with \"drift1\"";
    assert_eq!(parsed("hello"), Err(none.to_owned()));

    check_not_admitted(&d, &invite, "the invite was used already").await;
    check_not_admitted(&d, &expired, "the invite has expired").await;
    assert_eq!(d.spaces(), []);
    let fresh = join(&pair.space_a, &d, Role::Reader).await;
    assert_eq!(fresh.role(), Some(Role::Reader));
    bounded(c.close()).await.expect("closes cleanly");
    bounded(d.close()).await.expect("closes cleanly");
    pair.close().await;
}

#[tokio::test]
async fn what_the_role_or_a_rule_does_not_allow_is_denied_by_name_and_changes_nothing() {
    let pair = Pair::open().await;
    pair.space_a.set_rule("orders", Role::Reader, Role::Admin).await.expect("an owner");
    let reader = node(&pair.dir, "reader").await;
    let space = join(&pair.space_a, &reader, Role::Reader).await;
    let id = pair.tickets_a.insert(&ticket("kept")).await.expect("written");
    agree(&[&pair.space_a, &pair.space_b, &space], &[&pair.a, &pair.b, &reader]).await;
    let before = pair.space_a.fingerprint().await.expect("read");

    let tickets = space.collection::<Ticket>().expect("a name");
    let orders = pair.space_b.collection::<Order>().expect("a name");
    let by_reader = tickets.insert(&ticket("no")).await.expect_err("a reader");
    let deleted = tickets.delete(id).await.expect_err("a reader");
    let by_rule = orders.insert(&Order { total: 1 }).await.expect_err("a writer");
    // One collection that may not be written stops the whole commit.
    let both = pair.space_b.commit(|tx| {
        tx.update(id, |ticket: &mut Ticket| ticket.title = "changed".to_owned())?;
        tx.insert(&Order { total: 2 })
    });
    let both = both.await.expect_err("a writer");

    for (error, rule) in [(by_reader, "tickets"), (deleted, "tickets"), (by_rule, "orders"), (both, "orders")]
    {
        let Error::Denied { what, rule: told } = &error else { panic!("{error:?}") };
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(told.contains(rule) || what.contains(rule), "{error} does not name {rule}");
    }
    agree(&[&pair.space_a, &pair.space_b, &space], &[&pair.a, &pair.b, &reader]).await;
    assert_eq!(pair.space_a.fingerprint().await.expect("read"), before);
    bounded(reader.close()).await.expect("closes cleanly");
    pair.close().await;
}

#[tokio::test]
async fn values_that_are_too_large_are_refused_with_the_limit_and_leave_nothing() {
    let dir = temp();
    let node = node(&dir, "a").await;
    let space = node.create_space("shop").await.expect("founded");
    let tickets = space.collection::<Ticket>().expect("a name");
    let id = tickets.insert(&ticket("kept")).await.expect("written");
    let before = space.fingerprint().await.expect("read");

    let long = "x".repeat(driftless::limits::VALUE_BYTES_MAX + 1);
    let inserted = tickets.insert(&ticket(&long)).await.expect_err("too large");
    let updated = tickets.update(id, move |ticket: &mut Ticket| ticket.title = long).await;
    let updated = updated.expect_err("too large");
    // Each is small enough; together they are over what one commit may carry.
    let noise: Vec<String> = (0..9).map(noise).collect();
    let many = space.commit(|tx| noise.iter().try_for_each(|text| tx.insert(&ticket(text)).map(drop)));
    let many = many.await.expect_err("too large");

    for error in [inserted, updated, many] {
        assert!(matches!(error, Error::TooLarge { count, max, .. } if count > max && max > 0), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert_eq!(space.fingerprint().await.expect("read"), before);
    assert_eq!(tickets.all().await.expect("read"), [(id, ticket("kept"))]);
    bounded(node.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn an_entity_that_is_not_as_the_change_needs_it_is_named() {
    let pair = Pair::open().await;
    let there = pair.tickets_a.insert(&ticket("there")).await.expect("written");
    let gone = pair.tickets_a.insert(&ticket("gone")).await.expect("written");
    pair.tickets_a.delete(gone).await.expect("there");
    let missing = EntityId::from_key("ticket", b"missing");
    let change = |ticket: &mut Ticket| ticket.minutes.increment(1);

    let exists = pair.tickets_a.insert_with_id(there, &ticket("again")).await.expect_err("there");
    let deleted = pair.tickets_a.update(gone, change).await.expect_err("deleted");
    let unknown = pair.tickets_a.update(missing, change).await.expect_err("missing");
    let restored = pair.tickets_a.restore(missing).await.expect_err("missing");
    let panicked = pair.tickets_a.update(there, |_: &mut Ticket| panic!("on purpose")).await;
    let panicked = panicked.expect_err("it panicked");

    assert!(matches!(exists, Error::Exists { id: Some(id) } if id == there), "{exists:?}");
    assert!(matches!(deleted, Error::Deleted { id: Some(id) } if id == gone), "{deleted:?}");
    assert!(matches!(unknown, Error::NotFound { .. }), "{unknown:?}");
    assert!(matches!(restored, Error::NotFound { .. }), "{restored:?}");
    assert!(matches!(panicked, Error::Abandoned { .. }), "{panicked:?}");
    assert_eq!(pair.tickets_a.all().await.expect("read"), [(there, ticket("there"))]);
    pair.close().await;
}

#[tokio::test]
async fn nothing_works_after_closing_and_everything_says_so() {
    let pair = Pair::open().await;
    let Pair { a, space_a: space, tickets_a: tickets, .. } = &pair;
    let id = tickets.insert(&ticket("kept")).await.expect("written");
    let invite = space.invite(Role::Writer).await.expect("an owner");
    let member = space.members()[0].id;
    bounded(a.close()).await.expect("closes cleanly");

    check_closed(tickets.insert(&ticket("x")).await);
    check_closed(tickets.update(id, |_: &mut Ticket| {}).await);
    check_closed(tickets.delete(id).await);
    check_closed(tickets.get(id).await);
    check_closed(tickets.all().await);
    check_closed(tickets.changes().await);
    check_closed(tickets.conflicts(id).await);
    check_closed(tickets.sync_status(id).await);
    check_closed(space.commit(|tx| tx.delete::<Ticket>(id)).await);
    check_closed(space.invite(Role::Writer).await);
    check_closed(space.remove_member(member).await);
    check_closed(space.set_rule("orders", Role::Reader, Role::Admin).await);
    check_closed(space.status().await);
    check_closed(space.fingerprint().await);
    check_closed(space.sync_now().await);
    check_closed(a.create_space("y").await);
    check_closed(a.join(&invite).await);
    check_closed(a.add_peer(PeerId::new([7; 32]), ["127.0.0.1:9"]).await);
    check_closed(a.remove_peer(pair.b.peer()).await);
    check_closed(a.pause().await);
    check_closed(a.resume().await);
    check_closed(a.wake().await);
    check_closed(a.sync_now().await);
    check_closed(a.addresses());
    bounded(pair.b.close()).await.expect("closes cleanly");
}

#[cfg(unix)]
#[tokio::test]
async fn a_device_key_that_others_may_read_is_refused_until_it_is_private_again() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = temp();
    let (path, peer, shop) = closed_with_a_ticket(&dir, "a").await;
    let key = path.join("device.key");
    let mode = |mode| std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("ours");

    mode(0o640);
    let error = bounded(builder(&path).open()).await.expect_err("open to others");

    let Error::Key { path: named, reason, damaged: false } = &error else { panic!("{error:?}") };
    assert_eq!(*named, key);
    assert!(reason.contains("mode 640"), "{reason}");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    mode(0o600);
    check_opens_with_the_ticket(&path, peer, &shop).await;
}

#[tokio::test]
async fn a_damaged_device_key_is_refused_until_it_is_restored() {
    let dir = temp();
    let (path, peer, shop) = closed_with_a_ticket(&dir, "a").await;
    let key = path.join("device.key");
    let whole = std::fs::read(&key).expect("written at opening");

    for damaged in [b"".as_slice(), &whole[..whole.len() / 2], &[b'0'; 91]] {
        std::fs::write(&key, damaged).expect("ours");
        let error = bounded(builder(&path).open()).await.expect_err("damaged");
        assert!(matches!(&error, Error::Key { path, damaged: true, .. } if *path == key), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    std::fs::write(&key, whole).expect("ours");
    check_opens_with_the_ticket(&path, peer, &shop).await;
}

#[tokio::test]
async fn two_nodes_in_one_directory_are_refused_and_the_first_goes_on() {
    let dir = temp();
    let first = node(&dir, "a").await;
    let orders = first.create_space("shop").await.expect("founded").collection::<Order>().expect("a name");

    let second = bounded(builder(first.path()).open()).await.expect_err("in use");
    let aside = driftless::set_aside(first.path()).expect_err("in use");

    for error in [second, aside] {
        assert!(matches!(error, Error::Locked { .. }), "{error:?}");
        assert!(error.is_retryable());
    }
    let id = orders.insert(&Order { total: 1 }).await.expect("still open");
    assert_eq!(orders.get(id).await.expect("read"), Some(Order { total: 1 }));
    bounded(first.close()).await.expect("closes cleanly");
}

/// Damage is told, or does no harm, or costs what a peer then gives back: it is never served.
#[tokio::test]
async fn a_damaged_store_is_told_or_healed_and_never_served() {
    let pair = Pair::open().await;
    for number in 0..40 {
        pair.tickets_a.insert(&ticket(&format!("ticket {number}"))).await.expect("written");
    }
    pair.agree().await;
    let truth = pair.tickets_b.all().await.expect("read");
    let (path, shop) = (pair.a.path().to_owned(), pair.space_a.id());
    bounded(pair.a.close()).await.expect("closes cleanly");
    let sound = pair.dir.path().join("sound");
    copy(&path, &sound);
    let db = path.join("store/store/db");
    let bytes = std::fs::read(&db).expect("the engine's file").len();
    let written = std::fs::read(&db).expect("there").iter().rposition(|byte| *byte != 0).unwrap_or(0);

    let (mut told, mut opened) = (0, 0);
    for round in 0..12_usize {
        copy(&sound, &path);
        if round < 3 {
            let file = std::fs::OpenOptions::new().write(true).open(&db).expect("ours");
            file.set_len((bytes * round / 4) as u64).expect("ours");
        } else {
            let mut flipped = std::fs::read(&db).expect("there");
            flipped[written * (round - 2) / 10] ^= 0x55;
            std::fs::write(&db, flipped).expect("ours");
        }
        match bounded(builder(&path).open()).await {
            Err(error) => {
                assert!(matches!(error, Error::Corrupt { .. }), "round {round}: {error:?}");
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                told += 1;
            }
            Ok(node) => {
                check_serves_nothing_else(&node, &truth).await;
                if let Ok(space) = node.space(shop) {
                    heal(&node, &space, &pair.b, &pair.space_b).await;
                }
                // A store that failed says so when it is closed.
                let _closed_or_failed = bounded(node.close()).await;
                opened += 1;
            }
        }
    }

    assert_eq!(told + opened, 12);
    assert!(told > 0, "no damage was ever told, so nothing was shown");
    copy(&sound, &path);
    let again = bounded(builder(&path).open()).await.expect("as it was");
    let tickets = again.space(shop).expect("kept").collection::<Ticket>().expect("a name");
    assert_eq!(tickets.all().await.expect("read"), truth);
    bounded(again.close()).await.expect("closes cleanly");
    bounded(pair.b.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn a_store_that_is_set_aside_makes_way_and_the_device_gets_back_by_its_own_invite() {
    let dir = temp();
    let (a, b) = (node(&dir, "a").await, node(&dir, "b").await);
    let space_a = a.create_space("shop").await.expect("founded");
    let first = space_a.invite(Role::Writer).await.expect("an owner");
    let space_b = bounded(b.join(&first)).await.expect("the inviter is there");
    let id = space_b.collection::<Ticket>().expect("a name").insert(&ticket("kept")).await.expect("written");
    agree(&[&space_a, &space_b], &[&a, &b]).await;
    let (path, peer) = (b.path().to_owned(), b.peer());
    bounded(b.close()).await.expect("closes cleanly");
    std::fs::write(path.join("store/store/db"), b"nonsense").expect("ours");
    std::fs::write(path.join("store/store/conf"), b"nonsense").expect("ours");
    let damaged = bounded(builder(&path).open()).await.expect_err("damaged");
    assert!(matches!(damaged, Error::Corrupt { .. }), "{damaged:?}");

    let aside = driftless::set_aside(&path).expect("nobody has it open");
    let fresh = bounded(builder(&path).open()).await.expect("an empty store");

    assert!(aside.join("db").exists());
    assert_eq!((fresh.peer(), fresh.spaces()), (peer, vec![]));
    let second = space_a.invite(Role::Writer).await.expect("an owner");
    check_not_admitted(&fresh, &second, "the device is a member already").await;
    let space = bounded(fresh.join(&first)).await.expect("the invite that it joined by");
    agree(&[&space_a, &space], &[&a, &fresh]).await;
    let tickets = space.collection::<Ticket>().expect("a name");
    assert_eq!(tickets.get(id).await.expect("read"), Some(ticket("kept")));
    tickets.insert(&ticket("goes on")).await.expect("written");
    agree(&[&space_a, &space], &[&a, &fresh]).await;
    assert!(space_a.status().await.expect("read").quarantined.is_empty());
    bounded(fresh.close()).await.expect("closes cleanly");
    bounded(a.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_acknowledged_is_lost() {
    let Some(disk) = Image::mount(64) else { return };
    let path = disk.at("a");
    let open = builder(&path).durability(Durability::Synced);
    let first = bounded(open.open()).await.expect("there is room");
    let space = first.create_space("shop").await.expect("founded");
    let tickets = space.collection::<Ticket>().expect("a name");
    disk.fill(4);

    let mut kept = Vec::new();
    let mut refused = None;
    for number in 0..20_000 {
        match tickets.insert(&ticket(&noise(number))).await {
            Ok(id) => kept.push((id, number)),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("the disk is small");
    let then = tickets.insert(&ticket("x")).await.expect_err("it failed before");

    assert!(matches!(refused, Error::DiskFull), "{refused:?}");
    assert_eq!((refused.kind(), refused.is_retryable()), (ErrorKind::Unavailable, true));
    assert!(matches!(then, Error::StoreFailed { .. } | Error::DiskFull), "{then:?}");
    // The store failed, so closing says so; the directory is free all the same.
    let _failed = bounded(first.close()).await;
    let elsewhere = bounded(builder(&disk.at("b")).open()).await.expect_err("no room");
    assert!(matches!(elsewhere, Error::DiskFull | Error::Io { .. }), "{elsewhere:?}");

    disk.make_room();
    let again = bounded(builder(&path).open()).await.expect("there is room again");
    let tickets = again.space(space.id()).expect("kept").collection::<Ticket>().expect("a name");
    for (id, number) in kept {
        assert_eq!(tickets.get(id).await.expect("read"), Some(ticket(&noise(number))));
    }
    tickets.insert(&ticket("there is room")).await.expect("written");
    bounded(again.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn a_disk_that_may_only_be_read_is_told() {
    let Some(disk) = Image::mount(64) else { return };
    let path = disk.at("a");
    let first = bounded(builder(&path).open()).await.expect("fresh");
    let space = first.create_space("shop").await.expect("founded").id();
    bounded(first.close()).await.expect("closes cleanly");
    disk.remount("ro");

    let error = bounded(builder(&path).open()).await.expect_err("read-only");
    let fresh = bounded(builder(&disk.at("b")).open()).await.expect_err("read-only");

    assert!(matches!(&error, Error::Io { what, .. } if what == "the store"), "{error:?}");
    assert!(matches!(&fresh, Error::Io { .. }), "{fresh:?}");
    assert_eq!((error.kind(), fresh.kind()), (ErrorKind::Unavailable, ErrorKind::Unavailable));
    disk.remount("rw");
    let again = bounded(builder(&path).open()).await.expect("writable again");
    assert!(again.space(space).is_ok());
    bounded(again.close()).await.expect("closes cleanly");
}

async fn check_not_admitted(node: &Node, invite: &Invite, why: &str) {
    let error = bounded(node.join(invite)).await.expect_err("refused");
    assert!(matches!(&error, Error::NotAdmitted { reason } if reason.contains(why)), "{error:?}: {why}");
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[track_caller]
fn check_closed<T>(result: Result<T, Error>) {
    let error = result.err().expect("the node is closed");
    assert!(matches!(error, Error::Closed), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Closed);
}

/// Makes a node with one ticket and closes it.
async fn closed_with_a_ticket(dir: &tempfile::TempDir, name: &str) -> (PathBuf, PeerId, String) {
    let node = node(dir, name).await;
    let space = node.create_space("shop").await.expect("founded");
    let tickets = space.collection::<Ticket>().expect("a name");
    tickets.insert(&ticket("kept")).await.expect("written");
    bounded(node.close()).await.expect("closes cleanly");
    (node.path().to_owned(), node.peer(), space.name().to_owned())
}

async fn check_opens_with_the_ticket(path: &Path, peer: PeerId, shop: &str) {
    let node = bounded(builder(path).open()).await.expect("as it was");
    let space = node.spaces().into_iter().next().expect("kept");
    let tickets = space.collection::<Ticket>().expect("a name").all().await.expect("read");
    let titles: Vec<String> = tickets.into_iter().map(|(_, ticket)| ticket.title).collect();
    assert_eq!((node.peer(), space.name(), titles), (peer, shop, vec!["kept".to_owned()]));
    bounded(node.close()).await.expect("closes cleanly");
}

/// What a damaged store serves is true, or it is an error.
async fn check_serves_nothing_else(node: &Node, truth: &[(EntityId, Ticket)]) {
    for space in node.spaces() {
        let tickets = space.collection::<Ticket>().expect("a name");
        for (id, ticket) in truth {
            match tickets.get(*id).await {
                Ok(Some(found)) => assert_eq!(found, *ticket),
                Ok(None) => {}
                Err(error) => check_damage(&error),
            }
        }
    }
}

#[track_caller]
fn check_damage(error: &Error) {
    assert!(matches!(error, Error::Corrupt { .. } | Error::StoreFailed { .. }), "{error:?}");
}

/// Syncs a node that lost something with one that has it, unless its store fails while at it.
async fn heal(node: &Node, space: &Space, other: &Node, other_space: &Space) {
    bounded(async {
        loop {
            node.add_peer(other.peer(), other.addresses().expect("open")).await.expect("noted");
            node.sync_now().await.expect("open");
            let here = match space.fingerprint().await {
                Ok(here) => here,
                Err(error) => return check_damage(&error),
            };
            let failed = space.collection::<Ticket>().expect("a name").all().await.err();
            if let Some(error) = failed {
                return check_damage(&error);
            }
            if here == other_space.fingerprint().await.expect("open") {
                return;
            }
        }
    })
    .await;
}

/// A text of 96 KiB that does not compress.
fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    };
    (0..96 * 1024).map(|_| next()).collect()
}
