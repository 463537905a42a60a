//! The laws of merging, over generated edits: whatever the order, the batches and the repetitions, replicas that
//! hold the same changes hold the same document.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::document::automerge_hash;
use super::super::{Kind, KindOf, delete, restore};
use super::crafted::usable;
use super::*;
use automerge::ReadDoc;

/// One step of a script.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Title(u8),
    Price(u64),
    Notes { at: usize, delete: usize, insert: String },
    Minutes(i64),
    Assignee(Option<u8>),
    TagAdd(usize, u8),
    TagRemove(usize),
    TagSet(usize, u8),
    Label(u8, Option<u8>),
    PartAdd(u64),
    PartMove,
    PartEdit(usize, String, i64),
    Whole(String),
    Delete,
    Restore,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u8>().prop_map(Step::Title),
        any::<u64>().prop_map(Step::Price),
        (0..30_usize, 0..5_usize, "[aäx😀]{0,4}").prop_map(|(at, delete, insert)| Step::Notes {
            at,
            delete,
            insert
        }),
        (-100..100_i64).prop_map(Step::Minutes),
        any::<Option<u8>>().prop_map(Step::Assignee),
        (0..5_usize, any::<u8>()).prop_map(|(at, tag)| Step::TagAdd(at, tag)),
        (0..5_usize).prop_map(Step::TagRemove),
        (0..5_usize, any::<u8>()).prop_map(|(at, tag)| Step::TagSet(at, tag)),
        (0..4_u8, any::<Option<u8>>()).prop_map(|(key, value)| Step::Label(key, value)),
        (0..6_u64).prop_map(Step::PartAdd),
        Just(Step::PartMove),
        (0..4_usize, "[ab]{0,3}", -5..5_i64).prop_map(|(at, note, by)| Step::PartEdit(at, note, by)),
        "[aäb]{0,8}".prop_map(Step::Whole),
        Just(Step::Delete),
        Just(Step::Restore),
    ]
}

/// Makes the edit of a step; one that cannot be made, as of a deleted entity, makes nothing.
pub(super) fn play(document: &mut Document, by: u8, step: Step) -> Option<Made> {
    let edit = if matches!(step, Step::Delete) {
        delete()
    } else if matches!(step, Step::Restore) {
        restore()
    } else {
        super::super::update(move |ticket: &mut Ticket| change(ticket, step))
    };
    edit(document, &actor(by), Timestamp::from_unix_ms(-1)).ok().flatten()
}

fn change(ticket: &mut Ticket, step: Step) {
    match step {
        Step::Title(n) => ticket.title = format!("title {n}"),
        Step::Price(price) => ticket.price = price,
        Step::Notes { at, delete, insert } => ticket.notes.splice(at, delete, &insert),
        Step::Minutes(by) => ticket.minutes.increment(by),
        Step::Assignee(who) => ticket.assignee = who.map(|n| format!("p{n}")),
        Step::TagAdd(at, tag) => ticket.tags.insert(at.min(ticket.tags.len()), format!("t{tag}")),
        Step::TagRemove(at) => {
            if at < ticket.tags.len() {
                ticket.tags.remove(at);
            }
        }
        Step::TagSet(at, tag) => {
            if let Some(old) = ticket.tags.get_mut(at) {
                *old = format!("s{tag}");
            }
        }
        Step::Label(key, Some(value)) => {
            ticket.labels.insert(format!("k{key}"), format!("v{value}"));
        }
        Step::Label(key, None) => {
            ticket.labels.remove(&format!("k{key}"));
        }
        Step::PartAdd(number) => {
            ticket.parts.push(Part { number, note: Text::from("new"), count: Counter::from(1) });
        }
        Step::PartMove => ticket.parts.reverse(),
        Step::PartEdit(at, note, by) => {
            if let Some(part) = ticket.parts.get_mut(at) {
                part.note.insert(1, &note);
                part.count.increment(by);
            }
        }
        Step::Whole(text) => ticket.notes = Text::from(text),
        Step::Delete | Step::Restore => {}
    }
}

/// A script: who edits, what, and whose changes that one takes in first.
type Script = Vec<(usize, Step, Option<usize>)>;

/// Plays a script on replicas; returns them and all changes.
fn replicas(count: usize, script: Script) -> (Vec<Document>, Vec<Made>) {
    let (first, made) = with_ticket();
    let mut all = vec![made];
    let mut documents = vec![first; count];
    for (who, step, from) in script {
        let who = who % count;
        if let Some(from) = from {
            let theirs = documents[from % count].clone();
            let known: Vec<Vec<u8>> =
                all.iter().filter(|made| theirs.has(&made.hash)).map(|made| made.bytes.clone()).collect();
            let admitted = admit(&mut documents[who], &known);
            assert_eq!(admitted.refused, vec![]);
        }
        all.extend(play(&mut documents[who], who as u8 + 1, step));
    }
    (documents, all)
}

fn script() -> impl Strategy<Value = (usize, Script)> {
    let steps = vec((0..5_usize, step(), proptest::option::weighted(0.3, 0..5_usize)), 1..30);
    (2..=5_usize, steps)
}

proptest! {
    #[test]
    fn replicas_with_the_same_changes_are_the_same((count, script) in script(), seed in any::<u64>()) {
        let (documents, all) = replicas(count, script);
        let kind = KindOf::<Ticket>::new().expect("a name");
        let mut outcomes = Vec::new();

        for (number, mut document) in documents.into_iter().chain([Document::new()]).enumerate() {
            let mut order: Vec<&Made> = all.iter().chain(all.iter().take(5)).collect();
            order.sort_by_key(|made| blake3::hash(&[&made.hash.as_bytes()[..], &seed.to_le_bytes(),
                &number.to_le_bytes()].concat()).as_bytes().to_owned());
            let batch = 1 + (seed as usize + number) % 7;
            // What waits for others is given again with the next round.
            for _ in 0..all.len() {
                for some in order.chunks(batch) {
                    let some: Vec<Vec<u8>> = some.iter().map(|made| made.bytes.clone()).collect();
                    admit(&mut document, &some);
                }
                if all.iter().all(|made| document.has(&made.hash)) {
                    break;
                }
            }
            usable(&document);
            outcomes.push((document.heads(), document.clock(), kind.row(&document), document.conflicts()));
        }

        for outcome in &outcomes {
            prop_assert_eq!(outcome, &outcomes[0]);
        }
    }

    #[test]
    fn every_own_change_is_as_automerge_says_and_fit_elsewhere((count, script) in script()) {
        let (documents, all) = replicas(count, script);
        let mut elsewhere = Document::new();
        let bytes: Vec<Vec<u8>> = all.iter().map(|made| made.bytes.clone()).collect();

        let admitted = admit(&mut elsewhere, &bytes);

        prop_assert_eq!(admitted.refused, vec![]);
        for made in &all {
            let header = gate::prescan(&made.bytes).expect("own change");
            let change = elsewhere.inner.get_change_by_hash(&automerge_hash(&made.hash)).expect("there");
            prop_assert_eq!(header.hash, made.hash);
            prop_assert_eq!(header.seq, change.seq());
            prop_assert_eq!(header.start_op, change.start_op().get());
            prop_assert_eq!(header.ops, change.len() as u64);
            prop_assert_eq!(header.deps.len(), change.deps().len());
            prop_assert_eq!(header.time.unix_ms(), change.timestamp());
            prop_assert_eq!(change.raw_bytes(), &made.bytes[..]);
        }
        for document in documents {
            prop_assert!(document.heads().iter().all(|head| elsewhere.has(head)));
        }
    }
}
