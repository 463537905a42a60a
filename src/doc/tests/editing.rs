//! Local edits: what they write, what they leave alone, what they refuse.

use std::ops::Range;

use automerge::transaction::Transactable;
use automerge::{ROOT, ReadDoc};

use super::super::document::automerge_hash;
use super::super::{DocError, GateError, Kind, KindOf, delete, insert, restore, row_value, try_update};
use super::*;
use crate::id::ChangeHash;
use crate::limits::{CHANGE_OPS_MAX, INCREMENT_MAX, KEY_BYTES_MAX, ROW_BYTES_MAX};

const TIME: Timestamp = Timestamp::from_unix_ms(5);

fn ops(made: &Made) -> u64 {
    gate::prescan(&made.bytes).expect("own change").ops
}

fn read(document: &Document) -> Ticket {
    document.hydrate().expect("readable")
}

#[test]
fn an_inserted_entity_reads_back_from_document_and_row() {
    let (document, made) = with_ticket();

    let row = KindOf::<Ticket>::new().expect("a name").row(&document).expect("a row");

    assert_eq!(read(&document), ticket("tap"));
    assert_eq!(row_value::<Ticket>(&row), Ok(ticket("tap")));
    assert_eq!(made.seq, 1);
    assert_eq!(document.heads(), vec![made.hash]);
    assert_eq!(document.clock(), vec![(actor(1), 1)]);
}

#[test]
fn setting_one_field_of_twelve_is_one_operation() {
    let (document, _) = with_ticket();
    let one = |change: fn(&mut Ticket)| ops(&update(&mut document.clone(), 1, change));

    assert_eq!(one(|t| t.status = "done".to_owned()), 1);
    assert_eq!(one(|t| t.price = 7), 1);
    assert_eq!(one(|t| t.assignee = Some("Ada".to_owned())), 1);
    assert_eq!(one(|t| t.minutes.increment(5)), 1);
    assert_eq!(one(|t| t.notes.insert(0, "!")), 1);
    assert_eq!(one(|t| t.notes.delete(0..2)), 2);
    assert_eq!(one(|t| t.notes = Text::from("no heat")), 7 - 3 - 1 + 2);
    assert_eq!(one(|t| t.tags.push("late".to_owned())), 1);
    assert_eq!(one(|t| drop(t.labels.insert("size".to_owned(), "m".to_owned()))), 1);
    assert_eq!(one(|t| t.parts[0].count.increment(1)), 1);
    assert_eq!(one(|t| t.parts[0].note.push_str("y")), 1);
    assert_eq!(one(|t| t.weight = 0.5), 1);
    assert_eq!(one(|t| t.open = true), 1);
    assert_eq!(one(|t| t.minutes = Counter::from(9)), 1);
}

#[test]
fn an_edit_that_changes_nothing_makes_no_change() {
    let (mut document, made) = with_ticket();

    let nothing: [Edit; 4] = [
        super::super::update(|_: &mut Ticket| {}),
        super::super::update(|t: &mut Ticket| t.minutes.increment(0)),
        super::super::update(|t: &mut Ticket| t.notes = Text::from("no gas")),
        restore(),
    ];
    for edit in nothing {
        assert_eq!(edit(&mut document, &actor(2), TIME), Ok(None));
    }

    assert_eq!(document.heads(), vec![made.hash]);
    assert_eq!(document.clock(), vec![(actor(1), 1)]);
}

#[test]
fn an_edit_that_fails_leaves_the_document_as_it_was() {
    let (mut document, made) = with_ticket();
    let give_up = |t: &mut Ticket| {
        t.title.clear();
        Err("no")
    };

    let failed = try_update(give_up)(&mut document, &actor(1), TIME);

    assert_eq!(failed, Err(DocError::Abandoned { reason: "no".to_owned() }));
    assert_eq!(document.heads(), vec![made.hash]);
    assert_eq!(read(&document).title, "tap");
    let next = update(&mut document, 1, |t| t.price = 1);
    assert_eq!(next.seq, 2);
}

#[test]
fn the_life_of_an_entity_is_insert_delete_restore() {
    let mut document = Document::new();
    let run = |document: &mut Document, edit: Edit| edit(document, &actor(1), TIME);
    let bump = || super::super::update(|t: &mut Ticket| t.price += 1);

    assert_eq!(run(&mut document, bump()), Err(DocError::Absent));
    assert_eq!(run(&mut document, delete()), Err(DocError::Absent));
    assert_eq!(run(&mut document, restore()), Err(DocError::Absent));
    assert!(matches!(run(&mut document, insert(ticket("tap"))), Ok(Some(_))));
    assert_eq!(run(&mut document, insert(ticket("tap"))), Err(DocError::Exists));
    assert!(matches!(run(&mut document, delete()), Ok(Some(_))));
    assert!(document.is_deleted());
    assert_eq!(run(&mut document, delete()), Ok(None));
    assert_eq!(run(&mut document, bump()), Err(DocError::Deleted));
    assert_eq!(run(&mut document, insert(ticket("tap"))), Err(DocError::Deleted));
    assert!(matches!(run(&mut document, restore()), Ok(Some(_))));
    assert!(!document.is_deleted());
    assert_eq!(read(&document), ticket("tap"));
}

#[test]
fn a_deletion_wins_over_a_concurrent_edit_and_over_a_restoring_that_had_not_seen_it() {
    let (mut left, made) = with_ticket();
    let mut right = left.clone();
    let edited = update(&mut right, 2, |t| t.price = 5);
    let deleted = edit(&mut left, 1, delete());

    admit(&mut left, std::slice::from_ref(&edited.bytes));
    admit(&mut right, std::slice::from_ref(&deleted.bytes));
    assert!(left.is_deleted() && right.is_deleted());
    assert_eq!(left.heads(), right.heads());
    assert!(left.has(&made.hash));

    // Both delete again after a restoring; only one restores.
    let restored = edit(&mut left, 1, restore());
    admit(&mut right, std::slice::from_ref(&restored.bytes));
    let again_left = edit(&mut left, 1, delete());
    let again_right = edit(&mut right, 2, delete());
    let restored = edit(&mut left, 1, restore());
    admit(&mut left, std::slice::from_ref(&again_right.bytes));
    admit(&mut right, &[again_left.bytes, restored.bytes]);
    assert!(left.is_deleted() && right.is_deleted());
    assert_eq!(left.conflicts(), right.conflicts());
}

#[test]
fn fields_of_a_newer_type_survive_an_older_ones_edits() {
    let (mut document, _) = with_ticket();
    document.inner.set_actor(automerge::ActorId::from(&[9_u8; 16]));
    let mut tx = document.inner.transaction();
    tx.put(ROOT, "invented_later", "kept").expect("root map");
    tx.commit();
    document.clock.insert(actor(9), 1);

    update(&mut document, 1, |t| t.title = "sink".to_owned());
    edit(&mut document, 1, delete());
    edit(&mut document, 1, restore());

    let kept = document.inner.get(ROOT, "invented_later").expect("root map").expect("there");
    assert_eq!(kept.0.as_str(), Some("kept"));
}

#[test]
fn texts_count_characters_and_clamp_positions() {
    let mut text = Text::from("äöü€😀");
    text.insert(1, "-");
    text.delete(3..5);
    text.push_str("!");
    text.insert(99, "?");
    text.delete(Range { start: 6, end: 4 });
    text.splice(usize::MAX, usize::MAX, "");
    assert_eq!(text.as_str(), "ä-ö😀!?");
    assert_eq!(text.len(), 6);
    assert_eq!(text.to_string(), "ä-ö😀!?");

    let (mut document, _) = with_ticket();
    update(&mut document, 1, |t| t.notes.set("äöü€😀"));
    update(&mut document, 1, |t| {
        t.notes.insert(1, "-");
        t.notes.delete(3..5);
        t.notes.push_str("!");
    });
    assert_eq!(read(&document).notes.as_str(), "ä-ö😀!");
}

#[test]
fn setting_a_text_keeps_what_both_have_in_common() {
    let (document, _) = with_ticket();
    let by_set = |text: &'static str| ops(&update(&mut document.clone(), 1, move |t| t.notes.set(text)));

    assert_eq!(by_set("no more gas"), 5);
    assert_eq!(by_set("no gas!"), 1);
    assert_eq!(by_set("gas"), 3);
    assert_eq!(by_set("no heat"), 3 + 4);
    let mut text = Text::from("aaa");
    text.set("aa");
    assert_eq!(text.as_str(), "aa");
    text.set("aaaa");
    assert_eq!(text.as_str(), "aaaa");
}

#[test]
fn a_text_merges_by_character_and_a_counter_by_adding() {
    let (mut left, _) = with_ticket();
    let mut right = left.clone();

    let to_right = update(&mut left, 1, |t| {
        t.notes.insert(0, "still ");
        t.minutes.increment(10);
        t.parts[0].count.increment(-1);
    });
    let to_left = update(&mut right, 2, |t| {
        t.notes.push_str(" and no water");
        t.minutes.increment(5);
        t.parts[0].count.increment(-2);
    });
    admit(&mut left, &[to_left.bytes]);
    admit(&mut right, &[to_right.bytes]);

    let merged = read(&left);
    assert_eq!(merged.notes.as_str(), "still no gas and no water");
    assert_eq!(merged.minutes.value(), 45);
    assert_eq!(merged.parts[0].count.value(), -1);
    assert_eq!(read(&right), merged);
    assert_eq!(left.conflicts(), vec![]);
}

#[test]
fn texts_and_counters_that_move_take_their_whole_value_along() {
    let (mut document, _) = with_ticket();
    update(&mut document, 1, |t| {
        let part = Part { number: 2, note: Text::from("steel"), count: Counter::from(40) };
        t.parts.push(part);
    });

    let made = update(&mut document, 1, |t| {
        t.parts.swap(0, 1);
        t.parts[0].note.insert(0, "stainless ");
        t.parts[0].count.increment(1);
        t.notes = t.parts[1].note.clone();
        t.minutes = t.parts[1].count.clone();
    });

    let now = read(&document);
    let parts: Vec<_> = now.parts.iter().map(|p| (p.number, p.note.as_str(), p.count.value())).collect();
    assert_eq!(parts, vec![(2, "stainless steel", 41), (1, "brass", 2)]);
    assert_eq!(now.notes.as_str(), "brass");
    assert_eq!(now.minutes.value(), 2);
    assert!(made.seq == 3);
}

#[test]
fn reserved_fields_are_refused() {
    #[derive(Clone, Debug, Reconcile, Hydrate, Serialize, Deserialize)]
    struct Sly {
        #[autosurgeon(rename = "$gone")]
        gone: bool,
    }
    impl Entity for Sly {
        const COLLECTION: &'static str = "sly";
        const VERSION: u32 = 1;
    }
    let mut document = Document::new();

    let refused = insert(Sly { gone: true })(&mut document, &actor(1), TIME);

    assert_eq!(refused, Err(DocError::Reserved { field: "$gone".to_owned() }));
    assert!(document.is_empty());
}

#[test]
fn what_others_would_refuse_is_refused_here() {
    let (mut document, made) = with_ticket();
    let long = "x".repeat(KEY_BYTES_MAX + 1);
    let many = "y".repeat(CHANGE_OPS_MAX as usize + 1);
    let mut run = |change: Edit| change(&mut document, &actor(1), TIME);

    let key = run(super::super::update(move |t: &mut Ticket| drop(t.labels.insert(long, String::new()))));
    let operations = run(super::super::update(move |t: &mut Ticket| t.notes.set(&many)));
    let increment = run(super::super::update(|t: &mut Ticket| t.minutes.increment(INCREMENT_MAX + 1)));

    let too_large = |what, count, max| Err(DocError::TooLarge { what, count, max });
    assert_eq!(key, too_large("key bytes", KEY_BYTES_MAX as u64 + 1, KEY_BYTES_MAX as u64));
    // The six characters of the old text go.
    assert_eq!(operations, too_large("operations", CHANGE_OPS_MAX + 7, CHANGE_OPS_MAX));
    assert_eq!(increment, too_large("increment", INCREMENT_MAX as u64 + 1, INCREMENT_MAX as u64));
    assert_eq!(document.heads(), vec![made.hash]);
}

#[test]
fn a_saved_document_loads_with_its_tail_in_one_call() {
    let (mut document, first) = with_ticket();
    let snapshot = document.save();
    let second = update(&mut document, 2, |t| t.price = 3);

    let from_both = Document::load(Some(&snapshot), &[&second.bytes]).expect("undamaged");
    let from_changes = Document::load(None, &[&first.bytes, &second.bytes]).expect("undamaged");

    for loaded in [from_both, from_changes] {
        assert_eq!(loaded.heads(), document.heads());
        assert_eq!(loaded.clock(), document.clock());
        assert_eq!(read(&loaded), read(&document));
    }
    let empty = Document::load(None, &[]).expect("nothing is a document");
    assert!(empty.is_empty());
}

#[test]
fn damaged_bytes_are_an_error_that_says_so() {
    let (mut document, first) = with_ticket();
    let second = update(&mut document, 2, |t| t.price = 3);
    let mut snapshot = document.save();
    let middle = snapshot.len() / 2;
    snapshot[middle] ^= 1;

    let flipped = Document::load(Some(&snapshot), &[]);
    let gap = Document::load(None, &[&second.bytes]);

    assert!(matches!(flipped, Err(DocError::Damaged { .. })), "{flipped:?}");
    assert!(matches!(gap, Err(DocError::Damaged { .. })), "{gap:?}");
    assert!(Document::load(None, &[&first.bytes, &second.bytes]).is_ok());
}

#[test]
fn a_row_of_another_shape_is_an_error_that_says_so() {
    let (mut document, _) = with_ticket();
    document.inner.set_actor(automerge::ActorId::from(&[9_u8; 16]));
    let mut tx = document.inner.transaction();
    tx.put(ROOT, "title", 5).expect("root map");
    tx.commit();

    let row = KindOf::<Ticket>::new().expect("a name").row(&document);

    assert!(matches!(row, Err(DocError::Hydrate { ref kind, .. }) if kind == "tickets"), "{row:?}");
    assert!(matches!(row_value::<Ticket>(b"no"), Err(DocError::Row { .. })));
}

/// An entity that is small as a document, and whose row is as long as it says.
#[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, Serialize, Deserialize)]
struct Wide {
    #[serde(serialize_with = "in_full")]
    len: u64,
}

fn in_full<S: serde::Serializer>(len: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&"x".repeat(*len as usize))
}

impl Entity for Wide {
    const COLLECTION: &'static str = "wide";
    const VERSION: u32 = 1;
}

/// Seen failing with four times as many in `KindOf::row`.
#[test]
fn a_row_has_so_many_bytes() {
    // The map, the name of its one field, and the length of the text.
    const HEADER: usize = 1 + 4 + 5;
    let row = |bytes: usize| {
        let mut document = Document::new();
        edit(&mut document, 1, insert(Wide { len: (bytes - HEADER) as u64 }));
        KindOf::<Wide>::new().expect("a name").row(&document).map(|row| row.len())
    };

    assert_eq!(row(ROW_BYTES_MAX), Ok(ROW_BYTES_MAX));
    let (what, max) = ("row bytes", ROW_BYTES_MAX as u64);
    assert_eq!(row(ROW_BYTES_MAX + 1), Err(DocError::TooLarge { what, count: max + 1, max }));
}

#[test]
fn the_prescan_says_of_a_change_what_automerge_says() {
    let (mut document, _) = with_ticket();
    let mut right = document.clone();
    let other = update(&mut right, 2, |t| t.notes.push_str("?"));
    admit(&mut document, &[other.bytes]);
    let made = update(&mut document, 1, |t| {
        t.notes.delete(0..3);
        t.tags.clear();
        t.minutes.increment(3);
    });

    let header = gate::prescan(&made.bytes).expect("own change");
    let change = document.inner.get_change_by_hash(&automerge_hash(&made.hash)).expect("there");

    assert_eq!(header.hash, made.hash);
    assert_eq!(header.actor, actor(1));
    assert_eq!(header.seq, change.seq());
    assert_eq!(header.start_op, change.start_op().get());
    assert_eq!(header.ops, change.len() as u64);
    assert_eq!(header.max_op(), change.max_op());
    assert_eq!(header.deps, change.deps().iter().map(|dep| ChangeHash::new(dep.0)).collect::<Vec<_>>());
    assert_eq!(header.time.unix_ms(), change.timestamp());
}

#[test]
fn errors_name_their_cause() {
    let inner = GateError::Operation { index: 3, what: "is in an unknown object" };

    let error = DocError::from(inner.clone());

    assert_eq!(inner.to_string(), "operation 3 is in an unknown object");
    assert_eq!(std::error::Error::source(&error).map(ToString::to_string), Some(inner.to_string()));
}
