//! What goes ahead, what waits, and how much of it: between a device that edits and one that is behind.

use super::*;
use crate::limits::{
    BATCH_BYTES, BATCHES_UNDER_WAY_MAX, INBOX_BYTES_MAX, LIVE_BATCH_BYTES, LIVE_BEHIND_BYTES,
    LIVE_UNACKED_BYTES_MAX, REQUEST_DEADLINE_MS,
};

/// Two that have agreed on `count` tickets and are connected.
fn connected(count: u64) -> Pair {
    let mut pair = Pair::agreed(count);
    pair.meet();
    pair.talk = Talk::default();
    pair
}

#[test]
fn an_edit_is_there_at_once_where_the_peer_keeps_up() {
    let mut pair = connected(3);

    for number in 0..50 {
        pair.restatus(0, number % 3, number.to_string());

        assert_eq!(pair.status(1, number % 3), Some(number.to_string()), "no time has passed");
        pair.talk_out(50);
    }

    assert_eq!(pair.talk.commits, 50);
    // The commit, and its acknowledgement in a frame of its own.
    assert!(pair.talk.bytes <= 400 * 50, "{} bytes an edit", pair.talk.bytes / 50);
}

#[test]
fn edits_travel_together_to_a_peer_that_is_behind_and_are_merged_together() {
    let mut pair = connected(10);
    let (edits, before) = (1_000, pair.metrics());

    // No time passes, so nothing is acknowledged.
    for number in 0..edits {
        pair.restatus(0, number % 10, number.to_string());
    }
    pair.talk_out(1_000);

    let after = pair.metrics();
    assert!(pair.is_agreed());
    assert_eq!((pair.talk.commits, after[1].commits_duplicate), (edits as usize, 0));
    let alone = LIVE_BEHIND_BYTES / 200;
    let together = pair.talk.commit_bytes / LIVE_BATCH_BYTES + 1;
    println!("{} bytes an edit in {} frames", pair.talk.bytes / edits as usize, pair.talk.frames);
    assert!(pair.talk.frames <= alone + 2 * together + 10, "{} frames", pair.talk.frames);
    assert!(pair.talk.bytes <= 200 * edits as usize, "{} bytes an edit", pair.talk.bytes / edits as usize);
    let merges = after[1].document_applies - before[1].document_applies;
    assert!(merges <= (alone + 10 * together) as u64, "{merges} merges");
    assert_eq!(after[0].commits_sent_feed - before[0].commits_sent_feed, 0, "nothing was read again");
}

/// What goes ahead and what comes with the transfer overlap in no commit.
#[test]
fn many_edits_in_the_midst_of_a_transfer_are_sent_once() {
    let mut pair = Pair::new();
    pair.insert(0, 0..900);
    pair.connect();
    (0..4).for_each(|_| assert!(pair.carry(), "the transfer has hardly begun"));

    for number in (0..900).step_by(5) {
        pair.edit_unheard(0, number);
    }
    pair.talk_out(1_000);

    assert!(pair.is_agreed());
    assert_eq!((pair.talk.commits, pair.metrics().map(|metrics| metrics.commits_duplicate)), (1_080, [0, 0]));
}

/// Who pays no heed to what is under way cannot fill the memory of the other side.
#[test]
fn a_peer_that_sends_more_than_it_may_is_closed() {
    let mut pair = connected(1);
    let conn = pair.conn.expect("connected");
    let ticket = Ticket { title: noise(1, 80_000), ..Ticket::new(1) };
    pair.deaf = Some(1);
    pair.commit(0, vec![write(1, Intent::Create, insert(ticket))]);
    let Some(Frame { bytes, .. }) = pair.parties[0].outbox.pop_back() else { panic!("a live commit") };

    // No answer of the store comes meanwhile.
    let engine = &mut pair.parties[1].engine;
    let mut given = 0;
    let closed = loop {
        engine.handle(at(pair.now_ms), Event::Frame { conn, bytes: bytes.clone() });
        given += bytes.len();
        let closed = std::iter::from_fn(|| engine.poll_action()).find_map(|action| {
            let Action::Close { reason, .. } = action else { return None };
            Some(reason)
        });
        if let Some(reason) = closed {
            break reason;
        }
        assert!(given < 2 * INBOX_BYTES_MAX, "{given} bytes were kept");
    };

    assert_eq!(closed, "more commits at once than the protocol allows");
    assert!(given > INBOX_BYTES_MAX, "{given} bytes");
}

#[test]
fn a_peer_that_reads_nothing_is_handed_a_bounded_number_of_bytes_and_given_up() {
    let mut pair = Pair::new();
    for number in 0..100 {
        let ticket = Ticket { title: noise(number, 20_000), ..Ticket::new(number) };
        pair.commit(0, vec![write(number, Intent::Create, insert(ticket))]);
    }
    pair.connect();
    (0..2).for_each(|_| assert!(pair.carry(), "the openings"));
    pair.deaf = Some(1);

    for number in 100..200 {
        let ticket = Ticket { title: noise(number, 20_000), ..Ticket::new(number) };
        pair.commit(0, vec![write(number, Intent::Create, insert(ticket))]);
    }
    let waited = pair.parties[0].waited_max;
    pair.talk_out(2 * REQUEST_DEADLINE_MS);

    let most = LIVE_UNACKED_BYTES_MAX + BATCHES_UNDER_WAY_MAX * 2 * BATCH_BYTES;
    assert!(waited > LIVE_UNACKED_BYTES_MAX / 2 && waited <= most, "{waited} bytes");
    assert_eq!(pair.parties[0].refused, ["what was sent was not acknowledged in time"]);
}
