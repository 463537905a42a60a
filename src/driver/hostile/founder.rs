//! The thief of the founder's phone, and who holds the recovery key.

use super::past::{hear_log, say, statements};
use super::*;
use crate::access::{Body, Cut, Genesis, Invite, InviteKind, JoinReply};
use crate::wire::{Introduce, Statements};

/// The secret of the exporter of connections that are not there: nodes join this space by hand.
const EXPORTER: [u8; 32] = [5; 32];
const EXPIRY: Timestamp = Timestamp::from_unix_ms(i64::MAX / 4);
const NOW: Timestamp = Timestamp::from_unix_ms(1);

/// An attacker whose log is of a space that it founded, with the key of `recovery` above all members.
async fn founder(seed: u8, recovery: &Identity) -> Attacker {
    let identity = Identity::from_seed([seed; 32]);
    let genesis = Genesis {
        name: "with recovery".to_owned(),
        member_name: "Fay".to_owned(),
        device_name: "phone".to_owned(),
        nonce: [9; 32],
        recovery: Some(recovery.peer()),
        enc_pk: None,
    };
    let (log, _) = Log::found_with(&identity, genesis).expect("short names");
    let mut founder = Attacker::stranger(seed, log.space()).await;
    founder.log = Some(log);
    founder
}

/// Lets a node into the founder's space, without a connection.
async fn let_in(founder: &mut Attacker, node: &Driver) {
    let log = founder.log.as_mut().expect("it founded");
    let secret = *node.peer().as_bytes().first_chunk().expect("32 bytes");
    let invite =
        Invite::new(InviteKind::Member, log.space(), founder.identity.peer(), vec![], secret, EXPIRY);
    let invite = invite.expect("no addresses");
    let invited = log.invite(&founder.identity, Role::Writer, invite.key(), EXPIRY).expect("the founder may");
    log.insert(invited).expect("made here");
    let call = node
        .call(Until::Synced, move |turn| turn.replica.join_request(&invite, "member", "device", &EXPORTER));
    let request = bounded(call).await.expect("short names");
    let redeemed = log.redeem(&founder.identity, &request, node.peer(), &EXPORTER, NOW).expect("in time");
    log.insert(redeemed).expect("made here");
    let joined = Ask::Joined { from: founder.identity.peer(), reply: JoinReply::parts(log).concat() };
    let call = node.call(Until::Synced, move |turn| Ok(turn.replica.answer(turn.now, joined)));
    assert!(matches!(bounded(call).await, Ok(Answer::Done)));
}

/// What the holder of the recovery key says: that the phone was gone by then, and that Fay has another one.
fn rescue(founder: &Attacker, before: &[StatementHash], recovery: &Identity, other: &Attacker) -> Log {
    let mut log = founder.log.clone().expect("it founded");
    let fay = log.membership().members().first().expect("the founder").id;
    let gone = log.remove_device_at(recovery, founder.peer(), before, Cut::default()).expect("above all");
    log.insert(gone).expect("made here");
    let invite = Invite::new(InviteKind::Device, log.space(), recovery.peer(), vec![], [3; 16], EXPIRY);
    let invite = invite.expect("no addresses");
    let invited = log.invite_device_of(recovery, fay, invite.key(), EXPIRY).expect("above all");
    log.insert(invited).expect("made here");
    let request = invite.request(&other.identity, "", "another phone", &EXPORTER).expect("short");
    let redeemed = log.redeem(recovery, &request, other.peer(), &EXPORTER, NOW).expect("in time");
    log.insert(redeemed).expect("made here");
    log
}

/// The thief removes all others, each of which hears it and stops. The holder of the recovery key removes the
/// phone as of before that, so what it said is void: whoever was removed is a member again, and hears so from
/// the new phone, which shows the statements by which it belongs. Seen failing with `Speaker::Recovery` no senior
/// in `Resolver::is_senior`: nobody came back.
#[tokio::test]
async fn attack_38_who_was_removed_by_a_stolen_phone_comes_back_by_the_recovery_key() {
    let mut scene = Scene::open().await;
    let recovery = Identity::from_seed([200; 32]);
    let mut thief = founder(66, &recovery).await;
    let shop = std::mem::replace(&mut scene.space, thief.space);
    for node in [&scene.victim, &scene.honest] {
        let_in(&mut thief, node).await;
    }
    // Each hears of the other from the founder.
    for node in [&scene.victim, &scene.honest] {
        let mut wire = greet(&scene, node, &thief).await;
        let all = thief.log.as_ref().expect("it founded").statements().cloned().collect::<Vec<_>>();
        wire.send(&statements(&all)).await;
        hear_log(&mut wire, &mut thief.log.clone().expect("it founded")).await;
    }
    let entity = scene.entity;
    write(&scene.victim, scene.space, entity, Intent::Create, doc::insert(ticket("tap"))).await;
    scene.agree().await;
    let before = thief.heads();

    for device in [scene.honest.peer(), scene.victim.peer()] {
        let log = thief.log.as_mut().expect("it founded");
        let member = log.membership().member_of(&device).expect("let in").id;
        let removal = say(&thief, Body::RemoveMember { member, cut: Cut::default() });
        thief.log.as_mut().expect("it founded").insert(removal).expect("the most senior");
    }
    let all: Vec<_> = thief.log.as_ref().expect("it founded").statements().cloned().collect();
    for node in [&scene.victim, &scene.honest] {
        let wire = greet(&scene, node, &thief).await;
        wire.send(&statements(&all)).await;
        let _its_end = wire.end().await;
        assert_eq!(role(node, scene.space, node.peer()), None, "it heard that it was removed");
    }

    let phone = Attacker::stranger(67, scene.space).await;
    let log = rescue(&thief, &before, &recovery, &phone);
    let phone = Attacker { log: Some(log), ..phone };
    for node in [&scene.victim, &scene.honest] {
        let wire = introduced(&scene, node, &phone).await;
        assert_eq!(role(node, scene.space, node.peer()), Some(Role::Writer), "it is a member again");
        assert_eq!(role(node, scene.space, thief.peer()), None);
        assert_eq!(role(node, scene.space, phone.peer()), Some(Role::Owner));
        drop(wire);
    }
    let title = read(&scene.victim, scene.space, entity).map(|ticket| ticket.title);
    assert_eq!(title.as_deref(), Some("tap"), "and so is what it wrote");
    scene.unharmed().await;
    scene.space = shop;
    scene.close().await;
}

fn role(node: &Driver, space: SpaceId, device: PeerId) -> Option<Role> {
    node.feed().membership(&space).expect("here").role(&device)
}

async fn dial(scene: &Scene, node: &Driver, attacker: &Attacker) -> Wire {
    let address = node.addresses().expect("open")[0];
    let connect = attacker.endpoint.connect(node.peer(), address, Protocol::Sync);
    let connection = bounded(connect).await.expect("the node is there");
    Wire { connection, space: scene.space, farewell: None }
}

/// Greets a node, whichever it is, as a member of the space of the scene.
async fn greet(scene: &Scene, node: &Driver, attacker: &Attacker) -> Wire {
    let mut wire = dial(scene, node, attacker).await;
    wire.send(&wire.hello(attacker, scene.space)).await;
    let answer = wire.until(|message| matches!(message, Message::HelloAck(_))).await;
    answer.expect("one who belongs is greeted");
    wire.connection.greeted();
    wire
}

/// The same by a device of which the node has not heard: it shows its statements first.
async fn introduced(scene: &Scene, node: &Driver, attacker: &Attacker) -> Wire {
    let mut wire = dial(scene, node, attacker).await;
    let log = attacker.log.as_ref().expect("let in");
    let statements = log.statements().skip(1).map(|statement| statement.bytes().to_vec()).collect();
    let tag = tag(&wire.connection.exporter(), scene.space);
    wire.send(&Message::Introduce(Introduce { tag, statements })).await;
    wire.send(&wire.hello(attacker, scene.space)).await;
    let answer = wire.until(|message| matches!(message, Message::HelloAck(_))).await;
    answer.expect("its statements make it a member");
    wire.connection.greeted();
    let said = Message::Statements(Statements {
        slot: SLOT,
        statements: log.statements().map(|statement| statement.bytes().to_vec()).collect(),
    });
    wire.send(&said).await;
    hear_log(&mut wire, &mut log.clone()).await;
    wire
}
