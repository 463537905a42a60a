//! What two devices say when one does not want everything, and what it costs them to change that.

use super::*;
use crate::id::Interest::{self, Index, Live, Off};
use crate::sim::Dice;

pub(super) fn memos() -> CollectionName {
    CollectionName::new(Memo::COLLECTION).expect("a name")
}

pub(super) fn memo(number: u64) -> Write {
    let edit = insert(Memo { text: format!("memo {number}") });
    Write { collection: memos(), entity: entity(number), intent: Intent::Create, edit }
}

impl Pair {
    pub(super) fn want(&mut self, party: usize, collection: CollectionName, interest: Interest) {
        let space = self.space;
        let replica = &mut self.parties[party].replica;
        replica.set_interest(space, Some(collection), interest).expect("few interests");
        self.forward();
    }

    fn root(&mut self, party: usize, collection: &CollectionName) -> crate::id::Root {
        let space = self.space;
        self.parties[party]
            .state(space)
            .collections
            .get(collection)
            .map(|state| state.root)
            .unwrap_or_default()
    }

    fn duplicates(&self) -> u64 {
        self.metrics().iter().map(|metrics| metrics.commits_duplicate).sum()
    }

    fn says(&self, text: &str) -> bool {
        self.frames.iter().any(|frame| frame.windows(text.len()).any(|part| part == text.as_bytes()))
    }
}

#[test]
fn what_is_off_brings_nothing_and_live_again_brings_each_commit_once() {
    let mut pair = Pair::agreed(20);
    pair.want(1, tickets(), Off);
    pair.meet();
    pair.hush();

    (0..5).for_each(|number| pair.edit(0, number));
    pair.commit(0, vec![memo(1)]);
    pair.talk_out(5_000);

    assert_eq!(pair.talk.commits, 1, "the memo alone");
    assert!(pair.parties.iter().all(|party| party.in_sync), "of what both want, they hold the same");
    assert_ne!(pair.root(0, &tickets()), pair.root(1, &tickets()));

    pair.hush();
    pair.want(1, tickets(), Live);
    pair.talk_out(5_000);

    assert!(pair.is_agreed());
    assert_eq!((pair.talk.commits, pair.duplicates()), (5, 0));
}

#[test]
fn who_wants_nothing_is_heard_all_the_same_connected_or_not() {
    let mut pair = Pair::agreed(20);
    pair.want(1, tickets(), Off);
    pair.meet();
    pair.hush();

    pair.edit(1, 3);
    pair.talk_out(2_000);
    assert_eq!((pair.talk.commits, pair.root(0, &tickets())), (1, pair.root(1, &tickets())));
    pair.part();
    pair.edit(1, 4);
    pair.insert(1, 50..52);
    let talk = pair.meet();

    assert_eq!(pair.root(0, &tickets()), pair.root(1, &tickets()));
    assert_eq!((talk.commits, pair.duplicates()), (3, 0), "what was acknowledged is not sent again");
    pair.part();
    assert_eq!(pair.meet().commits, 0);
}

#[test]
fn a_reconnect_costs_one_round_trip_whoever_wants_what() {
    let mut pair = Pair::agreed(20);
    pair.commit(0, vec![memo(1)]);
    pair.commit(1, vec![write(60, Intent::Create, insert(Ticket::new(60)))]);
    pair.want(1, tickets(), Off);
    pair.want(0, memos(), Off);
    pair.meet();
    pair.part();

    for _ in 0..2 {
        let talk = pair.meet();

        assert_eq!((talk.frames, talk.commits), (2, 0));
        assert!(talk.bytes <= 250, "{} bytes", talk.bytes);
        assert!(pair.parties.iter().all(|party| party.in_sync));
        pair.part();
    }
}

#[test]
fn a_device_that_forgot_what_its_peer_wants_is_told_again() {
    for party in 0..2 {
        let mut pair = Pair::agreed(20);
        pair.edit(party, 1);
        pair.insert(1 - party, 70..72);
        pair.want(party, tickets(), Off);

        // The other one was connected last when everything was wanted.
        let talk = pair.meet();

        assert_eq!((talk.commits, pair.duplicates()), (1, 0), "the edit of who wants nothing");
        pair.want(party, tickets(), Live);
        pair.talk_out(2_000);
        assert!(pair.is_agreed());
        assert_eq!((pair.talk.commits, pair.duplicates()), (3, 0));
    }
}

#[test]
fn both_may_change_their_minds_at_once() {
    let mut pair = Pair::agreed(10);
    pair.meet();
    let space = pair.space;
    for interest in [Off, Live] {
        for (party, collection) in [(0, tickets()), (1, tickets())] {
            let replica = &mut pair.parties[party].replica;
            replica.set_interest(space, Some(collection), interest).expect("few interests");
        }
        pair.forward();
        pair.edit(0, 1);
        pair.edit(1, 2);
        pair.talk_out(2_000);
    }

    assert!(pair.is_agreed());
    assert_eq!(pair.duplicates(), 0);
}

/// A reader that may not see a collection must not learn its name from the interests of others.
#[test]
fn interests_name_no_collection_to_who_may_not_read_it() {
    use crate::access::Role::Admin;

    let mut pair = Pair::new();
    pair.insert(0, 0..3);
    let (space, now) = (pair.space, at(0));
    pair.parties[0].replica.set_rule(now, space, &memos(), Admin, Admin).expect("an owner sets rules");
    pair.forward();
    pair.meet();
    pair.hush();

    pair.want(0, memos(), Off);
    pair.want(1, memos(), Off);
    pair.talk_out(2_000);
    assert_eq!(pair.talk.frames, 0, "nothing that both may read has changed");
    pair.part();
    pair.want(0, tickets(), Off);
    pair.meet();

    assert!(pair.says("tickets"));
    assert!(!pair.says("memos"));
}

#[test]
fn a_hundred_spaces_of_which_one_is_wanted_cost_their_openings() {
    const SPACES: usize = 100;
    let mut pair = Pair::new();
    let spaces: Vec<SpaceId> = (0..SPACES).map(|_| found(&mut pair.parties)).collect();
    pair.forward();
    for (number, space) in spaces.iter().enumerate() {
        let edit = insert(Ticket::new(number as u64));
        let write = write(number as u64, Intent::Create, edit);
        pair.parties[0].replica.commit(at(0), *space, vec![write]).expect("an owner writes");
        pair.parties[1].replica.set_interest(*space, None, Off).expect("no names");
    }
    pair.forward();
    pair.meet();
    pair.part();

    let talk = pair.meet();
    assert_eq!(talk.frames, 2);
    assert!(talk.bytes <= 2 * (SPACES + 1) * 90, "{} bytes", talk.bytes);
    pair.hush();
    for (number, space) in spaces.iter().enumerate() {
        let edit = update(|ticket: &mut Ticket| ticket.paid = true);
        let write = write(number as u64, Intent::Change, edit);
        pair.parties[0].replica.commit(at(pair.now_ms), *space, vec![write]).expect("an owner writes");
    }
    pair.forward();
    pair.talk_out(600_000);
    // From both sides, one question and one answer a minute.
    assert!(pair.talk.frames <= 4 * 10, "{} frames: the one that is live is confirmed", pair.talk.frames);
    assert_eq!(pair.talk.commits, 0, "what is quiet costs nothing");

    pair.insert(0, 0..1);
    pair.talk_out(1_000);
    assert_eq!(pair.talk.commits, 1, "and the space that is wanted is live");
}

/// Interests change while commits, openings and cuts of the connection are on their way.
#[test]
fn whatever_was_wanted_meanwhile_all_is_there_in_the_end() {
    for seed in 0..60 {
        let mut pair = Pair::agreed(6);
        let mut dice = Dice::new(seed, "interests");
        for step in 0..40 {
            let party = dice.below(2) as usize;
            match dice.below(6) {
                0 => pair.edit(party, dice.below(6)),
                1 => pair.commit(party, vec![memo(1_000 + step)]),
                2 | 3 => {
                    let collection = if dice.chance(50) { tickets() } else { memos() };
                    let interest = *dice.pick(&[Live, Live, Off, Index]).expect("some");
                    pair.want(party, collection, interest);
                }
                4 if pair.conn.is_none() => pair.connect(),
                4 => pair.part(),
                _ => pair.talk_out(dice.below(400)),
            }
        }
        for party in 0..2 {
            pair.want(party, tickets(), Live);
            pair.want(party, memos(), Live);
        }
        if pair.conn.is_none() {
            pair.connect();
        }
        pair.talk_out(120_000);
        assert!(pair.is_agreed(), "seed {seed}: {:?}", pair.parties.each_ref().map(|party| &party.refused));
        assert_eq!(pair.duplicates(), 0, "seed {seed}");
    }
}
