//! A relay that keeps back the newest commit of somebody who is not there to say so.
//!
//! Nobody can miss what nobody speaks of: a relay that hides a commit altogether is one that has not heard of it. But
//! what it shows, by the fingerprint of what it holds, it has to give, or the two never agree; and whoever else is
//! met and has the commit shows and gives it.

use super::*;
use crate::access::Commit;
use crate::id::Vector;
use crate::limits::ROOT_CHECK_MS;
use crate::sim::pair::clash::{insertion_after, join};
use crate::wire::Ack;

/// The frame without a commit.
#[expect(clippy::wildcard_enum_match_arm, reason = "most messages carry no commits")]
pub(super) fn without(frame: Vec<u8>, kept_back: &[u8]) -> Vec<u8> {
    let Ok(Some(mut message)) = Message::from_frame(&frame) else { return frame };
    let others = |commits: &mut Vec<Vec<u8>>| commits.retain(|commit| commit != kept_back);
    match &mut message {
        Message::Live(live) if live.commit == kept_back => {
            // An odd message that nobody knows, which says nothing.
            return vec![0x7f, 0];
        }
        Message::LiveBatch(batch) => others(&mut batch.commits),
        Message::Batch(batch) => others(&mut batch.commits),
        Message::Fetched(fetched) => others(&mut fetched.commits),
        _ => return frame,
    }
    message.to_frame()
}

fn hear(pair: &mut Pair, party: usize, author: &Identity, commit: &Commit) {
    let ask = Ask::Receive { space: pair.space, from: author.peer(), commits: vec![commit.encode()] };
    let answer = pair.parties[party].replica.answer(at(pair.now_ms), ask);
    assert!(matches!(answer, Answer::Received { applied: 1, .. }), "{answer:?}");
    pair.forward();
}

/// A relay that has passed on one commit of somebody, and hears of the next.
fn scene() -> (Pair, Identity, Commit) {
    let mut pair = Pair::agreed(1);
    let author = join(&mut pair);
    let first = insertion_after(&pair, &author, 7, None);
    let newest = insertion_after(&pair, &author, 8, Some(&first));
    pair.meet();
    hear(&mut pair, 0, &author, &first);
    pair.talk_out(ROOT_CHECK_MS);
    assert!(pair.is_agreed());
    assert_eq!(pair.status(1, 7).as_deref(), Some("open"));
    (pair, author, newest)
}

/// The relay shows by its fingerprints that it holds more, and goes on as if it had sent it. Seen failing with
/// `Next::Agree` whatever differs in `Engine::what_follows`, and without the look at `Next::is_agreement` in
/// `Engine::compare`: who had agreed once was shown as in sync ever after.
#[test]
fn attack_17_a_relay_that_shows_the_newest_commit_and_keeps_it_back_is_never_agreed_with() {
    let (mut pair, author, newest) = scene();
    pair.kept_back = Some(newest.encode());
    let before = pair.metrics()[1].roots_contradicted;

    hear(&mut pair, 0, &author, &newest);
    // It claims to have heard that it arrived.
    let vectors = newest.parts().into_iter().map(|(collection, oseq)| {
        let mut vector = Vector::new();
        vector.insert(newest.origin, oseq).expect("one number");
        (collection, vector)
    });
    let ack = Message::Ack(Ack { slot: 1, vectors: vectors.collect() });
    let conn = pair.conn.expect("connected");
    pair.event(0, Event::Frame { conn, bytes: ack.to_frame() });
    pair.talk_out(2 * ROOT_CHECK_MS);
    assert!(!pair.parties[1].in_sync, "the next comparison tells, while the two are connected");
    for _ in 0..12 {
        pair.talk_out(600_000);
        assert!(!pair.parties[1].in_sync, "and for as long as it goes on");
        assert_eq!(pair.status(1, 8), None);
    }
    assert!(pair.metrics()[1].roots_contradicted > before, "it is counted");
    pair.part();
    pair.meet();
    pair.talk_out(ROOT_CHECK_MS);
    assert!(!pair.parties[1].in_sync, "nor on another connection");
    assert_eq!(
        pair.parties.each_ref().map(|party| party.refused.len()),
        [0, 0],
        "it is the same conversation"
    );

    // Somebody else has it: the author itself.
    hear(&mut pair, 1, &author, &newest);
    pair.talk_out(2 * ROOT_CHECK_MS);
    assert_eq!(pair.status(1, 8).as_deref(), Some("open"));
    assert!(pair.is_agreed());
}

/// What nobody speaks of nobody misses: that is not claimed. The first that shows the commit is not agreed with until it
/// is here. Seen failing with `Next::Agree` whatever differs in `Engine::what_follows`.
#[test]
fn attack_17_what_a_relay_hides_is_missed_as_soon_as_anybody_shows_it() {
    let (mut pair, author, newest) = scene();

    // The relay hides it, and is as one that has not heard of it.
    pair.talk_out(3_600_000);
    assert!(pair.is_agreed());
    pair.part();
    // Another one is met that has it, and gives away no more than its opening.
    hear(&mut pair, 0, &author, &newest);
    pair.kept_back = Some(newest.encode());
    pair.connect();
    for _ in 0..60 {
        pair.talk_out(1_000);
        assert!(!pair.parties[1].in_sync);
        assert_eq!(pair.status(1, 8), None);
    }

    pair.part();
    pair.kept_back = None;
    pair.meet();
    assert_eq!(pair.status(1, 8).as_deref(), Some("open"));
    assert!(pair.is_agreed());
}
