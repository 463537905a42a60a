//! Commits that are not what their signature says, or that their author might not make.

use super::*;
use crate::access::Slot;
use crate::doc::tests::samples;
use crate::id::ChangeHash;

/// Seen failing: without the comparison of the actor in `replica::receive::prescan` the change was applied as the victim's;
/// without `commit.verify()` in `Replica::inspect` the commit in the victim's name was taken.
#[tokio::test]
async fn attack_10_nobody_writes_under_the_actor_of_another_device() {
    let scene = Scene::open().await;
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let document = scene.document().await;
    let victim = scene.commits(&scene.victim).await;
    let origin = victim.iter().map(|commit| commit.origin).find(|origin| origin.peer == scene.victim.peer());
    let actor = ActorId::derive(&scene.space, &scene.entity, &origin.expect("it wrote the ticket"));
    let edit = doc::update(|ticket: &mut Ticket| ticket.title = "as the victim".to_owned());
    let made =
        edit(&mut document.clone(), &actor, Timestamp::from_unix_ms(1)).expect("fit").expect("changes");
    let mut wire = scene.greet(&mallory).await;

    let own_name = mallory.commit(scene.entity, made.seq, made.bytes.clone());
    wire.live(&own_name).await.expect("held, not refused");
    let victims_name =
        Commit { origin: origin.expect("found"), ..mallory.commit(scene.entity, made.seq, made.bytes) };
    let end = wire.batch(1, &[victims_name]).await.expect_err("no signature of the victim");

    assert_eq!(scene.reason(mallory.peer()), HeldReason::Malformed);
    end.assert(REFUSED, "refused");
    scene.close().await;
}

/// Seen failing: without `commit.verify()` in `Replica::inspect` the change landed in the other document.
#[tokio::test]
async fn attack_11_a_signature_is_good_for_one_document_in_one_space() {
    let mut scene = Scene::open().await;
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let commits = scene.commits(&scene.victim).await;
    let by_honest = commits.into_iter().find(|commit| commit.origin.peer == scene.honest.peer());
    let mut replayed = by_honest.expect("the scene has one");
    for slot in &mut replayed.slots {
        if let Slot::Open { leaf, .. } = slot {
            leaf.entity = EntityId::new([9; 16]);
        }
    }
    let mut wire = scene.greet(&mallory).await;

    let end = wire.live(&replayed).await.expect_err("another document");
    end.assert(REFUSED, "refused");
    assert_eq!(read(&scene.victim, scene.space, EntityId::new([9; 16])), None);

    let shop = scene.space;
    let elsewhere = mallory.insertion(EntityId::new([8; 16]), "of the shop");
    scene.space = found(&scene.victim, "another").await;
    let member = scene.attacker(66, Role::Writer).await;
    let mut wire = scene.greet(&member).await;
    let end = wire.batch(1, &[elsewhere]).await.expect_err("another space");
    end.assert(REFUSED, "refused");
    assert_eq!(read(&scene.victim, scene.space, EntityId::new([8; 16])), None);
    scene.space = shop;
    scene.close().await;
}

/// Seen failing: without `commit.verify()` in `Replica::inspect` the first was taken.
#[tokio::test]
async fn attack_12_a_signature_with_a_flipped_bit_and_a_second_encoding_are_refused() {
    let scene = Scene::open().await;
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let good = mallory.insertion(EntityId::new([8; 16]), "good");

    for bit in [0, 255, 256, 504, 511] {
        let mut flipped = good.clone();
        flipped.signature.0[bit / 8] ^= 1 << (bit % 8);
        let end = scene.greet(&mallory).await.live(&flipped).await.expect_err("no signature of anybody");
        end.assert(REFUSED, "1 commits were refused");
    }
    let twice = Commit { at: [good.at.clone(), good.at.clone()].concat(), ..good.clone() };
    let trailing = [good.encode(), vec![0]].concat();
    let truncated = good.encode()[..good.encode().len() - 1].to_vec();
    for commit in [twice.encode(), trailing, truncated, Vec::new(), vec![0xff; 1_000]] {
        let wire = scene.greet(&mallory).await;
        wire.send(&Message::Live(Live { slot: SLOT, commit })).await;
        wire.end().await.assert(REFUSED, "cannot be read");
    }

    assert_eq!(read(&scene.victim, scene.space, EntityId::new([8; 16])), None);
    scene.greet(&mallory).await.live(&good).await.expect("the commit itself is good");
    assert_eq!(
        read(&scene.victim, scene.space, EntityId::new([8; 16])).map(|t| t.title),
        Some("good".to_owned())
    );
    scene.close().await;
}

/// A position that never becomes known holds the commit for good, and nothing else. Seen failing, as not
/// allowed, with the case left out of `Replica::authorise`.
#[tokio::test]
async fn attack_13_a_commit_at_an_unknown_position_waits() {
    let scene = Scene::open().await;
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let mut wire = scene.greet(&mallory).await;
    let known = mallory.insertion(EntityId::new([8; 16]), "early");
    let open = known.open().map(|(leaf, change)| (leaf.clone(), change.to_vec())).collect();
    let at = vec![StatementHash::new([7; 32])];
    let early = Commit::sign(&mallory.identity, scene.space, mallory.origin(), at, open).expect("signs");

    wire.live(&early).await.expect("held, not refused");

    assert_eq!(scene.reason(mallory.peer()), HeldReason::UnknownPosition);
    scene.close().await;
}

/// Seen failing: without the comparison with the record of the number in `Replica::fresh_slots`, the second was
/// taken for the first; without `Engine::tell_clash` the honest device went on showing the first.
#[tokio::test]
async fn attack_14_two_commits_with_one_number_are_proof_for_all_and_neither_counts() {
    let scene = Scene::open().await;
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let mut wire = scene.greet(&mallory).await;
    let entity = EntityId::new([8; 16]);
    let [first, second] = with_one_number(&mut mallory, entity);
    wire.live(&first).await.expect("a good commit");
    scene.agree().await;
    assert_eq!(read(&scene.honest, scene.space, entity).map(|t| t.title), Some("first".to_owned()));

    wire.batch(1, &[second]).await.expect("held, not refused");
    scene.agree().await;

    for node in [&scene.victim, &scene.honest] {
        let held = node.reader().expect("open").quarantine(&scene.space).expect("reads");
        let reasons: Vec<_> = held.iter().map(|held| (held.author, held.reason)).collect();
        assert_eq!(reasons, [(mallory.peer(), HeldReason::Equivocation); 2]);
        assert_eq!(read(node, scene.space, entity), None);
    }
    scene.close().await;
}

/// Seen failing with nobody speaking under a clash in `speaks`: the honest edit went too.
#[tokio::test]
async fn attack_15_the_commit_that_an_honest_device_built_on_stays() {
    let scene = Scene::open().await;
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let mut wire = scene.greet(&mallory).await;
    let entity = EntityId::new([8; 16]);
    let [first, second] = with_one_number(&mut mallory, entity);
    wire.live(&first).await.expect("a good commit");
    scene.agree().await;
    write(&scene.honest, scene.space, entity, Intent::Change, raise()).await;
    scene.agree().await;

    wire.batch(1, &[second]).await.expect("held, not refused");
    scene.agree().await;

    assert_eq!(scene.reason(mallory.peer()), HeldReason::Equivocation);
    for node in [&scene.victim, &scene.honest] {
        assert_eq!(
            read(node, scene.space, entity).map(|t| (t.title, t.price)),
            Some(("first".to_owned(), 1))
        );
    }
    scene.close().await;
}

/// Seen failing: with `Replica::authorise` content with everything, the reader's changes were applied.
#[tokio::test]
async fn attack_18_a_readers_change_is_not_let_in_by_the_admin_who_relays_it() {
    let scene = Scene::open().await;
    let admin = scene.attacker(66, Role::Admin).await;
    let mut reader = scene.attacker(77, Role::Reader).await;
    let document = scene.document().await;
    let mut wire = scene.greet(&admin).await;

    let (one, two) =
        (reader.update(&document, scene.entity, "read"), reader.insertion(EntityId::new([8; 16]), "x"));
    wire.live(&one).await.expect("held, not refused");
    wire.batch(1, &[two]).await.expect("held, not refused");

    let reasons: Vec<_> = scene.held().iter().map(|held| (held.author, held.reason)).collect();
    assert_eq!(reasons, [(reader.peer(), HeldReason::NotAllowed); 2]);
    assert_eq!(read(&scene.victim, scene.space, EntityId::new([8; 16])), None);
    scene.close().await;
}

/// Seen failing: without the rule in `Membership::may_at` the commit was applied.
#[tokio::test]
async fn attack_19_a_writer_does_not_write_what_admins_write() {
    let scene = Scene::open().await;
    let (space, employees) = (scene.space, collection("employees"));
    let rule = employees.clone();
    let call = scene.victim.call(Until::Synced, move |turn| {
        turn.replica.set_rule(turn.now, space, &rule, Role::Reader, Role::Admin)
    });
    bounded(call).await.expect("an owner may");
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let mut wire = scene.greet(&mallory).await;
    let insertion = mallory.insertion(EntityId::new([8; 16]), "me");
    let change = insertion.open().next().expect("one leaf").1.to_vec();
    let commit = mallory.commit_in(employees.clone(), EntityId::new([8; 16]), 1, change);

    wire.live(&commit).await.expect("held, not refused");

    assert_eq!(scene.reason(mallory.peer()), HeldReason::NotAllowed);
    let root = scene.roots(&scene.victim).await.get(&employees).map(|state| state.root);
    assert_eq!(root.unwrap_or_default(), Root::EMPTY);
    scene.close().await;
}

/// There is no rule for a field. What only admins may write goes into a collection with a rule, as an entity of
/// the same id: a wage beside an employee. Whoever may write the one writes neither the other, nor the other's
/// entity by naming the collection that is open to it. Seen failing with every role enough in
/// `membership::judge`: the first was applied.
#[tokio::test]
async fn attack_19_a_protected_part_of_an_entity_has_a_collection_of_its_own() {
    let scene = Scene::open().await;
    let (space, wages, entity) = (scene.space, collection("wages"), scene.entity);
    let rule = wages.clone();
    let call = scene.victim.call(Until::Synced, move |turn| {
        turn.replica.set_rule(turn.now, space, &rule, Role::Reader, Role::Admin)?;
        let edit = doc::insert(ticket("a wage"));
        let write = Write { collection: rule, entity, intent: Intent::Create, edit };
        turn.replica.commit(turn.now, space, vec![write])
    });
    bounded(call).await.expect("an owner may");
    scene.agree().await;
    let before = scene.roots(&scene.victim).await.get(&wages).map(|state| state.root);
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let commits = scene.commits(&scene.victim).await;
    let of_wage = commits.iter().flat_map(Commit::open).filter(|(leaf, _)| leaf.collection == wages);
    let changes: Vec<&[u8]> = of_wage.map(|(_, change)| change).collect();
    let wage = Document::load(None, &changes).expect("the owner's");
    let mut wire = scene.greet(&mallory).await;

    let made = mallory.change(&wage, entity, raise());
    let openly = mallory.commit_in(wages.clone(), entity, made.seq, made.bytes.clone());
    mallory.oseq -= 1;
    let disguised = mallory.commit_in(tickets(), entity, made.seq, made.bytes);
    wire.live(&openly).await.expect("held, not refused");
    wire.batch(1, &[disguised]).await.expect("held, not refused");

    let reasons: Vec<_> = scene.held().into_iter().map(|held| held.reason).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons.contains(&HeldReason::NotAllowed), "{reasons:?}");
    assert!(reasons.contains(&HeldReason::MissingDependency), "{reasons:?}");
    for node in [&scene.victim, &scene.honest] {
        assert_eq!(scene.roots(node).await.get(&wages).map(|state| state.root), before);
        assert_eq!(read(node, space, entity).map(|ticket| ticket.title).as_deref(), Some("tap"));
    }
    scene.close().await;
}

/// Seen failing: without the look for the actor's previous change in `Past::check_causality` the change was
/// applied: one signature would no longer cover all that came before it.
#[tokio::test]
async fn attack_23_a_change_that_does_not_follow_its_actors_previous_one_is_held() {
    let scene = Scene::open().await;
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let mut wire = scene.greet(&mallory).await;
    let made = mallory.change(&scene.document().await, scene.entity, raise());
    let (own, first) = (made.hash, mallory.commit(scene.entity, 1, made.bytes));
    wire.live(&first).await.expect("a good commit");
    write(&scene.victim, scene.space, scene.entity, Intent::Change, raise()).await;

    let bytes = samples::forgetful(&scene.document().await, mallory.actor(scene.entity), own);
    let second = mallory.commit(scene.entity, 2, bytes);
    wire.live(&second).await.expect("held, not refused");

    assert_eq!(scene.reason(mallory.peer()), HeldReason::Malformed);
    scene.close().await;
}

/// Seen failing with one bad commit burying its whole group in `Replica::admit`: none of the hundred landed.
#[tokio::test]
async fn attack_33_of_a_hundred_commits_with_a_bad_one_among_them_99_land() {
    let scene = Scene::open().await;
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let document = scene.document().await;
    let mut wire = scene.greet(&mallory).await;
    let crafted = samples::samples(&document, mallory.actor(scene.entity));
    let bad = crafted.iter().find(|sample| sample.name.starts_with("26")).expect("it has a number");

    let commits: Vec<Commit> = (0..100_u8)
        .map(|number| match number {
            50 => mallory.commit(scene.entity, bad.seq, bad.bytes.clone()),
            _ => mallory.insertion(EntityId::new([100 + number; 16]), "honest"),
        })
        .collect();
    wire.batch(1, &commits).await.expect("99 are good");

    let landed = (0..100_u8)
        .filter(|number| read(&scene.victim, scene.space, EntityId::new([100 + number; 16])).is_some());
    assert_eq!(landed.count(), 99);
    assert_eq!(scene.reason(mallory.peer()), HeldReason::Malformed);
    scene.close().await;
}

/// The hash by which everybody knows a change is that of its bytes, so a leaf cannot name another one. Seen
/// failing without `commit.verify()` in `Replica::inspect`.
#[tokio::test]
async fn a_leaf_that_names_another_change_does_not_verify() {
    let scene = Scene::open().await;
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let mut wire = scene.greet(&mallory).await;
    let (good, other) = (
        mallory.insertion(EntityId::new([8; 16]), "signed"),
        mallory.insertion(EntityId::new([8; 16]), "sent"),
    );
    let mut swapped = good.clone();
    let Some(Slot::Open { change, leaf }) = swapped.slots.first_mut() else { panic!("one leaf") };
    *change = other.open().next().expect("one leaf").1.to_vec();
    leaf.head = ChangeHash::new([0; 32]);

    let end = wire.live(&swapped).await.expect_err("nobody signed that");

    end.assert(REFUSED, "refused");
    assert_eq!(read(&scene.victim, scene.space, EntityId::new([8; 16])), None);
    scene.close().await;
}

/// Two insertions of an entity, "first" and "second", that bear the same number.
fn with_one_number(mallory: &mut Attacker, entity: EntityId) -> [Commit; 2] {
    let first = mallory.insertion(entity, "first");
    mallory.oseq -= 1;
    [first, mallory.insertion(entity, "second")]
}
