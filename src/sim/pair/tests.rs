//! What it costs two devices to agree, in bytes, frames, round trips and loaded documents.

use super::*;

/// Bytes that the two may say beyond the commits.
fn overhead(talk: &Talk) -> usize {
    talk.bytes.saturating_sub(talk.commit_bytes)
}

fn round_trips(talk: &Talk) -> usize {
    talk.commit_depth.div_ceil(2)
}

fn nothing_changed(count: u64) -> Talk {
    let mut pair = Pair::agreed(count);
    let loaded = pair.metrics().map(|metrics| metrics.documents_loaded);

    let talk = pair.meet();

    assert!(pair.is_agreed());
    assert_eq!(pair.metrics().map(|metrics| metrics.documents_loaded), loaded, "no document is loaded");
    assert_eq!(talk.frames, 2, "one round trip");
    assert!(talk.bytes <= 200, "{} bytes", talk.bytes);
    talk
}

fn ten_changed_on_each_side(count: u64) {
    let mut pair = Pair::agreed(count);
    for number in 0..10 {
        pair.edit(0, number);
        pair.edit(1, count - 1 - number);
    }

    let talk = pair.meet();

    assert!(pair.is_agreed());
    assert_eq!(talk.commits, 20, "no commit is sent twice");
    assert_eq!(pair.metrics().map(|metrics| metrics.commits_duplicate), [0, 0]);
    assert!(round_trips(&talk) <= 2, "the commits are there after {} frames in a row", talk.commit_depth);
    assert!(overhead(&talk) <= 1_000, "{} bytes beyond the commits", overhead(&talk));
}

fn ten_changed_and_vectors_lost(count: u64) {
    let mut pair = Pair::agreed(count);
    for number in 0..10 {
        pair.edit(0, number);
        pair.edit(1, count - 1 - number);
    }
    let space = pair.space;
    pair.parties[1].replica.lose_vectors(space);

    let talk = pair.meet();

    assert!(
        pair.is_agreed(),
        "{:?}",
        pair.parties.each_ref().map(|party| (party.in_sync, party.refused.clone()))
    );
    assert_eq!(talk.commits, 20, "no commit is sent twice");
    assert_eq!(pair.metrics().map(|metrics| metrics.commits_duplicate), [0, 0]);
    assert!(round_trips(&talk) <= 3, "the commits are there after {} frames in a row", talk.commit_depth);
    assert!(overhead(&talk) <= 4_096, "{} bytes beyond the commits", overhead(&talk));
    assert_eq!(pair.metrics().map(|metrics| metrics.commits_sent_repair), [10, 10]);
}

#[test]
fn agreement_costs_the_same_two_frames_at_any_size() {
    let small = nothing_changed(100);
    let large = nothing_changed(2_000);

    assert_eq!(small, large);
}

#[test]
fn ten_changes_on_each_side_cost_the_changes_and_a_kilobyte() {
    ten_changed_on_each_side(100);
    ten_changed_on_each_side(2_000);
}

#[test]
fn lost_vectors_cost_four_kilobytes_more() {
    ten_changed_and_vectors_lost(100);
    ten_changed_and_vectors_lost(2_000);
}

/// The long form: `DRIFTLESS_ENTITIES=100000 cargo test --release --all-features at_the_size_asked_for`.
#[test]
fn reconnecting_costs_as_little_at_the_size_asked_for() {
    let Some(count) = std::env::var("DRIFTLESS_ENTITIES").ok().and_then(|count| count.parse().ok()) else {
        println!("SKIPPED: DRIFTLESS_ENTITIES is not set");
        return;
    };
    nothing_changed(count);
    ten_changed_on_each_side(count);
    ten_changed_and_vectors_lost(count);
}

#[test]
fn a_first_sync_takes_at_most_200_bytes_an_entity() {
    let count = 1_000;
    let mut pair = Pair::new();
    pair.insert(0, 0..count);

    let talk = pair.meet();

    assert!(pair.is_agreed());
    assert_eq!(talk.commits, count as usize);
    println!("{} bytes an entity", talk.bytes / count as usize);
    assert!(talk.bytes <= 200 * count as usize, "{} bytes an entity", talk.bytes / count as usize);
}

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

/// Breaks the connection before every frame in turn, and lets the two meet again.
fn cut_before_every_frame(prepare: impl Fn() -> Pair) {
    let mut whole = prepare();
    let uncut = whole.meet();
    assert!(whole.is_agreed());
    let step = (uncut.frames / 12).max(1);
    for frames in (0..uncut.frames).step_by(step) {
        let mut pair = prepare();
        pair.cut_after = Some(frames);
        let first = pair.meet();
        pair.cut_after = None;
        let second = pair.meet();

        pair.talk_out(5_000);
        assert!(pair.is_agreed(), "after a cut before frame {frames}");
        assert_eq!(pair.metrics().map(|metrics| metrics.commits_duplicate), [0, 0], "cut before {frames}");
        assert!(
            first.commits + second.commits <= uncut.commits,
            "what arrived is not sent again: {first:?} {second:?} {uncut:?}"
        );
    }
}

#[test]
fn a_first_sync_goes_on_where_it_was_cut() {
    cut_before_every_frame(|| {
        let mut pair = Pair::new();
        pair.insert(0, 0..450);
        pair
    });
}

#[test]
fn a_catch_up_goes_on_where_it_was_cut() {
    cut_before_every_frame(|| {
        let mut pair = Pair::agreed(20);
        for number in 0..10 {
            pair.edit(0, number);
            pair.edit(1, 19 - number);
        }
        pair
    });
}

#[test]
fn a_repair_goes_on_where_it_was_cut() {
    cut_before_every_frame(|| {
        let mut pair = Pair::agreed(20);
        for number in 0..10 {
            pair.edit(0, number);
            pair.edit(1, 19 - number);
        }
        pair.lie();
        pair
    });
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
