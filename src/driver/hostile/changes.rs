//! Commits that are signed by the book, around changes that no honest device makes.

use super::*;
use crate::doc::tests::samples::{Sample, samples};

/// Each change comes twice, each time from a life of its own: of two with one number neither would get to the gate.
/// Seen failing without the check of operations in `Past::follow`: Automerge panicked at those of attack 25, which the
/// gate caught and this test counts.
#[tokio::test]
async fn attacks_21_to_32_signed_and_sent_live_or_in_a_batch_are_held() {
    let scene = Scene::open().await;
    let mut mallory = scene.attacker(66, Role::Writer).await;
    let document = scene.document().await;
    let mut wire = scene.greet(&mallory).await;
    let before = scene.root(&scene.victim).await;
    let count = samples(&document, mallory.actor(scene.entity)).len();

    let mut expected = Vec::new();
    for number in 0..count {
        for live in [true, false] {
            mallory.begin_life();
            let mut crafted = samples(&document, mallory.actor(scene.entity));
            let Sample { name, seq, waits, bytes } = crafted.swap_remove(number);
            let commit = mallory.commit(scene.entity, seq, bytes);
            let taken = if live { wire.live(&commit).await } else { wire.batch(1, &[commit]).await };
            if let Err(end) = taken {
                panic!("{name}, live: {live}: {end:?}");
            }
            expected.push(if waits { HeldReason::MissingDependency } else { HeldReason::Malformed });
            let held: Vec<_> = scene.held().iter().map(|held| (held.author, held.reason)).collect();
            let all: Vec<_> = expected.iter().map(|reason| (mallory.peer(), *reason)).collect();
            assert_eq!(held, all, "{name}, live: {live}");
        }
    }

    assert_eq!(scene.root(&scene.victim).await, before);
    scene.close().await;
}
