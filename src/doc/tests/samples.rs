//! One change for each way to do harm, for tests of the floors above: whoever signs it, no store applies it.

use automerge::legacy::{Key, ObjectId, OpType};
use automerge::{ObjType, ScalarValue};

use super::Document;
use super::craft::{
    Draft, Raw, element_at, id, inserted, make, object_at, op, put, sealed, signed, unsigned,
};
use super::craft::{content, values};
use crate::id::{ActorId, ChangeHash};
use crate::limits::{CHANGE_OP_COUNTER_MAX, VALUE_BYTES_MAX};

/// A change of `samples`.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Its number in the list of attacks, and what it is.
    pub(crate) name: &'static str,
    /// The sequence number that a leaf may claim for it.
    pub(crate) seq: u64,
    /// It may yet turn out to be good, when what it depends on arrives.
    pub(crate) waits: bool,
    pub(crate) bytes: Vec<u8>,
}

/// Changes by an actor that has none in `document`, which holds a ticket.
pub(crate) fn samples(document: &Document, actor: ActorId) -> Vec<Sample> {
    let mut all = causal(document, actor);
    all.extend(operations(document, actor));
    all.extend(chunks(document, actor));
    all.extend(expanding(actor));
    all.extend(large(document, actor));
    all
}

fn sample(name: &'static str, bytes: Vec<u8>) -> Sample {
    Sample { name, seq: 1, waits: false, bytes }
}

/// Attacks 21, 22, 24 and 28.
fn causal(document: &Document, actor: ActorId) -> Vec<Sample> {
    let good = Draft::next(document, actor).op(put("new", "x", &[]));
    let next = good.0.start_op.get();
    let seq = |seq: u64| {
        let mut draft = good.clone();
        draft.0.seq = seq;
        draft.bytes()
    };
    let start = |start_op: u64| {
        let mut draft = good.clone();
        draft.0.start_op = start_op.try_into().expect("not zero");
        draft.bytes()
    };
    let mut squat = good.clone();
    squat.0.deps.push(automerge::ChangeHash([9; 32]));
    vec![
        Sample { seq: 2, ..sample("21: a gap in the sequence", seq(2)) },
        sample("22: sequence number 0", seq(0)),
        sample("22: sequence number 2^63", seq(1 << 63)),
        Sample { waits: true, ..sample("24: a dependency that nobody has", squat.bytes()) },
        sample("28: an operation id again", start(next - 1)),
        sample("28: a jump of a million", start(next + 1_000_000)),
        sample("28: the last operation id", start(u64::from(u32::MAX))),
        sample("28: beyond the limit", start(CHANGE_OP_COUNTER_MAX + 1)),
    ]
}

/// Attacks 25, 26 and 27, among them those that Automerge panics at when it is given them.
fn operations(document: &Document, actor: ActorId) -> Vec<Sample> {
    let next = Draft::next(document, actor);
    let nowhere = ObjectId::Id(id(9_999, actor));
    let (tags, notes) = (ObjectId::Id(object_at(document, "tags")), object_at(document, "notes"));
    let notes = ObjectId::Id(notes);
    let (title, price) = (values(document, "title"), values(document, "price"));
    let letter = element_at(document, "notes", 0);
    let string = || OpType::Put("x".into());
    let of = |name, op| sample(name, next.clone().op(op).bytes());
    let mark = automerge::legacy::MarkData { name: "bold".into(), value: true.into(), expand: true };
    vec![
        of("25: in an unknown map", op(nowhere.clone(), Key::Map("a".into()), string(), &[])),
        of("25: in an unknown list", inserted(nowhere, None, string())),
        of("25: after an unknown element", inserted(tags.clone(), Some(id(9_999, actor)), string())),
        of("25: after an element elsewhere", inserted(tags.clone(), Some(letter), string())),
        of("26: over the value of an unknown actor", put("title", "x", &[id(1, ActorId::new([77; 16]))])),
        of("26: over an unknown value", put("title", "x", &[id(9_999, actor)])),
        of("26: over the value of another key", put("title", "x", &price)),
        of("26: deletes nothing", op(ObjectId::Root, Key::Map("title".into()), OpType::Delete, &[])),
        of("27: a key in a list", op(tags.clone(), Key::Map("a".into()), string(), &[])),
        of("27: an insertion into a map", inserted(ObjectId::Root, None, string())),
        of("27: a mark in a list", inserted(tags.clone(), None, OpType::MarkBegin(mark))),
        of("27: an object in a text", inserted(notes, None, make(ObjType::Map))),
        of("27: an insertion of nothing", inserted(tags.clone(), None, OpType::Delete)),
        of("27: changes the head of a list", op(tags, Key::head(), string(), &[])),
        of("27: counts what is no counter", {
            op(ObjectId::Root, Key::Map("title".into()), OpType::Increment(1), &title)
        }),
    ]
}

/// Attacks 29 and 31.
fn chunks(document: &Document, actor: ActorId) -> Vec<Sample> {
    let raw = Raw { actor: actor.as_bytes().to_vec(), ..Raw::first() };
    let one = raw.bytes();
    let kind = |kind| Raw { kind, ..raw.clone() }.bytes();
    let mut flipped = one.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    vec![
        sample("29: a message", Raw { message: b"hello".to_vec(), ..raw.clone() }.bytes()),
        sample("29: bytes behind the columns", Raw { extra: vec![0], ..raw.clone() }.bytes()),
        sample("29: a short actor", Raw { actor: vec![1; 15], ..raw.clone() }.bytes()),
        sample("29: dependencies not sorted", Raw { deps: vec![[2; 32], [1; 32]], ..raw.clone() }.bytes()),
        sample("31: a document for a change", document.save()),
        sample("31: chunk type 0", kind(0)),
        sample("31: chunk type 2", kind(2)),
        sample("31: chunk type 3", kind(3)),
        sample("31: chunk type 9", kind(9)),
        sample("31: two chunks", [one.clone(), one.clone()].concat()),
        sample("31: a byte too many", [one.clone(), vec![0]].concat()),
        sample("31: cut off", one.get(..one.len() / 2).unwrap_or_default().to_vec()),
        sample("31: cut off and sealed again", {
            let content = content(&one);
            sealed(1, content.get(..content.len() / 2).unwrap_or_default())
        }),
        sample("31: a flipped bit", flipped),
    ]
}

/// Attack 30: what is small and unfolds.
fn expanding(actor: ActorId) -> Vec<Sample> {
    use std::io::Write;
    let raw = Raw { actor: actor.as_bytes().to_vec(), ..Raw::first() };
    let run = |count: i64, value: &[u8]| {
        let mut bytes = Vec::new();
        signed(&mut bytes, count);
        bytes.extend(value);
        bytes
    };
    let counted = |mut bytes: Vec<u8>, count| {
        unsigned(&mut bytes, count);
        bytes
    };
    let operations = raw
        .clone()
        .column(0x15, &run(10_000_000, &[1, b'a']))
        .column(0x42, &run(10_000_000, &[1]))
        .column(0x34, &[])
        .column(0x56, &[])
        .column(0x70, &[]);
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..1024 {
        deflate.write_all(&[0; 64 * 1024]).expect("memory");
    }
    let bomb = deflate.finish().expect("memory");
    vec![
        sample("30: ten million operations", operations.bytes()),
        sample("30: a hundred million times nothing", {
            raw.clone().column(0x42, &counted(vec![0], 100_000_000)).bytes()
        }),
        sample("30: a hundred million predecessors", {
            raw.clone().column(0x70, &counted(vec![0x7f], 100_000_000)).bytes()
        }),
        sample("30: a compressed chunk", sealed(2, &bomb)),
        sample("30: a compressed column", raw.column(0x42 | 8, &bomb).bytes()),
        sample("30: a compressed chunk, compressed", {
            zstd::bulk::compress(&sealed(2, &bomb), 0).expect("memory")
        }),
    ]
}

/// Attack 32.
fn large(document: &Document, actor: ActorId) -> Vec<Sample> {
    let next = Draft::next(document, actor);
    let mut deep = next.clone();
    let mut around = ObjectId::Root;
    for _ in 0..1_000 {
        let made = id(deep.counter(), actor);
        deep = deep.op(op(around, Key::Map("in".into()), make(ObjType::Map), &[]));
        around = ObjectId::Id(made);
    }
    let many = (0..10_000).fold(next.clone(), |draft, n| draft.op(put("new", n, &[])));
    let of = |name, op| sample(name, next.clone().op(op).bytes());
    vec![
        of("32: a key of 64 KiB", put(&"k".repeat(64 * 1024), "x", &[])),
        of("32: a value over the limit", put("new", "v".repeat(VALUE_BYTES_MAX + 1), &[])),
        of("32: a counter over the limit", put("new", ScalarValue::counter(i64::MIN), &[])),
        sample("32: a thousand maps in each other", deep.bytes()),
        sample("32: ten thousand values at one key", many.bytes()),
    ]
}

/// Attack 23: a change by an actor whose previous one is not among its dependencies.
pub(crate) fn forgetful(document: &Document, actor: ActorId, previous: ChangeHash) -> Vec<u8> {
    let mut draft = Draft::next(document, actor).op(put("new", "x", &[]));
    draft.0.deps.retain(|dep| dep.0 != *previous.as_bytes());
    assert!(!draft.0.deps.is_empty(), "it follows something");
    draft.bytes()
}
