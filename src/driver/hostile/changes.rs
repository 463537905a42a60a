//! Commits that are signed by the book, around changes that no honest device makes.

use super::*;
use crate::doc::tests::samples::{Sample, samples};

/// Without the check of operations in `Past::follow`, Automerge panicked at those of attack 25, which the
/// gate caught and this test counts, and an object in a text was applied.
#[tokio::test]
async fn attacks_21_to_32_signed_and_sent_live_or_in_a_batch_are_held() {
    let scene = Scene::open().await;
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let document = scene.document().await;
    let crafted = samples(&document, mallory.actor(scene.entity));
    let mut wire = scene.greet(&mallory).await;
    let before = scene.root(&scene.victim).await;

    let (mut count, mut waiting) = (0, 0);
    for (number, Sample { name, seq, waits, bytes }) in (1..).zip(&crafted) {
        let (one, two) = (
            mallory.commit(scene.entity, *seq, bytes.clone()),
            mallory.commit(scene.entity, *seq, bytes.clone()),
        );
        if let Err(end) = wire.live(&one).await {
            panic!("{name}, sent live: {end:?}");
        }
        if let Err(end) = wire.batch(number, &[two]).await {
            panic!("{name}, sent in a batch: {end:?}");
        }
        count += 2;
        let held = scene.held();
        assert_eq!(held.len(), count, "{name}");
        assert!(held.iter().all(|held| held.author == mallory.peer()), "{name}");
        waiting += if *waits { 2 } else { 0 };
        let malformed = held.iter().filter(|held| held.reason == HeldReason::Malformed).count();
        // Those that are not malformed wait, or are frozen: of one number of an actor there may be one change.
        let waits = [HeldReason::MissingDependency, HeldReason::Equivocation];
        let wait = held.iter().filter(|held| waits.contains(&held.reason)).count();
        assert_eq!((malformed, wait), (count - waiting, waiting), "{name}");
    }

    assert_eq!(scene.root(&scene.victim).await, before);
    scene.close().await;
}
