//! Fields that two sides changed without knowing of each other.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue};

use super::document::{actor_id, guarded};
use super::{Document, gate};
use crate::id::{ActorId, ChangeHash};
use crate::time::Timestamp;

/// A field that two sides changed without knowing of each other: all values, the one that is shown first.
///
/// # Example
///
/// ```
/// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
/// # use driftless::{Timestamp, id::ActorId};
/// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
/// # struct Ticket { title: String }
/// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
/// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
/// # let mut document = Document::new();
/// # doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
/// # let (bob, mut other) = (ActorId::new([2; 16]), document.clone());
/// # doc::update(|ticket: &mut Ticket| ticket.title = "sink".into())(&mut document, &ada, now)?;
/// # let edit = doc::update(|ticket: &mut Ticket| ticket.title = "pump".into());
/// # let made = edit(&mut other, &bob, now)?.ok_or("no change")?;
/// let _ = document.admit(&[(doc::gate::prescan(&made.bytes)?, &made.bytes)], None);
/// let conflicts = document.conflicts();
/// assert_eq!(conflicts[0].path, ["title"]);
/// assert_eq!(conflicts[0].values.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The way from the root to the field; elements of lists are decimal numbers.
    pub path: Vec<String>,
    /// The values, the one that is shown first.
    pub values: Vec<ConflictValue>,
}

/// One of the values of a field, with who wrote it and when.
///
/// # Example
///
/// ```
/// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
/// # use driftless::{Timestamp, id::ActorId};
/// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
/// # struct Ticket { title: String }
/// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
/// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
/// # let mut document = Document::new();
/// # doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
/// # let (bob, mut other) = (ActorId::new([2; 16]), document.clone());
/// # doc::update(|ticket: &mut Ticket| ticket.title = "sink".into())(&mut document, &ada, now)?;
/// # let edit = doc::update(|ticket: &mut Ticket| ticket.title = "pump".into());
/// # let made = edit(&mut other, &bob, now)?.ok_or("no change")?;
/// # let _ = document.admit(&[(doc::gate::prescan(&made.bytes)?, &made.bytes)], None);
/// for value in document.conflicts().iter().flat_map(|conflict| &conflict.values) {
///     println!("{:?} by {} at {}", value.value, value.actor.short(), value.time);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictValue {
    /// The value.
    pub value: Value,
    /// Who wrote it.
    pub actor: ActorId,
    /// The change that wrote it.
    pub change: ChangeHash,
    /// What the writer's clock said, for display.
    pub time: Timestamp,
}

/// A plain value, for display.
///
/// # Example
///
/// ```
/// use driftless::doc::Value;
///
/// let shown = match Value::Text("sink".into()) {
///     Value::Text(text) => text,
///     other => format!("{other:?}"),
/// };
/// assert_eq!(shown, "sink");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A floating-point number.
    Float(f64),
    /// A string, or a text that merges by character.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A time.
    Time(Timestamp),
    /// A counter.
    Counter(i64),
    /// A list.
    List,
    /// A map.
    Map,
}

impl Document {
    /// Returns the fields with concurrent values, those inside maps and lists among them, in order of their
    /// paths.
    ///
    /// Looked at are the values that are shown: what is inside a map that lost against another value is not. The
    /// cost is that of reading the whole document, texts excepted.
    ///
    /// # Example
    ///
    /// ```
    /// # use driftless::doc::{self, Document, Entity, Hydrate, Reconcile};
    /// # use driftless::{Timestamp, id::ActorId};
    /// # #[derive(Clone, Debug, PartialEq, Reconcile, Hydrate, serde::Serialize, serde::Deserialize)]
    /// # struct Ticket { title: String }
    /// # impl Entity for Ticket { const COLLECTION: &'static str = "tickets"; const VERSION: u32 = 1; }
    /// # let (ada, now) = (ActorId::new([1; 16]), Timestamp::from_unix_ms(0));
    /// # let mut document = Document::new();
    /// # doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
    /// assert_eq!(document.conflicts(), []);
    /// # let (bob, mut other) = (ActorId::new([2; 16]), document.clone());
    /// # doc::update(|ticket: &mut Ticket| ticket.title = "sink".into())(&mut document, &ada, now)?;
    /// # let edit = doc::update(|ticket: &mut Ticket| ticket.title = "pump".into());
    /// # let made = edit(&mut other, &bob, now)?.ok_or("no change")?;
    /// let _ = document.admit(&[(doc::gate::prescan(&made.bytes)?, &made.bytes)], None);
    /// assert_eq!(document.conflicts()[0].path, ["title"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn conflicts(&self) -> Vec<Conflict> {
        let mut found = Vec::new();
        let mut path = Vec::new();
        self.conflicts_in(&ROOT, &mut path, &mut found);
        found
    }

    /// Tells whether a field that changes write has several values in this document, or had in the one `before`
    /// them. Where changes follow one another and there is none, they bring no conflict: neither beside a value that
    /// they left, nor by uncovering what another value had hidden.
    ///
    /// The cost is that of reading the changes, and the lists in which they change what was there.
    pub(crate) fn is_contended(&self, before: &Self, changes: &[(&gate::Header, &[u8])]) -> bool {
        let contended = || {
            let places = changes.iter().flat_map(|(header, bytes)| gate::places(header, bytes));
            let places: BTreeSet<gate::Place> = places.collect();
            places.iter().any(|place| self.has_several(place) || before.has_several(place))
        };
        guarded(contended).unwrap_or(true)
    }

    fn has_several(&self, (object, key): &gate::Place) -> bool {
        match key {
            Some(key) if *object == ROOT && key.starts_with('$') => false,
            Some(key) => self.inner.get_all(object, key.as_str()).is_ok_and(|values| values.len() > 1),
            // A character of a text is never replaced, so it has one value.
            None => {
                matches!(self.inner.object_type(object), Ok(ObjType::List))
                    && self.inner.list_range(object, ..).any(|element| element.conflict)
            }
        }
    }

    /// Adds the conflicts inside an object. The gate bounds the nesting of objects, and with it this recursion.
    fn conflicts_in(&self, object: &ObjId, path: &mut Vec<String>, found: &mut Vec<Conflict>) {
        let props: Vec<Prop> = match self.inner.object_type(object) {
            Ok(ObjType::Map | ObjType::Table) => self.inner.keys(object).map(Prop::from).collect(),
            Ok(ObjType::List) => (0..self.inner.length(object)).map(Prop::from).collect(),
            Ok(ObjType::Text) | Err(_) => return,
        };
        for prop in props {
            if *object == ROOT && is_reserved(&prop) {
                continue;
            }
            path.push(prop.to_string());
            let values = self.inner.get_all(object, prop).unwrap_or_default();
            if values.len() > 1 {
                found.push(Conflict { path: path.clone(), values: self.shown_first(&values) });
            }
            if let Some((automerge::Value::Object(_), inside)) = values.last() {
                self.conflicts_in(inside, path, found);
            }
            path.pop();
        }
    }

    /// Describes values that Automerge gives with the shown one last.
    fn shown_first(&self, values: &[(automerge::Value<'_>, ObjId)]) -> Vec<ConflictValue> {
        values.iter().rev().filter_map(|(value, id)| self.describe(value, id)).collect()
    }

    fn describe(&self, value: &automerge::Value<'_>, id: &ObjId) -> Option<ConflictValue> {
        let ObjId::Id(_, actor, _) = id else { return None };
        let change = self.inner.hash_for_opid(id)?;
        let time = self.inner.get_change_meta_by_hash(&change)?.timestamp;
        let value = match value {
            automerge::Value::Object(ObjType::Text) => Value::Text(self.inner.text(id).ok()?),
            automerge::Value::Object(ObjType::List) => Value::List,
            automerge::Value::Object(ObjType::Map | ObjType::Table) => Value::Map,
            automerge::Value::Scalar(scalar) => plain(scalar),
        };
        Some(ConflictValue {
            value,
            actor: actor_id(actor)?,
            change: ChangeHash::new(change.0),
            time: Timestamp::from_unix_ms(time),
        })
    }

    /// Returns the way from the root to a key of an object.
    fn path_to(&self, object: &ObjId, key: &str) -> Option<Vec<String>> {
        let parents = self.inner.parents(object).ok()?;
        let mut path: Vec<String> = parents.map(|parent| parent.prop.to_string()).collect();
        path.reverse();
        path.push(key.to_owned());
        Some(path)
    }
}

/// The keys of maps that a batch of changes touches, and how many values each has at one moment.
#[derive(Debug, Default)]
pub(super) struct Fields {
    values: BTreeMap<(ObjId, String), Vec<ObjId>>,
}

impl Fields {
    /// Notes the fields that changes put something at, and the names of the values they have in `document`.
    pub(super) fn collect<'a>(
        &mut self,
        document: &Document,
        changes: impl Iterator<Item = (&'a gate::Header, &'a [u8])>,
    ) {
        for (header, bytes) in changes {
            for (object, key) in gate::places(header, bytes) {
                if let Some(key) = key {
                    self.values.entry((object, key)).or_default();
                }
            }
        }
        for (field, values) in &mut self.values {
            *values = values_of(document, field);
        }
    }

    /// Returns how many values the field with the most of them has.
    pub(super) fn most_values(&self) -> usize {
        self.values.values().map(Vec::len).max().unwrap_or(0)
    }

    /// Returns the fields that have several values in `document`, one of them not noted before.
    pub(super) fn fresh(&self, document: &Document) -> Vec<Conflict> {
        let mut fresh = Vec::new();
        for (field, before) in &self.values {
            let (object, key) = field;
            let values = document.inner.get_all(object, key.as_str()).unwrap_or_default();
            let is_new = values.len() > 1 && values.iter().any(|(_, id)| !before.contains(id));
            if !is_new || (*object == ROOT && key.starts_with('$')) {
                continue;
            }
            if let Some(path) = document.path_to(object, key) {
                fresh.push(Conflict { path, values: document.shown_first(&values) });
            }
        }
        fresh
    }
}

fn values_of(document: &Document, (object, key): &(ObjId, String)) -> Vec<ObjId> {
    let values = document.inner.get_all(object, key.as_str()).unwrap_or_default();
    values.into_iter().map(|(_, id)| id).collect()
}

fn is_reserved(prop: &Prop) -> bool {
    matches!(prop, Prop::Map(key) if key.starts_with('$'))
}

fn plain(scalar: &ScalarValue) -> Value {
    match scalar {
        ScalarValue::Null => Value::Null,
        ScalarValue::Boolean(value) => Value::Bool(*value),
        ScalarValue::Int(value) => Value::Int(*value),
        ScalarValue::Uint(value) => Value::Uint(*value),
        ScalarValue::F64(value) => Value::Float(*value),
        ScalarValue::Str(value) => Value::Text(value.to_string()),
        ScalarValue::Bytes(value) => Value::Bytes(value.clone()),
        ScalarValue::Timestamp(value) => Value::Time(Timestamp::from_unix_ms(*value)),
        ScalarValue::Counter(value) => Value::Counter(value.into()),
        ScalarValue::Unknown { bytes, .. } => Value::Bytes(bytes.clone()),
    }
}
