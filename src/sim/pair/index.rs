//! What an index costs, what it lists, and that it follows what it is told of.

use std::collections::BTreeMap;

use super::interest::{memo, memos};
use super::*;
use crate::id::Interest::{Index, Live, Off};
use crate::id::{ChangeHash, Listed, Version};
use crate::replica::IndexedEntity;
use crate::sim::Dice;

/// Two of which the second wants the index of tickets; it has made none itself.
fn indexed(count: u64) -> Pair {
    let mut pair = Pair::new();
    pair.want(1, tickets(), Index);
    pair.insert(0, 0..count);
    pair
}

impl Pair {
    /// What the second device lists.
    fn listed(&self, collection: &CollectionName) -> Vec<IndexedEntity> {
        let reader = self.parties[1].replica.reader();
        reader.index(&self.space, collection, true, None, usize::MAX).expect("reads")
    }

    /// What the second device lists is what the first one has.
    fn is_indexed(&self, collection: &CollectionName) -> bool {
        let reader = self.parties[0].replica.reader();
        let here = reader.index(&self.space, collection, false, None, usize::MAX).expect("reads");
        let entries =
            |index: Vec<IndexedEntity>| index.into_iter().map(|entry| entry.listed).collect::<Vec<_>>();
        entries(here) == entries(self.listed(collection))
    }

    fn version(&self, number: u64) -> Option<Version> {
        let listed =
            self.listed(&tickets()).into_iter().map(|entry| (entry.listed.entity, entry.listed.version));
        listed.collect::<BTreeMap<_, _>>().remove(&entity(number))
    }

    fn is_honest(&self) -> bool {
        self.parties.iter().all(|party| party.refused.is_empty())
    }
}

#[test]
fn an_index_lists_what_there_is_and_brings_no_document() {
    let mut pair = indexed(200);
    pair.commit(0, vec![memo(1)]);

    let talk = pair.meet();

    assert!(pair.is_indexed(&tickets()) && pair.is_honest());
    assert_eq!((pair.listed(&tickets()).len(), talk.commits), (200, 1), "the memo alone is sent");
    assert!(pair.listed(&tickets()).iter().all(|entry| entry.own.is_none()));
    let each = talk.bytes / 200;
    assert!(each <= 70, "{each} bytes an entity");
    pair.part();
    let talk = pair.meet();
    // The openings, HERE, a question, and the answer that all is the same.
    assert_eq!((talk.frames, talk.commits), (5, 0));
    assert!(talk.bytes <= 350, "{} bytes", talk.bytes);
}

#[test]
fn what_changes_is_told_while_the_two_are_connected() {
    let mut pair = indexed(20);
    pair.meet();
    pair.hush();
    let before = pair.version(3).expect("listed");

    pair.edit(0, 3);
    pair.insert(0, 20..22);
    pair.commit(0, vec![write(5, Intent::Delete, crate::doc::delete())]);

    let after = pair.version(3).expect("listed");
    assert!(pair.is_indexed(&tickets()) && pair.is_honest());
    assert_ne!(before.heads, after.heads);
    assert!(pair.version(21).is_some() && pair.version(5).expect("listed").deleted);
    assert_eq!(pair.talk.commits, 0);
    // Each time: what changed, and that it was taken.
    assert_eq!(pair.talk.frames, 8);
}

/// The first page of a large index, its parts, and the few that differ in it later.
#[test]
fn of_many_entities_only_those_that_differ_are_told_again() {
    const MANY: u64 = 20_000;
    let mut pair = indexed(30);
    pair.parties[0].replica.pretend(pair.space, &tickets(), MANY);
    pair.forward();

    let first = pair.meet();
    assert!(pair.is_indexed(&tickets()) && pair.is_honest());
    assert!(first.bytes <= 75 * MANY as usize, "{} bytes", first.bytes);
    pair.part();
    (0..10).for_each(|number| pair.edit(0, number));

    let talk = pair.meet();
    assert!(pair.is_indexed(&tickets()));
    assert!(talk.frames <= 16, "{} frames", talk.frames);
    assert!(talk.bytes <= 50_000, "{} bytes of {}", talk.bytes, first.bytes);
    assert_eq!(talk.commits, 0);
}

#[test]
fn a_fetched_document_is_here_until_it_changes() {
    let mut pair = indexed(5);
    pair.meet();
    let (space, collection) = (pair.space, tickets());
    let fetch = crate::sync::Command::Fetch { space, collection, entities: vec![entity(2)], ticket: 1 };
    pair.event(1, Event::Command(fetch));
    pair.talk_out(1_000);
    let here = |pair: &Pair| {
        let listed = pair.listed(&tickets()).into_iter();
        let here = listed.filter(|entry| entry.own.as_ref() == Some(&entry.listed.version.heads));
        here.map(|entry| entry.listed.entity).collect::<Vec<_>>()
    };

    assert_eq!(here(&pair), [entity(2)]);
    assert_eq!(pair.status(1, 2).as_deref(), Some("open"));
    pair.edit(0, 2);
    assert_eq!(here(&pair), [], "a newer one is there");
    pair.edit(1, 2);
    pair.talk_out(1_000);
    assert!(
        pair.is_indexed(&tickets()),
        "what is written here is told to who has all, and comes back listed"
    );
}

#[test]
fn a_collection_that_turns_up_later_is_listed_and_all_may_be_wanted_as_an_index() {
    let mut pair = Pair::new();
    let space = pair.space;
    pair.parties[1].replica.set_interest(space, None, Index).expect("few interests");
    pair.forward();
    pair.meet();

    pair.commit(0, vec![memo(1)]);
    pair.insert(0, 0..3);
    pair.talk_out(1_000);

    assert!(pair.is_indexed(&memos()) && pair.is_indexed(&tickets()));
    assert_eq!((pair.listed(&memos()).len(), pair.listed(&tickets()).len()), (1, 3));
    assert_eq!(pair.talk.commits, 0);
}

#[test]
fn two_collections_are_asked_for_at_once() {
    let mut pair = Pair::new();
    let space = pair.space;
    pair.insert(0, 0..3);
    pair.commit(0, vec![memo(1)]);
    pair.parties[1].replica.set_interest(space, None, Index).expect("few interests");
    pair.forward();

    pair.meet();

    assert!(pair.is_indexed(&memos()) && pair.is_indexed(&tickets()) && pair.is_honest());
}

/// What a peer wanted the last time is known before it is greeted; nothing is said of it then.
#[test]
fn what_changes_before_the_greeting_is_listed_after_it() {
    let mut pair = indexed(5);
    pair.meet();
    pair.part();
    pair.connect();

    pair.edit_unheard(0, 3);

    let lanes: Vec<Lane> = pair.parties[0].outbox.iter().map(|frame| frame.lane).collect();
    assert_eq!(lanes, [Lane::Control], "the hello and nothing else");
    pair.talk_out(1_000);
    assert!(pair.is_indexed(&tickets()) && pair.is_honest());
}

/// A reader that may not see a collection hears neither its name nor what is in it.
#[test]
fn no_index_is_told_of_what_may_not_be_read() {
    use crate::access::Role::Admin;

    let mut pair = Pair::new();
    let (space, now) = (pair.space, at(0));
    pair.parties[0].replica.set_rule(now, space, &memos(), Admin, Admin).expect("an owner sets rules");
    pair.parties[1].replica.set_interest(space, None, Index).expect("few interests");
    pair.forward();
    pair.meet();
    pair.hush();

    pair.commit(0, vec![memo(1)]);
    pair.insert(0, 0..2);
    pair.talk_out(1_000);
    pair.part();
    pair.meet();

    let says = |text: &str| {
        pair.frames.iter().any(|frame| frame.windows(text.len()).any(|part| part == text.as_bytes()))
    };
    assert_eq!((says("memos"), says("tickets")), (false, true));
    assert_eq!(pair.listed(&memos()), []);
    assert!(pair.is_indexed(&tickets()));
}

/// What a lying or failing peer made of an index is found by the next comparison.
#[test]
fn an_index_that_is_wrong_is_put_right() {
    let mut pair = indexed(100);
    pair.meet();
    let (space, collection) = (pair.space, tickets());
    let gone =
        Listed { entity: entity(7), version: Version { heads: vec![], deleted: false, activity_ms: 0 } };
    let heads = vec![ChangeHash::new([9; 32])];
    let made_up = Listed { entity: entity(900), version: Version { heads, deleted: false, activity_ms: 1 } };
    let mut changed = vec![gone, made_up];
    changed.sort_by_key(|listed| listed.entity);
    let lie = Ask::TakeIndex { space, collection, spans: Vec::new(), changed };
    pair.parties[1].replica.answer(at(0), lie);
    assert!(!pair.is_indexed(&tickets()));

    pair.talk_out(61_000);

    assert!(pair.is_indexed(&tickets()) && pair.is_honest());
}

/// Who has nothing of a collection says nothing of it, so what its maker had lost stayed listed for good.
#[test]
fn what_went_with_a_whole_collection_is_listed_no_more() {
    let mut pair = indexed(0);
    pair.meet();
    let image = pair.parties[0].memory.snapshot();
    pair.insert(0, 0..3);
    pair.talk_out(1_000);
    assert_eq!(pair.listed(&tickets()).len(), 3);
    pair.part();

    pair.parties[0].restart(Some(&image));
    pair.forward();
    pair.meet();

    assert_eq!(pair.listed(&tickets()), []);
    assert!(pair.is_indexed(&tickets()) && pair.is_honest());
}

/// Interests, edits and cuts in any order: in the end what is listed is what is there.
#[test]
fn whatever_was_wanted_meanwhile_the_index_is_right_in_the_end() {
    for seed in 0..40 {
        let mut pair = Pair::agreed(6);
        let mut dice = Dice::new(seed, "index");
        for step in 0..40 {
            let party = dice.below(2) as usize;
            match dice.below(7) {
                0 | 1 => pair.edit(0, dice.below(6)),
                2 => pair.commit(party, vec![memo(1_000 + step)]),
                3 => {
                    let collection = if dice.chance(50) { tickets() } else { memos() };
                    pair.want(1, collection, *dice.pick(&[Live, Off, Index, Index]).expect("some"));
                }
                4 if pair.conn.is_none() => pair.connect(),
                4 => pair.part(),
                _ => pair.talk_out(dice.below(400)),
            }
        }
        [tickets(), memos()].into_iter().for_each(|collection| pair.want(1, collection, Index));
        if pair.conn.is_none() {
            pair.connect();
        }
        pair.talk_out(5_000);
        assert!(pair.is_indexed(&tickets()) && pair.is_indexed(&memos()), "seed {seed}");
        assert!(pair.is_honest(), "seed {seed}: {:?}", pair.parties.each_ref().map(|party| &party.refused));
    }
}
