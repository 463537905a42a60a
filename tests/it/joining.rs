//! Being let in when somebody has to approve, over real connections.

use driftless::{Asked, Error, ErrorKind, Joining, Node, Role, Space, SpaceEvent};

use crate::common::{Ticket, agree, bounded, node, temp, ticket};

#[tokio::test]
async fn a_request_waits_through_restarts_of_both_sides_and_both_show_one_code() {
    let dir = temp();
    let (a, b) = (node(&dir, "a").await, node(&dir, "b").await);
    let shop = a.create_space("shop").await.expect("founded");
    let invite = shop.invite_with_approval(Role::Writer).await.expect("an owner");
    let mut events = shop.events();

    let joining = waits(&b, &invite).await;
    let request = loop {
        if let SpaceEvent::JoinRequested { request } = bounded(events.next()).await.expect("open") {
            break request;
        }
    };
    assert_eq!((request.device, request.code), (b.peer(), joining.code()));
    assert_eq!((request.member_name.as_str(), request.device_name.as_str()), ("person of b", "b"));
    assert_eq!(b.spaces(), []);
    let waiting = bounded(joining.wait(0)).await.expect_err("nobody has approved");
    assert!(matches!(&waiting, Error::AwaitingApproval { code } if *code == request.code.to_string()));
    assert!(waiting.is_retryable());
    drop((shop, events, joining));
    bounded(a.close()).await.expect("closes cleanly");
    bounded(b.close()).await.expect("closes cleanly");

    let (a, b) = (node(&dir, "a").await, node(&dir, "b").await);
    let shop = a.spaces().remove(0);
    assert_eq!(shop.join_requests().await.expect("open"), std::slice::from_ref(&request));
    let joining = b.joining().await.expect("open").remove(0);
    assert_eq!(joining.code(), request.code);
    shop.approve(request.device).await.expect("it waits");
    let joined = bounded(joining.wait(10_000)).await.expect("approved");

    assert_eq!(shop.join_requests().await.expect("open"), []);
    assert!(b.joining().await.expect("open").is_empty());
    let twice = shop.approve(request.device).await.expect_err("approved already");
    assert_eq!(twice.kind(), ErrorKind::NotFound);
    check_shared(&a, &shop, &b, &joined).await;
    bounded(a.close()).await.expect("closes cleanly");
    bounded(b.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn a_join_ends_when_somebody_approves_meanwhile() {
    let dir = temp();
    let (a, b) = (node(&dir, "a").await, node(&dir, "b").await);
    let shop = a.create_space("shop").await.expect("founded");
    let invite = shop.invite_with_approval(Role::Reader).await.expect("an owner");
    let mut events = shop.events();

    let approving = async {
        loop {
            if let SpaceEvent::JoinRequested { request } = events.next().await.expect("open") {
                return shop.approve(request.device).await;
            }
        }
    };
    let (joined, approved) = bounded(async { tokio::join!(b.join(&invite), approving) }).await;

    approved.expect("it waits");
    assert_eq!(joined.expect("approved").role(), Some(Role::Reader));
    bounded(a.close()).await.expect("closes cleanly");
    bounded(b.close()).await.expect("closes cleanly");
}

#[tokio::test]
async fn a_declined_device_and_one_whose_invite_is_revoked_hear_it() {
    let dir = temp();
    let (a, b, c) = (node(&dir, "a").await, node(&dir, "b").await, node(&dir, "c").await);
    let shop = a.create_space("shop").await.expect("founded");
    let invite = shop.invite_with_approval(Role::Writer).await.expect("an owner");
    let (by_b, by_c) = (waits(&b, &invite).await, waits(&c, &invite).await);
    assert_ne!(by_b.code(), by_c.code());

    shop.decline(b.peer()).await.expect("it waits");
    check_over(&b, by_b, "the request was declined").await;
    let again = bounded(b.join(&invite)).await.expect_err("declined");
    assert_eq!(again.kind(), ErrorKind::Denied);
    assert_eq!(shop.join_requests().await.expect("open").len(), 1);
    shop.revoke_invite(&invite).await.expect("its maker");
    check_over(&c, by_c, "the invite was revoked").await;

    assert_eq!(shop.members().len(), 1);
    for node in [a, b, c] {
        bounded(node.close()).await.expect("closes cleanly");
    }
}

#[tokio::test]
async fn a_space_with_a_long_log_lets_devices_in() {
    let dir = temp();
    let (a, b) = (node(&dir, "a").await, node(&dir, "b").await);
    let shop = a.create_space("shop").await.expect("founded");
    // More than one frame holds.
    for _ in 0..700 {
        shop.invite(Role::Reader).await.expect("an owner");
    }

    let invite = shop.invite(Role::Writer).await.expect("an owner");
    let joined = bounded(b.join(&invite)).await.expect("let in");

    check_shared(&a, &shop, &b, &joined).await;
    bounded(a.close()).await.expect("closes cleanly");
    bounded(b.close()).await.expect("closes cleanly");
}

async fn waits(node: &Node, invite: &driftless::Invite) -> Joining {
    match bounded(node.ask_to_join(invite)).await.expect("the inviter is there") {
        Asked::Waits(joining) => joining,
        Asked::In(space) => panic!("let in without approval: {space:?}"),
    }
}

/// The request ended, and is forgotten.
async fn check_over(node: &Node, joining: Joining, why: &str) {
    let over = bounded(joining.wait(10_000)).await.expect_err("not let in");
    assert!(matches!(&over, Error::NotAdmitted { reason } if reason.contains(why)), "{over}");
    assert!(node.joining().await.expect("open").is_empty());
}

async fn check_shared(a: &Node, shop: &Space, b: &Node, joined: &Space) {
    let tickets = shop.collection::<Ticket>().expect("a name");
    let id = tickets.insert(&ticket("for all")).await.expect("written");
    agree(&[shop, joined], &[a, b]).await;
    let seen = joined.collection::<Ticket>().expect("a name").get(id).await.expect("read");
    assert_eq!(seen.map(|ticket| ticket.title), Some("for all".to_owned()));
}
