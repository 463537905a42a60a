//! Makes changes that no honest device makes, with checksums that fit.

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{Automerge, Change, ExpandedChange, ObjType, ReadDoc, ScalarValue};
use sha2::{Digest, Sha256};

use super::super::document::{automerge_actor, automerge_hash};
use super::super::{Document, gate};
use crate::id::ActorId;

/// A change in the form in which Automerge reads and writes them for people: well formed, whatever it says.
#[derive(Clone, Debug)]
pub(super) struct Draft(pub(super) ExpandedChange);

impl Draft {
    /// An empty change that follows all that a document holds, as an honest device's would.
    pub(super) fn next(document: &Document, actor: ActorId) -> Self {
        let mut honest = document.inner.clone();
        honest.set_actor(automerge_actor(&actor));
        let hash = honest.empty_commit(Default::default());
        let mut change = honest.get_change_by_hash(&hash).expect("just made").decode();
        change.hash = None;
        Self(change)
    }

    /// The counter that the next operation gets.
    pub(super) fn counter(&self) -> u64 {
        self.0.start_op.get() + self.0.operations.len() as u64
    }

    pub(super) fn op(mut self, op: Op) -> Self {
        self.0.operations.push(op);
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        Change::from(self.0.clone()).raw_bytes().to_vec()
    }
}

pub(super) fn id(counter: u64, actor: ActorId) -> OpId {
    OpId(counter, automerge_actor(&actor))
}

pub(super) fn put(key: &str, value: impl Into<ScalarValue>, pred: &[OpId]) -> Op {
    op(ObjectId::Root, Key::Map(key.into()), OpType::Put(value.into()), pred)
}

pub(super) fn op(obj: ObjectId, key: Key, action: OpType, pred: &[OpId]) -> Op {
    Op { action, obj, key, pred: pred.iter().cloned().collect(), insert: false }
}

pub(super) fn inserted(obj: ObjectId, after: Option<OpId>, action: OpType) -> Op {
    let key = Key::Seq(after.map_or(ElementId::Head, ElementId::Id));
    Op { action, obj, key, pred: std::iter::empty().collect(), insert: true }
}

pub(super) fn element(id: OpId) -> Key {
    Key::Seq(ElementId::Id(id))
}

pub(super) fn make(kind: ObjType) -> OpType {
    OpType::Make(kind)
}

/// The names of the values at a key of the root map.
pub(super) fn values(document: &Document, key: &str) -> Vec<OpId> {
    let values = document.inner.get_all(automerge::ROOT, key).expect("root map");
    values.into_iter().map(|(_, id)| name(&id)).collect()
}

/// The name of an object, or of a value, as operations refer to it.
pub(super) fn name(id: &automerge::ObjId) -> OpId {
    match id {
        automerge::ObjId::Id(counter, actor, _) => OpId(*counter, actor.clone()),
        automerge::ObjId::Root => panic!("the root has no name"),
    }
}

/// The object at a key of the root map.
pub(super) fn object_at(document: &Document, key: &str) -> OpId {
    values(document, key).pop().expect("the key is there")
}

/// The name of an element of a list or text.
pub(super) fn element_at(document: &Document, key: &str, index: usize) -> OpId {
    let (_, object) = document.inner.get(automerge::ROOT, key).expect("root map").expect("there");
    let (_, id) = document.inner.get(&object, index).expect("a sequence").expect("there");
    name(&id)
}

/// A change chunk byte by byte.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) kind: u8,
    pub(super) deps: Vec<[u8; 32]>,
    pub(super) actor: Vec<u8>,
    pub(super) seq: u64,
    pub(super) start_op: u64,
    pub(super) message: Vec<u8>,
    pub(super) others: Vec<Vec<u8>>,
    pub(super) columns: Vec<(u64, Vec<u8>)>,
    pub(super) extra: Vec<u8>,
}

impl Raw {
    /// The first change of an actor: one value at a key of the root map.
    pub(super) fn first() -> Self {
        Self {
            kind: 1,
            deps: Vec::new(),
            actor: vec![1; 16],
            seq: 1,
            start_op: 1,
            message: Vec::new(),
            others: Vec::new(),
            columns: vec![
                (0x15, vec![0x7f, 1, b'a']),
                (0x34, vec![1]),
                (0x42, vec![0x7f, 1]),
                (0x56, vec![0x7f, 2]),
                (0x70, vec![0x7f, 0]),
            ],
            extra: Vec::new(),
        }
    }

    /// Replaces a column, or adds it.
    pub(super) fn column(mut self, specification: u64, bytes: &[u8]) -> Self {
        self.columns.retain(|(at, _)| *at != specification);
        self.columns.push((specification, bytes.to_vec()));
        self.columns.sort();
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut content = Vec::new();
        unsigned(&mut content, self.deps.len() as u64);
        content.extend(self.deps.iter().flatten());
        prefixed(&mut content, &self.actor);
        unsigned(&mut content, self.seq);
        unsigned(&mut content, self.start_op);
        content.push(0);
        prefixed(&mut content, &self.message);
        unsigned(&mut content, self.others.len() as u64);
        for other in &self.others {
            prefixed(&mut content, other);
        }
        unsigned(&mut content, self.columns.len() as u64);
        for (specification, bytes) in &self.columns {
            unsigned(&mut content, *specification);
            unsigned(&mut content, bytes.len() as u64);
        }
        content.extend(self.columns.iter().flat_map(|(_, bytes)| bytes));
        content.extend(&self.extra);
        sealed(self.kind, &content)
    }
}

/// Frames the content of a chunk, with the checksum that fits.
pub(super) fn sealed(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut hashed = vec![kind];
    unsigned(&mut hashed, content.len() as u64);
    hashed.extend(content);
    let mut chunk = vec![0x85, 0x6f, 0x4a, 0x83];
    chunk.extend(&Sha256::digest(&hashed)[..4]);
    chunk.extend(hashed);
    chunk
}

/// Takes the content of a chunk out of its frame.
pub(super) fn content(chunk: &[u8]) -> &[u8] {
    let length = chunk[9..].iter().position(|byte| byte & 0x80 == 0).expect("a length") + 1;
    &chunk[9 + length..]
}

pub(super) fn unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn signed(out: &mut Vec<u8>, mut value: i64) {
    while !(-64..64).contains(&value) {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    unsigned(out, bytes.len() as u64);
    out.extend(bytes);
}

#[test]
fn the_writer_writes_what_the_gate_and_automerge_read() {
    let raw = Raw::first().bytes();
    let header = gate::prescan(&raw).expect("a plain change");
    let change = Change::try_from(raw.as_slice()).expect("a plain change");

    assert_eq!(automerge_hash(&header.hash), change.hash());
    assert_eq!(content(&raw).len(), raw.len() - 10);
    assert_eq!(sealed(1, content(&raw)), raw);
    let mut document = Automerge::new();
    document.apply_changes([change]).expect("a plain change");
    assert_eq!(document.get(automerge::ROOT, "a").expect("root").expect("there").0.as_bool(), Some(true));
}
