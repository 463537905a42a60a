//! Changes made to do harm, by the numbers of the list of attacks. After each, the document is as it was, and can
//! be read, edited, saved and loaded.

use automerge::legacy::{Key, ObjectId, OpType};
use automerge::{ObjType, ScalarValue};

use super::super::GateError;
use super::craft::{Draft, Raw, content, element, element_at, id, inserted, make, object_at};
use super::craft::{op, put, sealed, signed, unsigned, values};
use super::*;
use crate::id::ChangeHash;
use crate::limits::{CHANGE_ACTORS_MAX, CHANGE_BYTES_MAX, CHANGE_DEPS_MAX, CHANGE_OP_COUNTER_MAX};
use crate::limits::{CHANGE_OPS_MAX, CHANGE_PREDS_MAX, CHANGE_SEQ_MAX, COUNTER_MAX, INCREMENT_MAX};
use crate::limits::{KEY_BYTES_MAX, NESTING_DEPTH_MAX, VALUE_BYTES_MAX};

/// What a change is refused for, by the prescan or by `admit`; the document must stay usable.
#[track_caller]
fn refusal(document: &mut Document, bytes: &[u8]) -> GateError {
    let heads = document.heads();
    let error = match gate::prescan(bytes) {
        Err(error) => error,
        Ok(header) => {
            let admitted = document.admit(&[(header, bytes)], None);
            assert_eq!(admitted.accepted, vec![], "let in");
            admitted.refused.into_iter().next().expect("a verdict").1
        }
    };
    assert_eq!(document.heads(), heads);
    usable(document);
    error
}

/// Whether the document still can be read, edited, saved and loaded.
#[track_caller]
pub(super) fn usable(document: &Document) {
    let mut document = document.clone();
    let read: Ticket = document.hydrate().expect("readable");
    if !document.is_deleted() {
        update(&mut document, 1, move |t| t.price = read.price.wrapping_add(1));
    }
    let loaded = Document::load(Some(&document.save()), &[]).expect("it loads");
    assert_eq!(loaded.heads(), document.heads());
    assert_eq!(loaded.hydrate::<Ticket>(), document.hydrate::<Ticket>());
}

#[track_caller]
fn check_operation(document: &mut Document, draft: &Draft, expected: &'static str) {
    let index = draft.0.operations.len() as u64 - 1;
    let error = refusal(document, &draft.bytes());
    assert_eq!(error, GateError::Operation { index, what: expected });
}

const fn malformed(what: &'static str) -> GateError {
    GateError::Malformed { what }
}

/// Seen failing without the comparison of numbers in `Past::check_causality`: Automerge panicked.
#[test]
fn attack_21_a_gap_in_the_sequence_is_refused() {
    let (mut document, _) = with_ticket();
    let mut draft = Draft::next(&document, actor(1)).op(put("title", "x", &values(&document, "title")));
    draft.0.seq += 1;

    assert_eq!(refusal(&mut document, &draft.bytes()), GateError::Causality);
}

/// Seen failing without the look at the number in `Chunk::parse_content`.
#[test]
fn attack_22_an_actor_begins_with_1() {
    let (mut document, _) = with_ticket();
    let draft = Draft::next(&document, actor(9)).op(put("new", "x", &[]));
    let with = |seq| {
        let mut draft = draft.clone();
        draft.0.seq = seq;
        draft.bytes()
    };

    assert_eq!(refusal(&mut document, &with(2)), GateError::Causality);
    assert_eq!(refusal(&mut document, &with(0)), malformed("sequence number is zero"));
    let large = |count| GateError::TooLarge { what: "sequence number", count, max: CHANGE_SEQ_MAX };
    assert_eq!(refusal(&mut document, &with(1 << 63)), large(1 << 63));
    assert_eq!(refusal(&mut document, &with(CHANGE_SEQ_MAX + 1)), large(CHANGE_SEQ_MAX + 1));
}

/// Times of two changes that lie farther apart than a number of 64 bits made Automerge panic when the document
/// was saved, in a debug build. Seen failing, by that panic, without the bound in `prescan`.
#[test]
fn attack_50_a_change_of_the_end_of_time_is_refused_and_one_near_it_does_no_harm() {
    let farthest = crate::limits::CHANGE_TIME_MS_MAX.cast_signed();
    for time in [i64::MIN, i64::MAX, farthest + 1, -farthest - 1] {
        let (mut document, _) = with_ticket();
        let mut draft = Draft::next(&document, actor(9)).op(put("new", "x", &[]));
        draft.0.time = time;
        let max = crate::limits::CHANGE_TIME_MS_MAX;
        let error = GateError::TooLarge { what: "time", count: time.unsigned_abs(), max };
        assert_eq!(refusal(&mut document, &draft.bytes()), error);
    }
    for time in [-farthest, farthest] {
        let (mut document, _) = with_ticket();
        let mut draft = Draft::next(&document, actor(9)).op(put("new", "x", &[]));
        draft.0.time = time;
        admit(&mut document, &[draft.bytes()]);
        usable(&document);
    }
}

/// Seen failing without `follows` in `Past::check_causality`: it was let in.
#[test]
fn attack_23_a_change_names_its_actors_previous_one() {
    let (mut document, _) = with_ticket();
    update(&mut document, 1, |t| t.price = 1);
    let other = update(&mut document, 2, |t| t.price = 2);
    let mut draft = Draft::next(&document, actor(1)).op(put("new", "x", &[]));
    draft.0.deps = vec![automerge::ChangeHash(*other.hash.as_bytes())];

    assert_eq!(refusal(&mut document, &draft.bytes()), GateError::Causality);
}

/// Seen failing without the look at dependencies in `Past::check_causality`: Automerge was given it, to wait in
/// its queue.
#[test]
fn attack_24_a_change_that_waits_for_others_does_not_squat_on_its_number() {
    let (mut document, _) = with_ticket();
    let mut squat = Draft::next(&document, actor(2)).op(put("new", "x", &[]));
    squat.0.deps.push(automerge::ChangeHash([9; 32]));
    let honest = update(&mut document.clone(), 2, |t| t.price = 7);

    let missing = vec![ChangeHash::new([9; 32])];
    assert_eq!(refusal(&mut document, &squat.bytes()), GateError::Missing { missing });

    assert_eq!(admit(&mut document, &[honest.bytes]).accepted, vec![honest.hash]);
    assert_eq!(document.hydrate::<Ticket>().expect("readable").price, 7);
}

/// Seen failing without `Check::operation`: Automerge panicked.
#[test]
fn attack_25_operations_on_what_is_not_there_are_refused() {
    let (mut document, _) = with_ticket();
    let nowhere = ObjectId::Id(id(9_999, actor(1)));
    let notes = ObjectId::Id(object_at(&document, "notes"));
    let tags = ObjectId::Id(object_at(&document, "tags"));
    let next = Draft::next(&document, actor(2));
    let string = || OpType::Put("x".into());

    let draft = next.clone().op(op(nowhere.clone(), Key::Map("a".into()), string(), &[]));
    check_operation(&mut document, &draft, "is in an unknown object");
    let draft = next.clone().op(inserted(nowhere, None, string()));
    check_operation(&mut document, &draft, "is in an unknown object");
    for sequence in [&notes, &tags] {
        let draft = next.clone().op(inserted(sequence.clone(), Some(id(9_999, actor(1))), string()));
        check_operation(&mut document, &draft, "is about an unknown element");
    }
    // An element of another text, an object made later in the same change, a value that is no object.
    let other = element_at(&document, "tags", 0);
    let draft = next.clone().op(inserted(notes, Some(other.clone()), string()));
    check_operation(&mut document, &draft, "is about an element of something else");
    let later = id(next.counter() + 1, actor(2));
    let draft = next.clone().op(op(ObjectId::Id(later), Key::Map("a".into()), string(), &[]));
    check_operation(&mut document, &draft, "is in an unknown object");
    let draft = next.op(op(ObjectId::Id(other), Key::Map("a".into()), string(), &[]));
    check_operation(&mut document, &draft, "is in something that is no object");
}

/// Seen failing without `Check::operation`: Automerge panicked.
#[test]
fn attack_26_predecessors_are_values_of_the_same_place() {
    let (mut document, _) = with_ticket();
    let next = Draft::next(&document, actor(2));
    let price = values(&document, "price");

    let draft = next.clone().op(put("title", "x", &[id(1, actor(77))]));
    check_operation(&mut document, &draft, "follows an unknown operation");
    let draft = next.clone().op(put("title", "x", &[id(9_999, actor(1))]));
    check_operation(&mut document, &draft, "follows an unknown operation");
    let draft = next.clone().op(put("title", "x", &price));
    check_operation(&mut document, &draft, "follows an operation elsewhere");
    let tags = ObjectId::Id(object_at(&document, "tags"));
    let tag = element_at(&document, "tags", 0);
    let draft = next.clone().op(op(tags.clone(), element(tag.clone()), OpType::Delete, &price));
    check_operation(&mut document, &draft, "follows an operation elsewhere");
    let draft = next.clone().op(op(tags, element(tag), OpType::Delete, &[]));
    check_operation(&mut document, &draft, "is about no value");
    let draft = next.clone().op(op(ObjectId::Root, Key::Map("title".into()), OpType::Delete, &[]));
    check_operation(&mut document, &draft, "is about no value");
    let minutes = values(&document, "minutes");
    let increment = || op(ObjectId::Root, Key::Map("minutes".into()), OpType::Increment(1), &minutes);
    let after_increment = put("minutes", 1, &[id(next.counter(), actor(2))]);
    let draft = next.op(increment()).op(after_increment);
    check_operation(&mut document, &draft, "follows an operation that leaves nothing");
}

/// Seen failing without `Check::operation`: it was let in.
#[test]
fn attack_26_an_author_cannot_refer_to_what_it_had_not_seen() {
    let (mut document, first) = with_ticket();
    let draft = Draft::next(&document, actor(3));
    let unseen = update(&mut document, 2, |t| t.title = "sink".to_owned());
    let value = values(&document, "title");

    let draft = draft.op(put("title", "x", &value));

    check_operation(&mut document, &draft, "follows an unknown operation");
    assert!(document.has(&first.hash) && document.has(&unseen.hash));
}

/// Seen failing without `Check::operation`.
#[test]
fn attack_27_operations_fit_their_objects() {
    let (mut document, _) = with_ticket();
    let next = Draft::next(&document, actor(2));
    let tags = ObjectId::Id(object_at(&document, "tags"));
    let notes = ObjectId::Id(object_at(&document, "notes"));
    let labels = ObjectId::Id(object_at(&document, "labels"));
    let string = || OpType::Put("x".into());
    let letter = element_at(&document, "notes", 0);
    let letters = std::slice::from_ref(&letter);

    for sequence in [&tags, &notes] {
        let draft = next.clone().op(op(sequence.clone(), Key::Map("a".into()), string(), &[]));
        check_operation(&mut document, &draft, "has a key that its object does not take");
    }
    for map in [&labels, &ObjectId::Root] {
        let draft = next.clone().op(inserted(map.clone(), None, string()));
        check_operation(&mut document, &draft, "has a key that its object does not take");
    }
    let increment = OpType::Increment(1);
    let draft = next.clone().op(op(notes.clone(), element(letter.clone()), increment.clone(), letters));
    check_operation(&mut document, &draft, "changes a character");
    let draft = next.clone().op(op(notes.clone(), element(letter.clone()), string(), letters));
    check_operation(&mut document, &draft, "changes a character");
    for action in [make(ObjType::Map), OpType::Put(5.into())] {
        let draft = next.clone().op(inserted(notes.clone(), None, action));
        check_operation(&mut document, &draft, "inserts no character into a text");
    }
    for action in [OpType::Delete, increment.clone()] {
        let draft = next.clone().op(inserted(tags.clone(), None, action));
        check_operation(&mut document, &draft, "inserts nothing");
    }
    let title = values(&document, "title");
    let draft = next.clone().op(op(ObjectId::Root, Key::Map("title".into()), increment, &title));
    check_operation(&mut document, &draft, "increments what is no counter");
    let mut over = inserted(tags.clone(), None, string());
    over.pred = [element_at(&document, "tags", 0)].into_iter().collect();
    check_operation(&mut document, &next.clone().op(over), "inserts over something");
    let head = op(tags, Key::head(), string(), &[]);
    check_operation(&mut document, &next.op(head), "is about no element");
}

/// Seen failing with each of the three let pass in `doc::gate::ops`: an unknown column, an unknown action, an unknown
/// type of value.
#[test]
fn attack_27_marks_tables_and_unknown_actions_are_refused() {
    let (mut document, _) = with_ticket();
    let next = Draft::next(&document, actor(2));
    let tags = ObjectId::Id(object_at(&document, "tags"));
    let mark = automerge::legacy::MarkData { name: "bold".into(), value: true.into(), expand: true };

    let marked = next.clone().op(inserted(tags, None, OpType::MarkBegin(mark)));
    assert_eq!(refusal(&mut document, &marked.bytes()), malformed("unknown column"));
    let table = next.op(op(ObjectId::Root, Key::Map("t".into()), make(ObjType::Table), &[]));
    let unknown_action = malformed("operation has an unknown action");
    assert_eq!(refusal(&mut document, &table.bytes()), unknown_action);
    for action in [7, 8, 99] {
        let raw = Raw::first().column(0x42, &[0x7f, action]);
        assert_eq!(refusal(&mut document, &raw.bytes()), unknown_action);
    }
    let raw = Raw::first().column(0x56, &[0x7f, 0x0a]);
    assert_eq!(refusal(&mut document, &raw.bytes()), malformed("value has an unknown type"));
}

/// Seen failing without the comparison of operation counters in `Past::check_causality`: what was saved did not
/// load.
#[test]
fn attack_28_operations_are_counted_on_from_the_dependencies() {
    let (mut document, made) = with_ticket();
    let first = gate::prescan(&made.bytes).expect("own change");
    let with = |start_op: u64| {
        let mut draft = Draft::next(&document, actor(1)).op(put("new", "x", &[]));
        draft.0.start_op = start_op.try_into().expect("not zero");
        draft.bytes()
    };
    let reused = with(first.max_op());
    let jumped = with(first.max_op() + 1_000_000);
    let last = with(u64::from(u32::MAX));
    let farther = with(1 << 40);

    assert_eq!(refusal(&mut document, &reused), GateError::Causality);
    assert_eq!(refusal(&mut document, &jumped), GateError::Causality);
    let large = |count| GateError::TooLarge { what: "operation counter", count, max: CHANGE_OP_COUNTER_MAX };
    assert_eq!(refusal(&mut document, &last), large(u64::from(u32::MAX)));
    assert_eq!(refusal(&mut document, &farther), large(1 << 40));
    let zero = Raw { start_op: 0, ..Raw::first() };
    assert_eq!(refusal(&mut document, &zero.bytes()), malformed("operation counter is zero"));
}

/// Seen failing without the look at the message in `Chunk::parse_content`.
#[test]
fn attack_29_nothing_is_written_beside_the_operations() {
    let (mut document, _) = with_ticket();
    let raw = Raw::first();

    let message = Raw { message: b"hello".to_vec(), ..raw.clone() };
    assert_eq!(refusal(&mut document, &message.bytes()), malformed("message"));
    let extra = Raw { extra: vec![0], ..raw.clone() };
    assert_eq!(refusal(&mut document, &extra.bytes()), malformed("bytes follow the columns"));
    let mut draft = Draft::next(&document, actor(2)).op(put("new", "x", &[]));
    draft.0.extra_bytes = b"footer".to_vec();
    assert_eq!(refusal(&mut document, &draft.bytes()), malformed("bytes follow the columns"));
    let short_actor = Raw { actor: vec![1; 15], ..raw.clone() };
    assert_eq!(refusal(&mut document, &short_actor.bytes()), malformed("actor is not 16 bytes"));
    let others = |others: &[[u8; 16]]| {
        Raw { others: others.iter().map(|id| id.to_vec()).collect(), ..raw.clone() }.bytes()
    };
    let unsorted = malformed("actors are not sorted");
    assert_eq!(refusal(&mut document, &others(&[[3; 16], [2; 16]])), unsorted);
    assert_eq!(refusal(&mut document, &others(&[[2; 16], [2; 16]])), unsorted);
    assert_eq!(refusal(&mut document, &others(&[[1; 16]])), unsorted);
    // An actor that no operation names: Automerge would not write it again.
    assert_eq!(refusal(&mut document, &others(&[[2; 16]])), malformed("change is not in canonical form"));
    let many: Vec<[u8; 16]> = (0..=CHANGE_ACTORS_MAX as u8).map(|id| [id + 2; 16]).collect();
    let max = CHANGE_ACTORS_MAX as u64;
    let too_many = GateError::TooLarge { what: "other actors", count: max + 1, max };
    assert_eq!(refusal(&mut document, &others(&many)), too_many);
    let deps = |deps: Vec<[u8; 32]>| Raw { deps, ..raw.clone() }.bytes();
    let unsorted = malformed("dependencies are not sorted");
    assert_eq!(refusal(&mut document, &deps(vec![[2; 32], [1; 32]])), unsorted);
    assert_eq!(refusal(&mut document, &deps(vec![[1; 32], [1; 32]])), unsorted);
    let max = CHANGE_DEPS_MAX as u64;
    let too_many = GateError::TooLarge { what: "dependencies", count: max + 1, max };
    assert_eq!(refusal(&mut document, &deps(vec![[0; 32]; CHANGE_DEPS_MAX + 1])), too_many);
}

/// Seen failing without the bound of operations in `prescan`: Automerge was given ten million.
#[test]
fn attack_30_a_change_that_unfolds_into_millions_of_operations_is_counted_first() {
    let (mut document, _) = with_ticket();
    let run = |count: i64, value: &[u8]| {
        let mut bytes = Vec::new();
        signed(&mut bytes, count);
        bytes.extend(value);
        bytes
    };
    let operations = Raw::first()
        .column(0x15, &run(10_000_000, &[1, b'a']))
        .column(0x42, &run(10_000_000, &[1]))
        .column(0x34, &[])
        .column(0x56, &[])
        .column(0x70, &[]);
    let bytes = operations.bytes();
    assert!(bytes.len() < 64, "{}", bytes.len());
    let large = |what, count, max| GateError::TooLarge { what, count, max };
    assert_eq!(refusal(&mut document, &bytes), large("operations", 10_000_000, CHANGE_OPS_MAX));
    // Nothing, a hundred million times; and more than 64 bits can count.
    let mut nothing = vec![0];
    unsigned(&mut nothing, 100_000_000);
    let nothing = Raw::first().column(0x42, &nothing);
    assert_eq!(refusal(&mut document, &nothing.bytes()), large("operations", 100_000_000, CHANGE_OPS_MAX));
    let overflow = [run(i64::MAX, &[1]), run(i64::MAX, &[1]), run(i64::MAX, &[1])].concat();
    let overflow = Raw::first().column(0x42, &overflow);
    assert_eq!(refusal(&mut document, &overflow.bytes()), large("operations", u64::MAX, CHANGE_OPS_MAX));
    let mut count = Vec::new();
    unsigned(&mut count, 100_000_000);
    let preds = Raw::first().column(0x70, &[vec![0x7f], count].concat());
    assert_eq!(refusal(&mut document, &preds.bytes()), large("predecessors", 100_000_000, CHANGE_PREDS_MAX));
}

/// Seen failing without the look at the type in `Chunk::parse`.
#[test]
fn attack_30_compressed_changes_are_refused_unopened() {
    use std::io::Write;
    let (mut document, _) = with_ticket();
    let bomb = {
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        for _ in 0..1024 {
            deflate.write_all(&[0; 64 * 1024]).expect("memory");
        }
        deflate.finish().expect("memory")
    };
    assert!(bomb.len() < CHANGE_BYTES_MAX);

    assert_eq!(refusal(&mut document, &sealed(2, &bomb)), malformed("chunk type"));
    let column = Raw::first().column(0x42 | 8, &bomb);
    assert_eq!(refusal(&mut document, &column.bytes()), malformed("unknown column"));
    let nested = zstd::bulk::compress(&sealed(2, &bomb), 0).expect("memory");
    assert_eq!(refusal(&mut document, &nested), malformed("magic bytes"));
}

/// Seen failing without the look at the type, and without that at the length, in `Chunk::parse`.
#[test]
fn attack_31_exactly_one_change_chunk_is_taken() {
    let (mut document, made) = with_ticket();
    let change = Raw::first().bytes();

    for kind in [0, 2, 3, 9] {
        let other = Raw { kind, ..Raw::first() };
        assert_eq!(refusal(&mut document, &other.bytes()), malformed("chunk type"));
    }
    let saved = document.save();
    assert_eq!(refusal(&mut document, &saved), malformed("chunk type"));
    assert_eq!(refusal(&mut document, &[change.clone(), change.clone()].concat()), malformed("chunk length"));
    assert_eq!(refusal(&mut document, &[change.clone(), vec![0]].concat()), malformed("chunk length"));
    let large = vec![0; CHANGE_BYTES_MAX + 1];
    let max = CHANGE_BYTES_MAX as u64;
    let too_large = GateError::TooLarge { what: "change bytes", count: max + 1, max };
    assert_eq!(gate::prescan(&large), Err(too_large));
    assert!(gate::prescan(&made.bytes).is_ok());
}

/// Seen failing with a `Cursor::take` that gives what is left for what is asked for.
#[test]
fn attack_31_truncated_anywhere_a_change_is_refused() {
    let (mut document, made) = with_ticket();
    let content = content(&made.bytes);

    for end in 0..made.bytes.len() {
        assert!(gate::prescan(&made.bytes[..end]).is_err(), "cut at {end}");
    }
    for end in 0..content.len() {
        let chunk = sealed(1, &content[..end]);
        assert!(matches!(gate::prescan(&chunk), Err(GateError::Malformed { .. })), "content cut at {end}");
    }
    usable(&document);
    assert_eq!(admit(&mut document, &[made.bytes]).refused, vec![]);
}

/// Seen failing without the comparison of checksums in `Chunk::parse`.
#[test]
fn attack_31_with_any_bit_flipped_a_change_is_refused_or_harmless() {
    let (mut document, _) = with_ticket();
    let honest = update(&mut document.clone(), 2, |t| {
        t.notes.splice(1, 2, "xy");
        t.parts[0].count.increment(3);
        t.labels.insert("size".to_owned(), "m".to_owned());
        t.tags.clear();
    });
    let content = content(&honest.bytes).to_vec();

    for bit in 0..honest.bytes.len() * 8 {
        let mut bytes = honest.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let refused = gate::prescan(&bytes);
        assert!(matches!(refused, Err(GateError::Malformed { .. })), "bit {bit}: {refused:?}");
    }
    for bit in 0..content.len() * 8 {
        let mut flipped = content.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let bytes = sealed(1, &flipped);
        let Ok(header) = gate::prescan(&bytes) else { continue };
        let mut victim = document.clone();
        let admitted = victim.admit(&[(header, &bytes)], None);
        assert_eq!(admitted.accepted.len() + admitted.refused.len(), 1);
        let loaded = Document::load(Some(&victim.save()), &[]).expect("it loads");
        assert_eq!(loaded.heads(), victim.heads());
    }
    assert_eq!(admit(&mut document, &[honest.bytes]).accepted, vec![honest.hash]);
}

/// Seen failing without the bounds in `within`: a key of 64 KiB was let in.
#[test]
fn attack_32_keys_values_and_numbers_have_bounds() {
    let (mut document, _) = with_ticket();
    let next = Draft::next(&document, actor(2));
    let large = |what, count: u64, max: u64| GateError::TooLarge { what, count, max };

    let key = next.clone().op(put(&"k".repeat(64 * 1024), "x", &[])).bytes();
    let max = KEY_BYTES_MAX as u64;
    assert_eq!(refusal(&mut document, &key), large("key bytes", 64 * 1024, max));
    let value = next.clone().op(put("new", "v".repeat(10 << 20), &[])).bytes();
    assert!(matches!(refusal(&mut document, &value), GateError::TooLarge { what: "change bytes", .. }));
    let max = VALUE_BYTES_MAX as u64;
    let text = next.clone().op(put("new", "v".repeat(VALUE_BYTES_MAX + 1), &[])).bytes();
    assert_eq!(refusal(&mut document, &text), large("value bytes", max + 1, max));
    let bytes = next.clone().op(put("new", vec![0; VALUE_BYTES_MAX + 1], &[])).bytes();
    assert_eq!(refusal(&mut document, &bytes), large("value bytes", max + 1, max));
    let counter = next.clone().op(put("new", ScalarValue::counter(i64::MIN), &[])).bytes();
    let max = COUNTER_MAX.unsigned_abs();
    assert_eq!(refusal(&mut document, &counter), large("counter", 1 << 63, max));
    let minutes = values(&document, "minutes");
    let increment = OpType::Increment(i64::MAX);
    let increment = next.op(op(ObjectId::Root, Key::Map("minutes".into()), increment, &minutes)).bytes();
    let max = INCREMENT_MAX.unsigned_abs();
    assert_eq!(refusal(&mut document, &increment), large("increment", i64::MAX as u64, max));
    for (column, bytes) in [(0x15, &[0x7f, 1, 0xff][..]), (0x57, &[0xff])] {
        let raw = Raw::first().column(0x56, &[0x7f, 0x16]).column(0x57, b"a").column(column, bytes);
        assert!(matches!(refusal(&mut document, &raw.bytes()), GateError::Malformed { .. }));
    }
}

/// Seen failing without the bound in `Check::container`: it was let in.
#[test]
fn attack_32_nesting_has_a_bound() {
    let (mut document, _) = with_ticket();
    let nested = |depth: usize| {
        let mut draft = Draft::next(&document, actor(2));
        let mut around = ObjectId::Root;
        for _ in 0..depth {
            let made = id(draft.counter(), actor(2));
            draft = draft.op(op(around, Key::Map("in".into()), make(ObjType::Map), &[]));
            around = ObjectId::Id(made);
        }
        draft
    };
    let deepest = nested(NESTING_DEPTH_MAX).bytes();
    let deeper = nested(NESTING_DEPTH_MAX + 1).bytes();
    let deep = nested(1_000).bytes();

    let max = NESTING_DEPTH_MAX as u64;
    let too_deep = GateError::TooLarge { what: "nesting", count: max + 1, max };
    assert_eq!(refusal(&mut document, &deeper), too_deep);
    assert_eq!(refusal(&mut document, &deep), too_deep);
    assert_eq!(admit(&mut document, &[deepest]).refused, vec![]);
    usable(&document);
}

/// Seen failing without the look at its own values in `Check::on_field`.
#[test]
fn attack_32_one_change_leaves_one_value_at_a_field() {
    let (mut document, _) = with_ticket();
    let many = (0..10_000).fold(Draft::next(&document, actor(2)), |draft, n| draft.op(put("new", n, &[])));
    let title = values(&document, "title");
    let twice = Draft::next(&document, actor(2)).op(put("title", "a", &title)).op(put("title", "b", &title));

    let beside = |index| GateError::Operation { index, what: "stands beside a value of its own" };
    assert_eq!(refusal(&mut document, &many.bytes()), beside(1));
    assert_eq!(refusal(&mut document, &twice.bytes()), beside(1));
}
