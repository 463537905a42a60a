//! The operations of a change, read one by one without allocating.
//!
//! Only what this library's devices write is read: maps, lists, texts, values, deletions and increments. Marks,
//! tables, unknown columns, unknown actions and unknown types of values are refused.

use super::super::GateError;
use super::runs::{Bools, Cursor, Deltas, Runs};

/// The columns of a change, by their specification: column id, then type.
///
/// ```text
/// obj actor 0x01   key actor 0x11   insert  0x34   value meta 0x56   pred count 0x70
/// obj ctr   0x02   key ctr   0x13   action  0x42   value      0x57   pred actor 0x71
///                  key text  0x15                                    pred ctr   0x73
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Columns<'a> {
    object_actor: &'a [u8],
    object_counter: &'a [u8],
    key_actor: &'a [u8],
    key_counter: &'a [u8],
    key_text: &'a [u8],
    insert: &'a [u8],
    action: &'a [u8],
    value_meta: &'a [u8],
    value: &'a [u8],
    pred_count: &'a [u8],
    pred_actor: &'a [u8],
    pred_counter: &'a [u8],
}

impl<'a> Columns<'a> {
    /// Sets the column of a specification.
    pub(super) fn set(&mut self, specification: u64, bytes: &'a [u8]) -> Result<(), GateError> {
        *match specification {
            0x01 => &mut self.object_actor,
            0x02 => &mut self.object_counter,
            0x11 => &mut self.key_actor,
            0x13 => &mut self.key_counter,
            0x15 => &mut self.key_text,
            0x34 => &mut self.insert,
            0x42 => &mut self.action,
            0x56 => &mut self.value_meta,
            0x57 => &mut self.value,
            0x70 => &mut self.pred_count,
            0x71 => &mut self.pred_actor,
            0x73 => &mut self.pred_counter,
            _ => return Err(GateError::Malformed { what: "unknown column" }),
        } = bytes;
        Ok(())
    }

    /// Counts the operations: the length of the action column, as Automerge reads it.
    pub(super) fn count(&self) -> Result<u64, GateError> {
        Runs::<u64>::new(self.action).total(|_| 1)
    }

    /// Counts the predecessors.
    pub(super) fn predecessors(&self) -> Result<u64, GateError> {
        Runs::<u64>::new(self.pred_count).total(|count| count.unwrap_or(0))
    }
}

/// The name of an operation: its counter, and its actor as an index into the change's actors, of which the author
/// is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OpId {
    pub(super) counter: u64,
    pub(super) actor: usize,
}

/// What an operation is about: a key of a map or an element of a list or text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    Map(&'a str),
    Head,
    Element(OpId),
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action<'a> {
    Make(Container),
    Put(Scalar<'a>),
    Delete,
    Increment(i64),
}

/// A thing that holds others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Map,
    List,
    Text,
}

/// A plain value, as far as the gate looks into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Counter(i64),
    Other,
}

/// An operation; its predecessors are told separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Op<'a> {
    /// `None` is the root map.
    pub(super) object: Option<OpId>,
    pub(super) key: Key<'a>,
    pub(super) insert: bool,
    pub(super) action: Action<'a>,
}

/// The operations of a change.
#[derive(Clone, Debug)]
pub(super) struct Ops<'a> {
    left: u64,
    actors: u64,
    object_actor: Runs<'a, u64>,
    object_counter: Runs<'a, u64>,
    key_actor: Runs<'a, u64>,
    key_counter: Deltas<'a>,
    key_text: Runs<'a, &'a str>,
    insert: Bools<'a>,
    action: Runs<'a, u64>,
    value_meta: Runs<'a, u64>,
    value: Cursor<'a>,
    pred_count: Runs<'a, u64>,
    pred_actor: Runs<'a, u64>,
    pred_counter: Deltas<'a>,
}

impl<'a> Ops<'a> {
    /// Starts at the first of `count` operations of a change that names `actors` actors, the author among them.
    pub(super) const fn new(columns: &Columns<'a>, count: u64, actors: u64) -> Self {
        Self {
            left: count,
            actors,
            object_actor: Runs::new(columns.object_actor),
            object_counter: Runs::new(columns.object_counter),
            key_actor: Runs::new(columns.key_actor),
            key_counter: Deltas::new(columns.key_counter),
            key_text: Runs::new(columns.key_text),
            insert: Bools::new(columns.insert),
            action: Runs::new(columns.action),
            value_meta: Runs::new(columns.value_meta),
            value: Cursor::new(columns.value),
            pred_count: Runs::new(columns.pred_count),
            pred_actor: Runs::new(columns.pred_actor),
            pred_counter: Deltas::new(columns.pred_counter),
        }
    }

    /// Reads the next operation and hands its predecessors to `predecessor`, in their order.
    ///
    /// Behind the last operation every column must have ended.
    pub(super) fn next(
        &mut self,
        mut predecessor: impl FnMut(OpId) -> Result<(), GateError>,
    ) -> Result<Option<Op<'a>>, GateError> {
        if self.left == 0 {
            return if self.is_done() {
                Ok(None)
            } else {
                Err(GateError::Malformed { what: "columns differ in length" })
            };
        }
        self.left -= 1;
        let object = self.object()?;
        let key = self.key()?;
        let insert = self.insert.next()?;
        let action = self.action.next()?.ok_or(GateError::Malformed { what: "operation without action" })?;
        let action = self.action_of(action)?;
        let mut last = None;
        for _ in 0..self.pred_count.next()?.unwrap_or(0) {
            let actor = self.pred_actor.next()?;
            let counter = self.pred_counter.next()?;
            let (Some(actor), Some(counter)) = (actor, counter) else {
                return Err(GateError::Malformed { what: "predecessor without name" });
            };
            let id = self.id(counter, actor)?;
            if last.is_some_and(|last: OpId| last.counter > id.counter) {
                return Err(GateError::Malformed { what: "predecessors are not sorted" });
            }
            last = Some(id);
            predecessor(id)?;
        }
        Ok(Some(Op { object, key, insert, action }))
    }

    fn object(&mut self) -> Result<Option<OpId>, GateError> {
        match (self.object_counter.next()?, self.object_actor.next()?) {
            (None, None) => Ok(None),
            (Some(counter), Some(actor)) => self.id(counter, actor).map(Some),
            (Some(_), None) | (None, Some(_)) => Err(GateError::Malformed { what: "object without name" }),
        }
    }

    fn key(&mut self) -> Result<Key<'a>, GateError> {
        match (self.key_actor.next()?, self.key_counter.next()?, self.key_text.next()?) {
            (None, None, Some(key)) => Ok(Key::Map(key)),
            (None, Some(0), None) => Ok(Key::Head),
            (Some(actor), Some(counter), None) => self.id(counter, actor).map(Key::Element),
            _ => Err(GateError::Malformed { what: "key has no form" }),
        }
    }

    fn action_of(&mut self, action: u64) -> Result<Action<'a>, GateError> {
        let meta = self.value_meta.next()?.unwrap_or(0);
        let bytes = self.value.take(meta >> 4)?;
        let kind = meta & 0xf;
        match (action, kind) {
            (0, 0) => Ok(Action::Make(Container::Map)),
            (2, 0) => Ok(Action::Make(Container::List)),
            (4, 0) => Ok(Action::Make(Container::Text)),
            (1, _) => scalar(kind, bytes).map(Action::Put),
            (3, 0) => Ok(Action::Delete),
            (5, 4) => integer(bytes).map(Action::Increment),
            _ => Err(GateError::Malformed { what: "operation has an unknown action" }),
        }
    }

    /// Checks the name of an operation.
    fn id(&self, counter: u64, actor: u64) -> Result<OpId, GateError> {
        if actor >= self.actors {
            return Err(GateError::Malformed { what: "unknown actor" });
        }
        if counter == 0 {
            return Err(GateError::Malformed { what: "operation counter is zero" });
        }
        Ok(OpId { counter, actor: actor as usize })
    }

    const fn is_done(&self) -> bool {
        self.object_actor.is_done()
            && self.object_counter.is_done()
            && self.key_actor.is_done()
            && self.key_counter.is_done()
            && self.key_text.is_done()
            && self.insert.is_done()
            && self.action.is_done()
            && self.value_meta.is_done()
            && self.value.is_empty()
            && self.pred_count.is_done()
            && self.pred_actor.is_done()
            && self.pred_counter.is_done()
    }
}

/// Reads a value by its type.
fn scalar(kind: u64, bytes: &[u8]) -> Result<Scalar<'_>, GateError> {
    let wrong = GateError::Malformed { what: "value has not the form of its type" };
    let mut input = Cursor::new(bytes);
    let scalar = match kind {
        0..=2 => Scalar::Other,
        3 => {
            input.unsigned()?;
            Scalar::Other
        }
        4 | 9 => {
            input.signed()?;
            Scalar::Other
        }
        5 => {
            input.array::<8>()?;
            Scalar::Other
        }
        6 => return std::str::from_utf8(bytes).map(Scalar::Text).map_err(|_| wrong),
        7 => return Ok(Scalar::Bytes(bytes)),
        8 => Scalar::Counter(input.signed()?),
        _ => return Err(GateError::Malformed { what: "value has an unknown type" }),
    };
    if input.is_empty() { Ok(scalar) } else { Err(wrong) }
}

fn integer(bytes: &[u8]) -> Result<i64, GateError> {
    let mut input = Cursor::new(bytes);
    let value = input.signed()?;
    if input.is_empty() {
        return Ok(value);
    }
    Err(GateError::Malformed { what: "value has not the form of its type" })
}
