//! What two devices say after a cut, a lie or a loss, in frames and commits.

use super::*;
use crate::id::{Incarnation, Origin, Oseq, Vector};
use crate::limits::{BATCH_BYTES, BATCHES_UNDER_WAY_MAX, VECTOR_HOLES_MAX};

#[test]
fn a_difference_too_large_for_a_sketch_is_repaired_by_heads() {
    let mut pair = Pair::agreed(50);
    pair.insert(1, 50..6_000);
    let space = pair.space;
    pair.parties[0].replica.lose_vectors(space);

    pair.meet();
    pair.talk_out(30_000);

    assert!(pair.is_agreed());
    assert_eq!(pair.metrics().map(|metrics| metrics.commits_duplicate), [0, 0]);
}

/// Repairs were answered in one piece of up to 8 MiB, more than a peer takes at once: it closed the connection, and
/// the next repair ended in the same way.
#[test]
fn a_repair_of_many_megabytes_is_sent_as_the_peer_takes_it() {
    let mut pair = Pair::agreed(5);
    for number in 5..125 {
        let ticket = Ticket { title: noise(number, 100_000), ..Ticket::new(number) };
        pair.commit(1, vec![write(number, Intent::Create, insert(ticket))]);
    }
    let space = pair.space;
    pair.parties[0].replica.lose_vectors(space);

    let talk = pair.meet();

    assert!(pair.is_agreed(), "{:?}", pair.parties.each_ref().map(|party| party.refused.clone()));
    assert_eq!((talk.commits, pair.metrics().map(|metrics| metrics.commits_duplicate)), (120, [0, 0]));
    let waited = pair.parties.each_ref().map(|party| party.waited_max).into_iter().max().expect("two");
    assert!(waited <= 2 * (BATCHES_UNDER_WAY_MAX + 1) * BATCH_BYTES, "{waited} bytes handed out at once");
}

/// A vector that had no room for a number refused the commit, which ended the connection, for ever again.
#[test]
fn more_holes_than_a_vector_names_cost_duplicates_and_nothing_else() {
    let mut pair = Pair::new();
    let count = 2 * VECTOR_HOLES_MAX as u64 + 100;
    pair.insert(1, 0..count);
    let (space, to, from) = (pair.space, pair.parties[0].peer(), pair.parties[1].peer());
    let ask = Ask::Feed { space, to, have: Vectors::new(), scope: Scope::default(), bytes_max: usize::MAX };
    let Answer::Commits { commits, .. } = pair.parties[1].replica.answer(at(0), ask) else { panic!("fed") };
    let commits = commits.iter().skip(1).step_by(2).map(|commit| commit.bytes.to_vec()).collect();
    let taken = pair.parties[0].replica.answer(at(0), Ask::Receive { space, from, commits });
    assert!(matches!(taken, Answer::Received { refused: 0, .. }), "{taken:?}");
    pair.forward();

    pair.meet();

    let metrics = pair.metrics();
    assert!(pair.is_agreed(), "{:?}", pair.parties.each_ref().map(|party| party.refused.clone()));
    assert_eq!(metrics[0].commits_remote, count);
    assert_eq!((metrics[0].commits_quarantined, metrics[0].commits_duplicate), (0, 50));
}

#[test]
fn vectors_that_lie_are_found_out_and_repaired() {
    let mut pair = Pair::agreed(20);
    for number in 0..10 {
        pair.edit(0, number);
        pair.edit(1, 19 - number);
    }
    pair.lie();

    let talk = pair.meet();

    assert!(pair.is_agreed());
    assert_eq!((talk.commits, pair.metrics().map(|metrics| metrics.commits_duplicate)), (20, [0, 0]));
    assert!(pair.metrics().iter().any(|metrics| metrics.roots_contradicted > 0));
}

/// What one side keeps in quarantine it counts as received, and nobody feeds it to the other: telling vectors would
/// never make them equal. Both lack something besides, which the vectors do not tell either.
#[test]
fn what_only_one_side_counts_as_received_keeps_nobody_from_agreeing() {
    for claims in 0..2 {
        let mut pair = Pair::agreed(3);
        pair.edit_unheard(0, 1);
        pair.edit_unheard(1, 2);
        pair.lie();
        let origin = Origin { peer: PeerId::new([7; 32]), incarnation: Incarnation(1) };
        let mut vector = Vector::new();
        vector.insert(origin, Oseq(1)).expect("room");
        let (space, vectors) = (pair.space, Vectors::from([(tickets(), vector)]));
        let answer = pair.parties[claims].replica.answer(at(0), Ask::Adopt { space, vectors });
        assert!(matches!(answer, Answer::Done), "{answer:?}");

        pair.connect();
        pair.talk_out(30_000);

        assert!(pair.is_agreed(), "device {claims} claims more");
        assert!(pair.talk.frames < 100, "{} frames", pair.talk.frames);
    }
}
