//! What it costs two devices to agree, in bytes, frames, round trips and loaded documents, as their space grows.
//!
//! The long form: `DRIFTLESS_ENTITIES=100000 cargo test --release --all-features at_the_size_asked_for`.

use super::*;

/// Bytes that the two may say beyond the commits.
fn overhead(talk: &Talk) -> usize {
    talk.bytes.saturating_sub(talk.commit_bytes)
}

fn round_trips(talk: &Talk) -> usize {
    talk.commit_depth.div_ceil(2)
}

/// The three ways to come back, one after the other over one pair: making so many entities is the slow part.
fn coming_back_is_cheap(count: u64, pretended: u64) -> Talk {
    let mut pair = Pair::copied(count, pretended);
    let unchanged = nothing_changed(&mut pair);
    ten_changed_on_each_side(&mut pair, count, 0);
    ten_changed_and_vectors_lost(&mut pair, count, 10);
    nothing_changed(&mut pair);
    unchanged
}

fn nothing_changed(pair: &mut Pair) -> Talk {
    pair.part();
    let before = pair.metrics();

    let talk = pair.meet();

    let after = pair.metrics();
    assert!(pair.is_agreed());
    assert_eq!(
        after.each_ref().map(|metrics| metrics.documents_loaded),
        before.each_ref().map(|metrics| metrics.documents_loaded),
        "no document is loaded"
    );
    assert_eq!(talk.frames, 2, "one round trip");
    assert!(talk.bytes <= 200, "{} bytes", talk.bytes);
    talk
}

/// Edits ten entities on each side, from `first` on at either end, while the two are apart.
fn edit_apart(pair: &mut Pair, count: u64, first: u64) {
    pair.part();
    for number in first..first + 10 {
        pair.edit(0, number);
        pair.edit(1, count - 1 - number);
    }
}

fn ten_changed_on_each_side(pair: &mut Pair, count: u64, first: u64) {
    edit_apart(pair, count, first);

    let talk = pair.meet();

    assert!(pair.is_agreed());
    assert_eq!(talk.commits, 20, "no commit is sent twice");
    assert_eq!(pair.metrics().map(|metrics| metrics.commits_duplicate), [0, 0]);
    // The openings are one round trip; the commits of the acceptor come with its opening, and those of the
    // dialler are the answer to it.
    assert!(talk.commit_depth <= 3, "the commits are there after {} frames in a row", talk.commit_depth);
    assert!(overhead(&talk) <= 1_024, "{} bytes beyond the commits", overhead(&talk));
}

fn ten_changed_and_vectors_lost(pair: &mut Pair, count: u64, first: u64) {
    edit_apart(pair, count, first);
    let (space, before) = (pair.space, pair.metrics());
    pair.parties[1].replica.lose_vectors(space);

    let talk = pair.meet();

    assert!(
        pair.is_agreed(),
        "{:?}",
        pair.parties.each_ref().map(|party| (party.in_sync, party.refused.clone()))
    );
    let after = pair.metrics();
    assert_eq!(talk.commits, 20, "no commit is sent twice");
    assert_eq!(after.each_ref().map(|metrics| metrics.commits_duplicate), [0, 0]);
    assert!(round_trips(&talk) <= 3, "the commits are there after {} frames in a row", talk.commit_depth);
    assert!(overhead(&talk) <= 4_096, "{} bytes beyond the commits", overhead(&talk));
    let repaired = |side: usize| after[side].commits_sent_repair - before[side].commits_sent_repair;
    assert_eq!([repaired(0), repaired(1)], [10, 10]);
}

#[test]
fn coming_back_to_1_000_entities_costs_the_changes_and_little_more() {
    assert_eq!(coming_back_is_cheap(1_000, 0), coming_back_is_cheap(100, 0), "the size is not to be seen");
}

/// A space that a thousand devices have written in: the vectors on which the two agreed outlive both processes.
#[test]
fn a_restart_of_both_sides_costs_no_whole_vectors() {
    let mut pair = Pair::agreed(5);
    let space = pair.space;
    let mut vector = crate::id::Vector::new();
    for number in 0..1_000_u64 {
        let peer = PeerId::new(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let origin = crate::id::Origin { peer, incarnation: crate::id::Incarnation(number) };
        vector.insert_range(origin, crate::id::Oseq(1), crate::id::Oseq(1 + number)).expect("few");
    }
    for party in &mut pair.parties {
        let vectors = Vectors::from([(tickets(), vector.clone())]);
        party.replica.claim(space, &vectors);
    }
    pair.meet();
    assert!(pair.is_agreed());
    pair.part();

    pair.parties.iter_mut().for_each(|party| party.restart(None));
    pair.forward();
    pair.edit(0, 1);
    pair.edit(1, 2);
    let talk = pair.meet();

    assert!(pair.is_agreed());
    assert_eq!((talk.commits, pair.metrics().map(|metrics| metrics.commits_duplicate)), (2, [0, 0]));
    assert!(talk.commit_depth <= 3, "the commits are there after {} frames in a row", talk.commit_depth);
    assert!(overhead(&talk) <= 1_024, "{} bytes beyond the commits", overhead(&talk));
}

#[test]
fn coming_back_to_10_000_entities_costs_as_little() {
    coming_back_is_cheap(10_000, 0);
}

/// Of most entities only the heads are there: nothing else of them is looked at, and to make them takes minutes
/// where nothing is optimised. The long form makes them all.
#[test]
fn coming_back_to_100_000_entities_costs_as_little() {
    coming_back_is_cheap(1_000, 99_000);
}

#[test]
fn coming_back_costs_as_little_at_the_size_asked_for() {
    let Some(count) = std::env::var("DRIFTLESS_ENTITIES").ok().and_then(|count| count.parse().ok()) else {
        println!("SKIPPED: DRIFTLESS_ENTITIES is not set");
        return;
    };
    coming_back_is_cheap(count, 0);
}

/// In the midst of it a person edits the entity that would come last: it goes ahead, with its history.
#[test]
fn a_first_sync_of_10_000_entities_takes_at_most_200_bytes_each_and_lets_an_edit_go_ahead() {
    let count = 10_000;
    let mut pair = Pair::new();
    pair.insert(0, 0..count);
    pair.connect();
    (0..20).for_each(|_| assert!(pair.carry(), "the transfer has hardly begun"));
    let (before, last) = (pair.talk, count - 1);
    assert_eq!((pair.status(1, 0).is_some(), pair.status(1, last)), (true, None));

    pair.edit_unheard(0, last);
    while pair.status(1, last).as_deref() != Some("edited by 0") {
        assert!(pair.carry(), "the edit comes");
    }
    let (frames, bytes) = (pair.talk.frames - before.frames, pair.talk.bytes - before.bytes);
    assert!(frames <= 2 && bytes <= 2_048, "{bytes} bytes in {frames} frames before the edit is there");
    assert!(pair.talk.commits < count as usize / 2, "{} commits came before", pair.talk.commits);
    pair.talk_out(1_000);

    let talk = pair.talk;
    assert!(pair.is_agreed());
    assert_eq!((talk.commits, pair.metrics()[1].commits_quarantined), (count as usize + 1, 0));
    println!("{} bytes an entity", talk.bytes / count as usize);
    assert!(talk.bytes <= 200 * count as usize, "{} bytes an entity", talk.bytes / count as usize);
}
