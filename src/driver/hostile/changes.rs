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

    let mut count = 0;
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
        // Two with one number of an actor prove that it equivocates; what does not get past the gate by then is frozen.
        let waits = if *waits { HeldReason::MissingDependency } else { HeldReason::Malformed };
        let reasons = [HeldReason::Malformed, HeldReason::MissingDependency, HeldReason::Equivocation];
        assert!(held.iter().all(|held| reasons.contains(&held.reason)), "{name}");
        if number == 1 {
            assert!(held.iter().any(|held| held.reason == waits), "{name}");
        }
    }

    assert_eq!(scene.root(&scene.victim).await, before);
    scene.close().await;
}
