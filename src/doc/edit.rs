//! Local edits: typed inside, erased outside, one change each.

use std::collections::{BTreeMap, BTreeSet};

use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{Automerge, ObjId, ObjType, Prop, ROOT, ReadDoc};

use super::document::{GONE, automerge_actor};
use super::sparing::Sparing;
use super::{DocError, Document, Entity, gate};
use crate::id::{ActorId, ChangeHash};
use crate::limits::CHANGE_TIME_MS_MAX;
use crate::time::Timestamp;

/// A change made here.
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
/// let made = doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?.ok_or("no change")?;
/// assert_eq!(made.seq, 1);
/// assert_eq!(doc::gate::prescan(&made.bytes)?.hash, made.hash);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its hash.
    pub hash: ChangeHash,
    /// Its number among its actor's changes; the first is 1.
    pub seq: u64,
    /// The change as a chunk that [`gate::prescan`] accepts.
    pub bytes: Vec<u8>,
}

/// A local edit: makes at most one change, by the actor and with the time that it is given.
///
/// An edit that changes nothing returns `None`. When it fails, or the closure inside it panics, the document is
/// unchanged.
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
/// let mut document = Document::new();
/// let edit: doc::Edit = doc::insert(Ticket { title: "tap".into() });
/// assert!(edit(&mut document, &ada, now)?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Edit = Box<dyn FnOnce(&mut Document, &ActorId, Timestamp) -> Result<Option<Made>, DocError> + Send>;

/// Creates an entity.
///
/// The edit fails with [`DocError::Exists`] when the entity is there, and with [`DocError::Deleted`] when it was.
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
/// doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
/// let again = doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now);
/// assert_eq!(again, Err(doc::DocError::Exists));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn insert<T: Entity>(value: T) -> Edit {
    Box::new(move |document, actor, time| {
        if document.is_deleted() {
            return Err(DocError::Deleted);
        }
        if !document.is_empty() {
            return Err(DocError::Exists);
        }
        document.change(actor, time, Owner::Entity, |tx| write(tx, &value))
    })
}

/// Changes an entity: `change` gets its value, and what it changes is written.
///
/// The edit fails with [`DocError::Absent`] when there is no entity and with [`DocError::Deleted`] when it was
/// deleted.
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
/// doc::insert(Ticket { title: "tap".into() })(&mut document, &ada, now)?;
/// doc::update(|ticket: &mut Ticket| ticket.title.push_str(" drips"))(&mut document, &ada, now)?;
/// assert_eq!(document.hydrate::<Ticket>()?.title, "tap drips");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn update<T: Entity>(change: impl FnOnce(&mut T) + Send + 'static) -> Edit {
    try_update(move |value: &mut T| {
        change(value);
        Ok::<(), std::convert::Infallible>(())
    })
}

/// As [`update`], with a closure that may give up: the document is then unchanged and the edit fails with
/// [`DocError::Abandoned`].
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
/// let edit = doc::try_update(|ticket: &mut Ticket| match ticket.title.as_str() {
///     "tap" => Err("taps stay as they are"),
///     _ => Ok(ticket.title.clear()),
/// });
/// assert!(matches!(edit(&mut document, &ada, now), Err(doc::DocError::Abandoned { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn try_update<T: Entity, E: std::fmt::Display>(
    change: impl FnOnce(&mut T) -> Result<(), E> + Send + 'static,
) -> Edit {
    Box::new(move |document, actor, time| {
        present(document)?;
        document.change(actor, time, Owner::Entity, |tx| {
            // Read inside the transaction: nothing can come between what was read and what is written.
            let mut value: T = autosurgeon::hydrate(tx).map_err(|error| DocError::Hydrate {
                kind: T::COLLECTION.to_owned(),
                reason: error.to_string(),
            })?;
            change(&mut value).map_err(|error| DocError::Abandoned { reason: error.to_string() })?;
            write(tx, &value)
        })
    })
}

/// Deletes an entity; deleting a deleted one changes nothing.
///
/// The edit fails with [`DocError::Absent`] when there is no entity.
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
/// doc::delete()(&mut document, &ada, now)?;
/// assert!(document.is_deleted());
/// assert_eq!(doc::delete()(&mut document, &ada, now)?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn delete() -> Edit {
    Box::new(|document, actor, time| match present(document) {
        Ok(()) => document.change(actor, time, Owner::Library, |tx| {
            tx.put(ROOT, GONE, true).map_err(|error| internal(&error))
        }),
        Err(DocError::Deleted) => Ok(None),
        Err(error) => Err(error),
    })
}

/// Restores a deleted entity with what it held; restoring one that is not deleted changes nothing.
///
/// The edit fails with [`DocError::Absent`] when there is no entity.
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
/// doc::delete()(&mut document, &ada, now)?;
/// doc::restore()(&mut document, &ada, now)?;
/// assert_eq!(document.hydrate::<Ticket>()?.title, "tap");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn restore() -> Edit {
    Box::new(|document, actor, time| match present(document) {
        Ok(()) => Ok(None),
        Err(DocError::Deleted) => document.change(actor, time, Owner::Library, |tx| {
            tx.delete(ROOT, GONE).map_err(|error| internal(&error))
        }),
        Err(error) => Err(error),
    })
}

/// Acknowledges a conflict: the value that is shown at `path` takes the place of all that stand beside it.
///
/// Other edits leave conflicts alone, except that writing another value into a field settles that field. The edit
/// changes nothing when the field has no concurrent values. It fails with [`DocError::Write`] when there is no
/// such field or a list, map or text is shown: those are settled by assigning another.
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
/// assert_eq!(document.conflicts().len(), 1);
/// doc::acknowledge(vec!["title".into()])(&mut document, &ada, now)?;
/// assert_eq!(document.conflicts(), []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn acknowledge(path: Vec<String>) -> Edit {
    Box::new(move |document, actor, time| {
        present(document)?;
        document.change(actor, time, Owner::Entity, |tx| {
            let refused = |reason: &str| DocError::Write { kind: path.join("/"), reason: reason.to_owned() };
            let mut object = ROOT;
            let (field, around) = path.split_last().ok_or_else(|| refused("the path is empty"))?;
            for step in around {
                let prop = prop(tx, &object, step).ok_or_else(|| refused("no such field"))?;
                let inside = tx.get(&object, prop).map_err(|error| internal(&error))?;
                object = inside.ok_or_else(|| refused("no such field"))?.1;
            }
            let prop = prop(tx, &object, field).ok_or_else(|| refused("no such field"))?;
            let values = tx.get_all(&object, prop.clone()).map_err(|error| internal(&error))?;
            let several = values.len() > 1;
            match values.into_iter().next_back() {
                None => Err(refused("no such field")),
                Some(_) if !several => Ok(()),
                Some((automerge::Value::Object(_), _)) => Err(refused("a list, map or text is shown")),
                Some((automerge::Value::Scalar(shown), _)) => {
                    let shown = shown.into_owned();
                    tx.put(&object, prop, shown).map_err(|error| internal(&error))
                }
            }
        })
    })
}

/// Reads a step of a path: a key of a map, or the number of an element.
fn prop(tx: &Transaction<'_>, object: &ObjId, step: &str) -> Option<Prop> {
    match tx.object_type(object).ok()? {
        ObjType::Map | ObjType::Table => Some(Prop::from(step)),
        ObjType::List => step.parse::<usize>().ok().map(Prop::from),
        ObjType::Text => None,
    }
}

impl Document {
    /// Makes one change on a draft, judges it as other devices will, and keeps it.
    fn change(
        &mut self,
        actor: &ActorId,
        time: Timestamp,
        owner: Owner,
        edit: impl FnOnce(&mut Transaction<'_>) -> Result<(), DocError>,
    ) -> Result<Option<Made>, DocError> {
        let mut draft = self.inner.clone();
        draft.set_actor(automerge_actor(actor));
        let reserved = reserved_values(&draft);
        let mut tx = draft.transaction();
        edit(&mut tx)?;
        let farthest = CHANGE_TIME_MS_MAX.cast_signed();
        let time = time.unix_ms().clamp(-farthest, farthest);
        let (hash, _) = tx.commit_with(CommitOptions::default().with_time(time));
        let Some(hash) = hash else { return Ok(None) };
        let lost = DocError::Damaged { reason: "the change that was just made is not there".to_owned() };
        let change = draft.get_change_by_hash(&hash).ok_or(lost)?;
        let made =
            Made { hash: ChangeHash::new(hash.0), seq: change.seq(), bytes: change.raw_bytes().to_vec() };
        let header = gate::prescan(&made.bytes)?;
        gate::judge(self, &header, &made.bytes)?;
        assert_eq!(header.hash, made.hash, "the gate hashes as Automerge does");
        if owner == Owner::Entity {
            unchanged(&reserved, &reserved_values(&draft))?;
        }
        self.inner = draft;
        self.clock.insert(*actor, made.seq);
        self.content_bytes = self.content_bytes.saturating_add(made.bytes.len());
        Ok(Some(made))
    }
}

/// Whose fields an edit may touch: those of the entity, or those that begin with `$`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Entity,
    Library,
}

/// The keys of the root map that begin with `$`, with the names of their values.
type Reserved = BTreeMap<String, Vec<ObjId>>;

fn reserved_values(document: &Automerge) -> Reserved {
    // `%` is the character behind `$`.
    let keys = document.map_range(ROOT, "$".to_owned().."%".to_owned());
    let keys: BTreeSet<String> = keys.map(|item| item.key.into_owned()).collect();
    keys.into_iter()
        .map(|key| {
            let values = document.get_all(ROOT, key.as_str()).unwrap_or_default();
            (key, values.into_iter().map(|(_, id)| id).collect())
        })
        .collect()
}

fn unchanged(before: &Reserved, after: &Reserved) -> Result<(), DocError> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    match keys.into_iter().find(|key| before.get(*key) != after.get(*key)) {
        Some(field) => Err(DocError::Reserved { field: field.clone() }),
        None => Ok(()),
    }
}

fn present(document: &Document) -> Result<(), DocError> {
    if document.is_empty() {
        return Err(DocError::Absent);
    }
    if document.is_deleted() {
        return Err(DocError::Deleted);
    }
    Ok(())
}

/// Writes a value into the root map, only where it differs.
fn write<T: Entity>(tx: &mut Transaction<'_>, value: &T) -> Result<(), DocError> {
    autosurgeon::reconcile(&mut Sparing(tx), value)
        .map_err(|error| DocError::Write { kind: T::COLLECTION.to_owned(), reason: error.to_string() })
}

fn internal(error: &automerge::AutomergeError) -> DocError {
    DocError::Damaged { reason: error.to_string() }
}
